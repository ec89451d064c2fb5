/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a pack has besides its frames, as bytes (FORMAT.md, section 5.2). Pure: no I/O, no threads.
 */
#pragma once

#include "format/frame.h"
#include "format/loc.h"

enum {
	PACK_HEADER_SIZE = 32,
	PACK_TRAILER_SIZE = 48,
	PACK_ENTRY_SIZE = 48,
};

/* An entry of a footer, and with a place in the pack table, of a segment. */
struct pack_entry {
	struct oid id;
	uint32_t offset;
	uint32_t frame_len;
	uint16_t item;
	uint8_t kind;
	uint32_t len;
};

void pack_header_put(struct buf *b, const struct id128 *name);

/* Could an item of a pack lie there? */
bool pack_entry_is_valid(const struct pack_entry *e);

/* Sorts @entries and appends footer and trailer; @footer_off is the pack's length so far. Of
 * entries with the same id only the first in the pack stays. */
void pack_footer_put(struct buf *b, struct pack_entry *entries, size_t n, uint64_t footer_off,
		     const struct id128 *name);

/* What the last PACK_TRAILER_SIZE bytes say: a footer that fits the pack, so that it is safe to
 * fetch; only pack_footer_check() tells damage. 0 or -EBADMSG. */
struct pack_trailer {
	uint64_t footer_off;
	uint32_t count;
	struct id128 name;
};
int pack_trailer_read(struct span last, uint64_t pack_size, struct pack_trailer *ret);

/* Checks the footer (all entries and the checksum over it and the trailer). @bytes is from
 * footer_off to the pack's end. 0 or -EBADMSG. */
int pack_footer_check(struct span bytes, const struct pack_trailer *t);
void pack_footer_entry(struct span bytes, uint32_t i, struct pack_entry *ret);

/* 0 or -EBADMSG: the first bytes of a pack called @name. */
int pack_header_check(struct span first, const struct id128 *name);
