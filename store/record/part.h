/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A directory tree that is made depth first, names of each directory ascending: one of the parts
 * of a run's tree. A directory that is not to stay without entries is not made before it has one.
 *
 * Threads: the caller's, which is the packer's.
 */
#pragma once

#include "tree/edit.h"

struct part_dir;

struct part {
	struct node_source *source; /* borrowed, as the sink */
	struct node_sink *sink;
	struct part_dir *dirs; /* a stack, the root first; owned */
	size_t depth, cap;
};

/* Begins with the root open. 0 or -ENOMEM. */
int part_init(struct part *p, struct node_source *source, struct node_sink *sink);
void part_release(struct part *p);

/* Gives the root its attributes, copied. */
int part_root(struct part *p, const struct inode *ino);

/* A directory below the open one; @ino: its attributes, copied. 0, -ENOMEM. */
int part_enter(struct part *p, struct span name, const struct inode *ino, bool stays);
/* Closes it. Errors of tree/edit.h, here and below. */
int part_leave(struct part *p);
/* An entry that is no directory, or one that is made already. */
int part_put(struct part *p, struct span name, const struct inode *ino);

/* Closes all; the root's tree, null when there is nothing in it. @ret's extended attributes borrow
 * from the part. */
int part_end(struct part *p, struct inode *ret);

/* The attributes that directories have where the tree says nothing of them, and an absent name. */
struct inode part_plain_dir(void);
struct inode part_absent(void);
