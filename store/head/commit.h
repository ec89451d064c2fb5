/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The steps of a commit, one file each: freeze.c takes the snapshot, pack.c writes it into the
 * store, land.c makes it the head's base, pending.c brings it onto the branch; commit.c goes
 * through them. A pin (pin.c) is a commit that neither is named nor joins the branch.
 *
 * All under head->commit_lock.
 */
#pragma once

#include "head/overlay.h"

/*
 * Freezes the top: what was done before the call is below, what comes after above. 0 also if there
 * was nothing to freeze. At most FROZEN_MAX layers stay frozen: -EXFULL. What the client cannot
 * write back in time: its error, and nothing is frozen.
 */
int head_freeze(struct head *h, const struct deadline *dl);
/* Several at one instant: @heads by ascending id, of all of which commit_lock is held. */
int heads_freeze(struct heads *hs, struct head *const *heads, size_t n, const struct deadline *dl);

/* Writes what the frozen layers make of the base. The session ends with it: @ret stays valid until
 * it is freed. */
int head_pack(struct head *h, struct session *s, struct access *acc, struct snapshot *ret);

/*
 * The commit @id (its object) is what base and frozen layers together are: it becomes the base, and
 * the frozen layers go. Writers go on meanwhile.
 */
int head_land(struct head *h, const struct oid *id, struct span object, struct access *acc);
/* The same for a pin: the committed base stays. */
int head_land_pin(struct head *h, const struct oid *id, struct span object, struct access *acc);

/*
 * Stores what base and frozen layers together are, and lands there: as a commit, which is named if
 * @req says so, or as a pin. Where that is nothing new it lands on what is there, the committed
 * base or the last pin. *@ret_is_new (a commit's): it differs from the committed base.
 */
int head_store(struct head *h, const struct commit_request *req, bool is_pin, struct access *acc,
	       bool *ret_is_new);

struct pin_request;

/* head_pin() under commit_lock (pin.c). */
int head_pin_locked(struct head *h, const struct pin_request *req, struct access *acc);

/*
 * The last commit's way to the branch (pending.c).
 */

/* The commit @id is in the store, to be named and landed: kept over power loss when it returns 0.
 */
int pending_begin(struct head *h, const struct oid *id, const char *name);

/* The base is to be named: so likewise. "": nothing came of it. */
int pending_name(struct head *h, const char *name);

/* In the batch that lands it. */
void pending_landed(struct head *h, struct pending *p);
void pending_put(const struct head *h, const struct pending *p, struct table_batch *batch);

/* Names and lands what was stored when the last process ended, or when a step failed: 0 when there
 * is nothing more to do before the next commit. */
int pending_settle(struct head *h, struct access *acc);

/* Names and lands a stored commit. -EEXIST: the name is taken, and the commit withdrawn. */
int pending_finish(struct head *h, bool is_first_try, struct span object, struct access *acc);

/* Brings what has landed onto the branch. 0 or an error; what came of it is in h->pending and, of
 * the branch, in @ret. */
int pending_join(struct head *h, enum merge_prefer prefer, struct access *acc,
		 struct commit_result *ret);

/* Whoever made the last commit is about to be told: its name is no longer kept for him. */
void pending_answered(struct head *h);

enum head_standing head_standing(const struct head *h);

/* The branch has another name now; with commit_lock held. */
int head_use_name(struct head *h, const char *name);

/* The branch as it is, under another name if another mount has renamed it. 0; -ENOENT: it was
 * removed, whatever may have its name now; or the errors of refs_get(). */
int head_find_branch(struct head *h, struct refs_wait *w, struct ref *ret);

/* For head_land() after a restart: what of the top has a record in a frozen layer. */
int note_all_lifted(struct head *h);
