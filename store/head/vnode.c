/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The vnode table. One lock for all: what is done under it is a few loads and stores.
 *
 * Freeing a vnode drops its reference to the parent, which may free that in turn: a loop, since a
 * path may be thousands of names deep.
 */
#include "head/vnode.h"

#include "base/hash.h"
#include "base/thread.h"
#include "format/inode.h"

struct vnode_table {
	pthread_mutex_t lock; /* rank 60 */
	struct htab by_id; /* guarded by lock, as all below */
	struct htab by_ino;
	uint64_t next_id;
	size_t sweep_at; /* bucket of by_id */
	const struct vnode_hooks *hooks;
};

enum {
	ID_FIRST = 1024, /* below are the client's own */
};

int vnode_table_new(const struct vnode_hooks *hooks, struct vnode_table **ret)
{
	struct vnode_table *t = new0(struct vnode_table, 1);

	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	t->next_id = ID_FIRST;
	t->hooks = hooks;
	*ret = t;
	return 0;
}

static struct vnode *from_id(struct hnode *n)
{
	return container_of(n, struct vnode, by_id);
}

static struct vnode *from_ino(struct hnode *n)
{
	return container_of(n, struct vnode, by_ino);
}

static uint64_t ino_hash(const struct view *view, uint64_t ino)
{
	return ino ^ ((uint64_t)(uintptr_t)view * 0x9e3779b97f4a7c15ull);
}

struct span vnode_name(const struct vnode *v)
{
	return span_of(v->name_len > VNODE_NAME_INLINE ? v->long_name : v->inline_name,
		       v->name_len);
}

static int name_set(struct vnode *v, struct span name)
{
	char *copy = NULL;

	if (name.len > VNODE_NAME_INLINE) {
		copy = malloc(name.len);
		if (!copy)
			return -ENOMEM;
		memcpy(copy, name.data, name.len);
	}
	if (v->name_len > VNODE_NAME_INLINE)
		free(v->long_name);
	if (copy)
		v->long_name = copy;
	else if (name.len > 0)
		memmove(v->inline_name, name.data, name.len);
	v->name_len = (uint8_t)name.len;
	return 0;
}

/* Takes @v out of the tables if nobody has it any more; returns whether it is to be freed. */
static bool detach(struct vnode_table *t, struct vnode *v)
{
	if (v->refs > 0 || v->pins > 0)
		return false;
	htab_remove(&t->by_id, &v->by_id);
	htab_remove(&t->by_ino, &v->by_ino);
	return true;
}

/* With no lock held: frees what detach() took out, and parents that nobody has left. */
static void destroy(struct vnode_table *t, struct vnode *v)
{
	while (v) {
		struct vnode *parent = v->parent;
		bool is_last = false;

		t->hooks->gone(v);
		if (v->name_len > VNODE_NAME_INLINE)
			free(v->long_name);
		free(v);
		if (!parent)
			return;
		pthread_mutex_lock(&t->lock);
		parent->refs--;
		is_last = detach(t, parent);
		pthread_mutex_unlock(&t->lock);
		v = is_last ? parent : NULL;
	}
}

struct vnode *vnode_by_id(struct vnode_table *t, uint64_t id)
{
	WITH_LOCK(&t->lock);

	htab_for_each (n, &t->by_id, id) {
		struct vnode *v = from_id(n);

		v->refs++;
		return v;
	}
	return NULL;
}

static struct vnode *find_locked(struct vnode_table *t, struct view *view, uint64_t ino)
{
	htab_for_each (n, &t->by_ino, ino_hash(view, ino)) {
		struct vnode *v = from_ino(n);

		if (v->view == view && v->ino == ino && !(v->flags & VNODE_LEFT))
			return v;
	}
	return NULL;
}

/* One that has all of @flags. */
static bool has(struct vnode_table *t, struct view *view, uint64_t ino, unsigned flags)
{
	htab_for_each (n, &t->by_ino, ino_hash(view, ino)) {
		struct vnode *v = from_ino(n);

		if (v->view == view && v->ino == ino && (v->flags & flags) == flags)
			return true;
	}
	return false;
}

bool vnode_exists(struct vnode_table *t, struct view *view, uint64_t ino)
{
	WITH_LOCK(&t->lock);

	return has(t, view, ino, 0);
}

bool vnode_is_nameless(struct vnode_table *t, struct view *view, uint64_t ino)
{
	WITH_LOCK(&t->lock);

	return has(t, view, ino, VNODE_UNLINKED);
}

struct vnode *vnode_find(struct vnode_table *t, struct view *view, uint64_t ino)
{
	struct vnode *v;

	WITH_LOCK(&t->lock);

	v = find_locked(t, view, ino);
	if (v)
		v->refs++;
	return v;
}

void vnode_leave(struct vnode_table *t, struct vnode *v)
{
	WITH_LOCK(&t->lock);

	v->flags |= VNODE_LEFT | VNODE_UNLINKED;
}

bool vnode_is_left(struct vnode_table *t, const struct vnode *v)
{
	WITH_LOCK(&t->lock);

	return v->flags & VNODE_LEFT;
}

uint64_t vnode_next_id(struct vnode_table *t)
{
	WITH_LOCK(&t->lock);

	return t->next_id;
}

int vnode_get(struct vnode_table *t, struct view *view, uint64_t ino, uint8_t type,
	      struct vnode *parent, struct span name, struct vnode **ret)
{
	struct vnode *v;

	WITH_LOCK(&t->lock);

