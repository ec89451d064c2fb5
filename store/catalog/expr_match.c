/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Does a run match, and what has it under a key (catalog/expr.h).
 */
#include <stdio.h>

#include "catalog/expr_parts.h"

/* Is there a match of @pattern (* and ? stand for anything, one byte) in all of @s? In time that
 * does not explode: only the last * is tried again. */
static bool is_like(struct span s, struct span pattern)
{
	size_t i = 0, k = 0, star = SIZE_MAX, back = 0;

	while (i < s.len) {
		if (k < pattern.len && pattern.data[k] == '*') {
			star = k++;
			back = i;
		} else if (k < pattern.len &&
			   (pattern.data[k] == '?' || pattern.data[k] == s.data[i])) {
			i++;
			k++;
		} else if (star != SIZE_MAX) {
			k = star + 1;
			i = ++back;
		} else {
			return false;
		}
	}
	while (k < pattern.len && pattern.data[k] == '*')
		k++;
	return k == pattern.len;
}

static bool text_matches(const struct expr_node *n, struct span s)
{
	struct span want = span_of(n->text, n->text_len);
	int c;

	if (n->op == OP_LIKE) {
		if (strpbrk(n->text, "*?"))
			return is_like(s, want);
		return want.len == 0 || (s.len > 0 && memmem(s.data, s.len, want.data, want.len));
	}
	c = span_cmp(s, want);
	switch (n->op) {
	case OP_EQUAL:
		return c == 0;
	case OP_NOT_EQUAL:
		return c != 0;
	case OP_LESS:
		return c < 0;
	case OP_LESS_EQUAL:
		return c <= 0;
	case OP_GREATER:
		return c > 0;
	default:
		return c >= 0;
	}
}

static bool number_matches(const struct expr_node *n, double v)
{
	switch (n->op) {
	case OP_EQUAL:
		return v == n->number;
	case OP_NOT_EQUAL:
		return v != n->number;
	case OP_LESS:
		return v < n->number;
	case OP_LESS_EQUAL:
		return v <= n->number;
	case OP_GREATER:
		return v > n->number;
	default:
		return v >= n->number;
	}
}

static bool time_matches(const struct expr_node *n, int64_t ns)
{
	const bool is_in = ns >= n->from_ns && ns < MAX(n->to_ns, n->from_ns + 1);

	switch (n->op) {
	case OP_EQUAL:
		return is_in;
	case OP_NOT_EQUAL:
		return !is_in;
	case OP_LESS:
		return ns < n->from_ns;
	case OP_LESS_EQUAL:
		return ns < MAX(n->to_ns, n->from_ns + 1);
	case OP_GREATER:
		return ns >= MAX(n->to_ns, n->from_ns);
	default:
		return ns >= n->from_ns;
	}
}

/* A value as the text that a user would write. */
static struct span value_text(const struct run_value *v, char scratch[RUN_SCRATCH])
{
	switch (v->type) {
	case RUN_VALUE_NULL:
		return span_str("null");
	case RUN_VALUE_FALSE:
		return span_str("false");
	case RUN_VALUE_TRUE:
		return span_str("true");
	case RUN_VALUE_INTEGER:
		snprintf(scratch, RUN_SCRATCH, "%lld", (long long)v->integer);
		return span_str(scratch);
	case RUN_VALUE_REAL:
		snprintf(scratch, RUN_SCRATCH, "%.17g", v->real);
		return span_str(scratch);
	default:
		return v->text;
	}
}

static bool is_number(const struct run_value *v)
{
	return v->type == RUN_VALUE_INTEGER || v->type == RUN_VALUE_REAL;
}

static bool value_matches(const struct expr_node *n, const struct run_value *v)
{
	char scratch[RUN_SCRATCH];

	if (is_number(v) && n->op != OP_LIKE) {
		if (n->is_number)
			return number_matches(n, v->real);
		/* A number and a word: never the same, and in no order. */
		return n->op == OP_NOT_EQUAL;
	}
	/* Nor are a word and a number in any. */
	if (n->is_number && n->op >= OP_LESS && n->op <= OP_GREATER_EQUAL)
		return false;
	return text_matches(n, value_text(v, scratch));
}

/* Of a series of texts one does; of "!=" none may be the same. */
static bool outputs_match(const struct expr_node *n, const struct run_row *row, bool is_branch)
{
	struct cursor c = cursor_of(row->outputs);
	struct run_output o;
	bool is_any = false;

	while (run_output_next(&c, &o)) {
		const bool matches = text_matches(n, is_branch ? o.branch : o.repo);

		is_any = true;
		if (matches != (n->op == OP_NOT_EQUAL))
			return matches;
	}
	return is_any && n->op == OP_NOT_EQUAL;
}

