/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Asks (service/service.h): the daemon of a mount through its control file, or a store that is
 * opened here.
 *
 * A command has one client. What goes wrong is said here, in the sentence that the answer has.
 */
#pragma once

#include <jansson.h>

#include "target.h"

struct client;
struct store;

enum client_use {
	CLIENT_READS,
	CLIENT_CHANGES,
};

/* 0 or -errno, said. */
int client_open(const struct target *t, enum client_use use, struct client **ret);
void client_free(struct client *c);
DEFINE_CLEANUP(struct client *, client_free)
#define _cleanup_client_ _cleanup_(client_freep)

/* From here on all requests go to a mount in one conversation, which lasts as long as the client;
 * exec closes it. Before the first request. */
void client_converse(struct client *c);

/* Gets each line of an answer but the last; borrowed. A result other than 0 ends the request and is
 * client_ask()'s. */
typedef int (*client_line_fn)(json_t *line, void *ctx);

/* Asks @request (taken; NULL: no memory) and gives the answer's lines to @fn. 0, or -errno, said.
 */
int client_ask(struct client *c, json_t *request, client_line_fn fn, void *ctx);

/* The same for an answer of one line (NULL: none), which becomes the caller's. */
int client_ask_one(struct client *c, json_t *request, json_t **ret);

/* The store that was opened here, NULL when a mount is asked; borrowed. */
struct store *client_store(struct client *c);

/* {"verb": @verb}, and a path of @t under @field. */
json_t *request_new(const char *verb);
void request_path(json_t *request, const char *field, const struct target *t);
