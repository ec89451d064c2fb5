/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Bringing a commit onto a branch that others move as well.
 *
 *	          is the branch's commit above it?  --yes--> done
 *	look -->  is it above the branch's commit?  --yes--> swap --lost--> look
 *	          neither: merge ---conflict---> left as it is
 *	                     '--> a merge commit --> swap --lost, refused--> taken back; look again
 *	                                               '--unknown--> kept for the next try
 *
 * Threads: any; the branch's ref is the only thing shared.
 */
#pragma once

#include "merge/merge.h"
#include "object/refs.h"

/*
 * A joining that brings no commit onto the branch, but what that has changed since @base: as one
 * new commit whose only parent is the tip. All is borrowed.
 */
struct join_change {
	const struct commit_meta *meta; /* of the new commit */
	size_t meta_count;
	/* What was committed under @base, if that is a pin with more: the change is brought onto
	 * the branch as if it had been made on this, taking its side where it lies over what was
	 * uncommitted. NULL: base is all committed. */
	const struct oid *committed;
	bool (*leave_out)(struct span name, void *ctx); /* merge_options' */
	void *leave_out_ctx;
	/* Told the new commit's id before the branch is swapped to it; other than 0 ends it. NULL:
	 * nobody. */
	int (*about_to)(const struct oid *id, void *ctx);
	void *ctx;
};

/* A merge commit of which it is not known whether the branch was moved to it; null: none. Whoever
 * will try again keeps it for the next try. */
struct unsure_merge {
	struct oid merge, commit, tip; /* of @commit and the branch at @tip */
	enum merge_prefer prefer;
};

struct joining {
	struct store *store; /* borrowed, as all below */
	struct id128 repo;
	const char *repo_name, *branch;
	const struct id128 *identity; /* the branch's; NULL: of whichever has the name */
	struct oid commit; /* its object is written */
	/* A commit that both come from, below which nothing else is common; NULL: it is looked for.
	 */
	const struct oid *base;
	enum merge_prefer prefer;
	struct unsure_merge *unsure; /* updated; NULL: nobody will try again. Needs an identity */
	const char *author; /* of a merge commit; NULL: the store's writer */
	const char *message; /* NULL: one that says what was merged */
	const struct join_change *as_change; /* NULL: the commit itself is to be on the branch */
	struct deadline deadline;
};

/* Where a joining ended. */
struct joined {
	struct oid tip; /* of the branch */
	bool is_merge; /* it is a commit made here */
	uint64_t conflicts;
};

/*
 * 0: the branch is at @ret->tip, which is the commit or comes after it. -ESTALE: @ret->conflicts
 * names differ on both sides, and nothing was changed. -EINPROGRESS: the outcome is not known.
 * -ENOENT: there is no such branch; or the backend's errors: nothing was changed.
 *
 * With as_change the tip has the change; that may be the one it had before, when the change was in
 * it already.
 */
int join_branch(const struct joining *j, struct joined *ret);

/* What stands in the way of it now; as merge_conflicts(). 0 and no conflict: nothing does. */
int join_conflicts(const struct joining *j, merge_conflict_fn fn, void *ctx, struct joined *ret);
