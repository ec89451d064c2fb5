/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The heap of base/heap.h: items[i] is not behind items[2i + 1] and items[2i + 2].
 */
#include "base/heap.h"

enum {
	FIRST_CAP = 16,
};

int heap_push(struct heap *h, void *item)
{
	size_t i = h->count;

	if (h->count == h->cap) {
		size_t cap = MAX(2 * h->cap, (size_t)FIRST_CAP);
		void **items = reallocarray(h->items, cap, sizeof(*items));

		if (!items)
			return -ENOMEM;
		h->items = items;
		h->cap = cap;
	}
	h->count++;
	for (; i > 0 && h->is_before(item, h->items[(i - 1) / 2]); i = (i - 1) / 2)
		h->items[i] = h->items[(i - 1) / 2];
	h->items[i] = item;
	return 0;
}

void *heap_pop(struct heap *h)
{
	void *first, *last;
	size_t i = 0, child;

	if (h->count == 0)
		return NULL;
	first = h->items[0];
	last = h->items[--h->count];
	while ((child = 2 * i + 1) < h->count) {
		if (child + 1 < h->count && h->is_before(h->items[child + 1], h->items[child]))
			child++;
		if (!h->is_before(h->items[child], last))
			break;
		h->items[i] = h->items[child];
		i = child;
	}
	if (h->count > 0)
		h->items[i] = last;
	return first;
}

void heap_release(struct heap *h)
{
	free(h->items);
	h->items = NULL;
	h->count = h->cap = 0;
}
