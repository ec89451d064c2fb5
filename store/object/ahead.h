/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Fetching chunks before somebody waits for them: those whose frames lie behind one another in a
 * pack come with one request.
 *
 * Threads: an ahead belongs to one at a time.
 */
#pragma once

#include "object/reader_parts.h"

enum {
	AHEAD_RUN_BYTES = STRETCH_LARGE, /* of one request: fewer cost a server twice the work */
	AHEAD_RUN_FRAMES = 64,
};

struct run;

/* Chunks that are being gathered; begins as { .reader = r }. */
struct ahead {
	struct reader *reader; /* borrowed */
	struct run *run; /* owned; not on its way yet; NULL: none */
};

/* The next chunk of a file, of @len bytes, with which @left bytes are wanted. False: too much is on
 * its way, or what is left had better come with what follows; it was not taken. Never waits. */
bool ahead_add(struct ahead *a, const struct oid *id, const struct loc *hint, uint64_t len,
	       uint64_t left);

/* Sends what was gathered on its way. */
void ahead_end(struct ahead *a);
