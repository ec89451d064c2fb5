/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What catalog/expr.h promises: which runs an expression means, and where a wrong one is wrong.
 */
#include "base/log.h"
#include "catalog/expr.h"
#include "check.h"

static const struct run_expr_now NOW = { .ns = 1768487520000000000, .zone = 3600 };

/* A run of 2026-01-15T14:30:52Z, which took a minute. */
static struct run_row row_of(const char *params, const char *metrics, struct buf *bytes)
{
	json_t *start =
		json_pack("{s:s, s:s, s:s, s:s, s:s, s:[s,s], s:[]}", "name", "sweep 1", "user",
			  "ann", "machine", "lab", "group", "g", "started",
			  "2026-01-15T14:30:52.000000000Z", "argv", "train", "a b", "params");
	json_t *end = json_pack("{s:s, s:s, s:i, s:[{s:s,s:s,s:s},{s:s,s:s,s:s}], s:[]}", "status",
				"ok", "ended", "2026-01-15T14:31:52.000000000Z", "exit", 0,
				"outputs", "repo", "models", "branch", "main", "kept", "x", "repo",
				"tables", "branch", "dev", "kept", "y", "metrics");
	struct run_row row;
	struct run_id id;
	const char *key;
	json_t *o, *v;

	assert_ok(run_id_parse("20260115-143052-7f3a", &id));
	o = json_loads(params, 0, NULL);
	json_object_foreach (o, key, v)
		json_array_append_new(
			json_object_get(start, "params"),
			json_pack("{s:s, s:O, s:s}", "key", key, "value", v, "from", "option"));
	json_decref(o);
	o = json_loads(metrics, 0, NULL);
	json_object_foreach (o, key, v)
		json_array_append_new(
			json_object_get(end, "metrics"),
			json_pack("{s:s, s:O, s:s}", "key", key, "value", v, "from", "run"));
	json_decref(o);
	assert_ok(run_row_write(&id, start, end, RUN_RUNNING, 0, bytes));
	assert_ok(run_row_read(&id, buf_span(bytes), &row));
	json_decref(start);
	json_decref(end);
	return row;
}

static bool matches(const struct run_row *row, const char *text)
{
	_cleanup_(run_expr_freep) struct run_expr *e = NULL;

	if (run_expr_parse(text, &NOW, &e) < 0)
		fail_msg("%s: %s", text, complaint());
	return run_expr_match(e, row);
}

static void each(const char *const *texts, size_t n, bool want)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct run_row row =
		row_of("{\"lr\": 0.1, \"n\": 3, \"on\": true, \"model\": \"cnn-2\", "
		       "\"status\": \"odd\", \"v\": \"10\", \"acc\": 1, \"deep.er\": null}",
		       "{\"acc\": 0.9, \"loss\": 2}", &bytes);

	for (size_t i = 0; i < n; i++)
		if (matches(&row, texts[i]) != want)
			fail_msg("%s: it does%s match", texts[i], want ? " not" : "");
}

static void what_is_true_matches(void **state)
{
	static const char *const texts[] = {
		"lr = 0.1",
		"lr=1e-1",
		"lr > 0.01 and status = ok",
		"lr < 1 and lr <= 0.1 and lr >= 0.1 and lr != 2",
		"n = 3.0",
		"on = true",
		"model = cnn-2",
		"model = \"cnn-2\"",
		"model ~ cnn",
		"model ~ 'c*2'",
		"model ~ c?n-?",
		"not model ~ rnn",
		"not (lr = 1 or lr = 2)",
		"lr = 1 or lr = 0.1 and n = 3",
		"(lr = 1 or lr = 0.1) and n = 3",
		"NOT lr = 1 AND n = 3",
		"params.status = odd",
		"metrics.acc = 0.9",
		"params.acc = 1",
		"acc = 1",
		"loss = 2",
		"deep.er = null",
		"v = 10",
		"name = 'sweep 1'",
		"user = ann and machine = lab and group = g",
		"repo = models",
		"repo = tables",
		"branch = dev",
		"repo != elsewhere",
		"command ~ 'a b'",
		"exit = 0",
		"seconds = 60",
		"id ~ 7f3a",
		"id = 20260115-143052-7f3a",
		"started > 2026-01-01",
		"started = 2026-01-15",
		"started = 2026-01-15T15:30",
		"started = 2026-01-15T14:30:52Z",
		"started < 2026-01-16",
		"started <= 2026-01-15",
		"ended >= 2026-01-15T15:31:52",
		"started > 2d",
		"started > '1 month ago'",
		"started < 9999-12-31",
		"started < 1s",
		"model > a",
	};

	each(texts, ARRAY_SIZE(texts), true);
}

static void what_is_not_does_not(void **state)
{
	static const char *const texts[] = {
		"lr = 0.2",
		"lr > 0.1",
		"lr < 0.1",
		"status = failed",
		"nothing = 1",
		"nothing != 1",
		"not not nothing = 1",
		"model = cnn",
		"model ~ 'c*3'",
		"lr = word",
		"model > 5",
		"repo != models",
		"started > 2026-01-15",
		"started < 2026-01-15",
		"started > 10s",
		"branch = Main",
		"metrics.lr = 0.1",
		"params.loss = 2",
		"parent = x",
		"lr = 1 or lr = 2",
		"lr = 0.1 and lr = 2",
	};

	each(texts, ARRAY_SIZE(texts), false);
}

