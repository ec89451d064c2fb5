/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inside the packer: what its files share. batch.c encodes batches on the workers, packer.c places
 * their frames and owns the packs, nodes.c is the sink of tree nodes.
 */
#pragma once

#include "base/list.h"
#include "base/thread.h"
#include "write/known.h"
#include "write/packer.h"
#include "write/packfile.h"

enum {
	IN_FLIGHT_MAX = 16 << 20, /* bytes of batches handed over and not yet placed */
	SPARE_MAX = 8 << 20, /* bytes of memory kept for batches to come */
	NODES_WAITING_MAX = 4 << 20, /* bytes of nodes that wait for the end of a small commit */
	CLOSING_MAX = 3, /* packs being made durable at a time */
	PACK_LEVEL = 3, /* of zstd; HACKING.md says why */
};

/* A batch on its way; the public part comes first. */
struct parcel {
	struct batch batch;
	struct job job;
	struct packer *packer;
	struct list link; /* in packer->queue, by ticket */
	bool is_encoded; /* guarded by packer->lock; what follows is the worker's until then */
	bool is_placed; /* the owner's */
	int error;
	struct buf frame; /* encoded; behind it comes */
	struct span rest; /* in the batch's bytes, if they are stored as they are */
	struct frame_item *items; /* in the frame: those that were not known */
	uint32_t *chunk_of; /* which chunk each item is */
	uint16_t item_count;
	size_t in_flight;
};

/* A pack being closed on the pool. */
struct closing {
	struct job job;
	struct packer *packer;
	struct list link; /* in packer->closings */
	struct packfile file; /* owned */
	bool is_done; /* guarded by packer->lock */
	bool is_full;
	bool is_told; /* the index knows */
	int error;
};

/* A node that waits to be put into a pack. */
struct waiting_node {
	struct oid id;
	uint8_t *canon; /* owned */
	uint32_t canon_len;
	struct entry_hint *hints; /* owned, inlined bytes too */
	uint32_t hint_count;
};

struct node_packer {
	struct node_sink sink; /* first */
	struct waiting_node *waiting; /* owned */
	size_t waiting_count, waiting_cap, waiting_bytes;
	struct loc *places; /* of those that waited, by their ticket; owned */
	size_t place_count;
	bool is_apart; /* in packs of their own */
	struct packfile file; /* when they are */
	/* The frame being filled. */
	struct buf raw;
	struct frame_item items[FRAME_ITEMS_MAX];
	uint16_t item_count;
};

struct packer {
	struct store *store; /* borrowed */
	const atomic_bool *cancelled;
	struct known known;
	struct codec *codec; /* of the owner's thread, for nodes */
	pthread_mutex_t lock;
	pthread_cond_t wake; /* a batch was encoded, a pack closed */
	struct list queue; /* parcels not placed, by ticket */
	struct list closings;
	unsigned closing_count; /* not done; guarded by lock */
	uint64_t next_ticket;
	size_t in_flight;
	struct list spare; /* parcels to use again, their memory warm */
	size_t spare_bytes;
	struct packfile data;
	struct buf pack_spare; /* memory of a pack to come; guarded by lock */
	struct node_packer nodes;
	atomic_uint_fast64_t adopted; /* bytes that went to the disk cache, or would have */
	struct packer_stats stats;
	int error; /* the first; nothing is done after it */
};

struct parcel *parcel_of(struct batch *b);
void parcel_free(struct parcel *x);

/* On a worker: ids, claims, the frame. */
void parcel_encode(struct job *j);

/* Puts a frame's items, whose bytes lie in @raw, into the disk cache (adopt.c); on any thread. */
void packer_adopt(struct packer *p, const struct frame_item *items, uint16_t n, const uint8_t *raw);

/* Appends a frame, which is @frame and @rest, to @file, which is opened if need be and closed when
 * full. */
int packer_add_frame(struct packer *p, struct packfile *file, const struct frame_item *items,
		     uint16_t n, struct span frame, struct span rest, struct loc *ret);
int packer_open(struct packer *p, struct packfile *file);
int packer_close(struct packer *p, struct packfile *file);

void nodes_init(struct packer *p, bool is_apart);
void nodes_release(struct packer *p);
/* The small commit has become a large one: nodes go apart from here on. */
int nodes_part(struct packer *p);
/* Puts all that waits into packs and ends the last frame. */
int nodes_finish(struct packer *p);
