/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Staging's space on its way back: released, cut by the beginning of a sync point, punched (or
 * removed, with its file) when that has passed. And what is found at a restart.
 *
 * A thread does it: a disk may take seconds to discard a file, and nobody who waits for a sync
 * point is to wait for that. While it works no sync point cuts anything, so that whatever is cut is
 * its to punch.
 *
 * A range that is released was released after a record that let it go had been applied. So what is
 * released before a sync point begins is referred to by no record that a power loss could bring
 * back once it has passed.
 */
#include <fcntl.h>
#include <unistd.h>

#include "base/log.h"
#include "state/staging_core.h"

/* The blocks of a slab that a range touches. */
static void touched(struct stage_place at, uint64_t len, uint64_t *ret_first, uint64_t *ret_end)
{
	*ret_first = at.pos / STAGE_BLOCK;
	*ret_end = MIN((at.pos + len - 1) / STAGE_BLOCK + 1, (uint64_t)SLAB_BLOCKS);
}

static void free_blocks(struct staging *s, struct stage_file *f, uint64_t first, uint64_t count)
{
	/* Without memory they stay until the file goes. */
	stage_set_blocks(s, f, first, count, BLOCK_RELEASED);
	stage_wait(s, f);
}

static void release_in_slab(struct staging *s, struct stage_file *f, struct stage_place at,
			    uint64_t len)
{
	uint64_t first, end, freed = 0;

	touched(at, len, &first, &end);
	for (uint64_t b = first; b < end; b++) {
		if (f->holders[b] > 0 && --f->holders[b] == 0) {
			freed++;
			continue;
		}
		if (freed > 0)
			free_blocks(s, f, b - freed, freed);
		freed = 0;
	}
	if (freed > 0)
		free_blocks(s, f, end - freed, freed);
}

static void release_in_file(struct staging *s, struct stage_file *f, struct stage_place at,
			    uint64_t len)
{
	uint64_t b = DIV_ROUND_UP(at.pos, (uint64_t)STAGE_BLOCK);
	uint64_t end = (at.pos + len) / STAGE_BLOCK;

	while (b < end) {
		uint64_t n = blockmap_run(&f->map, b, end - b);

		if (blockmap_get(&f->map, b) == BLOCK_USED)
			free_blocks(s, f, b, n);
		b += n;
	}
}

void staging_release(struct staging *s, struct stage_place at, uint64_t len)
{
	struct stage_file *f;
	uint64_t end;

	if (len == 0 || __builtin_add_overflow(at.pos, len, &end) || end > INT64_MAX)
		return;
	WITH_LOCK(&s->lock);
	f = stage_find(s, at.file);
	if (!f)
		return;
	if (f->is_slab)
		release_in_slab(s, f, at, len);
	else
		release_in_file(s, f, at, len);
}

static void hold(struct stage_file *f, struct stage_place at, uint64_t len)
{
	uint64_t first, end;

	touched(at, len, &first, &end);
	for (uint64_t b = first; b < end; b++)
		if (f->holders[b] < UINT16_MAX)
			f->holders[b]++;
}

void staging_share(struct staging *s, struct stage_place at, uint64_t len)
{
	struct stage_file *f;

	if (len == 0)
		return;
	WITH_LOCK(&s->lock);
	f = stage_find(s, at.file);
	if (f && f->is_slab)
		hold(f, at, len);
}

static void release_whole(struct staging *s, struct stage_file *f)
{
	if (f->whole != BLOCK_USED)
		return;
	f->whole = BLOCK_RELEASED;
	s->waiting += f->map.counts[BLOCK_USED];
	if (s->slab == f)
		s->slab = NULL;
	stage_wait(s, f);
}

void staging_release_file(struct staging *s, uint32_t file)
{
	struct stage_file *f;

	WITH_LOCK(&s->lock);
	f = stage_find(s, file);
	if (f)
		release_whole(s, f);
}

void staging_sync_begin(struct staging *s)
{
	WITH_LOCK(&s->lock);
	if (s->is_giving)
		return;
	list_for_each (f, &s->freed, struct stage_file, waiting) {
		if (f->whole == BLOCK_RELEASED)
			f->whole = BLOCK_CUT;
		blockmap_cut(&f->map);
	}
}