static void a_wrong_expression_is_shown_with_a_caret_where_it_is_wrong(void **state)
{
	static const struct {
		const char *text, *what, *caret;
	} wrong[] = {
		{ "", "a key is expected", "  \n  ^" },
		{ "lr", "is expected here", "  lr\n    ^" },
		{ "lr >", "a value is expected", "  lr >\n      ^" },
		{ "lr > 1 n = 2", "`and` or `or`", "  lr > 1 n = 2\n         ^" },
		{ "(lr > 1", "not closed", "  (lr > 1\n  ^" },
		{ "lr > 1)", "no parenthesis", "  lr > 1)\n        ^" },
		{ "a = 'x", "quote is not closed", "  a = 'x\n      ^" },
		{ "a = 1 and", "a key is expected", "  a = 1 and\n           ^" },
		{ "started > soon", "a time is like", "  started > soon\n            ^" },
		{ "a ! 1", "means nothing", "  a ! 1\n    ^" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct run_expr *e = NULL;
		bool was_quiet = log_set_quiet(true);

		complaint_clear();
		assert_int_equal(run_expr_parse(wrong[i].text, &NOW, &e), -EINVAL);
		log_set_quiet(was_quiet);
		assert_null(e);
		if (!strstr(complaint(), wrong[i].what) || !strstr(complaint(), wrong[i].caret))
			fail_msg("%s: %s", wrong[i].text, complaint());
	}
}

static void what_is_too_deep_or_too_long_is_refused(void **state)
{
	char text[RUN_EXPR_MAX + 100];
	bool was_quiet = log_set_quiet(true);
	struct run_expr *e = NULL;

	memset(text, '(', sizeof(text));
	text[RUN_EXPR_DEPTH + 10] = '\0';
	assert_int_equal(run_expr_parse(text, &NOW, &e), -EINVAL);
	memset(text, ' ', sizeof(text));
	text[RUN_EXPR_MAX + 1] = '\0';
	assert_int_equal(run_expr_parse(text, &NOW, &e), -EINVAL);
	log_set_quiet(was_quiet);
}

/* A run as its clock had it began and ended, whose command took that many seconds (< 0: not told).
 */
static struct run_row row_of_times(const char *started, const char *ended, double seconds,
				   struct buf *bytes)
{
	json_t *start = json_pack("{s:s, s:[s]}", "started", started, "argv", "true");
	json_t *end = json_pack("{s:s, s:s}", "status", "ok", "ended", ended);
	struct run_row row;
	struct run_id id;

	if (seconds >= 0)
		json_object_set_new(end, "usage", json_pack("{s:f}", "seconds", seconds));
	assert_ok(run_id_parse("20260115-143052-7f3a", &id));
	assert_ok(run_row_write(&id, start, end, RUN_RUNNING, 0, bytes));
	assert_ok(run_row_read(&id, buf_span(bytes), &row));
	json_decref(start);
	json_decref(end);
	return row;
}

static void a_run_took_what_was_measured_whatever_was_done_to_the_clock(void **state)
{
	static const char early[] = "2026-01-15T14:30:52.000000000Z";
	static const char late[] = "2026-01-16T14:30:52.000000000Z";
	static const struct {
		const char *started, *ended;
		double told;
		bool is_known;
		double want;
	} cases[] = {
		{ early, late, 1.5, true, 1.5 }, { late, early, 1.5, true, 1.5 },
		{ early, early, 0, true, 0 },	 { early, late, -1, true, 24 * 3600 },
		{ late, early, -1, false, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_buf_ struct buf bytes = { 0 };
		struct run_row row =
			row_of_times(cases[i].started, cases[i].ended, cases[i].told, &bytes);
		json_t *shown = run_row_json(&row), *v = json_object_get(shown, "seconds");
		double got = 0;

		assert_int_equal(run_row_seconds(&row, &got), cases[i].is_known);
		assert_true(got == cases[i].want);
		assert_true(!v == !cases[i].is_known && json_number_value(v) == cases[i].want);
		assert_true(!cases[i].is_known ||
			    matches(&row, got < 60 ? "seconds < 60" : "seconds > 60"));
		json_decref(shown);
	}
}

/* A row that is cut anywhere is damaged, and never read beyond its end. */
static void no_beginning_of_a_row_passes_for_one(void **state)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct run_row row = row_of("{\"lr\": 0.1}", "{\"acc\": 0.9}", &bytes), other;

	for (size_t n = 0; n < bytes.len; n++) {
		_cleanup_free_ uint8_t *copy = malloc(n + 1);

		memcpy(copy, bytes.data, n);
		assert_int_equal(run_row_read(&row.id, span_of(copy, n), &other), -EBADMSG);
	}
}

static void what_is_absent_comes_last_and_numbers_before_texts(void **state)
{
	const struct run_value one = { .type = RUN_VALUE_INTEGER, .integer = 1, .real = 1 };
	const struct run_value half = { .type = RUN_VALUE_REAL, .real = 0.5 };
	const struct run_value text = { .type = RUN_VALUE_TEXT, .text = span_str("0") };

	assert_true(run_value_cmp(&half, &one) < 0);
	assert_true(run_value_cmp(&one, &text) < 0);
	assert_true(run_value_cmp(&text, NULL) < 0);
	assert_true(run_value_cmp(NULL, &half) > 0);
	assert_int_equal(run_value_cmp(&one, &one), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_true_matches),
		cmocka_unit_test(what_is_not_does_not),
		cmocka_unit_test(a_wrong_expression_is_shown_with_a_caret_where_it_is_wrong),
		cmocka_unit_test(what_is_too_deep_or_too_long_is_refused),
		cmocka_unit_test(a_run_took_what_was_measured_whatever_was_done_to_the_clock),
		cmocka_unit_test(no_beginning_of_a_row_passes_for_one),
		cmocka_unit_test(what_is_absent_comes_last_and_numbers_before_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
