/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Index segments say where ids lie, merge as their inputs' first words have it, and are refused
 * when anything in them is not as it must be.
 */
#include <endian.h>

#include "base/deadline.h"
#include "base/hash.h"
#include "check.h"
#include "format/segment.h"
#include "sample.h"

/* A pack's footer, sorted, and its bytes. */
struct footer {
	struct id128 pack;
	struct pack_entry *entries;
	uint32_t count;
	struct buf bytes;
};

enum {
	FOOTERS_MAX = 40
};

struct world {
	struct footer footers[FOOTERS_MAX];
	size_t n;
};

static void footer_make(struct prng *p, struct oid *ids, uint32_t n, struct footer *f)
{
	struct pack_trailer t;
	struct span last;

	f->pack = sample_id128(p);
	f->entries = calloc(n + 1, sizeof(f->entries[0]));
	for (uint32_t i = 0; i < n; i++)
		f->entries[i] = (struct pack_entry){
			.id = ids[i],
			.offset = PACK_HEADER_SIZE + (uint32_t)prng_below(p, PACK_TARGET),
			.frame_len = 4000 + (uint32_t)prng_below(p, 100000),
			.item = (uint16_t)prng_below(p, 100),
			.kind = prng_below(p, 2) ? OID_CHUNK : OID_NODE,
			.len = 1 + (uint32_t)prng_below(p, 100000),
		};
	pack_footer_put(&f->bytes, f->entries, n, PACK_FRAMES_MAX, &f->pack);
	last = span_of(f->bytes.data + f->bytes.len - PACK_TRAILER_SIZE, PACK_TRAILER_SIZE);
	assert_ok(pack_trailer_read(last, PACK_FRAMES_MAX + f->bytes.len, &t));
	assert_ok(pack_footer_check(buf_span(&f->bytes), &t));
	f->count = t.count;
}

/* Footers whose ids come from a small set, so that many are in several. */
static void world_make(struct prng *p, size_t n, uint32_t each, uint32_t ids, struct world *w)
{
	struct oid *pool = calloc(ids, sizeof(pool[0])), *some = calloc(each + 1, sizeof(some[0]));

	for (uint32_t i = 0; i < ids; i++)
		pool[i] = sample_oid(p);
	w->n = n;
	for (size_t i = 0; i < n; i++) {
		uint32_t count = (uint32_t)prng_below(p, each + 1);

		w->footers[i] = (struct footer){ 0 };
		for (uint32_t k = 0; k < count; k++)
			some[k] = pool[prng_below(p, ids)];
		footer_make(p, some, count, &w->footers[i]);
	}
	free(pool);
	free(some);
}

static void world_release(struct world *w)
{
	for (size_t i = 0; i < w->n; i++) {
		free(w->footers[i].entries);
		buf_release(&w->footers[i].bytes);
	}
}

static void merge_footers(const struct footer *f, size_t n, struct buf *out, struct segment *ret)
{
	struct segment_footer in[FOOTERS_MAX];

	for (size_t i = 0; i < n; i++)
		in[i] = (struct segment_footer){ f[i].pack, buf_span(&f[i].bytes), f[i].count };
	assert_ok(segment_of_footers(in, n, out));
	assert_ok(segment_open(buf_span(out), ret));
}

/* The model: the first footer that has @id. */
static bool first_place(const struct world *w, const struct oid *id, struct loc *ret)
{
	for (size_t i = 0; i < w->n; i++)
		for (uint32_t k = 0; k < w->footers[i].count; k++) {
			struct pack_entry e;

			pack_footer_entry(buf_span(&w->footers[i].bytes), k, &e);
			if (!oid_equal(&e.id, id))
				continue;
			*ret = (struct loc){ w->footers[i].pack, e.offset, e.frame_len, e.item,
					     LOC_AT };
			return true;
		}
	return false;
}

static void assert_places_equal(const struct loc *a, const struct loc *b)
{
	assert_true(id128_equal(&a->pack, &b->pack));
	assert_int_equal(a->offset, b->offset);
	assert_int_equal(a->frame_len, b->frame_len);
	assert_int_equal(a->item, b->item);
	assert_int_equal(a->state, b->state);
}

static void assert_says_what_the_footers_say(const struct segment *s, const struct world *w,
					     struct prng *p)
{
	uint32_t distinct = 0;

