/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Mapped memory: a thread that looks often while requests come, since a walk over a large table
 * maps a hundred megabytes in a tenth of a second, and seldom while nothing happens.
 */
#include "mapped.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"

enum {
	LOOK_MS = 10,
	REST_MS = 320, /* while no request comes; a commit may still read much */
	QUIET_AFTER = 50, /* looks at which nothing had changed */
	NICE = -10, /* if we may: a machine under load must not keep it from looking */
};

struct mapped {
	uint64_t max;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool is_ending; /* guarded by lock */
	atomic_bool is_resting;
	bool has_thread;
	pthread_t thread;
};

struct resident resident_now(void)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), size, all, shared;
	struct resident r = { 0 };
	char text[128];
	ssize_t n;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return r;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return r;
	text[n] = '\0';
	if (sscanf(text, "%" SCNu64 " %" SCNu64 " %" SCNu64, &size, &all, &shared) == 3)
		r = (struct resident){ all * page, shared * page };
	return r;
}

/* Files mapped to be read only, and shared: nothing is lost with their pages. */
static void drop(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	_cleanup_free_ char *line = NULL;
	size_t cap = 0;

	if (!f)
		return;
	while (getline(&line, &cap, f) > 0) {
		uintptr_t from, to;
		uint64_t inode;
		char mode[5];

		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %" SCNu64, &from, &to, mode,
			   &inode) == 4 &&
		    strcmp(mode, "r--s") == 0 && inode)
			madvise((void *)from, to - from, MADV_DONTNEED);
	}
	fclose(f);
}

/* For a moment, or until there is something to look at. False: it is over. */
static bool wait_to_look(struct mapped *m, bool was_quiet)
{
	int64_t ms = was_quiet ? REST_MS : LOOK_MS;
	struct deadline dl = deadline_in_ms(ms);

	WITH_LOCK(&m->lock);

	m->is_resting = was_quiet;
	while (!m->is_ending && m->is_resting == was_quiet)
		if (cond_wait_until(&m->wake, &m->lock, &dl, ms) < 0)
			break;
	return !m->is_ending;
}

void mapped_stir(struct mapped *m)
{
	if (!atomic_load_explicit(&m->is_resting, memory_order_relaxed))
		return;
	WITH_LOCK(&m->lock);

	m->is_resting = false;
	pthread_cond_signal(&m->wake);
}

static void *work(void *arg)
{
	struct mapped *m = arg;
	uint64_t before = 0;
	bool is_quiet = false;
	unsigned same = 0;

	if (setpriority(PRIO_PROCESS, 0, NICE) < 0)
		log_debug("mapped memory is looked after at normal priority");
	while (wait_to_look(m, is_quiet)) {
		uint64_t now = resident_now().files;
		bool is_stirred = is_quiet && !m->is_resting;

		same = now == before && !is_stirred ? same + 1 : 0;
		is_quiet = same >= QUIET_AFTER;
		before = now;
		if (now > m->max)
			drop();
	}
	return NULL;
}

int mapped_new(uint64_t max, struct mapped **ret)
{
	_cleanup_(mapped_freep) struct mapped *m = new0(struct mapped, 1);
	int r;

	if (!m)
		return -ENOMEM;
	m->max = max;
	pthread_mutex_init(&m->lock, NULL);
	cond_init(&m->wake);
	r = thread_start(&m->thread, "mapped", work, m);
	if (r < 0)
		return r;
	m->has_thread = true;
	*ret = TAKE_PTR(m);
	return 0;
}

void mapped_free(struct mapped *m)
{
	if (!m)
		return;
	pthread_mutex_lock(&m->lock);
	m->is_ending = true;
	pthread_cond_signal(&m->wake);
	pthread_mutex_unlock(&m->lock);
	if (m->has_thread)
		pthread_join(m->thread, NULL);
	pthread_cond_destroy(&m->wake);
	pthread_mutex_destroy(&m->lock);
	free(m);
}
