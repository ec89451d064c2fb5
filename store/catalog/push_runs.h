/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Records of runs from one store to another, with the trees they name (run/RUNS.md, section 8):
 * so that where commits came from can be asked there as well.
 *
 * A run goes that has ended, changed something in the repo, and whose record the other store has
 * not whole. Of its trees the nodes go and what is in "extra"; what was read goes with the repos
 * that have it.
 *
 * Threads: a call belongs to its thread and starts helpers of its own.
 */
#pragma once

#include "transfer/push.h"

struct run_push {
	struct store *from, *to; /* borrowed, as all below */
	const struct id128 *repo; /* NULL: runs of all, and those that changed nothing */
	const char *branch; /* NULL: any */
	bool is_dry; /* only count */
	struct report *report;
	struct push_result *stored; /* what is stored is added to it */
};

struct run_push_result {
	uint64_t runs; /* whose records went */
	uint64_t clashes; /* that are not there: the other store has another run of that id */
};

/* 0; or an error, logged: what went by then is there, and the next push goes on. @ret is added to.
 */
int run_push(const struct run_push *p, struct run_push_result *ret);
