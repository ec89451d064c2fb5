/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Parameters of runs: from arguments, from lines, from objects.
 */
#include <stdio.h>

#include "base/defs.h"
#include "check.h"
#include "run_params.h"

/* "K=JSON" of each, with a blank behind; freed by the caller. */
static char *as_text(json_t *params)
{
	char *all = calloc(1, 1 << 20);

	for (size_t i = 0; i < json_array_size(params); i++) {
		const json_t *p = json_array_get(params, i);
		char *value = json_dumps(json_object_get(p, "value"),
					 JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
		const json_t *step = json_object_get(p, "step");

		sprintf(all + strlen(all), "%s=%s", json_string_value(json_object_get(p, "key")),
			value);
		if (step)
			sprintf(all + strlen(all), "@%lld", (long long)json_integer_value(step));
		sprintf(all + strlen(all), " ");
		free(value);
	}
	json_decref(params);
	return all;
}

static void assert_argv(const char *expected, const char *const *argv)
{
	json_t *params = json_array();
	_cleanup_free_ char *text = NULL;

	params_of_argv(params, (char *const *)argv);
	text = as_text(params);
	assert_string_equal(text, expected);
}

#define ARGV(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void options_with_a_value_behind_or_attached_are_parameters(void **state)
{
	assert_argv("lr=0.1 ", ARGV("train", "--lr", "0.1"));
	assert_argv("lr=0.1 ", ARGV("train", "--lr=0.1"));
	assert_argv("lr=0.1 ", ARGV("train", "lr=0.1"));
	assert_argv("name=\"a b\" ", ARGV("train", "--name=a b"));
	assert_argv("empty=\"\" ", ARGV("train", "--empty="));
}

/* @argv, a blank behind each, after K gets V; freed by the caller. */
static char *replaced(const char *const *argv, const char *key, const char *value, int want)
{
	char *copy[16] = { NULL }, *all = calloc(1, 1 << 10);
	size_t n = 0;

	for (; argv[n]; n++)
		copy[n] = strdup(argv[n]);
	assert_int_equal(params_replace(copy, span_str(key), value), want);
	for (size_t i = 0; copy[i]; i++) {
		strcat(strcat(all, copy[i]), " ");
		free(copy[i]);
	}
	return all;
}

static void assert_replaced(const char *expected, int want, const char *value,
			    const char *const *argv)
{
	_cleanup_free_ char *all = replaced(argv, "lr", value, want);

	assert_string_equal(all, expected);
}

static void a_parameter_is_replaced_in_the_form_in_which_it_stands(void **state)
{
	assert_replaced("x --lr 2 ", 1, "2", ARGV("x", "--lr", "1"));
	assert_replaced("x --lr=2 -v ", 1, "2", ARGV("x", "--lr=1", "-v"));
	assert_replaced("x +lr=2 ", 1, "2", ARGV("x", "+lr=1"));
	assert_replaced("x lr=2 lrs=1 ", 1, "2", ARGV("x", "lr=1", "lrs=1"));
	assert_replaced("x --lr 1 --lr 2 ", 1, "2", ARGV("x", "--lr", "1", "--lr", "3"));
	assert_replaced("x ", 0, "2", ARGV("x"));
	assert_replaced("sh -c lr=1 ", 0, "2", ARGV("sh", "-c", "lr=1"));
}

static void a_flag_goes_with_false_and_takes_nothing_else(void **state)
{
	assert_replaced("x -y ", 1, "false", ARGV("x", "--lr", "-y"));
	assert_replaced("x --lr -y ", 1, "true", ARGV("x", "--lr", "-y"));
	assert_replaced("x --lr -y ", -EINVAL, "2", ARGV("x", "--lr", "-y"));
}

static void a_negative_number_is_a_value_and_an_option_is_none(void **state)
{
	assert_argv("a=-3 b=true ", ARGV("x", "--a", "-3", "--b", "-v"));
	assert_argv("a=true b=-0.5 ", ARGV("x", "--a", "--b", "-0.5"));
	assert_argv("input=\"-\" ", ARGV("x", "--input", "-"));
}

static void an_option_alone_is_true(void **state)
{
	assert_argv("verbose=true ", ARGV("x", "--verbose"));
	assert_argv("verbose=true lr=1 ", ARGV("x", "--verbose", "lr=1"));
}

static void values_are_typed_as_json(void **state)
{
	assert_argv("a=1 b=true c=null d=\"1x\" e=\"yes\" f=\"[1]\" ",
		    ARGV("x", "a=1", "b=true", "c=null", "d=1x", "e=yes", "f=[1]"));
}

static void the_commands_own_name_is_no_parameter(void **state)
{
	assert_argv("", ARGV("a=1"));
	assert_argv("", (const char *const[]){ NULL });
}

static void text_of_a_program_is_no_parameter(void **state)
{
	assert_argv("", ARGV("sh", "-c", "x=1; echo $x"));
	assert_argv("y=2 ", ARGV("sh", "-c", "x=1", "y=2"));
}

static void comparisons_paths_and_addresses_are_no_parameters(void **state)
{
	assert_argv("", ARGV("pip", "numpy==1.2", "/a=b", "./a=b", "http://x?a=b", "=1", "1=2",
			     "--=3", "-x=1"));
}

static void behind_two_dashes_only_assignments_are_parameters(void **state)
{
	assert_argv("b=2 ", ARGV("x", "--", "--a=1", "b=2"));
}

static void a_new_key_as_hydra_writes_it_is_one(void **state)
{
	assert_argv("model.lr=1 db/kind=\"x\" ", ARGV("x", "+model.lr=1", "++db/kind=x"));
}

static void keys_that_are_no_text_and_huge_values_are_left_out(void **state)
{
	static char huge[PARAM_VALUE_MAX + 10];

	memset(huge, 'a', sizeof(huge) - 1);
	huge[1] = '=';
	assert_argv("b=1 ", ARGV("x", "\xff=1", huge, "--\xfe=1", "b=1"));
}

static void values_may_be_any_bytes(void **state)
{
	assert_argv("a={\"hex\":\"ff\"} b={\"hex\":\"c3\"} ", ARGV("x", "a=\xff", "--b", "\xc3"));
}

static void assert_lines(const char *expected, const char *text, size_t expected_bad)
{
	json_t *params = json_array();
	_cleanup_free_ char *all = NULL;
	size_t bad;

	params_of_lines(params, span_str(text), &bad);
	all = as_text(params);
	assert_string_equal(all, expected);
	assert_int_equal(bad, expected_bad);
}

static void lines_are_assignments_or_objects(void **state)
{
	assert_lines("a=1 b=\"x y\" ", "a=1\nb=x y\n", 0);
	assert_lines("a=1 b.c=2 ", "{\"a\": 1, \"b\": {\"c\": 2}}\n", 0);
	assert_lines("a=1 ", "\n  \r\n a=1 \r\n\n", 0);
}

static void a_step_belongs_to_what_stands_beside_it(void **state)
{
	assert_lines("loss=1@3 acc=2@3 loss=4 ",
		     "{\"loss\": 1, \"step\": 3, \"acc\": 2}\n{\"loss\": 4}\n", 0);
}

static void lines_that_are_neither_are_counted_and_hurt_no_others(void **state)
{
	assert_lines("a=1 b=2 ", "a=1\nnonsense\n{\"x\": \n[1]\n=3\nb=2", 4);
	assert_lines("b=2 ", "\xff=1\nb=2\n", 1);
}

static void what_is_no_number_to_json_is_a_string(void **state)
{
	assert_lines("a=\"NaN\" b=\"-Infinity\" c=[\"1e999\",1] ",
		     "{\"a\": NaN,\"b\":-Infinity, \"c\": [1e999, 1]}\n", 0);
	assert_lines("a=\"99999999999999999999\"@3 ",
		     "{\"a\": 99999999999999999999, \"step\": 3}\n", 0);
	assert_lines("a=\"NaN\" ", "a=NaN\n", 0);
	assert_lines("NaN=\"x \\\" NaN\" b=\"NaN\" ", "{\"NaN\": \"x \\\" NaN\", \"b\": NaN}\n", 0);
	assert_lines("",
		     "{NaN\n{\"a\": nan}\n{\"a\": NaN\n{\"a\": \"NaN}\n{\"a\": -}\n{\"a\": +1}\n",
		     6);
}

static void no_lines_are_no_parameters(void **state)
{
	assert_lines("", "", 0);
}

static void nested_keys_are_joined_and_arrays_stay_whole(void **state)
{
	json_t *o = json_loads("{\"a\":{\"b\":{\"c\":1}},\"d\":[1,{\"e\":2}],\"f\":{}}", 0, NULL);
	json_t *params = json_array();
	_cleanup_free_ char *text = NULL;

	assert_int_equal(params_flatten(params, o, 10, "config"), 0);
	text = as_text(params);
	assert_string_equal(text, "a.b.c=1 d=[1,{\"e\":2}] ");
	json_decref(o);
}

static void of_too_many_values_the_first_are_kept(void **state)
{
	json_t *o = json_loads("{\"a\":1,\"b\":{\"c\":2,\"d\":3}}", 0, NULL),
	       *params = json_array();

	assert_int_equal(params_flatten(params, o, 2, "config"), 1);
	assert_int_equal(json_array_size(params), 2);
	json_decref(params);
	params = json_array();
	assert_int_equal(params_flatten(params, o, 3, "config"), 0);
	assert_int_equal(json_array_size(params), 3);
	json_decref(params);
	json_decref(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_with_a_value_behind_or_attached_are_parameters),
		cmocka_unit_test(a_parameter_is_replaced_in_the_form_in_which_it_stands),
		cmocka_unit_test(a_flag_goes_with_false_and_takes_nothing_else),
		cmocka_unit_test(a_negative_number_is_a_value_and_an_option_is_none),
		cmocka_unit_test(an_option_alone_is_true),
		cmocka_unit_test(values_are_typed_as_json),
		cmocka_unit_test(the_commands_own_name_is_no_parameter),
		cmocka_unit_test(text_of_a_program_is_no_parameter),
		cmocka_unit_test(comparisons_paths_and_addresses_are_no_parameters),
		cmocka_unit_test(behind_two_dashes_only_assignments_are_parameters),
		cmocka_unit_test(a_new_key_as_hydra_writes_it_is_one),
		cmocka_unit_test(keys_that_are_no_text_and_huge_values_are_left_out),
		cmocka_unit_test(values_may_be_any_bytes),
		cmocka_unit_test(lines_are_assignments_or_objects),
		cmocka_unit_test(a_step_belongs_to_what_stands_beside_it),
		cmocka_unit_test(lines_that_are_neither_are_counted_and_hurt_no_others),
		cmocka_unit_test(what_is_no_number_to_json_is_a_string),
		cmocka_unit_test(no_lines_are_no_parameters),
		cmocka_unit_test(nested_keys_are_joined_and_arrays_stay_whole),
		cmocka_unit_test(of_too_many_values_the_first_are_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
