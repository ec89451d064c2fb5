/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The layer of backend/fault.h.
 *
 * Each operation asks for its verdict first, which numbers the call and finds the fault that
 * befalls it, and then acts on it; what is not befallen passes through.
 *
 * Threads: one lock over faults and counts; never held in a call to the inner backend.
 */
#include "backend/fault.h"

#include "base/thread.h"

struct planned {
	struct fault fault;
	char *prefix; /* owned; NULL: any */
	uint64_t seen; /* calls that fit, so far */
};

struct fault_backend {
	struct backend base;
	struct backend *inner; /* owned */
	pthread_mutex_t lock;
	pthread_cond_t cleared;
	struct planned *plan; /* guarded by lock, as all below */
	size_t planned;
	uint64_t clears;
	struct fault_counts counts;
};

struct fault_put {
	struct backend_put base;
	struct backend_put *inner; /* owned */
	char *key; /* owned */
};

/* What is to befall one call. */
struct verdict {
	bool is_befallen;
	struct fault fault;
};

static struct fault_backend *fault_of(struct backend *b)
{
	return container_of(b, struct fault_backend, base);
}

static bool befalls(struct planned *p, enum fault_op op, const char *key)
{
	uint64_t first = MAX(p->fault.nth, 1ul);

	if (p->fault.op != op || (p->prefix && strncmp(key, p->prefix, strlen(p->prefix)) != 0))
		return false;
	p->seen++;
	return p->seen >= first && (p->fault.times == 0 || p->seen - first < p->fault.times);
}

/* Until @ms have passed, the plan is cleared, or the deadline; called with the lock held. */
static int delay(struct fault_backend *f, int64_t ms, const struct deadline *dl)
{
	struct deadline end = deadline_in_ms(ms);
	uint64_t clears = f->clears;
	int r;

	while ((r = deadline_check(dl)) == 0 && f->clears == clears && deadline_check(&end) == 0) {
		const struct deadline *first = dl && dl->at_ns < end.at_ns ? dl : &end;

		/* A caller that gives up does not wake us: look now and then. */
		cond_wait_until(&f->cleared, &f->lock, first, 10);
	}
	return r;
}

/* Numbers the call, and waits where it is to be delayed. Negative: the call ends so. */
static int judge(struct fault_backend *f, enum fault_op op, const char *key,
		 const struct deadline *dl, struct verdict *ret)
{
	WITH_LOCK(&f->lock);
	*ret = (struct verdict){ 0 };
	f->counts.calls[op]++;
	for (size_t i = 0; i < f->planned; i++)
		/* every plan counts the call, also after one that befalls it */
		if (befalls(&f->plan[i], op, key) && !ret->is_befallen)
			*ret = (struct verdict){ true, f->plan[i].fault };
	if (!ret->is_befallen)
		return 0;
	if (ret->fault.kind == FAULT_DELAY)
		return delay(f, ret->fault.delay_ms, dl);
	return ret->fault.kind == FAULT_FAIL ? ret->fault.error : 0;
}

static bool is(const struct verdict *v, enum fault_kind kind)
{
	return v->is_befallen && v->fault.kind == kind;
}

static int reply(const struct verdict *v, int r)
{
	return is(v, FAULT_LOSE_REPLY) ? v->fault.error : r;
}

static void count_read(struct fault_backend *f, size_t n)
{
	WITH_LOCK(&f->lock);
	f->counts.read += n;
}

static void count_written(struct fault_backend *f, size_t n)
{
	WITH_LOCK(&f->lock);
	f->counts.written += n;
}

/* Damages what was read; returns how much of it is left. */
static size_t damage(const struct verdict *v, uint8_t *data, size_t len)
{
	if (is(v, FAULT_FLIP) && v->fault.at < len)
		data[v->fault.at] ^= 0xff;
	return is(v, FAULT_CUT) ? MIN(len, (size_t)v->fault.at) : len;
}

/* What is written instead of @data: itself, or a damaged copy in @copy. */
static int damaged(const struct verdict *v, struct buf *copy, struct span *data)
{
	if (!is(v, FAULT_FLIP))
		return 0;
	buf_put(copy, data->data, data->len);
	if (buf_failed(copy))
		return -ENOMEM;
	damage(v, copy->data, copy->len);
	*data = buf_span(copy);
	return 0;
}

static int fault_get(struct backend *b, const char *key, uint64_t off, size_t len, void *buf,
		     const struct deadline *dl, size_t *ret_len)
{
	struct fault_backend *f = fault_of(b);
	struct verdict v;
	size_t n;
	int r;

	r = judge(f, FAULT_GET, key, dl, &v);
	if (r == 0)
		r = f->inner->ops->get(f->inner, key, off, len, buf, dl, &n);
	if (r < 0)
		return r;
	count_read(f, n);
	r = reply(&v, 0);
	if (r < 0)
		return r;
	*ret_len = damage(&v, buf, n);
	return 0;
}

