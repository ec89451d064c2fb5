/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Frames give back what was put in, and damaged or made-up ones are refused.
 */
#include <endian.h>
#include <zstd.h>

#include "base/hash.h"
#include "check.h"
#include "format/frame.h"
#include "sample.h"

enum {
	/* where things are in a frame's header */
	AT_CODEC = 8,
	AT_CIPHER = 9,
	AT_COUNT = 10,
	AT_RAW_LEN = 12,
	AT_STORED_LEN = 16,
	AT_RESERVED = 20,
	AT_ITEM_KIND = 24,
	AT_ITEM_LEN = 25,
};

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

static void assert_frame_holds(struct span bytes, const struct frame_item *items, uint16_t n,
			       struct span raw)
{
	struct frame f;
	uint8_t *back;
	uint32_t at = 0;
	size_t need;

	assert_ok(frame_header_read(bytes, &f, &need));
	assert_int_equal(f.count, n);
	assert_int_equal(f.raw_len, raw.len);
	assert_int_equal(frame_len(&f), bytes.len);
	back = malloc(f.raw_len);
	assert_ok(frame_decode(codec, &f, span_of(bytes.data + f.header_len, f.stored_len), back));
	assert_memory_equal(back, raw.data, raw.len);
	for (uint16_t i = 0; i < n; i++) {
		struct frame_item it;
		uint32_t said;

		frame_item(&f, i, &it, &said);
		assert_int_equal(it.kind, items[i].kind);
		assert_int_equal(it.len, items[i].len);
		assert_true(oid_equal(&it.id, &items[i].id));
		assert_int_equal(said, at);
		at += it.len;
	}
	free(back);
}

static void a_frame_gives_back_what_was_put_in(void **state)
{
	static uint8_t raw[200000];
	static struct frame_item items[FRAME_ITEMS_MAX];
	struct prng p = { 1 };

	for (int round = 0; round < 200; round++) {
		_cleanup_buf_ struct buf out = { 0 };
		uint16_t n = (uint16_t)(1 + prng_below(&p, round % 10 ? 20 : FRAME_ITEMS_MAX));
		size_t len = n + prng_below(&p, sizeof(raw) - n);

		if (round % 3)
			sample_text(&p, raw, len);
		else
			prng_fill(&p, raw, len);
		sample_items(&p, span_of(raw, len), n, items);
		/* not at the buffer's start: frames follow one another */
		buf_put(&out, "before", 6);
		assert_ok(frame_encode(codec, items, n, span_of(raw, len), &out));
		assert_memory_equal(out.data, "before", 6);
		assert_frame_holds(span_of(out.data + 6, out.len - 6), items, n, span_of(raw, len));
	}
}

static void a_frame_of_one_byte_and_one_of_the_largest_chunk_can_be_made(void **state)
{
	static const size_t lens[] = { 1, CHUNK_LIMIT };
	uint8_t *raw = calloc(1, CHUNK_LIMIT);

	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		_cleanup_buf_ struct buf out = { 0 };
		struct frame_item it = { OID_CHUNK, (uint32_t)lens[i],
					 oid_of(OID_CHUNK, raw, lens[i]) };

		assert_ok(frame_encode(codec, &it, 1, span_of(raw, lens[i]), &out));
		assert_frame_holds(buf_span(&out), &it, 1, span_of(raw, lens[i]));
	}
	free(raw);
}

static void what_does_not_shrink_is_stored_raw(void **state)
{
	uint8_t noise[4096], text[4096];
	_cleanup_buf_ struct buf a = { 0 }, b = { 0 };
	struct frame_item it = { .kind = OID_CHUNK, .len = sizeof(noise) };
	struct prng p = { 2 };

	prng_fill(&p, noise, sizeof(noise));
	sample_text(&p, text, sizeof(text));
	assert_ok(frame_encode(codec, &it, 1, span_of(noise, sizeof(noise)), &a));
	assert_ok(frame_encode(codec, &it, 1, span_of(text, sizeof(text)), &b));
	assert_int_equal(a.data[AT_CODEC], CODEC_RAW);
	assert_int_equal(a.len, FRAME_HEADER_SIZE(1) + sizeof(noise));
	assert_int_equal(b.data[AT_CODEC], CODEC_ZSTD);
	assert_true(b.len < FRAME_HEADER_SIZE(1) + sizeof(text) / 2);
}

