/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Parsing expressions over runs (catalog/expr.h): by descent, with its depth bounded.
 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>

#include "base/log.h"
#include "base/moment.h"
#include "catalog/expr_parts.h"

enum {
	SHOWN = 60, /* bytes of the text that an error shows */
};

enum token {
	TOKEN_END,
	TOKEN_WORD, /* bare or quoted */
	TOKEN_OP,
	TOKEN_OPEN,
	TOKEN_CLOSE,
};

struct parser {
	const char *text;
	size_t at; /* behind the token */
	const struct run_expr_now *now;
	unsigned depth;
	/* The token looked at. */
	uint8_t token; /* enum token */
	size_t begin;
	bool is_quoted;
	uint8_t op; /* enum expr_op */
	struct buf word; /* with a NUL behind, not counted */
};

static void node_free(struct expr_node *n)
{
	if (!n)
		return;
	node_free(n->a);
	node_free(n->b);
	free(n->key);
	free(n->text);
	free(n);
}
DEFINE_CLEANUP(struct expr_node *, node_free)

void run_expr_free(struct run_expr *e)
{
	if (!e)
		return;
	node_free(e->root);
	free(e);
}

/* -EINVAL, with the text around @at and a caret below. */
static int fail_at(const struct parser *p, size_t at, const char *what)
{
	size_t len = strlen(p->text), from = at > SHOWN / 2 ? at - SHOWN / 2 : 0;
	char line[SHOWN + 1];
	size_t n = MIN(len - from, (size_t)SHOWN);

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)p->text[from + i];

		line[i] = isprint(c) ? (char)c : c >= 0x80 ? '?' : ' ';
	}
	line[n] = '\0';
	return log_fail(-EINVAL, "the expression: %s\n  %s\n  %*s^", what, line, (int)(at - from),
			"");
}

static bool is_bare(unsigned char c)
{
	return isalnum(c) || c >= 0x80 || strchr("_-./:*?@+%,[]{}#$&|;^\\", c) != NULL;
}

static int take_quoted(struct parser *p)
{
	const char quote = p->text[p->at++];

	p->is_quoted = true;
	for (; p->text[p->at] != quote; p->at++) {
		if (p->text[p->at] == '\\' && p->text[p->at + 1])
			p->at++;
		if (!p->text[p->at])
			return fail_at(p, p->begin, "this quote is not closed");
		buf_put_u8(&p->word, (uint8_t)p->text[p->at]);
	}
	p->at++;
	return 0;
}

