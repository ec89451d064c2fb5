/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A backend with the manners of servers that do not keep their word: a layer over memory that does
 * one thing wrong.
 */
#pragma once

#include "backend/backend.h"
#include "base/thread.h"
#include "check.h"

enum careless {
	CARELESS_NOT, /* all is well */
	CARELESS_CREATE, /* If-None-Match: * is ignored */
	CARELESS_MATCH, /* If-Match is ignored */
	CARELESS_MATCH_ABSENT, /* the same, where nothing is */
	CARELESS_BOTH, /* conditions are ignored */
	CARELESS_UNKNOWN, /* a PUT with a condition is an error */
	CARELESS_LIAR, /* it says that a condition did not hold, and writes */
	CARELESS_RACE, /* first looks, then writes */
	CARELESS_TORN, /* reads give bytes of one moment and the tag of a later one */
	CARELESS_TAG, /* the tag of a write is not that of reads */
	CARELESS_STALE, /* reads go on giving the first bytes */
	CARELESS_RANGE, /* ranges start at 0 */
	CARELESS_UNCHANGED, /* whatever the tag, it has not changed */
	CARELESS_LIST, /* what is new is not in listings */
	CARELESS_REMOVE, /* removing does nothing */
};

struct careless_backend {
	struct backend b; /* first */
	struct backend *inner; /* owned */
	enum careless how;
	pthread_mutex_t lock;
	pthread_cond_t met;
	unsigned inside; /* guarded by lock: swaps that have looked and not written */
	struct buf first; /* for CARELESS_STALE */
};

static inline struct careless_backend *careless_of(struct backend *b)
{
	return container_of(b, struct careless_backend, b);
}

#define CARELESS_INNER(b, op, ...) \
	(careless_of(b)->inner->ops->op(careless_of(b)->inner, __VA_ARGS__))

static inline int careless_get(struct backend *b, const char *key, uint64_t off, size_t len,
			       void *buf, const struct deadline *dl, size_t *ret_len)
{
	return CARELESS_INNER(b, get, key, careless_of(b)->how == CARELESS_RANGE ? 0 : off, len,
			      buf, dl, ret_len);
}

/* Bytes, and later the tag, with somebody else's write in between if there is one to come. */
static inline int careless_torn(struct backend *b, const char *key, size_t max,
				const struct deadline *dl, struct buf *ret, struct etag *ret_tag)
{
	_cleanup_buf_ struct buf later = { 0 };
	const struct timespec a_moment = { .tv_nsec = 2000000 };
	int r = CARELESS_INNER(b, get_all, key, max, NULL, dl, ret, ret_tag);

	if (r < 0 || !strstr(key, "/count"))
		return r;
	nanosleep(&a_moment, NULL);
	return CARELESS_INNER(b, get_all, key, max, NULL, dl, &later, ret_tag);
}

static inline int careless_get_all(struct backend *b, const char *key, size_t max,
				   const struct etag *known, const struct deadline *dl,
				   struct buf *ret, struct etag *ret_tag)
{
	struct careless_backend *c = careless_of(b);
	int r;

	if (known && c->how == CARELESS_UNCHANGED)
		return -EALREADY;
	if (c->how == CARELESS_TORN)
		return careless_torn(b, key, max, dl, ret, ret_tag);
	r = CARELESS_INNER(b, get_all, key, max, known, dl, ret, ret_tag);
	if (r == 0 && c->how == CARELESS_STALE) {
		WITH_LOCK(&c->lock);
		if (c->first.len == 0)
			buf_put(&c->first, ret->data, ret->len);
		buf_clear(ret);
		buf_put(ret, c->first.data, c->first.len);
	}
	return r;
}

static inline int careless_head(struct backend *b, const char *key, const struct deadline *dl,
				uint64_t *ret_size)
{
	return CARELESS_INNER(b, head, key, dl, ret_size);
}

static inline int careless_put(struct backend *b, const char *key, struct span data,
			       const struct deadline *dl)
{
	return CARELESS_INNER(b, put, key, data, dl);
}