	for (size_t i = 0; i < w->n; i++) {
		assert_true(segment_covers(s, &w->footers[i].pack));
		for (uint32_t k = 0; k < w->footers[i].count; k++) {
			struct loc said, meant;
			struct pack_entry e;

			pack_footer_entry(buf_span(&w->footers[i].bytes), k, &e);
			assert_true(first_place(w, &e.id, &meant));
			assert_ok(segment_find(s, &e.id, &said));
			assert_places_equal(&said, &meant);
			distinct += id128_equal(&meant.pack, &w->footers[i].pack);
		}
	}
	assert_int_equal(s->count, distinct);
	assert_int_equal(s->packs, w->n);
	for (int i = 0; i < 100; i++) {
		struct oid o = sample_oid(p);
		struct id128 pack = sample_id128(p);
		struct loc loc;

		assert_int_equal(segment_find(s, &o, &loc), -ENOENT);
		assert_false(segment_covers(s, &pack));
	}
}

static void a_segment_says_what_the_first_footer_says(void **state)
{
	struct prng p = { 1 };

	for (int round = 0; round < 20; round++) {
		_cleanup_(world_release) struct world w = { 0 };
		_cleanup_buf_ struct buf out = { 0 };
		struct segment s;

		world_make(&p, prng_below(&p, 10), 60, 1 + (uint32_t)prng_below(&p, 400), &w);
		merge_footers(w.footers, w.n, &out, &s);
		assert_int_equal(s.tier, 0);
		assert_int_equal(s.replaces, 0);
		assert_says_what_the_footers_say(&s, &w, &p);
	}
}

static void a_segment_of_segments_says_what_the_first_of_them_says(void **state)
{
	struct prng p = { 2 };

	for (int round = 0; round < 10; round++) {
		_cleanup_(world_release) struct world w = { 0 };
		struct buf low[4] = { 0 }, out = { 0 };
		struct segment in[4], s;
		struct segment_id ids[4];
		size_t each = 1 + prng_below(&p, FOOTERS_MAX / 4);

		world_make(&p, 4 * each, 30, 300, &w);
		for (size_t i = 0; i < 4; i++) {
			merge_footers(&w.footers[i * each], each, &low[i], &in[i]);
			ids[i] = (struct segment_id){ 0, sample_id128(&p) };
		}
		/* the buffer's former content goes */
		buf_put(&out, "former", 6);
		assert_ok(segment_of_segments(in, ids, 4, &out));
		assert_ok(segment_open(buf_span(&out), &s));
		assert_int_equal(s.tier, 1);
		assert_int_equal(s.replaces, 4);
		assert_says_what_the_footers_say(&s, &w, &p);
		for (uint32_t i = 1; i < s.replaces; i++) {
			struct segment_id a = segment_replaced(&s, i - 1);
			struct segment_id b = segment_replaced(&s, i);

			assert_true(id128_cmp(&a.name, &b.name) < 0);
		}
		for (size_t i = 0; i < 4; i++)
			buf_release(&low[i]);
		buf_release(&out);
	}
}

static void merging_does_not_depend_on_the_way(void **state)
{
	_cleanup_(world_release) struct world w = { 0 };
	struct buf at_once = { 0 }, parts[2] = { 0 }, merged = { 0 };
	struct segment all, in[2], s;
	struct segment_id ids[2];
	struct prng p = { 3 };

	world_make(&p, 8, 100, 300, &w);
	merge_footers(w.footers, 8, &at_once, &all);
	for (size_t i = 0; i < 2; i++) {
		merge_footers(&w.footers[4 * i], 4, &parts[i], &in[i]);
		ids[i] = (struct segment_id){ 0, sample_id128(&p) };
	}
	assert_ok(segment_of_segments(in, ids, 2, &merged));
	assert_ok(segment_open(buf_span(&merged), &s));
	assert_int_equal(s.count, all.count);
	assert_memory_equal(s.entries, all.entries, 48 * s.count);
	assert_memory_equal(s.pack_table, all.pack_table, 16 * s.packs);
	assert_memory_equal(s.fanout, all.fanout, 1024);
	buf_release(&at_once);
	buf_release(&parts[0]);
	buf_release(&parts[1]);
	buf_release(&merged);
}

