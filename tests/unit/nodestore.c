/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The nodes in memory of nodestore.h. Each node lies "at" an offset of its own in a pack that is not
 * there, so that hints can be followed through trees.
 */
#include "nodestore.h"

static const struct id128 pack = { { 0x70, 0x61, 0x63, 0x6b } };

struct stored {
	struct hnode link;
	struct oid id;
	struct loc loc;
	struct buf item; /* as in a frame */
};

static struct stored *find(struct nodestore *s, const struct oid *id)
{
	htab_for_each (h, &s->nodes, oid_hash(id)) {
		struct stored *n = container_of(h, struct stored, link);

		if (oid_equal(&n->id, id))
			return n;
	}
	return NULL;
}

static bool fails_now(struct nodestore *s)
{
	return s->fail_in > 0 && --s->fail_in == 0;
}

static int get(struct node_source *source, const struct oid *id, const struct loc *hint,
	       struct node **ret)
{
	struct nodestore *s = container_of(source, struct nodestore, source);
	struct stored *n = find(s, id);

	s->gets++;
	if (fails_now(s))
		return s->error;
	if (!n)
		return -ENOENT;
	if (hint->state != LOC_AT || hint->offset != n->loc.offset ||
	    !id128_equal(&hint->pack, &pack))
		s->misleading++;
	return node_parse(id, buf_span(&n->item), ret);
}

static struct stored *store(struct nodestore *s, struct span canon, struct span hint)
{
	struct oid id = oid_of(OID_NODE, canon.data, canon.len);
	struct stored *n = find(s, &id);

	if (n)
		return n;
	n = new0(struct stored, 1);
	if (!n)
		abort();
	n->id = id;
	n->loc = (struct loc){ .state = LOC_AT,
			       .pack = pack,
			       .offset = (uint32_t)s->nodes.count + 1 };
	buf_put_u32(&n->item, (uint32_t)canon.len);
	buf_put(&n->item, canon.data, canon.len);
	buf_put(&n->item, hint.data, hint.len);
	if (buf_failed(&n->item) || htab_insert(&s->nodes, &n->link, oid_hash(&id)) < 0)
		abort();
	return n;
}

static int put(struct node_sink *sink, struct span canon, const struct entry_hint *hints,
	       uint32_t count, struct oid *ret_id, struct loc *ret_loc)
{
	struct nodestore *s = container_of(sink, struct nodestore, sink);
	_cleanup_buf_ struct buf hint = { 0 };
	struct stored *n;

	s->puts++;
	if (fails_now(s))
		return s->error;
	for (uint32_t i = 0; i < count; i++) {
		if (hints[i].inlined.len > INLINE_MAX)
			return -EINVAL;
	}
	hint_put(&hint, hints, count);
	n = store(s, canon, buf_span(&hint));
	*ret_id = n->id;
	*ret_loc = n->loc;
	return 0;
}

void nodestore_init(struct nodestore *s)
{
	*s = (struct nodestore){ .source.get = get, .sink.put = put };
}

static void stored_free(struct hnode *h, void *ctx)
{
	struct stored *n = container_of(h, struct stored, link);

	buf_release(&n->item);
	free(n);
}

void nodestore_release(struct nodestore *s)
{
	htab_walk(&s->nodes, stored_free, NULL);
	htab_release(&s->nodes);
}

void nodestore_count_anew(struct nodestore *s)
{
	s->gets = s->puts = s->misleading = 0;
}

struct oid nodestore_add(struct nodestore *s, struct span canon, struct span hint)
{
	return store(s, canon, hint)->id;
}

void nodestore_forget(struct nodestore *s, const struct oid *id)
{
	struct stored *n = find(s, id);

	if (n) {
		htab_remove(&s->nodes, &n->link);
		stored_free(&n->link, NULL);
	}
}

int nodestore_set_up(void **state)
{
	struct nodestore *s = new0(struct nodestore, 1);

	if (!s)
		return -1;
	nodestore_init(s);
	*state = s;
	return 0;
}

int nodestore_tear_down(void **state)
{
	nodestore_release(*state);
	free(*state);
	return 0;
}
