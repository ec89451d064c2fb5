/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the files of reader.h share.
 */
#pragma once

#include "base/htab.h"
#include "base/list.h"
#include "base/thread.h"
#include "object/load.h"
#include "object/memory.h"
#include "object/reader.h"

/* Counters of reader_stats. */
struct reader_counts {
	atomic_uint_fast64_t node_hits, node_misses, chunk_hits, chunk_misses, disk_hits;
	atomic_uint_fast64_t fetches, fetched_bytes, refetches_by_index, bad;
};

struct reader {
	struct reader_options options;
	struct stretches *stretches;
	struct memory *memory;
	struct loader *loader;
	struct pool *pool; /* prefetches, and what goes to the disk */
	struct pool *runs; /* runs (ahead.h), for which jobs of the other may wait */
	atomic_bool is_ending;
	struct reader_counts counts;

	pthread_mutex_t lock;
	pthread_cond_t landed;
	struct htab flights; /* guarded by lock, as all below: frames on their way */
	struct htab verdicts; /* objects that could not be had */
	struct list verdict_order; /* oldest first */
	unsigned verdict_count;
	unsigned prefetches; /* queued or running */
	uint64_t arriving; /* bytes of packs that are being taken apart (arrival.c) */
	uint64_t ahead_bytes; /* the same of runs (ahead.h), as stored... */
	uint64_t ahead_raw; /* ...and as they will be in memory */
	uint64_t spilling; /* bytes on their way to the disk */
};

/* An object that is to be had. */
struct wanted {
	uint8_t kind; /* OID_CHUNK or OID_NODE */
	const struct oid *id; /* borrowed, as the hint */
	const struct loc *hint;
};

/*
 * Gets the frame with an object from the backend (fetch.c): 0, and the item in it that was wanted,
 * good. With @at_once only out of what is kept of packs: else -EAGAIN. With @quiet only where hint
 * and index lead. -ENOENT: the store lacks it; -EBADMSG: it is damaged; both logged once.
 */
int reader_fetch(struct reader *r, const struct wanted *w, bool at_once, bool quiet,
		 const struct deadline *dl, struct load **ret, const struct load_item **ret_item);

/* A frame on its way. With the reader's lock held: NULL when somebody is fetching it already, or
 * without memory. Who began it must end it, with what came of it: @l (borrowed), or an error; what
 * goes to the disk is his to see to. */
struct flight;
struct flight *flight_begin(struct reader *r, const struct loc *at);
void flight_end(struct reader *r, struct flight *f, int result, struct load *l);

void verdicts_release(struct reader *r);

/* Starts putting the items of frames on the disk, where they lie together (spill.c). NULL is no
 * frame. */
void reader_spill(struct reader *r, struct load *const *l, unsigned n);

/* Bytes of a pack came with a small frame; @bytes are taken. The windows' callback (arrival.c). */
void reader_arrived(const struct id128 *pack, uint64_t off, uint8_t *bytes, size_t len, void *ctx);

/* What @acc allows, or everything. */
const struct deadline *access_deadline(const struct access *acc);

/* What the access holds for a retry; with a reference, or NULL. */
struct node *access_node(const struct access *acc, const struct oid *id);
struct blob *access_blob(const struct access *acc, const struct oid *id);

/* Notes what is missing; returns -EAGAIN. */
int access_want(struct access *acc, const struct wanted *w);
