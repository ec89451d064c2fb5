/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Records of runs: ids, times, what is refused and what is not, and which parameter counts.
 */
#include "base/log.h"
#include "check.h"
#include "record/record.h"

#define ID "20260115-143052-7f3a"

static struct run_id the_id(void)
{
	struct run_id id;

	assert_ok(run_id_parse(ID, &id));
	return id;
}

static int read_start(const char *text)
{
	struct run_id id = the_id();
	json_t *j;
	int r = run_start_read(&id, span_str(text), &j);

	if (r == 0)
		json_decref(j);
	return r;
}

static int read_end(const char *text)
{
	struct run_id id = the_id();
	json_t *j;
	int r = run_end_read(&id, span_str(text), &j);

	if (r == 0)
		json_decref(j);
	return r;
}

static void an_id_is_its_start_in_utc(void **state)
{
	struct run_id id = run_id_new(1768487452500000000, 0);

	assert_string_equal(id.s, "20260115-143052-8000");
	assert_ok(run_id_parse(id.s, &id));
	assert_int_equal(strlen(id.s), RUN_ID_LEN);
	/* Clocks that say nonsense make ids that sort first or last. */
	assert_memory_equal(run_id_new(-5, 0).s, "19700101-000000-", 16);
	assert_memory_equal(run_id_new(INT64_MAX, 3).s, "22620411-", 9);
}

static void ids_sort_as_runs_start(void **state)
{
	const int64_t ns = INT64_C(1768487452999990000);
	struct run_id first = run_id_new(ns - 20000, 0), id = run_id_new(ns, 0);

	assert_true(strcmp(first.s, id.s) < 0);
	/* Where others have had the same instant, the next ones are free, also past the second. */
	for (unsigned n = 1; n < 5; n++) {
		struct run_id next = run_id_new(ns, n);

		assert_true(strcmp(id.s, next.s) < 0);
		id = next;
	}
	assert_memory_equal(id.s, "20260115-143053-", 16);
}

static void what_is_no_id_is_refused(void **state)
{
	static const char *const wrong[] = {
		"",
		"20260115-143052-7f3",
		"20260115-143052-7f3aa",
		"20260115-143052-7F3A",
		"20260115_143052-7f3a",
		"20261315-143052-7f3a",
		"20260100-143052-7f3a",
		"20260115-243052-7f3a",
		"2026011/-143052-7f3a",
	};
	struct run_id id;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(run_id_parse(wrong[i], &id), -EINVAL);
}

static void a_key_says_the_run_and_which_of_the_two(void **state)
{
	struct run_id id = the_id(), got;
	bool is_end;

	assert_string_equal(run_start_key(&id).s, "runs/202601/" ID ".start");
	assert_string_equal(run_end_key(&id).s, "runs/202601/" ID ".end");
	assert_ok(run_key_parse("runs/202601/" ID ".start", &got, &is_end));
	assert_false(is_end);
	assert_string_equal(got.s, ID);
	assert_ok(run_key_parse("runs/202601/" ID ".end", &got, &is_end));
	assert_true(is_end);
	assert_int_equal(run_key_parse("runs/202602/" ID ".end", &got, &is_end), -EINVAL);
	assert_int_equal(run_key_parse("runs/202601/" ID ".tmp", &got, &is_end), -EINVAL);
	assert_int_equal(run_key_parse("runs/202601/" ID, &got, &is_end), -EINVAL);
	assert_int_equal(run_key_parse("runs/", &got, &is_end), -EINVAL);
}

static void times_go_to_text_and_back(void **state)
{
	static const int64_t times[] = { 0, 1, 999999999, 1768487452000000001,
					 INT64_MAX / 10 * 10 };
	char text[RUN_TIME_LEN + 1];
	int64_t ns;

	for (size_t i = 0; i < ARRAY_SIZE(times) - 1; i++) {
		run_time_text(times[i], text);
		assert_int_equal(strlen(text), RUN_TIME_LEN);
		assert_ok(run_time_parse(text, &ns));
		assert_true(ns == times[i]);
	}
	assert_ok(run_time_parse("2026-01-15T14:30:52Z", &ns));
	assert_true(ns == 1768487452000000000);
	assert_ok(run_time_parse("2026-01-15T14:30:52.5Z", &ns));
	assert_true(ns == 1768487452500000000);
	assert_int_equal(run_time_parse("2026-01-15T14:30:52", &ns), -EINVAL);
	assert_int_equal(run_time_parse("2026-01-15T14:30:52.Z", &ns), -EINVAL);
	assert_int_equal(run_time_parse("2026-01-15T14:30:52.1234567891Z", &ns), -EINVAL);
	assert_int_equal(run_time_parse("2026-13-15T14:30:52Z", &ns), -EINVAL);
	assert_int_equal(run_time_parse("1969-12-31T23:59:59Z", &ns), -EINVAL);
	assert_int_equal(run_time_parse("9999-12-31T23:59:59Z", &ns), -EINVAL);
	assert_int_equal(run_time_parse("yesterday", &ns), -EINVAL);
}

