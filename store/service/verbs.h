/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The verbs: each answers one request, line by line, and is documented where it is written. 0, or
 * the error that ends the answer.
 */
#pragma once

#include "head/head.h"
#include "service/address.h"
#include "service/describe.h"
#include "service/request.h"

/* stats.c */
int verb_info(struct request *q);
int verb_stats(struct request *q);

/* repos.c */
int verb_repos(struct request *q);
int verb_repo_create(struct request *q);
int verb_repo_remove(struct request *q);
int verb_repo_config(struct request *q);

/* branches.c */
int verb_branches(struct request *q);
int verb_branch_create(struct request *q);
int verb_branch_remove(struct request *q);
int verb_branch_rename(struct request *q);
int verb_names(struct request *q);

/* commits.c */
int verb_commit(struct request *q);
int verb_show(struct request *q);

/* differences.c */
int verb_status(struct request *q);
int verb_diff(struct request *q);

/* log.c */
int verb_log(struct request *q);
/* The commit that last changed a path, as the log has it first. 0, or an error, said. */
int path_last_commit(struct request *q, const struct address *p, struct loaded *ret);
/* Has @now of a path what @c brought: the same entry, with its times, which @c's first parent
 * has not? */
int path_is_from(struct request *q, const struct commit *now, const struct commit *c,
		 const struct id128 *repo, struct span path, bool *ret);

/* merging.c */
int verb_merge(struct request *q);
int verb_sync(struct request *q);
/* How a commit or a merge stands with its branch; a name in the way of it, for any verb. */
const char *standing_text(enum head_standing s);
void answer_commit_result(struct answer *a, const struct commit_result *res);
int answer_conflict(struct span path, enum merge_verdict what, void *ctx);

/* runs.c */
int verb_runs(struct request *q);
int verb_run_show(struct request *q);

/* runs_plan.c */
int verb_run_plan(struct request *q);

/* runs_ask.c */
int verb_run_diff(struct request *q);
int verb_run_made(struct request *q);
int verb_why(struct request *q);
int verb_uses(struct request *q);

/* restore.c */
int verb_restore(struct request *q);

/* run.c */
int verb_run_begin(struct request *q);
int verb_run_configs(struct request *q);
int verb_run_end(struct request *q);

/* warm.c */
int verb_cache_warm(struct request *q);
