/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Index segments as bytes (FORMAT.md, section 6). Pure; a segment is used where it lies.
 */
#pragma once

#include "format/pack.h"

struct segment_id {
	uint32_t tier;
	struct id128 name;
};

/* A segment in memory or mapped; borrows the bytes. */
struct segment {
	uint32_t tier, packs, replaces, count;
	const uint8_t *pack_table, *replaced, *fanout, *entries;
};

/* Checks all of it, the checksum and the order of ids included. 0 or -EBADMSG. */
int segment_open(struct span bytes, struct segment *ret);

/* 0 with where @id lies, or -ENOENT. */
int segment_find(const struct segment *s, const struct oid *id, struct loc *ret);

struct id128 segment_pack(const struct segment *s, uint32_t i);
bool segment_covers(const struct segment *s, const struct id128 *pack);
struct segment_id segment_replaced(const struct segment *s, uint32_t i);

/*
 * Writes the segment that merges footers (tier 0) or segments (the tier above their highest) into
 * @out, which is emptied first. An id in several keeps the place the first input has for it.
 * @ids are the names of the segments, which the new one replaces. 0, -ENOMEM, -EFBIG (over a
 * limit), -EINVAL (@ids not distinct).
 */
struct segment_footer {
	struct id128 pack;
	struct span entries; /* of pack_footer_check()ed bytes */
	uint32_t count;
};
int segment_of_footers(const struct segment_footer *in, size_t n, struct buf *out);
int segment_of_segments(const struct segment *in, const struct segment_id *ids, size_t n,
			struct buf *out);
