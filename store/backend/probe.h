/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Does a server do what a store relies on? Conditions above all: refs are safe only where, of many
 * writers with the same expectation, exactly one gets through. Servers are not to be believed: some
 * ignore a condition and answer 200, some keep it only as long as nobody else writes.
 *
 * All that is written lies under PROBE_PREFIX and a random part, and is removed again; what a probe
 * that was killed left there is nobody's.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "backend/backend.h"

#define PROBE_PREFIX "probe/"

/*
 * The whole probe, a few hundred small requests: made when a store is made. @single_writer: a
 * writer who has the place for himself needs no conditions, and is not refused for want of them;
 * *@ret_kept says whether they are kept.
 *
 * 0; -EOPNOTSUPP (the server is not to be used so, the sentence says what it does wrong and what to
 * do); or the backend's errors, logged.
 */
int backend_probe(struct backend *b, bool single_writer, const struct deadline *dl, bool *ret_kept);

/*
 * The same in three requests, for a machine that has not met the server yet: reads @key, which is
 * there, never changes and has at most @max bytes, and writes it over itself under two conditions
 * that do not hold. -EOPNOTSUPP: one went through, the sentence is logged. 0, or the backend's
 * errors, not logged.
 */
int backend_check_conditions(struct backend *b, const char *key, size_t max,
			     const struct deadline *dl);
