/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Lists of extended attributes.
 */
#include "check.h"
#include "format/limits.h"
#include "format/xattr.h"
#include "prng.h"

static void put(struct buf *b, const char *name, const char *value)
{
	buf_put_str8(b, span_str(name));
	buf_put_str32(b, span_str(value));
}

static void a_value_that_was_set_can_be_had_again(void **state)
{
	_cleanup_buf_ struct buf one = { 0 }, two = { 0 };
	struct span value = span_str("blue"), found;

	assert_int_equal(xattr_set((struct span){ 0 }, span_str("user.colour"), &value, &one), 0);
	value = span_str("");
	assert_int_equal(xattr_set(buf_span(&one), span_str("user.empty"), &value, &two), 0);

	assert_int_equal(xattr_list_check(buf_span(&two)), 0);
	assert_int_equal(xattr_get(buf_span(&two), span_str("user.colour"), &found), 0);
	assert_true(span_equal(found, span_str("blue")));
	assert_int_equal(xattr_get(buf_span(&two), span_str("user.empty"), &found), 0);
	assert_int_equal(found.len, 0);
	assert_int_equal(xattr_get(buf_span(&two), span_str("user.colou"), &found), -ENODATA);
	assert_int_equal(xattr_get(buf_span(&two), span_str("user.zzz"), &found), -ENODATA);
}

static void lists_are_the_same_whatever_the_order_of_setting(void **state)
{
	static const char *const names[] = { "user.a", "user.b", "user.c", "user.d" };
	_cleanup_buf_ struct buf want = { 0 };
	struct prng rnd = { 1 };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		put(&want, names[i], names[i]);
	for (int round = 0; round < 50; round++) {
		_cleanup_buf_ struct buf list = { 0 };
		bool is_set[ARRAY_SIZE(names)] = { 0 };

		for (size_t left = ARRAY_SIZE(names); left > 0;) {
			_cleanup_buf_ struct buf next = { 0 };
			size_t i = prng_below(&rnd, ARRAY_SIZE(names));
			struct span value = span_str(names[i]), old = span_str("before");

			assert_int_equal(xattr_set(buf_span(&list), span_str(names[i]),
						   is_set[i] || prng_below(&rnd, 2) ? &value : &old,
						   &next),
					 0);
			buf_clear(&list);
			assert_int_equal(
				xattr_set(buf_span(&next), span_str(names[i]), &value, &list), 0);
			left -= !is_set[i];
			is_set[i] = true;
		}
		assert_true(span_equal(buf_span(&list), buf_span(&want)));
	}
}

static void removing_takes_one_away_and_complains_of_none(void **state)
{
	_cleanup_buf_ struct buf list = { 0 }, want = { 0 }, got = { 0 };

	put(&list, "user.a", "1");
	put(&list, "user.b", "2");
	put(&list, "user.c", "3");
	put(&want, "user.a", "1");
	put(&want, "user.c", "3");

	assert_int_equal(xattr_set(buf_span(&list), span_str("user.b"), NULL, &got), 0);
	assert_true(span_equal(buf_span(&got), buf_span(&want)));
	assert_int_equal(xattr_set(buf_span(&want), span_str("user.b"), NULL, &got), -ENODATA);
	assert_int_equal(xattr_set((struct span){ 0 }, span_str("user.b"), NULL, &got), -ENODATA);
}

static void a_list_stays_within_its_limit(void **state)
{
	static uint8_t big[XATTR_LIST_LIMIT];
	_cleanup_buf_ struct buf list = { 0 };
	size_t overhead = 1 + strlen("user.a") + 4;
	struct span value = span_of(big, sizeof(big) - overhead);

	assert_int_equal(xattr_set((struct span){ 0 }, span_str("user.a"), &value, &list), 0);
	assert_int_equal(list.len, XATTR_LIST_LIMIT);
	assert_int_equal(xattr_list_check(buf_span(&list)), 0);

	value.len++;
	assert_int_equal(xattr_set((struct span){ 0 }, span_str("user.a"), &value, &list), -E2BIG);
}

static void names_that_no_attribute_can_have_are_refused(void **state)
{
	_cleanup_buf_ struct buf list = { 0 };
	struct span value = span_str("x");
	char name[XATTR_NAME_MAX_LEN + 1];

	memset(name, 'n', sizeof(name));
	assert_int_equal(xattr_set((struct span){ 0 }, span_of(name, 0), &value, &list), -EINVAL);
	assert_int_equal(xattr_set((struct span){ 0 }, span_of("a\0b", 3), &value, &list), -EINVAL);
	assert_int_equal(xattr_set((struct span){ 0 }, span_of(name, sizeof(name)), &value, &list),
			 -EINVAL);
	assert_int_equal(
		xattr_set((struct span){ 0 }, span_of(name, sizeof(name) - 1), &value, &list), 0);
}

static void broken_lists_are_refused(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} cases[] = {
		{ "\0\0\0\0\0", 5 }, /* no name */
		{ "\1a\0\0\0", 5 }, /* cut short */
		{ "\1a\2\0\0\0x", 7 }, /* a value longer than the list */
		{ "\1a\xff\xff\xff\xffx", 7 },
		{ "\5a", 2 }, /* a name longer than the list */
		{ "\1a\0\0\0\0\1a\0\0\0\0", 12 }, /* twice */
		{ "\1b\0\0\0\0\1a\0\0\0\0", 12 }, /* descending */
		{ "\2ab\0\0\0\0\1a\0\0\0\0", 13 }, /* a prefix comes first */
		{ "\3a\0b\0\0\0\0", 8 }, /* NUL */
		{ "\1a\0\0\0\0\1", 7 }, /* a tail */
	};

	assert_int_equal(xattr_list_check((struct span){ 0 }), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (xattr_list_check(span_of(cases[i].bytes, cases[i].len)) != -EBADMSG)
			fail_msg("case %zu was accepted", i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_value_that_was_set_can_be_had_again),
		cmocka_unit_test(lists_are_the_same_whatever_the_order_of_setting),
		cmocka_unit_test(removing_takes_one_away_and_complains_of_none),
		cmocka_unit_test(a_list_stays_within_its_limit),
		cmocka_unit_test(names_that_no_attribute_can_have_are_refused),
		cmocka_unit_test(broken_lists_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
