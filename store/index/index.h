/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The local index: what this machine knows of the store, in LMDB and mapped segments. All of it is
 * a cache: deleted or damaged, it is made anew.
 *
 *  - where ids lie: segments (immutable, fetched from the store, mapped) and, for packs that no
 *    segment covers yet, a table
 *  - refs and commits as last seen, so that a mount starts without the store
 *  - what the disk cache holds
 *
 * The LMDB environment is not synced; after another boot it is dropped, and a damaged one is
 * found at open (lmdb_check()) and dropped. Several processes may use one index directory.
 *
 * Threads: all functions from any thread. No transaction is open across any other I/O, and no
 * LMDB value leaves it otherwise than as a copy.
 */
#pragma once

#include "backend/backend.h"
#include "format/segment.h"

struct index;

/* @dirfd: a directory for the index alone (duplicated). @store: an index of another store is
 * dropped. @map_bytes: mapped segments at most, least recently published first to go. */
int index_open(int dirfd, const struct id128 *store, uint64_t map_bytes, struct index **ret);
void index_free(struct index *x);
DEFINE_CLEANUP(struct index *, index_free)

/* Is the place to the caller's liking? */
typedef bool (*index_place_fn)(const struct loc *at, void *ctx);

/* Where @id lies: of the places known, the first that @fn takes (NULL: any). 0, -ENOENT (not known,
 * which proves nothing). */
int index_find(struct index *x, const struct oid *id, index_place_fn fn, void *ctx,
	       struct loc *ret);

/* What should lie in @pack was found damaged. This process remembers a few such packs, so that
 * nothing new relies on them; what is written again goes elsewhere. */
void index_suspect(struct index *x, const struct id128 *pack);
bool index_is_suspect(struct index *x, const struct id128 *pack);

/* A pack this process wrote, or whose footer it read. @entries need not be sorted. */
int index_add_pack(struct index *x, const struct id128 *pack, const struct pack_entry *entries,
		   size_t n);

/* Does the index know what lies in @pack? */
bool index_knows_pack(struct index *x, const struct id128 *pack);

/*
 * Fetches segments that are new in the store, and drops from the table what they cover. With
 * @footers also reads the footers of packs that nothing covers: the last resort of a reader whose
 * hint failed. 0 or the backend's error; what was fetched stays.
 */
int index_refresh(struct index *x, struct backend *b, bool footers, const struct deadline *dl);

/*
 * Publishes a segment when enough packs of this index's own table wait for one (64, or with @force
 * any), and merges 16 of a tier into one of the next. Runs in the background, outside any commit.
 */
int index_publish(struct index *x, struct backend *b, bool force, const struct deadline *dl);

/* Refs and commits by their key, as last seen. */
int index_object_get(struct index *x, const char *key, struct buf *ret, struct etag *ret_tag);
void index_object_put(struct index *x, const char *key, struct span object, const struct etag *tag);
void index_object_forget(struct index *x, const char *key);
/* Every known key with @prefix; as backend list. */
int index_object_list(struct index *x, const char *prefix, backend_list_fn fn, void *ctx);

/* The disk cache's table: an object's place. */
struct index_place {
	uint32_t file;
	uint64_t offset;
	uint32_t len;
	uint64_t checksum;
};
struct index_cached {
	uint8_t kind;
	struct oid id;
	struct index_place place;
};
int index_cached_get(struct index *x, uint8_t kind, const struct oid *id, struct index_place *ret);
int index_cached_put(struct index *x, const struct index_cached *entries, size_t n);
/* The same, but what has a place keeps it. */
int index_cached_add(struct index *x, const struct index_cached *entries, size_t n);
/* Those that still lie there. */
int index_cached_drop(struct index *x, const struct index_cached *entries, size_t n);
/* Every entry, in batches, without a transaction held in between. */
int index_cached_walk(struct index *x, int (*fn)(const struct index_cached *e, void *ctx),
		      void *ctx);

struct index_stats {
	uint64_t ids, packs, segments, mapped_bytes;
};
void index_stats(struct index *x, struct index_stats *ret);

/*
 * Walks an LMDB environment in a child process, so that a damaged file cannot hurt this one.
 * 0, -EBADMSG (damaged), -ENOENT (no environment there), -errno.
 */
int lmdb_check(int dirfd);
