/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Placement of workers.
 *
 *	low (SCHED_IDLE) --requests stand still--> raised (SCHED_OTHER)
 *	       ^------------- time is over ----------------'
 *
 * How many workers are wanted is counted anew every COUNT_EVERY requests, from the callers in them;
 * after a raise, and at the end, it is all.
 *
 * Threads: a worker places itself; the watchdog alone changes the state and the others' policies.
 */
#include "place.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"

enum {
	WORKERS_MAX = 64,
	FOLLOW_EVERY = 16, /* requests; where the caller runs is not asked each time */
	FOLLOW_LESS = 128, /* of one that stays where it is */
	COUNT_EVERY = 64, /* requests */
	STAT_CPU_FIELD = 39, /* of /proc/TID/stat */
	BUSY_TICK_MS = 5, /* a faster watchdog spoils the placement */
	IDLE_TICK_MS = 20,
	REST_TICK_MS = 100,
	IDLE_AFTER = 10, /* ticks without a request */
	REST_AFTER = 500,
	RAISE_MIN_MS = 50,
	RAISE_MAX_MS = 2000,
	CALM_MS = 20, /* raised again sooner than that after it was lowered: for longer */
};

struct placement {
	int fd; /* borrowed */
	bool is_on;
	bool has_watchdog;
	pthread_t watchdog;
	atomic_bool is_ending;
	atomic_bool is_raised;
	atomic_uint workers;
	atomic_uint busy; /* workers with a request */
	_Atomic pid_t tids[WORKERS_MAX];
	atomic_uint_fast64_t taken, raises;
	atomic_uint_fast64_t callers; /* since they were counted: a bit for each, by hash */
	atomic_uint wanted; /* workers */
	pthread_mutex_t lock;
	pthread_cond_t more; /* wanted has grown, under lock */
	/* The watchdog's. */
	uint64_t last_taken;
	unsigned idle_ticks;
	int64_t lowered_at, raised_until, raise_ms;
};

static _Thread_local unsigned requests_left, follow_every = FOLLOW_EVERY;
static _Thread_local unsigned place_now = WORKERS_MAX; /* in tids */
static _Thread_local int cpu_now = -1;
static _Thread_local bool is_busy; /* counted so */

static int set_policy(pid_t tid, int policy)
{
	struct sched_param param = { 0 };

	return sched_setscheduler(tid, policy, &param) < 0 ? -errno : 0;
}

/* Down and up again, in a thread that may be lost to it. */
static void *try_policies(void *arg)
{
	int *result = arg;

	*result = set_policy(0, SCHED_IDLE);
	if (*result == 0)
		*result = set_policy(0, SCHED_OTHER);
	return NULL;
}

static bool can_place(void)
{
	int result = -EPERM;
	pthread_t t;

	if (thread_start(&t, "place-try", try_policies, &result) < 0)
		return false;
	pthread_join(t, NULL);
	return result == 0;
}

static void set_all(struct placement *p, int policy)
{
	unsigned n = MIN((unsigned)p->workers, (unsigned)WORKERS_MAX);

	for (unsigned i = 0; i < n; i++)
		if (p->tids[i])
			set_policy(p->tids[i], policy);
}

static bool is_pending(const struct placement *p)
{
	struct pollfd pfd = { .fd = p->fd, .events = POLLIN };

	return poll(&pfd, 1, 0) > 0 && pfd.revents & POLLIN;
}

static void want(struct placement *p, unsigned workers)
{
	unsigned before = atomic_exchange(&p->wanted, workers);

	if (workers <= before)
		return;
	WITH_LOCK(&p->lock);

	pthread_cond_broadcast(&p->more);
}

static void raise_workers(struct placement *p, int64_t now)
{
	bool is_again = now - p->lowered_at < CALM_MS * 1000000ll;

	p->raise_ms = is_again ? MIN(p->raise_ms * 2, (int64_t)RAISE_MAX_MS) : RAISE_MIN_MS;
	p->raised_until = now + p->raise_ms * 1000000;
	p->is_raised = true;
	p->raises++;
	set_all(p, SCHED_OTHER);
	want(p, WORKERS_MAX);
}

