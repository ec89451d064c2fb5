/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Answers for people, on stdout, and for programs, as one JSON value.
 *
 * Names that a terminal or a script could misread (control characters, quotes, what is not UTF-8)
 * are shown in double quotes with C's escapes, as git does.
 */
#pragma once

#include <jansson.h>

#include "base/buf.h"

/* A name from an answer (a string or {"hex": ...}). @suffix: behind it, in the quotes ("/"). */
void print_name(const json_t *name, const char *suffix);
/* Text of several lines, each behind @indent; control characters are shown as in names. */
void print_text(const json_t *text, const char *indent);

/* A field's string, or "" where there is none. */
const char *field_text(const json_t *line, const char *field);
uint64_t field_number(const json_t *line, const char *field);
bool field_bool(const json_t *line, const char *field);

/* "2026-01-15 14:03:12 +0100" of a time in an answer, in the local zone; returns @buf. */
enum {
	LOCAL_TIME = 48
};
char *local_time(const char *rfc3339, char buf[LOCAL_TIME]);

/* A line of what differs, with the letter for how: "M  path"; true if it was one. */
bool print_difference(const json_t *line, bool with_bytes);
/* The totals behind. */
void print_summary(const json_t *summary);

/* The names in the way of a merge, a line each: how, and where. */
void print_conflicts(const json_t *conflicts);

/* EXIT_DIVERGED for an answer whose "standing" is not on the branch, else EXIT_DONE. */
int exit_code_of(const json_t *line);

/* A commit's facts, as `pfs log` shows them. */
void print_commit(const json_t *commit);
void print_commit_line(const json_t *commit);

/* One JSON value, and a newline. */
void print_json(const json_t *value);

/* An array whose elements come one by one. */
struct json_list {
	const char *indent;
	uint64_t count;
};
void json_list_add(struct json_list *l, const json_t *element);
void json_list_end(struct json_list *l);
