/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The lines of s3/http_line.h.
 */
#include "s3/http_line.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/deadline.h"
#include "base/thread.h"

enum {
	IDLE_MAX = 64, /* lines on the stack */
	PROBE_S = 5, /* between questions whether a silent peer is still there */
};

void line_free(struct line *l)
{
	if (l->easy)
		curl_easy_cleanup(l->easy);
	if (l->multi)
		curl_multi_cleanup(l->multi);
	free(l);
}

static struct line *line_new(void)
{
	_cleanup_(line_freep) struct line *l = new0(struct line, 1);

	if (!l)
		return NULL;
	l->socket = -1;
	for (size_t i = 0; i < LINE_SOCKETS; i++)
		l->opened[i] = -1;
	l->multi = curl_multi_init();
	l->easy = curl_easy_init();
	if (!l->multi || !l->easy)
		return NULL;
	return TAKE_PTR(l);
}

void lines_init(struct lines *s)
{
	pthread_mutex_init(&s->lock, NULL);
	list_init(&s->idle);
}

void lines_release(struct lines *s)
{
	list_for_each_safe (l, &s->idle, struct line, stacked)
		line_free(l);
	pthread_mutex_destroy(&s->lock);
}

struct line *lines_take(struct lines *s)
{
	struct line *l;

	{
		WITH_LOCK(&s->lock);
		l = list_first(&s->idle, struct line, stacked);
		if (l) {
			list_remove(&l->stacked);
			s->idle_count--;
		}
	}
	return l ? l : line_new();
}

/* The one unused longest, if it is of no more use; it is the caller's then. */
static struct line *take_stale(struct lines *s, int64_t now)
{
	struct line *l = list_entry(s->idle.prev, struct line, stacked);

	if (s->idle_count <= IDLE_MAX && now - l->idle_since_ns < LINE_IDLE_S * 1000000000ll)
		return NULL;
	list_remove(&l->stacked);
	s->idle_count--;
	return l;
}

void lines_give_back(struct lines *s, struct line *l)
{
	_cleanup_(line_freep) struct line *stale = NULL;

	l->idle_since_ns = now_ns();
	WITH_LOCK(&s->lock);
	list_prepend(&s->idle, &l->stacked);
	s->idle_count++;
	stale = take_stale(s, l->idle_since_ns);
}

int line_open_socket(void *line, curlsocktype purpose, struct curl_sockaddr *a)
{
	static const int yes = 1, probe_s = PROBE_S;
	static const unsigned dead_ms = LINE_DEAD_S * 1000;
	struct line *l = line;
	int fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);

	if (fd < 0)
		return CURL_SOCKET_BAD;
	/* Not to be had of what is no TCP, and nothing fails for it. */
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &probe_s, sizeof(probe_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &probe_s, sizeof(probe_s));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof(dead_ms));
	l->opened[l->opened_next++ % LINE_SOCKETS] = fd;
	return fd;
}

void line_found(struct line *l, int own_port)
{
	l->socket = -1;
	for (size_t i = 0; i < LINE_SOCKETS && l->socket < 0; i++) {
		struct sockaddr_in6 a = { 0 }; /* where sockaddr_in has its port, too */
		socklen_t len = sizeof(a);

		if (l->opened[i] >= 0 &&
		    getsockname(l->opened[i], (struct sockaddr *)&a, &len) == 0 &&
		    ntohs(a.sin6_port) == own_port)
			l->socket = l->opened[i];
	}
}

size_t line_unacknowledged(const struct line *l)
{
	int n;

	return l->socket >= 0 && ioctl(l->socket, SIOCOUTQ, &n) == 0 && n > 0 ? (size_t)n : 0;
}
