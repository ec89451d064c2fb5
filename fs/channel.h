/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The conversation with the kernel: libfuse parses requests and writes answers; what it leaves out
 * is seen to here.
 *
 *  - INIT: libfuse 3.14 drops capabilities that were asked for, and does not know others. Its reply
 *    is patched on the way out, by what the kernel has offered.
 *  - some flags of requests do not reach libfuse's handlers: they are kept beside (raw_request)
 *  - O_TMPFILE arrives as a create that says so
 *  - INTERRUPT does not go through libfuse at all (fs/lane.h)
 */
#pragma once

#include "base/defs.h"

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

struct channel;

enum {
	CHANNEL_WRITE_MAX = 1 << 20,
};

struct channel_options {
	const struct fuse_lowlevel_ops *ops; /* borrowed; init is the channel's own */
	void *userdata; /* for the operations: fuse_req_userdata() */
	unsigned threads;
	bool placement;
	/* The reply to INIT is out. */
	void (*ready)(void *ctx);
	/* The caller of the request @unique was sent a signal. */
	void (*interrupt)(uint64_t unique, void *ctx);
	/* The connection has ended. */
	void (*ended)(void *ctx);
	void *ctx;
};

/* @mount_options: as for mount(8), for libfuse to mount with; NULL: somebody else mounts. 0 or
 * -errno. */
int channel_new(const struct channel_options *o, const char *mount_options, struct channel **ret);

/* Ends the threads that serve; no request comes any more, answers still go. */
void channel_stop(struct channel *s);
void channel_free(struct channel *s);
DEFINE_CLEANUP(struct channel *, channel_free)

/* Takes over a descriptor of /dev/fuse that was mounted. 0 or -errno. */
int channel_attach(struct channel *s, int fd);

/* Has libfuse, and so fusermount3, mount. 0 or -EIO (it has said why). */
int channel_mount(struct channel *s, const char *mount_point);

/* Starts the threads. 0 or -errno. */
int channel_serve(struct channel *s);

/* What the kernel can do; known when it is ready. */
struct channel_features {
	unsigned minor; /* of the protocol */
	bool expire_only; /* names can be expired rather than invalidated */
	bool prune; /* inodes can be let go of by number */
	bool close_writes; /* what a mapping holds is written at close, without FLUSH */
	bool killpriv; /* it says when setuid and the like must go */
};
const struct channel_features *channel_features(const struct channel *s);

/* A notification: its code and what follows the header. 0 or -errno (-ENOENT: the kernel does not
 * know what it is about). May wait for requests it causes. */
int channel_notify(struct channel *s, int code, const struct span *parts, unsigned count);

uint64_t channel_raises(const struct channel *s);

/* What libfuse does not pass on of the request that this thread is handling. */
struct raw_request {
	uint64_t unique;
	bool kill_priv; /* setuid, setgid and capabilities are to go */
	bool kill_sgid; /* with an ACL that is set */
	bool is_tmpfile; /* create: without a name */
};
const struct raw_request *channel_raw(void);
