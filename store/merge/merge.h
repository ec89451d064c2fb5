/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Three-way merge of two commits' trees, by path (RULES.md).
 *
 * What is equal on both sides is passed over by id, so the cost is that of the differences between
 * the two, whatever the size of either and however it came about.
 *
 * Threads: a merge is one thread's; it calls nobody back under a lock.
 */
#pragma once

#include "merge/rule.h"
#include "object/access.h"
#include "write/session.h"

enum {
	MERGE_BASES_MAX = 32,
};

/* A commit's trees; all is borrowed. */
struct merge_side {
	const struct inode *root;
	const struct tree_root *links;
};

/* Whose is taken where nobody can say. */
enum merge_prefer {
	MERGE_PREFER_NEITHER,
	MERGE_PREFER_OURS,
	MERGE_PREFER_THEIRS,
};

/* A name that conflicts, "" for the root; borrowed for the call. Other than 0 ends the merge and is
 * returned. */
typedef int (*merge_conflict_fn)(struct span path, enum merge_verdict what, void *ctx);

struct merge_options {
	struct access *access; /* borrowed; it may wait */
	struct merge_side ours, theirs;
	/* What they come from; with several, a name is settled if all of them give the same. None:
	 * they have nothing in common. */
	struct merge_side bases[MERGE_BASES_MAX];
	unsigned base_count;
	/* There are more bases than that, and none is given: what is not the same on both sides
	 * conflicts. */
	bool is_base_unknown;
	enum merge_prefer prefer;
	/* Names that stay as they are on their side, with all below them. NULL: none. */
	bool (*leave_out)(struct span name, void *ctx);
	void *leave_out_ctx;
	/* Paths that are ours, whatever they come from. NULL: none. */
	bool (*is_ours)(struct span path, void *ctx);
	void *is_ours_ctx;
};

/*
 * What conflicts: each to @fn (NULL: nobody), all counted. With a preference these are the names
 * that it decides. 0, @fn's result, or the errors of reading (tree/tree.h).
 */
int merge_conflicts(const struct merge_options *o, merge_conflict_fn fn, void *ctx,
		    uint64_t *ret_count);

/*
 * Writes the merged trees to @s, which has not been used yet and ends with it. Without a preference
 * nothing may conflict: merge_conflicts() is asked before. 0; -ESTALE: something does, @s can only
 * be freed; or errors of reading and writing.
 */
int merge_write(const struct merge_options *o, struct session *s, struct snapshot *ret);
