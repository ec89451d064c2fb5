/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Data files and their tables, of object/cache_files.h.
 */
#include "object/cache_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/hash.h"
#include "base/text.h"

#define TABLE_MAGIC "pfsT"
#define TABLE_MAX   (256 * MiB)

enum {
	TABLE_VERSION = 1,
	TABLE_HEADER_SIZE = 12,
	TABLE_ENTRY_SIZE = 1 + OID_SIZE + 8 + 4 + 8,
	TABLE_CHECKSUM_SIZE = 8,
};

const char *cache_file_name(uint32_t number, char buf[CACHE_NAME_SIZE])
{
	snprintf(buf, CACHE_NAME_SIZE, "%08u", number);
	return buf;
}

const char *cache_table_name(uint32_t number, char buf[CACHE_NAME_SIZE])
{
	snprintf(buf, CACHE_NAME_SIZE, "%08u.tab", number);
	return buf;
}

int cache_table_write(struct cache *c, uint32_t number, const struct index_cached *e, size_t n)
{
	_cleanup_buf_ struct buf b = { 0 };
	_cleanup_close_ int fd = -1;
	char name[CACHE_NAME_SIZE];

	buf_put(&b, TABLE_MAGIC, 4);
	buf_put_u32(&b, TABLE_VERSION);
	buf_put_u32(&b, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		buf_put_u8(&b, e[i].kind);
		buf_put_oid(&b, &e[i].id);
		buf_put_u64(&b, e[i].place.offset);
		buf_put_u32(&b, e[i].place.len);
		buf_put_u64(&b, e[i].place.checksum);
	}
	if (buf_failed(&b))
		return -ENOMEM;
	buf_put_u64(&b, xxh64(b.data, b.len, 0));
	if (buf_failed(&b))
		return -ENOMEM;
	/* Half a table has no checksum, and counts as none. */
	fd = openat(c->dirfd, cache_table_name(number, name),
		    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : write_all(fd, b.data, b.len);
}

int cache_table_read(struct cache *c, uint32_t number, struct index_cached **ret, size_t *ret_n)
{
	_cleanup_free_ struct index_cached *e = NULL;
	_cleanup_buf_ struct buf b = { 0 };
	char name[CACHE_NAME_SIZE];
	struct cursor cur;
	struct span magic;
	uint32_t n;
	int r;

	r = read_file(c->dirfd, cache_table_name(number, name), TABLE_MAX, &b);
	if (r < 0)
		return r;
	cur = cursor_of(buf_span(&b));
	magic = rd_bytes(&cur, 4);
	if (rd_u32(&cur) != TABLE_VERSION || memcmp(magic.data, TABLE_MAGIC, 4) != 0)
		return -EBADMSG;
	n = rd_u32(&cur);
	if (cursor_failed(&cur) ||
	    cursor_left(&cur) != (uint64_t)n * TABLE_ENTRY_SIZE + TABLE_CHECKSUM_SIZE)
		return -EBADMSG;
	e = reallocarray(NULL, MAX(n, 1u), sizeof(*e));
	if (!e)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		e[i].kind = rd_u8(&cur);
		e[i].id = rd_oid(&cur);
		e[i].place.file = number;
		e[i].place.offset = rd_u64(&cur);
		e[i].place.len = rd_u32(&cur);
		e[i].place.checksum = rd_u64(&cur);
	}
	if (rd_u64(&cur) != xxh64(b.data, b.len - TABLE_CHECKSUM_SIZE, 0) || !cursor_at_end(&cur))
		return -EBADMSG;
	*ret = TAKE_PTR(e);
	*ret_n = n;
	return 0;
}

struct cache_file *cache_file_new(struct cache *c, uint32_t number, uint64_t span)
{
	struct cache_file *f = new0(struct cache_file, 1);

	if (!f)
		return NULL;
	f->number = number;
	f->refs = 1;
	f->words = span / CACHE_LARGE + 1;
	f->checked = new0(atomic_uint_fast64_t, f->words);
	f->used = new0(atomic_uchar, f->words);
	if (!f->checked || !f->used || htab_insert(&c->files, &f->hash, hash_u64(number)) < 0) {
		free(f->checked);
		free(f->used);
		free(f);
		return NULL;
	}
	list_append(&c->order, &f->list);
	c->last_number = MAX(c->last_number, number);
	return f;
}

struct cache_file *cache_file_find(struct cache *c, uint32_t number)
{
	htab_for_each (n, &c->files, hash_u64(number)) {
		struct cache_file *f = container_of(n, struct cache_file, hash);

		if (f->number == number) {
			f->refs++;
			return f;
		}
	}
	return NULL;
}

void cache_file_put(struct cache *c, struct cache_file *f)
{
	if (--f->refs > 0)
		return;
	free(f->entries);
	free(f->checked);
	free(f->used);
	free(f);
}

void cache_file_forget(struct cache *c, struct cache_file *f)
{
	c->used -= f->size;
	list_remove(&f->list);
	htab_remove(&c->files, &f->hash);
	cache_file_put(c, f);
}

