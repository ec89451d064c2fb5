/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the files of run.h share.
 *
 * Locks: run->end_lock (rank 4) is held by who takes a run further towards its end, and is the only
 * one under which anything is waited for, but for those of branches (rank 7), of which somebody has
 * at most one; runs->lock (rank 5) guards the list and the runs' states; run->lock (rank 6) what a
 * run has of branches, and of late ones the file that says so; runs->untaken_lock (rank 8) what is
 * yet to come to heads.
 */
#pragma once

#include "base/list.h"
#include "base/thread.h"
#include "run/publish.h"
#include "run/run.h"

enum {
	RUN_LABEL_MAX = 255, /* of a private head: "ID R/B" */
	BRANCH_LOCKS = 64,
};

/* The table of RUNS.md, section 1; run_set_state() checks it. */
enum run_state {
	RUN_GOING_ON = 1,
	RUN_ENDING,
	RUN_ENDED,
	RUN_GONE,
};

/* A branch as the run has it. */
struct run_head {
	char repo[OBJECT_NAME_MAX + 1], branch[OBJECT_NAME_MAX + 1];
	struct id128 repo_id, branch_id;
	struct oid pinned, committed;
	bool is_late; /* pinned when it was first looked at */
	bool is_output; /* it may be written */
	bool is_wanted; /* while the run begins: and is to be */
	struct view *view; /* a reference; NULL: nobody has looked yet; guarded by run->lock */
};

struct run {
	struct list link; /* in runs->list */
	atomic_uint refs;
	struct runs *runs; /* borrowed */
	struct run_id id;
	uid_t uid;
	struct run *parent; /* a reference, or NULL */
	struct oid memo; /* its key; null: it cannot be repeated */
	atomic_bool is_spoiled;
	json_t *start; /* the record's; owned; never changed once it is running */
	int dirfd;
	struct seen *seen;
	enum run_state state; /* guarded by runs->lock */
	bool is_forgotten; /* likewise: nobody can come back to its view */
	/* The store may not have the start; its directory has the name that says so. Guarded by
	 * end_lock. */
	bool is_unsure;
	pthread_mutex_t lock;
	/* Owned, each on its own; added to under lock. What one is stays, but for its view. */
	struct run_head **heads;
	size_t head_count; /* guarded by lock */
	struct listed *listed; /* what it has seen listed (listed.c); owned; guarded by lock */
	size_t listed_count; /* likewise */
	pthread_mutex_t end_lock;
	json_t *note; /* owned; what the end has come to; guarded by end_lock */
	bool is_noted; /* its directory has a note; likewise */
	size_t untaken; /* how many of runs->untaken are its; guarded by untaken_lock */
	int64_t take_at, take_pause; /* ms: when that is tried again; likewise */
};

struct runs {
	struct runs_options opts;
	int dirfd; /* state/runs */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* something is to be done, or the end is asked for */
	struct list list; /* guarded by lock, as all below */
	unsigned changes; /* counts what may be something to do */
	atomic_bool cancelled; /* set under lock: what is under way gives up */
	bool is_started; /* the ender */
	pthread_t ender;
	/* By a branch's identity: this mount's runs are brought onto it one after the other, or
	 * each would merge anew for every other that was faster. */
	pthread_mutex_t branches[BRANCH_LOCKS];
	pthread_mutex_t untaken_lock;
	/* What is published and the mount's heads do not have, in that order; guarded by it. */
	struct list untaken;
	pthread_cond_t fewer_untaken; /* or some are put off */
};

/* Of the directory of a run whose start may not be stored, before its id. */
#define RUN_BEGUN_PREFIX ".begun-"

struct run *run_alloc(struct runs *r);
/* The directory of that name in state/runs becomes the run's. */
int run_open_dir(struct run *run, const char *name);
/* The start is stored: the directory gets its name. (begin.c) */
int run_dir_stored(struct run *run);
void run_set_state(struct run *run, enum run_state to);
enum run_state run_state_of(struct run *run);
/* There may be more to do for the ender. */
void runs_changed(struct runs *rs);

/* Files of a run's directory, as JSON: 0, -ENOENT, -EBADMSG. */
int run_file_read(struct run *run, const char *name, json_t **ret);
int run_file_write(struct run *run, const char *name, const json_t *value);

/* Under run->lock: the branch's place in it, or NULL. */
struct run_head *run_head_find(struct run *run, const char *repo, const char *branch);
/* What a branch, whose names @h has, is for a run that has not pinned it: as the store has it now,
 * or the outer run. -ENOENT, or errors of refs. */
int run_head_look_up(struct run *run, struct run_head *h, struct access *acc);
/* One more, as @h; NULL: no memory. */
struct run_head *run_head_add(struct run *run, const struct run_head *h);
/* All there are now: how many are in *@ret, which is to be freed. -ENOMEM. */
ssize_t run_heads(struct run *run, struct run_head ***ret);

/* A copy of what a branch is in the run, without its view: 0, -ENOENT. */
int run_head_now(struct run *run, const char *repo, const char *branch, struct run_head *ret);
/* Is it pinned already? */
bool run_has_pinned(struct run *run, const char *repo, const char *branch);
/* The commit that the run sees, pinned now if it was not. -ENOENT, or errors of refs. */
int run_pinned(struct run *run, const char *repo, const char *branch, struct access *acc,
	       struct oid *ret);

/* Pins what the former run @of had pinned, for one that has no pins yet: 0; -ENOENT (its record, or
 * what it has read, is not there any more), -EBUSY (it has not ended), errors of the archive and of
 * refs: mostly said. (again.c) */
int run_pin_again(struct run *run, const char *of, struct access *acc);