static void ids_that_were_chosen_to_lie_close_are_found_all_the_same(void **state)
{
	enum {
		IDS = 5000
	};
	struct oid *ids = calloc(IDS, sizeof(ids[0]));
	struct footer f = { 0 };
	_cleanup_buf_ struct buf out = { 0 };
	struct prng p = { 4 };
	struct segment s;
	struct loc loc;

	/* Equal first bytes, then ever smaller gaps: the worst for an interpolation. */
	for (uint32_t i = 0; i < IDS; i++) {
		uint64_t v = htobe64(i < 50 ? 1ull << (i % 56) : i);

		memset(ids[i].b, 0x40, OID_SIZE);
		memcpy(ids[i].b + (i % 2 ? 1 : 8), &v, sizeof(v));
	}
	footer_make(&p, ids, IDS, &f);
	merge_footers(&f, 1, &out, &s);
	for (uint32_t i = 0; i < IDS; i++)
		assert_ok(segment_find(&s, &ids[i], &loc));
	memset(ids[0].b, 0x40, OID_SIZE);
	ids[0].b[31] = 0x41;
	assert_int_equal(segment_find(&s, &ids[0], &loc), -ENOENT);
	memset(ids[0].b, 0xff, OID_SIZE);
	assert_int_equal(segment_find(&s, &ids[0], &loc), -ENOENT);
	memset(ids[0].b, 0, OID_SIZE);
	assert_int_equal(segment_find(&s, &ids[0], &loc), -ENOENT);
	free(ids);
	free(f.entries);
	buf_release(&f.bytes);
}

static void chosen_ids_do_not_make_looking_up_slow(void **state)
{
	enum {
		IDS = 1 << 17
	};
	struct oid *ids = calloc(IDS, sizeof(ids[0]));
	struct footer f = { 0 };
	_cleanup_buf_ struct buf out = { 0 };
	struct prng p = { 7 };
	struct segment s;
	struct loc loc;
	int64_t start;

	/* All at the low end of what their first byte allows: each guess is the lowest there is. */
	for (uint32_t i = 0; i < IDS; i++) {
		uint64_t v = htobe64(i);

		memcpy(ids[i].b, &v, sizeof(v));
	}
	footer_make(&p, ids, IDS, &f);
	merge_footers(&f, 1, &out, &s);
	start = now_ns();
	for (uint32_t i = 0; i < IDS; i++)
		assert_ok(segment_find(&s, &ids[i], &loc));
	/* a fraction of a second; step by step it would take many */
	assert_true(now_ns() - start < 5000000000);
	free(ids);
	free(f.entries);
	buf_release(&f.bytes);
}

static void a_segment_of_nothing_finds_nothing(void **state)
{
	_cleanup_buf_ struct buf out = { 0 };
	struct prng p = { 5 };
	struct oid o = sample_oid(&p);
	struct segment s;
	struct loc loc;

	merge_footers(NULL, 0, &out, &s);
	assert_int_equal(s.count, 0);
	assert_int_equal(segment_find(&s, &o, &loc), -ENOENT);
}

static void segments_that_are_named_wrongly_are_not_merged(void **state)
{
	struct buf low = { 0 }, out = { 0 };
	struct segment in[2];
	struct segment_id ids[2] = { { 0, { { 1 } } }, { 0, { { 1 } } } };

	merge_footers(NULL, 0, &low, &in[0]);
	in[1] = in[0];
	assert_int_equal(segment_of_segments(in, ids, 2, &out), -EINVAL);
	ids[1].name.b[0] = 2;
	assert_ok(segment_of_segments(in, ids, 2, &out));
	ids[1].tier = 1;
	assert_int_equal(segment_of_segments(in, ids, 2, &out), -EINVAL);
	/* no key has three digits for its tier */
	in[1].tier = ids[1].tier = SEGMENT_TIER_MAX;
	assert_int_equal(segment_of_segments(in, ids, 2, &out), -EFBIG);
	buf_release(&low);
	buf_release(&out);
}

static int open_segment(struct span bytes)
{
	struct segment s;

	return segment_open(bytes, &s);
}

