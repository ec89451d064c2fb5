/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Nodes and chunks by content id, from memory, the disk cache, or the backend: everything is held
 * against its id before anyone sees it, and what does not match is logged with object and place,
 * once, and never cached.
 *
 * A location hint is tried first; when it leads nowhere or to something else, the index is asked,
 * then the footers of packs no segment covers. Two threads that miss the same thing fetch it once.
 * What could not be had is not looked for again for some seconds.
 *
 * Errors. Who asks for an object by its id gets -ENOENT (the store lacks it) or -EBADMSG (it is
 * damaged). What follows from there for files - reader_source() with the trees, access_wait(),
 * content_read(), xattrs_load() - says -EIO for an object that is missing, so that -ENOENT is only
 * ever about names; -EBADMSG stays, for clients to turn into EIO. Besides: -EAGAIN, -EIO (the
 * backend), -EACCES, -ETIME, -ECANCELED, -ENOMEM.
 *
 * Memory has two budgets (nodes, chunks), each a least-recently-used list. An access may be NULL:
 * one that waits for ever.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "backend/backend.h"
#include "object/access.h"
#include "tree/tree.h"

struct index;
struct cache;

struct reader_options {
	struct backend *backend; /* borrowed, as all here */
	struct index *index;
	struct cache *cache; /* NULL: none on disk */
	uint64_t node_bytes, chunk_bytes; /* memory budgets */
	unsigned fetch_threads; /* for prefetches */
};

int reader_new(const struct reader_options *o, struct reader **ret);
void reader_free(struct reader *r);
DEFINE_CLEANUP(struct reader *, reader_free)

/* A node by its id, a reference of the caller's. With the access at hand: -EAGAIN when it is not
 * in memory. */
int reader_node(struct reader *r, const struct oid *id, const struct loc *hint, struct access *acc,
		struct node **ret);

/* Bytes [@off, @off + @len) of the chunk @id into @buf; -EBADMSG when it has not that many. */
int reader_read(struct reader *r, const struct oid *id, const struct loc *hint, uint32_t off,
		uint32_t len, void *buf, struct access *acc);

/* A verified chunk whole, shared and read-only; what keeps it is its owner's. */
struct blob {
	struct oid id;
	uint32_t len;
	const uint8_t *data;
	/* private from here */
	void *owner;
};
int reader_chunk(struct reader *r, const struct oid *id, const struct loc *hint, struct access *acc,
		 struct blob **ret);
struct blob *blob_ref(struct blob *b);
void blob_unref(struct blob *b);
DEFINE_CLEANUP(struct blob *, blob_unref)

/* Starts fetching a chunk that is likely to be read soon; never waits, and may do nothing. */
void reader_prefetch(struct reader *r, const struct oid *id, const struct loc *hint);

/* What was just stored and will be read again: a node into the memory. @n is taken. */
void reader_offer_node(struct reader *r, struct node *n);

/* A tree's nodes through a reader and an access. */
struct reader_source {
	struct node_source base;
	struct reader *reader;
	struct access *access;
};
struct reader_source reader_source(struct reader *r, struct access *acc);

/* A file's content: reads up to @len bytes at @off into @buf, holes as zeroes; returns how many
 * (fewer only at the end), or an error. Walks extents as needed. */
int64_t content_read(struct reader *r, const struct content *c, uint64_t off, size_t len, void *buf,
		     struct access *acc);

/* Starts fetching the chunks of [@off, @off + @len), as far as the tree's nodes are at hand and
 * there is room; never waits. Returns up to where they are on their way, or here. */
uint64_t content_prefetch(struct reader *r, const struct content *c, uint64_t off, size_t len);

/* The extended attributes of an inode as one list, in @ret (emptied first). */
int xattrs_load(struct reader *r, const struct xattrs *x, struct access *acc, struct buf *ret);

struct reader_stats {
	uint64_t node_hits, node_misses, chunk_hits, chunk_misses, disk_hits;
	uint64_t fetches, fetched_bytes, refetches_by_index, bad;
	uint64_t node_memory, chunk_memory;
};
void reader_stats(struct reader *r, struct reader_stats *ret);
