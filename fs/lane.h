/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The slow lane: calls that have to wait, each in a thread that may. Threads are started as they
 * are needed and end when they are not.
 *
 *	queued --thread--> running --answered--> gone
 *	   '------------------'--interrupted, a second old--> cancelled
 *
 * An interrupt is only heard when its call has waited for a second: some programs are sent signals
 * all the time. Then the call's waits end, and a call without effects is answered at once.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "call.h"

struct lane;
struct lane_job;

int lane_new(struct fs *fs, struct lane **ret);

/* Cancels what is queued or running and waits for its end; nothing is taken any more. NULL is fine,
 * and so is a second time. */
void lane_stop(struct lane *l);
void lane_free(struct lane *l);
DEFINE_CLEANUP(struct lane *, lane_free)

/* Copies @c, to be run by a thread of the lane. 0; -ENOBUFS (it has data, and too many bytes are
 * waiting here already), -ENOMEM, -errno: it is still the caller's. */
int lane_submit(struct lane *l, const struct call *c);

/* The caller of @unique is interrupted. If there is no such call here, that is remembered for a
 * while in case it comes. */
void lane_interrupt(struct lane *l, uint64_t unique);

/* Is the answer to the job's call the asker's to give? True once. */
bool lane_own_answer(struct lane_job *j);

/* Set when the call's caller has given up; for requests that take such a flag. */
const atomic_bool *lane_cancelled(struct lane_job *j);

/* From now on. */
struct deadline lane_deadline(enum patience patience);

/* Calls queued or running. */
unsigned lane_length(struct lane *l);
