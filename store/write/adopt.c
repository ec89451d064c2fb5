/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is about to be stored in a bucket goes into the disk cache of this machine too: it is at
 * hand, its id was just computed from it, and it is likely to be read here again. A store on this
 * machine would only have it twice on one disk.
 *
 * Whether the commit succeeds does not matter: bytes are what their id says in any case.
 */
#include "object/cache.h"
#include "write/packer_parts.h"

enum {
	ADOPTED_SHARE = 4, /* of the cache, that one commit may take: the rest is what was read */
};

/* Nor more than this: what is so large is seldom read back at once, and somebody waits for its
 * upload. */
#define ADOPTED_MAX (256 * MiB)

void packer_adopt(struct packer *p, const struct frame_item *items, uint16_t n, const uint8_t *raw)
{
	struct cache *c = p->store->cache;
	_cleanup_free_ struct cache_item *all = NULL;
	uint64_t len = 0, max;

	if (!c || p->store->backend->is_local || n == 0)
		return;
	all = new0(struct cache_item, n);
	if (!all)
		return;
	for (uint16_t i = 0; i < n; i++) {
		all[i] = (struct cache_item){ items[i].kind, &items[i].id,
					      span_of(raw + len, items[i].len) };
		len += items[i].len;
	}
	max = MIN(cache_budget(c) / ADOPTED_SHARE, ADOPTED_MAX);
	if (atomic_fetch_add(&p->adopted, len) + len <= max)
		cache_put_all(c, all, n);
}
