/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Nodes in memory: a source and a sink of trees for tests, which counts what goes through it and
 * can be made to fail.
 */
#pragma once

#include "base/htab.h"
#include "tree/edit.h"

struct nodestore {
	struct node_source source;
	struct node_sink sink;
	struct htab nodes;
	unsigned gets;
	unsigned puts;
	unsigned misleading; /* gets whose hint led elsewhere */
	int fail_in; /* calls until one fails with @error; 0: none does */
	int error;
};

void nodestore_init(struct nodestore *s);
void nodestore_release(struct nodestore *s);

/* What is there from now on counts as nothing. */
void nodestore_count_anew(struct nodestore *s);

/* Stores any canonical part, however wrong, and gives its id. */
struct oid nodestore_add(struct nodestore *s, struct span canon, struct span hint);

/* As if the store had never had it. */
void nodestore_forget(struct nodestore *s, const struct oid *id);

/* For cmocka: *@state is a store of the test's own. */
int nodestore_set_up(void **state);
int nodestore_tear_down(void **state);
