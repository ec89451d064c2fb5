/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Tree nodes (FORMAT.md, section 7.1): parsed once, checked whole, then shared and read-only.
 *
 * Threads: a node is immutable; its reference count is atomic.
 */
#pragma once

#include <stdatomic.h>

#include "format/entry.h"

enum tree_kind {
	TREE_DIR = 1,
	TREE_LINKS = 2,
	TREE_EXTENTS = 3,
};

struct node {
	atomic_uint refs;
	uint8_t kind; /* enum tree_kind */
	uint8_t level;
	uint32_t count;
	struct oid id;
	struct tree_sum sum; /* over all entries */
	/* private to node.c from here */
	uint8_t *bytes; /* owned: canonical part, then hint part */
	uint32_t canon_len;
	uint32_t *at; /* count + 1: where each entry starts; owned */
	uint32_t *hint_at; /* count + 1, or NULL without hints; owned */
	uint32_t packs_at; /* the hints' pack table */
	uint16_t packs;
};

/*
 * Makes a node of an item of a frame (canonical length, canonical part, hint part), which must
 * have the id @id. Checks all that can be checked without its children.
 *
 * Returns 0, -EBADMSG (the id does not match, or a rule is broken), -ENOMEM.
 */
int node_parse(const struct oid *id, struct span item, struct node **ret);

/* The same for a canonical part alone, whose id is computed; for what was just built. */
int node_of_canon(struct span canon, struct span hint, struct node **ret);

struct node *node_ref(struct node *n);
void node_unref(struct node *n);
DEFINE_CLEANUP(struct node *, node_unref)

/* Bytes of memory it holds. */
size_t node_footprint(const struct node *n);

/* The entry @i < count, with its hints; which to call depends on kind and level. */
void node_dirent(const struct node *n, uint32_t i, struct dirent_rec *ret);
void node_link(const struct node *n, uint32_t i, struct link_rec *ret);
void node_extent(const struct node *n, uint32_t i, struct extent_rec *ret);
void node_child(const struct node *n, uint32_t i, struct child_rec *ret);

/* The key of entry @i; empty in extents trees. */
struct span node_key(const struct node *n, uint32_t i);

/* The entry's canonical bytes, as they are hashed. */
struct span node_entry_bytes(const struct node *n, uint32_t i);

/* What the entry adds to its node's sum. */
struct tree_sum node_entry_sum(const struct node *n, uint32_t i);

void node_entry_hint(const struct node *n, uint32_t i, struct entry_hint *ret);

/* The first entry whose key is not below @key (count: none), and whether it is equal. */
uint32_t node_search(const struct node *n, struct span key, bool *ret_equal);

/* A parent says what its child must be: level, kind, first key, sum. 0 or -EBADMSG. */
int node_check_child(const struct node *parent, uint32_t i, const struct node *child);

/* Starts a canonical part in the empty @b: the header with a count of 0, which node_canon_end()
 * sets. */
void node_canon_begin(struct buf *b, enum tree_kind kind, uint8_t level);
void node_canon_end(struct buf *b, uint32_t count);
void child_put(struct buf *b, enum tree_kind kind, const struct child_rec *c);

/* The hint part for @n entries; all locs must be LOC_NONE or LOC_AT. Writes nothing when there is
 * nothing to say; content over INLINE_MAX does not travel. */
void hint_put(struct buf *b, const struct entry_hint *hints, uint32_t n);

/* Reads a hint part into @n hints, which borrow @raw; -EBADMSG means "no hints". */
int hint_read(struct span raw, struct entry_hint *ret, uint32_t n);
