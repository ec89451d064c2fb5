/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The hash table of htab.h.
 */
#include "base/htab.h"

enum {
	BUCKETS_FIRST = 16
};

static void grow(struct htab *t, size_t n)
{
	struct hnode **fresh = new0(struct hnode *, n);

	if (!fresh)
		return;
	for (size_t i = 0; t->buckets && i <= t->mask; i++) {
		struct hnode *next;

		for (struct hnode *e = t->buckets[i]; e; e = next) {
			next = e->next;
			e->next = fresh[e->hash & (n - 1)];
			fresh[e->hash & (n - 1)] = e;
		}
	}
	free(t->buckets);
	t->buckets = fresh;
	t->mask = n - 1;
}

int htab_insert(struct htab *t, struct hnode *n, uint64_t hash)
{
	if (!t->buckets)
		grow(t, BUCKETS_FIRST);
	else if (t->count > t->mask)
		grow(t, (t->mask + 1) * 2);
	if (!t->buckets)
		return -ENOMEM;

	n->hash = hash;
	n->next = t->buckets[hash & t->mask];
	t->buckets[hash & t->mask] = n;
	t->count++;
	return 0;
}

int htab_reserve(struct htab *t, size_t more)
{
	size_t n = t->buckets ? t->mask + 1 : BUCKETS_FIRST;

	if (htab_has_room(t, more))
		return 0;
	while (n < t->count + more)
		n *= 2;
	grow(t, n);
	return htab_has_room(t, more) ? 0 : -ENOMEM;
}

void htab_remove(struct htab *t, struct hnode *n)
{
	struct hnode **p = &t->buckets[n->hash & t->mask];

	while (*p != n)
		p = &(*p)->next;
	*p = n->next;
	n->next = NULL;
	t->count--;
}

void htab_release(struct htab *t)
{
	free(t->buckets);
	*t = (struct htab){ 0 };
}

void htab_clear(struct htab *t)
{
	if (t->buckets)
		memset(t->buckets, 0, (t->mask + 1) * sizeof(t->buckets[0]));
	t->count = 0;
}

void htab_walk(struct htab *t, void (*fn)(struct hnode *n, void *ctx), void *ctx)
{
	for (size_t i = 0; t->buckets && i <= t->mask; i++) {
		struct hnode *next;

		for (struct hnode *e = t->buckets[i]; e; e = next) {
			next = e->next;
			fn(e, ctx);
		}
	}
}
