/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Looking at many branches with one listing of their tags, where that is less than a look at each.
 *
 * Threads: one of the survey's own lists; the functions from one thread, that of refs_watch.c.
 */
#pragma once

#include "object/facts.h"

struct survey;

int survey_new(struct backend *b, struct facts *k, struct survey **ret);

/* Gives up a listing that is under way. */
void survey_free(struct survey *s);
DEFINE_CLEANUP(struct survey *, survey_free)

/* Begins to list, unless it still does so, if that is worth it for @count branches: then true, and
 * soon no fact of a branch that is as it was is old, and what is otherwise is looked at. False:
 * each branch is to be looked at. */
bool survey_begin(struct survey *s, size_t count);
