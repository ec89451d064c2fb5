/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Points in time are read as people write them, and what is none is refused.
 */
#include <stdlib.h>

#include "base/moment.h"
#include "check.h"

/* Half past one in Berlin, on the last day of a month. */
static const struct timespec NOW = { .tv_sec = 1774956600, .tv_nsec = 250000000 };

enum {
	HOUR = 3600,
	DAY = 24 * HOUR,
};

static int in_berlin(void **state)
{
	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	return 0;
}

static int64_t at(const char *text)
{
	struct timespec t;

	if (moment_parse(text, NOW, &t) != 0)
		fail_msg("`%s` is not read", text);
	return t.tv_sec;
}

static void an_age_is_so_long_before_now(void **state)
{
	static const struct {
		const char *text;
		int64_t ago;
	} ages[] = {
		{ "90s", 90 },	       { "30m", 1800 },		 { "1h", HOUR },
		{ "2d", 2 * DAY },     { "3w", 21 * DAY },	 { "2 days ago", 2 * DAY },
		{ "2 days", 2 * DAY }, { "1.hour.ago", HOUR },	 { "1_week_ago", 7 * DAY },
		{ "0s", 0 },	       { "yesterday", DAY },	 { "now", 0 },
		{ "1 min", 60 },       { "5 minutes ago", 300 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(ages); i++) {
		struct timespec t;

		if (NOW.tv_sec - at(ages[i].text) != ages[i].ago)
			fail_msg("`%s` is not %lld s ago", ages[i].text, (long long)ages[i].ago);
		assert_ok(moment_parse(ages[i].text, NOW, &t));
		assert_int_equal(t.tv_nsec, NOW.tv_nsec);
	}
}

static void months_and_years_go_by_the_calendar(void **state)
{
	/* There was no 31st of February, and summer time has begun since. */
	assert_int_equal(at("1 month ago"), at("2026-03-03T13:30"));
	assert_int_equal(at("3 months"), at("2025-12-31T13:30"));
	assert_int_equal(at("1y"), at("2025-03-31T13:30"));
	assert_int_equal(at("2 years ago"), at("2024-03-31T13:30"));
}

static void a_date_is_its_first_instant_here(void **state)
{
	assert_int_equal(at("2026-01-15"), 1768431600);
	assert_int_equal(at("2026-01-15T14:00"), 1768431600 + 14 * HOUR);
	assert_int_equal(at("2026-01-15 14:00:05"), 1768431600 + 14 * HOUR + 5);
	assert_int_equal(at("2026-07-15"), 1784066400);
	assert_int_equal(at("today"), at("2026-03-31"));
	assert_int_equal(at("2024-02-29"), at("2024-03-01") - DAY);
}

static void a_zone_says_where_else(void **state)
{
	struct timespec t;

	assert_int_equal(at("2026-01-15T14:00Z"), 1768485600);
	assert_int_equal(at("2026-01-15T14:00+05:30"), 1768485600 - 5 * HOUR - 1800);
	assert_int_equal(at("2026-01-15T14:00:00-08:00"), 1768485600 + 8 * HOUR);
	assert_ok(moment_parse("2026-01-15T14:00:00.123456789Z", NOW, &t));
	assert_int_equal(t.tv_nsec, 123456789);
	assert_ok(moment_parse("2026-01-15T14:00:00.5", NOW, &t));
	assert_int_equal(t.tv_nsec, 500000000);
}

static void assert_range(const char *text, int64_t from, int64_t span)
{
	struct timespec a, b;

	if (moment_range_parse(text, NOW, HOUR, &a, &b) != 0)
		fail_msg("`%s` is not read", text);
	assert_int_equal(a.tv_sec, from);
	assert_int_equal(b.tv_sec - a.tv_sec, span);
}

static void a_range_is_the_day_minute_or_second_that_is_written(void **state)
{
	const int64_t day = 1768431600;

	assert_range("2026-01-15", day, DAY);
	assert_range("2026-01-15T14:00", day + 14 * HOUR, 60);
	assert_range("2026-01-15T14:00:05", day + 14 * HOUR + 5, 1);
	assert_range("2026-01-15T14:00:05.5", day + 14 * HOUR + 5, 0);
	assert_range("2026-01-15T14:00Z", day + 15 * HOUR, 60);
	/* In the zone that is named there is no summer time. */
	assert_range("2026-07-15", 1784070000, DAY);
	assert_range("2d", NOW.tv_sec - 2 * DAY, 0);
}

static void what_is_no_time_is_refused(void **state)
{
	static const char *const none[] = {
		"",
		" ",
		"1",
		"h",
		"1h ",
		"1 hour from now",
		"ago",
		"-1h",
		"1.5h",
		"1x",
		"1hago",
		"1234567890s",
		"tomorrow",
		"Yesterday",
		"2026",
		"2026-1-15",
		"2026-01",
		"2026-13-01",
		"2026-00-10",
		"2026-01-32",
		"2026-02-29",
		"2026-01-00",
		"2026-01-15T",
		"2026-01-15T14",
		"2026-01-15T24:00",
		"2026-01-15T14:60",
		"2026-01-15T14:00:61",
		"2026-01-15T14:00x",
		"2026-01-15T14:00:00.",
		"2026-01-15Z",
		"2026-01-15T14:00+1",
		"2026-01-15T14:00+99:00",
		"2026-01-15T14:00-",
		"2026-01-15T14:00:00.1234567891",
		"999999999 years ago",
		"999999999y",
		"999999999 months",
	};

	for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
		struct timespec t;

		if (moment_parse(none[i], NOW, &t) != -EINVAL)
			fail_msg("`%s` is taken for a time", none[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_age_is_so_long_before_now),
		cmocka_unit_test(months_and_years_go_by_the_calendar),
		cmocka_unit_test(a_date_is_its_first_instant_here),
		cmocka_unit_test(a_zone_says_where_else),
		cmocka_unit_test(a_range_is_the_day_minute_or_second_that_is_written),
		cmocka_unit_test(what_is_no_time_is_refused),
	};

	return cmocka_run_group_tests(tests, in_berlin, NULL);
}
