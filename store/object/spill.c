/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What was fetched goes to the disk as well, in the background: nobody waits for it, and when there
 * is too much of it some is left out.
 */
#include "object/cache.h"
#include "object/reader_parts.h"

#define SPILLING_MAX (16 * MiB)

struct spill {
	struct job job;
	struct reader *reader;
	struct load *load; /* a reference */
	uint64_t bytes;
};

static void spill(struct job *j)
{
	struct spill *s = container_of(j, struct spill, job);
	struct reader *r = s->reader;
	_cleanup_free_ struct cache_item *items = new0(struct cache_item, s->load->count);
	size_t n = 0;

	for (uint32_t i = 0; items && i < s->load->count; i++) {
		const struct load_item *item = &s->load->items[i];

		if (item->node || item->blob)
			items[n++] = (struct cache_item){ item->kind, &item->id, item->bytes };
	}
	if (n > 0 && !r->is_ending)
		cache_put_all(r->options.cache, items, n);
	load_unref(s->load);
	pthread_mutex_lock(&r->lock);
	r->spilling -= s->bytes;
	pthread_mutex_unlock(&r->lock);
	free(s);
}

void reader_spill(struct reader *r, struct load *l)
{
	struct spill *s;
	uint64_t bytes = 0;
	bool is_room;

	if (!r->options.cache)
		return;
	for (uint32_t i = 0; i < l->count; i++)
		bytes += l->items[i].bytes.len;
	pthread_mutex_lock(&r->lock);
	is_room = r->spilling == 0 || r->spilling + bytes <= SPILLING_MAX;
	if (is_room)
		r->spilling += bytes;
	pthread_mutex_unlock(&r->lock);
	if (!is_room)
		return;
	s = new0(struct spill, 1);
	if (!s) {
		pthread_mutex_lock(&r->lock);
		r->spilling -= bytes;
		pthread_mutex_unlock(&r->lock);
		return;
	}
	s->job.run = spill;
	s->reader = r;
	s->load = load_ref(l);
	s->bytes = bytes;
	pool_submit(r->pool, &s->job);
}
