/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Points in time (base/moment.h). Seconds, minutes, hours, days and weeks have a fixed length;
 * months and years go by the local calendar.
 */
#include "base/moment.h"

#include <ctype.h>

#include "base/defs.h"

enum {
	MINUTE = 60,
	HOUR = 60 * MINUTE,
	DAY = 24 * HOUR,
	AGE_DIGITS = 9,
	NANO_DIGITS = 9,
	YEAR_DIGITS = 4,
	ZONE_HOURS_MAX = 14,
};

#define BETWEEN_WORDS " ._"

/* Whose calendar and clock: this machine's, or those of a fixed zone. */
struct place {
	bool is_here;
	int east; /* seconds */
};
static const struct place HERE = { .is_here = true };

static bool calendar(const struct place *p, time_t sec, struct tm *ret)
{
	sec += p->east;
	return p->is_here ? localtime_r(&sec, ret) : gmtime_r(&sec, ret);
}

static time_t instant(const struct place *p, struct tm *tm)
{
	tm->tm_isdst = -1;
	return p->is_here ? mktime(tm) : timegm(tm) - p->east;
}

static const struct unit {
	const char *name, *plural;
	int sec, months; /* one of the two */
} units[] = {
	{ "s", "sec", 1, 0 },	     { "second", "seconds", 1, 0 },
	{ "m", "min", MINUTE, 0 },   { "minute", "minutes", MINUTE, 0 },
	{ "h", "hr", HOUR, 0 },	     { "hour", "hours", HOUR, 0 },
	{ "d", "day", DAY, 0 },	     { "days", "days", DAY, 0 },
	{ "w", "week", 7 * DAY, 0 }, { "weeks", "weeks", 7 * DAY, 0 },
	{ "month", "months", 0, 1 }, { "y", "year", 0, 12 },
	{ "years", "years", 0, 12 },
};

static bool is_word(const char *s, size_t n, const char *word)
{
	return strlen(word) == n && memcmp(s, word, n) == 0;
}

static const struct unit *find_unit(const char *s, size_t n)
{
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (is_word(s, n, units[i].name) || is_word(s, n, units[i].plural))
			return &units[i];
	return NULL;
}

/* @n digits, taken off the text. */
static bool take_digits(const char **s, int n, int *ret)
{
	int value = 0;

	for (int i = 0; i < n; i++) {
		if (!isdigit((unsigned char)(*s)[i]))
			return false;
		value = 10 * value + (*s)[i] - '0';
	}
	*s += n;
	*ret = value;
	return true;
}

static bool take(const char **s, char c)
{
	if (**s != c)
		return false;
	(*s)++;
	return true;
}

static int months_before(const struct place *p, struct timespec now, int64_t months,
			 struct timespec *ret)
{
	struct tm tm;
	int64_t month;

	if (!calendar(p, now.tv_sec, &tm))
		return -EINVAL;
	month = tm.tm_year * 12ll + tm.tm_mon - months;
	/* Before the year 0 of the calendar nothing was committed. */
	if (month < -1900 * 12ll)
		return -EINVAL;
	tm.tm_year = (int)((month + 1900 * 12ll) / 12 - 1900);
	tm.tm_mon = (int)((month + 1900 * 12ll) % 12);
	*ret = (struct timespec){ instant(p, &tm), now.tv_nsec };
	return 0;
}

static int parse_age(const char *s, const struct place *p, struct timespec now,
		     struct timespec *ret)
{
	const struct unit *u;
	int64_t count = 0;
	size_t n = 0;

	for (; isdigit((unsigned char)*s) && n <= AGE_DIGITS; n++)
		count = 10 * count + *s++ - '0';
	if (n == 0 || n > AGE_DIGITS)
		return -EINVAL;
	s += strspn(s, BETWEEN_WORDS);
	n = strcspn(s, BETWEEN_WORDS);
	u = find_unit(s, n);
	if (!u)
		return -EINVAL;
	s += n;
	n = strspn(s, BETWEEN_WORDS);
	if (*s && (n == 0 || strcmp(s + n, "ago") != 0))
		return -EINVAL;
	if (u->months)
		return months_before(p, now, count * u->months, ret);
	*ret = (struct timespec){ now.tv_sec - count * u->sec, now.tv_nsec };
	return 0;
}

