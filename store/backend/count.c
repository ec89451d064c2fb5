/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The layer of backend/count.h. Besides counting it passes everything through; of a put in pieces
 * only its end is a request.
 */
#include "backend/count.h"

#include <stdatomic.h>

const char *const count_op_names[COUNT_OP_COUNT] = {
#define X(id, name) [COUNT_##id] = #name,
	COUNT_OPS(X)
#undef X
};

typedef atomic_uint_fast64_t counter;

struct op_counters {
	counter calls, errors, time_us;
};

struct count_backend {
	struct backend base; /* first */
	struct backend *inner; /* owned */
	struct op_counters ops[COUNT_OP_COUNT];
	counter read_bytes, written_bytes;
};

struct count_put {
	struct backend_put base; /* first */
	struct backend_put *inner; /* owned */
	uint64_t bytes;
};

static struct count_backend *count_of(struct backend *b)
{
	return container_of(b, struct count_backend, base);
}

static void add(counter *c, uint64_t n)
{
	atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static uint64_t get(const counter *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

/* Is it an answer, though not the one that was hoped for? */
static bool is_answer(int r)
{
	return r >= 0 || r == -ENOENT || r == -EALREADY || r == -ESTALE || r == -ECANCELED;
}

static int note(struct count_backend *c, enum count_op op, int64_t began, int r)
{
	struct op_counters *o = &c->ops[op];

	add(&o->calls, 1);
	add(&o->time_us, (uint64_t)(now_ns() - began) / 1000);
	if (!is_answer(r))
		add(&o->errors, 1);
	return r;
}

static int count_get(struct backend *b, const char *key, uint64_t off, size_t len, void *buf,
		     const struct deadline *dl, size_t *ret_len)
{
	struct count_backend *c = count_of(b);
	int64_t began = now_ns();
	int r = note(c, COUNT_GET, began,
		     c->inner->ops->get(c->inner, key, off, len, buf, dl, ret_len));

	if (r == 0)
		add(&c->read_bytes, *ret_len);
	return r;
}

static int count_get_all(struct backend *b, const char *key, size_t max, const struct etag *known,
			 const struct deadline *dl, struct buf *ret, struct etag *ret_tag)
{
	struct count_backend *c = count_of(b);
	int64_t began = now_ns();
	int r = note(c, COUNT_GET, began,
		     c->inner->ops->get_all(c->inner, key, max, known, dl, ret, ret_tag));

	if (r == 0)
		add(&c->read_bytes, ret->len);
	return r;
}

static int count_head(struct backend *b, const char *key, const struct deadline *dl,
		      uint64_t *ret_size)
{
	struct count_backend *c = count_of(b);
	int64_t began = now_ns();

	return note(c, COUNT_HEAD, began, c->inner->ops->head(c->inner, key, dl, ret_size));
}

static int count_put_whole(struct backend *b, const char *key, struct span data,
			   const struct deadline *dl)
{
	struct count_backend *c = count_of(b);
	int64_t began = now_ns();
	int r = note(c, COUNT_PUT, began, c->inner->ops->put(c->inner, key, data, dl));

	if (r == 0)
		add(&c->written_bytes, data.len);
	return r;
}

static int count_put_begin(struct backend *b, const char *key, struct backend_put **ret)
{
	struct count_backend *c = count_of(b);
	struct count_put *p = new0(struct count_put, 1);
	int r;

	if (!p)
		return -ENOMEM;
	p->base.backend = b;
	r = c->inner->ops->put_begin(c->inner, key, &p->inner);
	if (r < 0) {
		free(p);
		return r;
	}
	*ret = &p->base;
	return 0;
}

static int count_put_write(struct backend_put *put, struct span data, const struct deadline *dl)
{
	struct count_put *p = container_of(put, struct count_put, base);
	int r = p->inner->backend->ops->put_write(p->inner, data, dl);

	if (r == 0)
		p->bytes += data.len;
	return r;
}

static int count_put_end(struct backend_put *put, const struct deadline *dl)
{
	struct count_put *p = container_of(put, struct count_put, base);
	struct count_backend *c = count_of(put->backend);
	int64_t began = now_ns();
	int r = note(c, COUNT_PUT, began, c->inner->ops->put_end(p->inner, dl));

	if (r == 0)
		add(&c->written_bytes, p->bytes);
	free(p);
	return r;
}

static void count_put_abort(struct backend_put *put)
{
	struct count_put *p = container_of(put, struct count_put, base);

	p->inner->backend->ops->put_abort(p->inner);
	free(p);
}

static int count_swap(struct backend *b, const char *key, const struct etag *tag, struct span data,
		      const struct deadline *dl, struct etag *ret_tag)
{
	struct count_backend *c = count_of(b);
	int64_t began = now_ns();
	int r = note(c, COUNT_SWAP, began,
		     c->inner->ops->swap(c->inner, key, tag, data, dl, ret_tag));

	if (r == 0)
		add(&c->written_bytes, data.len);
	return r;
}

static int count_list(struct backend *b, const char *prefix, const char *after, backend_list_fn fn,
		      void *ctx, const struct deadline *dl)
{
	struct count_backend *c = count_of(b);
	int64_t began = now_ns();

	return note(c, COUNT_LIST, began,
		    c->inner->ops->list(c->inner, prefix, after, fn, ctx, dl));
}

static int count_remove(struct backend *b, const char *key, const struct deadline *dl)
{
	struct count_backend *c = count_of(b);
	int64_t began = now_ns();

	return note(c, COUNT_REMOVE, began, c->inner->ops->remove(c->inner, key, dl));
}

static int count_stamp(struct backend *b, const char *dir, uint64_t *ret)
{
	struct backend *inner = count_of(b)->inner;

	return inner->ops->stamp ? inner->ops->stamp(inner, dir, ret) : -EOPNOTSUPP;
}

static int count_has_others(struct backend *b)
{
	struct backend *inner = count_of(b)->inner;

	return inner->ops->has_others ? inner->ops->has_others(inner) : 0;
}

static uint64_t count_space(struct backend *b)
{
	struct backend *inner = count_of(b)->inner;

	return inner->ops->space(inner);
}

static void count_free(struct backend *b)
{
	struct count_backend *c = count_of(b);

	backend_free(c->inner);
	free(c->base.url);
	free(c);
}

static const struct backend_ops count_ops = {
	.get = count_get,
	.get_all = count_get_all,
	.head = count_head,
	.put = count_put_whole,
	.put_begin = count_put_begin,
	.put_write = count_put_write,
	.put_end = count_put_end,
	.put_abort = count_put_abort,
	.swap = count_swap,
	.list = count_list,
	.remove = count_remove,
	.has_others = count_has_others,
	.stamp = count_stamp,
	.space = count_space,
	.free = count_free,
};

int count_backend_new(struct backend *inner, struct backend **ret)
{
	struct count_backend *c = new0(struct count_backend, 1);

	if (!c)
		return -ENOMEM;
	c->base = (struct backend){
		.ops = &count_ops,
		.url = strdup(inner->url),
		.is_local = inner->is_local,
	};
	if (!c->base.url) {
		free(c);
		return -ENOMEM;
	}
	c->inner = inner;
	*ret = &c->base;
	return 0;
}

void count_backend_get(struct backend *b, struct backend_counts *ret)
{
	struct count_backend *c = count_of(b);

	for (unsigned i = 0; i < COUNT_OP_COUNT; i++)
		ret->ops[i] = (struct count_of_op){
			.calls = get(&c->ops[i].calls),
			.errors = get(&c->ops[i].errors),
			.time_us = get(&c->ops[i].time_us),
		};
	ret->read_bytes = get(&c->read_bytes);
	ret->written_bytes = get(&c->written_bytes);
}
