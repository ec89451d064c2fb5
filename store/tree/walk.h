/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Going through directories, an entry at a time, names ascending, with nothing of it on the C
 * stack. Who walks decides which directories are gone into.
 *
 * Errors are those of tree.h. Threads: belongs to one.
 */
#pragma once

#include "base/buf.h"
#include "tree/tree.h"

struct dir_walk {
	struct node_source *source; /* borrowed */
	struct buf path; /* of the entry that one is at; owned, as what follows */
	struct dir_walk_level *levels; /* a stack */
	size_t depth, cap;
};

void dir_walk_release(struct dir_walk *w);
#define _cleanup_dir_walk_ _cleanup_(dir_walk_release)

/* Goes into a directory: what is in it comes next, with the path as it is now in front of its name.
 * After an error one is not in it. */
int dir_walk_enter(struct dir_walk *w, const struct tree_root *dir);

/* The next entry, which borrows until the next call: 1; 0: that was all. After an error, with the
 * path of its directory, the walk goes on behind that. */
int dir_walk_next(struct dir_walk *w, struct dirent_rec *ret);
