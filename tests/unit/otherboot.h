/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Makes boot_id() read a number of the test's choosing. Include in one file of a program: it
 * defines openat() for all of it.
 */
#pragma once

#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"

/* What is done with all other names. */
#ifndef OTHERBOOT_OPENAT
#define OTHERBOOT_OPENAT(dirfd, path, flags, mode) \
	(int)syscall(SYS_openat, dirfd, path, flags, mode)
#endif

static unsigned boot_number = 1;

/* What the kernel would say after the next start of the machine. */
static inline _unused_ void boot_again(void)
{
	boot_number++;
}

static int boot_id_file(void)
{
	int fd = (int)syscall(SYS_memfd_create, "boot_id", 0);
	char text[64];
	int n = snprintf(text, sizeof(text), "%08x-0000-4000-8000-000000000000\n", boot_number);

	if (fd < 0 || write(fd, text, (size_t)n) != n)
		abort();
	lseek(fd, 0, SEEK_SET);
	return fd;
}

int openat(int dirfd, const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	if (strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
		return boot_id_file();
	if (flags & (O_CREAT | __O_TMPFILE)) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	return OTHERBOOT_OPENAT(dirfd, path, flags, mode);
}