static void large_noise_is_stored_raw_and_need_not_be_copied(void **state)
{
	static uint8_t raw[1 << 20];
	struct frame_item it = { .kind = OID_CHUNK, .len = sizeof(raw) };
	_cleanup_buf_ struct buf head = { 0 };
	struct prng p = { 3 };
	struct span rest;

	prng_fill(&p, raw, sizeof(raw));
	assert_ok(frame_encode_head(codec, &it, 1, span_of(raw, sizeof(raw)), &head, &rest));
	assert_int_equal(head.len, FRAME_HEADER_SIZE(1));
	assert_ptr_equal(rest.data, raw);
	assert_int_equal(rest.len, sizeof(raw));
	buf_put(&head, rest.data, rest.len);
	assert_frame_holds(buf_span(&head), &it, 1, span_of(raw, sizeof(raw)));
}

static void a_large_piece_with_something_to_compress_is_compressed(void **state)
{
	static uint8_t raw[1 << 20];
	struct frame_item it = { .kind = OID_CHUNK, .len = sizeof(raw) };
	struct prng p = { 4 };

	/* The half of it, at the end, the start, the middle; and noise of which each value has its
	 * share but that comes again. */
	for (int i = 0; i < 4; i++) {
		_cleanup_buf_ struct buf head = { 0 };
		struct span rest;

		prng_fill(&p, raw, sizeof(raw));
		if (i < 3)
			memset(raw + sizeof(raw) / 4 * (unsigned)i, 'a', sizeof(raw) / 2);
		for (size_t at = 2048; i == 3 && at < sizeof(raw); at += 2048)
			memcpy(raw + at, raw, 2048);
		assert_ok(
			frame_encode_head(codec, &it, 1, span_of(raw, sizeof(raw)), &head, &rest));
		assert_int_equal(rest.len, 0);
		assert_true(head.len < sizeof(raw) * 6 / 10);
		assert_frame_holds(buf_span(&head), &it, 1, span_of(raw, sizeof(raw)));
	}
}

static void a_frame_against_the_rules_is_not_made(void **state)
{
	static struct frame_item items[FRAME_ITEMS_MAX + 1];
	static uint8_t raw[FRAME_ITEMS_MAX + 1];
	_cleanup_buf_ struct buf out = { 0 };
	struct frame_item too_long = { .kind = OID_CHUNK, .len = CHUNK_LIMIT + 1 };
	uint8_t *large = calloc(1, CHUNK_LIMIT + 1);

	for (size_t i = 0; i < ARRAY_SIZE(items); i++)
		items[i] = (struct frame_item){ .kind = OID_CHUNK, .len = 1 };
	assert_int_equal(frame_encode(codec, items, 0, span_of(raw, 0), &out), -EINVAL);
	assert_int_equal(frame_encode(codec, items, FRAME_ITEMS_MAX + 1,
				      span_of(raw, FRAME_ITEMS_MAX + 1), &out),
			 -EINVAL);
	assert_int_equal(frame_encode(codec, items, 5, span_of(raw, 4), &out), -EINVAL);
	assert_int_equal(frame_encode(codec, &too_long, 1, span_of(large, CHUNK_LIMIT + 1), &out),
			 -EINVAL);
	items[1].len = 0;
	assert_int_equal(frame_encode(codec, items, 3, span_of(raw, 2), &out), -EINVAL);
	items[1].len = 1;
	items[1].kind = OID_COMMIT;
	assert_int_equal(frame_encode(codec, items, 3, span_of(raw, 3), &out), -EINVAL);
	assert_int_equal(out.len, 0);
	free(large);
}

/* A frame of three small items, in @out. */
static void small_frame(struct buf *out)
{
	static const char raw[] = "onetwothreeonetwothreeonetwothreeonetwothree";
	struct frame_item items[3];
	struct prng p = { 3 };

	sample_items(&p, span_of(raw, sizeof(raw)), 3, items);
	assert_ok(frame_encode(codec, items, 3, span_of(raw, sizeof(raw)), out));
	assert_int_equal(out->data[AT_CODEC], CODEC_ZSTD);
}

static void a_header_that_is_not_all_there_says_how_much_it_needs(void **state)
{
	_cleanup_buf_ struct buf out = { 0 };
	struct frame f;
	size_t need;

	small_frame(&out);
	for (size_t n = 0; n < FRAME_HEADER_SIZE(3); n++) {
		size_t expected = n < FRAME_FIXED_SIZE ? FRAME_FIXED_SIZE : FRAME_HEADER_SIZE(3);
		uint8_t *part = malloc(n + 1);

		memcpy(part, out.data, n);
		assert_int_equal(frame_header_read(span_of(part, n), &f, &need), -ENODATA);
		assert_int_equal(need, expected);
		free(part);
	}
	assert_ok(frame_header_read(span_of(out.data, FRAME_HEADER_SIZE(3)), &f, &need));
}

