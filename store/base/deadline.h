/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How long an operation may wait, and whether its caller still wants it.
 */
#pragma once

#include <stdatomic.h>
#include <time.h>

#include "base/defs.h"

struct deadline {
	int64_t at_ns; /* CLOCK_MONOTONIC; INT64_MAX: never */
	const atomic_bool *cancelled; /* borrowed; NULL: cannot be */
	bool one_try; /* what fails is not repeated: how it is now is what is wanted */
};

#define DEADLINE_NEVER ((struct deadline){ .at_ns = INT64_MAX })

/* CLOCK_MONOTONIC in nanoseconds. */
int64_t now_ns(void);

/* CLOCK_REALTIME. */
struct timespec now_wall(void);

struct deadline deadline_in_ms(int64_t ms);

/* 0, -ETIME when it has passed, -ECANCELED when the caller gave up. NULL is never. */
int deadline_check(const struct deadline *dl);

/* Before the @n-th try (the first is 0): sleeps for a random part of a time that doubles up to a
 * second, so that those who were in each other's way part. 0, or as deadline_check(). */
int deadline_back_off(unsigned n, const struct deadline *dl);

/* For pthread_cond_timedwait() on a condition of cond_init(): the moment, or at most @max_ms from
 * now. */
struct timespec deadline_timespec(const struct deadline *dl, int64_t max_ms);
