/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The layer of weather.h.
 *
 * Threads: one lock over the chances; never held in a call to the inner backend.
 */
#include "weather.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "base/thread.h"
#include "check.h"
#include "prng.h"

enum {
	DELAY_MAX_MS = 8,
	LATE_MAX_MS = 400,
	OUTAGE_MAX_MS = 300,
	WITHHELD = 4, /* of so many that come late, one comes when all is over */
};

struct weather_backend {
	struct backend base;
	struct backend *inner; /* owned */
	struct mailbox *box; /* borrowed */
	pthread_mutex_t lock;
	struct prng prng; /* guarded by lock, as below */
	struct weather now;
	int64_t outage_until_ns;
};

/* What befalls one call. */
struct fate {
	bool fails, loses_reply, is_late, is_twice, dies_after;
	int64_t due_ns;
};

static struct weather_backend *of(struct backend *b)
{
	return container_of(b, struct weather_backend, base);
}

static struct backend *inner_of(struct backend *b)
{
	return of(b)->inner;
}

static _Noreturn void die(void)
{
	for (;;)
		kill(getpid(), SIGKILL);
}

static bool chance(struct weather_backend *w, unsigned permille)
{
	return prng_below(&w->prng, 1000) < permille;
}

static struct fate draw(struct weather_backend *w, unsigned *ret_delay_ms, bool *ret_dies)
{
	struct fate f = { 0 };
	bool dies;
	WITH_LOCK(&w->lock);

	*ret_delay_ms = chance(w, w->now.delay) ? 1 + prng_below(&w->prng, DELAY_MAX_MS) : 0;
	dies = chance(w, w->now.kill);
	f.dies_after = dies && chance(w, 500);
	*ret_dies = dies && !f.dies_after;
	f.fails = chance(w, w->now.fail) || w->outage_until_ns > now_ns();
	if (!f.fails && chance(w, w->now.outage)) {
		/* The reply to this one does not get through, either. */
		w->outage_until_ns =
			now_ns() + (int64_t)prng_below(&w->prng, OUTAGE_MAX_MS) * 1000000;
		f.loses_reply = true;
	}
	f.loses_reply |= !f.fails && chance(w, w->now.lose_reply);
	f.is_late = !f.fails && chance(w, w->now.late);
	f.is_twice = chance(w, w->now.twice);
	f.due_ns = prng_below(&w->prng, WITHHELD) == 0
			   ? INT64_MAX
			   : now_ns() + (int64_t)prng_below(&w->prng, LATE_MAX_MS) * 1000000;
	return f;
}

static struct fate fate_of(struct backend *b)
{
	unsigned delay_ms;
	bool dies;
	struct fate f = draw(of(b), &delay_ms, &dies);

	if (delay_ms)
		usleep(delay_ms * 1000);
	if (dies)
		die();
	return f;
}

/* False: it cannot. */
static bool post(struct mailbox *box, enum packet_op op, const char *key, const struct etag *tag,
		 struct span data, int64_t due_ns)
{
	if (data.len > PACKET_MAX)
		return false;
	for (unsigned i = 0; i < PACKETS_MAX; i++) {
		struct packet *p = &box->packets[i];
		int empty = 0;

		if (!atomic_compare_exchange_strong(&p->state, &empty, 1))
			continue;
		p->op = op;
		snprintf(p->key, sizeof(p->key), "%s", key);
		p->has_tag = tag;
		p->tag = tag ? *tag : (struct etag){ "" };
		p->due_ns = due_ns;
		p->len = (uint32_t)data.len;
		if (data.len > 0)
			memcpy(p->data, data.data, data.len);
		p->state = 2;
		return true;
	}
	return false;
}

static int perform(struct backend *b, enum packet_op op, const char *key, const struct etag *tag,
		   struct span data, const struct deadline *dl, struct etag *ret_tag)
{
	if (op == PACKET_SWAP)
		return b->ops->swap(b, key, tag, data, dl, ret_tag);
	return op == PACKET_PUT ? b->ops->put(b, key, data, dl) : b->ops->remove(b, key, dl);
}

static int change(struct backend *b, enum packet_op op, const char *key, const struct etag *tag,
		  struct span data, const struct deadline *dl, struct etag *ret_tag)
{
	const int lost = op == PACKET_SWAP ? -EINPROGRESS : -EIO;
	struct weather_backend *w = of(b);
	struct fate f = fate_of(b);
	int r;

	if (f.is_late || f.is_twice)
		post(w->box, op, key, tag, data, f.due_ns);
	r = f.fails || f.is_late ? lost : perform(w->inner, op, key, tag, data, dl, ret_tag);
	if (f.dies_after)
		die();
	return f.loses_reply ? lost : r;
}

static int weather_put(struct backend *b, const char *key, struct span data,
		       const struct deadline *dl)
{
	return change(b, PACKET_PUT, key, NULL, data, dl, NULL);
}

