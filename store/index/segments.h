/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The store's index segments, as this machine has them: files of its own, fetched once, checked
 * whole, mapped.
 *
 * When they are more than the budget, those of low tiers, which are the newest, are held; what only
 * the others cover counts as not covered at all.
 *
 * Threads: all functions from any thread; a look-up takes a reference to the set that is current
 * and holds no lock while it searches.
 */
#pragma once

#include "backend/backend.h"
#include "format/segment.h"

struct segments;

/* @dirfd is borrowed. Files are opened at the first use. */
int segments_new(int dirfd, uint64_t budget, struct segments **ret);
void segments_free(struct segments *s);
DEFINE_CLEANUP(struct segments *, segments_free)

/* Newest first; as index_find(). 0 or -ENOENT. */
int segments_find(struct segments *s, const struct oid *id,
		  bool (*fn)(const struct loc *at, void *ctx), void *ctx, struct loc *ret);

bool segments_cover(struct segments *s, const struct id128 *pack);

/* Learns of the segments that the store has, and fetches what is new within the budget. 0 or the
 * backend's first error; what was fetched stays. One at a time. */
int segments_fetch(struct segments *s, struct backend *b, const struct deadline *dl);

/* Takes one in that was just published. Never at the same time as segments_fetch(). */
int segments_add(struct segments *s, const struct segment_id *id, struct span bytes);

/*
 * The names of up to @max segments of one tier that are held, when there are as many; the lowest
 * tier that has them, and whose merger is not over @bytes. Returns @max or 0.
 */
size_t segments_crowd(struct segments *s, size_t max, uint64_t bytes, struct segment_id *ret);

/* Merges segments that are held into @out. 0, -ENOENT (one is not held), -ENOMEM, -EFBIG. */
int segments_merge(struct segments *s, const struct segment_id *ids, size_t n, struct buf *out);

void segments_stats(struct segments *s, uint64_t *ret_count, uint64_t *ret_bytes,
		    uint64_t *ret_ids);