static int fault_get_all(struct backend *b, const char *key, size_t max, const struct etag *known,
			 const struct deadline *dl, struct buf *ret, struct etag *ret_tag)
{
	struct fault_backend *f = fault_of(b);
	_cleanup_buf_ struct buf data = { 0 };
	struct etag tag;
	struct verdict v;
	int r;

	r = judge(f, FAULT_GET_ALL, key, dl, &v);
	if (r == 0)
		r = f->inner->ops->get_all(f->inner, key, max, known, dl, &data, &tag);
	if (r < 0)
		return r;
	count_read(f, data.len);
	r = reply(&v, 0);
	if (r < 0)
		return r;
	data.len = damage(&v, data.data, data.len);
	*ret_tag = tag;
	return buf_take(&data, ret);
}

static int fault_head(struct backend *b, const char *key, const struct deadline *dl,
		      uint64_t *ret_size)
{
	struct fault_backend *f = fault_of(b);
	struct verdict v;
	int r;

	r = judge(f, FAULT_HEAD, key, dl, &v);
	if (r == 0)
		r = f->inner->ops->head(f->inner, key, dl, ret_size);
	return reply(&v, r);
}

static int fault_put(struct backend *b, const char *key, struct span data,
		     const struct deadline *dl)
{
	struct fault_backend *f = fault_of(b);
	_cleanup_buf_ struct buf copy = { 0 };
	struct verdict v;
	int r;

	r = judge(f, FAULT_PUT, key, dl, &v);
	if (r == 0)
		r = damaged(&v, &copy, &data);
	if (r < 0)
		return r;
	count_written(f, data.len);
	return reply(&v, f->inner->ops->put(f->inner, key, data, dl));
}

static void put_free(struct fault_put *p)
{
	free(p->key);
	free(p);
}

static int fault_put_begin(struct backend *b, const char *key, struct backend_put **ret)
{
	struct fault_backend *f = fault_of(b);
	struct fault_put *p;
	struct verdict v;
	int r;

	r = judge(f, FAULT_PUT_BEGIN, key, NULL, &v);
	if (r < 0)
		return r;
	p = new0(struct fault_put, 1);
	if (!p)
		return -ENOMEM;
	p->base.backend = b;
	p->key = strdup(key);
	r = p->key ? f->inner->ops->put_begin(f->inner, key, &p->inner) : -ENOMEM;
	if (r < 0) {
		put_free(p);
		return r;
	}
	*ret = &p->base;
	return 0;
}

static int fault_put_write(struct backend_put *put, struct span data, const struct deadline *dl)
{
	struct fault_put *p = container_of(put, struct fault_put, base);
	struct fault_backend *f = fault_of(put->backend);
	_cleanup_buf_ struct buf copy = { 0 };
	struct verdict v;
	int r;

	r = judge(f, FAULT_PUT_WRITE, p->key, dl, &v);
	if (r == 0)
		r = damaged(&v, &copy, &data);
	if (r < 0)
		return r;
	count_written(f, data.len);
	return reply(&v, f->inner->ops->put_write(p->inner, data, dl));
}

static int fault_put_end(struct backend_put *put, const struct deadline *dl)
{
	struct fault_put *p = container_of(put, struct fault_put, base);
	struct fault_backend *f = fault_of(put->backend);
	struct verdict v;
	int r;

	r = judge(f, FAULT_PUT_END, p->key, dl, &v);
	if (r == 0)
		r = f->inner->ops->put_end(p->inner, dl);
	else
		f->inner->ops->put_abort(p->inner);
	put_free(p);
	return reply(&v, r);
}

static void fault_put_abort(struct backend_put *put)
{
	struct fault_put *p = container_of(put, struct fault_put, base);

	fault_of(put->backend)->inner->ops->put_abort(p->inner);
	put_free(p);
}

static int fault_swap(struct backend *b, const char *key, const struct etag *tag, struct span data,
		      const struct deadline *dl, struct etag *ret_tag)
{
	struct fault_backend *f = fault_of(b);
	_cleanup_buf_ struct buf copy = { 0 };
	struct etag fresh;
	struct verdict v;
	int r;

	r = judge(f, FAULT_SWAP, key, dl, &v);
	if (r == 0)
		r = damaged(&v, &copy, &data);
	if (r < 0)
		return r;
	count_written(f, data.len);
	r = reply(&v, f->inner->ops->swap(f->inner, key, tag, data, dl, &fresh));
	if (r < 0)
		return r;
	*ret_tag = fresh;
	return 0;
}

