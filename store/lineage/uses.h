/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What was made from a file: the runs that read it, what they wrote, the runs that read that, and
 * so on, in any repo.
 *
 * An output is *there* when its branch has it now as the run wrote it. A run is *stale* when it
 * would see something else now (lineage/stale.h), or when what it read was made by a stale run;
 * so are its outputs, unless another run has made the same again since.
 *
 * Threads: the caller's.
 */
#pragma once

#include "catalog/files.h"

struct run_uses {
	struct run_reading rd;
	struct run_tips *tips; /* borrowed */
	bool stale; /* only stale runs that have outputs which are there, with these alone */
	bool (*may_see)(const struct run_row *row, void *ctx); /* NULL: all */
	/* Gets a line for each run (uses.c says what is in it); takes it. Other than 0 ends it. */
	int (*emit)(json_t *line, void *ctx);
	void *ctx;
};
enum {
	RUN_USES_RUNS = 200000, /* that are looked at */
	RUN_USES_OUTPUTS = 10000, /* of a run, that are told and followed */
	RUN_USES_REASONS = 20, /* for a run to be stale, that are told */
};

/* What is at @place, with the content @id there (NULL: a directory, or nothing is there any
 * more). What was read there in other versions counts too. */
int run_uses(const struct run_uses *u, const struct run_place *place, const struct oid *id);