/* Does the file go as a whole now? */
static bool is_over(const struct staging *s, const struct stage_file *f)
{
	if (f->whole == BLOCK_CUT)
		return true;
	return f->is_slab && f != s->slab && f->whole == BLOCK_USED &&
	       f->map.counts[BLOCK_USED] == 0 && f->map.counts[BLOCK_RELEASED] == 0;
}

/* Locked; drops the lock meanwhile. */
static void remove_file(struct staging *s, struct stage_file *f)
{
	char name[STAGE_NAME];

	stage_name(f->is_slab, f->number, name);
	stage_forget(s, f);
	pthread_mutex_unlock(&s->lock);
	unlinkat(s->dirfd, name, 0);
	pthread_mutex_lock(&s->lock);
}

/* One run of cut blocks of a pinned file. Locked; drops the lock meanwhile. 1: done, 0: there is
 * none, -errno. */
static int punch_run(struct staging *s, struct stage_file *f, uint64_t *hint)
{
	uint64_t first, count;
	int r = 0;

	if (!blockmap_find_cut(&f->map, *hint, &first, &count))
		return 0;
	f->is_being_punched = true;
	pthread_mutex_unlock(&s->lock);
	if (fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(first * STAGE_BLOCK), (off_t)(count * STAGE_BLOCK)) < 0)
		r = -errno;
	pthread_mutex_lock(&s->lock);
	f->is_being_punched = false;
	pthread_cond_broadcast(&s->punched);
	if (f->is_gone)
		return 0;
	if (r == 0)
		r = stage_set_blocks(s, f, first, count, BLOCK_FREE);
	*hint = first + count;
	return r < 0 ? r : 1;
}

static void punch_file(struct staging *s, struct stage_file *f)
{
	uint64_t hint = 0;
	int r;

	while ((r = punch_run(s, f, &hint)) > 0)
		;
	if (r < 0 && !s->cannot_punch) {
		s->cannot_punch = true;
		log_errno(r, "freed space in staging files stays until the whole file goes");
	}
}

/* What is cut of a file, or all of it. Locked; drops the lock meanwhile. */
static void give_back(struct staging *s, struct stage_file *f)
{
	if (!is_over(s, f) && f->map.counts[BLOCK_CUT] > 0 && !s->cannot_punch) {
		if (stage_pin(s, f->number, &f) < 0)
			return;
		punch_file(s, f);
		if (!f->is_gone)
			stage_wait(s, f);
		stage_unpin(s, f);
		return;
	}
	if (!is_over(s, f) || f->pins > 0)
		stage_wait(s, f);
	else
		remove_file(s, f);
}

static bool has_waiting(const struct stage_file *f)
{
	return f->whole != BLOCK_USED ||
	       f->map.counts[BLOCK_RELEASED] + f->map.counts[BLOCK_CUT] > 0;
}

/* Locked; drops the lock meanwhile. */
static void give_all(struct staging *s)
{
	struct list work;
	struct stage_file *f;

	list_init(&work);
	/* What is released from now on gets into the list anew. */
	list_for_each_safe (each, &s->freed, struct stage_file, waiting) {
		list_remove(&each->waiting);
		if (has_waiting(each) || is_over(s, each))
			list_append(&work, &each->waiting);
	}
	while ((f = list_first(&work, struct stage_file, waiting))) {
		list_remove(&f->waiting);
		give_back(s, f);
	}
}

static void *give(void *arg)
{
	struct staging *s = arg;

	WITH_LOCK(&s->lock);
	for (;;) {
		while (!s->is_giving && !s->is_ending)
			pthread_cond_wait(&s->wanted, &s->lock);
		if (!s->is_giving)
			return NULL;
		give_all(s);
		s->is_giving = false;
		s->gives++;
		pthread_cond_broadcast(&s->given);
	}
}

int stage_start_giver(struct staging *s)
{
	int r = thread_start(&s->giver, "give-back", give, s);

	s->has_giver = r == 0;
	return r;
}

