/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Answers, shown.
 */
#include "present.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/text.h"
#include "cli.h"
#include "record/json_bytes.h"

static bool is_plain(struct span s)
{
	if (!utf8_is_valid(s.data, s.len))
		return false;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.data[i];

		if (c < 0x20 || c == 0x7f || c == '"' || c == '\\')
			return false;
		/* The second set of control characters, U+0080 to U+009F. */
		if (c == 0xc2 && i + 1 < s.len && s.data[i + 1] < 0xa0)
			return false;
	}
	return true;
}

static void put_quoted(uint8_t c, bool is_ascii_only)
{
	static const char from[] = "\a\b\t\n\v\f\r\"\\", to[] = "abtnvfr\"\\";
	const char *at = c ? strchr(from, c) : NULL;

	if (at)
		printf("\\%c", to[at - from]);
	else if (c < 0x20 || c == 0x7f || (is_ascii_only && c >= 0x80))
		printf("\\%03o", c);
	else
		putchar(c);
}

static void print_bytes(struct span s, const char *suffix)
{
	if (is_plain(s)) {
		if (s.len > 0)
			fwrite(s.data, 1, s.len, stdout);
		fputs(suffix, stdout);
		return;
	}
	putchar('"');
	for (size_t i = 0; i < s.len; i++)
		put_quoted(s.data[i], true);
	printf("%s\"", suffix);
}

void print_name(const json_t *name, const char *suffix)
{
	_cleanup_buf_ struct buf b = { 0 };

	if (json_to_bytes(name, &b) == 0)
		print_bytes(buf_span(&b), suffix);
}

void print_text(const json_t *text, const char *indent)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct span rest;

	if (json_to_bytes(text, &b) < 0)
		return;
	rest = buf_span(&b);
	while (rest.len > 0) {
		const uint8_t *nl = memchr(rest.data, '\n', rest.len);
		size_t n = nl ? (size_t)(nl - rest.data) : rest.len;
		struct span line = span_of(rest.data, n);
		bool is_utf8 = utf8_is_valid(line.data, line.len);

		fputs(indent, stdout);
		for (size_t i = 0; i < n; i++) {
			bool is_control = is_utf8 && line.data[i] == 0xc2 && i + 1 < n &&
					  line.data[i + 1] < 0xa0;

			if (line.data[i] == '\t' || line.data[i] == '"' || line.data[i] == '\\')
				putchar(line.data[i]);
			else
				put_quoted(line.data[i], !is_utf8 || is_control);
		}
		putchar('\n');
		n += nl ? 1 : 0;
		rest = span_of(rest.data + n, rest.len - n);
	}
}

const char *field_text(const json_t *line, const char *field)
{
	return json_string_value(json_object_get(line, field)) ?: "";
}

uint64_t field_number(const json_t *line, const char *field)
{
	return (uint64_t)json_integer_value(json_object_get(line, field));
}

bool field_bool(const json_t *line, const char *field)
{
	return json_is_true(json_object_get(line, field));
}

char *local_time(const char *rfc3339, char buf[LOCAL_TIME])
{
	struct tm tm = { 0 }, local;
	time_t t;

	if (!strptime(rfc3339, "%Y-%m-%dT%H:%M:%S", &tm)) {
		snprintf(buf, LOCAL_TIME, "%.40s", rfc3339);
		return buf;
	}
	t = timegm(&tm);
	localtime_r(&t, &local);
	strftime(buf, LOCAL_TIME, "%Y-%m-%d %H:%M:%S %z", &local);
	return buf;
}

static const struct {
	const char *change;
	char letter;
} letters[] = {
	{ "added", 'A' }, { "removed", 'D' }, { "modified", 'M' },
	{ "type", 'T' },  { "mode", 'P' },    { "renamed", 'R' },
};

static char letter_of(const char *change)
{
	for (size_t i = 0; i < ARRAY_SIZE(letters); i++)
		if (strcmp(letters[i].change, change) == 0)
			return letters[i].letter;
	return '?';
}

static const char *suffix_of(const json_t *side)
{
	return strcmp(field_text(side, "type"), "directory") == 0 ? "/" : "";
}

static void print_mode_change(const json_t *a, const json_t *b)
{
	const char *x = field_text(a, "mode"), *y = field_text(b, "mode");

	if (strcmp(x, y) != 0)
		printf("  (mode %s to %s)", x, y);
	if (field_number(a, "uid") != field_number(b, "uid") ||
	    field_number(a, "gid") != field_number(b, "gid"))
		printf("  (owner %" PRIu64 ":%" PRIu64 " to %" PRIu64 ":%" PRIu64 ")",
		       field_number(a, "uid"), field_number(a, "gid"), field_number(b, "uid"),
		       field_number(b, "gid"));
}

static void print_byte_change(const json_t *line)
{
	uint64_t a = field_number(line, "old_bytes"), b = field_number(line, "new_bytes");
	char x[24], y[24];

	if (json_object_get(line, "old_bytes") && json_object_get(line, "new_bytes") && a != b)
		printf("  %s to %s", format_size(a, x, sizeof(x)), format_size(b, y, sizeof(y)));
	else
		printf("  %s", format_size(MAX(a, b), x, sizeof(x)));
}

