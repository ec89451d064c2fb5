/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What this machine knows of all runs: rows, and the ways from contents to runs, in the index
 * (index/runs.h). All of it is made from the store's records (record/archive.h), and comes back
 * when it is lost.
 *
 * A look learns what is new: run/RUNS.md, section 7, says what it lists, and what it may miss. A
 * full one lists all, and tries again what could not be read. Each goes on where one was
 * interrupted.
 *
 * Threads: all functions from any thread; one look at a time in a process.
 */
#pragma once

#include "catalog/row.h"
#include "index/runs.h"
#include "object/access.h"
#include "object/store.h"

struct catalog_look {
	bool is_full;
	/* Called now and then from the caller's thread with the runs learned so far; other than
	 * 0 ends the look. NULL: not. */
	int (*progress)(uint64_t learned, void *ctx);
	void *ctx;
};
/* 0, what @progress returned, or the backend's errors: what was learned stays. */
int catalog_look(struct store *s, const struct catalog_look *look, const struct deadline *dl);

/* A full look in pieces, so that others have their turn; zeroed at first. 0: it has come to its
 * end; 1: there is more; or as catalog_look(): it can be gone on with. */
struct catalog_sweep {
	struct run_id at; /* listed so far; empty: nothing */
	int64_t since; /* seconds since 1970; 0: it has not begun */
};
int catalog_sweep(struct store *s, struct catalog_sweep *w, const struct deadline *dl);
/* Is it time for one? */
bool catalog_wants_sweep(struct store *s);

/* Learns of runs whose records are known to be new. 0, or as catalog_look(). */
int catalog_learn(struct store *s, const struct run_id *ids, size_t n, const struct deadline *dl);

/* A row; its bytes are in @bytes, in place of what it held. 0, -ENOENT. */
int catalog_row(struct store *s, const struct run_id *id, struct buf *bytes, struct run_row *ret);

/* Every row, by id; @backwards: the last first. Nothing is held while @fn runs; other than 0
 * ends it. */
typedef int (*catalog_row_fn)(const struct run_row *row, void *ctx);
int catalog_scan(struct store *s, bool backwards, catalog_row_fn fn, void *ctx);

/* What @text means: an id, a name (the last run's that has it), or what only one id starts with.
 * 0; -ENOENT and -ENOTUNIQ with a sentence. Looks again, at all, for what is not known. */
int catalog_find(struct store *s, const char *text, const struct deadline *dl, struct run_id *ret);

struct catalog_stats {
	uint64_t runs, open; /* open: whose end is not known */
	int64_t looked,
		swept; /* seconds since 1970: the last look, and the last full one; 0: never */
};
void catalog_stats(struct store *s, struct catalog_stats *ret);

/* The tops of a run's trees that the index has ways up of; null: there is none. */
struct catalog_ways {
	struct oid read, kept, written;
};
/* Adds them. 0, or errors of reading: -EIO, -EBADMSG what is missing or damaged. */
int catalog_add_ways(struct store *s, const struct oid *tree, const struct loc *hint,
		     struct access *acc, struct catalog_ways *ret);