/* One of each key that RUNS.md has. */
#define OID64 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define HEX32 "00112233445566778899aabbccddeeff"

static const char whole_start[] =
	"{\"pfs-run\": 1, \"id\": \"" ID
	"\", \"name\": \"n\", \"argv\": [\"a\", {\"hex\": \"ff00\"}],"
	"\"cwd\": {\"pfs\": \"r/b/d\"}, \"user\": \"u\", \"uid\": 0, \"gid\": 4294967295,"
	"\"machine\": \"m\", \"pfs\": \"1.0\", \"parent\": \"" ID "\", \"group\": \"g\","
	"\"started\": \"2026-01-15T14:30:52.000000001Z\", \"env\": {\"PATH\": \"/bin\","
	"\"X\": {\"hex\": \"ff\"}}, \"out\": [\"r/b\"], \"params\": [{\"key\": \"lr\","
	"\"value\": 0.1, \"from\": \"option\"}], \"pinned\": [{\"repo\": \"r\","
	"\"repo_id\": \"" HEX32 "\", \"branch\": \"b\", \"branch_id\": \"" HEX32 "\","
	"\"commit\": null, \"committed\": \"" OID64 "\"}], \"environment\": {\"executable\":"
	"{\"path\": \"/bin/sh\", \"sha256\": \"" OID64 "\"}, \"packages\": {\"dpkg\":"
	"{\"sha256\": \"" OID64 "\", \"count\": 3}}}, \"stdin\": {\"pfs\": \"r/b/in\"},"
	"\"unknown\": [1, {\"to\": null}]}";

static const char whole_end[] =
	"{\"pfs-run\": 1, \"id\": \"" ID "\", \"ended\": \"2026-01-15T14:30:53.000000000Z\","
	"\"status\": \"ok\", \"exit\": 0, \"signal\": 9, \"error\": [\"something\"], \"usage\":"
	"{\"seconds\": 1.5, \"user\": 1, \"system\": 0, \"max_rss\": 4096}, \"params\": [{\"key\":"
	"\"a.b\", \"value\": \"x\", \"from\": \"config\", \"path\": \"r/b/c.json\"}], \"metrics\":"
	"[{\"key\": \"loss\", \"value\": 1e-3, \"from\": \"run\", \"step\": 7}], \"outputs\": [{"
	"\"repo\": \"r\", \"repo_id\": \"" HEX32 "\", \"branch\": \"b\", \"pinned\": \"" OID64 "\","
	"\"result\": \"" OID64 "\", \"published\": null, \"kept\": \"run-" ID "\"}], \"tree\":"
	"{\"id\": \"" OID64 "\", \"hint\": \"00\", \"dirs\": 2, \"files\": 5, \"bytes\": 0},"
	"\"output\": {\"stdout\": {\"bytes\": 3, \"head\": \"abc\", \"tail\": \"\"}, \"stderr\":"
	"{\"same\": true}}, \"memo\": {\"key\": \"" OID64 "\", \"of\": \"" ID "\"}}";

static void a_whole_record_is_read(void **state)
{
	assert_ok(read_start(whole_start));
	assert_ok(read_end(whole_end));
	assert_ok(read_start("{\"pfs-run\": 1, \"id\": \"" ID "\"}"));
}

/* Turns each known key's value into each kind of JSON that it is not. */
static void assert_types_hold(const char *text, int (*read)(const char *text))
{
	static const char *const kinds[] = { "null",	   "true",	     "-1",
					     "1.5",	   "\"?\"",	     "[[]]",
					     "{\"?\": 0}", "[{\"key\": 1}]", "[null]" };
	json_t *whole = json_loads(text, 0, NULL), *copy;
	const char *key;
	json_t *value;

	assert_non_null(whole);
	json_object_foreach (whole, key, value) {
		unsigned refused = 0;

		if (strcmp(key, "unknown") == 0)
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
			char *changed;

			copy = json_copy(whole);
			json_object_set_new(copy, key, json_loads(kinds[i], JSON_DECODE_ANY, NULL));
			changed = json_dumps(copy, 0);
			refused += read(changed) < 0;
			free(changed);
			json_decref(copy);
		}
		if (refused < 5)
			fail_msg("\"%s\" may be nearly anything", key);
	}
	json_decref(whole);
}

