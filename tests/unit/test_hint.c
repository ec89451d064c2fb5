/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Hint parts: places of objects, and small content that travels along.
 */
#include "check.h"
#include "format/node.h"
#include "prng.h"

static struct loc a_loc(struct prng *rnd, unsigned packs)
{
	struct loc l = { .state = LOC_AT };

	l.pack.b[0] = (uint8_t)prng_below(rnd, packs);
	l.pack.b[1] = (uint8_t)prng_below(rnd, packs > 256 ? 256 : 1);
	l.offset = (uint32_t)prng_u64(rnd);
	l.frame_len = (uint32_t)prng_u64(rnd);
	l.item = (uint16_t)prng_u64(rnd);
	return prng_below(rnd, 3) ? l : LOC_NOWHERE;
}

static bool loc_equal(const struct loc *a, const struct loc *b)
{
	return a->state == b->state && a->offset == b->offset && a->frame_len == b->frame_len &&
	       a->item == b->item && id128_equal(&a->pack, &b->pack);
}

static void hints_of_any_number_of_packs_read_as_they_were_written(void **state)
{
	static const unsigned packs[] = { 1, 2, 20, 256, 65536 };
	static const uint8_t content[INLINE_MAX];
	struct prng rnd = { 8 };

	for (size_t p = 0; p < ARRAY_SIZE(packs); p++) {
		enum {
			N = 3000
		};
		_cleanup_free_ struct entry_hint *in = new0(struct entry_hint, N);
		_cleanup_free_ struct entry_hint *out = new0(struct entry_hint, N);
		_cleanup_buf_ struct buf b = { 0 };

		for (size_t i = 0; i < N; i++) {
			in[i].loc = a_loc(&rnd, packs[p]);
			in[i].xattr_loc = a_loc(&rnd, packs[p]);
			in[i].inlined =
				span_of(content,
					prng_below(&rnd, 3) ? 0 : prng_below(&rnd, INLINE_MAX + 1));
		}
		hint_put(&b, in, N);
		assert_false(buf_failed(&b));
		assert_int_equal(hint_read(buf_span(&b), out, N), 0);
		for (size_t i = 0; i < N; i++) {
			assert_true(loc_equal(&in[i].loc, &out[i].loc));
			assert_true(loc_equal(&in[i].xattr_loc, &out[i].xattr_loc));
			assert_true(span_equal(in[i].inlined, out[i].inlined));
		}
		assert_int_equal(hint_read(buf_span(&b), out, N - 1), -EBADMSG);
	}
}

static void hints_that_say_nothing_take_no_room(void **state)
{
	static const uint8_t content[INLINE_MAX + 1];
	struct entry_hint h[2] = { 0 }, got[2];
	_cleanup_buf_ struct buf b = { 0 };

	hint_put(&b, h, 2);
	assert_int_equal(b.len, 0);

	/* Too much to travel, and a place that is not known yet. */
	h[0].inlined = span_of(content, sizeof(content));
	h[1].loc.state = LOC_PENDING;
	hint_put(&b, h, 2);
	assert_int_equal(b.len, 0);

	h[0].loc.state = LOC_AT;
	hint_put(&b, h, 2);
	assert_int_equal(hint_read(buf_span(&b), got, 2), 0);
	assert_int_equal(got[0].loc.state, LOC_AT);
	assert_int_equal(got[0].inlined.len, 0);
	assert_int_equal(got[1].loc.state, LOC_NONE);
}

static void hints_that_are_wrong_are_refused(void **state)
{
	static const uint8_t pack[16], loc[12], far_loc[12] = { 1 };
	static const struct {
		uint8_t version, reserved, what;
		const uint8_t *loc;
		int r;
	} cases[] = {
		{ 1, 0, 0, NULL, 0 },
		{ 1, 0, 1, loc, 0 },
		{ 1, 0, 2, loc, 0 },
		{ 0, 0, 0, NULL, -EBADMSG },
		{ 2, 0, 0, NULL, -EBADMSG },
		{ 1, 1, 0, NULL, -EBADMSG },
		{ 1, 0, 8, NULL, -EBADMSG },
		{ 1, 0, 0x80, NULL, -EBADMSG },
		{ 1, 0, 1, far_loc, -EBADMSG },
		{ 1, 0, 2, far_loc, -EBADMSG },
		{ 1, 0, 1, NULL, -EBADMSG },
		{ 1, 0, 0, loc, -EBADMSG },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		struct entry_hint h;

		buf_put_u8(&b, cases[i].version);
		buf_put_u8(&b, cases[i].reserved);
		buf_put_u16(&b, 1);
		buf_put(&b, pack, sizeof(pack));
		buf_put_u8(&b, cases[i].what);
		if (cases[i].loc)
			buf_put(&b, cases[i].loc, sizeof(loc));
		if (hint_read(buf_span(&b), &h, 1) != cases[i].r)
			fail_msg("case %zu is taken wrongly", i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hints_of_any_number_of_packs_read_as_they_were_written),
		cmocka_unit_test(hints_that_say_nothing_take_no_room),
		cmocka_unit_test(hints_that_are_wrong_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