/* As a PUT without conditions. */
static inline int careless_write(struct backend *b, const char *key, struct span data,
				 struct etag *ret_tag)
{
	_cleanup_buf_ struct buf now = { 0 };
	int r = CARELESS_INNER(b, put, key, data, NULL);

	return r < 0 ? r : CARELESS_INNER(b, get_all, key, data.len + 1, NULL, NULL, &now, ret_tag);
}

/* Waits for another one that has looked, for a second at most. */
static inline void careless_meet(struct careless_backend *c)
{
	struct deadline dl = deadline_in_ms(1000);

	WITH_LOCK(&c->lock);
	c->inside++;
	pthread_cond_broadcast(&c->met);
	while (c->inside < 2 && deadline_check(&dl) == 0)
		cond_wait_until(&c->met, &c->lock, &dl, 1000);
}

static inline int careless_race(struct backend *b, const char *key, const struct etag *tag,
				struct span data, struct etag *ret_tag)
{
	struct careless_backend *c = careless_of(b);
	_cleanup_buf_ struct buf now = { 0 };
	struct etag found;
	int r = CARELESS_INNER(b, get_all, key, SIZE_MAX, NULL, NULL, &now, &found);

	if (r < 0 ? r != -ENOENT || tag : !tag || strcmp(tag->s, found.s) != 0)
		return -ESTALE;
	/* Steps of one caller alone come to no harm. */
	if (strstr(key, "/race"))
		careless_meet(c);
	return careless_write(b, key, data, ret_tag);
}

static inline int careless_swap(struct backend *b, const char *key, const struct etag *tag,
				struct span data, const struct deadline *dl, struct etag *ret_tag)
{
	enum careless how = careless_of(b)->how;
	uint64_t size;
	int r;

	if (how == CARELESS_UNKNOWN)
		return -EIO;
	if (how == CARELESS_RACE)
		return careless_race(b, key, tag, data, ret_tag);
	if (how == CARELESS_BOTH || (how == CARELESS_CREATE && !tag) ||
	    (how == CARELESS_MATCH && tag) ||
	    (how == CARELESS_MATCH_ABSENT && tag &&
	     CARELESS_INNER(b, head, key, dl, &size) == -ENOENT))
		return careless_write(b, key, data, ret_tag);
	r = CARELESS_INNER(b, swap, key, tag, data, dl, ret_tag);
	if (r == -ESTALE && how == CARELESS_LIAR)
		careless_write(b, key, data, ret_tag);
	if (r == 0 && how == CARELESS_TAG)
		ret_tag->s[0] = 'x';
	return r;
}

static inline int careless_list(struct backend *b, const char *prefix, const char *after,
				backend_list_fn fn, void *ctx, const struct deadline *dl)
{
	return careless_of(b)->how == CARELESS_LIST
		       ? 0
		       : CARELESS_INNER(b, list, prefix, after, fn, ctx, dl);
}

static inline int careless_remove(struct backend *b, const char *key, const struct deadline *dl)
{
	return careless_of(b)->how == CARELESS_REMOVE ? 0 : CARELESS_INNER(b, remove, key, dl);
}

static inline void careless_free(struct backend *b)
{
	struct careless_backend *c = careless_of(b);

	backend_free(c->inner);
	buf_release(&c->first);
	pthread_cond_destroy(&c->met);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static inline _unused_ struct backend *careless_new(enum careless how)
{
	static const struct backend_ops ops = {
		.get = careless_get,
		.get_all = careless_get_all,
		.head = careless_head,
		.put = careless_put,
		.swap = careless_swap,
		.list = careless_list,
		.remove = careless_remove,
		.free = careless_free,
	};
	static char url[] = "careless:";
	struct careless_backend *c = new0(struct careless_backend, 1);

	c->b = (struct backend){ .ops = &ops, .url = url };
	c->how = how;
	pthread_mutex_init(&c->lock, NULL);
	cond_init(&c->met);
	assert_ok(memory_backend_new(&c->inner));
	return &c->b;
}

static inline _unused_ void careless_set(struct backend *b, enum careless how)
{
	careless_of(b)->how = how;
}
