/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The inside of the LMDB store, for lmdbstore.c and lmdbstore_write.c.
 */
#pragma once

#include <lmdb.h>

#include "base/cursor.h"
#include "base/hash.h"
#include "base/text.h"
#include "base/thread.h"
#include "state/lmdbstore.h"

#define LMDB_MAP_FIRST (64 * MiB)

enum {
	RECORDS_VERSION = 1,
	OWN_POSITION = 'p',
	OWN_DROPPED = 'd',
	OWN_KEY_MAX = 4 + 1 + 4,
	RECORD_SUMS = 8, /* before every value */
};

struct lmdbstore {
	MDB_env *env;
	MDB_dbi dbi;
	int fd; /* the environment's */
	unsigned page_size;
	pthread_rwlock_t map_lock; /* read: a reading transaction is open; rank 50 */
	uint64_t map_size; /* guarded by map_lock */
	pthread_mutex_t idle_lock; /* rank 51 */
	struct lmdbread *idle; /* guarded by idle_lock; owned */
	unsigned idle_count; /* guarded by idle_lock */
	/* Found at opening. */
	uint64_t position;
	bool has_position;
	struct layerset layers, dropped;
	/* The writer's. */
	MDB_txn *txn; /* NULL: none is open */
	MDB_cursor *cursor;
	size_t txn_records, txn_bytes;
	size_t txn_records_max, txn_bytes_max;
	uint64_t txn_space; /* disk that a full transaction can take */
	uint64_t reserve; /* disk to be kept for checkpoints */
	pthread_mutex_t room_lock; /* rank 49 */
	uint64_t file_end; /* guarded by room_lock: disk is allocated up to here */
};

int lmdb_errno(int result);

/* One of the table's own keys; @layer is for OWN_DROPPED. */
struct span own_key(uint8_t buf[OWN_KEY_MAX], char letter, uint32_t layer);

static inline uint32_t record_sum(struct span s)
{
	return (uint32_t)xxh64(s.data, s.len, 0);
}

/* Sets the writer's limits. */
void lmdbstore_scale(struct lmdbstore *s, uint64_t memory_bytes);

/* Where the last page in use ends; a map for at least @bytes. */
uint64_t lmdbstore_pages_end(struct lmdbstore *s);
int lmdbstore_need_map(struct lmdbstore *s, uint64_t bytes);