	v = find_locked(t, view, ino);
	if (v) {
		v->refs++;
		*ret = v;
		return 0;
	}
	v = new0(struct vnode, 1);
	if (!v || name_set(v, name) < 0) {
		free(v);
		return -ENOMEM;
	}
	v->ino = ino;
	v->type = type;
	v->refs = 1;
	if (htab_insert(&t->by_id, &v->by_id, t->next_id) < 0)
		goto fail;
	if (htab_insert(&t->by_ino, &v->by_ino, ino_hash(view, ino)) < 0) {
		htab_remove(&t->by_id, &v->by_id);
		goto fail;
	}
	t->next_id++;
	v->view = view;
	t->hooks->hold(view);
	v->parent = parent;
	if (parent)
		parent->refs++;
	*ret = v;
	return 0;
fail:
	if (v->name_len > VNODE_NAME_INLINE)
		free(v->long_name);
	free(v);
	return -ENOMEM;
}

void vnode_ref(struct vnode_table *t, struct vnode *v)
{
	WITH_LOCK(&t->lock);

	v->refs++;
}

void vnode_unref(struct vnode_table *t, struct vnode *v)
{
	bool is_last;

	pthread_mutex_lock(&t->lock);
	v->refs--;
	is_last = detach(t, v);
	pthread_mutex_unlock(&t->lock);
	if (is_last)
		destroy(t, v);
}

void vnode_pin(struct vnode_table *t, struct vnode *v)
{
	WITH_LOCK(&t->lock);

	v->pins++;
}

void vnode_unpin(struct vnode_table *t, struct vnode *v, uint64_t n)
{
	WITH_LOCK(&t->lock);

	v->pins -= MIN(n, v->pins);
}

int vnode_move(struct vnode_table *t, struct vnode *v, struct vnode *parent, struct span name,
	       struct vnode **ret_former)
{
	int r;

	WITH_LOCK(&t->lock);

	r = name_set(v, name);
	if (r < 0)
		return r;
	*ret_former = NULL;
	if (parent != v->parent) {
		*ret_former = v->parent;
		if (parent)
			parent->refs++;
		v->parent = parent;
	}
	return 0;
}

struct vnode *vnode_parent(struct vnode_table *t, struct vnode *v)
{
	WITH_LOCK(&t->lock);

	if (v->parent)
		v->parent->refs++;
	return v->parent;
}

uint64_t vnode_count(struct vnode_table *t)
{
	WITH_LOCK(&t->lock);

	return t->by_id.count;
}

/* Pinned, and nothing here holds it: no child, no open file, no operation. */
static bool is_stale(const struct vnode *v)
{
	return v->pins > 0 && v->refs == 0 && v->parent &&
	       (!(v->flags & VNODE_UNLINKED) || v->flags & VNODE_LEFT);
}

static void describe(const struct vnode *v, struct vnode_stale *ret)
{
	struct span name = vnode_name(v);

	ret->id = vnode_id(v);
	ret->parent = vnode_id(v->parent);
	ret->by_name = v->type != FT_DIR && !(v->flags & VNODE_LEFT);
	memcpy(ret->name, name.data, name.len);
	ret->name[name.len] = '\0';
}

size_t vnode_list(struct vnode_table *t, bool (*is)(const struct view *view, void *ctx), void *ctx,
		  size_t *at, struct vnode_stale *ret, size_t max)
{
	size_t n = 0;

	WITH_LOCK(&t->lock);

	for (; t->by_id.buckets && *at <= t->by_id.mask && n < max; (*at)++) {
		for (struct hnode *h = t->by_id.buckets[*at]; h && n < max; h = h->next) {
			struct vnode *v = from_id(h);

			if (is_stale(v) && is(v->view, ctx))
				describe(v, &ret[n++]);
		}
	}
	return n;
}

size_t vnode_sweep(struct vnode_table *t, struct vnode_stale *ret, size_t max)
{
	size_t n = 0;

	WITH_LOCK(&t->lock);

	if (!t->by_id.buckets)
		return 0;
	for (size_t looked = 0; looked <= t->by_id.mask && n < max; looked++) {
		t->sweep_at = (t->sweep_at + 1) & t->by_id.mask;
		for (struct hnode *h = t->by_id.buckets[t->sweep_at]; h && n < max; h = h->next) {
			struct vnode *v = from_id(h);

			if (is_stale(v))
				describe(v, &ret[n++]);
		}
	}
	return n;
}

/* Takes the pins of any pinned vnode, which then has a reference; NULL: none is pinned. */
static struct vnode *unpin_one(struct vnode_table *t, size_t *bucket)
{
	WITH_LOCK(&t->lock);

	for (; t->by_id.buckets && *bucket <= t->by_id.mask; (*bucket)++) {
		for (struct hnode *h = t->by_id.buckets[*bucket]; h; h = h->next) {
			struct vnode *v = from_id(h);

			if (v->pins == 0)
				continue;
			v->pins = 0;
			v->refs++;
			return v;
		}
	}
	return NULL;
}

void vnode_unpin_all(struct vnode_table *t)
{
	struct vnode *v;
	size_t bucket = 0;

	while ((v = unpin_one(t, &bucket)))
		vnode_unref(t, v);
}

void vnode_table_free(struct vnode_table *t)
{
	if (!t)
		return;
	htab_release(&t->by_id);
	htab_release(&t->by_ino);
	pthread_mutex_destroy(&t->lock);
	free(t);
}
