/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What one operation may wait for.
 *
 * Code that holds locks runs "at hand": it takes from memory what is there, and where something
 * is missing returns -EAGAIN, before any side effect, having said in the access what it wants.
 * Its caller drops the locks, calls access_wait(), and runs it again:
 *
 *	do {
 *		access_at_hand(acc);
 *		lock; r = attempt(acc); unlock;
 *	} while (r == -EAGAIN && (r = access_wait(acc)) == 0);
 *
 * What access_wait() fetched is held by the access until access_release(), so a small memory
 * cannot make the loop endless. A fast FUSE worker sets @may_wait to false: access_wait() then
 * only looks on the local disk and otherwise returns -EAGAIN, which is handed up, and the request
 * runs once more on a slow lane with an access that may wait.
 *
 * An access belongs to one thread at a time.
 */
#pragma once

#include "base/deadline.h"
#include "format/node.h"

struct reader;
struct blob;

enum {
	ACCESS_PINS = 48, /* nodes held for a retry; then the oldest go */
	ACCESS_BLOBS = 24, /* chunks, likewise */
};

struct access {
	struct reader *reader; /* borrowed */
	struct deadline deadline;
	bool may_wait; /* for a backend */
	bool is_at_hand; /* now: memory only */
	/* What was missing; set together with -EAGAIN. */
	struct {
		bool set;
		uint8_t kind; /* enum oid_kind */
		struct oid id;
		struct loc loc;
	} want;
	unsigned pin_count, pin_next;
	struct node *pins[ACCESS_PINS]; /* references */
	unsigned blob_count, blob_next;
	struct blob *blobs[ACCESS_BLOBS]; /* references */
};

void access_init(struct access *a, struct reader *r, bool may_wait);
void access_release(struct access *a);
#define _cleanup_access_ _cleanup_(access_release)

static inline void access_at_hand(struct access *a)
{
	a->is_at_hand = true;
	a->want.set = false;
}

/* From here on the calling thread holds no lock that a fetch could keep others waiting for. */
static inline void access_may_fetch(struct access *a)
{
	a->is_at_hand = false;
}

/*
 * Gets what the last -EAGAIN wanted, and lets the access block from now on unless it is set at
 * hand again. 0: run it again. -EAGAIN: it would have to wait, and must not; or nothing was wanted
 * (the -EAGAIN came from elsewhere). -EIO (also: the store lacks it), -EBADMSG, -EACCES, -ETIME,
 * -ECANCELED, -ENOMEM.
 */
int access_wait(struct access *a);