static int read_header(struct span bytes)
{
	/* A changed count may want more bytes, which are there as a pack's other frames would be.
	 */
	_cleanup_free_ uint8_t *longer = calloc(1, FRAME_HEADER_SIZE(UINT16_MAX));
	struct frame f;
	size_t need;

	memcpy(longer, bytes.data, bytes.len);
	return frame_header_read(span_of(longer, FRAME_HEADER_SIZE(UINT16_MAX)), &f, &need);
}

static void no_change_to_a_header_passes(void **state)
{
	_cleanup_buf_ struct buf out = { 0 };

	small_frame(&out);
	assert_no_flip_passes(span_of(out.data, FRAME_HEADER_SIZE(3)), SIZE_MAX, read_header);
}

static bool ids_are_right(const struct frame *f, const uint8_t *raw)
{
	for (uint16_t i = 0; i < f->count; i++) {
		struct frame_item it;
		struct oid o;
		uint32_t at;

		frame_item(f, i, &it, &at);
		o = oid_of(it.kind, raw + at, it.len);
		if (!oid_equal(&o, &it.id))
			return false;
	}
	return true;
}

static void a_changed_payload_gives_the_same_bytes_or_is_found_out(void **state)
{
	_cleanup_buf_ struct buf out = { 0 };
	uint8_t right[64];
	unsigned found = 0;
	struct frame f;
	size_t need;

	small_frame(&out);
	assert_ok(frame_header_read(buf_span(&out), &f, &need));
	assert_ok(frame_decode(codec, &f, span_of(out.data + f.header_len, f.stored_len), right));
	for (size_t i = 8 * f.header_len; i < 8 * out.len; i++) {
		uint8_t raw[64] = { 0 };
		int r;

		out.data[i / 8] ^= 1u << i % 8;
		r = frame_decode(codec, &f, span_of(out.data + f.header_len, f.stored_len), raw);
		out.data[i / 8] ^= 1u << i % 8;
		if (r == -EBADMSG) {
			found++;
			continue;
		}
		assert_ok(r);
		assert_int_equal(ids_are_right(&f, raw), memcmp(raw, right, f.raw_len) == 0);
		found += !ids_are_right(&f, raw);
	}
	/* zstd has a few bits that mean nothing */
	assert_true(found > 7 * f.stored_len);
}

/* Sets a number in a frame of three items and makes the checksum right again. */
static int read_with(const struct buf *frame, size_t at, size_t width, uint32_t value)
{
	_cleanup_free_ uint8_t *copy = calloc(1, FRAME_HEADER_SIZE(UINT16_MAX));
	size_t count, sum_at;
	struct frame f;
	size_t need;
	uint64_t sum;

	memcpy(copy, frame->data, frame->len);
	value = htole32(value);
	memcpy(copy + at, &value, width);
	count = copy[AT_COUNT] | copy[AT_COUNT + 1] << 8;
	sum_at = FRAME_HEADER_SIZE(count) - 8;
	sum = htole64(xxh64(copy, sum_at, 0));
	memcpy(copy + sum_at, &sum, sizeof(sum));
	return frame_header_read(span_of(copy, FRAME_HEADER_SIZE(UINT16_MAX)), &f, &need);
}

