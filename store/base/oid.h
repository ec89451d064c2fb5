/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Content ids: SHA-256 over a tag for the kind and the bytes, so that a chunk can never pass for
 * a node. This file alone knows which hash it is (FORMAT.md, "Content ids").
 */
#pragma once

#include "base/buf.h"
#include "base/cursor.h"
#include "base/defs.h"

#define OID_SIZE 32
#define OID_HEX	 (2 * OID_SIZE + 1)

struct oid {
	uint8_t b[OID_SIZE];
};

enum oid_kind {
	OID_CHUNK = 1, /* bytes of files */
	OID_NODE = 2, /* a tree node's canonical part */
	OID_COMMIT = 3, /* a commit's canonical part */
};

/* The hash's name, as the store's format object has it. */
#define OID_HASH_NAME "sha256"

/* Safe from any thread. */
struct oid oid_of(enum oid_kind kind, const void *data, size_t len);

/* The id of content of no bytes; it is never stored and never fetched. */
const struct oid *oid_empty_chunk(void);

static inline int oid_cmp(const struct oid *a, const struct oid *b)
{
	return memcmp(a->b, b->b, OID_SIZE);
}

static inline bool oid_equal(const struct oid *a, const struct oid *b)
{
	return oid_cmp(a, b) == 0;
}

/* The null id stands for "none": the root of an empty tree, the commit of an unborn branch. */
bool oid_is_null(const struct oid *o);

/* Good enough for a hash table: an id's bytes are random already. Never stored. */
uint64_t oid_hash(const struct oid *o);

/* Writes 64 lower-case hex digits and a NUL; returns @buf. */
char *oid_hex(const struct oid *o, char buf[OID_HEX]);

/* Reads exactly 64 lower-case hex digits. 0 or -EINVAL. */
int oid_parse(struct span s, struct oid *ret);

static inline void buf_put_oid(struct buf *b, const struct oid *o)
{
	buf_put(b, o->b, OID_SIZE);
}

static inline struct oid rd_oid(struct cursor *c)
{
	struct oid o;

	rd_copy(c, o.b, OID_SIZE);
	return o;
}
