/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What was found in the store, kept in the index for the next process: objects that change, and
 * listings, apart from each other. A lost one only costs another look.
 *
 * For facts.c alone. Threads: all functions from any thread; of several that put one key at once,
 * any may win.
 */
#pragma once

#include "index/index.h"
#include "object/finding.h"

/* A reference, or NULL: nothing is kept, or not what is understood. */
struct finding *kept_load(struct index *index, enum finding_kind kind, const char *key);

/* @object: the bytes, unless @f is a listing. What is absent, or a listing that is too long, is
 * forgotten. */
void kept_put(struct index *index, const char *key, const struct finding *f, struct span object);

void kept_forget(struct index *index, enum finding_kind kind, const char *key);
