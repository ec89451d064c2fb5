/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Runs that have made one file in turn: each found there what the one before it had left, and
 * changed it in place, added to it, or read it and wrote it anew.
 *
 * Threads: the caller's.
 */
#pragma once

#include "catalog/files.h"

struct run_turn {
	struct run_id id; /* of runs in one another the outermost */
	struct run_file left, found; /* type 0: nothing, or it is not known what */
	bool has_read; /* what it found; else it kept some of that unread */
};
struct run_turns {
	struct run_turn *at; /* owned; the last one first */
	size_t count, cap;
};
enum {
	RUN_TURNS_MAX = 1000, /* those before are not told */
};
void run_turns_release(struct run_turns *t);
#define _cleanup_run_turns_ _cleanup_(run_turns_release)

/* Those that made what is at @place now, back to the first, which found nothing there or what no
 * run is known to have made; @by: what that run found there, rather than what is there now (NULL).
 * None where the file is nobody's, or no regular one. 0, or errors of the index and of reading. */
int run_turns_of(const struct run_reading *rd, const struct run_place *place,
		 const struct run_file *now, const struct run_id *by, struct run_turns *ret);

/* The ids of all that have ever written there, ascending. */
int run_turns_ever(const struct run_reading *rd, const struct run_place *place,
		   struct index_run_ids *ret);

/* Where in it a run is; SIZE_MAX: nowhere. */
size_t run_turns_find(const struct run_turns *t, const struct run_id *id);

/* Adds those that found at @place what @run had left there: of each, once, the id, and what it has
 * published there instead. Then those that found what these left, and so on. Errors as above. */
int run_turns_behind(const struct run_reading *rd, const struct run_place *place,
		     const struct run_id *run, struct run_turns *ret);

/* What an update had run it in place of, in its place: 1; 0: nothing; errors of the index. */
int run_step_back(struct store *s, struct run_id *id);

/* The outermost of the runs that it was begun in, in its place. 0, or errors of the index. */
int run_outermost(struct store *s, struct run_id *id);
