/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Ids, times, keys and parameters of records (record.h).
 */
#include "record/record.h"

#include <stdio.h>
#include <time.h>

#include "base/text.h"
#include "record/fields.h"
#include "record/json_bytes.h"

#define NS_PER_SEC INT64_C(1000000000)

#define START_SUFFIX ".start"
#define END_SUFFIX   ".end"

enum {
	MONTH_LEN = RUN_MONTH_LEN - 1, /* the id's first digits */
	FRACTION_AT = 16, /* the id's last */
	FRACTIONS = 65536, /* of a second, that ids tell apart */
};

static struct tm utc(int64_t sec)
{
	time_t t = CLAMP(sec, INT64_C(0), INT64_MAX / NS_PER_SEC);
	struct tm tm;

	gmtime_r(&t, &tm);
	return tm;
}

struct run_id run_id_new(int64_t ns, unsigned tries)
{
	const int64_t step = NS_PER_SEC / FRACTIONS + 1;
	int64_t at = CLAMP(ns, INT64_C(0), INT64_MAX - tries * step) + tries * step;
	struct tm tm = utc(at / NS_PER_SEC);
	struct run_id id;
	char text[40];

	strftime(text, sizeof(text), "%Y%m%d-%H%M%S", &tm);
	snprintf(id.s, sizeof(id.s), "%.15s-%04x", text,
		 (unsigned)(at % NS_PER_SEC * FRACTIONS / NS_PER_SEC));
	return id;
}

/* Does @text have the form of @model: 0 stands for a digit, x for a hex digit? */
static bool has_form(const char *text, const char *model)
{
	for (; *model; text++, model++) {
		bool is_digit = *text >= '0' && *text <= '9';

		if (*model == '0'   ? !is_digit
		    : *model == 'x' ? !is_digit && !(*text >= 'a' && *text <= 'f')
				    : *text != *model)
			return false;
	}
	return true;
}

static unsigned number_at(const char *text, unsigned digits)
{
	unsigned n = 0;

	while (digits-- > 0)
		n = 10 * n + (unsigned)(*text++ - '0');
	return n;
}

static bool is_date(unsigned month, unsigned day, unsigned hour, unsigned min, unsigned sec)
{
	return month >= 1 && month <= 12 && day >= 1 && day <= 31 && hour < 24 && min < 60 &&
	       sec <= 60;
}

int run_id_parse(const char *text, struct run_id *ret)
{
	if (strnlen(text, RUN_ID_LEN + 1) != RUN_ID_LEN ||
	    !has_form(text, "00000000-000000-xxxx") ||
	    !is_date(number_at(text + 4, 2), number_at(text + 6, 2), number_at(text + 9, 2),
		     number_at(text + 11, 2), number_at(text + 13, 2)))
		return -EINVAL;
	memcpy(ret->s, text, sizeof(ret->s));
	return 0;
}

int64_t run_id_time(const struct run_id *id)
{
	struct tm tm = {
		.tm_year = (int)number_at(id->s, 4) - 1900,
		.tm_mon = (int)number_at(id->s + 4, 2) - 1,
		.tm_mday = (int)number_at(id->s + 6, 2),
		.tm_hour = (int)number_at(id->s + 9, 2),
		.tm_min = (int)number_at(id->s + 11, 2),
		.tm_sec = (int)number_at(id->s + 13, 2),
	};

	return timegm(&tm);
}

static struct key record_key(const struct run_id *id, const char *suffix)
{
	struct key k;

	snprintf(k.s, sizeof(k.s), RUN_PREFIX "%.*s/%s%s", MONTH_LEN, id->s, id->s, suffix);
	return k;
}

struct key run_start_key(const struct run_id *id)
{
	return record_key(id, START_SUFFIX);
}

struct key run_end_key(const struct run_id *id)
{
	return record_key(id, END_SUFFIX);
}

int run_key_parse(const char *key, struct run_id *ret, bool *ret_is_end)
{
	const size_t at = strlen(RUN_PREFIX) + MONTH_LEN + 1;
	char text[RUN_ID_LEN + 1] = { 0 };
	struct run_id id;

	if (strlen(key) < at + RUN_ID_LEN)
		return -EINVAL;
	memcpy(text, key + at, RUN_ID_LEN);
	if (run_id_parse(text, &id) < 0)
		return -EINVAL;
	if (strcmp(key, run_start_key(&id).s) == 0)
		*ret_is_end = false;
	else if (strcmp(key, run_end_key(&id).s) == 0)
		*ret_is_end = true;
	else
		return -EINVAL;
	*ret = id;
	return 0;
}

void run_time_text(int64_t ns, char ret[RUN_TIME_LEN + 1])
{
	int64_t all = MAX(ns, INT64_C(0));
	struct tm tm = utc(all / NS_PER_SEC);
	char text[40];

	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(ret, RUN_TIME_LEN + 1, "%.19s.%09dZ", text, (int)(all % NS_PER_SEC));
}

