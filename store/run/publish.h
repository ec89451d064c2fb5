/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Bringing what a run has changed in a branch onto that branch (RUNS.md, section 1, "Publishing").
 *
 * Threads: any; the branch's ref is the only thing shared.
 */
#pragma once

#include "object/refs.h"
#include "object/store.h"
#include "record/throwaway.h"

/* An output of a run; all is borrowed. */
struct publishing {
	struct store *store;
	const char *run; /* its id */
	struct id128 repo, identity; /* of repo and branch */
	const char *repo_name, *branch; /* as it was called then */
	const char *author; /* NULL: the store's writer */
	struct oid pinned, result; /* pinned null: it was unborn */
	struct oid committed; /* under the pin; null: nothing, the branch was unborn */
	/* A commit that a former try was about to bring onto the branch; null: none. */
	struct oid doing;
	/* That is about to be tried; other than 0 ends it. NULL: nobody notes it. */
	int (*about_to)(const struct oid *id, void *ctx);
	void *ctx;
};

/* How many names would conflict now. -ENOENT: the branch is gone. */
int publish_check(const struct publishing *p, const struct deadline *dl, uint64_t *ret_conflicts);

/* 0: the branch has the change, and was at @ret_tip with it. -ESTALE: there are conflicts, nothing
 * was changed. -ENOENT: the branch is gone; -EINPROGRESS: not known; or the backend's errors. */
int publish_result(const struct publishing *p, const struct deadline *dl, struct oid *ret_tip,
		   uint64_t *ret_conflicts);

/*
 * Puts the result on a branch of its own: on @name, or where that is somebody else's on the first
 * of run-ID-2, run-ID-3, ... that is free (rerun-ID-2, ... of a rerun). A branch of that name which
 * has @before (what the run had there, or NULL), and perhaps more by now, gets what the result has
 * changed since, unless that conflicts. 0 and the branch's name, the caller's to free; or the
 * backend's errors, -EEXIST where none is free: it can be called again.
 */
int publish_keep(const struct publishing *p, const char *name, const struct oid *before,
		 const struct deadline *dl, char **ret);

/* The list of the output's repo: 0, -ENOENT (the repo is gone), or errors of refs. */
int publish_throwaway(const struct publishing *p, const struct deadline *dl,
		      struct throwaway **ret);
