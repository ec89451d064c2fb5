/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The set of layerset.h: a sorted array.
 */
#include "state/layerset.h"

enum {
	ROOM_FIRST = 16
};

void layerset_release(struct layerset *s)
{
	free(s->layers);
	*s = (struct layerset){ 0 };
}

int layerset_reserve(struct layerset *s, size_t more)
{
	size_t room = MAX(s->room, (size_t)ROOM_FIRST);
	uint32_t *p;

	if (s->room - s->count >= more)
		return 0;
	while (room - s->count < more)
		room *= 2;
	p = reallocarray(s->layers, room, sizeof(*p));
	if (!p)
		return -ENOMEM;
	s->layers = p;
	s->room = room;
	return 0;
}

int layerset_add(struct layerset *s, uint32_t layer)
{
	size_t i = layerset_find(s, layer);

	if (i < s->count && s->layers[i] == layer)
		return 0;
	if (layerset_reserve(s, 1) < 0)
		return -ENOMEM;
	memmove(&s->layers[i + 1], &s->layers[i], (s->count - i) * sizeof(s->layers[0]));
	s->layers[i] = layer;
	s->count++;
	return 0;
}

void layerset_remove(struct layerset *s, uint32_t layer)
{
	size_t i = layerset_find(s, layer);

	if (i == s->count || s->layers[i] != layer)
		return;
	s->count--;
	memmove(&s->layers[i], &s->layers[i + 1], (s->count - i) * sizeof(s->layers[0]));
}
