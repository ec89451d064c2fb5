/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is to be run again so that files are up to date, and in which order.
 *
 * The runs that made the files as they are now, those that made what these read as it is now, and
 * so on: each is a step, of runs in one another the outermost. A step is *stale* when it would see
 * something else now (lineage/stale.h); it *depends* when it would not, but has read what a step
 * that is to be run has made: whether it must be run, that one's results will show. Others need
 * nothing.
 *
 * What a step would overwrite that is no work of its own keeps it from being run: files that
 * somebody, or another run, has changed since. So does that a run failed, or is another user's. A
 * file that the same command has made again since is that later run's. What an update has run in
 * place of one that was before the step is written over: the step did so then.
 *
 * Runs that have made a file in turn, each from what the one before had left, are steps behind one
 * another (run/RUNS.md, section 1, "Update").
 *
 * Threads: the caller's.
 */
#pragma once

#include <jansson.h>

#include "catalog/files.h"

struct run_planning {
	struct run_reading rd;
	struct run_tips *tips; /* what is there now; borrowed, as all here */
	uid_t uid; /* of who would run it */
	bool force; /* what a step would overwrite does not keep it from that */
	bool (*may_see)(const struct run_row *row, void *ctx); /* NULL: all */
	/*
	 * Gets each step that is stale or depends, one behind those that it depends on; takes it:
	 * {"run": a row's JSON, "state": "stale" or "depends", "reasons": [{"path", "was"?, "now"?:
	 * ids} of what is another now, or {"path", "run": the step that made it}], "after": [steps
	 * before it, which are to be run], "take_back"?: [runs that have changed what it made, the
	 * last one first: to be taken back with that, and run again], "skip"?: why it is not, a
	 * sentence}. Other than 0 ends it.
	 */
	int (*emit)(json_t *line, void *ctx);
	void *ctx;
};
enum {
	RUN_PLAN_STEPS = 100000, /* that are looked at */
	RUN_PLAN_REASONS = 20, /* that are told of a step */
};

struct run_plan;
int run_plan_new(const struct run_planning *p, struct run_plan **ret);
void run_plan_free(struct run_plan *p);
DEFINE_CLEANUP(struct run_plan *, run_plan_free)

/* Adds the makers of a file, or of all below a directory, which may be a branch's root. 0; -ENOENT:
 * there is nothing; -E2BIG: there are more steps than are looked at. */
int run_plan_add(struct run_plan *p, const struct run_place *place);

/* Looks at all that was added, and what that was made from, and tells what is to be done. */
int run_plan_tell(struct run_plan *p);

/* One run by itself, as a step, whether it is stale or not. @behind: ids of steps that are to be
 * run behind it, an array or NULL. */
int run_plan_tell_one(struct run_plan *p, const struct run_id *id, const json_t *behind);