static bool key_is(struct span key, const char *name)
{
	return span_equal(key, span_str(name));
}

static bool pair_find(struct span raw, struct span key, struct run_value *ret)
{
	struct cursor c = cursor_of(raw);
	struct run_pair p;

	while (run_pair_next(&c, &p)) {
		if (!span_equal(p.key, key))
			continue;
		*ret = p.value;
		return true;
	}
	return false;
}

static bool text_value(struct span s, struct run_value *ret)
{
	*ret = (struct run_value){ .type = RUN_VALUE_TEXT, .text = s };
	return s.len > 0;
}

static bool integer_value(bool has, int64_t v, struct run_value *ret)
{
	*ret = (struct run_value){ .type = RUN_VALUE_INTEGER, .integer = v, .real = (double)v };
	return has;
}

/* What every run has. 1, 0 (it has not), -1: there is no such key. */
static int own_value(const struct run_row *row, struct span key, struct run_value *ret)
{
	struct cursor c = cursor_of(row->outputs);
	struct run_output o = { 0 };

	if (key_is(key, "id"))
		return text_value(span_str(row->id.s), ret);
	if (key_is(key, "name"))
		return text_value(row->name, ret);
	if (key_is(key, "status"))
		return text_value(span_str(run_status_text(row->status)), ret);
	if (key_is(key, "user"))
		return text_value(row->user, ret);
	if (key_is(key, "machine"))
		return text_value(row->machine, ret);
	if (key_is(key, "group"))
		return text_value(row->group, ret);
	if (key_is(key, "parent"))
		return text_value(row->parent, ret);
	if (key_is(key, "command"))
		return text_value(row->command, ret);
	if (key_is(key, "started"))
		return integer_value(row->started_ns != 0, row->started_ns, ret);
	if (key_is(key, "ended"))
		return integer_value(row->ended_ns != 0, row->ended_ns, ret);
	if (key_is(key, "exit"))
		return integer_value(row->has_exit && row->exit >= 0, row->exit, ret);
	if (key_is(key, "repo"))
		return run_output_next(&c, &o) && text_value(o.repo, ret);
	if (key_is(key, "branch"))
		return run_output_next(&c, &o) && text_value(o.branch, ret);
	if (!key_is(key, "seconds"))
		return -1;
	*ret = (struct run_value){ .type = RUN_VALUE_REAL };
	return run_row_seconds(row, &ret->real);
}

static bool has_prefix(struct span key, const char *prefix, struct span *ret)
{
	size_t n = strlen(prefix);

	if (key.len <= n || memcmp(key.data, prefix, n) != 0)
		return false;
	*ret = span_of(key.data + n, key.len - n);
	return true;
}

bool run_row_value(const struct run_row *row, struct span key, struct run_value *ret)
{
	struct span rest;
	int r = own_value(row, key, ret);

	if (r >= 0)
		return r;
	if (has_prefix(key, "params.", &rest) && pair_find(row->params, rest, ret))
		return true;
	if (has_prefix(key, "metrics.", &rest) && pair_find(row->metrics, rest, ret))
		return true;
	return pair_find(row->params, key, ret) || pair_find(row->metrics, key, ret);
}

static bool compare(const struct expr_node *n, const struct run_row *row)
{
	const struct span key = span_of(n->key, n->key_len);
	struct run_value v;

	if (key_is(key, "repo") || key_is(key, "branch"))
		return outputs_match(n, row, key_is(key, "branch"));
	if (!run_row_value(row, key, &v))
		return false;
	return n->is_time ? time_matches(n, v.integer) : value_matches(n, &v);
}

static bool matches(const struct expr_node *n, const struct run_row *row)
{
	switch (n->kind) {
	case EXPR_AND:
		return matches(n->a, row) && matches(n->b, row);
	case EXPR_OR:
		return matches(n->a, row) || matches(n->b, row);
	case EXPR_NOT:
		return !matches(n->a, row);
	default:
		return compare(n, row);
	}
}

bool run_expr_match(const struct run_expr *e, const struct run_row *row)
{
	return matches(e->root, row);
}

int run_value_cmp(const struct run_value *a, const struct run_value *b)
{
	char sa[RUN_SCRATCH], sb[RUN_SCRATCH];

	if (!a || !b)
		return (!a) - (!b);
	if (is_number(a) != is_number(b))
		return is_number(a) ? -1 : 1;
	if (is_number(a) && a->type == RUN_VALUE_INTEGER && b->type == RUN_VALUE_INTEGER)
		return (a->integer > b->integer) - (a->integer < b->integer);
	if (is_number(a))
		return (a->real > b->real) - (a->real < b->real);
	return span_cmp(value_text(a, sa), value_text(b, sb));
}
