/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A directory of a test's own, gone when the test is.
 */
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "check.h"

struct scratch {
	char path[64];
	int fd;
};

static inline struct scratch scratch_make(void)
{
	struct scratch s = { .path = "/tmp/pfs-test-XXXXXX" };

	assert_non_null(mkdtemp(s.path));
	s.fd = open(s.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(s.fd >= 0);
	return s;
}

static inline void scratch_remove(struct scratch *s)
{
	close(s->fd);
	assert_ok(remove_tree(AT_FDCWD, s->path));
}

/* A directory below it, made if need be. */
static inline _unused_ int scratch_dir(const struct scratch *s, const char *name)
{
	int fd;

	mkdirat(s->fd, name, 0700);
	fd = openat(s->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}
