/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A set of layer numbers: a handful, looked at with every look-up in the table.
 */
#pragma once

#include "base/defs.h"

struct layerset {
	uint32_t *layers; /* ascending; owned */
	size_t count, room;
};

void layerset_release(struct layerset *s);

/* Room for @more: adding up to so many cannot fail. 0 or -ENOMEM. */
int layerset_reserve(struct layerset *s, size_t more);

/* Does nothing when it is in (add), or is not (remove). add: 0 or -ENOMEM. */
int layerset_add(struct layerset *s, uint32_t layer);
void layerset_remove(struct layerset *s, uint32_t layer);

/* How many are below @layer: where it is, or would be. */
static inline size_t layerset_find(const struct layerset *s, uint32_t layer)
{
	size_t lo = 0, hi = s->count;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (s->layers[mid] < layer)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static inline bool layerset_has(const struct layerset *s, uint32_t layer)
{
	size_t i = layerset_find(s, layer);

	return i < s->count && s->layers[i] == layer;
}
