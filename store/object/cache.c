/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The disk cache: looking up and putting in. Its files are in cache_files.c, how they are written
 * in cache_write.c, the thread that keeps the budget in cache_worker.c.
 *
 *	being filled --full--> sealed (has a table) --oldest, budget spent--> gone
 *
 * Invariants
 *  - a byte of a data file is written once: what a place led to, it leads to as long as the file is
 *    there, and numbers are not used again
 *  - what is given out was held against its checksum since the cache was opened
 *
 * Threads: any, and the worker. The lock is not held across reads and writes of data or the index;
 * a file that is forgotten meanwhile is still open to whoever reads it.
 */
#include "object/cache.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/hash.h"
#include "base/log.h"
#include "object/cache_files.h"

#define FILE_MIN (64 * KiB)
#define FILE_MAX (64 * MiB)

enum {
	FILES_OF_BUDGET = 32, /* so many make up the budget */
	PAUSE_S = 10, /* after the disk was full */
};

#define IDENTITY_KEY "cache/identity"

uint64_t cache_file_target(const struct cache *c)
{
	uint64_t share = MAX(c->budget / FILES_OF_BUDGET, FILE_MIN);

	return MIN(share, FILE_MAX);
}

/* Does the index know what is in this directory? */
static bool index_knows(struct cache *c)
{
	_cleanup_buf_ struct buf here = { 0 }, known = { 0 };
	struct etag tag;

	return read_file(c->dirfd, "identity", 64, &here) == 0 &&
	       index_object_get(c->index, IDENTITY_KEY, &known, &tag) == 0 &&
	       span_equal(buf_span(&here), buf_span(&known));
}

