/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a batch of the table looks like, in memory as in the journal: operations one after another.
 *
 *	put	1 u8, key str16, value str32
 *	delete	2 u8, key str16
 *	drop	3 u8, layer u32
 */
#pragma once

#include "base/cursor.h"
#include "state/table.h"

enum batch_kind {
	BATCH_PUT = 1,
	BATCH_DELETE = 2,
	BATCH_DROP = 3,
};

enum {
	TABLE_LAYER_LEN = 4, /* what every key starts with, at least */
};

#define TABLE_LAYER_OWN UINT32_MAX /* the table's own records in LMDB; nobody else's */

struct batch_op {
	enum batch_kind kind;
	struct span key, value; /* borrow the batch */
	uint32_t layer; /* of the key, or dropped */
};

/* The next operation; false at the end, or where there is none to be read: then the cursor has
 * failed. */
bool batch_next(struct cursor *c, struct batch_op *ret);

struct batch_sums {
	size_t records; /* puts and deletes */
	size_t bytes; /* of their keys and values */
	size_t drops;
};

/* Reads it to its end: 0, or -EBADMSG (a key, value or layer out of its limits is one, too). */
int batch_check(struct span batch, struct batch_sums *ret);

static inline uint32_t key_layer(struct span key)
{
	uint32_t be;

	memcpy(&be, key.data, sizeof(be));
	return be32toh(be);
}