static void look(struct placement *p)
{
	uint64_t taken = p->taken;
	bool is_still = taken == p->last_taken;
	/* One that was taken may stand still too, and hold a lock that others need. */
	bool pending = p->busy > 0 || is_pending(p);
	int64_t now = now_ns();

	p->idle_ticks = is_still && !pending ? p->idle_ticks + 1 : 0;
	p->last_taken = taken;
	if (!p->is_raised && pending && is_still) {
		raise_workers(p, now);
	} else if (p->is_raised && now > p->raised_until) {
		p->is_raised = false;
		p->lowered_at = now;
		set_all(p, SCHED_IDLE);
	}
}

static void *watch(void *arg)
{
	struct placement *p = arg;

	while (!p->is_ending) {
		unsigned ms = p->idle_ticks > REST_AFTER   ? REST_TICK_MS
			      : p->idle_ticks > IDLE_AFTER ? IDLE_TICK_MS
							   : BUSY_TICK_MS;

		usleep(ms * 1000);
		look(p);
	}
	return NULL;
}

int placement_new(int fd, bool is_on, struct placement **ret)
{
	_cleanup_(placement_freep) struct placement *p = new0(struct placement, 1);
	int r;

	if (!p)
		return -ENOMEM;
	p->fd = fd;
	p->raise_ms = RAISE_MIN_MS;
	p->wanted = WORKERS_MAX;
	pthread_mutex_init(&p->lock, NULL);
	cond_init(&p->more);
	p->is_on = is_on && can_place();
	if (p->is_on) {
		r = thread_start(&p->watchdog, "watchdog", watch, p);
		if (r < 0)
			return r;
		p->has_watchdog = true;
	}
	*ret = TAKE_PTR(p);
	return 0;
}

void placement_free(struct placement *p)
{
	if (!p)
		return;
	p->is_ending = true;
	if (p->has_watchdog)
		pthread_join(p->watchdog, NULL);
	pthread_cond_destroy(&p->more);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void placement_join(struct placement *p)
{
	unsigned i;

	if (!p->is_on)
		return;
	i = p->workers++;
	if (i >= WORKERS_MAX)
		return;
	place_now = i;
	p->tids[i] = gettid();
	set_policy(0, p->is_raised ? SCHED_OTHER : SCHED_IDLE);
}

void placement_leave(struct placement *p)
{
	if (place_now < WORKERS_MAX)
		p->tids[place_now] = 0;
	place_now = WORKERS_MAX;
	placement_end(p);
}

void placement_end(struct placement *p)
{
	p->is_ending = true;
	want(p, WORKERS_MAX);
}

void placement_rest(struct placement *p)
{
	if (is_busy)
		p->busy--;
	is_busy = false;
	if (place_now == WORKERS_MAX || place_now < p->wanted)
		return;
	WITH_LOCK(&p->lock);

	while (place_now >= p->wanted && !p->is_ending)
		pthread_cond_wait(&p->more, &p->lock);
}

/* The CPU a thread last ran on, or -1. */
static int cpu_of(pid_t tid)
{
	char path[32], text[1024];
	const char *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	/* The second field is a name in parentheses, which may hold anything. */
	p = strrchr(text, ')');
	for (int field = 2; p && field < STAT_CPU_FIELD; field++)
		p = strchr(p + 1, ' ');
	return p ? (int)strtol(p + 1, NULL, 10) : -1;
}

static void follow(pid_t caller)
{
	int cpu = cpu_of(caller);
	cpu_set_t set;

	follow_every = cpu == cpu_now ? MIN(2 * follow_every, (unsigned)FOLLOW_LESS) : FOLLOW_EVERY;
	requests_left = follow_every;
	if (cpu < 0 || cpu >= CPU_SETSIZE || cpu == cpu_now)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
	cpu_now = cpu;
}

void placement_took(struct placement *p, pid_t caller)
{
	if (!p->is_on)
		return;
	p->taken++;
	p->busy++;
	is_busy = true;
	if (caller <= 0)
		return;
	p->callers |= 1ull << (caller % 64);
	if (p->taken % COUNT_EVERY == 0 && !p->is_raised && !p->is_ending)
		/* Two may count at once; then the second finds nobody. */
		want(p, MAX((unsigned)__builtin_popcountll(atomic_exchange(&p->callers, 0)), 1u));
	if (requests_left-- == 0)
		follow(caller);
}

bool placement_is_on(const struct placement *p)
{
	return p->is_on;
}

uint64_t placement_raises(const struct placement *p)
{
	return p->raises;
}
