/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Waiting for a command, and standing for it before whoever started us: signals reach it, it can be
 * stopped and continued, and we end as it does.
 *
 * A signal from the terminal has reached the command already; one that was sent to us alone is
 * passed on.
 *
 * Threads: the main one.
 */
#pragma once

#include <signal.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/defs.h"

struct relay;

/* What signals were before they came to us; the command gets them so. */
struct signals {
	sigset_t mask;
	struct sigaction on_child;
	int fd; /* owned: of those that are looked at */
};

/* From here on they do not end this process. Before any thread. 0 or -errno. */
int signals_take(struct signals *ret);

struct ended {
	int status; /* as wait(2) has it */
	int signal; /* that asked us to end while its output was being passed on; 0: none */
	struct rusage usage;
	double seconds;
};

/* Until the command has ended, and what it has written is through. 0 or -errno. */
int wait_for_command(pid_t command, const struct signals *s, struct relay *relay,
		     struct ended *ret);

/* Ends this process as the signal did the command, without a dump. */
_Noreturn void end_by_signal(int signal);
