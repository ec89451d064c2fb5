/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A backend that lets a test do something of its own right before or after a swap, as another
 * machine might, or after a look whose answer is not delivered yet. Puts in pieces are not passed
 * on.
 */
#pragma once

#include "backend/backend.h"
#include "check.h"

struct meddler {
	struct backend base;
	struct backend *inner; /* borrowed */
	/* Called with the key, from the thread that swaps, while @left > 0. */
	void (*before)(const char *key, void *ctx);
	void (*after)(const char *key, void *ctx);
	void (*after_look)(const char *key, void *ctx); /* get_all, list */
	const char *prefix; /* of the keys it is for */
	int left;
	void *ctx;
};

static inline struct backend *meddled(struct backend *b)
{
	return container_of(b, struct meddler, base)->inner;
}

static inline int meddler_get(struct backend *b, const char *key, uint64_t off, size_t len,
			      void *buf, const struct deadline *dl, size_t *ret_len)
{
	return meddled(b)->ops->get(meddled(b), key, off, len, buf, dl, ret_len);
}

static inline bool meddler_is_due(struct meddler *m, const char *key)
{
	if (strncmp(key, m->prefix ?: "", strlen(m->prefix ?: "")) != 0 || m->left == 0)
		return false;
	m->left--;
	return true;
}

static inline int meddler_get_all(struct backend *b, const char *key, size_t max,
				  const struct etag * not, const struct deadline *dl,
				  struct buf *ret, struct etag *ret_tag)
{
	struct meddler *m = container_of(b, struct meddler, base);
	int r = m->inner->ops->get_all(m->inner, key, max, not, dl, ret, ret_tag);

	if (m->after_look && meddler_is_due(m, key))
		m->after_look(key, m->ctx);
	return r;
}

static inline int meddler_put(struct backend *b, const char *key, struct span data,
			      const struct deadline *dl)
{
	return meddled(b)->ops->put(meddled(b), key, data, dl);
}

static inline int meddler_swap(struct backend *b, const char *key, const struct etag *tag,
			       struct span data, const struct deadline *dl, struct etag *ret_tag)
{
	struct meddler *m = container_of(b, struct meddler, base);
	bool is_due = (m->before || m->after) && meddler_is_due(m, key);
	int r;

	if (is_due && m->before)
		m->before(key, m->ctx);
	r = m->inner->ops->swap(m->inner, key, tag, data, dl, ret_tag);
	if (is_due && m->after)
		m->after(key, m->ctx);
	return r;
}

static inline int meddler_list(struct backend *b, const char *prefix, const char *after,
			       backend_list_fn fn, void *ctx, const struct deadline *dl)
{
	struct meddler *m = container_of(b, struct meddler, base);
	int r = m->inner->ops->list(m->inner, prefix, after, fn, ctx, dl);

	if (m->after_look && meddler_is_due(m, prefix))
		m->after_look(prefix, m->ctx);
	return r;
}

static const struct backend_ops meddler_ops = {
	.get = meddler_get,
	.get_all = meddler_get_all,
	.put = meddler_put,
	.swap = meddler_swap,
	.list = meddler_list,
};

static inline struct meddler meddler_over(struct backend *inner)
{
	return (struct meddler){ .base = { .ops = &meddler_ops }, .inner = inner };
}
