/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A command in a view: a process whose mount namespace has the view where the mount is, so that
 * every path is what it was.
 *
 * Where a namespace is not allowed, $PFS_ROOT says where the view is, and a warning that this is
 * so.
 *
 * Threads: the main one; no other may have been started.
 */
#pragma once

#include <signal.h>
#include <sys/types.h>

#include "base/defs.h"

struct relay;

enum {
	EXIT_PFS_FAILED = 125,
	EXIT_NOT_EXECUTABLE = 126,
	EXIT_NOT_FOUND = 127,
};

struct child_options {
	const char *mount; /* where the mount is; borrowed, as all here */
	const char *view; /* the view's root, below it */
	/* Where the mount was for a former run, whose arguments may name it: the view is to be seen
	 * there as well, where nothing else is; NULL: nowhere. */
	const char *place;
	const char *cwd; /* where it starts, seen through the view; NULL: where this process is */
	char *const *argv; /* ended by NULL */
	struct relay *relay;
	const sigset_t *mask; /* the command's */
	const struct sigaction *on_child; /* its SIGCHLD */
};

/* 0 with the process, which has begun the command; else the exit code for what prevented that,
 * said. *@ret_has_view: it has a namespace where the view is in the mount's place. */
int run_child(const struct child_options *o, pid_t *ret, bool *ret_has_view);
