/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a mount is told of a run that has ended (RUNS.md, section 6): parameters from configuration
 * files and from the run itself, its metrics, its output.
 *
 * Threads: the main one.
 */
#pragma once

#include <jansson.h>

#include "client.h"
#include "run_wait.h"

struct relay;

struct run_place {
	const char *id; /* borrowed, as all here */
	const char *dir, *root; /* the run's directory, and its view's */
	bool has_view; /* the command saw nothing but the view of the mount */
};

/* "run-end", or NULL: no memory. @relay NULL: nothing is known of its output. */
json_t *run_report(struct client *c, const struct run_place *p, const struct ended *ended,
		   struct relay *relay);
