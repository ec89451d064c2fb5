/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Verified, uncompressed chunks and nodes on the local disk, kept over restarts, within a budget.
 *
 * Data lies in a few large append-only files; where, the index knows. A file is the unit of
 * eviction: oldest first, but what was read since lives on by being copied to the end.
 *
 * What the disk gives back is held against a checksum the first time in a mount, small objects each
 * time; a mismatch is a miss and the entry goes. Losing the cache, or any part, loses nothing. When
 * the index was dropped, what is here is made known to it again in the background.
 *
 * Threads: all functions from any thread. No lock is held across a read of the disk.
 */
#pragma once

#include "base/buf.h"
#include "base/oid.h"

struct cache;
struct index;

/* @dirfd: an own directory (duplicated), which another process may not use at the same time:
 * -EBUSY. @budget in bytes. */
int cache_open(int dirfd, struct index *index, uint64_t budget, struct cache **ret);
void cache_free(struct cache *c);
DEFINE_CLEANUP(struct cache *, cache_free)

/* Bytes of the object into @buf: 0, or -ENOENT (not here). cache_len() tells an object's length. */
int cache_read(struct cache *c, uint8_t kind, const struct oid *id, uint32_t off, uint32_t len,
	       void *buf);
int cache_len(struct cache *c, uint8_t kind, const struct oid *id, uint32_t *ret_len);

/* Stores a verified object, or does nothing (full, failing disk). For a node, @data is the item of
 * a frame (canonical length, canonical part, hints). */
void cache_put(struct cache *c, uint8_t kind, const struct oid *id, struct span data);

/* The same for several, which then lie together. */
struct cache_item {
	uint8_t kind;
	const struct oid *id; /* borrowed */
	struct span data;
};
void cache_put_all(struct cache *c, const struct cache_item *items, size_t n);

/* The budget may shrink when staged data needs the disk. */
void cache_set_budget(struct cache *c, uint64_t bytes);
uint64_t cache_budget(struct cache *c);
uint64_t cache_used(struct cache *c);
