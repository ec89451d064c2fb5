/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Deadlines of base/deadline.h.
 */
#include "base/deadline.h"

#include "base/random.h"

enum {
	NS_PER_S = 1000000000,
	NS_PER_MS = 1000000,
	PAUSE_FIRST_MS = 5,
	PAUSE_MAX_MS = 1000,
};

int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

struct timespec now_wall(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t;
}

struct deadline deadline_in_ms(int64_t ms)
{
	return (struct deadline){ .at_ns = now_ns() + ms * NS_PER_MS };
}

int deadline_check(const struct deadline *dl)
{
	if (!dl)
		return 0;
	if (dl->cancelled && *dl->cancelled)
		return -ECANCELED;
	if (dl->at_ns != INT64_MAX && now_ns() >= dl->at_ns)
		return -ETIME;
	return 0;
}

int deadline_back_off(unsigned n, const struct deadline *dl)
{
	uint64_t max = MIN(n < 10 ? PAUSE_FIRST_MS << n : PAUSE_MAX_MS, (int)PAUSE_MAX_MS);
	struct deadline end = deadline_in_ms((int64_t)(random_u64() % max) + 1);
	int r;

	while ((r = deadline_check(dl)) == 0 && deadline_check(&end) == 0) {
		const struct timespec step = { .tv_nsec = NS_PER_MS };

		nanosleep(&step, NULL);
	}
	return r;
}

struct timespec deadline_timespec(const struct deadline *dl, int64_t max_ms)
{
	int64_t at = now_ns() + max_ms * NS_PER_MS;

	if (dl && dl->at_ns < at)
		at = dl->at_ns;
	return (struct timespec){ .tv_sec = at / NS_PER_S, .tv_nsec = at % NS_PER_S };
}
