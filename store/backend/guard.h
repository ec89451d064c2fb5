/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A layer over a server whose conditions are not known to be kept, or known not to be.
 *
 * Unproved: the first swap() is preceded by backend_check_conditions(), three small requests; where
 * a condition is not kept, that swap and all later ones are -EOPNOTSUPP.
 *
 * Single writer: swap() also compares by itself, and goes without conditions where the server will
 * not have them. This cannot keep two writers apart, only notice them: when an object that this
 * process wrote or saw is found to be somebody else's, every write is -EROFS from then on; reading
 * goes on.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "backend/backend.h"

struct guard_options {
	bool single_writer;
	/* For the check: an object that is there and never changes; borrowed, for ever. */
	const char *key;
	size_t key_max; /* bytes of it, at most */
	/* The check was passed; from the thread that swaps. NULL: nobody wants to know. */
	void (*proved)(void *ctx);
	void *ctx;
};

/* Takes @inner when it returns 0. 0 or -ENOMEM. */
int guard_backend_new(struct backend *inner, const struct guard_options *o, struct backend **ret);
