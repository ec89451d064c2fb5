/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One run, from its begin to its end: what `pfs run`, `pfs rerun` and each step of an update do.
 *
 * Threads: the main one.
 */
#pragma once

#include "client.h"
#include "run_request.h"

struct once {
	struct run_options options;
	bool memo; /* a former run may stand for it */
	const char *mount; /* a directory in it; NULL: as target_find_mount() finds it; borrowed */
	/* Told what it has come to, when that is recorded: the answer to run-end (RUNS.md, section
	 * 6), borrowed as the client, in which more may be asked. NULL: nobody is. */
	void (*then)(struct client *c, const json_t *answer, void *ctx);
	void *ctx;
};

/* A standard file that the caller has closed is closed for the command as well, and never is one of
 * ours: before anything is opened. 0 or -errno. */
int run_fill_standard_files(void);

/* There is nothing to be read from stdin. 0 or -errno. */
int run_stdin_null(void);

/* Runs it. Returns an exit code: the command's own, EXIT_DIVERGED, or one of run_child.h; what else
 * there is to say has been said. A command that was killed ends this process in the same way. */
int run_once(struct once *o);
