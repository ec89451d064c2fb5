/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a new commit is to carry, as the options -m, -n, --meta and --author of several commands
 * say.
 */
#pragma once

#include <jansson.h>

#include "cli.h"

struct message {
	const char *text, *name, *author; /* borrowed; NULL: not said */
	json_t *meta; /* owned; {key: value}, or NULL */
};

void message_release(struct message *m);
#define _cleanup_message_ _cleanup_(message_release)

/* An option of cli_option()'s with its argument; one that is wrong ends the program. */
void message_option(struct message *m, const struct command *c, int option, const char *arg);

/* The fields of a request. */
void message_put(const struct message *m, json_t *request);