static void every_key_has_a_type(void **state)
{
	bool was = log_set_quiet(true);

	assert_types_hold(whole_start, read_start);
	assert_types_hold(whole_end, read_end);
	log_set_quiet(was);
}

static void a_damaged_record_is_refused_with_the_runs_name(void **state)
{
	static const char *const wrong[] = {
		"",
		"{",
		"[]",
		"null",
		"{\"pfs-run\": 1}",
		"{\"id\": \"" ID "\"}",
		"{\"pfs-run\": 0, \"id\": \"" ID "\"}",
		"{\"pfs-run\": \"1\", \"id\": \"" ID "\"}",
		"{\"pfs-run\": 1, \"id\": \"20260115-143052-7f3b\"}",
		"{\"pfs-run\": 1, \"id\": \"" ID "\"} x",
		"{\"pfs-run\": 1, \"id\": \"" ID "\", \"name\": \"\\u0000\"}",
		"{\"pfs-run\": 1, \"id\": \"" ID "\", \"name\": \"\xff\"}",
		"{\"pfs-run\": 1, \"id\": \"" ID "\", \"x\": NaN}",
		"{\"pfs-run\": 1, \"id\": \"" ID "\", \"x\": 1e999}",
		"{\"pfs-run\": 1, \"id\": \"" ID "\", \"x\": 99999999999999999999}",
		"{\"pfs-run\": 1, \"id\": \"" ID "\", \"uid\": 4294967296}",
		"{\"pfs-run\": 1, \"id\": \"" ID "\", \"argv\": [{\"hex\": \"f\"}]}",
		"{\"pfs-run\": 1, \"id\": \"" ID "\", \"argv\": [{\"hex\": \"FF\"}]}",
	};
	bool was = log_set_quiet(true);

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		complaint_clear();
		assert_int_equal(read_start(wrong[i]), -EBADMSG);
		assert_non_null(strstr(complaint(), "run " ID));
	}
	assert_int_equal(read_end("{\"pfs-run\": 1, \"id\": \"" ID "\", \"status\": \"fine\"}"),
			 -EBADMSG);
	log_set_quiet(was);
}

static void a_newer_record_is_told_apart_from_a_damaged_one(void **state)
{
	bool was = log_set_quiet(true);

	assert_int_equal(read_start("{\"pfs-run\": 2, \"argv\": 7}"), -ENOTSUP);
	assert_non_null(strstr(complaint(), "newer"));
	log_set_quiet(was);
}

/* Brackets that would take hundreds of MiB, or a deep stack. */
static void a_record_of_brackets_is_refused_before_it_is_parsed(void **state)
{
	static const char *const units[] = { "[", "{\"a\":", "[]," };
	bool was = log_set_quiet(true);

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		_cleanup_buf_ struct buf b = { 0 };

		buf_put(&b, "[", 1);
		while (b.len < RUN_RECORD_MAX - 10)
			buf_put(&b, units[i], strlen(units[i]));
		buf_put_u8(&b, '\0');
		assert_int_equal(read_start((char *)b.data), -EBADMSG);
		assert_non_null(strstr(complaint(), "too large"));
	}
	log_set_quiet(was);
}

static void what_is_written_is_read_again(void **state)
{
	_cleanup_buf_ struct buf text = { 0 };
	struct run_id id = the_id();
	json_t *j = json_loads(whole_end, 0, NULL), *again;

	assert_ok(run_record_write(j, &text));
	assert_ok(run_end_read(&id, buf_span(&text), &again));
	assert_true(json_equal(j, again));
	json_decref(again);
	json_decref(j);
}

static void what_could_not_be_read_is_not_written(void **state)
{
	_cleanup_buf_ struct buf text = { 0 };
	json_t *j = json_loads(whole_start, 0, NULL);
	char *long_text = malloc(RUN_RECORD_MAX + 1);
	bool was = log_set_quiet(true);

	json_object_set_new(j, "argv", json_integer(1));
	assert_int_equal(run_record_write(j, &text), -EINVAL);
	json_object_del(j, "argv");
	memset(long_text, 'x', RUN_RECORD_MAX);
	long_text[RUN_RECORD_MAX] = '\0';
	json_object_set_new(j, "name", json_string(long_text));
	assert_int_equal(run_record_write(j, &text), -EFBIG);
	json_object_set_new(j, "name", json_stringn("a\0b", 3));
	assert_int_equal(run_record_write(j, &text), -EINVAL);
	json_object_del(j, "id");
	assert_int_equal(run_record_write(j, &text), -EINVAL);
	log_set_quiet(was);
	free(long_text);
	json_decref(j);
}

static void assert_text(json_t *got, const char *want)
{
	char *text = json_dumps(got, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS |
					     JSON_REAL_PRECISION(6));

	assert_string_equal(text, want);
	free(text);
	json_decref(got);
}

