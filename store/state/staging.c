/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Staging of staging.h: giving out space, reading, writing, syncing.
 *
 * Invariants
 *  - the sums over all files' block maps are `used` and `waiting`
 *  - a file is marked dirty after a write to it has ended and before the writer returns, so a sync
 *    that begins later sees it: a record that refers to the bytes is applied later still
 *  - blocks that wait to be punched are not written to: a write takes them back first, and waits
 *    while they are being punched
 *  - an error of a sync stays: what it was about may never get to the disk, and no later sync would
 *    say so
 *
 * Locks: `lock` guards the books and is never held across I/O; slab_lock is held while a slab is
 * made, so that two threads that find the last one full do not make one each.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/log.h"
#include "state/staging_core.h"

int staging_open(int dirfd, uint64_t budget, uint32_t first_file, struct staging **ret)
{
	_cleanup_(staging_freep) struct staging *s = new0(struct staging, 1);
	int r;

	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->slab_lock, NULL);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->punched, NULL);
	pthread_cond_init(&s->wanted, NULL);
	pthread_cond_init(&s->given, NULL);
	pthread_cond_init(&s->cleaned, NULL);
	list_init(&s->dirty);
	list_init(&s->cleaning);
	list_init(&s->idle);
	list_init(&s->freed);
	s->dirfd = -1;
	s->budget = budget / STAGE_BLOCK;
	s->next_file = first_file;
	if (mkdirat(dirfd, "stage", 0700) < 0 && errno != EEXIST)
		return -errno;
	s->dirfd = openat(dirfd, "stage", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dirfd < 0)
		return -errno;
	r = fsync_dir(dirfd, ".");
	if (r == 0)
		r = stage_load(s);
	if (r == 0)
		r = stage_start_giver(s);
	if (r < 0)
		return r;
	s->cut_below = s->next_file;
	*ret = TAKE_PTR(s);
	return 0;
}

void staging_free(struct staging *s)
{
	if (!s)
		return;
	stage_end_giver(s);
	stage_free_all(s);
	if (s->dirfd >= 0)
		close(s->dirfd);
	pthread_cond_destroy(&s->punched);
	pthread_cond_destroy(&s->wanted);
	pthread_cond_destroy(&s->given);
	pthread_cond_destroy(&s->cleaned);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->slab_lock);
	free(s);
}

/* Space */

static uint64_t blocks_of(uint64_t len)
{
	return DIV_ROUND_UP(MAX(len, 1ull), (uint64_t)STAGE_BLOCK);
}

static bool has_budget(const struct staging *s, uint64_t blocks)
{
	return s->used <= s->budget && blocks <= s->budget - s->used;
}

/* Gives out blocks of the slab that is being filled. -EAGAIN: there is none, or it is full. */
static int take_blocks(struct staging *s, uint32_t blocks, struct stage_place *ret)
{
	struct stage_file *f = s->slab;

	if (!has_budget(s, blocks))
		return -ENOSPC;
	if (!f || f->end + blocks > SLAB_BLOCKS)
		return -EAGAIN;
	if (stage_set_blocks(s, f, f->end, blocks, BLOCK_USED) < 0)
		return -ENOMEM;
	for (uint32_t i = 0; i < blocks; i++)
		f->holders[f->end + i] = 1;
	*ret = (struct stage_place){ f->number, (uint64_t)f->end * STAGE_BLOCK };
	f->end += blocks;
	return 0;
}

/* A new slab to be filled; the one that is full stays as it is. */
static int start_slab(struct staging *s)
{
	struct stage_file *f, *former;
	int r;

	r = stage_create(s, true, &f);
	if (r < 0)
		return r;
	WITH_LOCK(&s->lock);
	former = s->slab;
	s->slab = f;
	/* All of it may have been given back while it was being filled. */
	if (former)
		stage_wait(s, former);
	return 0;
}

