/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Would a run see something else if it were begun now?
 *
 * What it looked at is held against what is there: files that it read or looked for, names that
 * were not there, and the names in directories that it listed. Left out are what the run has
 * written itself, throw-away files, modes, and what was uncommitted where the branch still has
 * what lay below that: it was only not committed.
 *
 * Threads: the caller's.
 */
#pragma once

#include <jansson.h>

#include "catalog/files.h"

struct run_staleness {
	struct run_reading rd;
	struct run_tips *tips; /* what is there now; borrowed, as all here */
	const struct run_id *id;
	const json_t *start, *end; /* its record */
	/* Told each thing that is another now: @was NULL: it was not there (or it is not known what
	 * it was: a list of repos or branches); @now NULL: it is not there. Other than 0 ends it.
	 */
	int (*changed)(struct span path, const struct run_file *was, const struct run_file *now,
		       void *ctx);
	void *ctx;
};

/* 0, what @changed returned, or errors of reading: -EIO and -EBADMSG where its trees are missing or
 * damaged. */
int run_stale(const struct run_staleness *s);
