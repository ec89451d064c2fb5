/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The set of write/known.h.
 */
#include "write/known.h"

#include "base/hash.h"
#include "base/thread.h"
#include "index/index.h"

struct known_id {
	struct hnode node;
	struct oid id;
	struct loc at; /* LOC_NONE: claimed, not placed */
	uint8_t kind;
};

struct reused_pack {
	struct hnode node;
	struct id128 name;
};

int known_init(struct known *k, struct index *index, struct gc_state *gc)
{
	*k = (struct known){ .index = index, .gc = *gc };
	*gc = (struct gc_state){ 0 };
	return -pthread_mutex_init(&k->lock, NULL);
}

static void free_id(struct hnode *n, void *ctx)
{
	free(container_of(n, struct known_id, node));
}

static void free_pack(struct hnode *n, void *ctx)
{
	free(container_of(n, struct reused_pack, node));
}

void known_release(struct known *k)
{
	htab_walk(&k->ids, free_id, NULL);
	htab_walk(&k->reused, free_pack, NULL);
	htab_release(&k->ids);
	htab_release(&k->reused);
	gc_state_release(&k->gc);
	pthread_mutex_destroy(&k->lock);
}

static struct known_id *find(struct known *k, uint8_t kind, const struct oid *id)
{
	htab_for_each (n, &k->ids, oid_hash(id)) {
		struct known_id *x = container_of(n, struct known_id, node);

		if (x->kind == kind && oid_equal(&x->id, id))
			return x;
	}
	return NULL;
}

static int note_reused(struct known *k, const struct id128 *pack)
{
	uint64_t hash = hash_bytes(pack->b, sizeof(pack->b));
	struct reused_pack *p;

	htab_for_each (n, &k->reused, hash)
		if (id128_equal(&container_of(n, struct reused_pack, node)->name, pack))
			return 0;
	p = new0(struct reused_pack, 1);
	if (!p)
		return -ENOMEM;
	p->name = *pack;
	if (htab_insert(&k->reused, &p->node, hash) == 0)
		return 0;
	free(p);
	return -ENOMEM;
}

static bool is_reliable(const struct loc *at, void *ctx)
{
	struct known *k = ctx;

	return !gc_state_condemns(&k->gc, &at->pack) && !index_is_suspect(k->index, &at->pack);
}

int known_claim(struct known *k, uint8_t kind, const struct oid *id, struct loc *ret)
{
	bool is_stored = index_find(k->index, id, is_reliable, k, ret) == 0;
	struct known_id *x;
	int r;

	WITH_LOCK(&k->lock);

	x = find(k, kind, id);
	if (x) {
		*ret = x->at;
		return 0;
	}
	if (is_stored)
		return note_reused(k, &ret->pack);
	x = new0(struct known_id, 1);
	if (!x)
		return -ENOMEM;
	*x = (struct known_id){ .id = *id, .kind = kind, .at = LOC_NOWHERE };
	r = htab_insert(&k->ids, &x->node, oid_hash(id));
	if (r < 0) {
		free(x);
		return r;
	}
	return 1;
}

int known_find(struct known *k, uint8_t kind, const struct oid *id, struct loc *ret)
{
	bool is_stored = index_find(k->index, id, is_reliable, k, ret) == 0;
	struct known_id *x;

	WITH_LOCK(&k->lock);

	x = find(k, kind, id);
	if (x) {
		*ret = x->at;
		return x->at.state != LOC_NONE;
	}
	return is_stored ? note_reused(k, &ret->pack) ?: 1 : 0;
}

void known_place(struct known *k, uint8_t kind, const struct oid *id, const struct loc *at)
{
	struct known_id *x;

	WITH_LOCK(&k->lock);

	x = find(k, kind, id);
	if (x)
		x->at = *at;
}

struct loc known_where(struct known *k, uint8_t kind, const struct oid *id)
{
	struct loc at = LOC_NOWHERE;
	struct known_id *x;

	pthread_mutex_lock(&k->lock);
	x = find(k, kind, id);
	if (x)
		at = x->at;
	pthread_mutex_unlock(&k->lock);
	/* What is not remembered here any more, the index has. */
	if (!x && index_find(k->index, id, is_reliable, k, &at) < 0 &&
	    index_find(k->index, id, NULL, NULL, &at) < 0)
		at = LOC_NOWHERE;
	return at;
}

void known_forget(struct known *k, const struct pack_entry *entries, size_t n)
{
	WITH_LOCK(&k->lock);

	for (size_t i = 0; i < n; i++) {
		struct known_id *x = find(k, entries[i].kind, &entries[i].id);

		if (!x)
			continue;
		htab_remove(&k->ids, &x->node);
		free(x);
	}
}

struct gathering {
	struct id128 *packs;
	size_t count;
};

static void gather(struct hnode *n, void *ctx)
{
	struct gathering *g = ctx;

	g->packs[g->count++] = container_of(n, struct reused_pack, node)->name;
}

int known_reused(struct known *k, struct id128 **ret, size_t *ret_count)
{
	struct gathering g = { 0 };

	WITH_LOCK(&k->lock);

	g.packs = new0(struct id128, k->reused.count + 1);
	if (!g.packs)
		return -ENOMEM;
	htab_walk(&k->reused, gather, &g);
	*ret = g.packs;
	*ret_count = g.count;
	return 0;
}
