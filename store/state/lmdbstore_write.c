/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The writing half of lmdbstore.h.
 *
 * The pages that a transaction changes are copied into malloc'ed memory until it is committed, and
 * LMDB writes to pages that the last commits gave free, or to new ones at the end. So transactions
 * are bounded, in records and bytes, and before one begins there is disk at the end of the file,
 * and map, for all it could take: a commit does not fail for want of space, and what would, fails
 * before it has begun.
 *
 * Threads: one at a time; the environment's readers go on meanwhile.
 */
#include <fcntl.h>

#include "state/lmdbstore_env.h"

enum {
	TXN_RECORDS_MIN = 32,
	TXN_RECORDS_MAX = 512,
	TXN_BYTES_MIN = 16 << 10,
	TXN_BYTES_MAX = 1 << 20,
	PAGES_A_RECORD =
		3, /* its leaf, the leaf's half after a split, and a share of what is above */
	PAGES_ASIDE = 64, /* the path from the root, the list of free pages */
	PURGE_RECORDS = 2048,
	ALLOCATE_STEP = 4 << 20,
};

void lmdbstore_scale(struct lmdbstore *s, uint64_t memory_bytes)
{
	uint64_t records = memory_bytes / (64 * KiB), bytes = memory_bytes / 32;

	s->txn_records_max = CLAMP(records, TXN_RECORDS_MIN, TXN_RECORDS_MAX);
	s->txn_bytes_max = CLAMP(bytes, TXN_BYTES_MIN, TXN_BYTES_MAX);
	/* The record that passes the bound can be one of the largest. */
	s->txn_space = (s->txn_records_max * PAGES_A_RECORD + PAGES_ASIDE) * 4096 +
		       2 * (s->txn_bytes_max + (1 << 20) + 2 * 4096);
	/* Pages can be less than half full; those that two commits freed are not free yet. */
	s->reserve = 2 * memory_bytes + 3 * s->txn_space;
}

/* Bytes in pages that the next transaction may use again: the database of free pages lists them by
 * the transaction that freed them, and those of the last one are not free yet. */
static uint64_t free_bytes(struct lmdbstore *s)
{
	uint64_t pages = 0;
	size_t id, count;
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_txn *txn;

	WITH_RDLOCK(&s->map_lock);
	if (mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn))
		return 0;
	if (mdb_cursor_open(txn, 0, &cursor) == 0) {
		while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
			memcpy(&id, key.mv_data, sizeof(id));
			memcpy(&count, value.mv_data, sizeof(count));
			if (id < mdb_txn_id(txn))
				pages += count;
		}
		mdb_cursor_close(cursor);
	}
	mdb_txn_abort(txn);
	return pages * s->page_size;
}

/* Has the file's end behind the last page in use @room bytes of disk? In steps, so that a disk that
 * is nearly full gives what it has. */
static int allocate(struct lmdbstore *s, uint64_t room)
{
	uint64_t end = lmdbstore_pages_end(s) + room;

	while (s->file_end < end) {
		uint64_t step = MIN(end - s->file_end, (uint64_t)ALLOCATE_STEP);

		if (fallocate(s->fd, 0, (off_t)s->file_end, (off_t)step) < 0)
			return errno == EOPNOTSUPP ? 0 : -errno;
		s->file_end += step;
	}
	return 0;
}

static int need_room(struct lmdbstore *s, uint64_t room)
{
	uint64_t in_free;
	int r;

	WITH_LOCK(&s->room_lock);
	r = allocate(s, room);
	if (r == 0)
		return 0;
	in_free = free_bytes(s);
	if (in_free < room)
		r = allocate(s, room - in_free);
	else
		r = 0;
	return r == 0 ? 0 : -ENOSPC;
}

int lmdbstore_reserve(struct lmdbstore *s)
{
	return need_room(s, s->reserve);
}

int lmdbstore_begin(struct lmdbstore *s)
{
	int r = need_room(s, s->txn_space);

	if (r == 0)
		r = lmdbstore_need_map(s, lmdbstore_pages_end(s) + 2 * s->txn_space);
	if (r < 0)
		return r;
	s->txn_records = 0;
	s->txn_bytes = 0;
	r = lmdb_errno(mdb_txn_begin(s->env, NULL, 0, &s->txn));
	if (r == 0)
		r = lmdb_errno(mdb_cursor_open(s->txn, s->dbi, &s->cursor));
	if (r < 0)
		lmdbstore_abort(s);
	return r;
}

