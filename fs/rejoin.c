/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Commits on their way to a branch (fs/rejoin.h). It may wait for the store, and for each head as
 * long as a look at metadata may, so it is a thread of its own; after a failure it waits longer
 * each time.
 */
#include "rejoin.h"

#include "base/thread.h"
#include "head/head.h"
#include "lane.h"

enum {
	PAUSE_MS = 1000,
	PAUSE_MAX_MS = 30 * 1000,
};

struct rejoin {
	struct fs *fs; /* borrowed */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	atomic_bool is_ending; /* set under lock; what is under way gives up */
	bool is_pending; /* some head is; the thread's own */
	bool has_thread;
	pthread_t thread;
};

static bool pause_for(struct rejoin *j, int64_t ms)
{
	struct deadline dl = deadline_in_ms(ms);

	WITH_LOCK(&j->lock);

	while (!j->is_ending)
		if (cond_wait_until(&j->wake, &j->lock, &dl, ms) < 0)
			return !j->is_ending;
	return false;
}

static int try_head(struct view *head, void *ctx)
{
	struct rejoin *j = ctx;
	struct access acc;

	access_init(&acc, j->fs->store->reader, true);
	acc.deadline = lane_deadline(PATIENCE_META);
	acc.deadline.cancelled = &j->is_ending;
	j->is_pending |= head_rejoin(head, &acc);
	access_release(&acc);
	return j->is_ending;
}

static void *work(void *arg)
{
	struct rejoin *j = arg;
	int64_t ms = PAUSE_MS;

	while (pause_for(j, ms)) {
		j->is_pending = false;
		heads_each(j->fs->heads, try_head, j);
		ms = j->is_pending ? MIN(2 * ms, (int64_t)PAUSE_MAX_MS) : PAUSE_MS;
	}
	return NULL;
}

int rejoin_new(struct fs *fs, struct rejoin **ret)
{
	_cleanup_(rejoin_freep) struct rejoin *j = new0(struct rejoin, 1);
	int r;

	if (!j)
		return -ENOMEM;
	j->fs = fs;
	pthread_mutex_init(&j->lock, NULL);
	cond_init(&j->wake);
	r = thread_start(&j->thread, "rejoin", work, j);
	if (r < 0)
		return r;
	j->has_thread = true;
	*ret = TAKE_PTR(j);
	return 0;
}

void rejoin_free(struct rejoin *j)
{
	if (!j)
		return;
	pthread_mutex_lock(&j->lock);
	j->is_ending = true;
	pthread_cond_signal(&j->wake);
	pthread_mutex_unlock(&j->lock);
	if (j->has_thread)
		pthread_join(j->thread, NULL);
	pthread_cond_destroy(&j->wake);
	pthread_mutex_destroy(&j->lock);
	free(j);
}
