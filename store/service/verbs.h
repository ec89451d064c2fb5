/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The verbs: each answers one request, line by line, and is documented where it is written. 0, or
 * the error that ends the answer.
 */
#pragma once

#include "head/head.h"
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

/* merging.c */
int verb_merge(struct request *q);
int verb_sync(struct request *q);
/* How a commit or a merge stands with its branch; a name in the way of it, for any verb. */
const char *standing_text(enum head_standing s);
void answer_commit_result(struct answer *a, const struct commit_result *res);
int answer_conflict(struct span path, enum merge_verdict what, void *ctx);

/* restore.c */
int verb_restore(struct request *q);

/* run.c */
int verb_run_begin(struct request *q);
int verb_run_configs(struct request *q);
int verb_run_end(struct request *q);

/* warm.c */
int verb_cache_warm(struct request *q);