/* *@ret_span: how many seconds are meant. */
static bool parse_clock(const char **s, struct tm *tm, long *ret_nsec, int *ret_span)
{
	long scale = 1000000000;

	if (!take_digits(s, 2, &tm->tm_hour) || !take(s, ':') || !take_digits(s, 2, &tm->tm_min))
		return false;
	*ret_span = **s == ':' ? 1 : MINUTE;
	if (take(s, ':') && !take_digits(s, 2, &tm->tm_sec))
		return false;
	if (**s != '.')
		return true;
	*ret_span = 0;
	(*s)++;
	for (int i = 0; i < NANO_DIGITS && isdigit((unsigned char)**s); i++) {
		scale /= 10;
		*ret_nsec += scale * (*(*s)++ - '0');
	}
	return scale < 1000000000;
}

/* "Z", "+01:00". */
static bool parse_zone(const char **s, int *ret_east)
{
	int sign = **s == '-' ? -1 : 1, hours, minutes;

	if (take(s, 'Z')) {
		*ret_east = 0;
		return true;
	}
	(*s)++;
	if (!take_digits(s, 2, &hours) || !take(s, ':') || !take_digits(s, 2, &minutes) ||
	    hours > ZONE_HOURS_MAX || minutes >= 60)
		return false;
	*ret_east = sign * (hours * HOUR + minutes * MINUTE);
	return true;
}

static int days_of_month(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month] + (month == 1 && is_leap);
}

/* Would a calendar and a clock show it? */
static bool is_shown(const struct tm *tm)
{
	return tm->tm_mon >= 0 && tm->tm_mon < 12 && tm->tm_mday >= 1 &&
	       tm->tm_mday <= days_of_month(tm->tm_year + 1900, tm->tm_mon) && tm->tm_hour < 24 &&
	       tm->tm_min < 60 && tm->tm_sec <= 60;
}

int duration_parse(const char *text, int64_t *ret_sec)
{
	size_t n = strspn(text, "0123456789");
	struct timespec then;

	if (n == 0 || !text[n] || !strchr("smhd", text[n]) || text[n + 1] ||
	    parse_age(text, &HERE, (struct timespec){ 0 }, &then) < 0)
		return -EINVAL;
	*ret_sec = -then.tv_sec;
	return 0;
}

static int parse_date(const char *s, const struct place *p, struct timespec *ret, int *ret_span)
{
	struct tm tm = { 0 };
	struct place other = *p;
	long nsec = 0;

	*ret_span = DAY;

	if (!take_digits(&s, YEAR_DIGITS, &tm.tm_year) || !take(&s, '-') ||
	    !take_digits(&s, 2, &tm.tm_mon) || !take(&s, '-') || !take_digits(&s, 2, &tm.tm_mday))
		return -EINVAL;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	if (take(&s, 'T') || take(&s, ' ')) {
		if (!parse_clock(&s, &tm, &nsec, ret_span))
			return -EINVAL;
		if (*s == 'Z' || *s == '+' || *s == '-') {
			other.is_here = false;
			if (!parse_zone(&s, &other.east))
				return -EINVAL;
		}
	}
	if (*s || !is_shown(&tm))
		return -EINVAL;
	*ret = (struct timespec){ instant(&other, &tm), nsec };
	return 0;
}

static int midnight(const struct place *p, struct timespec now, struct timespec *ret)
{
	struct tm tm;

	if (!calendar(p, now.tv_sec, &tm))
		return -EINVAL;
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	*ret = (struct timespec){ .tv_sec = instant(p, &tm) };
	return 0;
}

static int parse(const char *text, const struct place *p, struct timespec now, struct timespec *ret,
		 int *ret_span)
{
	*ret_span = 0;
	if (strcmp(text, "now") == 0) {
		*ret = now;
		return 0;
	}
	if (strcmp(text, "today") == 0) {
		*ret_span = DAY;
		return midnight(p, now, ret);
	}
	if (strcmp(text, "yesterday") == 0)
		return parse_age("1d", p, now, ret);
	if (parse_age(text, p, now, ret) == 0)
		return 0;
	return parse_date(text, p, ret, ret_span);
}

int moment_parse(const char *text, struct timespec now, struct timespec *ret)
{
	int span;

	return parse(text, &HERE, now, ret, &span);
}

int moment_range_parse(const char *text, struct timespec now, int zone, struct timespec *ret_from,
		       struct timespec *ret_to)
{
	const struct place p = { .east = zone };
	int span, r = parse(text, &p, now, ret_from, &span);

	if (r == 0)
		*ret_to = (struct timespec){ ret_from->tv_sec + span, ret_from->tv_nsec };
	return r;
}
