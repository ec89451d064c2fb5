/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Accesses, of object/access.h: what is wanted, and what is held for the retry.
 */
#include "object/access.h"

#include "object/reader_parts.h"

void access_init(struct access *a, struct reader *r, bool may_wait)
{
	*a = (struct access){
		.reader = r,
		.deadline = DEADLINE_NEVER,
		.may_wait = may_wait,
	};
}

void access_release(struct access *a)
{
	for (unsigned i = 0; i < a->pin_count; i++)
		node_unref(a->pins[i]);
	for (unsigned i = 0; i < a->blob_count; i++)
		blob_unref(a->blobs[i]);
	a->pin_count = a->pin_next = a->blob_count = a->blob_next = 0;
	a->want.set = false;
}

const struct deadline *access_deadline(const struct access *acc)
{
	return acc ? &acc->deadline : NULL;
}

struct node *access_node(const struct access *acc, const struct oid *id)
{
	for (unsigned i = 0; acc && i < acc->pin_count; i++)
		if (oid_equal(&acc->pins[i]->id, id))
			return node_ref(acc->pins[i]);
	return NULL;
}

struct blob *access_blob(const struct access *acc, const struct oid *id)
{
	for (unsigned i = 0; acc && i < acc->blob_count; i++)
		if (oid_equal(&acc->blobs[i]->id, id))
			return blob_ref(acc->blobs[i]);
	return NULL;
}

int access_want(struct access *acc, const struct wanted *w)
{
	acc->want.set = true;
	acc->want.kind = w->kind;
	acc->want.id = *w->id;
	acc->want.loc = w->hint ? *w->hint : LOC_NOWHERE;
	return -EAGAIN;
}

/* Takes @n in the place of the oldest. */
static void pin_node(struct access *a, struct node *n)
{
	unsigned i = a->pin_next++ % ACCESS_PINS;

	if (i < a->pin_count)
		node_unref(a->pins[i]);
	else
		a->pin_count = i + 1;
	a->pins[i] = n;
}

static void pin_blob(struct access *a, struct blob *b)
{
	unsigned i = a->blob_next++ % ACCESS_BLOBS;

	if (i < a->blob_count)
		blob_unref(a->blobs[i]);
	else
		a->blob_count = i + 1;
	a->blobs[i] = b;
}

int access_wait(struct access *a)
{
	struct oid id = a->want.id;
	struct loc loc = a->want.loc;
	struct node *n;
	struct blob *b;
	int r;

	a->is_at_hand = false;
	if (!a->want.set)
		return -EAGAIN;
	a->want.set = false;
	if (a->want.kind == OID_NODE) {
		r = reader_node(a->reader, &id, &loc, a, &n);
		if (r == 0)
			pin_node(a, n);
	} else {
		r = reader_chunk(a->reader, &id, &loc, a, &b);
		if (r == 0)
			pin_blob(a, b);
	}
	return r == -ENOENT ? -EIO : r;
}
