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
	uint64_t bytes;
	uint32_t items; /* at most */
	unsigned count;
	struct load *loads[]; /* references */
};

static void put_all(struct spill *s)
{
	_cleanup_free_ struct cache_item *items = new0(struct cache_item, s->items + 1);
	size_t n = 0;

	for (unsigned i = 0; items && i < s->count; i++) {
		for (uint32_t j = 0; j < s->loads[i]->count; j++) {
			const struct load_item *item = &s->loads[i]->items[j];

			if (item->node || item->blob)
				items[n++] =
					(struct cache_item){ item->kind, &item->id, item->bytes };
		}
	}
	if (n > 0)
		cache_put_all(s->reader->options.cache, items, n);
}

static void spill(struct job *j)
{
	struct spill *s = container_of(j, struct spill, job);
	struct reader *r = s->reader;

	if (!r->is_ending)
		put_all(s);
	for (unsigned i = 0; i < s->count; i++)
		load_unref(s->loads[i]);
	pthread_mutex_lock(&r->lock);
	r->spilling -= s->bytes;
	pthread_mutex_unlock(&r->lock);
	free(s);
}

static bool take_room(struct reader *r, uint64_t bytes)
{
	WITH_LOCK(&r->lock);

	if (r->spilling > 0 && r->spilling + bytes > SPILLING_MAX)
		return false;
	r->spilling += bytes;
	return true;
}

void reader_spill(struct reader *r, struct load *const *l, unsigned n)
{
	struct spill *s;

	if (!r->options.cache)
		return;
	s = calloc(1, sizeof(*s) + n * sizeof(s->loads[0]));
	if (!s)
		return;
	s->job.run = spill;
	s->reader = r;
	for (unsigned i = 0; i < n; i++) {
		if (!l[i])
			continue;
		s->loads[s->count++] = l[i];
		s->items += l[i]->count;
		for (uint32_t k = 0; k < l[i]->count; k++)
			s->bytes += l[i]->items[k].bytes.len;
	}
	if (!take_room(r, s->bytes)) {
		free(s);
		return;
	}
	for (unsigned i = 0; i < s->count; i++)
		load_ref(s->loads[i]);
	pool_submit(r->pool, &s->job);
}
