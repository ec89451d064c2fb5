/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The budget of s3/budget.h. What is in the bucket follows from when it will be full again, so one
 * number is all there is to keep.
 */
#include "s3/budget.h"

enum {
	TOKEN_NS = 1000000000 / BUDGET_PER_S
};

int64_t budget_take(struct budget *b, int64_t now_ns)
{
	int_fast64_t full = b->full_ns, next;

	do {
		next = MAX((int64_t)full, now_ns) + TOKEN_NS;
		if (next - now_ns > (int64_t)BUDGET_BURST * TOKEN_NS)
			return next - now_ns - (int64_t)BUDGET_BURST * TOKEN_NS;
	} while (!atomic_compare_exchange_weak(&b->full_ns, &full, next));
	return 0;
}

void budget_earn(struct budget *b, int64_t now_ns)
{
	/* Mostly it is full, and nobody writes. */
	if (b->full_ns > now_ns)
		b->full_ns -= TOKEN_NS;
}
