/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Runs for people, on stdout.
 */
#pragma once

#include <jansson.h>

#include "base/defs.h"

/* Is the line none of the answer's: how far it is, shown on a terminal, or a note? */
bool run_aside(const json_t *line);

/* A value as text, an object of them as "lr=0.1 seed=3"; malloc'ed, NULL without memory. */
char *run_value_text(const json_t *v);
char *run_pairs_text(const json_t *pairs);

/* A text, control characters shown as "?". */
void print_run_text(const char *s);

/* A run's facts on a line: id, name, status, when, command. */
void print_run_line(const json_t *row, const char *indent);

/* An answer of `run-show`; of `run-diff` its first line and the others. */
void print_run_record(const json_t *line);
void print_run_sides(const json_t *line);
void print_run_difference(const json_t *line);
