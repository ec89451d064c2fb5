/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Runs of a mount: their life from the pins to the record's end (RUNS.md, section 1). What the
 * kernel sees of them is fs/realm.h's.
 *
 *	state/runs/ID/start	the start record
 *	state/runs/ID/note	what the end has come to, so that each step can be taken again
 *	state/runs/ID/seen	the log of what it has seen
 *	state/runs/ID/params, metrics, stdout, stderr	what the command and its reporter write
 *
 * Threads: all functions from any thread. A run is counted: by its realm, and by who ends it.
 */
#pragma once

#include <jansson.h>

#include "head/pin.h"
#include "record/record.h"
#include "record/seen.h"

struct learner;
struct run;
struct runs;

struct runs_options {
	struct store *store; /* borrowed, as all here */
	struct heads *heads;
	struct vnode_table *vnodes;
	struct learner *learner; /* is told of runs that have ended; NULL: nobody is */
};

/* Opens state/runs, and takes what a former process left there to its end, in the background. 0 or
 * -errno, logged. */
int runs_open(const struct runs_options *o, struct runs **ret);
/* Nothing is taken further any more: what is under way gives up, and is waited for. NULL is fine,
 * and so is a second time. */
void runs_stop(struct runs *r);
/* Ends what is going on, as lost where nobody has told its end: the next mount takes it from there.
 */
void runs_free(struct runs *r);
DEFINE_CLEANUP(struct runs *, runs_free)

/*
 * Pins and begins. @request: "run-begin" as in RUNS.md, section 6. 0 with a reference; -EINVAL,
 * -ENOENT (an output that there is not), or errors of the store: a sentence is logged, and nothing
 * is left.
 */
int run_begin(struct runs *r, const json_t *request, uid_t uid, gid_t gid, struct run *parent,
	      struct access *acc, struct run **ret);

/*
 * A run that has just begun repeats a former one, if one holds now: then it has ended, with that
 * one's outputs published, and nothing is to be run. @around: "memo" of the request. A run that had
 * to do with a repo that the caller may not enter any more (@may_enter) is not repeated.
 *
 * 1: *@ret is the answer as of run_end(), with "memo", and *@ret_of is the former run (memo.h), the
 * caller's; 0: it is to be run, and can be repeated unless it is spoiled; -errno: one holds, and
 * the end cannot be stored yet.
 */
struct memo;
typedef bool (*run_repo_fn)(const char *repo, void *ctx);
int run_repeat(struct run *r, const json_t *around, run_repo_fn may_enter, void *ctx,
	       struct access *acc, json_t **ret, struct memo *ret_of);

/* How many there are of each kind. */
struct runs_stats {
	uint64_t going_on, ending, ended; /* ended: their views are still served */
};
void runs_stats(struct runs *r, struct runs_stats *ret);

struct run *run_ref(struct run *r);
void run_unref(struct run *r);
DEFINE_CLEANUP(struct run *, run_unref)

const struct run_id *run_id(const struct run *r);
uid_t run_uid(const struct run *r);

/* What R/B is in the run: a private head, or a view of the pinned commit where it may not be
 * written. A branch that was not pinned at the start is pinned now. -ENOENT, or errors of refs. A
 * reference; the same view each time. */
int run_branch(struct run *r, const char *repo, const char *branch, struct access *acc,
	       struct view **ret);

struct seen *run_seen(struct run *r);

/* Has the run itself changed the file @v of its private head, by the head's last pin? (There are
 * pins before its end only where runs were begun in it.) False where that is not at hand. */
bool run_has_changed(struct run *r, struct vnode *v, struct access *acc);

/* Each file that it has read and that may be configuration, "R/B/..." (RUNS.md, section 4), up to
 * 1,000, with the commit that it has read it in. 0, @fn's result other than 0, which ends it, or
 * errors of seen_walk(). */
typedef int (*run_config_fn)(struct span path, const struct oid *commit, void *ctx);
int run_configs(struct run *r, struct access *acc, run_config_fn fn, void *ctx);

/* It is about to see what is in /pfs ("") or in a repo, or has just seen it. 0, or errors of refs. */
int run_saw_listing(struct run *r, const char *repo, struct access *acc);
/* It has seen or done what its record does not tell of: it will not be repeated. */
void run_spoil(struct run *r);
/* state/runs/ID; borrowed. */
int run_dirfd(const struct run *r);

/*
 * The command has ended. @request: "run-end" as in RUNS.md, section 6; NULL: it is lost. Publishes,
 * and stores the end. *@ret: the answer, as there. Only the first call for a run does anything;
 * -EALREADY. 0 also for a command that failed; -errno: the record's end could not be stored, which
 * is tried again, also at the next mount.
 */
int run_end(struct run *r, const json_t *request, struct access *acc, json_t **ret);

/* Its view is gone: nobody can come back. What was changed since the end is put on its branch. */
void run_forgotten(struct run *r);
