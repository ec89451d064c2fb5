/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Any bytes as an index segment. Nothing may crash; what is accepted finds each of its ids where it
 * says, and merged with itself says the same.
 */
#include "format/segment.h"
#include "format/segment_layout.h"
#include "sealed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void assert_finds_all(const struct segment *s, const struct segment *in)
{
	for (uint32_t i = 0; i < s->count; i++) {
		struct segment_entry e;
		struct id128 pack;
		struct loc loc;

		segment_entry_read(s, i, &e);
		pack = segment_pack(s, e.pack);
		if (segment_find(in, &e.at.id, &loc) < 0 || !id128_equal(&loc.pack, &pack) ||
		    loc.offset != e.at.offset || loc.frame_len != e.at.frame_len ||
		    loc.item != e.at.item || !segment_covers(in, &pack))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_buf_ struct buf object = { 0 }, merged = { 0 };
	struct segment s[2], both;
	struct segment_id ids[2] = { { 0, { { 1 } } }, { 0, { { 2 } } } };

	if (!sealed_copy(data, size, &object) || segment_open(buf_span(&object), &s[0]) < 0)
		return 0;
	assert_finds_all(&s[0], &s[0]);
	s[1] = s[0];
	ids[0].tier = ids[1].tier = s[0].tier;
	if (s[0].tier == SEGMENT_TIER_MAX)
		return 0;
	if (segment_of_segments(s, ids, 2, &merged) < 0 ||
	    segment_open(buf_span(&merged), &both) < 0 || both.count != s[0].count ||
	    both.packs != s[0].packs)
		abort();
	assert_finds_all(&s[0], &both);
	return 0;
}
