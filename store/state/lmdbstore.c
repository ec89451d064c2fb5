/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The LMDB environment of lmdbstore.h: opening, reading, and the map. lmdbstore_write.c writes.
 *
 * All records are in the unnamed database (a named one costs a look-up in every transaction). A
 * record is
 *
 *	key	as the table has it
 *	value	u32 xxh of the key, u32 xxh of the rest (each the lower half), the value
 *
 * and in the layer that is nobody's:
 *
 *	'p'		version u32 (1), position u64
 *	'd' layer	nothing: that layer is dropped and not yet purged
 *
 * The environment is made under another name and renamed when it is durable: half of one is never
 * found. MDB_WRITEMAP is out, as a stray write could go through it.
 *
 * Reading transactions are kept for reuse: renewing one costs a tenth of beginning it. map_lock is
 * read while one is open, so that the map moves when there is none.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "base/log.h"
#include "index/index.h"
#include "state/batch.h"
#include "state/lmdbstore_env.h"

#define HEADS	  "heads"
#define HEADS_NEW "heads.new"

enum {
	READERS_MAX = 1022,
	IDLE_MAX = 32,
};

struct lmdbread {
	struct lmdbstore *store; /* borrowed */
	MDB_txn *txn; /* owned */
	MDB_cursor *cursor; /* owned */
	MDB_val key, value; /* where the cursor is */
	struct lmdbread *next; /* in the store's list of idle ones */
};

int lmdb_errno(int result)
{
	switch (result) {
	case MDB_SUCCESS:
		return 0;
	case MDB_NOTFOUND:
		return -ENOENT;
	case MDB_MAP_FULL:
		return -ENOSPC;
	case MDB_READERS_FULL:
		return -EBUSY;
	case MDB_PANIC:
		return -EIO;
	default:
		return result > 0 ? -result : -EBADMSG;
	}
}

struct span own_key(uint8_t buf[OWN_KEY_MAX], char letter, uint32_t layer)
{
	uint32_t own = htobe32(TABLE_LAYER_OWN), le = htole32(layer);

	memcpy(buf, &own, sizeof(own));
	buf[TABLE_LAYER_LEN] = (uint8_t)letter;
	memcpy(buf + TABLE_LAYER_LEN + 1, &le, sizeof(le));
	return span_of(buf, letter == OWN_POSITION ? TABLE_LAYER_LEN + 1 : OWN_KEY_MAX);
}

static int damaged_record(struct span key, const char *what)
{
	char hex[2 * TABLE_KEY_MAX + 1];

	hex_encode(key.data, MIN(key.len, (size_t)TABLE_KEY_MAX), hex);
	return log_fail(-EBADMSG, HEADS ": the %s of the record with the key %s is damaged", what,
			hex);
}

/* A stored value without its checksums. */
static int open_value(struct span key, struct span raw, struct span *ret)
{
	struct cursor c = cursor_of(raw);
	uint32_t key_sum = rd_u32(&c), value_sum = rd_u32(&c);
	struct span value = rd_bytes(&c, cursor_left(&c));

	if (cursor_failed(&c) || key_sum != record_sum(key))
		return damaged_record(key, "key");
	if (value_sum != record_sum(value))
		return damaged_record(key, "value");
	*ret = value;
	return 0;
}

/* Reading */

static void read_free(struct lmdbread *r)
{
	if (r->cursor)
		mdb_cursor_close(r->cursor);
	if (r->txn)
		mdb_txn_abort(r->txn);
	free(r);
}

static int read_new(struct lmdbstore *s, struct lmdbread **ret)
{
	struct lmdbread *r = new0(struct lmdbread, 1);
	int e;

	if (!r)
		return -ENOMEM;
	r->store = s;
	e = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &r->txn);
	if (e == 0)
		e = mdb_cursor_open(r->txn, s->dbi, &r->cursor);
	if (e) {
		read_free(r);
		return lmdb_errno(e);
	}
	*ret = r;
	return 0;
}

int lmdbread_begin(struct lmdbstore *s, struct lmdbread **ret)
{
	struct lmdbread *r;
	int e;

	pthread_rwlock_rdlock(&s->map_lock);
	pthread_mutex_lock(&s->idle_lock);
	r = s->idle;
	if (r) {
		s->idle = r->next;
		s->idle_count--;
	}
	pthread_mutex_unlock(&s->idle_lock);
	if (!r) {
		e = read_new(s, ret);
		if (e < 0)
			pthread_rwlock_unlock(&s->map_lock);
		return e;
	}
	e = mdb_txn_renew(r->txn);
	if (e == 0)
		e = mdb_cursor_renew(r->txn, r->cursor);
	if (e) {
		read_free(r);
		pthread_rwlock_unlock(&s->map_lock);
		return lmdb_errno(e);
	}
	*ret = r;
	return 0;
}

