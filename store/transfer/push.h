/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From one store to another: what of a repo the other lacks moves there, and nothing else.
 *
 * A repo keeps its id, and with it all of its commits keep theirs. Content goes first, then the
 * commits, parents before children, then names and branches: so a commit that the other store has
 * is there with all that came before it, and what is stopped half-way has published nothing. What
 * it has stored by then is found by the next push and not moved again.
 *
 * Threads: a call belongs to its thread and starts helpers of its own.
 */
#pragma once

#include "transfer/transfer.h"

struct report;

enum push_kind {
	PUSH_REPO,
	PUSH_BRANCH,
	PUSH_NAME,
};

/* What became of a repo, branch or name. */
enum push_state {
	PUSH_CREATED,
	PUSH_MOVED, /* a branch: forward to what it is here */
	PUSH_SAME,
	PUSH_AHEAD, /* a branch is further there; left */
	PUSH_DIVERGED, /* both sides have commits the other has not; left, its commits are there */
	PUSH_CLASHES, /* the name means something else there; left */
};

struct push_outcome {
	enum push_kind kind;
	enum push_state state;
	const char *name; /* borrowed until the callback returns */
	struct oid from, to; /* where it is here; where it was there (null: nowhere) */
};

struct push_along;

struct push_request {
	struct store *from, *to; /* borrowed, as all below */
	const char *repo;
	/* One branch, with the names of its commits. NULL: all of the repo, commits that no branch
	 * and no name leads to as well. */
	const char *branch;
	const char *as; /* what the repo is to be called there if it is new; NULL: the same */
	bool is_dry; /* only say what would be done */
	void (*outcome)(const struct push_outcome *o, void *ctx); /* NULL: nobody wants to know */
	/* Called when all commits are there, and no name or branch is yet, or with is_dry would be.
	 * NULL: nothing goes along. Other than 0, logged, ends the push. */
	int (*along)(const struct push_along *a, void *ctx);
	void *ctx;
};

struct push_result {
	char repo[OBJECT_NAME_MAX + 1]; /* what it is called there */
	uint64_t commits; /* that the other store lacked */
	uint64_t objects, bytes; /* chunks and nodes stored there, before compression */
	uint64_t stored_bytes; /* after it */
	uint64_t packs;
	uint64_t diverged, clashes;
};

/* What goes with a repo's commits: see push_request.along. All is borrowed. */
struct push_along {
	const struct push_request *req;
	const struct id128 *repo;
	struct report *report;
	struct push_result *result; /* what it stores is added to this */
};

/*
 * 0, also with branches that diverged or names that clash: @ret counts them. -EXDEV: both are the
 * same store, or one is a copy of the other; -EEXIST: there is another repo of that name there;
 * -ENOENT: no such repo or branch; -ECANCELED; -EIO, -EBADMSG (something is missing or damaged
 * here), or what befell either store. Sentences are logged.
 */
int transfer_push(const struct push_request *req, const struct transfer_options *o,
		  struct push_result *ret);
