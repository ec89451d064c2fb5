/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a mount is told of a run that begins (RUNS.md, section 6).
 *
 * Threads: the main one.
 */
#pragma once

#include <jansson.h>

#include "target.h"

enum {
	RUN_REQUEST_MAX = 1000 << 10, /* bytes that a mount takes at a time, with some to spare */
};

struct run_options {
	const char *name, *group; /* NULL: none; borrowed, as all here */
	json_t *out; /* an array; NULL: any branch */
	json_t *params; /* of --param */
	bool log, keep_going;
	json_t *memo; /* of --memo: memo_around() (run_memo.h); NULL: without */
	char *const *argv; /* ended by NULL */
};

/* "run-begin", or NULL, said. */
json_t *run_request(const struct run_options *o, const struct target *mount);
