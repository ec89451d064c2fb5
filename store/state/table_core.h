/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The inside of the table: table.c opens it and applies, table_read.c reads, checkpoint.c syncs
 * and empties memory into LMDB.
 *
 * A key's state is looked for in the active memory table, in the frozen one (which a checkpoint is
 * writing), in LMDB; the first that knows it decides. A dropped layer is hidden everywhere.
 *
 * Locks, by rank
 *	apply_lock (20)	one batch at a time, so that journal and memory have them in one order
 *	lock (25)	memory tables and sets of layers: to change them takes both locks
 *	sync_lock (22), work_lock (23)	who syncs; what the background is asked for
 * Below them are the journal's (30) and LMDB's map (50).
 */
#pragma once

#include <stdatomic.h>

#include "base/thread.h"
#include "state/batch.h"
#include "state/journal.h"
#include "state/layerset.h"
#include "state/lmdbstore.h"
#include "state/memtable.h"
#include "state/table.h"

#define TABLE_MEMORY_DEFAULT (32 * MiB)
#define TABLE_JOURNAL_MAX    (64 * MiB) /* more than that: a checkpoint */

struct table {
	uint64_t memory_max;
	struct table_hooks hooks; /* borrowed context */
	struct journal *journal; /* owned */
	struct lmdbstore *store; /* owned; written by the background thread alone */

	pthread_mutex_t apply_lock;
	pthread_rwlock_t lock;
	/* Guarded by lock; owned. */
	struct memtable *active;
	struct memtable *frozen; /* NULL: no checkpoint is under way */
	struct layerset stored; /* layers that LMDB may have records of */
	struct layerset dropped; /* layers that something still has records of */
	struct layerset active_drops; /* dropped since the last checkpoint began */

	atomic_uint_fast64_t applied; /* the journal's number of the last batch */
	atomic_uint_fast64_t memory; /* bytes in both memory tables */
	atomic_bool is_broken;
	atomic_bool is_in_use; /* who opened it has begun: the hooks may be called */
	atomic_bool is_disk_full; /* disk for the next checkpoints could not be had */

	pthread_mutex_t sync_lock;
	pthread_cond_t sync_done;
	bool is_syncing; /* guarded by sync_lock */
	uint64_t durable; /* guarded by sync_lock: batches up to here are */

	pthread_mutex_t work_lock;
	pthread_cond_t work; /* for the background: look again */
	pthread_cond_t checkpoint_done;
	/* Guarded by work_lock: checkpoints count up. */
	uint64_t wanted, begun, ended;
	int result; /* of the last that ended */
	bool is_ending;
	atomic_bool is_kicked; /* the background will look again anyway */
	bool has_worker;
	pthread_t worker;

	/* The background thread's; owned. */
	struct memtable *spare; /* empty, for the next checkpoint; NULL while one is frozen */
	struct layerset frozen_drops; /* dropped before it was frozen, to be noted in LMDB */
	uint64_t frozen_seq; /* the last batch in the frozen table */
	uint64_t position; /* the last batch in LMDB */
	struct layerset purging; /* dropped layers that LMDB knows to be dropped */

	atomic_uint_fast64_t applied_count, checkpoint_count, sync_count;
};

/* No more writing; @r says why. Logged once. */
void table_break(struct table *t, int r, const char *what);

/* Has the background look whether there is something to do. */
void table_kick(struct table *t);

/* Waits for a checkpoint that begins after this call. 0, -ENOSPC, -EIO, -ENOMEM. */
int table_wait_checkpoint(struct table *t);

int table_start_worker(struct table *t);
void table_stop_worker(struct table *t);

static inline void table_count_memory(struct table *t)
{
	t->memory = memtable_bytes(t->active) + (t->frozen ? memtable_bytes(t->frozen) : 0);
}
