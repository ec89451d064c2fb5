/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a long transfer shows: a bar on stderr if that is a terminal, and how it is stopped: the
 * first SIGINT or SIGTERM asks it to end tidily, the second one ends the program.
 */
#pragma once

#include "transfer/transfer.h"

struct progress {
	const char *verb; /* "imported" */
	const char *unit; /* what is counted: "files", unless set to something else */
	bool is_shown;
	atomic_bool has_drawn;
	int64_t started_ns;
	atomic_ulong skipped; /* files that could not be taken along */
};

/* Sets @ret up to show and to be stopped. @p is borrowed by it. */
void progress_begin(struct progress *p, const char *verb, bool is_quiet,
		    struct transfer_options *ret);

/* What is waited for is done by a daemon, which ends it when nobody waits: the first signal ends
 * the program. */
void progress_stop_at_once(void);

/* Takes the bar away. */
void progress_end(struct progress *p);
