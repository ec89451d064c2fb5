/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A proxy between a client and an S3 server that does, by rule, what networks and servers do at
 * their worst. Each request that comes is matched against the rules in their order, by method and
 * by a part of its target; the first that matches and is not used up is applied, all other requests
 * pass. Without a server behind it every request that no rule answers gets an empty 200.
 *
 * It speaks HTTP/1.1 with bodies that say their length, reads requests and replies whole before it
 * passes them on, and uses a connection to the server for one request.
 *
 * Threads: all functions from any thread but start, stop and refuse, which are one thread's; it has
 * one that accepts and one for each connection.
 */
#pragma once

#include <pthread.h>

#include "base/defs.h"
#include "base/list.h"
#include "proxymessage.h"

/* How far a request or its reply has come. Up to AT_REQUEST_LAST_BYTE the server gets nothing. */
enum proxy_at {
	AT_REQUEST_LINE, /* read, no more */
	AT_REQUEST_HEADERS, /* half of them read */
	AT_REQUEST_HEAD_END, /* nothing of the body read */
	AT_REQUEST_BODY, /* half of it read */
	AT_REQUEST_LAST_BYTE, /* all but that read */
	AT_DELIVERED, /* the server has done it and replied; the client has nothing of that */
	AT_STATUS, /* five bytes sent back */
	AT_HEADERS, /* half of them sent */
	AT_HEAD_END, /* all but the empty line */
	AT_BODY, /* half of it */
	AT_LAST_BYTE, /* all but that */
	AT_END, /* all */
};

enum proxy_fault {
	PROXY_NONE, /* only @meanwhile */
	/* With the connection, @at a point: */
	PROXY_RESET,
	PROXY_CLOSE,
	PROXY_HALF_CLOSE, /* no more is sent, all is read */
	PROXY_STALL, /* nothing more ever happens */
	PROXY_DRIP, /* a byte each @n milliseconds from there on; of replies only */
	/* With the request: */
	PROXY_ANSWER, /* the server never sees it; @text is the reply (without Content-Length, if
		       * that is right) */
	PROXY_ANSWER_AFTER, /* it does, but @text is the reply */
	PROXY_HOLD, /* kept for proxy_deliver(); the client's connection is reset */
	/* With the reply: */
	PROXY_LENGTH, /* Content-Length says @n more */
	PROXY_HEADER, /* @text, "Name: value", in place of any of that name */
	PROXY_EDIT, /* the first @from of the body becomes @text, and Content-Length is right */
	PROXY_FLIP, /* byte @n of the body */
	PROXY_KEEP, /* remembered */
	PROXY_REPLAY, /* what was remembered goes out in its place */
};

struct proxy_rule {
	const char *method, *path; /* borrowed, as @text and @from; NULL: any */
	unsigned skip; /* so many that match pass */
	unsigned times; /* then so many are hit; 0: all */
	enum proxy_fault fault;
	enum proxy_at at;
	int64_t n;
	const char *text, *from;
	void (*meanwhile)(void *ctx); /* called when the server has done its part, if it is to do
				       * any, and before anything goes back; NULL: nothing is */
	void *ctx;
	unsigned seen, hit; /* the proxy's */
};

enum {
	PROXY_RULES = 16,
	PROXY_HELD = 64,
};

struct proxy {
	int server_port; /* on 127.0.0.1; 0: none */
	int port;
	char url[64]; /* "http://127.0.0.1:PORT" */
	pthread_t acceptor;
	pthread_mutex_t lock;
	int reserve; /* has the port when nobody listens */
	int listener; /* -1: connections are refused */
	bool is_accepting; /* guarded by lock, as all below */
	unsigned hang_ups; /* connections to be closed at once */
	struct list connections;
	unsigned connection_count; /* in all */
	unsigned open_count; /* of them */
	struct proxy_rule rules[PROXY_RULES];
	size_t rule_count;
	struct buf log; /* of every request the line, with '\n' */
	struct buf last; /* the last request; of its body the beginning */
	struct proxy_message held[PROXY_HELD];
	size_t held_count;
	struct proxy_message kept; /* a reply */
};

/* @server: "http://127.0.0.1:PORT", or NULL. */
void proxy_start(struct proxy *p, const char *server);
void proxy_stop(struct proxy *p);

void proxy_add(struct proxy *p, struct proxy_rule rule);
void proxy_clear(struct proxy *p);

/* Connections are refused from now on, and those there are cut; or accepted again. */
void proxy_refuse(struct proxy *p, bool refuse);

/* The next @n connections are closed when they are accepted. */
void proxy_hang_up(struct proxy *p, unsigned n);

/* Requests so far that match; both NULL: all. */
unsigned proxy_count(struct proxy *p, const char *method, const char *path);

/* Connections that are open now. */
unsigned proxy_connections(struct proxy *p);

/* How many times the rules together were applied. */
unsigned proxy_hits(struct proxy *p);

/* Does the last request contain @text, in its head or the beginning of its body? */
bool proxy_last_has(struct proxy *p, const char *text);

/* Sends what was held to the server, in order; the last one's status. */
int proxy_deliver(struct proxy *p);
