/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A layer for tests that does to the calls of another backend what networks and disks do, at
 * places that the test chooses, and counts them.
 *
 * Threads: all functions from any thread. Calls are numbered in the order in which they arrive.
 */
#pragma once

#include "backend/backend.h"

enum fault_op {
	FAULT_GET,
	FAULT_GET_ALL,
	FAULT_HEAD,
	FAULT_PUT,
	FAULT_PUT_BEGIN,
	FAULT_PUT_WRITE,
	FAULT_PUT_END,
	FAULT_SWAP,
	FAULT_LIST,
	FAULT_REMOVE,
	FAULT_OPS, /* how many there are */
};

enum fault_kind {
	FAULT_FAIL, /* nothing happens and the call returns @error */
	FAULT_LOSE_REPLY, /* it happens, and the call returns @error all the same */
	FAULT_CUT, /* of what is read (get, get_all), no more than @at bytes arrive; a listing ends
		    * after @at keys: both without an error */
	FAULT_FLIP, /* the byte @at of what is read or written (get, get_all, put, put_write, swap)
		     * is another one */
	FAULT_DELAY, /* for @delay_ms, or until the deadline or fault_backend_clear() */
};

struct fault {
	enum fault_op op;
	enum fault_kind kind;
	const char *prefix; /* only keys that start so; copied; NULL: any */
	uint64_t nth; /* the first call it befalls, counted from now, from 1; 0 is 1 */
	uint64_t times; /* how many from there on; 0: all */
	int error; /* -errno */
	uint64_t at;
	int64_t delay_ms;
};

/* Takes @inner. */
int fault_backend_new(struct backend *inner, struct backend **ret);

/* Of several faults that fit a call, the one that was added first befalls it. 0 or -ENOMEM. */
int fault_backend_add(struct backend *b, const struct fault *f);

/* Takes all faults away and ends the delays that are going on. */
void fault_backend_clear(struct backend *b);

struct fault_counts {
	uint64_t calls[FAULT_OPS]; /* those that failed included */
	uint64_t read, written; /* bytes that came back from the inner backend, or went to it */
	uint64_t listed; /* keys */
};
void fault_backend_counts(struct backend *b, struct fault_counts *ret);
void fault_backend_reset_counts(struct backend *b);
