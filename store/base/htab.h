/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A chained hash table whose links lie in the elements; it owns only its buckets and doubles
 * them when they fill. The caller brings the hash (hash_bytes() or hash_u64(), which are seeded
 * per process, where the key comes from outside) and compares keys itself:
 *
 *	htab_for_each(n, &t, hash)
 *		if (key_of(n) == key) ...
 *
 * Not thread-safe: the caller's lock guards the table.
 */
#pragma once

#include "base/defs.h"

struct hnode {
	struct hnode *next;
	uint64_t hash;
};

struct htab {
	struct hnode **buckets;
	size_t mask; /* buckets - 1, 0 before the first insert */
	size_t count;
};

/* 0 or -ENOMEM (first insert only; a table that cannot grow goes on with longer chains). */
int htab_insert(struct htab *t, struct hnode *n, uint64_t hash);

/* Room for @more elements: until they are in, htab_insert() cannot fail. 0 or -ENOMEM. */
int htab_reserve(struct htab *t, size_t more);

/* @n must be in @t. */
void htab_remove(struct htab *t, struct hnode *n);

/* Frees the buckets, not the elements. */
void htab_release(struct htab *t);

/* Forgets the elements and keeps the buckets. */
void htab_clear(struct htab *t);

/* Would htab_reserve() have nothing to do? */
static inline bool htab_has_room(const struct htab *t, size_t more)
{
	return t->buckets && t->count + more <= t->mask + 1;
}

static inline struct hnode *htab_bucket(const struct htab *t, uint64_t hash)
{
	return t->buckets ? t->buckets[hash & t->mask] : NULL;
}

#define htab_for_each(n, t, h)                                        \
	for (struct hnode *n = htab_bucket((t), (h)); n; n = n->next) \
		if (n->hash == (h))

/* Visits every element; @fn may free it when the table is released right after. */
void htab_walk(struct htab *t, void (*fn)(struct hnode *n, void *ctx), void *ctx);
