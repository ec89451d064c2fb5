/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How often requests to one server may be repeated, by all threads together: a bucket of
 * BUDGET_BURST tokens, one for each repetition, that fills by BUDGET_PER_S a second and by one for
 * each request that went well. So a server that is dead or has too much to do is asked a few times
 * a second, however many wait for it, and one that is back is used by all at once.
 *
 * Threads: all functions from any thread, without a lock.
 */
#pragma once

#include <stdatomic.h>

#include "base/defs.h"

enum {
	BUDGET_BURST = 16,
	BUDGET_PER_S = 8,
};

struct budget {
	atomic_int_fast64_t full_ns; /* CLOCK_MONOTONIC: when it will be full; all 0: it is */
};

/* Takes a token: 0, or nanoseconds until one might be there. */
int64_t budget_take(struct budget *b, int64_t now_ns);

/* A request went well. */
void budget_earn(struct budget *b, int64_t now_ns);