static void a_header_against_the_rules_is_refused_though_its_checksum_is_right(void **state)
{
	static const struct {
		size_t at, width;
		uint32_t value;
	} bad[] = {
		{ 4, 2, 0 }, /* version */
		{ 4, 2, 2 },
		{ 6, 2, 1 }, /* flags */
		{ AT_CODEC, 1, CODEC_RAW }, /* which would need equal lengths */
		{ AT_CODEC, 1, 2 },
		{ AT_CIPHER, 1, 1 },
		{ AT_COUNT, 2, 0 },
		{ AT_COUNT, 2, 2 },
		{ AT_COUNT, 2, FRAME_ITEMS_MAX + 1 },
		{ AT_COUNT, 2, UINT16_MAX },
		{ AT_RAW_LEN, 4, 0 },
		{ AT_RAW_LEN, 4, 46 },
		{ AT_RAW_LEN, 4, FRAME_RAW_MAX + 1 },
		{ AT_RAW_LEN, 4, UINT32_MAX },
		{ AT_STORED_LEN, 4, 0 },
		{ AT_STORED_LEN, 4, 45 }, /* no shorter than raw */
		{ AT_STORED_LEN, 4, UINT32_MAX },
		{ AT_RESERVED, 4, 1 },
		{ AT_ITEM_KIND, 1, 0 },
		{ AT_ITEM_KIND, 1, OID_COMMIT },
		{ AT_ITEM_LEN, 4, 0 },
		{ AT_ITEM_LEN, 4, UINT32_MAX },
	};
	_cleanup_buf_ struct buf out = { 0 };

	small_frame(&out);
	assert_ok(read_with(&out, AT_RAW_LEN, 4, 45));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (read_with(&out, bad[i].at, bad[i].width, bad[i].value) != -EBADMSG)
			fail_msg("%u at %zu passes", bad[i].value, bad[i].at);
}

static int decode(const void *payload, size_t stored, uint32_t raw_len)
{
	struct frame f = { .codec = CODEC_ZSTD,
			   .raw_len = raw_len,
			   .stored_len = (uint32_t)stored };
	_cleanup_free_ uint8_t *raw = malloc(raw_len);

	return frame_decode(codec, &f, span_of(payload, stored), raw);
}

static void a_payload_of_an_old_zstd_is_refused(void **state)
{
	/* version 0.5: a raw block, then the end */
	static const uint8_t old[] = { 0x25, 0xb5, 0x2f, 0xfd, 0,   0x40, 0, 5,
				       'h',  'e',  'l',	 'l',  'o', 0xc0, 0, 0 };

	assert_int_equal(decode(old, sizeof(old), 5), -EBADMSG);
}

static void a_payload_that_is_not_one_exact_zstd_frame_is_refused(void **state)
{
	static const uint8_t skippable[] = { 0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x' };
	static uint8_t raw[1000];
	uint8_t z[2000];
	size_t n = ZSTD_compress(z, sizeof(z), raw, sizeof(raw), 1);

	assert_false(ZSTD_isError(n));
	assert_ok(decode(z, n, sizeof(raw)));
	assert_int_equal(decode(z, n, sizeof(raw) - 1), -EBADMSG);
	assert_int_equal(decode(z, n, sizeof(raw) + 1), -EBADMSG);
	assert_int_equal(decode(z, n - 1, sizeof(raw)), -EBADMSG);
	assert_int_equal(decode(z, 3, sizeof(raw)), -EBADMSG);
	z[n] = 0;
	assert_int_equal(decode(z, n + 1, sizeof(raw)), -EBADMSG);
	memcpy(z + n, z, n);
	assert_int_equal(decode(z, 2 * n, sizeof(raw)), -EBADMSG);
	assert_int_equal(decode(z, 2 * n, 2 * sizeof(raw)), -EBADMSG);
	memcpy(z + n, skippable, sizeof(skippable));
	assert_int_equal(decode(z, n + sizeof(skippable), sizeof(raw)), -EBADMSG);
	memmove(z + sizeof(skippable), z, n);
	memcpy(z, skippable, sizeof(skippable));
	assert_int_equal(decode(z, n + sizeof(skippable), sizeof(raw)), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_frame_gives_back_what_was_put_in),
		cmocka_unit_test(a_frame_of_one_byte_and_one_of_the_largest_chunk_can_be_made),
		cmocka_unit_test(what_does_not_shrink_is_stored_raw),
		cmocka_unit_test(large_noise_is_stored_raw_and_need_not_be_copied),
		cmocka_unit_test(a_large_piece_with_something_to_compress_is_compressed),
		cmocka_unit_test(a_frame_against_the_rules_is_not_made),
		cmocka_unit_test(a_header_that_is_not_all_there_says_how_much_it_needs),
		cmocka_unit_test(no_change_to_a_header_passes),
		cmocka_unit_test(a_changed_payload_gives_the_same_bytes_or_is_found_out),
		cmocka_unit_test(
			a_header_against_the_rules_is_refused_though_its_checksum_is_right),
		cmocka_unit_test(a_payload_that_is_not_one_exact_zstd_frame_is_refused),
		cmocka_unit_test(a_payload_of_an_old_zstd_is_refused),
	};

	return cmocka_run_group_tests(tests, make_codec, drop_codec);
}
