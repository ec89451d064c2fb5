/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An expression as a tree; for run/expr*.c alone.
 */
#pragma once

#include "catalog/expr.h"

enum expr_kind {
	EXPR_AND,
	EXPR_OR,
	EXPR_NOT,
	EXPR_COMPARE,
};

enum expr_op {
	OP_EQUAL,
	OP_NOT_EQUAL,
	OP_LESS,
	OP_LESS_EQUAL,
	OP_GREATER,
	OP_GREATER_EQUAL,
	OP_LIKE,
};

struct expr_node {
	uint8_t kind; /* enum expr_kind */
	uint8_t op; /* enum expr_op */
	struct expr_node *a, *b; /* owned; of a not only @a */
	char *key, *text; /* owned: what is compared, with what */
	size_t key_len, text_len;
	bool is_number, is_time;
	double number;
	int64_t from_ns, to_ns; /* of a time: its first instant, and the first behind it */
};

struct run_expr {
	struct expr_node *root; /* owned */
};
