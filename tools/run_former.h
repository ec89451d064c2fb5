/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A former run as its record has it, to be run again.
 *
 * Threads: the main one.
 */
#pragma once

#include "client.h"
#include "run_request.h"

struct former {
	json_t *line; /* owned: an answer of run-show */
	const json_t *row, *start, *end; /* in it */
	const char *id; /* likewise */
	char **argv; /* owned, as each of them; ended by NULL */
};
void former_release(struct former *f);
#define _cleanup_former_ _cleanup_(former_release)

/* @run as in `pfs runs show`. 0, or -errno, said: there is none, its record cannot be read, or it
 * has not ended. */
int former_load(struct client *c, const char *run, struct former *ret);

/* What it was begun with becomes @ret's, which borrows from it. 0 or -ENOMEM. */
int former_options(const struct former *f, struct run_options *ret);

/*
 * This process goes to where it was, and its chosen variables are what they were then. @is_now:
 * also a directory in the mount must be there; else it need not, since the run's view has it. 0 or
 * -errno, said.
 */
int former_surround(const struct former *f, const char *mount, bool is_now);

/*
 * A parameter of it, "K=V", becomes another: in its arguments, among what --param said, or as one
 * more of these. 0; -EINVAL, said: it cannot, since it came from elsewhere.
 */
int former_replace(struct former *f, struct run_options *o, const char *param);
