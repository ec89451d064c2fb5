/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table of what is uncommitted: an ordered map from keys to values that keeps what it has
 * promised. It knows nothing of files; head/record.h says what is in it.
 *
 *	table_apply --> journal (one checksummed append) --> memory table --> caller returns
 *	                                                        | checkpoint, in the background
 *	                                                        v
 *	                                                      LMDB
 *
 * The first four bytes of a key are its layer, big-endian. Layer numbers are given out once and
 * for ever; a layer is dropped as a whole. Layer 0 is for what belongs to no layer.
 *
 * Promises
 *  - a batch is whole or absent, after kill -9 as after power loss
 *  - once table_apply() has returned, kill -9 cannot undo it
 *  - once table_sync() has returned, power loss cannot undo what was applied before the call; what
 *    the records refer to in staging files is durable first
 *  - batches are replayed in their order, a prefix of it after power loss
 *
 * After a failed sync the table is broken: every apply and sync returns -EIO, reads go on.
 *
 * Threads: all functions from any thread. Readers see whole batches.
 */
#pragma once

#include "base/buf.h"
#include "base/deadline.h"
#include "base/defs.h"

struct table;

enum {
	TABLE_KEY_MAX = 400,
	TABLE_VALUE_MAX = (1 << 20) + 4096,
	TABLE_BATCH_MAX = 64 << 20, /* bytes of keys and values, about */
};

/*
 * What must be durable before a record that refers to it may be: called with no lock held, in this
 * order, for one sync point after the other; not before the first table_apply(), table_sync(),
 * table_wait_room() or table_checkpoint(), so that what replayed records refer to can be opened
 * first. Any may be NULL.
 */
struct table_hooks {
	/* A sync point begins: what is freed from now on was not freed before it. */
	void (*begin)(void *ctx);
	/* Makes all staged bytes written so far durable. 0 or -errno. */
	int (*sync_data)(void *ctx);
	/* It has passed: what was freed before it began may be reused. Not called if it failed. */
	void (*synced)(void *ctx);
	void *ctx;
};

struct table_options {
	int dirfd; /* the state directory: "journal/" and "heads/" are made below it; duplicated */
	uint64_t memory_bytes; /* of the memory table, before writers wait; 0: 32 MiB */
	struct table_hooks hooks;
};

/*
 * Opens or makes one and replays its journal. 0; -EBADMSG (the LMDB environment is damaged, or a
 * journal is of another version: named in the log, nothing is changed); -errno.
 */
int table_open(const struct table_options *o, struct table **ret);

/* Syncs what is outstanding, unless the hooks may not be called yet; then frees. */
void table_free(struct table *t);
DEFINE_CLEANUP(struct table *, table_free)

/* The value of @key in @ret (emptied first). 0, -ENOENT, -EBADMSG (damaged), -ENOMEM. */
int table_get(struct table *t, struct span key, struct buf *ret);

/* The first key that begins with @prefix and is not below @from: key and value. As table_get(). */
int table_next(struct table *t, struct span prefix, struct span from, struct buf *ret_key,
	       struct buf *ret_value);

/* The key that begins with @prefix and comes next behind @key (empty: the first): then @key is that
 * one. For going over all of them, while others may change them. As table_get(). */
int table_step(struct table *t, struct span prefix, struct buf *key, struct buf *ret_value);

/* The last key that begins with @prefix and is not above @from. As table_get(). */
int table_prev(struct table *t, struct span prefix, struct span from, struct buf *ret_key,
	       struct buf *ret_value);

/* Changes that are made together. A later one of the same key wins. */
struct table_batch {
	struct buf bytes;
	uint32_t count;
	/*
	 * It makes something new (a file, a name). Set by the caller; such batches are the first to
	 * get -ENOSPC when the disk is full, so that what is kept in reserve is left to those that
	 * remove and commit.
	 */
	bool grows;
};
void table_batch_put(struct table_batch *b, struct span key, struct span value);
void table_batch_delete(struct table_batch *b, struct span key);
/* The layer's records are gone, those put before in this batch too; it is never used again. */
void table_batch_drop(struct table_batch *b, uint32_t layer);
void table_batch_release(struct table_batch *b);
#define _cleanup_table_batch_ _cleanup_(table_batch_release)

/* 0; -EIO (broken); -ENOSPC (no room in the journal even after a checkpoint), -ENOMEM, -EINVAL (a
 * limit, or a layer that was dropped), -EFBIG: nothing was done. An empty batch is nothing. */
int table_apply(struct table *t, const struct table_batch *b);

/* Is there room in memory for more? If not, a checkpoint is under way; wait for it with no lock
 * held. 0, or as deadline_check(). */
bool table_has_room(struct table *t);
int table_wait_room(struct table *t, const struct deadline *dl);

/* The sync point of the design: staged data, then the journal. Calls meet: whoever comes while one
 * is under way is served by the next, all together. 0; -EIO (broken); -ENOSPC, -ENOMEM (nothing was
 * synced, and nothing else is wrong). */
int table_sync(struct table *t);

/* Writes the memory table to LMDB now and waits. For tests, and before a long idle time. 0, or as
 * table_sync(). */
int table_checkpoint(struct table *t);

bool table_is_broken(struct table *t);

struct table_stats {
	uint64_t memory_bytes, journal_bytes, applied, checkpoints, syncs;
};
void table_stats(struct table *t, struct table_stats *ret);