void cache_seal(struct cache *c, struct cache_file *f)
{
	f->is_sealed = true;
	if (c->active == f)
		c->active = NULL;
	f->refs++;
	f->writers++;
	pthread_mutex_unlock(&c->lock);
	cache_table_write(c, f->number, f->entries, f->entry_count);
	pthread_mutex_lock(&c->lock);
	f->writers--;
	pthread_cond_broadcast(&c->wake);
	free(f->entries);
	f->entries = NULL;
	f->entry_count = f->entry_cap = 0;
	cache_file_put(c, f);
}

/* The number in a file's name, and whether it is a table's. 0: something else. */
static uint32_t parse_name(const char *name, bool *ret_is_table)
{
	const char *dot = strchr(name, '.');
	size_t n = dot ? (size_t)(dot - name) : strlen(name);
	char digits[CACHE_NAME_SIZE];
	uint64_t v;

	if (n < 8 || n > 10 || (dot && strcmp(dot, ".tab") != 0))
		return 0;
	memcpy(digits, name, n);
	digits[n] = '\0';
	if (parse_u64(digits, &v) < 0 || v > UINT32_MAX)
		return 0;
	*ret_is_table = dot != NULL;
	return (uint32_t)v;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* The numbers of all data files, ascending; tables without one are removed. */
static int list_files(struct cache *c, uint32_t **ret, size_t *ret_n)
{
	int fd = openat(c->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ uint32_t *numbers = NULL;
	struct dirent *e;
	size_t n = 0, cap = 0;
	DIR *d;

	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return -ENOMEM;
	}
	while ((e = readdir(d))) {
		char name[CACHE_NAME_SIZE];
		bool is_table;
		uint32_t number = parse_name(e->d_name, &is_table);

		if (number == 0)
			continue;
		if (is_table) {
			if (faccessat(c->dirfd, cache_file_name(number, name), F_OK, 0) < 0)
				unlinkat(c->dirfd, e->d_name, 0);
			continue;
		}
		if (n == cap) {
			uint32_t *more;

			cap = MAX(2 * cap, (size_t)64);
			more = reallocarray(numbers, cap, sizeof(more[0]));
			if (!more) {
				closedir(d);
				return -ENOMEM;
			}
			numbers = more;
		}
		numbers[n++] = number;
	}
	closedir(d);
	if (n > 0)
		qsort(numbers, n, sizeof(numbers[0]), by_number);
	*ret = TAKE_PTR(numbers);
	*ret_n = n;
	return 0;
}

/* One file that was left by a former process. */
static int take_in(struct cache *c, uint32_t number)
{
	char name[CACHE_NAME_SIZE], table[CACHE_NAME_SIZE];
	struct cache_file *f;
	struct stat st;

	if (fstatat(c->dirfd, cache_file_name(number, name), &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	f = cache_file_new(c, number, (uint64_t)st.st_size);
	if (!f)
		return -ENOMEM;
	f->end = (uint64_t)st.st_size;
	f->size = (uint64_t)st.st_blocks * 512;
	c->used += f->size;
	f->is_sealed = faccessat(c->dirfd, cache_table_name(number, table), F_OK, 0) == 0;
	return 0;
}

/* Notes an entry of a file that was being filled when its process died. */
static int gather(const struct index_cached *e, void *ctx)
{
	struct cache *c = ctx;
	struct cache_file *f = cache_file_find(c, e->place.file);
	int r = 0;

	if (!f)
		return 0;
	if (!f->is_sealed) {
		if (f->entry_count == f->entry_cap) {
			size_t cap = MAX(2 * f->entry_cap, (size_t)256);
			struct index_cached *more = reallocarray(f->entries, cap, sizeof(more[0]));

			r = more ? 0 : -ENOMEM;
			f->entries = more ?: f->entries;
			f->entry_cap = more ? cap : f->entry_cap;
		}
		if (r == 0)
			f->entries[f->entry_count++] = *e;
	}
	cache_file_put(c, f);
	return r;
}

int cache_scan(struct cache *c)
{
	_cleanup_free_ uint32_t *numbers = NULL;
	bool has_open = false;
	size_t n = 0;
	int r;

	r = list_files(c, &numbers, &n);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = take_in(c, numbers[i]);
	if (r < 0)
		return r;
	list_for_each (f, &c->order, struct cache_file, list)
		has_open |= !f->is_sealed;
	if (!has_open)
		return 0;
	/* What the index knows of them becomes their table; without it they are of no use. */
	if (!c->must_reload)
		r = index_cached_walk(c->index, gather, c);
	if (r < 0)
		return r;
	pthread_mutex_lock(&c->lock);
	list_for_each_safe (f, &c->order, struct cache_file, list) {
		char name[CACHE_NAME_SIZE];

		if (f->is_sealed)
			continue;
		if (f->entry_count > 0) {
			cache_seal(c, f);
			continue;
		}
		unlinkat(c->dirfd, cache_file_name(f->number, name), 0);
		cache_file_forget(c, f);
	}
	pthread_mutex_unlock(&c->lock);
	return 0;
}
