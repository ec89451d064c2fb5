/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * SHA-256 of files outside of pfs, each computed once: what was, is kept in the user's cache.
 *
 * Threads: the caller's.
 */
#pragma once

#include <sys/stat.h>

#include "base/buf.h"

enum {
	DIGEST_HEX = 65, /* digits and a NUL */
};

/* 0 or -ENOMEM. */
int digest_of(struct span bytes, char ret[DIGEST_HEX]);

/* Of a regular file's bytes; 0 or -errno. */
int digest_of_file(const char *path, char ret[DIGEST_HEX]);

/*
 * What was once made from a file: kept under @kind while the file's place, size and times are the
 * same. Whatever goes wrong there is nothing kept.
 */
bool digest_recall(const char *kind, const struct stat *st, struct buf *ret);
void digest_remember(const char *kind, const struct stat *st, struct span value);