int lmdbstore_put(struct lmdbstore *s, struct span key, struct span value)
{
	MDB_val k = { .mv_size = key.len, .mv_data = (void *)key.data };
	MDB_val v = { .mv_size = RECORD_SUMS + value.len };
	uint32_t sums[2] = { htole32(record_sum(key)), htole32(record_sum(value)) };
	int r;

	_Static_assert(sizeof(sums) == RECORD_SUMS, "what lies before a value");
	r = lmdb_errno(mdb_cursor_put(s->cursor, &k, &v, MDB_RESERVE));
	if (r < 0)
		return r;
	memcpy(v.mv_data, sums, RECORD_SUMS);
	if (value.len > 0)
		memcpy((uint8_t *)v.mv_data + RECORD_SUMS, value.data, value.len);
	s->txn_records++;
	s->txn_bytes += key.len + value.len;
	return 0;
}

int lmdbstore_delete(struct lmdbstore *s, struct span key)
{
	MDB_val k = { .mv_size = key.len, .mv_data = (void *)key.data };
	int r = lmdb_errno(mdb_del(s->txn, s->dbi, &k, NULL));

	s->txn_records++;
	return r == -ENOENT ? 0 : r;
}

int lmdbstore_put_position(struct lmdbstore *s, uint64_t position)
{
	_cleanup_buf_ struct buf b = { 0 };
	uint8_t key[OWN_KEY_MAX];

	buf_put_u32(&b, RECORDS_VERSION);
	buf_put_u64(&b, position);
	if (buf_failed(&b))
		return -ENOMEM;
	return lmdbstore_put(s, own_key(key, OWN_POSITION, 0), buf_span(&b));
}

int lmdbstore_put_dropped(struct lmdbstore *s, uint32_t layer)
{
	uint8_t key[OWN_KEY_MAX];

	return lmdbstore_put(s, own_key(key, OWN_DROPPED, layer), span_of(NULL, 0));
}

bool lmdbstore_is_full(const struct lmdbstore *s)
{
	return s->txn_records >= s->txn_records_max || s->txn_bytes >= s->txn_bytes_max;
}

int lmdbstore_commit(struct lmdbstore *s)
{
	MDB_txn *txn = TAKE_PTR(s->txn);

	mdb_cursor_close(TAKE_PTR(s->cursor));
	return lmdb_errno(mdb_txn_commit(txn));
}

void lmdbstore_abort(struct lmdbstore *s)
{
	if (s->cursor)
		mdb_cursor_close(TAKE_PTR(s->cursor));
	if (s->txn)
		mdb_txn_abort(TAKE_PTR(s->txn));
}

/* Deletes records from the front of the layer: 1 when there is none left. */
static int delete_front(struct lmdbstore *s, uint32_t layer)
{
	uint32_t be = htobe32(layer);

	for (unsigned n = 0; n < PURGE_RECORDS; n++) {
		MDB_val key = { .mv_size = sizeof(be), .mv_data = &be }, value;
		int r = lmdb_errno(mdb_cursor_get(s->cursor, &key, &value, MDB_SET_RANGE));

		if (r == -ENOENT || (r == 0 && memcmp(key.mv_data, &be, sizeof(be)) != 0))
			return 1;
		if (r == 0)
			r = lmdb_errno(mdb_cursor_del(s->cursor, 0));
		if (r < 0)
			return r;
	}
	return 0;
}

int lmdbstore_purge(struct lmdbstore *s, uint32_t layer)
{
	uint8_t key[OWN_KEY_MAX];
	int r, done;

	r = lmdbstore_begin(s);
	if (r < 0)
		return r;
	done = delete_front(s, layer);
	r = done == 1 ? lmdbstore_delete(s, own_key(key, OWN_DROPPED, layer)) : MIN(done, 0);
	if (r == 0)
		r = lmdbstore_commit(s);
	else
		lmdbstore_abort(s);
	return r < 0 ? r : done;
}
