/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A repo's setting says when its heads are committed by themselves.
 */
#include "check.h"
#include "head/autocommit.h"

static void assert_policy(const char *text, enum autocommit_when when, int64_t sec)
{
	struct autocommit a;

	if (autocommit_parse(text, &a) != 0)
		fail_msg("`%s` is not read", text);
	assert_int_equal(a.when, when);
	assert_int_equal(a.ns, sec * 1000000000ll);
}

static void it_says_after_which_time(void **state)
{
	assert_policy("off", AUTOCOMMIT_OFF, 0);
	assert_policy("idle=1s", AUTOCOMMIT_IDLE, 1);
	assert_policy("idle=30s", AUTOCOMMIT_IDLE, 30);
	assert_policy("every=10m", AUTOCOMMIT_EVERY, 600);
	assert_policy("every=2h", AUTOCOMMIT_EVERY, 7200);
	assert_policy("every=365d", AUTOCOMMIT_EVERY, 365 * 24 * 3600);
}

static void what_says_nothing_of_the_kind_is_refused(void **state)
{
	static const char *const none[] = {
		"",	   "on",       "OFF",	   "off ",	"idle",	      "idle=",
		"idle=0s", "idle=30",  "idle=s",   "idle=-1s",	"idle=1.5h",  "idle=1 h",
		"every=",  "every=1w", "every=1y", "every=1mo", "every=366d", "every=999999999d",
		"30s",	   "idle=1ss", "idle=1s,", "idle= 1s",	"always=10m", "idle=99999999999s",
	};

	for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
		struct autocommit a;

		if (autocommit_parse(none[i], &a) != -EINVAL)
			fail_msg("`%s` is taken for a time", none[i]);
	}
}

static void a_repo_without_the_setting_is_off(void **state)
{
	char another[] = "another", key[] = AUTOCOMMIT_SETTING, idle[] = "idle=1s",
	     later[] = "of a later version";
	struct repo_setting settings[] = {
		{ .key = another, .value = idle },
		{ .key = key, .value = idle },
	};
	struct repo_rec repo = { .settings = settings, .setting_count = 1 };
	struct autocommit a;

	assert_ok(autocommit_of(&repo, &a));
	assert_int_equal(a.when, AUTOCOMMIT_OFF);
	repo.setting_count = 2;
	assert_ok(autocommit_of(&repo, &a));
	assert_int_equal(a.when, AUTOCOMMIT_IDLE);
	settings[1].value = later;
	assert_int_equal(autocommit_of(&repo, &a), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_says_after_which_time),
		cmocka_unit_test(what_says_nothing_of_the_kind_is_refused),
		cmocka_unit_test(a_repo_without_the_setting_is_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