int run_time_parse(const char *text, int64_t *ret_ns)
{
	const char *p = text + 19;
	int64_t ns = 0, unit = NS_PER_SEC;
	struct tm tm = { 0 };
	time_t t;

	if (!has_form(text, "0000-00-00T00:00:00"))
		return -EINVAL;
	tm.tm_year = (int)number_at(text, 4) - 1900;
	tm.tm_mon = (int)number_at(text + 5, 2) - 1;
	tm.tm_mday = (int)number_at(text + 8, 2);
	tm.tm_hour = (int)number_at(text + 11, 2);
	tm.tm_min = (int)number_at(text + 14, 2);
	tm.tm_sec = (int)number_at(text + 17, 2);
	if (!is_date((unsigned)tm.tm_mon + 1, (unsigned)tm.tm_mday, (unsigned)tm.tm_hour,
		     (unsigned)tm.tm_min, (unsigned)tm.tm_sec))
		return -EINVAL;
	if (*p == '.') {
		for (p++; *p >= '0' && *p <= '9' && unit > 1; p++) {
			unit /= 10;
			ns += (*p - '0') * unit;
		}
		if (unit == NS_PER_SEC)
			return -EINVAL;
	}
	t = timegm(&tm);
	if (strcmp(p, "Z") != 0 || t < 0 || t >= INT64_MAX / NS_PER_SEC)
		return -EINVAL;
	*ret_ns = (int64_t)t * NS_PER_SEC + ns;
	return 0;
}

json_t *run_value(const char *text, size_t len)
{
	static const char *const words[] = { "true", "false", "null" };
	bool is_word = false, is_number = len > 0 &&
					  (text[0] == '-' || (text[0] >= '0' && text[0] <= '9')) &&
					  text[len - 1] >= '0' && text[len - 1] <= '9';
	json_t *j = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		is_word |= span_equal(span_of(text, len), span_str(words[i]));
	if (is_word || is_number)
		j = json_loadb(text, len, JSON_DECODE_ANY, NULL);
	return j ?: json_of_bytes(span_of(text, len));
}

/* A parameter's name as a key of an object; NULL: it has none. To be freed. */
static char *name_of(const json_t *param)
{
	const json_t *key = json_object_get(param, "key");
	const char *hex = json_string_value(json_object_get(key, "hex"));

	if (json_is_string(key))
		return strdup(json_string_value(key));
	return hex ? strf("hex:%s", hex) : NULL;
}

/* What comes from there goes before what comes from a place with a lower number. */
static int precedence(const json_t *param)
{
	static const char *const from[] = { "config", "argv", "run", "option" };
	const char *word = json_string_value(json_object_get(param, "from"));

	for (size_t i = 0; word && i < ARRAY_SIZE(from); i++)
		if (strcmp(word, from[i]) == 0)
			return (int)i + 1;
	return 0;
}

/* Puts each of @params into @all unless there is one with a higher precedence: those are in
 * @ranks. 0 or -ENOMEM. */
static int settle(json_t *all, json_t *ranks, const json_t *params)
{
	for (size_t i = 0; i < json_array_size(params); i++) {
		const json_t *param = json_array_get(params, i);
		json_t *value = json_object_get(param, "value");
		_cleanup_free_ char *name = name_of(param);
		int rank = precedence(param);

		if (!name || !value)
			continue;
		if (json_integer_value(json_object_get(ranks, name)) > rank)
			continue;
		if (json_object_set_new(ranks, name, json_integer(rank)) < 0 ||
		    json_object_set(all, name, value) < 0)
			return -ENOMEM;
	}
	return 0;
}

static json_t *settled(const json_t *first, const json_t *second)
{
	json_t *all = json_object(), *ranks = json_object();

	if (!all || !ranks || settle(all, ranks, first) < 0 || settle(all, ranks, second) < 0) {
		json_decref(all);
		all = NULL;
	}
	json_decref(ranks);
	return all;
}

json_t *run_params(const json_t *start, const json_t *end)
{
	return settled(json_object_get(start, "params"), json_object_get(end, "params"));
}

json_t *run_metrics(const json_t *end)
{
	return settled(NULL, json_object_get(end, "metrics"));
}

const json_t *run_pin_of(const json_t *start, const json_t *end, struct span repo,
			 struct span branch, const char **ret_key)
{
	static const char *const keys[] = { "commit", "pinned" };
	const json_t *lists[] = { json_object_get(start, "pinned"),
				  json_object_get(end, "outputs") };

	for (size_t k = 0; k < ARRAY_SIZE(lists); k++) {
		for (size_t i = 0; i < json_array_size(lists[k]); i++) {
			const json_t *p = json_array_get(lists[k], i);

			if (!span_equal(span_str(field_text(p, "repo")), repo) ||
			    !span_equal(span_str(field_text(p, "branch")), branch))
				continue;
			*ret_key = keys[k];
			return p;
		}
	}
	return NULL;
}
