/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The beginning and the end of a stream of bytes, and how long it was.
 *
 * Threads: the caller's.
 */
#pragma once

#include <jansson.h>

#include "base/buf.h"

enum {
	CAPTURE_MAX = 64 << 10, /* bytes, of each end */
};

struct capture {
	uint64_t bytes; /* in all */
	uint8_t head[CAPTURE_MAX];
	uint8_t tail[CAPTURE_MAX]; /* a ring of what came behind the head */
};

void capture_add(struct capture *c, const uint8_t *data, size_t len);
/* Behind a whole head: @n bytes that are not known; CAPTURE_MAX more must come. */
void capture_skip(struct capture *c, uint64_t n);

/* {"bytes", "head", "tail"}: up to @max bytes of each end, which never overlap, cut between
 * characters where they are UTF-8. NULL without memory. */
json_t *capture_json(const struct capture *c, size_t max);
