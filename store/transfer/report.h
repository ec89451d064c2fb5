/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a transfer tells its caller on the way: how far it is, and what it had to leave out.
 *
 * Threads: report_add() from any; the others from the transfer's own.
 */
#pragma once

#include "transfer/transfer.h"

struct report {
	const struct transfer_options *o; /* borrowed */
	atomic_uint_fast64_t files, bytes; /* done */
	uint64_t files_total, bytes_total; /* 0: not known */
	uint64_t skipped; /* things left out */
	int64_t told_ns;
};

static inline void report_add(struct report *r, uint64_t files, uint64_t bytes)
{
	atomic_fetch_add_explicit(&r->files, files, memory_order_relaxed);
	atomic_fetch_add_explicit(&r->bytes, bytes, memory_order_relaxed);
}

/* Tells the caller of the progress, unless that was just done; with @last in any case. */
void report_tell(struct report *r, bool last);

/* Something is left out. 0: go on; @error, logged, when the caller wants that to be the end. */
int report_skip(struct report *r, const char *path, int error);

static inline bool report_is_cancelled(const struct report *r)
{
	return r->o->cancelled && *r->o->cancelled;
}
