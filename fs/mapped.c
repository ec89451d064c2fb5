/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Mapped memory: a thread that looks often while it grows, since a walk over a large table maps a
 * hundred megabytes in a fraction of a second, and seldom while nothing happens.
 */
#include "mapped.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"

enum {
	LOOK_MIN_MS = 20,
	LOOK_MAX_MS = 320,
	NICE = -10, /* if we may: a machine under load must not keep it from looking */
};

struct mapped {
	uint64_t max;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool is_ending; /* guarded by lock */
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

static bool wait_to_look(struct mapped *m, int64_t ms)
{
	struct deadline dl = deadline_in_ms(ms);

	WITH_LOCK(&m->lock);

	while (!m->is_ending)
		if (cond_wait_until(&m->wake, &m->lock, &dl, ms) < 0)
			return !m->is_ending;
	return false;
}

static void *work(void *arg)
{
	struct mapped *m = arg;
	int64_t ms = LOOK_MIN_MS;
	uint64_t before = 0;

	if (setpriority(PRIO_PROCESS, 0, NICE) < 0)
		log_debug("mapped memory is looked after at normal priority");
	while (wait_to_look(m, ms)) {
		uint64_t now = resident_now().files;

		ms = now == before ? MIN(2 * ms, (int64_t)LOOK_MAX_MS) : LOOK_MIN_MS;
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
