/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Running again what has made files that are out of date (RUNS.md, "Update").
 *
 * Threads: the main one.
 */
#pragma once

#include "base/defs.h"

struct update_options {
	bool dry_run; /* only tell what would be run */
	bool json;
	bool force; /* over what was changed by hand, too */
	const char *mount; /* a directory in it; NULL: as target_find_mount() finds it */
};

/* @paths: ended by NULL; none: the repo of the current directory, or all. Returns an exit code. */
int run_update(const struct update_options *o, char *const *paths);
