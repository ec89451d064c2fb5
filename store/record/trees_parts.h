/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inside trees.h: observed.c makes the parts of what was read and looked for, written.c that of
 * what was changed.
 */
#pragma once

#include "object/reader.h"
#include "object/refs.h"
#include "record/part.h"
#include "record/trees.h"

struct making {
	struct store *store; /* borrowed, as all here */
	struct access *access;
	struct reader_source source;
	struct node_sink *sink;
	const struct run_branch *branches; /* ascending by repo and branch */
	size_t branch_count;
};

/* A commit as it is walked through: its two trees; both null for the null id. */
struct commit_trees {
	struct tree_root root, links;
	uint16_t mode; /* of its root directory */
};
int making_commit(const struct making *m, const struct id128 *repo, const struct oid *id,
		  struct commit_trees *ret);

/* What an entry is, also if it has several names: @ret borrows from the entry's node or from
 * @ret_leaf, which is the caller's to unref where it is set. */
int making_inode(const struct making *m, const struct tree_root *links, const struct dirent_rec *e,
		 struct node **ret_leaf, struct inode *ret);

/* What @seen has, as three parts that have been begun. */
int making_observed(struct making *m, struct seen *seen, struct part *read, struct part *kept,
		    struct part *looked);

/* What differs between each branch's two commits. */
int making_written(struct making *m, struct part *written);
