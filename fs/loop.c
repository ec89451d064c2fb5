/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Threads that read /dev/fuse. Each has a buffer of its own for the largest request, made once:
 * fresh memory costs more than a request.
 */
#include "loop.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"
#include "place.h"

enum {
	WAKE_SIGNAL = SIGUSR2, /* ends a read(2) */
	WAKE_AGAIN_US = 1000,
};

struct loop {
	struct loop_options o;
	struct placement *place; /* owned */
	atomic_uint running;
	atomic_bool is_ending;
	unsigned threads;
	pthread_t tids[];
};

static void on_wake(int sig)
{
}

/* The kernel reports with ENODEV that the filesystem was unmounted. */
static bool is_over(int err)
{
	return err != EINTR && err != EAGAIN && err != ENOENT && err != ENOMEM;
}

static void serve(struct loop *l, uint8_t *buf)
{
	while (!l->is_ending) {
		pid_t caller;
		ssize_t n;

		placement_rest(l->place);
		n = read(l->o.fd, buf, l->o.request_max);
		if (n < 0 && !is_over(errno))
			continue;
		if (n < 0 && errno != ENODEV)
			log_errno(-errno, "reading requests from the kernel");
		if (n <= 0)
			break;
		/* The thread's id is where struct fuse_in_header has `pid`. */
		memcpy(&caller, buf + 32, sizeof(caller));
		placement_took(l->place, (size_t)n >= 40 ? caller : 0);
		l->o.request(buf, (size_t)n, l->o.ctx);
	}
}

static void *work(void *arg)
{
	struct loop *l = arg;
	sigset_t wake;
	uint8_t *buf;

	sigemptyset(&wake);
	sigaddset(&wake, WAKE_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
	buf = mmap(NULL, l->o.request_max, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (buf == MAP_FAILED) {
		log_errno(-errno, "no memory for requests");
	} else {
		placement_join(l->place);
		serve(l, buf);
		placement_leave(l->place);
		munmap(buf, l->o.request_max);
	}
	if (--l->running == 0)
		l->o.ended(l->o.ctx);
	return NULL;
}

int loop_new(const struct loop_options *o, struct loop **ret)
{
	const struct sigaction sa = { .sa_handler = on_wake };
	_cleanup_(loop_freep) struct loop *l = NULL;
	int r;

	l = calloc(1, sizeof(*l) + o->threads * sizeof(l->tids[0]));
	if (!l)
		return -ENOMEM;
	l->o = *o;
	sigaction(WAKE_SIGNAL, &sa, NULL);
	r = placement_new(o->fd, o->placement, &l->place);
	if (r < 0)
		return r;
	/* Counted before they start, so that the first does not take itself for the last. */
	l->running = o->threads;
	for (; l->threads < o->threads; l->threads++) {
		char name[16];

		snprintf(name, sizeof(name), "fuse%u", l->threads);
		r = thread_start(&l->tids[l->threads], name, work, l);
		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(l);
	return 0;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	l->is_ending = true;
	if (l->place)
		placement_end(l->place);
	for (unsigned i = 0; i < l->threads; i++) {
		/* One signal may come between its look at is_ending and the read. */
		while (pthread_tryjoin_np(l->tids[i], NULL) != 0) {
			pthread_kill(l->tids[i], WAKE_SIGNAL);
			usleep(WAKE_AGAIN_US);
		}
	}
	placement_free(l->place);
	free(l);
}

ssize_t loop_send(int fd, const struct iovec *parts, int count)
{
	return writev(fd, parts, count);
}

struct placement *loop_placement(struct loop *l)
{
	return l->place;
}
