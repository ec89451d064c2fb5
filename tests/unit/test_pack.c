/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Packs: what is found by their footers, and what of headers, footers and trailers is refused.
 */
#include <endian.h>

#include "base/hash.h"
#include "check.h"
#include "format/pack.h"
#include "sample.h"

static struct codec *codec;

static int make_codec(void **state)
{
	return codec_new(1, &codec);
}

static int drop_codec(void **state)
{
	codec_free(codec);
	return 0;
}

/* A pack of @n frames of one chunk each; its entries in @entries, in frame order. */
static void pack_make(struct prng *p, size_t n, const struct id128 *name, struct buf *out,
		      struct pack_entry *entries)
{
	uint64_t footer_off;

	pack_header_put(out, name);
	for (size_t i = 0; i < n; i++) {
		uint8_t raw[100];
		size_t len = 1 + prng_below(p, sizeof(raw)), at = out->len;
		struct frame_item it;

		prng_fill(p, raw, len);
		sample_items(p, span_of(raw, len), 1, &it);
		assert_ok(frame_encode(codec, &it, 1, span_of(raw, len), out));
		entries[i] = (struct pack_entry){
			.id = it.id,
			.offset = (uint32_t)at,
			.frame_len = (uint32_t)(out->len - at),
			.kind = it.kind,
			.len = it.len,
		};
	}
	footer_off = out->len;
	pack_footer_put(out, entries, n, footer_off, name);
	assert_false(buf_failed(out));
}

static struct span footer_of(struct span pack, struct pack_trailer *ret)
{
	struct span last = span_of(pack.data + pack.len - PACK_TRAILER_SIZE, PACK_TRAILER_SIZE);

	assert_ok(pack_trailer_read(last, pack.len, ret));
	return span_of(pack.data + ret->footer_off, pack.len - ret->footer_off);
}

static void a_footer_finds_every_item(void **state)
{
	struct prng p = { 4 };

	for (size_t n = 0; n < 300; n = 2 * n + 1) {
		_cleanup_free_ struct pack_entry *entries = calloc(n + 1, sizeof(entries[0]));
		_cleanup_buf_ struct buf pack = { 0 };
		struct id128 name = sample_id128(&p);
		struct pack_trailer t;
		struct span footer;

		pack_make(&p, n, &name, &pack, entries);
		footer = footer_of(buf_span(&pack), &t);
		assert_ok(pack_header_check(span_of(pack.data, PACK_HEADER_SIZE), &name));
		assert_ok(pack_footer_check(footer, &t));
		assert_int_equal(t.count, n);
		assert_true(id128_equal(&t.name, &name));
		for (uint32_t i = 0; i < t.count; i++) {
			struct pack_entry e;
			struct frame_item it;
			struct frame f;
			size_t need;

			pack_footer_entry(footer, i, &e);
			assert_ok(frame_header_read(span_of(pack.data + e.offset, e.frame_len), &f,
						    &need));
			frame_item(&f, e.item, &it, NULL);
			assert_true(oid_equal(&it.id, &e.id));
			assert_int_equal(frame_len(&f), e.frame_len);
			assert_int_equal(it.len, e.len);
			assert_int_equal(it.kind, e.kind);
		}
	}
}

static void a_pack_can_be_read_without_its_footer(void **state)
{
	struct pack_entry entries[20];
	_cleanup_buf_ struct buf pack = { 0 };
	struct prng p = { 5 };
	struct id128 name = sample_id128(&p);
	size_t at = PACK_HEADER_SIZE, frames = 0, need;
	struct frame f;

	pack_make(&p, ARRAY_SIZE(entries), &name, &pack, entries);
	while (frame_header_read(span_of(pack.data + at, pack.len - at), &f, &need) == 0) {
		at += frame_len(&f);
		frames++;
	}
	assert_int_equal(frames, ARRAY_SIZE(entries));
}

static void of_an_item_stored_twice_the_footer_has_the_first(void **state)
{
	struct pack_entry entries[3] = {
		{ .offset = 500, .frame_len = 90, .item = 0, .kind = OID_CHUNK, .len = 1 },
		{ .offset = 32, .frame_len = 200, .item = 1, .kind = OID_CHUNK, .len = 1 },
		{ .offset = 32, .frame_len = 200, .item = 2, .kind = OID_CHUNK, .len = 1 },
	};
	_cleanup_buf_ struct buf b = { 0 };
	struct id128 name = { { 1 } };
	struct pack_trailer t;
	struct pack_entry e;

	pack_footer_put(&b, entries, 3, 1000, &name);
	assert_ok(pack_trailer_read(span_of(b.data + b.len - PACK_TRAILER_SIZE, PACK_TRAILER_SIZE),
				    1000 + b.len, &t));
	assert_ok(pack_footer_check(buf_span(&b), &t));
	assert_int_equal(t.count, 1);
	pack_footer_entry(buf_span(&b), 0, &e);
	assert_int_equal(e.offset, 32);
	assert_int_equal(e.item, 1);
}

enum {
	SMALL_FOOTER_OFF = 5000
};