static bool take_op(struct parser *p)
{
	static const struct {
		const char *text;
		uint8_t op;
	} ops[] = {
		{ "!=", OP_NOT_EQUAL }, { "<=", OP_LESS_EQUAL }, { ">=", OP_GREATER_EQUAL },
		{ "==", OP_EQUAL },	{ "=", OP_EQUAL },	 { "<", OP_LESS },
		{ ">", OP_GREATER },	{ "~", OP_LIKE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		if (strncmp(p->text + p->at, ops[i].text, strlen(ops[i].text)) != 0)
			continue;
		p->at += strlen(ops[i].text);
		p->op = ops[i].op;
		return true;
	}
	return false;
}

/* To the next token. */
static int next(struct parser *p)
{
	char c;
	int r = 0;

	while (isspace((unsigned char)p->text[p->at]))
		p->at++;
	p->begin = p->at;
	p->is_quoted = false;
	buf_clear(&p->word);
	c = p->text[p->at];
	if (!c) {
		p->token = TOKEN_END;
	} else if (c == '(' || c == ')') {
		p->at++;
		p->token = c == '(' ? TOKEN_OPEN : TOKEN_CLOSE;
	} else if (c == '"' || c == '\'') {
		p->token = TOKEN_WORD;
		r = take_quoted(p);
	} else if (take_op(p)) {
		p->token = TOKEN_OP;
	} else if (is_bare((unsigned char)c)) {
		p->token = TOKEN_WORD;
		while (is_bare((unsigned char)p->text[p->at]) && p->text[p->at])
			buf_put_u8(&p->word, (uint8_t)p->text[p->at++]);
	} else {
		r = fail_at(p, p->begin, "this means nothing here");
	}
	buf_put_u8(&p->word, 0);
	if (buf_failed(&p->word))
		return -ENOMEM;
	p->word.len--;
	return r;
}

static bool is_keyword(const struct parser *p, const char *word)
{
	return p->token == TOKEN_WORD && !p->is_quoted &&
	       strcasecmp((const char *)p->word.data, word) == 0;
}

static int take_word(struct parser *p, char **ret, size_t *ret_len)
{
	*ret = malloc(p->word.len + 1);
	if (!*ret)
		return -ENOMEM;
	memcpy(*ret, p->word.data, p->word.len + 1);
	*ret_len = p->word.len;
	return next(p);
}

static int64_t ns_of(struct timespec t)
{
	int64_t ns;

	if (__builtin_mul_overflow((int64_t)t.tv_sec, INT64_C(1000000000), &ns) ||
	    __builtin_add_overflow(ns, t.tv_nsec, &ns))
		return t.tv_sec < 0 ? INT64_MIN : INT64_MAX - 1;
	return ns;
}

/* A time stands for all of its day, minute or second, so that started = 2026-01-15 is what one
 * expects. */
static bool understand_time(struct expr_node *n, const struct run_expr_now *now)
{
	const struct timespec t = { now->ns / 1000000000, now->ns % 1000000000 };
	struct timespec from, to;

	if (moment_range_parse(n->text, t, now->zone, &from, &to) < 0)
		return false;
	n->from_ns = ns_of(from);
	n->to_ns = ns_of(to);
	return true;
}

static bool is_time_key(const char *key)
{
	return strcmp(key, "started") == 0 || strcmp(key, "ended") == 0;
}

/* What the value is besides text. */
static int understand(struct parser *p, size_t at, bool is_quoted, struct expr_node *n)
{
	char *end;

	if (is_time_key(n->key) && n->op != OP_LIKE) {
		n->is_time = understand_time(n, p->now);
		return n->is_time ? 0
				  : fail_at(p, at,
					    "a time is like 2026-01-15, 2026-01-15T14:30 or 2d");
	}
	if (is_quoted || n->text_len == 0)
		return 0;
	n->number = strtod(n->text, &end);
	/* Not "nan", "inf" or "0x1", which are words here. */
	n->is_number = *end == '\0' && isfinite(n->number) &&
		       strspn(n->text, "+-.0123456789eE") == n->text_len;
	return 0;
}

static int parse_or(struct parser *p, struct expr_node **ret);

static int parse_compare(struct parser *p, struct expr_node **ret)
{
	_cleanup_(node_freep) struct expr_node *n = new0(struct expr_node, 1);
	size_t at;
	bool is_quoted;
	int r;

	if (!n)
		return -ENOMEM;
	n->kind = EXPR_COMPARE;
	if (p->token != TOKEN_WORD)
		return fail_at(p, p->begin, "a key is expected here, as in `lr > 0.01`");
	r = take_word(p, &n->key, &n->key_len);
	if (r < 0)
		return r;
	if (p->token != TOKEN_OP)
		return fail_at(p, p->begin, "one of = != < <= > >= ~ is expected here");
	n->op = p->op;
	r = next(p);
	if (r < 0)
		return r;
	if (p->token != TOKEN_WORD)
		return fail_at(p, p->begin, "a value is expected here");
	at = p->begin;
	is_quoted = p->is_quoted;
	r = take_word(p, &n->text, &n->text_len);
	if (r == 0)
		r = understand(p, at, is_quoted, n);
	if (r == 0)
		*ret = TAKE_PTR(n);
	return r;
}

static int parse_factor(struct parser *p, struct expr_node **ret)
{
	_cleanup_(node_freep) struct expr_node *n = NULL;
	size_t at = p->begin;
	int r;

	if (p->depth == RUN_EXPR_DEPTH)
		return fail_at(p, at, "this is nested too deeply");
	if (is_keyword(p, "not")) {
		n = new0(struct expr_node, 1);
		if (!n)
			return -ENOMEM;
		n->kind = EXPR_NOT;
		r = next(p);
		p->depth++;
		if (r == 0)
			r = parse_factor(p, &n->a);
		p->depth--;
	} else if (p->token == TOKEN_OPEN) {
		r = next(p);
		p->depth++;
		if (r == 0)
			r = parse_or(p, &n);
		p->depth--;
		if (r == 0 && p->token != TOKEN_CLOSE)
			return fail_at(p, at, "this parenthesis is not closed");
		if (r == 0)
			r = next(p);
	} else {
		r = parse_compare(p, &n);
	}
	if (r == 0)
		*ret = TAKE_PTR(n);
	return r;
}

/* Several of one kind: a leaning tree, which node_free() and matching walk to its depth. */
static int parse_series(struct parser *p, bool is_or, struct expr_node **ret)
{
	_cleanup_(node_freep) struct expr_node *n = NULL;
	int r = is_or ? parse_series(p, false, &n) : parse_factor(p, &n);

	while (r == 0 && is_keyword(p, is_or ? "or" : "and")) {
		struct expr_node *both = new0(struct expr_node, 1);

		if (!both)
			return -ENOMEM;
		both->kind = is_or ? EXPR_OR : EXPR_AND;
		both->a = n;
		n = both;
		r = next(p);
		if (r == 0)
			r = is_or ? parse_series(p, false, &both->b) : parse_factor(p, &both->b);
	}
	if (r == 0)
		*ret = TAKE_PTR(n);
	return r;
}

static int parse_or(struct parser *p, struct expr_node **ret)
{
	return parse_series(p, true, ret);
}

int run_expr_parse(const char *text, const struct run_expr_now *now, struct run_expr **ret)
{
	_cleanup_(run_expr_freep) struct run_expr *e = new0(struct run_expr, 1);
	struct parser p = { .text = text, .now = now };
	int r;

	if (!e)
		return -ENOMEM;
	if (strlen(text) > RUN_EXPR_MAX)
		return log_fail(-EINVAL, "the expression is longer than %d bytes", RUN_EXPR_MAX);
	r = next(&p);
	if (r == 0)
		r = parse_or(&p, &e->root);
	if (r == 0 && p.token != TOKEN_END)
		r = fail_at(&p, p.begin,
			    p.token == TOKEN_CLOSE ? "there is no parenthesis that this closes"
						   : "`and` or `or` is expected here");
	buf_release(&p.word);
	if (r == 0)
		*ret = TAKE_PTR(e);
	return r;
}
