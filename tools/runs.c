/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Runs for people (runs.h).
 */
#include "runs.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/text.h"
#include "cli.h"
#include "present.h"

bool run_aside(const json_t *line)
{
	static bool has_drawn;
	const json_t *learned = json_object_get(line, "learned");

	if (learned && isatty(STDERR_FILENO)) {
		fprintf(stderr, "\r%" JSON_INTEGER_FORMAT " runs learned of",
			json_integer_value(learned));
		has_drawn = true;
	} else if (has_drawn) {
		fputs("\r\033[K", stderr);
		has_drawn = false;
	}
	if (json_object_get(line, "note"))
		cli_note("%s", field_text(line, "note"));
	return learned || json_object_get(line, "note");
}

char *run_value_text(const json_t *v)
{
	if (json_is_string(v))
		return strdup(json_string_value(v));
	if (json_is_real(v))
		return strf("%.10g", json_real_value(v));
	return json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
}

char *run_pairs_text(const json_t *pairs)
{
	char *all = strdup("");
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)pairs, key, value) {
		_cleanup_free_ char *text = run_value_text(value);
		char *more = strf("%s%s%s=%s", all ?: "", all && *all ? " " : "", key, text ?: "");

		free(all);
		all = more;
	}
	return all;
}

void print_run_text(const char *s)
{
	for (; *s; s++)
		putchar((unsigned char)*s < ' ' || *s == 0x7f ? '?' : *s);
}

static void print_field(const char *label, const char *text)
{
	if (!*text)
		return;
	printf("%-10s", label);
	print_run_text(text);
	putchar('\n');
}

void print_run_line(const json_t *row, const char *indent)
{
	char when[LOCAL_TIME];

	printf("%s%s", indent, field_text(row, "id"));
	if (field_bool(row, "hidden")) {
		puts("  (another user's)");
		return;
	}
	if (*field_text(row, "name")) {
		putchar(' ');
		print_run_text(field_text(row, "name"));
	}
	printf("  %s", field_text(row, "status"));
	if (*field_text(row, "started"))
		printf("  %s", local_time(field_text(row, "started"), when));
	fputs("  ", stdout);
	print_run_text(field_text(row, "command"));
	putchar('\n');
}

static void print_pairs(const char *title, const json_t *pairs)
{
	const char *key;
	json_t *value;

	if (json_object_size(pairs) == 0)
		return;
	printf("%s\n", title);
	json_object_foreach ((json_t *)pairs, key, value) {
		_cleanup_free_ char *text = run_value_text(value);

		fputs("  ", stdout);
		print_run_text(key);
		fputs(" = ", stdout);
		print_run_text(text ?: "");
		putchar('\n');
	}
}

static void print_outputs(const json_t *outputs)
{
	json_t *o;
	size_t i;

	json_array_foreach (outputs, i, o) {
		const char *published = field_text(o, "published"), *kept = field_text(o, "kept");

		printf("%-10s", i == 0 ? "Outputs:" : "");
		print_run_text(field_text(o, "repo"));
		putchar('/');
		print_run_text(*kept ? kept : field_text(o, "branch"));
		if (*published)
			printf("  commit %.12s", published);
		else if (*kept)
			fputs("  (not published)", stdout);
		putchar('\n');
	}
}

static void print_output_text(const char *label, const json_t *output)
{
	if (*field_text(output, "head") || *field_text(output, "tail")) {
		printf("%s\n", label);
		print_text(json_object_get(output, "head"), "  ");
		if (*field_text(output, "tail")) {
			puts("  ...");
			print_text(json_object_get(output, "tail"), "  ");
		}
	}
}

void print_run_record(const json_t *line)
{
	const json_t *row = json_object_get(line, "run"), *start = json_object_get(line, "start");
	const json_t *end = json_object_get(line, "end"), *output = json_object_get(end, "output");
	const json_t *text;
	char when[LOCAL_TIME];
	size_t i;

	print_field("Run:", field_text(row, "id"));
	print_field("Name:", field_text(row, "name"));
	print_field("Command:", field_text(row, "command"));
	if (json_is_string(json_object_get(start, "cwd")))
		print_field("In:", field_text(start, "cwd"));
	else
		print_field("In:", field_text(json_object_get(start, "cwd"), "pfs"));
	print_field("Stdin:", field_text(json_object_get(start, "stdin"), "pfs"));
	print_field("Stdout:", field_text(json_object_get(start, "stdout"), "pfs"));
	print_field("Stderr:", field_text(json_object_get(start, "stderr"), "pfs"));
	printf("%-10s%s", "Status:", field_text(row, "status"));
	if (json_object_get(row, "exit"))
		printf(" (exit status %" PRIu64 ")", field_number(row, "exit"));
	else if (json_object_get(row, "signal"))
		printf(" (signal %" PRIu64 ")", field_number(row, "signal"));
	putchar('\n');
	if (*field_text(row, "started"))
		print_field("Started:", local_time(field_text(row, "started"), when));
	if (*field_text(row, "ended"))
		print_field("Ended:", local_time(field_text(row, "ended"), when));
	print_field("User:", field_text(row, "user"));
	print_field("Machine:", field_text(row, "machine"));
	print_field("Group:", field_text(row, "group"));
	print_field("Parent:", field_text(row, "parent"));
	print_field("Repeats:", field_text(json_object_get(end, "memo"), "of"));
	print_outputs(json_object_get(row, "outputs"));
	print_field("Error:", field_text(line, "problem"));
	print_field("Trees:", field_text(line, "trees"));
	json_array_foreach (json_object_get(end, "error"), i, text)
		print_field("Missing:", json_string_value(text) ?: "");
	print_pairs("Parameters:", json_object_get(row, "params"));
	print_pairs("Metrics:", json_object_get(row, "metrics"));
	print_output_text("Output:", json_object_get(output, "stdout"));
	if (!field_bool(json_object_get(output, "stderr"), "same"))
		print_output_text("Errors:", json_object_get(output, "stderr"));
}

void print_run_sides(const json_t *line)
{
	print_run_line(json_object_get(line, "a"), "a  ");
	print_run_line(json_object_get(line, "b"), "b  ");
}

/* One side of a difference; @is_id: cut short. */
static void print_side(const json_t *v, bool is_id)
{
	_cleanup_free_ char *text = v ? run_value_text(v) : strdup("(none)");

	if (is_id && v && text && *text)
		text[MIN(strlen(text), (size_t)12)] = '\0';
	print_run_text(text && *text ? text : is_id ? "(empty)" : "\"\"");
}

void print_run_difference(const json_t *line)
{
	const json_t *path = json_object_get(line, "path");
	const bool is_id = path || strcmp(field_text(line, "what"), "pinned") == 0;

	printf("%-12s ", field_text(line, "what"));
	if (path)
		print_name(path, "");
	else
		print_run_text(field_text(line, "key"));
	fputs(": ", stdout);
	print_side(json_object_get(line, "a"), is_id);
	fputs(" -> ", stdout);
	print_side(json_object_get(line, "b"), is_id);
	putchar('\n');
}
