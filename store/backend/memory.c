/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Objects in memory, for tests: what a backend promises, with nothing that could fail.
 *
 * Tags count writes, so an object that is written again with the same bytes has another tag, as
 * in some buckets and unlike the file backend.
 *
 * Threads: one lock over everything, never held in a callback.
 */
#include <inttypes.h>
#include <stdio.h>

#include "backend/held_put.h"
#include "base/thread.h"

struct object {
	char *key; /* owned */
	struct buf data;
	uint64_t version;
};

struct memory_backend {
	struct backend base;
	pthread_mutex_t lock;
	struct object *objects; /* guarded by lock, as all below; ascending by key */
	size_t count, cap;
	uint64_t versions; /* given out so far */
};

static struct memory_backend *memory_of(struct backend *b)
{
	return container_of(b, struct memory_backend, base);
}

static int check(const char *key, const struct deadline *dl)
{
	return backend_key_is_valid(key) ? deadline_check(dl) : -EINVAL;
}

static void tag_make(uint64_t version, struct etag *ret)
{
	snprintf(ret->s, sizeof(ret->s), "%" PRIu64, version);
}

/* The place of the first object whose key is not below @key. */
static size_t lower_bound(const struct memory_backend *m, const char *key)
{
	size_t lo = 0, hi = m->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(m->objects[mid].key, key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct object *find(const struct memory_backend *m, const char *key)
{
	size_t i = lower_bound(m, key);

	return i < m->count && strcmp(m->objects[i].key, key) == 0 ? &m->objects[i] : NULL;
}

/* The object @key, made if it is not there; NULL: no memory. */
static struct object *find_or_add(struct memory_backend *m, const char *key)
{
	struct object *o = find(m, key);
	size_t i = lower_bound(m, key);
	char *copy;

	if (o)
		return o;
	if (m->count == m->cap) {
		size_t cap = MAX(2 * m->cap, (size_t)16);
		struct object *p = reallocarray(m->objects, cap, sizeof(p[0]));

		if (!p)
			return NULL;
		m->objects = p;
		m->cap = cap;
	}
	copy = strdup(key);
	if (!copy)
		return NULL;
	memmove(&m->objects[i + 1], &m->objects[i], (m->count - i) * sizeof(m->objects[0]));
	m->count++;
	m->objects[i] = (struct object){ .key = copy };
	return &m->objects[i];
}

/* Takes @data. */
static int store(struct memory_backend *m, const char *key, struct buf *data, struct etag *ret_tag)
{
	struct object *o = find_or_add(m, key);

	if (!o)
		return -ENOMEM;
	buf_release(&o->data);
	o->data = *data;
	*data = (struct buf){ 0 };
	o->version = ++m->versions;
	if (ret_tag)
		tag_make(o->version, ret_tag);
	return 0;
}

static int memory_get(struct backend *b, const char *key, uint64_t off, size_t len, void *buf,
		      const struct deadline *dl, size_t *ret_len)
{
	struct memory_backend *m = memory_of(b);
	const struct object *o;
	size_t n;
	int r;

	r = check(key, dl);
	if (r < 0)
		return r;
	WITH_LOCK(&m->lock);
	o = find(m, key);
	if (!o)
		return -ENOENT;
	n = off < o->data.len ? MIN(len, o->data.len - (size_t)off) : 0;
	if (n > 0)
		memcpy(buf, o->data.data + off, n);
	*ret_len = n;
	return 0;
}

static int memory_get_all(struct backend *b, const char *key, size_t max, const struct etag *known,
			  const struct deadline *dl, struct buf *ret, struct etag *ret_tag)
{
	struct memory_backend *m = memory_of(b);
	_cleanup_buf_ struct buf copy = { 0 };
	const struct object *o;
	struct etag tag;
	int r;

	r = check(key, dl);
	if (r < 0)
		return r;
	WITH_LOCK(&m->lock);
	o = find(m, key);
	if (!o)
		return -ENOENT;
	tag_make(o->version, &tag);
	if (known && strcmp(known->s, tag.s) == 0)
		return -EALREADY;
	if (o->data.len > max)
		return -EFBIG;
	buf_put(&copy, o->data.data, o->data.len);
	r = buf_take(&copy, ret);
	if (r < 0)
		return r;
	*ret_tag = tag;
	return 0;
}

static int memory_head(struct backend *b, const char *key, const struct deadline *dl,
		       uint64_t *ret_size)
{
	struct memory_backend *m = memory_of(b);
	const struct object *o;
	int r;

	r = check(key, dl);
	if (r < 0)
		return r;
	WITH_LOCK(&m->lock);
	o = find(m, key);
	if (!o)
		return -ENOENT;
	*ret_size = o->data.len;
	return 0;
}

static int memory_put(struct backend *b, const char *key, struct span data,
		      const struct deadline *dl)
{
	struct memory_backend *m = memory_of(b);
	_cleanup_buf_ struct buf copy = { 0 };
	int r;

	r = check(key, dl);
	if (r < 0)
		return r;
	buf_put(&copy, data.data, data.len);
	if (buf_failed(&copy))
		return -ENOMEM;
	WITH_LOCK(&m->lock);
	return store(m, key, &copy, NULL);
}

static int memory_put_end(struct backend_put *put, const struct deadline *dl)
{
	struct held_put *p = container_of(put, struct held_put, p);
	struct memory_backend *m = memory_of(put->backend);
	int r = deadline_check(dl);

	if (r == 0 && buf_failed(&p->data))
		r = -ENOMEM;
	if (r == 0) {
		WITH_LOCK(&m->lock);
		r = store(m, p->key, &p->data, NULL);
	}
	held_put_abort(put);
	return r;
}

static int memory_swap(struct backend *b, const char *key, const struct etag *tag, struct span data,
		       const struct deadline *dl, struct etag *ret_tag)
{
	struct memory_backend *m = memory_of(b);
	_cleanup_buf_ struct buf copy = { 0 };
	const struct object *o;
	struct etag now;
	int r;

	r = check(key, dl);
	if (r < 0)
		return r;
	buf_put(&copy, data.data, data.len);
	if (buf_failed(&copy))
		return -ENOMEM;
	WITH_LOCK(&m->lock);
	o = find(m, key);
	if (!o != !tag)
		return -ESTALE;
	if (o) {
		tag_make(o->version, &now);
		if (strcmp(now.s, tag->s) != 0)
			return -ESTALE;
	}
	return store(m, key, &copy, ret_tag);
}

/* The first key with @prefix that is above @after, or not below @prefix with @after NULL. */
static int key_after(struct memory_backend *m, const char *prefix, const char *after,
		     char **ret_key, uint64_t *ret_size, struct etag *ret_tag)
{
	size_t i;

	WITH_LOCK(&m->lock);
	i = lower_bound(m, prefix);
	if (after && strcmp(after, prefix) >= 0) {
		i = lower_bound(m, after);
		if (i < m->count && strcmp(m->objects[i].key, after) == 0)
			i++;
	}
	if (i == m->count || strncmp(m->objects[i].key, prefix, strlen(prefix)) != 0)
		return -ENOENT;
	*ret_key = strdup(m->objects[i].key);
	*ret_size = m->objects[i].data.len;
	tag_make(m->objects[i].version, ret_tag);
	return *ret_key ? 0 : -ENOMEM;
}

static int memory_list(struct backend *b, const char *prefix, const char *after, backend_list_fn fn,
		       void *ctx, const struct deadline *dl)
{
	struct memory_backend *m = memory_of(b);
	_cleanup_free_ char *last = NULL;

	if (!backend_prefix_is_valid(prefix))
		return -EINVAL;
	for (;;) {
		char *key = NULL;
		struct etag tag = { "" };
		uint64_t size = 0;
		int r = deadline_check(dl);

		if (r == 0)
			r = key_after(m, prefix, last ?: after, &key, &size, &tag);
		if (r == -ENOENT)
			return 0;
		if (r < 0)
			return r;
		free(last);
		last = key;
		r = fn(key, size, &tag, ctx);
		if (r != 0)
			return r;
	}
}

static int memory_remove(struct backend *b, const char *key, const struct deadline *dl)
{
	struct memory_backend *m = memory_of(b);
	struct object *o;
	int r;

	r = check(key, dl);
	if (r < 0)
		return r;
	WITH_LOCK(&m->lock);
	o = find(m, key);
	if (!o)
		return 0;
	free(o->key);
	buf_release(&o->data);
	m->count--;
	memmove(o, o + 1, (size_t)(&m->objects[m->count] - o) * sizeof(*o));
	return 0;
}

static uint64_t memory_space(struct backend *b)
{
	return UINT64_MAX;
}

static void memory_free(struct backend *b)
{
	struct memory_backend *m = memory_of(b);

	for (size_t i = 0; i < m->count; i++) {
		free(m->objects[i].key);
		buf_release(&m->objects[i].data);
	}
	free(m->objects);
	free(m->base.url);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

static const struct backend_ops memory_ops = {
	.get = memory_get,
	.get_all = memory_get_all,
	.head = memory_head,
	.put = memory_put,
	.put_begin = held_put_begin,
	.put_write = held_put_write,
	.put_end = memory_put_end,
	.put_abort = held_put_abort,
	.swap = memory_swap,
	.list = memory_list,
	.remove = memory_remove,
	.space = memory_space,
	.free = memory_free,
};

int memory_backend_new(struct backend **ret)
{
	struct memory_backend *m = new0(struct memory_backend, 1);

	if (!m)
		return -ENOMEM;
	m->base = (struct backend){
		.ops = &memory_ops,
		.url = strdup("mem:"),
		.is_local = true,
	};
	if (!m->base.url) {
		free(m);
		return -ENOMEM;
	}
	pthread_mutex_init(&m->lock, NULL);
	*ret = &m->base;
	return 0;
}