bool print_difference(const json_t *line, bool with_bytes)
{
	const char *change = field_text(line, "change");
	const json_t *old = json_object_get(line, "old"), *new = json_object_get(line, "new");

	if (!*change)
		return false;
	printf("%c  ", letter_of(change));
	if (json_object_get(line, "from")) {
		print_name(json_object_get(line, "from"), suffix_of(old));
		fputs(" -> ", stdout);
	}
	print_name(json_object_get(line, "path"), suffix_of(new ?: old));
	if (old && new &&strcmp(change, "type") == 0)
		printf("  (%s to %s)", field_text(old, "type"), field_text(new, "type"));
	if (old && new)
		print_mode_change(old, new);
	if (with_bytes)
		print_byte_change(line);
	putchar('\n');
	return true;
}

void print_summary(const json_t *summary)
{
	static const char *const words[] = { "added",	     "removed",	     "modified",
					     "type changed", "mode changed", "renamed" };
	char x[24], y[24];
	bool is_first = true;

	for (size_t i = 0; i < ARRAY_SIZE(letters); i++) {
		uint64_t n = field_number(summary, letters[i].change);

		if (n == 0)
			continue;
		printf("%s%" PRIu64 " %s", is_first ? "" : ", ", n, words[i]);
		is_first = false;
	}
	if (is_first)
		fputs("no differences", stdout);
	if (json_object_get(summary, "bytes_added"))
		printf("; %s in, %s out",
		       format_size(field_number(summary, "bytes_added"), x, sizeof(x)),
		       format_size(field_number(summary, "bytes_removed"), y, sizeof(y)));
	putchar('\n');
}

static void print_names(const json_t *commit, const char *before, const char *behind)
{
	const json_t *names = json_object_get(commit, "names");
	size_t n = json_array_size(names);

	for (size_t i = 0; i < n; i++)
		printf("%s%s%s", i == 0 ? before : ", ",
		       json_string_value(json_array_get(names, i)), i + 1 == n ? behind : "");
}

static void print_fact(const char *label, const json_t *value)
{
	if (!value || json_is_null(value))
		return;
	printf("%-9s", label);
	print_name(value, "");
	putchar('\n');
}

void print_commit(const json_t *commit)
{
	const json_t *parents = json_object_get(commit, "parents"), *value;
	const char *key;
	char when[LOCAL_TIME], size[24];

	printf("commit %s", field_text(commit, "id"));
	print_names(commit, " (", ")");
	putchar('\n');
	for (size_t i = 1; i < json_array_size(parents); i++)
		printf("Merged:  %s\n", json_string_value(json_array_get(parents, i)));
	print_fact("Author:", json_object_get(commit, "author"));
	print_fact("Machine:", json_object_get(commit, "machine"));
	print_fact("Branch:", json_object_get(commit, "branch"));
	printf("Date:    %s\n", local_time(field_text(commit, "time"), when));
	printf("Size:    %" PRIu64 " files, %s\n", field_number(commit, "files"),
	       format_size(field_number(commit, "bytes"), size, sizeof(size)));
	json_object_foreach ((json_t *)json_object_get(commit, "meta"), key, value) {
		fputs("Meta:    ", stdout);
		print_bytes(span_str(key), "=");
		print_name(value, "");
		putchar('\n');
	}
	if (json_string_length(json_object_get(commit, "message")) > 0 ||
	    json_is_object(json_object_get(commit, "message"))) {
		putchar('\n');
		print_text(json_object_get(commit, "message"), "    ");
	}
}

void print_commit_line(const json_t *commit)
{
	_cleanup_buf_ struct buf message = { 0 };
	char when[LOCAL_TIME];

	printf("%s  %s", field_text(commit, "short_id"),
	       local_time(field_text(commit, "time"), when));
	print_names(commit, "  (", ")");
	if (json_to_bytes(json_object_get(commit, "message"), &message) == 0 && message.len > 0) {
		const uint8_t *nl = memchr(message.data, '\n', message.len);

		fputs("  ", stdout);
		print_bytes(span_of(message.data, nl ? (size_t)(nl - message.data) : message.len),
			    "");
	}
	putchar('\n');
}

void print_json(const json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2));
	putchar('\n');
}

void json_list_add(struct json_list *l, const json_t *element)
{
	printf("%s\n%s  ", l->count++ ? "," : "[", l->indent);
	json_dumpf(element, stdout, JSON_COMPACT);
}

void json_list_end(struct json_list *l)
{
	if (l->count)
		printf("\n%s]", l->indent);
	else
		fputs("[]", stdout);
}

void print_conflicts(const json_t *conflicts)
{
	const json_t *x;
	size_t i;

	json_array_foreach (conflicts, i, x) {
		const json_t *path = json_object_get(x, "path");

		printf("  %-18s", field_text(x, "conflict"));
		if (json_is_string(path) && json_string_length(path) == 0)
			putchar('.');
		else
			print_name(path, "");
		putchar('\n');
	}
}

int exit_code_of(const json_t *line)
{
	return strcmp(field_text(line, "standing"), "on-branch") == 0 ? EXIT_DONE : EXIT_DIVERGED;
}
