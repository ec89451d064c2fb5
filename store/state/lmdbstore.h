/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The lowest part of a table: an LMDB environment, fully synced. Nothing above knows of LMDB.
 *
 * Every value carries checksums of its key and itself, so that a byte that went bad on the disk is
 * noticed: in a key when the environment is opened, in a value when it is read.
 *
 * Threads: reading and lmdbstore_reserve() from any thread; what follows it from one at a time.
 */
#pragma once

#include "base/buf.h"
#include "state/layerset.h"

struct lmdbstore;
struct lmdbread;

/*
 * Opens or makes "heads/" below @dirfd, for a table of @memory_bytes: this scales how much a
 * transaction holds and how much disk is kept in reserve. What is in it is checked in a child
 * process first, then every key. Then @dirfd is to be synced: a new one's name is not durable.
 *
 * 0; -EBADMSG (damaged, or of another version: logged; nothing is changed); -errno.
 */
int lmdbstore_open(int dirfd, uint64_t memory_bytes, struct lmdbstore **ret);
void lmdbstore_free(struct lmdbstore *s);
DEFINE_CLEANUP(struct lmdbstore *, lmdbstore_free)

/* What was found when it was opened: the journal's record up to which all is in it; layers that
 * have records; those of them that are dropped. The sets are the store's, and the caller's to take
 * over (and leave empty). */
uint64_t lmdbstore_position(const struct lmdbstore *s);
struct layerset *lmdbstore_layers(struct lmdbstore *s);
struct layerset *lmdbstore_dropped(struct lmdbstore *s);

/*
 * A look at the store as it is at this moment, whatever is written meanwhile. Beginning one does no
 * I/O; hold it no longer than it takes to read a record. What is returned is valid until its end.
 */
int lmdbread_begin(struct lmdbstore *s, struct lmdbread **ret);
void lmdbread_end(struct lmdbread *r);
DEFINE_CLEANUP(struct lmdbread *, lmdbread_end)

/* A value; the next key from @at on (with @back: the last up to it), without @at itself where
 * @beyond is set, of whatever layer. 0, -ENOENT, -EBADMSG (logged). */
int lmdbread_get(struct lmdbread *r, struct span key, struct span *ret);
int lmdbread_seek(struct lmdbread *r, struct span at, bool beyond, bool back, struct span *ret_key);
/* The key after (before) the one that the last seek or step gave; its value. */
int lmdbread_step(struct lmdbread *r, bool back, struct span *ret_key);
int lmdbread_value(struct lmdbread *r, struct span *ret);

/* Takes disk space for the checkpoints to come: 0; -ENOSPC (not all could be had). */
int lmdbstore_reserve(struct lmdbstore *s);

/*
 * A write transaction. Begin sees to disk and map for as much as a transaction may hold, so that a
 * commit does not run out of either: -ENOSPC comes from there. After an error in between, or a
 * failed commit, lmdbstore_abort(). An error of the commit but -ENOSPC is for good.
 */
int lmdbstore_begin(struct lmdbstore *s);
int lmdbstore_put(struct lmdbstore *s, struct span key, struct span value);
int lmdbstore_delete(struct lmdbstore *s, struct span key);
int lmdbstore_put_position(struct lmdbstore *s, uint64_t position);
/* Notes that a layer is dropped, until it is purged. */
int lmdbstore_put_dropped(struct lmdbstore *s, uint32_t layer);
/* It holds as much as it should. */
bool lmdbstore_is_full(const struct lmdbstore *s);
int lmdbstore_commit(struct lmdbstore *s);
void lmdbstore_abort(struct lmdbstore *s);

/* Deletes some of a dropped layer's records, in a transaction of its own: 1 when none is left and
 * the note is gone, 0 when there may be more, or an error as above. */
int lmdbstore_purge(struct lmdbstore *s, uint32_t layer);
