/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the garbage collector is doing, which every writer heeds (FORMAT.md, section 11), as bytes.
 */
#pragma once

#include "base/buf.h"
#include "base/random.h"

enum gc_phase {
	GC_IDLE = 0,
	GC_SWEEPING = 1,
};

struct gc_state {
	uint64_t epoch;
	uint8_t phase; /* enum gc_phase */
	uint32_t condemned_count;
	struct id128 *condemned; /* owned; ascending */
};

void gc_state_release(struct gc_state *g);
#define _cleanup_gc_state_ _cleanup_(gc_state_release)

bool gc_state_condemns(const struct gc_state *g, const struct id128 *pack);

/* In place of what @ret held. 0, -EINVAL (a limit or the order broken), -ENOMEM. */
int gc_state_write(const struct gc_state *g, struct buf *ret);

/* 0, -EBADMSG, -ENOTSUP (newer), -ENOMEM. */
int gc_state_read(struct span object, struct gc_state *ret);
