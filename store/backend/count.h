/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A layer that counts what is asked of the backend below it, by kind: how many requests, how they
 * ended, how long they took, how many bytes went which way.
 *
 * A listing counts as one however many pages it takes, and a request that is repeated below as one:
 * the backend hides both.
 *
 * Threads: all functions from any thread; counters are relaxed and say no more than they count.
 */
#pragma once

#include "backend/backend.h"

/* Kinds of requests, as they are named in the statistics. */
#define COUNT_OPS(X)  \
	X(GET, get)   \
	X(HEAD, head) \
	X(PUT, put)   \
	X(SWAP, swap) \
	X(LIST, list) \
	X(REMOVE, remove)

enum count_op {
#define X(id, name) COUNT_##id,
	COUNT_OPS(X)
#undef X
	COUNT_OP_COUNT,
};

extern const char *const count_op_names[COUNT_OP_COUNT];

struct count_of_op {
	uint64_t calls; /* those that are under way not */
	uint64_t
		errors; /* of them: that nothing is there, or is as before, or otherwise, is none */
	uint64_t time_us; /* of all of them together */
};

struct backend_counts {
	struct count_of_op ops[COUNT_OP_COUNT];
	uint64_t read_bytes, written_bytes; /* of objects */
};

/* Takes @inner. */
int count_backend_new(struct backend *inner, struct backend **ret);

/* @b as count_backend_new() made it. */
void count_backend_get(struct backend *b, struct backend_counts *ret);
