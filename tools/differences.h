/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The answers of `diff`, shown as they come.
 */
#pragma once

#include <stdio.h>

#include "client.h"

struct differences_view {
	bool json, stat;
	const json_t *commit; /* with json: told beside the changes; borrowed; NULL: none */
};

/* Asks @request (of the verb diff; taken) and shows the answer. An exit code. */
int differences_show(const struct differences_view *v, struct client *c, json_t *request);
