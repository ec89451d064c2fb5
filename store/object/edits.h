/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Changes of a listing that were learned while it was being looked at: they go on top of what the
 * look finds.
 *
 * Threads: none of its own; nothing is shared.
 */
#pragma once

#include "object/finding.h"

struct edit;

struct edits {
	struct edit *last; /* owned; NULL: none */
};

/* @name is there now, or not. What there is no memory for is not noted. */
void edits_add(struct edits *e, const char *name, bool is_there);

/* @list, which is taken, with all of them in the order in which they came; then there are none. */
struct finding *edits_apply(struct edits *e, struct finding *list);

void edits_release(struct edits *e);
