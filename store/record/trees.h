/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The tree of a run's record (run/RUNS.md, section 3), made from what it has seen and what it has
 * changed. tree_read.h reads it.
 *
 * Threads: the caller's; it waits for the backend.
 */
#pragma once

#include <jansson.h>

#include "object/access.h"
#include "object/store.h"
#include "record/seen.h"
#include "write/session.h"

enum {
	RUN_REDIRECTED_MAX = 2, /* stdout and stderr */
};

/* A file that was written past the run's view. */
struct run_redirected {
	struct span path; /* in the branch; borrowed */
	struct oid commit; /* that has it */
};

/* A branch as the run had it. */
struct run_branch {
	const char *repo, *branch; /* borrowed */
	struct id128 repo_id;
	struct oid pinned, result; /* result null: nothing was changed */
	struct run_redirected redirected[RUN_REDIRECTED_MAX];
	unsigned redirected_count;
};

/* A small file of the run's own. */
struct run_extra {
	const char *name;
	struct span bytes; /* with @fd -1 */
	int fd; /* borrowed; read from its start to where it ends now */
};

/*
 * Stores it, durably; @branches and @extra in any order. Tops of @seen that none of @branches is
 * are full ids of commits, or names of what is not there. A tree of nothing has the null id.
 *
 * 0; -EBADMSG: the log, or a commit, is damaged or gone, and will stay so; or errors of reading and
 * writing, of seen_walk() too. What is of a branch or commit is logged.
 */
int run_tree_write(struct store *store, struct seen *seen, const struct run_branch *branches,
		   size_t count, const struct run_extra *extra, size_t extra_count,
		   struct access *acc, struct tree_root *ret);

/* As the record has it (NULL: no memory), and back: 0, -EBADMSG. */
json_t *run_tree_json(const struct tree_root *t);
int run_tree_read(const json_t *j, struct tree_root *ret);