void lmdbread_end(struct lmdbread *r)
{
	struct lmdbstore *s = r->store;
	bool is_kept;

	mdb_txn_reset(r->txn);
	pthread_mutex_lock(&s->idle_lock);
	is_kept = s->idle_count < IDLE_MAX;
	if (is_kept) {
		r->next = s->idle;
		s->idle = r;
		s->idle_count++;
	}
	pthread_mutex_unlock(&s->idle_lock);
	if (!is_kept)
		read_free(r);
	pthread_rwlock_unlock(&s->map_lock);
}

static int at_cursor(struct lmdbread *r, MDB_cursor_op op)
{
	return lmdb_errno(mdb_cursor_get(r->cursor, &r->key, &r->value, op));
}

static struct span val_span(const MDB_val *v)
{
	return span_of(v->mv_data, v->mv_size);
}

int lmdbread_get(struct lmdbread *r, struct span key, struct span *ret)
{
	int e;

	r->key = (MDB_val){ .mv_size = key.len, .mv_data = (void *)key.data };
	e = at_cursor(r, MDB_SET);
	return e < 0 ? e : open_value(key, val_span(&r->value), ret);
}

static int read_first(struct lmdbread *r, struct span *ret_key)
{
	int e = at_cursor(r, MDB_FIRST);

	if (e == 0)
		*ret_key = val_span(&r->key);
	return e;
}

int lmdbread_seek(struct lmdbread *r, struct span at, bool beyond, bool back, struct span *ret_key)
{
	bool is_equal;
	int e;

	if (at.len == 0 && back)
		return -ENOENT;
	if (at.len == 0)
		return read_first(r, ret_key);
	r->key = (MDB_val){ .mv_size = at.len, .mv_data = (void *)at.data };
	e = at_cursor(r, MDB_SET_RANGE);
	if (e < 0 && e != -ENOENT)
		return e;
	is_equal = e == 0 && span_equal(val_span(&r->key), at);
	if (back && e == -ENOENT)
		e = at_cursor(r, MDB_LAST);
	else if (back && (!is_equal || beyond))
		e = at_cursor(r, MDB_PREV);
	else if (!back && is_equal && beyond)
		e = at_cursor(r, MDB_NEXT);
	if (e == 0)
		*ret_key = val_span(&r->key);
	return e;
}

int lmdbread_step(struct lmdbread *r, bool back, struct span *ret_key)
{
	int e = at_cursor(r, back ? MDB_PREV : MDB_NEXT);

	if (e == 0)
		*ret_key = val_span(&r->key);
	return e;
}

int lmdbread_value(struct lmdbread *r, struct span *ret)
{
	return open_value(val_span(&r->key), val_span(&r->value), ret);
}

/* The map */

uint64_t lmdbstore_pages_end(struct lmdbstore *s)
{
	MDB_envinfo info;

	WITH_RDLOCK(&s->map_lock);
	mdb_env_info(s->env, &info);
	return ((uint64_t)info.me_last_pgno + 1) * s->page_size;
}

int lmdbstore_need_map(struct lmdbstore *s, uint64_t bytes)
{
	uint64_t size = s->map_size;

	if (bytes <= size)
		return 0;
	while (size < bytes)
		size *= 2;
	WITH_WRLOCK(&s->map_lock);
	/* A failure leaves LMDB without a map: there is no going on. */
	if (mdb_env_set_mapsize(s->env, size))
		return -EIO;
	s->map_size = size;
	return 0;
}

/* Opening */

static int env_open(struct lmdbstore *s, int dirfd)
{
	char path[64];
	mdb_filehandle_t fd;
	struct stat st;
	MDB_txn *txn;
	MDB_stat ms;
	int e;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", dirfd);
	s->map_size = LMDB_MAP_FIRST;
	if (fstatat(dirfd, "data.mdb", &st, 0) == 0)
		while (s->map_size < 2 * (uint64_t)st.st_size)
			s->map_size *= 2;
	e = mdb_env_create(&s->env);
	if (e == 0)
		e = mdb_env_set_maxreaders(s->env, READERS_MAX);
	if (e == 0)
		e = mdb_env_set_mapsize(s->env, s->map_size);
	if (e == 0)
		e = mdb_env_open(s->env, path, MDB_NOTLS, 0600);
	if (e == 0)
		e = mdb_env_get_fd(s->env, &fd);
	if (e == 0)
		e = mdb_env_stat(s->env, &ms);
	if (e == 0)
		e = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
	if (e)
		return lmdb_errno(e);
	e = mdb_dbi_open(txn, NULL, 0, &s->dbi);
	mdb_txn_abort(txn);
	if (e)
		return lmdb_errno(e);
	s->fd = fd;
	s->page_size = ms.ms_psize;
	if (fstat(fd, &st) < 0)
		return -errno;
	s->file_end = (uint64_t)st.st_size;
	return 0;
}

