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
	const char *name, *group; /* NULL: none; borrowed, as all texts here */
	json_t *out; /* an array; NULL: any branch */
	json_t *params; /* of --param */
	bool log, keep_going;
	json_t *memo; /* of --memo: memo_around() (run_memo.h); NULL: without */
	bool is_quiet; /* what it prints on stdout is recorded, whatever that is */
	/* Of a former run: whose commits it reads, whose results it is held against; where it was,
	 * and what its stdin was, as in its record (NULL: this process's own). */
	const char *rerun;
	const char *update; /* which this one is instead of, of what is there now */
	json_t *take_back; /* ids of those whose work is taken back with that one's; NULL: none */
	const char *place; /* of the mount, then */
	const json_t *cwd, *stdin_at;
	const json_t *printed_as; /* the record of the run whose stdout and stderr it gets */
	char *const *argv; /* ended by NULL */
};

void run_options_release(struct run_options *o);

/* Where on this machine a path of a record is: {"pfs": ...} is below @mount. malloc'ed; NULL: it is
 * none. */
char *run_path(const char *mount, const json_t *path);

/* The chosen variables become what a record's "env" says; those that it does not have go. Others
 * stay. 0 or -errno, said. */
int run_env_restore(const json_t *env);

/* "run-begin", or NULL, said. */
json_t *run_request(const struct run_options *o, const struct target *mount);
