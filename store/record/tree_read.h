/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading the tree of a run's record (run/RUNS.md, section 3), which trees.h wrote.
 *
 * Errors: -ENOENT is of names; -EIO (the store lacks it), -EBADMSG, -EAGAIN and others of
 * tree/tree.h. A tree comes from outside: what it has in it may be anything that a tree can be.
 *
 * Threads: the caller's; it waits as @acc may.
 */
#pragma once

#include "object/access.h"
#include "tree/tree.h"

#define RUN_TREE_READ	 "read"
#define RUN_TREE_KEPT	 "kept"
#define RUN_TREE_LOOKED	 "looked"
#define RUN_TREE_WRITTEN "written"
#define RUN_TREE_EXTRA	 "extra"

/* Extended attributes of directories in "looked". */
#define RUN_TREE_LISTING "pfs.listing" /* struct listing_id */
#define RUN_TREE_TREE	 "pfs.tree" /* struct oid */
#define RUN_TREE_COMMIT	 "pfs.commit" /* struct oid, of what a name of R led to */

enum {
	RUN_TREE_SKIP = 1
};

/* @path: "R/B/dir/name", "" for the part itself; both borrowed. RUN_TREE_SKIP: pass over what is
 * below; another result than 0 ends the walk and is returned. */
typedef int (*run_tree_fn)(struct span path, const struct inode *ino, void *ctx);

/* All of a part, a directory before what is in it, names ascending. 0 also where there is no such
 * part; -ETIME or -ECANCELED also where nothing had to be waited for. */
int run_tree_walk(const struct tree_root *tree, const char *part, struct access *acc,
		  run_tree_fn fn, void *ctx);

/* One entry, which borrows from @ret_leaf, the caller's to unref. -ENOENT. */
int run_tree_find(const struct tree_root *tree, const char *part, struct span path,
		  struct access *acc, struct node **ret_leaf, struct inode *ret);

/* Does the entry say that there was no such name, or none any more? */
bool run_tree_is_absent(const struct inode *ino);