static void values_have_the_types_of_json(void **state)
{
	static const char *const cases[][2] = {
		{ "1", "1" },
		{ "-7", "-7" },
		{ "0.25", "0.25" },
		{ "1e3", "1000.0" },
		{ "true", "true" },
		{ "false", "false" },
		{ "null", "null" },
		{ "", "\"\"" },
		{ "True", "\"True\"" },
		{ "01", "\"01\"" },
		{ "1.", "\"1.\"" },
		{ "-", "\"-\"" },
		{ " 1", "\" 1\"" },
		{ "1 ", "\"1 \"" },
		{ "NaN", "\"NaN\"" },
		{ "1e999", "\"1e999\"" },
		{ "12345678901234567890", "\"12345678901234567890\"" },
		{ "[1]", "\"[1]\"" },
		{ "\"x\"", "\"\\\"x\\\"\"" },
		{ "1, 2", "\"1, 2\"" },
		{ "\xff", "{\"hex\":\"ff\"}" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_text(run_value(cases[i][0], strlen(cases[i][0])), cases[i][1]);
	assert_text(run_value("12", 1), "1");
	assert_text(run_value("1\0", 2), "{\"hex\":\"3100\"}");
}

/* Whatever the order in which they stand. */
static void the_parameter_with_the_highest_precedence_counts(void **state)
{
	json_t *start =
		json_loads("{\"params\": [{\"key\": \"a\", \"value\": 4, \"from\": \"option\"},"
			   "{\"key\": \"a\", \"value\": 2, \"from\": \"argv\"},"
			   "{\"key\": \"b\", \"value\": 2, \"from\": \"argv\"},"
			   "{\"key\": \"c\", \"value\": 1, \"from\": \"argv\"},"
			   "{\"key\": \"c\", \"value\": 2, \"from\": \"argv\"},"
			   "{\"key\": {\"hex\": \"ff\"}, \"value\": null, \"from\": \"argv\"},"
			   "{\"key\": \"e\", \"value\": 0}, {\"key\": \"f\"}, {\"value\": 1}, 7]}",
			   0, NULL);
	json_t *end = json_loads("{\"params\": [{\"key\": \"a\", \"value\": 3, \"from\": \"run\"},"
				 "{\"key\": \"b\", \"value\": 3, \"from\": \"run\"},"
				 "{\"key\": \"b\", \"value\": 1, \"from\": \"config\"},"
				 "{\"key\": \"c\", \"value\": 9, \"from\": \"config\"},"
				 "{\"key\": \"d\", \"value\": 1, \"from\": \"config\"},"
				 "{\"key\": \"e\", \"value\": 1, \"from\": \"config\"}]}",
				 0, NULL);

	assert_text(run_params(start, end),
		    "{\"a\":4,\"b\":3,\"c\":2,\"d\":1,\"e\":1,\"hex:ff\":null}");
	assert_text(run_params(start, NULL), "{\"a\":4,\"b\":2,\"c\":2,\"e\":0,\"hex:ff\":null}");
	assert_text(run_params(NULL, NULL), "{}");
	json_decref(start);
	json_decref(end);
}

static void the_last_of_a_metric_counts(void **state)
{
	json_t *end = json_loads("{\"metrics\": [{\"key\": \"loss\", \"value\": 3, \"step\": 1},"
				 "{\"key\": \"acc\", \"value\": 0.5, \"step\": 1},"
				 "{\"key\": \"loss\", \"value\": 2, \"step\": 2}]}",
				 0, NULL);

	assert_text(run_metrics(end), "{\"acc\":0.5,\"loss\":2}");
	assert_text(run_metrics(NULL), "{}");
	json_decref(end);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_id_is_its_start_in_utc),
		cmocka_unit_test(ids_sort_as_runs_start),
		cmocka_unit_test(what_is_no_id_is_refused),
		cmocka_unit_test(a_key_says_the_run_and_which_of_the_two),
		cmocka_unit_test(times_go_to_text_and_back),
		cmocka_unit_test(a_whole_record_is_read),
		cmocka_unit_test(every_key_has_a_type),
		cmocka_unit_test(a_damaged_record_is_refused_with_the_runs_name),
		cmocka_unit_test(a_newer_record_is_told_apart_from_a_damaged_one),
		cmocka_unit_test(a_record_of_brackets_is_refused_before_it_is_parsed),
		cmocka_unit_test(what_is_written_is_read_again),
		cmocka_unit_test(what_could_not_be_read_is_not_written),
		cmocka_unit_test(values_have_the_types_of_json),
		cmocka_unit_test(the_parameter_with_the_highest_precedence_counts),
		cmocka_unit_test(the_last_of_a_metric_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