void stage_end_giver(struct staging *s)
{
	if (!s->has_giver)
		return;
	pthread_mutex_lock(&s->lock);
	s->is_ending = true;
	pthread_cond_signal(&s->wanted);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->giver, NULL);
}

void staging_synced(struct staging *s)
{
	WITH_LOCK(&s->lock);
	if (list_is_empty(&s->freed))
		return;
	s->is_giving = true;
	pthread_cond_signal(&s->wanted);
}

void staging_settle(struct staging *s)
{
	uint64_t before;

	WITH_LOCK(&s->lock);
	before = s->gives;
	while (s->is_giving && s->gives == before)
		pthread_cond_wait(&s->given, &s->lock);
}

/* Restart */

int staging_recover(struct staging *s, struct stage_place at, uint64_t len)
{
	uint64_t first, end;
	struct stage_file *f;

	if (len == 0)
		return 0;
	WITH_LOCK(&s->lock);
	f = stage_find(s, at.file);
	if (!f || at.pos > f->size || len > f->size - at.pos)
		return log_fail(-EBADMSG,
				"staged data is missing: %llu bytes at %llu of staging file %u",
				(unsigned long long)len, (unsigned long long)at.pos, at.file);
	if (f->is_slab) {
		if (f->size > STAGE_SLAB_SIZE)
			return log_fail(-EBADMSG, "staging file %u is too large", at.file);
		hold(f, at, len);
		f->end = SLAB_BLOCKS;
	}
	first = at.pos / STAGE_BLOCK;
	end = (at.pos + len - 1) / STAGE_BLOCK + 1;
	return stage_set_blocks(s, f, first, end - first, BLOCK_USED);
}

/* Of blocks that have bytes, those that nobody referred to. */
static int release_unused(struct staging *s, struct stage_file *f, uint64_t first, uint64_t end)
{
	WITH_LOCK(&s->lock);
	while (first < end) {
		uint64_t n = blockmap_run(&f->map, first, end - first);

		if (blockmap_get(&f->map, first) == BLOCK_FREE &&
		    stage_set_blocks(s, f, first, n, BLOCK_RELEASED) < 0)
			return -ENOMEM;
		first += n;
	}
	return 0;
}

static int release_gaps(struct staging *s, struct stage_file *f)
{
	off_t data = 0, hole;
	int r = 0;

	while (r == 0 && (data = lseek(f->fd, data, SEEK_DATA)) >= 0) {
		hole = lseek(f->fd, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		r = release_unused(s, f, (uint64_t)data / STAGE_BLOCK,
				   DIV_ROUND_UP((uint64_t)hole, (uint64_t)STAGE_BLOCK));
		data = hole;
	}
	return data < 0 && errno != ENXIO ? -errno : r;
}

static int recover_file(struct staging *s, uint32_t number)
{
	struct stage_file *f;
	int r;

	pthread_mutex_lock(&s->lock);
	r = stage_pin(s, number, &f);
	pthread_mutex_unlock(&s->lock);
	if (r < 0)
		return r;
	r = release_gaps(s, f);

	WITH_LOCK(&s->lock);
	if (f->map.counts[BLOCK_USED] == 0)
		release_whole(s, f);
	if (has_waiting(f))
		stage_wait(s, f);
	stage_unpin(s, f);
	return r;
}

struct numbers {
	uint32_t *v;
	size_t count;
};

static void add_number(struct hnode *n, void *ctx)
{
	struct numbers *l = ctx;

	l->v[l->count++] = container_of(n, struct stage_file, node)->number;
}

int staging_recover_end(struct staging *s)
{
	_cleanup_free_ uint32_t *v = NULL;
	struct numbers l = { 0 };
	int r = 0;

	pthread_mutex_lock(&s->lock);
	l.v = v = new0(uint32_t, MAX(s->files.count, (size_t)1));
	if (v)
		htab_walk(&s->files, add_number, &l);
	pthread_mutex_unlock(&s->lock);
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < l.count && r == 0; i++)
		r = recover_file(s, v[i]);
	return r;
}
