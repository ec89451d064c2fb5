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
 * Nodes of a small commit wait in memory and end its one pack; when they or the data become too
 * much for that, or from the start with is_large, nodes go into packs of their own.
 *
 * Threads: all functions from the owner's thread alone; encoding runs on the pool, and so does the
 * closing of full packs.
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
 * counted by the owner's thread: whoever waits for its chunks holds one.
 */
struct batch {
	struct buf bytes; /* until the frame is placed */
	struct batch_chunk *chunks;
	uint32_t count, cap;
	/* private from here */
	unsigned refs;
	uint64_t ticket; /* order of submission, from 1; 0: not submitted */
};

/* An empty batch, from spare memory where there is some; a reference. */
int packer_batch(struct packer *p, struct batch **ret);

/* Room for @len bytes as a new chunk; the caller fills it before anything else is done to the
 * batch. NULL: no memory. */
uint8_t *batch_add(struct batch *b, uint32_t len);

/* Would a chunk of @len still be in the same frame? */
bool batch_has_room(const struct batch *b, uint32_t len);

struct batch *batch_ref(struct batch *b);
void packer_batch_unref(struct packer *p, struct batch *b);

/* Hands a batch with chunks in it to the workers; the caller keeps its reference. Waits while too
 * much is in flight. 0, or the error that befell an earlier one. */
int packer_submit(struct packer *p, struct batch *b);

/* Are the batch's ids and locs there? Waits for it. 0 or the error that befell it. */
bool packer_is_placed(struct packer *p, const struct batch *b);
int packer_wait(struct packer *p, struct batch *b);

/* Is an object stored already, so that its bytes need not be had? 1 and where it lies or will lie
 * (it counts as reused), 0, -ENOMEM. */
int packer_find(struct packer *p, enum oid_kind kind, const struct oid *id, struct loc *ret);

/* Where tree editors put nodes; new nodes are offered to the reader's memory. */
struct node_sink *packer_sink(struct packer *p);

/* Ends all packs and waits until they are durable. Every batch must have been submitted. */
int packer_finish(struct packer *p);

/* After packer_finish(): turns the LOC_PENDING of a node into LOC_AT. */
void packer_resolve(struct packer *p, struct loc *loc);

/* After packer_finish(): -ERESTART if the collector has moved since the packer was made, and a
 * pack that was relied upon may go: all is to be done again. */
int packer_recheck(struct packer *p);

/* After packer_finish(): tells the index what it has not been told yet. */
void packer_tell_index(struct packer *p);

struct packer_stats {
	uint64_t chunks, nodes; /* stored */
	uint64_t raw_bytes, stored_bytes; /* of those, before and after compression */
	uint64_t reused, reused_bytes; /* not stored again */
	uint64_t packs;
};
void packer_stats(const struct packer *p, struct packer_stats *ret);
