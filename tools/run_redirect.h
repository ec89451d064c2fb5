/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * stdout and stderr of a run, where a shell has redirected them to files of the mount.
 *
 * Threads: the main one.
 */
#pragma once

#include <jansson.h>

/*
 * Opens what a former run's stdout and stderr were, as @start, its record, says, below @root, as
 * ">" does; they become this process's. What it added to (">>") stays as it is, and that is said:
 * the same would be there twice. -errno, said.
 */
int redirect_again(const char *root, const json_t *start);

/* Both as they are now, and back. */
struct redirected {
	int fds[2]; /* owned until they are given back */
};
struct redirected redirect_keep(void);
void redirect_restore(const struct redirected *r);

/* What this process has written to them is the mount's, not the kernel's to keep for a while. */
void redirect_flush(void);
