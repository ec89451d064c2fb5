/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Memory into which a stretch of a pack is received, and in which what lies there may stay. Large
 * ones are used again: to have fresh pages for them from the kernel costs more than to read a pack.
 *
 * Threads: all functions from any thread, but for one stretch.
 */
#pragma once

#include "base/defs.h"

enum {
	/* Bytes: what is used again has this size. Two make up a pack of 16 MiB with room for what
	 * the first of them cannot end with. */
	STRETCH_LARGE = 9 << 20,
};

struct stretches;

struct stretch {
	uint8_t *data; /* owned */
	size_t size; /* at least what was asked for; what it costs */
	struct stretches *home; /* borrowed: gets the memory back; NULL: it is malloc'ed */
};

int stretches_new(struct stretches **ret);
void stretches_free(struct stretches *s); /* all are back */
DEFINE_CLEANUP(struct stretches *, stretches_free)

/* @len bytes, not zeroed. 0 or -ENOMEM. */
int stretch_get(struct stretches *s, size_t len, struct stretch *ret);
void stretch_release(struct stretch *s);
#define _cleanup_stretch_ _cleanup_(stretch_release)
