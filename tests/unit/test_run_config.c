/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Configuration files as JSON: JSON, YAML, TOML, INI, and what is none of them.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/text.h"
#include "check.h"
#include "run_config.h"

typedef json_t *(*parse_fn)(struct span text, char why[CONFIG_ERROR_MAX]);

static void assert_parses(parse_fn parse, const char *text, const char *expected)
{
	char why[CONFIG_ERROR_MAX] = "";
	json_t *j = parse(span_str(text), why), *e = json_loads(expected, JSON_DECODE_ANY, NULL);
	_cleanup_free_ char *got = j ? json_dumps(j, JSON_ENCODE_ANY | JSON_SORT_KEYS) : NULL;

	assert_non_null(e);
	if (!j || !json_equal(j, e))
		fail_msg("%s\nis %s (%s), and not %s", text, got ?: "nothing", why, expected);
	json_decref(j);
	json_decref(e);
}

static void assert_fails(parse_fn parse, const char *text, const char *expected)
{
	char why[CONFIG_ERROR_MAX] = "";
	json_t *j = parse(span_str(text), why);

	if (j || !strstr(why, expected))
		fail_msg("%s\n%s: %s, and not: %s", text, j ? "succeeds" : "fails", why, expected);
}

static void json_is_taken_as_it_is(void **state)
{
	assert_parses(config_of_json, "{\"a\": [1, 2.5, null]}", "{\"a\": [1, 2.5, null]}");
	assert_parses(config_of_json, "{\"a\": [NaN, 1e999]}", "{\"a\": [\"NaN\", \"1e999\"]}");
	assert_fails(config_of_json, "{\"a\": \n1,}", "line 2");
	assert_fails(config_of_json, "{\"a\": NaN,\n1,}", "line 2");
	assert_fails(config_of_json, "{\"a\": \"\xff\"}", "line 1");
}

static void yaml_types_plain_scalars_and_leaves_quoted_ones(void **state)
{
	assert_parses(
		config_of_yaml,
		"a: 1\nb: 0.5\nc: true\nd: ~\ne:\nf: '1'\ng: \"true\"\nh: text\ni: True\n"
		"j: 1e-3\n",
		"{\"a\":1,\"b\":0.5,\"c\":true,\"d\":null,\"e\":null,\"f\":\"1\",\"g\":\"true\","
		"\"h\":\"text\",\"i\":true,\"j\":0.001}");
}

static void yaml_nests(void **state)
{
	assert_parses(config_of_yaml, "a:\n  b:\n    - 1\n    - c: 2\n",
		      "{\"a\":{\"b\":[1,{\"c\":2}]}}");
	assert_parses(config_of_yaml, "", "{}");
	assert_parses(config_of_yaml, "a: 1\n---\na: 2\n", "{\"a\":1}");
	assert_parses(config_of_yaml, "{1: 2, [a]: 3}", "{\"1\":2}");
}

static void yaml_brings_in_what_another_mapping_has(void **state)
{
	assert_parses(
		config_of_yaml,
		"base: &b {lr: 1, n: 2}\nmine:\n  <<: *b\n  lr: 5\nboth:\n  <<: [*b, {z: 9}]\n",
		"{\"base\":{\"lr\":1,\"n\":2},\"mine\":{\"lr\":5,\"n\":2},"
		"\"both\":{\"lr\":1,\"n\":2,\"z\":9}}");
}

static void yaml_that_multiplies_itself_is_refused(void **state)
{
	assert_fails(
		config_of_yaml,
		"a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
		"c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
		"e: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n",
		"too many");
	assert_fails(config_of_yaml, "a: &a [*a]\n", "deep");
}

static void yaml_that_is_none_is_refused_with_its_line(void **state)
{
	assert_fails(config_of_yaml, "a: 1\n b: [\n", "line");
	assert_fails(config_of_yaml, "a: *nobody\n", "line 1");
}

static void toml_has_tables_and_dotted_keys(void **state)
{
	assert_parses(config_of_toml, "a = 1\n[t]\nb = 2\n[t.u]\nc.d = 3 # so\n\"x y\" = 4\n",
		      "{\"a\":1,\"t\":{\"b\":2,\"u\":{\"c\":{\"d\":3},\"x y\":4}}}");
	assert_parses(config_of_toml, "", "{}");
	assert_parses(config_of_toml, "# nothing\r\n\r\n", "{}");
}

