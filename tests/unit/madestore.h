/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A store with runs that nothing has run: commits, trees and records as `pfs run` would have left
 * them.
 */
#pragma once

#include "object/store.h"
#include "record/record.h"

/* A file of a few bytes; of a run its path is "REPO/BRANCH/NAME". Text NULL: it is removed. */
struct made_file {
	const char *path, *text;
};

enum {
	MADE_FILES_MAX = 8,
	MADE_FEW_SECONDS = 10, /* what a run takes */
};

struct made_run {
	const char *name, *group, *parent; /* NULL: none */
	const char *command; /* NULL: "make" */
	int64_t started; /* seconds since 1970 */
	const char *status; /* NULL: "ok"; "running": without an end */
	const char *params, *metrics; /* JSON objects; NULL: none */
	const char *printed; /* kept whole; NULL: nothing */
	/* Up to the first without a path. What was read was looked up; besides, @looked was, where
	 * no text means that it was not there. */
	struct made_file read[MADE_FILES_MAX], looked[MADE_FILES_MAX], written[MADE_FILES_MAX];
	bool is_unpublished; /* what is written goes to no branch */
};

/* Makes a repo with its branch main. */
void made_repo(struct store *s, const char *repo);

/* A commit of @files, whose paths are names, onto @repo's main; its entries have the time @sec.
 * @run: NULL: no run made it. */
struct oid made_commit(struct store *s, const char *repo, const struct made_file *files,
		       int64_t sec, const struct run_id *run);

/* A run; all that it wrote is of one branch, REPO/main. */
struct run_id made_run(struct store *s, const struct made_run *run);

/* Many runs without commits, whose trees are stored together: each reads @shared files that all
 * read and one of the last one's, and writes one; a second apart from @since on. */
void made_runs(struct store *s, unsigned count, unsigned shared, int64_t since);

/* The content id of a text. */
struct oid made_id(const char *text);
