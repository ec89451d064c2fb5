/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Expressions over runs: which are meant.
 *
 *	lr > 0.01 and status = ok and not (name ~ "test*" or started < 2026-01-01)
 *
 *	expression	term { or term }
 *	term		factor { and factor }
 *	factor		not factor | ( expression ) | KEY OP VALUE
 *	OP		=  !=  <  <=  >  >=  ~ (has a text in it; with * or ?: is like it)
 *
 * Keys are id, name, status, started, ended, seconds, exit, repo, branch, user, machine, group,
 * parent, command; what else there is is a parameter or, where there is none, a metric;
 * "params.KEY" and "metrics.KEY" are just the one. A run without the key does not match, whatever
 * the operator. Numbers compare as numbers, all else as text. A time is one of base/moment.h's:
 * started > 2d is what started in the last two days.
 *
 * Pure functions; threads: any.
 */
#pragma once

#include "catalog/row.h"

enum {
	RUN_EXPR_MAX = 4096, /* bytes of text */
	RUN_EXPR_DEPTH = 100, /* parentheses and nots within one another */
};

struct run_expr;

/* What texts without a zone and ages count from. */
struct run_expr_now {
	int64_t ns; /* since 1970 */
	int32_t zone; /* seconds east of UTC */
};

/* 0; -EINVAL with a sentence that shows where; -ENOMEM. */
int run_expr_parse(const char *text, const struct run_expr_now *now, struct run_expr **ret);
void run_expr_free(struct run_expr *e);
DEFINE_CLEANUP(struct run_expr *, run_expr_free)

bool run_expr_match(const struct run_expr *e, const struct run_row *row);

enum {
	RUN_SCRATCH = 48, /* a number as text */
};

/* What a row has under a key, for sorting; false: nothing. Of several outputs the first; times in
 * nanoseconds since 1970. */
bool run_row_value(const struct run_row *row, struct span key, struct run_value *ret);

/* Orders: numbers before texts, absent (NULL) last. */
int run_value_cmp(const struct run_value *a, const struct run_value *b);
