/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What this machine knows of all runs: rows, and the ways from contents to runs, in the index
 * (index/runs.h). All of it is made from the store's records (run/archive.h), and comes back when
 * it is lost.
 *
 * A look learns what is new. A listing may lack what was written lately and machines' clocks
 * differ, so a look begins two days before the last one; a full look lists all. It goes on where a
 * former one was interrupted.
 *
 * Threads: all functions from any thread; one look at a time in a process.
 */
#pragma once

#include "index/runs.h"
#include "object/access.h"
#include "object/store.h"
#include "run/row.h"

struct catalog_look {
	bool is_full;
	bool if_free; /* -EBUSY where another look is under way, instead of waiting for it */
	/* Called now and then from the caller's thread with the runs learned so far; other than
	 * 0 ends the look. NULL: not. */
	int (*progress)(uint64_t learned, void *ctx);
	void *ctx;
};
/* 0, what @progress returned, or the backend's errors: what was learned stays. */
int catalog_look(struct store *s, const struct catalog_look *look, const struct deadline *dl);

/* A row; its bytes are in @bytes, in place of what it held. 0, -ENOENT. */
int catalog_row(struct store *s, const struct run_id *id, struct buf *bytes, struct run_row *ret);

/* Every row, by id; @backwards: the last first. Nothing is held while @fn runs; other than 0
 * ends it. */
typedef int (*catalog_row_fn)(const struct run_row *row, void *ctx);
int catalog_scan(struct store *s, bool backwards, catalog_row_fn fn, void *ctx);

/* What @text means: an id, a name (the last run's that has it), or what only one id starts with.
 * 0; -ENOENT and -ENOTUNIQ with a sentence. Looks again, at all, for what is not known. */
int catalog_find(struct store *s, const char *text, const struct deadline *dl, struct run_id *ret);

/* Adds the ways up of a run's trees to the index, and says what their tops are (null: none). 0,
 * or errors of reading: -EIO, -EBADMSG what is missing or damaged. */
int catalog_add_ways(struct store *s, const struct oid *tree, const struct loc *hint,
		     struct access *acc, struct oid *ret_read, struct oid *ret_written);
