/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Housekeeping: one thread that looks now and then.
 *
 *  - Each file that was visited costs the kernel a kilobyte and us a vnode, and on a machine with
 *    much memory the kernel forgets none by itself: beyond a number, the oldest closed ones are
 *    given back.
 *  - Heads that are behind and have become clean follow their branches.
 *  - The disk cache gets what staged data leaves of the budget.
 *  - The log stays short.
 */
#include "keeper.h"

#include "background.h"
#include "base/thread.h"
#include "follow.h"
#include "notify.h"
#include "object/cache.h"

enum {
	LOOK_MS = 250, /* a hundred thousand files may be visited in a second */
	SWEEP_BATCH = 1024,
};

struct keeper {
	struct fs *fs; /* borrowed */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool is_ending; /* guarded by lock */
	bool has_thread;
	pthread_t thread;
	struct vnode_stale *stale; /* the thread's: SWEEP_BATCH of them; owned */
};

static bool is_ending(struct keeper *k)
{
	WITH_LOCK(&k->lock);

	return k->is_ending;
}

/* As many nodes as are too many. The kernel need not let go of any: what is left then is looked at
 * again next time. */
static void sweep(struct keeper *k)
{
	struct fs *fs = k->fs;
	uint64_t count = vnode_count(fs->vnodes), max = fs->opts->max_nodes;
	uint64_t left = count > max ? count - max : 0;

	while (left > 0) {
		size_t n = vnode_sweep(fs->vnodes, k->stale, MIN(left, (uint64_t)SWEEP_BATCH));

		for (size_t i = 0; i < n; i++)
			notify_forget(fs->notify, &k->stale[i]);
		notify_wait(fs->notify, NULL);
		if (n == 0 || is_ending(k))
			return;
		left -= n;
	}
}

static void keep_disk(struct fs *fs)
{
	struct heads_stats h;

	if (!fs->store->cache)
		return;
	heads_stats(fs->heads, &h);
	cache_set_budget(fs->store->cache, h.budget > h.staged ? h.budget - h.staged : 0);
}

static bool wait_to_look(struct keeper *k)
{
	struct deadline dl = deadline_in_ms(LOOK_MS);

	WITH_LOCK(&k->lock);

	while (!k->is_ending)
		if (cond_wait_until(&k->wake, &k->lock, &dl, LOOK_MS) < 0)
			return !k->is_ending;
	return false;
}

static void *work(void *arg)
{
	struct keeper *k = arg;

	while (wait_to_look(k)) {
		sweep(k);
		keep_disk(k->fs);
		follow_again(k->fs);
		background_keep_log();
	}
	return NULL;
}

int keeper_new(struct fs *fs, struct keeper **ret)
{
	_cleanup_(keeper_freep) struct keeper *k = new0(struct keeper, 1);
	int r;

	if (!k)
		return -ENOMEM;
	k->fs = fs;
	pthread_mutex_init(&k->lock, NULL);
	cond_init(&k->wake);
	k->stale = malloc(SWEEP_BATCH * sizeof(*k->stale));
	if (!k->stale)
		return -ENOMEM;
	r = thread_start(&k->thread, "keeper", work, k);
	if (r < 0)
		return r;
	k->has_thread = true;
	*ret = TAKE_PTR(k);
	return 0;
}

void keeper_free(struct keeper *k)
{
	if (!k)
		return;
	pthread_mutex_lock(&k->lock);
	k->is_ending = true;
	pthread_cond_signal(&k->wake);
	pthread_mutex_unlock(&k->lock);
	if (k->has_thread)
		pthread_join(k->thread, NULL);
	free(k->stale);
	pthread_cond_destroy(&k->wake);
	pthread_mutex_destroy(&k->lock);
	free(k);
}
