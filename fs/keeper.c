/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Housekeeping: one thread that looks now and then.
 *
 *  - Each file that was visited costs the kernel a kilobyte and us a vnode, and on a machine with
 *    much memory the kernel forgets none by itself: beyond a number, the oldest closed ones are
 *    given back.
 *  - What is mapped (the index, the heads' table) is not ours to count as cache and yet counts as
 *    ours: beyond a share of the budget its pages are let go of; the kernel still has them.
 *  - The disk cache gets what staged data leaves of the budget.
 */
#include "keeper.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/thread.h"
#include "notify.h"
#include "object/cache.h"

enum {
	LOOK_MS = 1000,
	SWEEP_BATCH = 1024,
	MAPPED_SHARE = 4, /* of the memory budget */
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

struct resident resident_now(void)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), size, all, shared;
	struct resident r = { 0 };
	char text[128];
	ssize_t n;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return r;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return r;
	text[n] = '\0';
	if (sscanf(text, "%" SCNu64 " %" SCNu64 " %" SCNu64, &size, &all, &shared) == 3)
		r = (struct resident){ all * page, shared * page };
	return r;
}

/* Up to a batch of nodes; how many. */
static size_t sweep(struct keeper *k)
{
	struct fs *fs = k->fs;
	size_t n;

	if (vnode_count(fs->vnodes) <= fs->opts->max_nodes)
		return 0;
	n = vnode_sweep(fs->vnodes, k->stale, SWEEP_BATCH);
	for (size_t i = 0; i < n; i++)
		notify_forget(fs->notify, &k->stale[i]);
	notify_wait(fs->notify);
	return n;
}

/* Files mapped to be read only, and shared: nothing is lost with their pages. */
static void drop_mapped(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	_cleanup_free_ char *line = NULL;
	size_t cap = 0;

	if (!f)
		return;
	while (getline(&line, &cap, f) > 0) {
		uintptr_t from, to;
		uint64_t inode;
		char mode[5];

		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %" SCNu64, &from, &to, mode,
			   &inode) == 4 &&
		    strcmp(mode, "r--s") == 0 && inode)
			madvise((void *)from, to - from, MADV_DONTNEED);
	}
	fclose(f);
}

static void keep_mapped(struct fs *fs)
{
	if (resident_now().files > fs->opts->memory_bytes / MAPPED_SHARE)
		drop_mapped();
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
		while (sweep(k) == SWEEP_BATCH)
			;
		keep_mapped(k->fs);
		keep_disk(k->fs);
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
