/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What repos, branches and commits may be called.
 */
#include "check.h"
#include "format/limits.h"
#include "format/name.h"

static void good_names_are_taken(void **state)
{
	static const char *const good[] = {
		"a",
		"main",
		"0",
		"a.b",
		"a-b_c.",
		"A9",
		"_x",
		"commit",
		"commitss",
		"Commits",
		/* no letters: a date; no id */
		"20260115",
		"1234567890123",
		/* short of an id, or not quite hex */
		"deadbee",
		"abcdefg0",
		"run-deadbeef",
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		if (!object_name_is_valid(good[i]))
			fail_msg("'%s' is refused", good[i]);
}

static void bad_names_are_refused(void **state)
{
	static const char *const bad[] = {
		"",
		".",
		"..",
		".hidden",
		"-x",
		"commits",
		"a/b",
		"a b",
		"a\n",
		"a:b",
		"a@b",
		"ä",
		"a\x7f",
		"a*",
		/* would read as ids */
		"deadbeef",
		"DEADBEEF",
		"1234567a",
		"0000000000000f",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (object_name_is_valid(bad[i]))
			fail_msg("'%s' is taken", bad[i]);
}

static void every_byte_but_those_allowed_is_refused_in_a_name(void **state)
{
	for (unsigned c = 1; c < 256; c++) {
		char name[] = { 'x', (char)c, 'x', '\0' };
		bool is_allowed = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
				  (c >= 'A' && c <= 'Z') || c == '.' || c == '_' || c == '-';

		assert_int_equal(object_name_is_valid(name), is_allowed);
	}
}

static void a_name_has_at_most_a_hundred_bytes(void **state)
{
	char name[OBJECT_NAME_MAX + 2];

	memset(name, 'x', sizeof(name));
	name[OBJECT_NAME_MAX] = '\0';
	assert_true(object_name_is_valid(name));
	name[OBJECT_NAME_MAX] = 'x';
	name[OBJECT_NAME_MAX + 1] = '\0';
	assert_false(object_name_is_valid(name));
	/* too long for an id, and still too much like one */
	memset(name, 'a', OBJECT_NAME_MAX);
	name[OBJECT_NAME_MAX] = '\0';
	assert_false(object_name_is_valid(name));
	assert_false(name_reads_as_id(name));
}

static void eight_to_sixty_four_hex_digits_with_a_letter_read_as_an_id(void **state)
{
	char id[66];

	memset(id, 'F', sizeof(id));
	id[65] = '\0';
	assert_false(name_reads_as_id(id));
	id[64] = '\0';
	assert_true(name_reads_as_id(id));
	id[8] = '\0';
	assert_true(name_reads_as_id(id));
	id[7] = '\0';
	assert_false(name_reads_as_id(id));
	assert_true(name_reads_as_id("0000000a"));
	assert_false(name_reads_as_id("00000000"));
	assert_false(name_reads_as_id("0000000g"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_names_are_taken),
		cmocka_unit_test(bad_names_are_refused),
		cmocka_unit_test(every_byte_but_those_allowed_is_refused_in_a_name),
		cmocka_unit_test(a_name_has_at_most_a_hundred_bytes),
		cmocka_unit_test(eight_to_sixty_four_hex_digits_with_a_letter_read_as_an_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