int cache_identity_set(struct cache *c)
{
	static const struct etag none = { "-" };
	struct id128 id = id128_random();
	_cleanup_close_ int fd =
		openat(c->dirfd, "identity", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = write_all(fd, id.b, sizeof(id.b));
	if (r < 0)
		return r;
	index_object_put(c->index, IDENTITY_KEY, span_of(id.b, sizeof(id.b)), &none);
	return 0;
}

int cache_open(int dirfd, struct index *index, uint64_t budget, struct cache **ret)
{
	_cleanup_(cache_freep) struct cache *c = new0(struct cache, 1);
	int r;

	if (!c)
		return -ENOMEM;
	c->index = index;
	c->budget = budget;
	c->lock_fd = -1;
	pthread_mutex_init(&c->lock, NULL);
	cond_init(&c->wake);
	list_init(&c->order);
	c->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	if (c->dirfd < 0)
		return -errno;
	c->lock_fd = openat(c->dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (c->lock_fd < 0)
		return -errno;
	if (flock(c->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	c->must_reload = !index_knows(c);
	r = cache_scan(c);
	if (r == 0)
		r = thread_start(&c->worker, "cache", cache_work, c);
	if (r < 0)
		return r;
	c->has_worker = true;
	*ret = TAKE_PTR(c);
	return 0;
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->is_ending = true;
	pthread_cond_broadcast(&c->wake);
	pthread_mutex_unlock(&c->lock);
	if (c->has_worker)
		pthread_join(c->worker, NULL);
	pthread_mutex_lock(&c->lock);
	if (c->active)
		cache_seal(c, c->active);
	list_for_each_safe (f, &c->order, struct cache_file, list)
		cache_file_forget(c, f);
	pthread_mutex_unlock(&c->lock);
	htab_release(&c->files);
	closep(&c->lock_fd);
	closep(&c->dirfd);
	pthread_cond_destroy(&c->wake);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* Reads from the data file of @p. */
static int read_data(struct cache *c, const struct index_place *p, uint32_t off, uint32_t len,
		     void *buf)
{
	char name[CACHE_NAME_SIZE];
	_cleanup_close_ int fd =
		openat(c->dirfd, cache_file_name(p->file, name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : pread_all(fd, buf, len, p->offset + off);
}

int cache_load(struct cache *c, const struct index_place *p, void *buf)
{
	if (read_data(c, p, 0, p->len, buf) < 0 || xxh64(buf, p->len, 0) != p->checksum)
		return -ENOENT;
	return 0;
}

/* What is noted for a large object that was right once; never 0. */
static uint64_t mark_of(const struct index_place *p)
{
	return p->checksum | 1;
}

static int read_checked(struct cache *c, struct cache_file *f, const struct index_place *p,
			uint32_t off, uint32_t len, void *buf)
{
	_cleanup_free_ uint8_t *whole = NULL;
	uint64_t word = p->offset / CACHE_LARGE;
	bool is_large = p->len >= CACHE_LARGE;
	int r;

	if (word >= f->words)
		return -ENOENT;
	f->used[word] = 1;
	if (is_large && f->checked[word] == mark_of(p))
		return read_data(c, p, off, len, buf);
	if (len < p->len) {
		whole = malloc(p->len);
		if (!whole)
			return -ENOMEM;
	}
	r = cache_load(c, p, whole ?: buf);
	if (r < 0)
		return r;
	if (is_large)
		f->checked[word] = mark_of(p);
	if (whole && len > 0)
		memcpy(buf, whole + off, len);
	return 0;
}

/* The object is not where it should be. */
static void drop(struct cache *c, uint8_t kind, const struct oid *id, const struct index_place *p)
{
	struct index_cached e = { .kind = kind, .id = *id, .place = *p };

	log_debug("an object in cache file %u is damaged or gone", p->file);
	index_cached_drop(c->index, &e, 1);
}

int cache_read(struct cache *c, uint8_t kind, const struct oid *id, uint32_t off, uint32_t len,
	       void *buf)
{
	struct index_place p;
	struct cache_file *f;
	int r = -ENOENT;

	if (index_cached_get(c->index, kind, id, &p) < 0 || off > p.len || len > p.len - off)
		return -ENOENT;
	pthread_mutex_lock(&c->lock);
	f = cache_file_find(c, p.file);
	pthread_mutex_unlock(&c->lock);
	if (f) {
		r = read_checked(c, f, &p, off, len, buf);
		pthread_mutex_lock(&c->lock);
		cache_file_put(c, f);
		pthread_mutex_unlock(&c->lock);
	}
	if (r < 0)
		drop(c, kind, id, &p);
	return r < 0 ? -ENOENT : 0;
}

int cache_len(struct cache *c, uint8_t kind, const struct oid *id, uint32_t *ret_len)
{
	struct index_place p;

	if (index_cached_get(c->index, kind, id, &p) < 0)
		return -ENOENT;
	*ret_len = p.len;
	return 0;
}

/* A file to append @len bytes to, with the lock held; *@ret_at: where. */
static struct cache_file *reserve(struct cache *c, uint64_t len, uint64_t *ret_at)
{
	uint64_t target = cache_file_target(c), align = cache_write_align(len), gap;
	struct cache_file *f;

	if (c->used + len > c->budget || now_ns() < c->paused_until || c->is_ending) {
		pthread_cond_broadcast(&c->wake);
		return NULL;
	}
	len = ALIGN_UP(len, align);
	while ((f = c->active) && ALIGN_UP(f->end, align) + len > target) {
		c->active = NULL; /* its last writer seals it */
		if (f->writers == 0)
			cache_seal(c, f);
	}
	if (!f) {
		f = cache_file_new(c, c->last_number + 1, MAX(target, len));
		if (!f)
			return NULL;
		c->active = f;
	}
	f->refs++;
	f->writers++;
	*ret_at = ALIGN_UP(f->end, align);
	gap = *ret_at - f->end;
	f->end += gap + len;
	f->size += gap + len;
	c->used += gap + len;
	return f;
}

/* The worker begins before the budget is spent. */
static void wake_if_full(struct cache *c)
{
	if (c->used + cache_file_target(c) > c->budget)
		pthread_cond_broadcast(&c->wake);
}

static struct index_cached *entries_of(uint32_t number, uint64_t at, const struct cache_item *items,
				       size_t n)
{
	struct index_cached *e = new0(struct index_cached, n);

	for (size_t i = 0; e && i < n; i++) {
		e[i] = (struct index_cached){
			.kind = items[i].kind,
			.id = *items[i].id,
			.place = {
				.file = number,
				.offset = at,
				.len = (uint32_t)items[i].data.len,
				.checksum = xxh64(items[i].data.data, items[i].data.len, 0),
			},
		};
		at += items[i].data.len;
	}
	return e;
}

static int add_entries(struct cache_file *f, const struct index_cached *e, size_t n)
{
	if (f->entry_count + n > f->entry_cap) {
		size_t cap = MAX(2 * f->entry_cap, f->entry_count + n);
		struct index_cached *more = reallocarray(f->entries, cap, sizeof(more[0]));

		if (!more)
			return -ENOMEM;
		f->entries = more;
		f->entry_cap = cap;
	}
	memcpy(f->entries + f->entry_count, e, n * sizeof(*e));
	f->entry_count += n;
	return 0;
}

bool cache_append(struct cache *c, const struct cache_item *items, size_t n)
{
	_cleanup_free_ struct index_cached *e = NULL;
	struct cache_file *f;
	uint64_t at, len = 0;
	int r;

	for (size_t i = 0; i < n; i++)
		len += items[i].data.len;
	pthread_mutex_lock(&c->lock);
	f = reserve(c, len, &at);
	pthread_mutex_unlock(&c->lock);
	if (!f)
		return false;

	e = entries_of(f->number, at, items, n);
	r = e ? cache_write(c, f->number, at, items, n) : -ENOMEM;
	pthread_mutex_lock(&c->lock);
	if (r == 0)
		r = add_entries(f, e, n);
	pthread_mutex_unlock(&c->lock);
	/* The file's table has it before the index does: nothing is known that cannot be dropped.
	 */
	if (r == 0)
		r = index_cached_put(c->index, e, n);

	pthread_mutex_lock(&c->lock);
	if (r == -ENOSPC || r == -EDQUOT)
		c->paused_until = now_ns() + PAUSE_S * 1000000000ll;
	if (--f->writers == 0 && c->active != f)
		cache_seal(c, f);
	cache_file_put(c, f);
	wake_if_full(c);
	pthread_mutex_unlock(&c->lock);
	return r == 0;
}

void cache_put_all(struct cache *c, const struct cache_item *items, size_t n)
{
	_cleanup_free_ struct cache_item *fresh = new0(struct cache_item, MAX(n, (size_t)1));
	struct index_place p;
	size_t k = 0;

	if (!fresh)
		return;
	for (size_t i = 0; i < n; i++)
		if (index_cached_get(c->index, items[i].kind, items[i].id, &p) == -ENOENT)
			fresh[k++] = items[i];
	if (k > 0)
		cache_append(c, fresh, k);
}

void cache_put(struct cache *c, uint8_t kind, const struct oid *id, struct span data)
{
	struct cache_item item = { .kind = kind, .id = id, .data = data };

	cache_put_all(c, &item, 1);
}

void cache_set_budget(struct cache *c, uint64_t bytes)
{
	WITH_LOCK(&c->lock);
	c->budget = bytes;
	wake_if_full(c);
}

uint64_t cache_used(struct cache *c)
{
	WITH_LOCK(&c->lock);
	return c->used;
}

uint64_t cache_budget(struct cache *c)
{
	WITH_LOCK(&c->lock);
	return c->budget;
}