int staging_alloc(struct staging *s, uint64_t len, struct stage_place *ret)
{
	uint64_t blocks = blocks_of(len);
	int r;

	if (blocks > SLAB_BLOCKS)
		return -EFBIG;
	pthread_mutex_lock(&s->lock);
	r = take_blocks(s, (uint32_t)blocks, ret);
	pthread_mutex_unlock(&s->lock);
	if (r != -EAGAIN)
		return r;

	WITH_LOCK(&s->slab_lock);
	for (;;) {
		pthread_mutex_lock(&s->lock);
		r = take_blocks(s, (uint32_t)blocks, ret);
		pthread_mutex_unlock(&s->lock);
		if (r == -EAGAIN)
			r = start_slab(s);
		else
			return r;
		if (r < 0)
			return r;
	}
}

int staging_file_new(struct staging *s, uint32_t *ret_file)
{
	struct stage_file *f;
	int r;

	r = stage_create(s, false, &f);
	if (r == 0)
		*ret_file = f->number;
	return r;
}

void staging_cut(struct staging *s)
{
	WITH_LOCK(&s->lock);
	s->cut_below = s->next_file;
	if (s->slab)
		stage_wait(s, s->slab);
	s->slab = NULL;
}

uint64_t staging_tail_room(struct staging *s, struct stage_place at)
{
	uint64_t block = at.pos / STAGE_BLOCK;
	struct stage_file *f;

	if (at.pos % STAGE_BLOCK == 0)
		return 0;
	WITH_LOCK(&s->lock);
	f = stage_find(s, at.file);
	if (!f || !f->is_slab || f->number < s->cut_below || block >= f->end ||
	    f->holders[block] != 1)
		return 0;
	return STAGE_BLOCK - at.pos % STAGE_BLOCK;
}

/* Reading and writing */

/*
 * Blocks of an own file that are going to be written: what is free is charged, what was released
 * is taken back.
 */
static int claim(struct staging *s, struct stage_file *f, uint64_t first, uint64_t count)
{
	uint64_t fresh = 0;

	while (f->is_being_punched)
		pthread_cond_wait(&s->punched, &s->lock);
	if (f->whole != BLOCK_USED)
		return -ENOENT;
	for (uint64_t i = 0; i < count;) {
		uint64_t n = blockmap_run(&f->map, first + i, count - i);

		if (blockmap_get(&f->map, first + i) == BLOCK_FREE)
			fresh += n;
		i += n;
	}
	if (fresh > 0 && !has_budget(s, fresh))
		return -ENOSPC;
	return stage_set_blocks(s, f, first, count, BLOCK_USED);
}

static int begin_write(struct staging *s, struct stage_place at, uint64_t end,
		       struct stage_file **ret)
{
	uint64_t first = at.pos / STAGE_BLOCK;
	int r;

	WITH_LOCK(&s->lock);
	r = stage_pin(s, at.file, ret);
	if (r < 0 || (*ret)->is_slab)
		return r;
	r = claim(s, *ret, first, blocks_of(end) - first);
	if (r < 0)
		stage_unpin(s, *ret);
	return r;
}

int staging_write(struct staging *s, struct stage_place at, const void *data, size_t len)
{
	struct stage_file *f;
	uint64_t end;
	int r;

	if (len == 0)
		return 0;
	if (__builtin_add_overflow(at.pos, len, &end) || end > INT64_MAX)
		return -EFBIG;
	r = begin_write(s, at, end, &f);
	if (r == 0) {
		r = pwrite_all(f->fd, data, len, at.pos);
		WITH_LOCK(&s->lock);
		stage_mark_dirty(s, f);
		stage_unpin(s, f);
	}
	switch (r) {
	case 0:
	case -ENOSPC:
	case -ENOMEM:
		return r;
	case -EDQUOT:
		return -ENOSPC;
	case -EFBIG:
		return r;
	default:
		return log_errno(-EIO, "staged data cannot be written (%s)", strerrorname_np(-r));
	}
}

