/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Threads and the pool of base/thread.h.
 */
#include "base/thread.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

void cond_init(pthread_cond_t *c)
{
	pthread_condattr_t a;

	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(c, &a);
	pthread_condattr_destroy(&a);
}

void rwlock_init_writers_first(pthread_rwlock_t *l)
{
	pthread_rwlockattr_t a;

	pthread_rwlockattr_init(&a);
	pthread_rwlockattr_setkind_np(&a, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(l, &a);
	pthread_rwlockattr_destroy(&a);
}

int cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, const struct deadline *dl,
		    int64_t max_ms)
{
	struct timespec at = deadline_timespec(dl, max_ms);

	return pthread_cond_timedwait(c, m, &at) == ETIMEDOUT ? -ETIME : 0;
}

/* A thread does not run as its maker does, which may be placed (SCHED_IDLE, on one CPU), but as the
 * main thread. Best effort. */
static void run_as_main_thread(pthread_t t)
{
	const struct sched_param param = { 0 };
	int policy = sched_getscheduler(getpid());
	cpu_set_t set;

	if (policy == SCHED_OTHER && sched_getscheduler(0) != policy)
		pthread_setschedparam(t, policy, &param);
	if (sched_getaffinity(getpid(), sizeof(set), &set) == 0)
		pthread_setaffinity_np(t, sizeof(set), &set);
}

int thread_start(pthread_t *ret, const char *name, void *(*fn)(void *), void *arg)
{
	sigset_t all, old;
	char full[16];
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(ret, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0)
		return r;
	snprintf(full, sizeof(full), "pfs-%s", name);
	pthread_setname_np(*ret, full);
	run_as_main_thread(*ret);
	return 0;
}

unsigned cpu_count(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return 1;
	return MAX((unsigned)CPU_COUNT(&set), 1u);
}

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct job *first, **last; /* guarded by lock */
	bool is_ending; /* guarded by lock */
	unsigned threads;
	pthread_t tids[];
};

static void *worker(void *arg)
{
	struct pool *p = arg;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct job *j = p->first;

		if (!j) {
			if (p->is_ending)
				break;
			pthread_cond_wait(&p->wake, &p->lock);
			continue;
		}
		p->first = j->next;
		if (!p->first)
			p->last = &p->first;
		pthread_mutex_unlock(&p->lock);
		j->run(j);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

int pool_new(const char *name, unsigned threads, struct pool **ret)
{
	_cleanup_(pool_freep) struct pool *p = NULL;

	threads = MAX(threads, 1u);
	p = calloc(1, sizeof(*p) + threads * sizeof(p->tids[0]));
	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	p->last = &p->first;
	for (; p->threads < threads; p->threads++) {
		int r = thread_start(&p->tids[p->threads], name, worker, p);

		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(p);
	return 0;
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->is_ending = true;
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->threads; i++)
		pthread_join(p->tids[i], NULL);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void pool_submit(struct pool *p, struct job *j)
{
	j->next = NULL;
	pthread_mutex_lock(&p->lock);
	*p->last = j;
	p->last = &j->next;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

unsigned pool_threads(const struct pool *p)
{
	return p->threads;
}
