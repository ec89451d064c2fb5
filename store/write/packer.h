/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The writing side of packs: batches of chunks go to the store's workers, which hash and compress
 * them; their frames are appended to packs in the order the batches came; nodes follow as trees
 * are made of them.
 *
 *	batch: filling --packer_submit--> queued --worker--> encoded --in order--> placed
 *
 * What the store has already (index, or this packer) is not stored again; it counts as reused, and
 * the packs it lies in are remembered for the collector's rule (FORMAT.md, section 11).
 *
 * The first pack takes chunks and nodes alike; when it is full, or from the start with is_large,
 * nodes go into packs of their own.
 *
 * Threads: all functions from the owner's thread alone; encoding runs on the pool.
 */
#pragma once

#include "object/store.h"
#include "tree/edit.h"

struct packer;

struct packer_options {
	struct store *store; /* borrowed */
	bool is_large;
	const atomic_bool *cancelled; /* NULL: cannot be */
};

int packer_new(const struct packer_options *o, struct packer **ret);

/* Without packer_finish() before, what was stored is garbage for the collector. */
void packer_free(struct packer *p);
DEFINE_CLEANUP(struct packer *, packer_free)

/* One chunk of a batch; id, loc and checksum are set when the batch is placed. */
struct batch_chunk {
	uint32_t at, len; /* in the batch's bytes */
	struct oid id;
	struct loc loc;
	uint64_t checksum; /* xxh64 of the bytes, seed 0 */
};

/*
 * Chunks that make one frame: as many as fit FRAME_TARGET, or a single larger one. Reference
 * counted: whoever waits for its chunks holds one.
 */
struct batch {
	unsigned refs;
	struct buf bytes; /* given back when the frame is placed */
	struct batch_chunk *chunks;
	uint32_t count;
	uint64_t ticket; /* order of submission */
};

/* An empty batch, from spare memory where there is some. */
int packer_batch(struct packer *p, struct batch **ret);

/* Room for @len bytes as a new chunk; the caller fills it before anything else is done to the
 * batch. NULL: no memory. */
uint8_t *batch_add(struct batch *b, uint32_t len);
bool batch_has_room(const struct batch *b, uint32_t len);
struct batch *batch_ref(struct batch *b);
void packer_batch_unref(struct packer *p, struct batch *b);

/* Hands a batch with chunks in it to the workers; the caller keeps its reference. Waits while too
 * much is in flight. 0, or the error that befell an earlier one. */
int packer_submit(struct packer *p, struct batch *b);

/* Are the batch's ids and locs there? Waits for it. 0 or the error that befell it. */
bool batch_is_placed(struct packer *p, const struct batch *b);
int packer_wait(struct packer *p, const struct batch *b);

/* Where tree editors put nodes; new nodes are offered to the reader's memory. */
struct node_sink *packer_sink(struct packer *p);

/* Turns the LOC_PENDING of a node into LOC_AT; the frame is written if need be. */
int packer_resolve(struct packer *p, struct loc *loc);

/* Ends all packs and waits until they are durable. No batch may be unsubmitted. */
int packer_finish(struct packer *p);

/* After packer_finish(): stores anew what was reused from packs that are condemned or gone, if the
 * collector has moved since the packer was made. 0 or an error. */
int packer_recheck(struct packer *p);

/* After packer_finish(): tells the index what the packs hold. */
void packer_tell_index(struct packer *p);

struct packer_stats {
	uint64_t chunks, nodes; /* stored */
	uint64_t raw_bytes, stored_bytes; /* of those, before and after compression */
	uint64_t reused, reused_bytes; /* not stored again */
	uint64_t packs;
};
void packer_stats(const struct packer *p, struct packer_stats *ret);