/* The footer and trailer of a pack whose footer starts at SMALL_FOOTER_OFF. */
static int read_footer(struct span bytes)
{
	struct pack_trailer t;
	int r;

	if (bytes.len < PACK_TRAILER_SIZE)
		return -EBADMSG;
	r = pack_trailer_read(
		span_of(bytes.data + bytes.len - PACK_TRAILER_SIZE, PACK_TRAILER_SIZE),
		SMALL_FOOTER_OFF + bytes.len, &t);
	return r < 0 ? r : pack_footer_check(bytes, &t);
}

static void small_footer(struct buf *out)
{
	struct pack_entry entries[4];
	struct id128 name = { { 7 } };
	struct prng p = { 6 };

	for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
		entries[i] = (struct pack_entry){
			.id = sample_oid(&p),
			.offset = (uint32_t)(32 + 1000 * i),
			.frame_len = 1000,
			.item = (uint16_t)i,
			.kind = OID_NODE,
			.len = 10,
		};
	pack_footer_put(out, entries, ARRAY_SIZE(entries), SMALL_FOOTER_OFF, &name);
}

static void no_change_to_a_footer_passes(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };

	small_footer(&b);
	assert_no_flip_passes(buf_span(&b), SIZE_MAX, read_footer);
	assert_no_beginning_passes(buf_span(&b), read_footer);
}

static void a_footer_against_the_rules_is_refused_though_its_checksum_is_right(void **state)
{
	static const struct {
		size_t at, width;
		uint32_t value;
	} bad[] = {
		{ 0, 4, UINT32_MAX }, /* not in order */
		{ 32, 4, 31 }, /* in the pack's header */
		{ 32, 4, SMALL_FOOTER_OFF - 999 }, /* into the footer */
		{ 32, 4, UINT32_MAX },
		{ 36, 4, 0 },
		{ 36, 4, FRAME_HEADER_SIZE(1) }, /* no payload */
		{ 36, 4, UINT32_MAX },
		{ 40, 2, 1000 }, /* no room for so many items */
		{ 42, 1, OID_COMMIT },
		{ 43, 1, 1 },
		{ 44, 4, 0 },
		{ 44, 4, UINT32_MAX },
	};
	_cleanup_buf_ struct buf b = { 0 };
	size_t sum_at;

	small_footer(&b);
	sum_at = b.len - 16;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_buf_ struct buf copy = { 0 };
		uint32_t value = htole32(bad[i].value);
		uint64_t sum;

		buf_put(&copy, b.data, b.len);
		memcpy(copy.data + bad[i].at, &value, bad[i].width);
		sum = htole64(xxh64(copy.data, sum_at, 0));
		memcpy(copy.data + sum_at, &sum, sizeof(sum));
		if (read_footer(buf_span(&copy)) != -EBADMSG)
			fail_msg("%u at %zu passes", bad[i].value, bad[i].at);
	}
}

static void a_trailer_that_asks_for_more_than_the_pack_holds_is_refused(void **state)
{
	static const struct {
		uint64_t footer_off;
		uint32_t count;
		uint64_t pack_size;
	} bad[] = {
		{ 31, 0, 31 + 48 },
		{ 32, 1, 32 + 48 + 48 }, /* an item takes 37 bytes of frames at least */
		{ 1000, 2, 1000 + 3 * 48 + 1 },
		{ 1000, 3, 1000 + 3 * 48 },
		{ UINT64_MAX, 1, 95 },
		{ UINT64_MAX - 47, 0, 0 },
		{ 1ull << 32, 0, (1ull << 32) + 48 },
		{ PACK_FRAMES_MAX, UINT32_MAX, PACK_FRAMES_MAX + 48ull * UINT32_MAX + 48 },
	};
	struct id128 name = { { 1 } };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		struct pack_trailer t;

		pack_footer_put(&b, NULL, 0, bad[i].footer_off, &name);
		buf_set_u32(&b, 8, bad[i].count);
		if (pack_trailer_read(buf_span(&b), bad[i].pack_size, &t) != -EBADMSG)
			fail_msg("trailer %zu passes", i);
	}
}

static struct id128 header_name;

static int read_header_of_pack(struct span bytes)
{
	return pack_header_check(bytes, &header_name);
}

static void no_change_to_a_packs_header_passes(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct prng p = { 7 };

	header_name = sample_id128(&p);
	pack_header_put(&b, &header_name);
	assert_int_equal(b.len, PACK_HEADER_SIZE);
	assert_no_flip_passes(buf_span(&b), SIZE_MAX, read_header_of_pack);
	assert_no_beginning_passes(buf_span(&b), read_header_of_pack);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_footer_finds_every_item),
		cmocka_unit_test(a_pack_can_be_read_without_its_footer),
		cmocka_unit_test(of_an_item_stored_twice_the_footer_has_the_first),
		cmocka_unit_test(no_change_to_a_footer_passes),
		cmocka_unit_test(
			a_footer_against_the_rules_is_refused_though_its_checksum_is_right),
		cmocka_unit_test(a_trailer_that_asks_for_more_than_the_pack_holds_is_refused),
		cmocka_unit_test(no_change_to_a_packs_header_passes),
	};

	return cmocka_run_group_tests(tests, make_codec, drop_codec);
}
