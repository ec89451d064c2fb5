/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Index segments where they lie (FORMAT.md, section 6).
 *
 * segment_open() looks at every byte once; after that look-ups trust the bytes. They go by the
 * fan-out and then by interpolation, since ids are hashes and spread evenly; after a few steps
 * that did not end it, they bisect, so a table of chosen ids costs no more than a plain search.
 * How segments are made is in segment_merge.c.
 */
#include "format/segment.h"

#include "base/hash.h"
#include "format/envelope.h"
#include "format/segment_layout.h"

enum {
	INTERPOLATIONS_MAX = 6
};

void segment_entry_read(const struct segment *s, uint32_t i, struct segment_entry *ret)
{
	struct cursor c =
		cursor_of(span_of(s->entries + (size_t)i * SEGMENT_ENTRY_SIZE, SEGMENT_ENTRY_SIZE));

	ret->at.id = rd_oid(&c);
	ret->pack = rd_u32(&c);
	ret->at.offset = rd_u32(&c);
	ret->at.frame_len = rd_u32(&c);
	ret->at.item = rd_u16(&c);
	ret->at.kind = rd_u8(&c);
	ret->at.len = 0;
	ret->reserved = rd_u8(&c);
}

static uint32_t fanout_at(const struct segment *s, unsigned first_byte)
{
	uint32_t v;

	memcpy(&v, s->fanout + first_byte * sizeof(v), sizeof(v));
	return le32toh(v);
}

static bool packs_ascend(const struct segment *s)
{
	for (uint32_t i = 1; i < s->packs; i++)
		if (memcmp(s->pack_table + (size_t)(i - 1) * 16, s->pack_table + (size_t)i * 16,
			   16) >= 0)
			return false;
	return true;
}

static bool replaced_are_valid(const struct segment *s)
{
	for (uint32_t i = 0; i < s->replaces; i++) {
		struct segment_id id = segment_replaced(s, i), last;

		if (id.tier >= s->tier)
			return false;
		if (i == 0)
			continue;
		last = segment_replaced(s, i - 1);
		if (segment_id_cmp(&last, &id) >= 0)
			return false;
	}
	return true;
}

static bool entries_are_valid(const struct segment *s)
{
	unsigned first = 0; /* its fan-out is the next to be checked */
	struct oid last;

	for (uint32_t i = 0; i < s->count; i++) {
		struct segment_entry e;

		segment_entry_read(s, i, &e);
		if (e.pack >= s->packs || e.reserved != 0 || !pack_entry_is_valid(&e.at) ||
		    (i > 0 && oid_cmp(&last, &e.at.id) >= 0))
			return false;
		for (; first < e.at.id.b[0]; first++)
			if (fanout_at(s, first) != i)
				return false;
		last = e.at.id;
	}
	for (; first < SEGMENT_FANOUT; first++)
		if (fanout_at(s, first) != s->count)
			return false;
	return true;
}

int segment_open(struct span bytes, struct segment *ret)
{
	struct segment s = { 0 };
	uint64_t reserved, need;
	struct cursor c;

	if (bytes.len > SEGMENT_MAX || envelope_open(bytes, SEGMENT_MAGIC, &c) < 0)
		return -EBADMSG;
	s.tier = rd_u32(&c);
	s.packs = rd_u32(&c);
	s.replaces = rd_u32(&c);
	s.count = rd_u32(&c);
	reserved = rd_u64(&c);
	need = (uint64_t)s.packs * SEGMENT_PACK_SIZE +
	       (uint64_t)s.replaces * SEGMENT_REPLACED_SIZE + SEGMENT_FANOUT_SIZE +
	       (uint64_t)s.count * SEGMENT_ENTRY_SIZE;
	if (cursor_failed(&c) || reserved != 0 || s.tier > SEGMENT_TIER_MAX ||
	    s.packs > SEGMENT_PACKS_MAX || need != cursor_left(&c))
		return -EBADMSG;

	s.pack_table = rd_bytes(&c, (size_t)s.packs * SEGMENT_PACK_SIZE).data;
	s.replaced = rd_bytes(&c, (size_t)s.replaces * SEGMENT_REPLACED_SIZE).data;
	s.fanout = rd_bytes(&c, SEGMENT_FANOUT_SIZE).data;
	s.entries = rd_bytes(&c, (size_t)s.count * SEGMENT_ENTRY_SIZE).data;
	if (!packs_ascend(&s) || !replaced_are_valid(&s) || !entries_are_valid(&s))
		return -EBADMSG;
	*ret = s;
	return 0;
}

/* What follows the byte that the fan-out has dealt with, as a number to interpolate between. */
static uint32_t leading(const uint8_t *id)
{
	uint32_t v;

	memcpy(&v, id + 1, sizeof(v));
	return be32toh(v);
}

/* Where between @lo and @hi (not included) an id that starts with @x should be, when those next to
 * them start with @below and @above. */
static uint32_t guess(uint32_t lo, uint32_t hi, uint32_t x, uint32_t below, uint32_t above)
{
	uint64_t n = (uint64_t)(x - below) * (hi - lo);

	return above > below ? lo + (uint32_t)MIN(n / (above - below), (uint64_t)hi - lo - 1) : lo;
}

int segment_find(const struct segment *s, const struct oid *id, struct loc *ret)
{
	uint32_t lo = id->b[0] > 0 ? fanout_at(s, id->b[0] - 1u) : 0;
	uint32_t hi = fanout_at(s, id->b[0]);
	uint32_t x = leading(id->b), below = 0, above = UINT32_MAX;

	for (unsigned step = 0; lo < hi; step++) {
		uint32_t mid = step < INTERPOLATIONS_MAX ? guess(lo, hi, x, below, above)
							 : lo + (hi - lo) / 2;
		const uint8_t *at = s->entries + (size_t)mid * SEGMENT_ENTRY_SIZE;
		int c = memcmp(id->b, at, OID_SIZE);

		if (c == 0) {
			struct segment_entry e;

			segment_entry_read(s, mid, &e);
			*ret = (struct loc){
				.pack = segment_pack(s, e.pack),
				.offset = e.at.offset,
				.frame_len = e.at.frame_len,
				.item = e.at.item,
				.state = LOC_AT,
			};
			return 0;
		}
		if (c < 0) {
			hi = mid;
			above = leading(at);
		} else {
			lo = mid + 1;
			below = leading(at);
		}
	}
	return -ENOENT;
}

struct id128 segment_pack(const struct segment *s, uint32_t i)
{
	struct id128 id;

	memcpy(id.b, s->pack_table + (size_t)i * SEGMENT_PACK_SIZE, sizeof(id.b));
	return id;
}

bool segment_covers(const struct segment *s, const struct id128 *pack)
{
	return s->packs > 0 &&
	       bsearch(pack->b, s->pack_table, s->packs, SEGMENT_PACK_SIZE, pack_name_cmp) != NULL;
}

struct segment_id segment_replaced(const struct segment *s, uint32_t i)
{
	struct cursor c = cursor_of(
		span_of(s->replaced + (size_t)i * SEGMENT_REPLACED_SIZE, SEGMENT_REPLACED_SIZE));
	struct segment_id id;

	id.tier = rd_u32(&c);
	id.name = rd_id128(&c);
	return id;
}

int segment_id_cmp(const struct segment_id *a, const struct segment_id *b)
{
	if (a->tier != b->tier)
		return a->tier < b->tier ? -1 : 1;
	return id128_cmp(&a->name, &b->name);
}
