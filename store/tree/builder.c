/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Nodes level by level, of tree/builder.h.
 *
 * Invariants
 *  - an open node has an entry at least, and nothing in it before the last ends a node
 *  - what a node that ended became stands in the level above before anything else is added
 *  - a level that had one entry only, under no other level, is no level: that child is the root
 */
#include "tree/builder.h"

#include "tree/boundary.h"

enum {
	HINTS_FIRST = 64
};

/* A child alone in its node never ends it, so that one child makes one node end at most. */
_Static_assert(2 + FILE_NAME_MAX + OID_SIZE + 4 * 8 + 1 < NODE_MIN, "a child's entry is small");

void tree_builder_init(struct tree_builder *b, enum tree_kind kind, struct node_sink *sink)
{
	*b = (struct tree_builder){ .kind = kind, .sink = sink };
}

void tree_builder_release(struct tree_builder *b)
{
	for (unsigned i = 0; i < TREE_LEVELS; i++) {
		buf_release(&b->levels[i].canon);
		buf_release(&b->levels[i].inlined);
		free(b->levels[i].hints);
	}
	buf_release(&b->child);
}

static void node_begin(struct tree_builder *b, unsigned level, struct span first_key)
{
	struct tree_level *l = &b->levels[level];

	buf_clear(&l->canon);
	buf_clear(&l->inlined);
	node_canon_begin(&l->canon, b->kind, (uint8_t)level);
	l->count = 0;
	l->sum = (struct tree_sum){ 0 };
	tree_key_set(&l->first_key, first_key);
}

static int hints_reserve(struct tree_level *l)
{
	size_t cap = MAX(2 * l->hints_cap, (size_t)HINTS_FIRST);
	struct entry_hint *p;

	if (l->count < l->hints_cap)
		return 0;
	p = realloc(l->hints, cap * sizeof(*p));
	if (!p)
		return -ENOMEM;
	l->hints = p;
	l->hints_cap = cap;
	return 0;
}

static int node_append(struct tree_builder *b, unsigned level, const struct tree_item *it)
{
	struct tree_level *l = &b->levels[level];
	struct entry_hint hint = it->hint;

	if (hint.inlined.len > INLINE_MAX)
		hint.inlined.len = 0;
	if (l->size == 0)
		node_begin(b, level, it->key);
	if (hints_reserve(l) < 0)
		return -ENOMEM;
	buf_put(&l->canon, it->bytes.data, it->bytes.len);
	buf_put(&l->inlined, hint.inlined.data, hint.inlined.len);
	if (buf_failed(&l->canon) || buf_failed(&l->inlined))
		return -ENOMEM;
	l->hints[l->count++] = hint;
	l->size += it->bytes.len;
	l->sum = tree_sum_add(l->sum, it->sum);
	l->total++;
	return 0;
}

static int node_end(struct tree_builder *b, unsigned level, struct child_rec *ret)
{
	struct tree_level *l = &b->levels[level];
	const uint8_t *inlined = l->inlined.data;
	struct child_rec c = { .sum = l->sum };
	int r;

	for (uint32_t i = 0; i < l->count; i++) {
		if (l->hints[i].inlined.len == 0)
			continue;
		l->hints[i].inlined.data = inlined;
		inlined += l->hints[i].inlined.len;
	}
	node_canon_end(&l->canon, l->count);
	r = b->sink->put(b->sink, buf_span(&l->canon), l->hints, l->count, &c.id, &c.loc);
	if (r < 0)
		return r;
	b->ended_key = l->first_key;
	c.key = tree_key_span(&b->ended_key);
	l->size = 0;
	*ret = c;
	return 0;
}

static struct tree_item item_of_child(struct tree_builder *b, const struct child_rec *c)
{
	struct tree_item it = { .sum = c->sum, .hint.loc = c->loc };

	buf_clear(&b->child);
	child_put(&b->child, b->kind, c);
	it.bytes = buf_span(&b->child);
	if (b->kind == TREE_EXTENTS) {
		it.cut_key = span_of(it.bytes.data, OID_SIZE);
	} else {
		/* The key as it lies there, behind its length; @c may borrow what changes. */
		it.key = span_of(it.bytes.data + 2, c->key.len);
		it.cut_key = it.key;
	}
	return it;
}

/* Adds a child to @level, and what nodes that end by it become to the levels above. */
static int child_add(struct tree_builder *b, unsigned level, struct child_rec c)
{
	for (;; level++) {
		struct child_rec ended;
		struct tree_level *l;
		struct tree_item it;
		bool has_ended;
		int r;

		if (level >= TREE_LEVELS)
			return -EFBIG;
		l = &b->levels[level];
		if (l->total == 0)
			l->only = (struct tree_root){ .id = c.id, .loc = c.loc, .sum = c.sum };
		it = item_of_child(b, &c);
		if (buf_failed(&b->child))
			return -ENOMEM;

		has_ended = boundary_before(l->size, it.bytes.len);
		r = has_ended ? node_end(b, level, &ended) : 0;
		if (r == 0)
			r = node_append(b, level, &it);
		if (r == 0 && boundary_after(l->size, it.bytes.len, it.cut_key, level)) {
			has_ended = true;
			r = node_end(b, level, &ended);
		}
		if (r < 0 || !has_ended)
			return r;
		c = ended;
	}
}

int tree_builder_end_node(struct tree_builder *b, unsigned level)
{
	struct child_rec c;
	int r;

	r = node_end(b, level, &c);
	return r < 0 ? r : child_add(b, level + 1, c);
}

int tree_builder_add(struct tree_builder *b, const struct tree_item *it)
{
	struct tree_level *l = &b->levels[0];
	int r = 0;

	if (boundary_before(l->size, it->bytes.len))
		r = tree_builder_end_node(b, 0);
	if (r == 0)
		r = node_append(b, 0, it);
	if (r == 0 && boundary_after(l->size, it->bytes.len, it->cut_key, 0))
		r = tree_builder_end_node(b, 0);
	return r;
}

int tree_builder_take(struct tree_builder *b, unsigned level, const struct child_rec *child)
{
	return child_add(b, level + 1, *child);
}

bool tree_builder_is_even(const struct tree_builder *b, unsigned level)
{
	for (unsigned i = 0; i <= level; i++) {
		if (b->levels[i].size > 0)
			return false;
	}
	return true;
}

bool tree_builder_cuts_before(const struct tree_builder *b, unsigned level, size_t size)
{
	return boundary_before(b->levels[level].size, size);
}

/* Is @level the highest that has had anything? */
static bool is_top(const struct tree_builder *b, unsigned level)
{
	for (unsigned i = level + 1; i < TREE_LEVELS; i++) {
		if (b->levels[i].total > 0)
			return false;
	}
	return true;
}

int tree_builder_finish(struct tree_builder *b, struct tree_root *ret, unsigned *ret_level,
			bool *ret_is_whole)
{
	unsigned level = 0;
	int r;

	if (b->levels[0].total == 0 && is_top(b, 0)) {
		*ret = (struct tree_root){ 0 };
		*ret_level = 0;
		*ret_is_whole = false;
		return 0;
	}
	/* Ends at the latest when the levels do: a node that ended makes one more. */
	while (level == 0 || !is_top(b, level) || b->levels[level].total > 1) {
		if (b->levels[level].size > 0) {
			r = tree_builder_end_node(b, level);
			if (r < 0)
				return r;
		}
		level++;
	}
	*ret = b->levels[level].only;
	*ret_level = level - 1;
	*ret_is_whole = b->levels[level - 1].total == 0;
	return 0;
}
