/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the store learns of the index: segments made of the packs in its table, and mergers of
 * segments.
 *
 * A segment is made in memory, so what goes into one is bounded; when more waits, there are more
 * segments.
 */
#include "format/key.h"
#include "index/parts.h"

enum {
	PACKS_ENOUGH = 64,
	MERGE_FANIN = 16,
	FETCH_EVERY_S = 600,
};

#define SEGMENT_IDS_ENOUGH (1u << 20) /* 48 MiB */
#define MERGE_MAX	   (128 * MiB)

/* Packs that wait. */
struct waiting {
	struct index *index;
	struct segment_footer *footers;
	struct buf *bytes; /* what they borrow */
	size_t n, packs; /* taken; in all */
	uint64_t ids, ids_taken;
};

static void waiting_release(struct waiting *w)
{
	for (size_t i = 0; i < w->n; i++)
		buf_release(&w->bytes[i]);
	free(w->bytes);
	free(w->footers);
}

static int count_pack(const struct id128 *pack, uint32_t count, void *ctx)
{
	struct waiting *w = ctx;

	w->packs++;
	w->ids += count;
	return 0;
}

/* Takes one, if there is room in the segment. */
static int take_pack(const struct id128 *pack, uint32_t count, void *ctx)
{
	struct waiting *w = ctx;
	int r;

	if (w->n == w->packs || (w->n > 0 && w->ids_taken + count > SEGMENT_IDS_ENOUGH))
		return 1;
	r = packs_footer(w->index, pack, &w->bytes[w->n]);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	w->footers[w->n] = (struct segment_footer){
		.pack = *pack,
		.entries = buf_span(&w->bytes[w->n]),
		.count = count,
	};
	w->n++;
	w->ids_taken += count;
	return 0;
}

/* Stores a segment and takes it in. */
static int publish_bytes(struct index *x, struct backend *b, uint32_t tier, struct span bytes,
			 const struct deadline *dl)
{
	struct segment_id id = { .tier = tier, .name = id128_random() };
	int r;

	r = b->ops->put(b, segment_key(&id).s, bytes, dl);
	return r < 0 ? r : segments_add(x->segments, &id, bytes);
}

/* One segment of what waits. 1: done, and perhaps there is more; 0: nothing to do. */
static int publish_packs(struct index *x, struct backend *b, bool force, const struct deadline *dl)
{
	_cleanup_(waiting_release) struct waiting w = { .index = x };
	_cleanup_buf_ struct buf out = { 0 };
	int r;

	r = packs_walk(x, count_pack, &w);
	if (r < 0)
		return r;
	if (w.packs == 0 || (!force && w.packs < PACKS_ENOUGH && w.ids < SEGMENT_IDS_ENOUGH))
		return 0;
	w.packs = MIN(w.packs, (size_t)SEGMENT_PACKS_MAX);
	w.footers = new0(struct segment_footer, w.packs);
	w.bytes = new0(struct buf, w.packs);
	if (!w.footers || !w.bytes)
		return -ENOMEM;
	r = packs_walk(x, take_pack, &w);
	if (r < 0)
		return r;
	if (w.n == 0)
		return 0;
	r = segment_of_footers(w.footers, w.n, &out);
	if (r == 0)
		r = publish_bytes(x, b, 0, buf_span(&out), dl);
	if (r < 0)
		return r;
	r = index_drop_covered(x);
	if (r < 0)
		return r;
	/* Without a budget for a single segment there would be no end. */
	return segments_cover(x->segments, &w.footers[0].pack);
}

static int merge_segments(struct index *x, struct backend *b, const struct deadline *dl)
{
	struct segment_id ids[MERGE_FANIN];
	_cleanup_buf_ struct buf out = { 0 };
	int r;

	if (segments_crowd(x->segments, MERGE_FANIN, MERGE_MAX, ids) == 0)
		return 0;
	r = segments_merge(x->segments, ids, MERGE_FANIN, &out);
	if (r == 0)
		r = publish_bytes(x, b, ids[0].tier + 1, buf_span(&out), dl);
	return r < 0 ? r : 1;
}

/* Is it time to ask the store what segments there are? Few commits are worth it; but what others
 * have published saves storing it again, so now and then. */
static bool is_time(struct index *x, bool force)
{
	uint64_t packs, ids;

	packs_count(x, &packs, &ids);
	return force || x->fetched_at == 0 ||
	       now_ns() - x->fetched_at > FETCH_EVERY_S * 1000000000ll || packs >= PACKS_ENOUGH ||
	       ids >= SEGMENT_IDS_ENOUGH;
}

static int publish(struct index *x, struct backend *b, bool force, const struct deadline *dl)
{
	int r;

	if (!is_time(x, force))
		return 0;
	/* What others have published need not be published again. */
	r = segments_fetch(x->segments, b, dl);
	if (r < 0)
		return r;
	x->fetched_at = now_ns();
	r = index_drop_covered(x);
	if (r < 0)
		return r;
	while ((r = publish_packs(x, b, force, dl)) > 0)
		;
	while (r == 0 && (r = merge_segments(x, b, dl)) > 0)
		r = 0;
	return r;
}

int index_publish(struct index *x, struct backend *b, bool force, const struct deadline *dl)
{
	int r;

	pthread_mutex_lock(&x->refresh_lock);
	r = index_enter(x, dl);
	pthread_mutex_unlock(&x->refresh_lock);
	if (r < 0)
		return r;
	r = publish(x, b, force, dl);
	pthread_mutex_lock(&x->refresh_lock);
	index_leave(x);
	pthread_mutex_unlock(&x->refresh_lock);
	return r;
}
