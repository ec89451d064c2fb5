/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How requests come from the kernel and answers go back. What is behind this interface today is
 * read(2) and writev(2) on /dev/fuse, with a few threads.
 */
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include "base/defs.h"

struct loop;

struct loop_options {
	int fd; /* borrowed */
	unsigned threads;
	size_t request_max; /* bytes of the largest request */
	bool placement; /* fs/place.h */
	/* A request, in memory that is the loop's again afterwards. From any of its threads. */
	void (*request)(void *request, size_t len, void *ctx);
	/* The connection has ended, for whatever reason; from the last thread. */
	void (*ended)(void *ctx);
	void *ctx;
};

/* Starts to serve. 0 or -errno. */
int loop_new(const struct loop_options *o, struct loop **ret);

/* Ends all threads; a request that is being handled is handled to its end. */
void loop_free(struct loop *l);
DEFINE_CLEANUP(struct loop *, loop_free)

/* An answer or a notification, in one piece. The count of bytes, or -1 and errno: ENOENT when
 * nobody waits for it any more. From any thread. */
ssize_t loop_send(int fd, const struct iovec *parts, int count);

struct placement *loop_placement(struct loop *l);
