/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What verbs that tell of runs share. For the files of service/ alone.
 *
 * Whoever is not the owner sees what the runs of his own uid did, of others just their ids.
 */
#pragma once

#include "catalog/catalog.h"
#include "catalog/files.h"
#include "service/request.h"

/*
 * Learns what is new, and gives the caller {"learned": runs so far} now and then when there is
 * much. A store that does not answer is told with {"note": a sentence}, and what is known has to
 * do. 0, -EINTR, -ECANCELED.
 */
int runs_look(struct request *q);

/* The run that a field names. 0, or an error, said. */
int request_run(struct request *q, const char *field, struct run_id *ret);

bool runs_may_see(const struct request *q, const struct run_row *row);

/* What a start's record says of branches in repos that the caller may not enter. */
void runs_leave_out_hidden(struct request *q, json_t *start);

/* What is there is what a run would find that is begun now: uncommitted changes are pinned. */
int runs_pin_tips(struct request *q, struct run_tips *tips);

/* A line that is JSON already; takes it. As request_answer(). */
int request_give(struct request *q, json_t *line);
