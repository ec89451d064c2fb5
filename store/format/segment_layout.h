/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How a segment lies in its bytes; for segment.c and segment_merge.c alone.
 */
#pragma once

#include "format/segment.h"

#define SEGMENT_MAGIC "pfsI"

enum {
	SEGMENT_HEADER_SIZE = 32,
	SEGMENT_PACK_SIZE = 16,
	SEGMENT_REPLACED_SIZE = 20,
	SEGMENT_FANOUT_SIZE = SEGMENT_FANOUT * 4,
	SEGMENT_ENTRY_SIZE = 48,
};

struct segment_entry {
	struct pack_entry at; /* its len is not known here: 0 */
	uint32_t pack; /* place in the pack table */
	uint8_t reserved;
};

void segment_entry_read(const struct segment *s, uint32_t i, struct segment_entry *ret);

int segment_id_cmp(const struct segment_id *a, const struct segment_id *b);

/* For qsort() and bsearch() over packs' names. */
static inline int pack_name_cmp(const void *a, const void *b)
{
	return memcmp(a, b, SEGMENT_PACK_SIZE);
}
