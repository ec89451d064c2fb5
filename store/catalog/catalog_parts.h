/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Learning of runs, many at a time: what look.c and learn.c share. For these alone.
 *
 * Threads: a learning belongs to one, and has helpers of its own.
 */
#pragma once

#include "base/thread.h"
#include "catalog/catalog.h"

struct wanted_run {
	struct run_id id;
	bool has_no_end; /* as far as is known: nothing is to be done unless it has one now */
};

struct learning {
	struct store *store; /* borrowed, as the deadline */
	const struct deadline *dl;
	struct pool *pool; /* owned; made when it is needed */
	uint64_t learned; /* runs so far */
	pthread_mutex_t lock;
	pthread_cond_t done;
	unsigned open; /* guarded by lock: lessons under way */
};

void learning_init(struct learning *k, struct store *s, const struct deadline *dl);
void learning_release(struct learning *k);

/* In batches. @progress as in struct catalog_look. 0, what it returned, or the backend's errors;
 * a record that cannot be read is none: its row says so, and it is open. */
int learn_runs(struct learning *k, const struct wanted_run *runs, size_t n,
	       const struct catalog_look *look);

/* Times of the catalog, in the index's state: seconds since 1970, 0: never. */
int64_t catalog_time(struct store *s, const char *key);