/* A segment of tier 1: 5 packs, 2 replaced, some ids. */
static void small_segment(struct buf *out)
{
	_cleanup_(world_release) struct world w = { 0 };
	struct buf low[2] = { 0 };
	struct segment in[2];
	struct segment_id ids[2] = { { 0, { { 9 } } }, { 0, { { 3 } } } };
	struct prng p = { 6 };

	world_make(&p, 5, 6, 20, &w);
	merge_footers(&w.footers[0], 3, &low[0], &in[0]);
	merge_footers(&w.footers[3], 2, &low[1], &in[1]);
	assert_ok(segment_of_segments(in, ids, 2, out));
	buf_release(&low[0]);
	buf_release(&low[1]);
}

static void no_change_to_a_segment_passes(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };

	small_segment(&b);
	assert_no_flip_passes(buf_span(&b), SIZE_MAX, open_segment);
	assert_no_beginning_passes(buf_span(&b), open_segment);
}

static void a_segment_against_the_rules_is_refused_though_its_checksum_is_right(void **state)
{
	enum {
		PACKS_AT = 32,
		REPLACED_AT = PACKS_AT + 5 * 16,
		FANOUT_AT = REPLACED_AT + 2 * 20,
		ENTRY_AT = FANOUT_AT + 1024,
	};
	static const struct {
		size_t at, width;
		uint32_t value;
	} bad[] = {
		{ 4, 2, 2 }, /* version */
		{ 6, 2, 1 }, /* flags */
		{ 8, 4, 0 }, /* tier 0 replaces nothing */
		{ 8, 4, SEGMENT_TIER_MAX + 1 },
		{ 12, 4, 4 }, /* packs */
		{ 12, 4, UINT32_MAX },
		{ 16, 4, 1 }, /* replaces */
		{ 16, 4, UINT32_MAX },
		{ 20, 4, 0 }, /* count */
		{ 20, 4, UINT32_MAX },
		{ 24, 1, 1 }, /* reserved */
		{ PACKS_AT, 4, UINT32_MAX }, /* not in order */
		{ REPLACED_AT, 4, 1 }, /* of the same tier */
		{ REPLACED_AT + 4, 1, 9 }, /* twice the same */
		{ REPLACED_AT + 4, 1, 10 }, /* not in order */
		{ FANOUT_AT, 4, 1 },
		{ FANOUT_AT + 100 * 4, 4, 0 },
		{ FANOUT_AT + 255 * 4, 4, UINT32_MAX },
		{ FANOUT_AT + 255 * 4, 4, 0 },
		{ ENTRY_AT, 4, UINT32_MAX }, /* not in order */
		{ ENTRY_AT + 32, 4, 5 }, /* no such pack */
		{ ENTRY_AT + 36, 4, 31 }, /* offset */
		{ ENTRY_AT + 40, 4, 0 }, /* frame_len */
		{ ENTRY_AT + 44, 2, FRAME_ITEMS_MAX }, /* item */
		{ ENTRY_AT + 46, 1, 0 }, /* kind */
		{ ENTRY_AT + 47, 1, 1 }, /* reserved */
	};
	_cleanup_buf_ struct buf b = { 0 };

	small_segment(&b);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_buf_ struct buf copy = { 0 };
		uint32_t value = htole32(bad[i].value);

		buf_put(&copy, b.data, b.len - 8);
		memcpy(copy.data + bad[i].at, &value, bad[i].width);
		buf_put_u64(&copy, xxh64(copy.data, copy.len, 0));
		if (open_segment(buf_span(&copy)) != -EBADMSG)
			fail_msg("%u at %zu passes", bad[i].value, bad[i].at);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_segment_says_what_the_first_footer_says),
		cmocka_unit_test(a_segment_of_segments_says_what_the_first_of_them_says),
		cmocka_unit_test(merging_does_not_depend_on_the_way),
		cmocka_unit_test(ids_that_were_chosen_to_lie_close_are_found_all_the_same),
		cmocka_unit_test(chosen_ids_do_not_make_looking_up_slow),
		cmocka_unit_test(a_segment_of_nothing_finds_nothing),
		cmocka_unit_test(segments_that_are_named_wrongly_are_not_merged),
		cmocka_unit_test(no_change_to_a_segment_passes),
		cmocka_unit_test(
			a_segment_against_the_rules_is_refused_though_its_checksum_is_right),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
