/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A layer for a backend behind a network: when it does not answer any more, one deadline is enough.
 *
 * After a call that waited in vain, all others fail with -EIO, while a thread asks now and then
 * whether the backend answers again: at once if it has been silent for long, else as soon as a
 * question of their own has failed, which takes no more than a moment. What is cached can be had
 * meanwhile, and nobody waits twice: the kernel, for one, repeats a read-ahead that failed as a
 * read.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "backend/backend.h"

/* Takes @inner. @probe_key: an object that is there, to be asked for; copied. */
int breaker_backend_new(struct backend *inner, const char *probe_key, struct backend **ret);

/* Is what answers the store that it was taken for? 0; -EIO, -ETIME, -ECANCELED (no answer); any
 * other error: it is not, and the sentence is logged. */
typedef int (*breaker_confirm_fn)(struct backend *inner, const struct deadline *dl, void *ctx);

/*
 * The store did not answer when it was opened. It counts as open, and nobody gets through, before
 * @confirm (by the probing thread, until backend_free()) has said that it is the one; while it is
 * not, it is asked again now and then, quietly. At most once. 0 or -errno.
 */
int breaker_open_unconfirmed(struct backend *b, breaker_confirm_fn confirm, void *ctx);

/* Is @b, as breaker_backend_new() made it, believed to answer? */
bool breaker_is_closed(struct backend *b);
