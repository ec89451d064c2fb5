/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The memory of object/memory.h: a hash table and a list for each of nodes and chunks, and a lock
 * for each that is held for a few pointers' time.
 *
 * A parcel that several loads share is offered once for each of them, and may have been dropped in
 * between. Invariant: a parcel is in its shelf's list, with a reference, if one of its chunks is in
 * the table.
 */
#include "object/memory.h"

#include "base/htab.h"
#include "base/list.h"
#include "base/thread.h"

enum {
	GONE_MAX = 16, /* parcels that are dropped at once */
};

struct placed_node {
	struct hnode hash;
	struct list lru;
	struct node *node; /* a reference */
	size_t cost;
};

struct placed_blob {
	struct blob blob;
	struct hnode hash;
	bool is_placed; /* guarded by the chunks' lock */
};

struct parcel {
	atomic_uint refs;
	struct list lru; /* guarded by the chunks' lock */
	struct stretch bytes; /* owned */
	size_t cost;
	uint32_t count;
	struct placed_blob blobs[];
};

/* Nodes, or chunks. */
struct shelf {
	pthread_mutex_t lock;
	struct htab table; /* guarded by lock, as all below */
	struct list lru; /* most recently used first */
	uint64_t used, budget;
};

struct memory {
	struct shelf nodes, chunks;
};

static void shelf_init(struct shelf *s, uint64_t budget)
{
	pthread_mutex_init(&s->lock, NULL);
	list_init(&s->lru);
	s->budget = budget;
}

static void shelf_release(struct shelf *s)
{
	htab_release(&s->table);
	pthread_mutex_destroy(&s->lock);
}

/* The one to go when there is too much; never the only one. */
static struct list *shelf_excess(struct shelf *s)
{
	return s->used > s->budget && s->lru.prev != s->lru.next ? s->lru.prev : NULL;
}

static void touch(struct shelf *s, struct list *l)
{
	if (s->lru.next == l)
		return;
	list_remove(l);
	list_prepend(&s->lru, l);
}

int memory_new(uint64_t node_bytes, uint64_t chunk_bytes, struct memory **ret)
{
	struct memory *m = new0(struct memory, 1);

	if (!m)
		return -ENOMEM;
	shelf_init(&m->nodes, node_bytes);
	shelf_init(&m->chunks, chunk_bytes);
	*ret = m;
	return 0;
}

static void node_drop(struct shelf *s, struct placed_node *p)
{
	list_remove(&p->lru);
	htab_remove(&s->table, &p->hash);
	s->used -= p->cost;
	node_unref(p->node);
	free(p);
}

/* The memory's reference is the caller's to give up, without the lock. */
static void parcel_drop(struct shelf *s, struct parcel *p)
{
	list_remove(&p->lru);
	s->used -= p->cost;
	for (uint32_t i = 0; i < p->count; i++) {
		if (p->blobs[i].is_placed)
			htab_remove(&s->table, &p->blobs[i].hash);
		p->blobs[i].is_placed = false;
	}
}

void memory_free(struct memory *m)
{
	if (!m)
		return;
	list_for_each_safe (n, &m->nodes.lru, struct placed_node, lru)
		node_drop(&m->nodes, n);
	list_for_each_safe (p, &m->chunks.lru, struct parcel, lru) {
		parcel_drop(&m->chunks, p);
		parcel_unref(p);
	}
	shelf_release(&m->nodes);
	shelf_release(&m->chunks);
	free(m);
}

static struct placed_node *find_node(struct shelf *s, const struct oid *id, uint64_t hash)
{
	htab_for_each (n, &s->table, hash) {
		struct placed_node *p = container_of(n, struct placed_node, hash);

		if (oid_equal(&p->node->id, id))
			return p;
	}
	return NULL;
}

struct node *memory_node(struct memory *m, const struct oid *id)
{
	uint64_t hash = oid_hash(id);
	struct placed_node *p;

	WITH_LOCK(&m->nodes.lock);
	p = find_node(&m->nodes, id, hash);
	if (!p)
		return NULL;
	touch(&m->nodes, &p->lru);
	return node_ref(p->node);
}