/* Takes what the runs @more (an array of ids, or NULL) have made, one after the other, then what
 * the former run @of has made, back from the pins, as far as nobody has changed it since: 0, errors
 * as of run_pin_again(), or of writing. (again.c) */
int run_undo(struct run *run, const char *of, const json_t *more, struct access *acc);

/* What an output of such a run changes in what its user had: as a change from @ret_base, the head's
 * pin when it was begun, to @ret_result. Errors of reading and writing. (again.c) */
struct publishing;
int run_redo(struct run *run, const struct publishing *p, struct access *acc, struct oid *ret_base,
	     struct oid *ret_result);

/* Is it one whose results are only kept, to be held against those of a former run? */
bool run_is_rerun(const struct run *run);

/* "R/B" of a text; 0 or -EINVAL. */
int run_branch_parse(const char *text, struct run_head *ret);

/* What is pinned as the record has it; NULL: no memory. And back: 0, -EBADMSG, -ENOMEM. */
json_t *run_pinned_json(const struct run_head *h);
int run_pinned_read(const json_t *p, struct run_head *ret);

/* Branches pinned late (late_pins.c): under run->lock, notes one; what was noted is on disk; what a
 * former process has noted is added. -errno, logged but for the last. */
int run_late_note(struct run *run, const struct run_head *h);
int run_late_sync(struct run *run);
int run_late_read(struct run *run);

/* What a former process has left in that directory of state/runs, taken up again: 0 with a
 * reference; 1: there is nothing, and it is removed; -errno, logged. (adopt.c) */
int run_adopt(struct runs *rs, const char *name, struct run **ret);

/* Takes a run that is ending as far as it goes: 0 when its record is complete. (end.c) */
int run_settle(struct run *run, struct access *acc);

/* The run is over: is what it has seen listed what it is now? Else it is spoiled. (listed.c) */
void run_check_listings(struct run *run, struct access *acc);

/* Notes that the run ends, and how: {"status", ...} as its end record has it. 0 also where that
 * cannot be kept now (logged): run_settle() does so first. */
int run_note_end(struct run *run, const json_t *request);

/* Notes that the run has ended as a former one that holds. (repeat.c) */
struct memo;
int run_note_repeat(struct run *run, const struct memo *m);

/*
 * What the caller's shell has opened in the mount (redirected.c).
 */

/* Notes that what the stdin is was read. 0, or errors of refs. */
int run_see_stdin(struct run *run, struct access *acc);

/* Notes which files stdout and stderr have changed, and in which commits they are. Errors of
 * head_pin(). */
int run_note_redirected(struct run *run, struct access *acc);

/* Those of a branch: how many are in @ret (room for RUN_REDIRECTED_MAX), which borrow from @paths
 * (likewise). -EBADMSG, -EINVAL: the note is damaged; -ENOMEM. */
struct run_redirected;
int run_redirected_of(const struct run *run, const struct run_head *h, struct buf *paths,
		      struct run_redirected *ret);

/* Keeps what the end has come to; its status so far. (end.c) */
int run_note_save(struct run *run);
bool run_has_status(const struct run *run, const char *status);

/* Publishes each output, or keeps it: 0 when all are settled. (outputs.c) */
int run_settle_outputs(struct run *run, struct access *acc);

/* What the publication of an output goes by; it borrows from its JSON and the run. */
struct output {
	struct run *run;
	json_t *json;
	struct publishing p;
};
int output_read(struct run *run, json_t *json, struct output *ret);

/*
 * What was published comes to the mount's own heads (taken.c).
 */

/* The output was published after all that are expected already. */
void run_expect_taking(struct run *run, const json_t *out);
/* Those of a run of a former process, by when it ended. */
void run_expect_again(struct run *run);

/* Under end_lock: tries all that is expected of the run, if it may after those before it that are
 * about to come; notes when it is to be tried again. */
void run_take_in(struct run *run, bool may_wait);
/* In how many ms that is; 0: now; -1: all is taken in. */
int64_t run_take_in_due(struct run *run);
bool run_has_untaken(struct run *run);

/* Tries what is expected for that head. For heads_before_commits(): @runs is a struct runs. */
void runs_take_in(struct view *head, void *runs);
/* Frees what is still expected. */
void runs_expect_no_more(struct runs *rs);

/* Notes that no branch is to be moved, or none any more. */
void run_set_unpublished(struct run *run);

/* Of what is noted: what of the record is missing, and why. */
void run_note_error(struct run *run, const char *text);

/* Stores the end's record of what is noted: 0, or why that cannot be yet, logged. (end_record.c) */
int run_store_end(struct run *run, struct access *acc);

/*
 * Of a run that was begun in another one's view (within.c).
 */

bool run_is_within(const struct run *run);

/* Does the outer run still take in what this one has made? Its end_lock is held. */
bool run_may_publish_within(struct run *run);

/* As publish_check() and publish_result(), of an output as it is noted, which says so afterwards.
 * The outer run's end_lock is held. */
int run_check_within(struct run *run, json_t *out, struct access *acc, uint64_t *ret_conflicts);
int run_publish_within(struct run *run, json_t *out, struct access *acc, uint64_t *ret_conflicts);

/* Of a former process's: which of its outputs the outer run had taken in. 0 when that is noted. */
int run_recall_within(struct run *run);

/* What it has seen is noted for the outer run, which goes on, as well. */
void run_tell_seen(struct run *run, struct access *acc);

/* The run's branch for an output, or for what is noted as late: of several in one repo only the
 * first has the plain name. The caller's to free. */
char *run_kept_name(struct run *run, const json_t *out);

/* Puts what was changed since the end on the run's branch, and gives back what it has. (late.c) */
int run_settle_gone(struct run *run, struct access *acc);

/* The answer to run-end, as far as is known; NULL: no memory. */
json_t *run_answer(struct run *run);
