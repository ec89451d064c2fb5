/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A mount's thread that keeps the catalog of runs (catalog.h) up to date, so that who asks need not
 * wait for more than a small look: runs of this machine when they have ended; those of others once
 * a minute while somebody asks for runs, else once an hour; and now and then a sweep of all.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "object/store.h"
#include "record/record.h"

struct learner;

int learner_new(struct store *s, struct learner **ret);
/* Cancels what is under way. */
void learner_free(struct learner *l);
DEFINE_CLEANUP(struct learner *, learner_free)

/* The run's record is complete. */
void learner_tell(struct learner *l, const struct run_id *id);

/* Somebody has asked for runs, and has looked. */
void learner_note_question(struct learner *l);