int staging_read(struct staging *s, struct stage_place at, void *buf, size_t len)
{
	struct stage_file *f;
	ssize_t n;
	int r;

	pthread_mutex_lock(&s->lock);
	r = stage_pin(s, at.file, &f);
	pthread_mutex_unlock(&s->lock);
	if (r < 0)
		return log_errno(-EIO, "staging file %u cannot be opened (%s)", at.file,
				 strerrorname_np(-r));

	n = pread_upto(f->fd, buf, len, at.pos);
	pthread_mutex_lock(&s->lock);
	stage_unpin(s, f);
	pthread_mutex_unlock(&s->lock);
	if (n < 0)
		return log_errno(-EIO, "staging file %u cannot be read (%s)", at.file,
				 strerrorname_np((int)-n));
	memset((uint8_t *)buf + n, 0, len - (size_t)n);
	return 0;
}

/* Syncing */

/* The next file that was dirty when sync @sync began, pinned and clean from now on; 0: none. */
static int next_dirty(struct staging *s, uint64_t sync, struct stage_file **ret)
{
	struct stage_file *f;
	int r;

	WITH_LOCK(&s->lock);
	f = list_first(&s->dirty, struct stage_file, dirty);
	if (!f || f->dirty_since >= sync)
		return 0;
	r = stage_pin(s, f->number, &f);
	if (r == -ENOENT)
		return -EAGAIN;
	if (r < 0)
		return r;
	stage_mark_clean(s, f);
	*ret = f;
	return 1;
}

static int sync_files(struct staging *s, uint64_t sync)
{
	struct stage_file *f;
	int r;

	while ((r = next_dirty(s, sync, &f)) != 0) {
		if (r == -EAGAIN)
			continue;
		if (r < 0)
			return r;
		r = fdatasync_fd(f->fd);
		WITH_LOCK(&s->lock);
		stage_unpin(s, f);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Is a file that was dirty when sync @sync began being synced by somebody else? Locked. */
static bool is_cleaning(struct staging *s, uint64_t sync)
{
	list_for_each (f, &s->cleaning, struct stage_file, cleaning)
		if (f->cleaning_since < sync)
			return true;
	return false;
}

int staging_sync(struct staging *s)
{
	uint64_t sync;
	bool sync_dir;
	int r;

	pthread_mutex_lock(&s->lock);
	sync = ++s->syncs;
	sync_dir = s->is_dir_dirty;
	s->is_dir_dirty = false;
	r = s->sync_error;
	pthread_mutex_unlock(&s->lock);

	if (r == 0)
		r = sync_files(s, sync);
	if (r == 0 && sync_dir)
		r = fsync_dir(s->dirfd, ".");

	/* A file that was closed meanwhile may have failed as well. */
	WITH_LOCK(&s->lock);
	while (is_cleaning(s, sync))
		pthread_cond_wait(&s->cleaned, &s->lock);
	if (s->sync_error == 0)
		s->sync_error = r;
	return s->sync_error;
}

/* Files */

bool staging_is_slab(const struct staging *s, uint32_t file)
{
	struct staging *m = (struct staging *)s;
	struct stage_file *f;

	WITH_LOCK(&m->lock);
	f = stage_find(m, file);
	return f && f->is_slab;
}

bool staging_has(struct staging *s, uint32_t file)
{
	struct stage_file *f;

	WITH_LOCK(&s->lock);
	f = stage_find(s, file);
	return f && f->whole == BLOCK_USED;
}

uint32_t staging_next_file(struct staging *s)
{
	WITH_LOCK(&s->lock);
	return s->next_file;
}

void staging_stats(struct staging *s, struct staging_stats *ret)
{
	WITH_LOCK(&s->lock);
	*ret = (struct staging_stats){
		.used = s->used * STAGE_BLOCK,
		.waiting = s->waiting * STAGE_BLOCK,
		.budget = s->budget * STAGE_BLOCK,
		.files = s->files.count,
	};
}

void staging_set_budget(struct staging *s, uint64_t bytes)
{
	WITH_LOCK(&s->lock);
	s->budget = bytes / STAGE_BLOCK;
}