static void toml_has_arrays_of_tables(void **state)
{
	assert_parses(config_of_toml, "[[p]]\na = 1\n[p.q]\nb = 2\n[[p]]\na = 3\n",
		      "{\"p\":[{\"a\":1,\"q\":{\"b\":2}},{\"a\":3}]}");
}

static void toml_has_strings_of_four_kinds(void **state)
{
	assert_parses(config_of_toml,
		      "a = \"x\\t\\u00e9\\\"\"\nb = 'C:\\n'\nc = \"\"\"\nl1\nl2 \\\n   l3\"\"\"\"\n"
		      "d = '''\nr\\w'''\ne = \"\"\n",
		      "{\"a\":\"x\\t\xc3\xa9\\\"\",\"b\":\"C:\\\\n\",\"c\":\"l1\\nl2 l3\\\"\","
		      "\"d\":\"r\\\\w\",\"e\":\"\"}");
}

static void toml_has_numbers_of_many_kinds(void **state)
{
	assert_parses(
		config_of_toml,
		"a = 1_000\nb = 0xff\nc = 0o17\nd = 0b101\ne = -0.5\nf = 1e3\ng = +7\nh = true\n"
		"i = inf\nj = 6.5e-1_0\nk = 0\n",
		"{\"a\":1000,\"b\":255,\"c\":15,\"d\":5,\"e\":-0.5,\"f\":1000.0,\"g\":7,"
		"\"h\":true,\"i\":\"inf\",\"j\":6.5e-10,\"k\":0}");
	assert_parses(config_of_toml, "a = 1979-05-27 07:32:00Z # when\nb = 07:32:00\n",
		      "{\"a\":\"1979-05-27 07:32:00Z\",\"b\":\"07:32:00\"}");
}

static void toml_has_arrays_over_lines_and_inline_tables(void **state)
{
	assert_parses(config_of_toml, "a = [ 1, # one\n 2,\n]\nb = { c = 1, d.e = [] }\nf = {}\n",
		      "{\"a\":[1,2],\"b\":{\"c\":1,\"d\":{\"e\":[]}},\"f\":{}}");
}

