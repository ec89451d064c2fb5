/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Lines to a server, for s3/http.c: a multi handle of libcurl's with one easy handle. The multi
 * handle holds the connections, so a line that is used again reaches the server over the one that
 * it had. Lines that nobody uses lie on a stack. Invariants:
 *  - a line belongs to one exchange, or lies on the stack
 *  - none gets onto the stack but after an exchange that ended well: what is on the wire of any
 *    other is not known
 *  - one that has lain there for longer than a connection is kept goes when others come: a burst
 *    does not hold its memory for ever
 *
 * Threads: take and give back from any thread; a line is its exchange's.
 */
#pragma once

#include <curl/curl.h>
#include <pthread.h>

#include "base/defs.h"
#include "base/list.h"

enum {
	LINE_DEAD_S = 10,
	LINE_IDLE_S = 30, /* a connection idle for longer is not used again */
	LINE_SOCKETS = 4, /* that a line remembers: one, and those tried beside it */
};

struct line {
	struct list stacked;
	int64_t idle_since_ns;
	CURLM *multi; /* owned */
	CURL *easy; /* owned; in multi during an exchange */
	int opened[LINE_SOCKETS]; /* libcurl's, a ring; -1: none, and they may be closed by now */
	unsigned opened_next;
	int socket; /* the one of them in use, or -1 */
};

struct lines {
	pthread_mutex_t lock;
	struct list idle; /* guarded by lock, as all below; the last used first */
	unsigned idle_count;
};

void lines_init(struct lines *s);
void lines_release(struct lines *s); /* none may be in use */

/* NULL: no memory. */
struct line *lines_take(struct lines *s);
void lines_give_back(struct lines *s, struct line *l); /* takes @l */

void line_free(struct line *l);
DEFINE_CLEANUP(struct line *, line_free)

/* For CURLOPT_OPENSOCKETFUNCTION, with the line. The kernel gives a peer up that for LINE_DEAD_S
 * did not so much as acknowledge, however long its reply is waited for. */
int line_open_socket(void *line, curlsocktype purpose, struct curl_sockaddr *a);

/* The connection that is used now is the one from @own_port. */
void line_found(struct line *l, int own_port);

/* Bytes given to the kernel that the peer's has not acknowledged. */
size_t line_unacknowledged(const struct line *l);
