/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Times in expressions: "2026-01-15", "2026-01-15T14:30[:52][Z]", and ages, "2d".
 *
 * A time stands for all of its day, minute or second, so that started = 2026-01-15 is what one
 * expects.
 */
#include <ctype.h>
#include <time.h>

#include "run/expr_parts.h"

#define NS_PER_SEC 1000000000ll

enum {
	AGE_DIGITS = 6
};

static const struct {
	char letter;
	int64_t sec;
} ages[] = { { 's', 1 },     { 'm', 60 },	 { 'h', 3600 },
	     { 'd', 86400 }, { 'w', 7 * 86400 }, { 'y', 365 * 86400 } };

static bool age(const char *s, const struct run_expr_now *now, int64_t *ret)
{
	int64_t n = 0;
	int digits = 0;

	for (; isdigit((unsigned char)*s) && digits <= AGE_DIGITS; s++, digits++)
		n = 10 * n + *s - '0';
	if (digits == 0 || digits > AGE_DIGITS || !*s || s[1])
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(ages); i++) {
		int64_t ns;

		if (*s != ages[i].letter)
			continue;
		if (__builtin_mul_overflow(n * ages[i].sec, NS_PER_SEC, &ns) ||
		    __builtin_sub_overflow(now->ns, ns, ret))
			*ret = INT64_MIN;
		return true;
	}
	return false;
}

/* Two digits behind @before, which are taken off the text. */
static bool part(const char **s, char before, int *ret)
{
	const char *p = *s;

	if (p[0] != before || !isdigit((unsigned char)p[1]) || !isdigit((unsigned char)p[2]))
		return false;
	*ret = 10 * (p[1] - '0') + p[2] - '0';
	*s = p + 3;
	return true;
}

static bool date(const char *s, struct tm *ret)
{
	for (int i = 0; i < 4; i++)
		if (!isdigit((unsigned char)s[i]))
			return false;
	ret->tm_year =
		(s[0] - '0') * 1000 + (s[1] - '0') * 100 + (s[2] - '0') * 10 + s[3] - '0' - 1900;
	return true;
}

bool expr_time(const char *text, const struct run_expr_now *now, int64_t *ret_from, int64_t *ret_to)
{
	struct tm tm = { .tm_mday = 1 };
	const char *s = text;
	int64_t sec, span = 86400;
	bool is_utc = false;

	if (age(text, now, ret_from)) {
		*ret_to = *ret_from;
		return true;
	}
	if (!date(s, &tm))
		return false;
	s += 4;
	if (!part(&s, '-', &tm.tm_mon) || !part(&s, '-', &tm.tm_mday))
		return false;
	if (*s && part(&s, *s == ' ' ? ' ' : 'T', &tm.tm_hour)) {
		if (!part(&s, ':', &tm.tm_min))
			return false;
		span = part(&s, ':', &tm.tm_sec) ? 1 : 60;
		is_utc = *s == 'Z';
		s += is_utc ? 1 : 0;
	}
	if (*s || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 ||
	    tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
		return false;
	tm.tm_mon--;
	sec = timegm(&tm) - (is_utc ? 0 : now->zone);
	if (__builtin_mul_overflow(sec, NS_PER_SEC, ret_from) ||
	    __builtin_add_overflow(*ret_from, span * NS_PER_SEC, ret_to))
		return false;
	return true;
}
