/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the mount has done so far: counters, read by people and by Prometheus.
 *
 * Threads: all functions from any thread; counters are relaxed and say no more than they count.
 */
#pragma once

#include <jansson.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/defs.h"

struct fs;

/* Operations, as they are named in the statistics. */
#define FS_OPS(X)                           \
	X(LOOKUP, lookup)                   \
	X(FORGET, forget)                   \
	X(GETATTR, getattr)                 \
	X(SETATTR, setattr)                 \
	X(READLINK, readlink)               \
	X(MKNOD, mknod)                     \
	X(MKDIR, mkdir)                     \
	X(UNLINK, unlink)                   \
	X(RMDIR, rmdir)                     \
	X(SYMLINK, symlink)                 \
	X(RENAME, rename)                   \
	X(LINK, link)                       \
	X(OPEN, open)                       \
	X(CREATE, create)                   \
	X(READ, read)                       \
	X(WRITE, write)                     \
	X(FLUSH, flush)                     \
	X(RELEASE, release)                 \
	X(FSYNC, fsync)                     \
	X(OPENDIR, opendir)                 \
	X(READDIR, readdir)                 \
	X(READDIRPLUS, readdirplus)         \
	X(RELEASEDIR, releasedir)           \
	X(STATFS, statfs)                   \
	X(GETXATTR, getxattr)               \
	X(SETXATTR, setxattr)               \
	X(LISTXATTR, listxattr)             \
	X(REMOVEXATTR, removexattr)         \
	X(FALLOCATE, fallocate)             \
	X(LSEEK, lseek)                     \
	X(COPY_FILE_RANGE, copy_file_range) \
	X(IOCTL, ioctl)

enum fs_op {
#define X(id, name) FS_OP_##id,
	FS_OPS(X)
#undef X
	FS_OP_COUNT,
};

typedef atomic_uint_fast64_t counter;

struct stats {
	counter ops[FS_OP_COUNT];
	counter errors[FS_OP_COUNT];
	counter read_bytes, written_bytes;
	counter slow; /* requests that had to wait for the store */
	counter interrupted; /* given up by their callers */
	counter notifications;
	counter expired; /* names the kernel was asked to let go of */
};

static inline void counter_add(counter *c, uint64_t n)
{
	atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static inline uint64_t counter_get(const counter *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

/* All numbers of the mount as Prometheus reads them (text format 0.0.4). 0 or -ENOMEM. */
int stats_text(struct fs *fs, struct buf *ret);

/* The same as members of a JSON object: struct service's stats(). */
void stats_json(json_t *into, void *ctx);
