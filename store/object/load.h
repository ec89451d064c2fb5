/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One frame, read from a pack and taken apart: every item in it held against its id.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "backend/backend.h"
#include "format/frame.h"
#include "format/loc.h"
#include "object/memory.h"
#include "object/window.h"

/* What a frame gave. Immutable and shared. */
struct load_item {
	uint8_t kind; /* OID_CHUNK or OID_NODE */
	struct oid id;
	struct span bytes; /* in the parcel */
	struct node *node; /* a reference; of these two, the one of its kind is set, */
	struct blob *blob; /* in the parcel; or neither: the item is not what its id says */
};

struct load {
	atomic_uint refs;
	struct parcel *parcel; /* a reference */
	uint32_t count;
	struct load_item items[];
};

struct load *load_ref(struct load *l);
void load_unref(struct load *l);
DEFINE_CLEANUP(struct load *, load_unref)

/* The item @id of that kind, with @at a good place to begin looking; NULL: the frame is another. */
const struct load_item *load_find(const struct load *l, uint8_t kind, const struct oid *id,
				  uint32_t at);

/* Reads frames. */
struct loader;

/* @backend and @stretches are borrowed; @window_bytes for what is kept of packs as they are; @watch
 * is copied. */
int loader_new(struct backend *backend, struct stretches *stretches, uint64_t window_bytes,
	       const struct load_watch *watch, struct loader **ret);
void loader_free(struct loader *l);
DEFINE_CLEANUP(struct loader *, loader_free)

/*
 * Reads the frame at @at, in which a node is wanted (@is_node) or a chunk. 0 also when items are
 * damaged. With @at_once only from what is kept: else -EAGAIN. -ENOENT: no such pack; -EBADMSG: no
 * whole frame lies there; -ENOMEM; or the backend's errors.
 */
int loader_read(struct loader *l, const struct loc *at, bool is_node, bool at_once,
		const struct deadline *dl, struct load **ret);

/*
 * Reads @n frames that lie behind one another, each of the length that its place says, with one
 * request. For each 0 in @results, also when items are damaged, and what it gave in @ret; or an
 * error as above. Those that are not compressed may share one parcel.
 */
void loader_read_run(struct loader *l, const struct loc *at, unsigned n, const struct deadline *dl,
		     struct load **ret, int *results);

/* Takes a frame apart that lies in @bytes, which are copied. 0, also when items are damaged;
 * -EBADMSG, -ENOMEM. */
int loader_unpack(struct loader *l, struct span bytes, struct load **ret);
