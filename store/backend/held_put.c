/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The put of backend/held_put.h.
 */
#include "backend/held_put.h"

int held_put_init(struct held_put *h, struct backend *b, const char *key)
{
	if (!backend_key_is_valid(key))
		return -EINVAL;
	h->p.backend = b;
	h->key = strdup(key);
	return h->key ? 0 : -ENOMEM;
}

void held_put_release(struct held_put *h)
{
	buf_release(&h->data);
	free(h->key);
}

int held_put_begin(struct backend *b, const char *key, struct backend_put **ret)
{
	struct held_put *h = new0(struct held_put, 1);
	int r = h ? held_put_init(h, b, key) : -ENOMEM;

	if (r == 0)
		*ret = &h->p;
	else if (h)
		held_put_abort(&h->p);
	return r;
}

int held_put_write(struct backend_put *put, struct span data, const struct deadline *dl)
{
	struct held_put *h = container_of(put, struct held_put, p);
	int r = deadline_check(dl);

	if (r < 0)
		return r;
	buf_put(&h->data, data.data, data.len);
	return buf_failed(&h->data) ? -ENOMEM : 0;
}

void held_put_abort(struct backend_put *put)
{
	struct held_put *h = container_of(put, struct held_put, p);

	held_put_release(h);
	free(h);
}
