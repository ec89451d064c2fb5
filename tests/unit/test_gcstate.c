/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The garbage collector's state.
 */
#include "base/hash.h"
#include "check.h"
#include "format/gcstate.h"
#include "format/limits.h"

enum {
	VERSION_AT = 4,
	PHASE_AT = 16,
	COUNT_AT = 17,
};

static struct id128 packs[] = { { { 1 } }, { { 2 } }, { { 2, 1 } }, { { 200 } } };

static const struct gc_state sample = {
	.epoch = 77,
	.phase = GC_SWEEPING,
	.condemned_count = ARRAY_SIZE(packs),
	.condemned = packs,
};

static void a_state_gives_back_what_was_written(void **state)
{
	_cleanup_gc_state_ struct gc_state back = { 0 };
	_cleanup_buf_ struct buf b = { 0 };

	assert_ok(gc_state_write(&sample, &b));
	assert_ok(gc_state_read(buf_span(&b), &back));
	assert_int_equal(back.epoch, sample.epoch);
	assert_int_equal(back.phase, sample.phase);
	assert_int_equal(back.condemned_count, sample.condemned_count);
	assert_memory_equal(back.condemned, packs, sizeof(packs));
}

static void a_state_condemns_what_is_on_its_list_and_nothing_else(void **state)
{
	static const struct gc_state idle = { 0 };
	struct id128 other = { { 2, 2 } };

	for (size_t i = 0; i < ARRAY_SIZE(packs); i++) {
		assert_true(gc_state_condemns(&sample, &packs[i]));
		assert_false(gc_state_condemns(&idle, &packs[i]));
	}
	assert_false(gc_state_condemns(&sample, &other));
}

static void the_largest_state_can_be_read(void **state)
{
	_cleanup_gc_state_ struct gc_state g = { 0 }, back = { 0 };
	_cleanup_buf_ struct buf b = { 0 };

	g.condemned = calloc(GC_CONDEMNED_MAX + 1, sizeof(g.condemned[0]));
	g.condemned_count = GC_CONDEMNED_MAX;
	for (uint32_t i = 0; i <= GC_CONDEMNED_MAX; i++)
		for (int k = 0; k < 4; k++)
			g.condemned[i].b[k] = (uint8_t)(i >> (24 - 8 * k));
	assert_ok(gc_state_write(&g, &b));
	assert_true(b.len <= GC_STATE_MAX);
	assert_ok(gc_state_read(buf_span(&b), &back));
	g.condemned_count++;
	assert_int_equal(gc_state_write(&g, &b), -EINVAL);
}

static void packs_out_of_order_are_not_written(void **state)
{
	struct id128 twice[] = { { { 1 } }, { { 1 } } };
	struct gc_state g = { .condemned = twice, .condemned_count = 2 };
	_cleanup_buf_ struct buf b = { 0 };

	assert_int_equal(gc_state_write(&g, &b), -EINVAL);
	twice[1].b[0] = 0;
	assert_int_equal(gc_state_write(&g, &b), -EINVAL);
	twice[1].b[0] = 2;
	assert_ok(gc_state_write(&g, &b));
	g.phase = 2;
	assert_int_equal(gc_state_write(&g, &b), -EINVAL);
}

static int read_any(struct span bytes)
{
	_cleanup_gc_state_ struct gc_state g = { 0 };

	return gc_state_read(bytes, &g);
}

static void no_change_to_a_state_passes(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };

	assert_ok(gc_state_write(&sample, &b));
	assert_no_flip_passes(buf_span(&b), VERSION_AT, read_any);
	assert_no_beginning_passes(buf_span(&b), read_any);
}

static void a_state_against_the_rules_is_refused_though_its_checksum_is_right(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} bad[] = {
		{ PHASE_AT, 2 },	{ COUNT_AT, 3 },     { COUNT_AT, 5 },
		{ COUNT_AT + 3, 0xff }, { COUNT_AT + 4, 3 }, /* not in order */
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_buf_ struct buf b = { 0 };

		assert_ok(gc_state_write(&sample, &b));
		b.data[bad[i].at] = bad[i].value;
		b.len -= 8;
		buf_put_u64(&b, xxh64(b.data, b.len, 0));
		if (read_any(buf_span(&b)) != -EBADMSG)
			fail_msg("%u at %zu passes", bad[i].value, bad[i].at);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_state_gives_back_what_was_written),
		cmocka_unit_test(a_state_condemns_what_is_on_its_list_and_nothing_else),
		cmocka_unit_test(the_largest_state_can_be_read),
		cmocka_unit_test(packs_out_of_order_are_not_written),
		cmocka_unit_test(no_change_to_a_state_passes),
		cmocka_unit_test(a_state_against_the_rules_is_refused_though_its_checksum_is_right),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
