/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What came with a small frame that was asked for: the other whole frames in the same stretch of
 * the pack are taken apart too, in the background, and go to memory and disk. Small files that are
 * read in any order at all are fetched about once so, rather than with each of their neighbours.
 *
 * Where frames begin is not known but for the one that was wanted; each says what it is in its
 * header, which has a checksum, and the next one follows it.
 *
 * They are flights like any other's: what somebody is at already is left to him.
 */
#include "object/cache.h"
#include "object/reader_parts.h"

enum {
	FRAMES_MAX = 64, /* of a stretch; more than there are mostly */
};

#define WAITING_MAX (8 * MiB)

struct arrival {
	struct job job;
	struct reader *reader; /* borrowed */
	struct id128 pack;
	uint64_t off; /* of the bytes, in the pack */
	uint8_t *bytes; /* owned */
	size_t len;
};

/* The next whole frame at or behind *@at, which moves behind it. */
static bool next_frame(const struct arrival *a, size_t *at, struct span *ret)
{
	for (;;) {
		const uint8_t *p =
			memmem(a->bytes + *at, a->len - *at, FRAME_MAGIC, strlen(FRAME_MAGIC));
		struct frame f;
		size_t need;

		if (!p)
			return false;
		*at = (size_t)(p - a->bytes);
		if (frame_header_read(span_of(p, a->len - *at), &f, &need) < 0) {
			*at += 1;
			continue;
		}
		if (frame_len(&f) > a->len - *at)
			return false;
		*ret = span_of(p, frame_len(&f));
		*at += frame_len(&f);
		return true;
	}
}

static bool is_in_memory(struct reader *r, const struct frame_item *item)
{
	_cleanup_(blob_unrefp) struct blob *b = NULL;
	struct node *n = NULL;

	if (item->kind == OID_NODE)
		n = memory_node(r->memory, &item->id);
	else
		b = memory_chunk(r->memory, &item->id);
	if (n)
		node_unref(n);
	return b || n;
}

/* Is it new? Frames come and go as a whole, so that its first item tells. */
static bool is_wanted(struct reader *r, struct span frame)
{
	struct frame_item first;
	struct frame f;
	uint32_t len;
	size_t need;

	if (frame_header_read(frame, &f, &need) < 0)
		return false;
	frame_item(&f, 0, &first, NULL);
	return !is_in_memory(r, &first) &&
	       cache_len(r->options.cache, first.kind, &first.id, &len) == -ENOENT;
}

static struct load *take(const struct arrival *a, struct span frame)
{
	struct reader *r = a->reader;
	struct loc at = {
		.state = LOC_AT,
		.pack = a->pack,
		.offset = (uint32_t)(a->off + (size_t)(frame.data - a->bytes)),
	};
	struct load *l = NULL;
	struct flight *f;
	int e;

	pthread_mutex_lock(&r->lock);
	f = flight_begin(r, &at);
	pthread_mutex_unlock(&r->lock);
	if (!f)
		return NULL;
	e = loader_unpack(r->loader, frame, &l);
	/* One that waits looks for himself then: it may have been the reply that was damaged. */
	flight_end(r, f, e < 0 ? -ETIME : 0, l);
	return l;
}

static void take_in(struct job *j)
{
	struct arrival *a = container_of(j, struct arrival, job);
	struct load *loads[FRAMES_MAX];
	struct reader *r = a->reader;
	struct span frame;
	unsigned n = 0;
	size_t at = 0;

	while (n < FRAMES_MAX && !r->is_ending && next_frame(a, &at, &frame)) {
		loads[n] = is_wanted(r, frame) ? take(a, frame) : NULL;
		n += loads[n] != NULL;
	}
	if (n > 0)
		reader_spill(r, loads, n);
	for (unsigned i = 0; i < n; i++)
		load_unref(loads[i]);
	pthread_mutex_lock(&r->lock);
	r->arriving -= a->len;
	pthread_mutex_unlock(&r->lock);
	free(a->bytes);
	free(a);
}

static bool take_room(struct reader *r, size_t len)
{
	WITH_LOCK(&r->lock);

	if (r->arriving + len > WAITING_MAX)
		return false;
	r->arriving += len;
	return true;
}

void reader_arrived(const struct id128 *pack, uint64_t off, uint8_t *bytes, size_t len, void *ctx)
{
	struct reader *r = ctx;
	struct arrival *a = NULL;

	if (!r->options.backend->is_local && r->options.cache && len > 0)
		a = new0(struct arrival, 1);
	if (!a || !take_room(r, len)) {
		free(bytes);
		free(a);
		return;
	}
	*a = (struct arrival){
		.job.run = take_in,
		.reader = r,
		.pack = *pack,
		.off = off,
		.bytes = bytes,
		.len = len,
	};
	pool_submit(r->pool, &a->job);
}