void memory_add_node(struct memory *m, struct node *n)
{
	struct shelf *s = &m->nodes;
	uint64_t hash = oid_hash(&n->id);
	struct placed_node *p = new0(struct placed_node, 1);
	struct list *l;

	if (!p)
		return;
	WITH_LOCK(&s->lock);
	if (find_node(s, &n->id, hash) || htab_insert(&s->table, &p->hash, hash) < 0) {
		free(p);
		return;
	}
	p->node = node_ref(n);
	p->cost = sizeof(*p) + node_footprint(n);
	s->used += p->cost;
	list_prepend(&s->lru, &p->lru);
	while ((l = shelf_excess(s)))
		node_drop(s, list_entry(l, struct placed_node, lru));
}

static struct placed_blob *find_blob(struct shelf *s, const struct oid *id, uint64_t hash)
{
	htab_for_each (n, &s->table, hash) {
		struct placed_blob *b = container_of(n, struct placed_blob, hash);

		if (oid_equal(&b->blob.id, id))
			return b;
	}
	return NULL;
}

struct blob *memory_chunk(struct memory *m, const struct oid *id)
{
	uint64_t hash = oid_hash(id);
	struct placed_blob *b;
	struct parcel *p;

	WITH_LOCK(&m->chunks.lock);
	b = find_blob(&m->chunks, id, hash);
	if (!b)
		return NULL;
	p = b->blob.owner;
	touch(&m->chunks, &p->lru);
	p->refs++;
	return &b->blob;
}

/* Takes what is too much off the shelf, with its references; GONE_MAX: there may be more. */
static unsigned take_excess(struct shelf *s, struct parcel *ret[GONE_MAX])
{
	unsigned n = 0;
	struct list *l;

	while (n < GONE_MAX && (l = shelf_excess(s))) {
		ret[n] = list_entry(l, struct parcel, lru);
		parcel_drop(s, ret[n++]);
	}
	return n;
}

/* Large buffers are given back without the lock. What goes is on no list then: whoever has a
 * reference may offer it again meanwhile. */
static void drop_excess(struct shelf *s)
{
	struct parcel *gone[GONE_MAX];
	unsigned n;

	do {
		pthread_mutex_lock(&s->lock);
		n = take_excess(s, gone);
		pthread_mutex_unlock(&s->lock);
		for (unsigned i = 0; i < n; i++)
			parcel_unref(gone[i]);
	} while (n == GONE_MAX);
}

void memory_add_parcel(struct memory *m, struct parcel *p)
{
	struct shelf *s = &m->chunks;
	bool is_new = false;

	pthread_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < p->count; i++) {
		struct placed_blob *b = &p->blobs[i];
		uint64_t hash = oid_hash(&b->blob.id);

		if (b->is_placed || find_blob(s, &b->blob.id, hash) ||
		    htab_insert(&s->table, &b->hash, hash) < 0)
			continue;
		b->is_placed = true;
		is_new = true;
	}
	if (is_new && list_is_empty(&p->lru)) {
		p->refs++;
		s->used += p->cost;
		list_prepend(&s->lru, &p->lru);
	}
	pthread_mutex_unlock(&s->lock);
	drop_excess(s);
}

void memory_used(struct memory *m, uint64_t *ret_nodes, uint64_t *ret_chunks)
{
	pthread_mutex_lock(&m->nodes.lock);
	*ret_nodes = m->nodes.used;
	pthread_mutex_unlock(&m->nodes.lock);
	pthread_mutex_lock(&m->chunks.lock);
	*ret_chunks = m->chunks.used;
	pthread_mutex_unlock(&m->chunks.lock);
}

struct parcel *parcel_new(struct stretch *s, uint32_t max)
{
	size_t own = sizeof(struct parcel) + max * sizeof(struct placed_blob);
	struct parcel *p = calloc(1, own);

	if (!p) {
		stretch_release(s);
		return NULL;
	}
	p->refs = 1;
	p->bytes = *s;
	p->cost = own + s->size;
	*s = (struct stretch){ 0 };
	list_init(&p->lru);
	return p;
}

struct blob *parcel_add(struct parcel *p, const struct oid *id, const void *data, uint32_t len)
{
	struct placed_blob *b = &p->blobs[p->count++];

	b->blob = (struct blob){ .id = *id, .len = len, .data = data, .owner = p };
	return &b->blob;
}

struct parcel *parcel_ref(struct parcel *p)
{
	p->refs++;
	return p;
}

void parcel_unref(struct parcel *p)
{
	if (!p || --p->refs > 0)
		return;
	stretch_release(&p->bytes);
	free(p);
}

struct blob *blob_ref(struct blob *b)
{
	parcel_ref(b->owner);
	return b;
}

void blob_unref(struct blob *b)
{
	if (b)
		parcel_unref(b->owner);
}
