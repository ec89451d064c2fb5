/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Directories of a commit beside those of a walk: what there is in the base under the names that a
 * walk over something else comes to.
 *
 * Threads: belongs to one.
 */
#pragma once

#include "tree/tree.h"

struct basewalk {
	struct node_source *source; /* borrowed */
	bool links_only; /* where no hard links lie below, nothing is looked up */
	struct tree_root *dirs; /* a stack; id null: nothing there; owned */
	size_t depth, cap;
	struct node *leaf; /* of what was found last; a reference */
};

void basewalk_release(struct basewalk *b);
#define _cleanup_basewalk_ _cleanup_(basewalk_release)

/* Goes into a directory: @dir is its tree in the base (NULL: it has none there). 0 or -ENOMEM. */
int basewalk_enter(struct basewalk *b, const struct tree_root *dir);
void basewalk_leave(struct basewalk *b);

/* The tree of the directory one is in, or NULL. */
const struct tree_root *basewalk_dir(const struct basewalk *b);

/* What @name in it is: 1, 0 there is none (or it was not to be looked up), or the source's errors.
 * @ret borrows until the next call. */
int basewalk_find(struct basewalk *b, struct span name, struct dirent_rec *ret);

/* The tree behind an entry, if it is a directory. */
const struct tree_root *dirent_tree(const struct dirent_rec *d);
