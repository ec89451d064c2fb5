/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Trees of the local machine for tests of transfers: made with everything a filesystem has, and
 * held against one another.
 */
#pragma once

#include "prng.h"
#include "scratch.h"

/* Makes @path, with at least @files files in it; what only root may make, if we are. */
void localtree_make(struct prng *r, const char *path, unsigned files);

/* A regular file, made with its directories or replaced. */
void localtree_write(const char *path, const void *data, size_t len);

/* Both trees have the same names; everything about them but ctime, atime and inode numbers is the
 * same, and what is one file there is one file here. */
void assert_same_trees(const char *want, const char *got);

/* How many files and directories a tree has. */
unsigned localtree_count(const char *path);