static void toml_that_is_none_is_refused_with_its_line(void **state)
{
	static const char *const wrong[] = {
		"a = 1\nb = \n",	  "a = 1\na = 2\n",	   "a = 1\n[a\n",
		"a = 1\n= 3\n",		  "a = 1\nb = \"x\n",	   "a = 1\nb = [1, 2\n",
		"a = 1\nb = {c = 1,}\n",  "a = 1\nb = 012\n",	   "a = 1\nb = 1__0\n",
		"a = 1\nb = \"\\q\"\n",	  "a = 1\nb = 1 c = 2\n",  "a = 1\nb = \"\\ud800\"\n",
		"a = {}\n[a.b]\nc = 1\n", "a = [1]\n[[a]]\nb = 1", "a = 1\nb = nonsense\n",
		"a = 1\na.b = 2\n",	  "a = 1\nb = .5\n",	   "a = 1\nb = 5.\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_fails(config_of_toml, wrong[i], "line ");
	assert_fails(config_of_toml, "a = '\xff'", "UTF-8");
}

static void toml_that_is_nested_too_deeply_is_refused(void **state)
{
	char text[1000] = "a = ";

	memset(text + 4, '[', 500);
	assert_fails(config_of_toml, text, "deep");
	for (int i = 0; i < 300; i++)
		memcpy(text + 2 * i, "a.", 3);
	strcat(text, "a = 1");
	assert_fails(config_of_toml, text, "deep");
}

static void ini_has_sections(void **state)
{
	assert_parses(config_of_ini, "top = 1\n[a]\nx = 0.5\ny = some text ; why\n[b.c]\nz: true\n",
		      "{\"top\":1,\"a\":{\"x\":0.5,\"y\":\"some text\"},\"b.c\":{\"z\":true}}");
	assert_fails(config_of_ini, "[a]\nx = 1\nnonsense\n", "line 3");
	assert_fails(config_of_ini, "x = \xff\n", "UTF-8");
}

static char *file_of(const char *name, const char *text, size_t len)
{
	char *path = strf("/tmp/pfs-test-config-%d-%s", (int)getpid(), name);

	assert_int_equal(write_file_atomic(-100, path, span_of(text, len), 0600), 0);
	return path;
}

static int read_one(const char *name, const char *text, size_t len, size_t *ret_count, char *why)
{
	_cleanup_free_ char *path = file_of(name, text, len);
	json_t *params = json_array();
	int r = config_read(path, params, why);

	*ret_count = json_array_size(params);
	unlink(path);
	json_decref(params);
	return r;
}

static void a_file_is_what_its_name_says(void **state)
{
	char why[CONFIG_ERROR_MAX];
	size_t n;

	assert_int_equal(read_one("a.json", "{\"a\":1}", 7, &n, why), 0);
	assert_int_equal(n, 1);
	assert_int_equal(read_one("a.YML", "a: 1", 4, &n, why), 0);
	assert_int_equal(n, 1);
	assert_int_equal(read_one("a.toml", "a: 1", 4, &n, why), -EBADMSG);
	assert_int_equal(read_one("a.txt", "a=1", 3, &n, why), -EINVAL);
	assert_int_equal(read_one("a.json", "[1,2]", 5, &n, why), 0);
	assert_int_equal(n, 0);
	assert_int_equal(read_one("a.json", "", 0, &n, why), 0);
	assert_int_equal(config_read("/nowhere/x.json", NULL, why), -ENOENT);
	assert_int_equal(config_read("/dev/null.ini", NULL, why), -ENOENT);
}

static void a_huge_file_is_left_out(void **state)
{
	_cleanup_free_ char *text = malloc(CONFIG_MAX + 1);
	char why[CONFIG_ERROR_MAX];
	size_t n;

	memset(text, ' ', CONFIG_MAX + 1);
	memcpy(text, "{}", 2);
	assert_int_equal(read_one("b.json", text, CONFIG_MAX, &n, why), 0);
	assert_int_equal(read_one("b.json", text, CONFIG_MAX + 1, &n, why), -EFBIG);
	assert_true(strlen(why) > 0);
}

static void no_file_is_too_wild_to_end(void **state)
{
	static const parse_fn parsers[] = { config_of_json, config_of_yaml, config_of_toml,
					    config_of_ini };
	static const char seed[] = "[a.b]\nc = {d = [1, 'x']}\n- e: &f {g: *f}\n\"\"\"\\u12{}[]#\n";
	char text[sizeof(seed)], why[CONFIG_ERROR_MAX];
	unsigned x = 1;

	for (int round = 0; round < 20000; round++) {
		memcpy(text, seed, sizeof(seed));
		for (int i = 0; i < 6; i++) {
			x = x * 1103515245 + 12345;
			text[(x >> 8) % (sizeof(seed) - 1)] = seed[(x >> 16) % (sizeof(seed) - 1)];
		}
		json_decref(parsers[round % 4](span_of(text, sizeof(seed) - 1), why));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_is_taken_as_it_is),
		cmocka_unit_test(yaml_types_plain_scalars_and_leaves_quoted_ones),
		cmocka_unit_test(yaml_nests),
		cmocka_unit_test(yaml_brings_in_what_another_mapping_has),
		cmocka_unit_test(yaml_that_multiplies_itself_is_refused),
		cmocka_unit_test(yaml_that_is_none_is_refused_with_its_line),
		cmocka_unit_test(toml_has_tables_and_dotted_keys),
		cmocka_unit_test(toml_has_arrays_of_tables),
		cmocka_unit_test(toml_has_strings_of_four_kinds),
		cmocka_unit_test(toml_has_numbers_of_many_kinds),
		cmocka_unit_test(toml_has_arrays_over_lines_and_inline_tables),
		cmocka_unit_test(toml_that_is_none_is_refused_with_its_line),
		cmocka_unit_test(toml_that_is_nested_too_deeply_is_refused),
		cmocka_unit_test(ini_has_sections),
		cmocka_unit_test(a_file_is_what_its_name_says),
		cmocka_unit_test(a_huge_file_is_left_out),
		cmocka_unit_test(no_file_is_too_wild_to_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
