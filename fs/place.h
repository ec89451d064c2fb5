/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where the threads run that answer requests: under SCHED_IDLE, on the CPU of whoever asks.
 *
 * Waking a thread on another virtual CPU costs more than answering. A worker of normal priority
 * makes its CPU look busy, so the scheduler moves the woken caller to another CPU, then the worker
 * follows, and so on. One under SCHED_IDLE counts as no load: the caller stays, preempts the
 * worker, and finds it waiting for the next request on the same CPU. Small-file work is several
 * times as fast.
 *
 * Such a worker would starve where other work wants the CPU. A watchdog of normal priority looks a
 * couple of hundred times a second at most whether requests are pending or under way and none was
 * taken since, and then raises all workers for a while, longer each time it has to.
 *
 * Of several workers that wait, the kernel wakes another one for each request. So as many wait as
 * there were callers lately, and the others rest until there are more, or the watchdog finds that
 * those who wait do not get on.
 *
 * For threads that answer at once from local data only. Who may not raise a thread again (an
 * ordinary user without RLIMIT_NICE) must not lower one: then nothing is placed.
 */
#pragma once

#include <sys/types.h>

#include "base/defs.h"

struct placement;

/* @fd is readable while requests are pending. With @is_on false, or where it cannot be, nothing is
 * placed and all functions do nothing. 0 or -errno. */
int placement_new(int fd, bool is_on, struct placement **ret);
void placement_free(struct placement *p);
DEFINE_CLEANUP(struct placement *, placement_free)

/* The calling thread is a worker from now on; it is about to end, and others soon may be. */
void placement_join(struct placement *p);
void placement_leave(struct placement *p);

/* Returns when the calling worker is wanted: it is to take a request. */
void placement_rest(struct placement *p);

/* All workers are wanted from now on, to see that they are to end. */
void placement_end(struct placement *p);

/* It has taken a request of the thread @caller (0: of nobody we see). */
void placement_took(struct placement *p, pid_t caller);

bool placement_is_on(const struct placement *p);

/* How often the watchdog had to raise the workers. */
uint64_t placement_raises(const struct placement *p);
