/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Crews (transfer/crew.h).
 */
#include "transfer/crew.h"

#include <stdatomic.h>

#include "base/thread.h"

enum {
	THREADS_MAX = 32,
};

struct crew {
	atomic_size_t next;
	size_t count;
	atomic_int result; /* the first that is not 0 */
	int (*fn)(size_t i, void *ctx);
	void *ctx;
};

static void *work(void *arg)
{
	struct crew *c = arg;
	size_t i;

	while (c->result == 0 && (i = c->next++) < c->count) {
		int none = 0, r = c->fn(i, c->ctx);

		if (r != 0)
			atomic_compare_exchange_strong(&c->result, &none, r);
	}
	return NULL;
}

int crew_run(unsigned threads, size_t count, int (*fn)(size_t i, void *ctx), void *ctx)
{
	struct crew c = { .count = count, .fn = fn, .ctx = ctx };
	pthread_t others[THREADS_MAX];
	unsigned started = 0;

	threads = MIN(threads, (unsigned)THREADS_MAX);
	threads = (unsigned)MIN((size_t)threads, count);
	/* Fewer than wanted do it too: the caller is one of them. */
	while (started + 1 < threads && thread_start(&others[started], "crew", work, &c) == 0)
		started++;
	work(&c);
	for (unsigned i = 0; i < started; i++)
		pthread_join(others[i], NULL);
	return c.result;
}