static int weather_swap(struct backend *b, const char *key, const struct etag *tag,
			struct span data, const struct deadline *dl, struct etag *ret_tag)
{
	struct etag fresh;
	int r = change(b, PACKET_SWAP, key, tag, data, dl, &fresh);

	if (r == 0)
		*ret_tag = fresh;
	return r;
}

static int weather_remove(struct backend *b, const char *key, const struct deadline *dl)
{
	return change(b, PACKET_REMOVE, key, NULL, span_of(NULL, 0), dl, NULL);
}

static int weather_get(struct backend *b, const char *key, uint64_t off, size_t len, void *buf,
		       const struct deadline *dl, size_t *ret_len)
{
	struct backend *in = inner_of(b);
	struct fate f = fate_of(b);

	return f.fails ? -EIO : in->ops->get(in, key, off, len, buf, dl, ret_len);
}

static int weather_get_all(struct backend *b, const char *key, size_t max, const struct etag *known,
			   const struct deadline *dl, struct buf *ret, struct etag *ret_tag)
{
	struct backend *in = inner_of(b);
	struct fate f = fate_of(b);

	return f.fails ? -EIO : in->ops->get_all(in, key, max, known, dl, ret, ret_tag);
}

static int weather_head(struct backend *b, const char *key, const struct deadline *dl,
			uint64_t *ret_size)
{
	struct backend *in = inner_of(b);
	struct fate f = fate_of(b);

	return f.fails ? -EIO : in->ops->head(in, key, dl, ret_size);
}

static int weather_list(struct backend *b, const char *prefix, const char *after,
			backend_list_fn fn, void *ctx, const struct deadline *dl)
{
	struct backend *in = inner_of(b);
	struct fate f = fate_of(b);

	return f.fails ? -EIO : in->ops->list(in, prefix, after, fn, ctx, dl);
}

/* A put in pieces is the inner backend's, and goes to it. */
static int weather_put_begin(struct backend *b, const char *key, struct backend_put **ret)
{
	struct backend *in = inner_of(b);
	struct fate f = fate_of(b);

	return f.fails ? -EIO : in->ops->put_begin(in, key, ret);
}

static int weather_put_write(struct backend_put *p, struct span data, const struct deadline *dl)
{
	return p->backend->ops->put_write(p, data, dl);
}

static int weather_put_end(struct backend_put *p, const struct deadline *dl)
{
	return p->backend->ops->put_end(p, dl);
}

static void weather_put_abort(struct backend_put *p)
{
	p->backend->ops->put_abort(p);
}

static uint64_t weather_space(struct backend *b)
{
	return inner_of(b)->ops->space(inner_of(b));
}

static void weather_free(struct backend *b)
{
	struct weather_backend *w = of(b);

	backend_free(w->inner);
	pthread_mutex_destroy(&w->lock);
	free(w->base.url);
	free(w);
}

static const struct backend_ops weather_ops = {
	.get = weather_get,
	.get_all = weather_get_all,
	.head = weather_head,
	.put = weather_put,
	.put_begin = weather_put_begin,
	.put_write = weather_put_write,
	.put_end = weather_put_end,
	.put_abort = weather_put_abort,
	.swap = weather_swap,
	.list = weather_list,
	.remove = weather_remove,
	.space = weather_space,
	.free = weather_free,
};

int weather_backend_new(struct backend *inner, struct mailbox *box, uint64_t seed,
			struct backend **ret)
{
	struct weather_backend *w = new0(struct weather_backend, 1);

	if (!w)
		return -ENOMEM;
	w->base = (struct backend){ .ops = &weather_ops,
				    .url = strdup(inner->url),
				    .is_local = inner->is_local };
	if (!w->base.url) {
		free(w);
		return -ENOMEM;
	}
	pthread_mutex_init(&w->lock, NULL);
	w->inner = inner;
	w->box = box;
	w->prng.state = seed;
	*ret = &w->base;
	return 0;
}

void weather_set(struct backend *b, const struct weather *now)
{
	struct weather_backend *w = of(b);

	WITH_LOCK(&w->lock);
	w->now = *now;
	w->outage_until_ns = 0;
}

void mailbox_deliver(struct mailbox *box, struct backend *inner, bool all)
{
	for (unsigned i = 0; i < PACKETS_MAX; i++) {
		struct packet *p = &box->packets[i];
		struct etag tag;
		int ready = 2, r;

		if (p->state != 2 || (!all && p->due_ns > now_ns()) ||
		    !atomic_compare_exchange_strong(&p->state, &ready, 1))
			continue;
		r = perform(inner, p->op, p->key, p->has_tag ? &p->tag : NULL,
			    span_of(p->data, p->len), NULL, &tag);
		box->delivered++;
		box->landed += r == 0;
		p->state = 0;
	}
}
