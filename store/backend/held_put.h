/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A put in pieces that is kept in memory, for backends that store objects with one call.
 *
 * Threads: a put is its owner's.
 */
#pragma once

#include "backend/backend.h"

struct held_put {
	struct backend_put p; /* first */
	char *key; /* owned, as the next */
	struct buf data;
};

/* For who has one within something larger: 0, -EINVAL (no valid key) or -ENOMEM; it is to be
 * released in either case. @h is zeroed before. */
int held_put_init(struct held_put *h, struct backend *b, const char *key);
void held_put_release(struct held_put *h);

/* Slots of a backend. put_end() is its own, and ends with the abort. */
int held_put_begin(struct backend *b, const char *key, struct backend_put **ret);
int held_put_write(struct backend_put *put, struct span data, const struct deadline *dl);
void held_put_abort(struct backend_put *put);
