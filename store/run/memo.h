/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Repeating a former run without running its command (RUNS.md, section 5): which one holds now.
 *
 * Threads: any; it waits for the backend.
 */
#pragma once

#include <jansson.h>

#include "base/oid.h"
#include "record/record.h"
#include "run/run.h"

/* What a run is looked for by: its start's record, and what the command says of its surroundings
 * ("memo" of run-begin). 0 or -ENOMEM. */
int memo_key(const json_t *start, const json_t *around, struct oid *ret);

/* A former run that holds; owned. */
struct memo {
	struct run_id id;
	json_t *end;
};
void memo_release(struct memo *m);
#define _cleanup_memo_ _cleanup_(memo_release)

/* The newest former run with the key that holds in what @run has pinned, of a bounded number. 0;
 * -ENOENT: none; or errors of reading. */
int memo_find(struct run *run, const struct oid *key, struct access *acc, struct memo *ret);

/* What a run printed that keeps all of it: @fn gets it in pieces (a result other than 0 ends it).
 * 0, or errors of reading. */
typedef int (*memo_output_fn)(const char *stream, struct span piece, void *ctx);
int memo_output(struct store *store, const struct memo *m, struct access *acc, memo_output_fn fn,
		void *ctx);
