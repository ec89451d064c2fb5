/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Verified nodes and chunks in memory, each within a budget, the least recently used go first.
 *
 * Chunks that came in one buffer share it, a parcel: they come and go together, since none of them
 * alone would give memory back. What somebody holds a reference to stays his after it has
 * left the memory, and no longer counts.
 *
 * Threads: all functions from any thread, but for a parcel that is being filled.
 */
#pragma once

#include "object/reader.h"
#include "object/stretch.h"

struct memory;
struct parcel;

int memory_new(uint64_t node_bytes, uint64_t chunk_bytes, struct memory **ret);
void memory_free(struct memory *m);
DEFINE_CLEANUP(struct memory *, memory_free)

/* With a reference; NULL: not here. */
struct node *memory_node(struct memory *m, const struct oid *id);
struct blob *memory_chunk(struct memory *m, const struct oid *id);

/* Takes references of its own. What is here already stays as it is. */
void memory_add_node(struct memory *m, struct node *n);
void memory_add_parcel(struct memory *m, struct parcel *p);

void memory_used(struct memory *m, uint64_t *ret_nodes, uint64_t *ret_chunks);

/* Takes @s, in which there will be up to @max chunks; NULL: no memory, and @s is released. */
struct parcel *parcel_new(struct stretch *s, uint32_t max);

/* A chunk that was verified; @data lies in the parcel's bytes. */
struct blob *parcel_add(struct parcel *p, const struct oid *id, const void *data, uint32_t len);

struct parcel *parcel_ref(struct parcel *p);
void parcel_unref(struct parcel *p);
DEFINE_CLEANUP(struct parcel *, parcel_unref)
