/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Writing what the disk cache keeps.
 *
 * Much at once bypasses the page cache, in pieces from memory that is used again: whoever has read
 * it from the store has it in the page cache already, as the file that he reads, and pages for it a
 * second time cost more than all else of fetching it. Where a filesystem cannot do that, it goes
 * the other way.
 */
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fdio.h"
#include "object/cache_files.h"

enum {
	IOV_ITEMS = 256, /* written with one call */
	BULK_MIN = 1 << 20, /* bytes from which on it bypasses the page cache... */
	PIECE = 1 << 20, /* ...in pieces of so many... */
	DISK_BLOCK = 4096, /* ...which are aligned so */
};

uint64_t cache_write_align(uint64_t len)
{
	return len >= BULK_MIN ? DISK_BLOCK : 1;
}

/* A descriptor, or -errno. */
static int open_file(struct cache *c, uint32_t number, int flags)
{
	char name[CACHE_NAME_SIZE];
	int fd = openat(c->dirfd, cache_file_name(number, name),
			O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0600);

	return fd < 0 ? -errno : fd;
}

/* Writes up to IOV_ITEMS of them; *@ret_n: how many. */
static int write_some(int fd, uint64_t at, const struct cache_item *items, size_t n, size_t *ret_n)
{
	struct iovec v[IOV_ITEMS] = { 0 };
	size_t count = MIN(n, ARRAY_SIZE(v)), len = 0;
	ssize_t done;
	int r = 0;

	for (size_t i = 0; i < count; i++) {
		v[i] = (struct iovec){ (void *)items[i].data.data, items[i].data.len };
		len += v[i].iov_len;
	}
	done = pwritev(fd, v, (int)count, (off_t)at);
	*ret_n = count;
	if (done == (ssize_t)len)
		return 0;
	/* It was cut short: by a signal, or by a disk that is full, which will say so now. */
	for (size_t i = 0; r == 0 && i < count; at += items[i].data.len, i++)
		r = pwrite_all(fd, items[i].data.data, items[i].data.len, at);
	return r;
}

static int write_items(struct cache *c, uint32_t number, uint64_t at,
		       const struct cache_item *items, size_t n)
{
	_cleanup_close_ int fd = open_file(c, number, 0);

	if (fd < 0)
		return fd;
	while (n > 0) {
		size_t some;
		int r = write_some(fd, at, items, n, &some);

		if (r < 0)
			return r;
		for (size_t i = 0; i < some; i++)
			at += items[i].data.len;
		items += some;
		n -= some;
	}
	return 0;
}

/* Items as one run of bytes that is taken off piece by piece. */
struct feed {
	const struct cache_item *items;
	size_t n, done; /* bytes of the first item that are taken */
};

/* Fills @to as far as there is something. */
static size_t take_piece(struct feed *f, uint8_t *to, size_t len)
{
	size_t at = 0;

	while (f->n > 0 && at < len) {
		size_t some = MIN(f->items->data.len - f->done, len - at);

		if (some > 0)
			memcpy(to + at, f->items->data.data + f->done, some);
		at += some;
		f->done += some;
		if (f->done == f->items->data.len) {
			f->items++;
			f->n--;
			f->done = 0;
		}
	}
	return at;
}

/* The bytes up to the next block are the caller's too. */
static int write_bulk(struct cache *c, uint32_t number, uint64_t at, const struct cache_item *items,
		      size_t n)
{
	_cleanup_close_ int fd = open_file(c, number, O_DIRECT);
	_cleanup_free_ uint8_t *piece = NULL;
	struct feed feed = { .items = items, .n = n };
	size_t len;

	if (fd < 0)
		return fd;
	piece = aligned_alloc(DISK_BLOCK, PIECE);
	if (!piece)
		return -ENOMEM;
	while ((len = take_piece(&feed, piece, PIECE)) > 0) {
		size_t whole = ALIGN_UP(len, (size_t)DISK_BLOCK);
		int r;

		memset(piece + len, 0, whole - len);
		r = pwrite_all(fd, piece, whole, at);
		if (r < 0)
			return r;
		at += whole;
	}
	return 0;
}

int cache_write(struct cache *c, uint32_t number, uint64_t at, const struct cache_item *items,
		size_t n)
{
	uint64_t len = 0;
	int r = -EINVAL;

	for (size_t i = 0; i < n; i++)
		len += items[i].data.len;
	if (len >= BULK_MIN)
		r = write_bulk(c, number, at, items, n);
	return r == -EINVAL ? write_items(c, number, at, items, n) : r;
}
