/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where nodes end (FORMAT.md, section 7.2). Sizes are sums of the canonical bytes of entries,
 * without the node's header.
 */
#pragma once

#include "base/hash.h"
#include "format/limits.h"

/* Must the entry start a new node, being too large for the one of @node_size before it? */
static inline bool boundary_before(size_t node_size, size_t entry_size)
{
	return node_size > 0 && node_size + entry_size > NODE_MAX;
}

/*
 * Does the node end after the entry, which makes it @node_size? What comes after has no say. @key
 * is the entry's key; of an extent its chunk's id (a hole: zeroes), of a child of extents its id.
 */
static inline bool boundary_after(size_t node_size, size_t entry_size, struct span key,
				  unsigned level)
{
	uint64_t below;

	if (node_size < NODE_MIN)
		return false;
	if (__builtin_mul_overflow(UINT64_MAX / NODE_SPREAD, entry_size, &below))
		below = UINT64_MAX;
	return xxh64(key.data, key.len, level) < below;
}