struct listing {
	struct fault_backend *f;
	backend_list_fn fn;
	void *ctx;
	uint64_t left; /* keys until it is cut */
	bool is_cut;
};

static int listed(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	struct listing *l = ctx;

	if (l->left == 0) {
		l->is_cut = true;
		return 1;
	}
	l->left--;
	pthread_mutex_lock(&l->f->lock);
	l->f->counts.listed++;
	pthread_mutex_unlock(&l->f->lock);
	return l->fn(key, size, tag, l->ctx);
}

static int fault_list(struct backend *b, const char *prefix, const char *after, backend_list_fn fn,
		      void *ctx, const struct deadline *dl)
{
	struct listing l = { .f = fault_of(b), .fn = fn, .ctx = ctx, .left = UINT64_MAX };
	struct verdict v;
	int r;

	r = judge(l.f, FAULT_LIST, prefix, dl, &v);
	if (r < 0)
		return r;
	if (is(&v, FAULT_CUT))
		l.left = v.fault.at;
	r = l.f->inner->ops->list(l.f->inner, prefix, after, listed, &l, dl);
	return l.is_cut ? 0 : reply(&v, r);
}

static int fault_remove(struct backend *b, const char *key, const struct deadline *dl)
{
	struct fault_backend *f = fault_of(b);
	struct verdict v;
	int r;

	r = judge(f, FAULT_REMOVE, key, dl, &v);
	if (r == 0)
		r = f->inner->ops->remove(f->inner, key, dl);
	return reply(&v, r);
}

static uint64_t fault_space(struct backend *b)
{
	struct fault_backend *f = fault_of(b);

	return f->inner->ops->space(f->inner);
}

static void plan_drop(struct fault_backend *f)
{
	for (size_t i = 0; i < f->planned; i++)
		free(f->plan[i].prefix);
	free(f->plan);
	f->plan = NULL;
	f->planned = 0;
}

static void fault_free(struct backend *b)
{
	struct fault_backend *f = fault_of(b);

	plan_drop(f);
	backend_free(f->inner);
	free(f->base.url);
	pthread_cond_destroy(&f->cleared);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static const struct backend_ops fault_ops = {
	.get = fault_get,
	.get_all = fault_get_all,
	.head = fault_head,
	.put = fault_put,
	.put_begin = fault_put_begin,
	.put_write = fault_put_write,
	.put_end = fault_put_end,
	.put_abort = fault_put_abort,
	.swap = fault_swap,
	.list = fault_list,
	.remove = fault_remove,
	.space = fault_space,
	.free = fault_free,
};

int fault_backend_new(struct backend *inner, struct backend **ret)
{
	struct fault_backend *f = new0(struct fault_backend, 1);

	if (!f)
		return -ENOMEM;
	f->base = (struct backend){
		.ops = &fault_ops,
		.url = strdup(inner->url),
		.is_local = inner->is_local,
		.is_served = inner->is_served,
	};
	if (!f->base.url) {
		free(f);
		return -ENOMEM;
	}
	pthread_mutex_init(&f->lock, NULL);
	cond_init(&f->cleared);
	f->inner = inner;
	*ret = &f->base;
	return 0;
}

int fault_backend_add(struct backend *b, const struct fault *fault)
{
	struct fault_backend *f = fault_of(b);
	_cleanup_free_ char *prefix = fault->prefix ? strdup(fault->prefix) : NULL;
	struct planned *p;

	if (fault->prefix && !prefix)
		return -ENOMEM;
	WITH_LOCK(&f->lock);
	p = reallocarray(f->plan, f->planned + 1, sizeof(p[0]));
	if (!p)
		return -ENOMEM;
	f->plan = p;
	f->plan[f->planned++] = (struct planned){ .fault = *fault, .prefix = TAKE_PTR(prefix) };
	return 0;
}

void fault_backend_clear(struct backend *b)
{
	struct fault_backend *f = fault_of(b);

	WITH_LOCK(&f->lock);
	plan_drop(f);
	f->clears++;
	pthread_cond_broadcast(&f->cleared);
}

void fault_backend_counts(struct backend *b, struct fault_counts *ret)
{
	struct fault_backend *f = fault_of(b);

	WITH_LOCK(&f->lock);
	*ret = f->counts;
}

void fault_backend_reset_counts(struct backend *b)
{
	struct fault_backend *f = fault_of(b);

	WITH_LOCK(&f->lock);
	f->counts = (struct fault_counts){ 0 };
}
