/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files of our own: whole reads and writes, and writes that survive power loss.
 */
#pragma once

#include <sys/types.h>

#include "base/buf.h"
#include "base/defs.h"

static inline void closep(int *fd)
{
	extern int close(int);

	if (*fd >= 0) {
		int saved = errno;

		close(*fd);
		errno = saved;
	}
}
#define _cleanup_close_ _cleanup_(closep)

/* All @len bytes; 0, -errno, -ENODATA at an early end of file. */
int pread_all(int fd, void *buf, size_t len, uint64_t off);

/* Up to @len bytes, fewer only at the end of file: the count or -errno. */
ssize_t pread_upto(int fd, void *buf, size_t len, uint64_t off);

/* All @len bytes; 0 or -errno. */
int pwrite_all(int fd, const void *buf, size_t len, uint64_t off);
int write_all(int fd, const void *buf, size_t len);

/* The whole file @name below @dirfd, at most @max bytes: 0, -ENOENT, -EFBIG, -errno. */
int read_file(int dirfd, const char *name, size_t max, struct buf *ret);

/* Makes or replaces @name so that after power loss it is the old or the new one, whole. The
 * temporary name is "@name.tmp". */
int write_file_atomic(int dirfd, const char *name, struct span data, mode_t mode);

/* fsync and fdatasync that go on after a signal; of the directory @path below @dirfd ("." for
 * itself). */
int fsync_fd(int fd);
int fdatasync_fd(int fd);
int fsync_dir(int dirfd, const char *path);

/* As realpath(3), but what it leads to need not be there, or may be a mount whose daemon has died:
 * then the directory that it is in must be. malloc'ed, or NULL and errno. */
char *path_of_place(const char *path);

/* mkdir -p; the last part gets @mode. 0 or -errno. */
int mkdir_parents(const char *path, mode_t mode);

/* rm -rf of @name below @dirfd, on one filesystem; 0 or the first -errno. */
int remove_tree(int dirfd, const char *name);

/* This boot's id (/proc/sys/kernel/random/boot_id), null where there is none. */
struct id128 boot_id(void);
