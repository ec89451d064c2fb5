/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where files come from: the run that made a file, what it read, and so on down to what no run has
 * made.
 *
 * Threads: the caller's.
 */
#pragma once

#include "catalog/maker.h"

struct run_why {
	struct run_reading rd;
	/* May the caller see what the run did? NULL: all. */
	bool (*may_see)(const struct run_row *row, void *ctx);
	/* Gets each run with what it read (why.c says how), those that a file comes from first;
	 * takes it. Other than 0 ends it. */
	int (*emit)(json_t *line, void *ctx);
	void *ctx;
};
enum {
	RUN_WHY_INPUTS = 1000, /* of a run, that are told and looked into */
	RUN_WHY_RUNS = 1000, /* that are told */
};
/* From a run backwards, each run once. */
int run_why(const struct run_why *w, const struct run_id *run);

/*
 * Each run that made files of a tree, with how many and some of their paths: {"run", "files",
 * "paths"}; at last {"others": files that no run is known to have made}. @place's path is the
 * directory, or empty.
 */
int run_why_below(const struct run_why *w, const struct run_place *place,
		  const struct tree_root *dir);
