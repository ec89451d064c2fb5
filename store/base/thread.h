/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Threads: names, conditions on the monotonic clock, and a pool of workers.
 */
#pragma once

#include <pthread.h>

#include "base/deadline.h"
#include "base/defs.h"

/* A condition whose timed waits take CLOCK_MONOTONIC. */
void cond_init(pthread_cond_t *c);

/* A lock whose writers go before readers that come later; it must not be read-locked twice by one
 * thread. (By default readers that overlap keep writers out for ever.) */
void rwlock_init_writers_first(pthread_rwlock_t *l);

/* Waits until signalled, @dl, or @max_ms; 0 or -ETIME when that time is over. */
int cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, const struct deadline *dl,
		    int64_t max_ms);

/* Starts a joinable thread with every signal blocked, named "pfs-@name" (15 bytes are shown),
 * scheduled as the main thread is. 0 or -errno. */
int thread_start(pthread_t *ret, const char *name, void *(*fn)(void *), void *arg);

#define _cleanup_unlock_ _cleanup_(unlock_mutexp)
static inline void unlock_mutexp(pthread_mutex_t **m)
{
	if (*m)
		pthread_mutex_unlock(*m);
}
#define WITH_LOCK(m) _cleanup_unlock_ _unused_ pthread_mutex_t *_held = (pthread_mutex_lock(m), (m))

#define _cleanup_rwunlock_ _cleanup_(unlock_rwlockp)
static inline void unlock_rwlockp(pthread_rwlock_t **l)
{
	if (*l)
		pthread_rwlock_unlock(*l);
}
#define WITH_RDLOCK(l) \
	_cleanup_rwunlock_ _unused_ pthread_rwlock_t *_rdheld = (pthread_rwlock_rdlock(l), (l))
#define WITH_WRLOCK(l) \
	_cleanup_rwunlock_ _unused_ pthread_rwlock_t *_wrheld = (pthread_rwlock_wrlock(l), (l))

/* A piece of work; it lies in what it works on, and the pool never owns it. */
struct job {
	void (*run)(struct job *j);
	struct job *next; /* the pool's */
};

struct pool;

/* @threads workers (at least 1), first in first out, no bound on the queue: whoever submits
 * bounds itself. 0 or -errno. */
int pool_new(const char *name, unsigned threads, struct pool **ret);

/* Runs what is queued, then ends. NULL is fine. */
void pool_free(struct pool *p);
DEFINE_CLEANUP(struct pool *, pool_free)

/* Never blocks. @j must stay until its run() has returned; run() may free it. */
void pool_submit(struct pool *p, struct job *j);

unsigned pool_threads(const struct pool *p);

/* Processors this process may use, at least 1. */
unsigned cpu_count(void);