static int store_new(int dirfd, uint64_t memory_bytes, struct lmdbstore **ret)
{
	_cleanup_(lmdbstore_freep) struct lmdbstore *s = new0(struct lmdbstore, 1);
	int r;

	if (!s)
		return -ENOMEM;
	rwlock_init_writers_first(&s->map_lock);
	pthread_mutex_init(&s->idle_lock, NULL);
	pthread_mutex_init(&s->room_lock, NULL);
	lmdbstore_scale(s, memory_bytes);
	r = env_open(s, dirfd);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

void lmdbstore_free(struct lmdbstore *s)
{
	struct lmdbread *r;

	if (!s)
		return;
	while ((r = s->idle)) {
		s->idle = r->next;
		read_free(r);
	}
	lmdbstore_abort(s);
	if (s->env)
		mdb_env_close(s->env);
	layerset_release(&s->layers);
	layerset_release(&s->dropped);
	pthread_mutex_destroy(&s->room_lock);
	pthread_mutex_destroy(&s->idle_lock);
	pthread_rwlock_destroy(&s->map_lock);
	free(s);
}

/* Makes "heads/" with an empty environment, whole or not at all. */
static int create(int dirfd, uint64_t memory_bytes)
{
	_cleanup_close_ int fd = -1;
	struct lmdbstore *s;
	int r;

	r = remove_tree(dirfd, HEADS_NEW);
	if (r == 0 && mkdirat(dirfd, HEADS_NEW, 0700) < 0)
		r = -errno;
	if (r < 0)
		return r;
	fd = openat(dirfd, HEADS_NEW, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = store_new(fd, memory_bytes, &s);
	if (r < 0)
		return r;
	r = lmdbstore_begin(s);
	if (r == 0)
		r = lmdbstore_put_position(s, 0);
	if (r == 0)
		r = lmdbstore_commit(s);
	lmdbstore_free(s);
	if (r == 0)
		r = fsync_fd(fd);
	if (r == 0)
		r = remove_tree(dirfd, HEADS);
	if (r == 0 && renameat(dirfd, HEADS_NEW, dirfd, HEADS) < 0)
		r = -errno;
	return r;
}

static int load_own(struct lmdbstore *s, struct span key, struct span value)
{
	struct cursor k = cursor_of(key), v = cursor_of(value);
	uint32_t version, layer;
	uint8_t letter;

	rd_bytes(&k, TABLE_LAYER_LEN);
	letter = rd_u8(&k);
	if (letter == OWN_POSITION) {
		version = rd_u32(&v);
		s->position = rd_u64(&v);
		if (cursor_failed(&v) || version != RECORDS_VERSION)
			return log_fail(-EBADMSG, HEADS " is of a version that is not known (%u)",
					version);
		s->has_position = true;
		return 0;
	}
	layer = rd_u32(&k);
	if (letter != OWN_DROPPED || !cursor_at_end(&k))
		return damaged_record(key, "key");
	return layerset_add(&s->dropped, layer);
}

/* Looks at every record: which layers there are, and whether keys are what they were. */
static int load(struct lmdbstore *s)
{
	_cleanup_(lmdbread_endp) struct lmdbread *read = NULL;
	uint32_t last = 0;
	struct span key;
	bool is_first = true;
	int r;

	r = lmdbread_begin(s, &read);
	if (r < 0)
		return r;
	for (r = read_first(read, &key); r == 0; r = lmdbread_step(read, false, &key)) {
		struct cursor c = cursor_of(val_span(&read->value));
		struct span value;

		if (key.len < TABLE_LAYER_LEN || rd_u32(&c) != record_sum(key) || cursor_failed(&c))
			return damaged_record(key, "key");
		if (key_layer(key) == TABLE_LAYER_OWN) {
			r = open_value(key, val_span(&read->value), &value);
			if (r == 0)
				r = load_own(s, key, value);
		} else if (is_first || key_layer(key) != last) {
			last = key_layer(key);
			is_first = false;
			r = layerset_add(&s->layers, last);
		}
		if (r < 0)
			return r;
	}
	if (r != -ENOENT)
		return r;
	return s->has_position ? 0 : log_fail(-EBADMSG, HEADS " does not say what it holds");
}

static int open_checked(int dirfd, uint64_t memory_bytes, struct lmdbstore **ret)
{
	_cleanup_close_ int fd = openat(dirfd, HEADS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(lmdbstore_freep) struct lmdbstore *s = NULL;
	int r;

	if (fd < 0)
		return -errno;
	r = lmdb_check(fd);
	if (r == -EBADMSG)
		return log_fail(r, HEADS ", with what is uncommitted on this machine, is damaged");
	if (r == 0)
		r = store_new(fd, memory_bytes, &s);
	if (r == 0)
		r = load(s);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

int lmdbstore_open(int dirfd, uint64_t memory_bytes, struct lmdbstore **ret)
{
	int r = open_checked(dirfd, memory_bytes, ret);

	if (r != -ENOENT)
		return r;
	r = create(dirfd, memory_bytes);
	return r < 0 ? r : open_checked(dirfd, memory_bytes, ret);
}

uint64_t lmdbstore_position(const struct lmdbstore *s)
{
	return s->position;
}

struct layerset *lmdbstore_layers(struct lmdbstore *s)
{
	return &s->layers;
}

struct layerset *lmdbstore_dropped(struct lmdbstore *s)
{
	return &s->dropped;
}
