/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Cursors and look-up, of tree/tree.h.
 *
 * Invariants
 *  - path[0 .. depth) is a chain: path[d + 1].node is the child at path[d].i, and was held against
 *    what its parent says when it was entered
 *  - keys ascend over the whole tree, not just within nodes: a node that is entered must end below
 *    the next key that any node above it has
 *  - levels fall by one from node to node, so no chain is longer than TREE_LEVELS
 */
#include "tree/tree.h"

void tree_cursor_init(struct tree_cursor *c, enum tree_kind kind, struct node_source *source)
{
	*c = (struct tree_cursor){ .kind = kind, .source = source, .is_end = true };
}

void tree_cursor_release(struct tree_cursor *c)
{
	while (c->depth > 0)
		node_unref(c->path[--c->depth].node);
	c->is_end = true;
}

static int fetch(struct tree_cursor *c, const struct oid *id, const struct loc *hint,
		 struct node **ret)
{
	int r = c->source->get(c->source, id, hint, ret);

	return r == -ENOENT ? -EIO : r;
}

static void push(struct tree_cursor *c, struct node *n)
{
	c->path[c->depth].node = n;
	c->path[c->depth].i = 0;
	c->depth++;
}

static bool root_is_as_said(const struct tree_root *root, const struct node *n, enum tree_kind kind)
{
	struct tree_sum said = root->sum;

	if (kind == TREE_EXTENTS)
		said.items = n->sum.items;
	return n->kind == kind && (n->level == 0 || n->count > 1) && tree_sum_equal(&said, &n->sum);
}

int tree_enter(struct tree_cursor *c, const struct tree_root *root)
{
	struct node *n;
	int r;

	tree_cursor_release(c);
	if (oid_is_null(&root->id))
		return 0;
	r = fetch(c, &root->id, &root->loc, &n);
	if (r < 0)
		return r;
	push(c, n);
	if (!root_is_as_said(root, n, c->kind)) {
		tree_cursor_release(c);
		return -EBADMSG;
	}
	c->is_end = false;
	return 0;
}

bool tree_bound(const struct tree_cursor *c, unsigned depth, struct span *ret)
{
	while (depth-- > 0) {
		const struct node *n = c->path[depth].node;
		uint32_t next = c->path[depth].i + 1;

		if (next < n->count) {
			*ret = node_key(n, next);
			return true;
		}
	}
	return false;
}

static int check_below(const struct tree_cursor *c, const struct node *child)
{
	struct span bound;
	int r;

	r = node_check_child(tree_leaf(c), tree_index(c), child);
	if (r < 0 || c->kind == TREE_EXTENTS || !tree_bound(c, c->depth, &bound))
		return r;
	return span_cmp(node_key(child, child->count - 1), bound) < 0 ? 0 : -EBADMSG;
}

int tree_down(struct tree_cursor *c)
{
	struct child_rec child;
	struct node *n;
	int r;

	node_child(tree_leaf(c), tree_index(c), &child);
	r = fetch(c, &child.id, &child.loc, &n);
	if (r == 0) {
		r = check_below(c, n);
		if (r == 0)
			push(c, n);
		else
			node_unref(n);
	}
	if (r < 0)
		tree_cursor_release(c);
	return r;
}

void tree_up(struct tree_cursor *c)
{
	node_unref(c->path[--c->depth].node);
}

void tree_step(struct tree_cursor *c)
{
	while (++c->path[c->depth - 1].i == tree_leaf(c)->count) {
		tree_up(c);
		if (c->depth == 0) {
			c->is_end = true;
			return;
		}
	}
}

/* From an entry of any level to the first of the leaf below it. */
static int down_to_leaf(struct tree_cursor *c)
{
	int r = 0;

	while (r == 0 && !c->is_end && tree_leaf(c)->level > 0)
		r = tree_down(c);
	return r;
}

int tree_next(struct tree_cursor *c)
{
	tree_step(c);
	return down_to_leaf(c);
}

/* To where @key is or would be in its leaf, which may be behind the leaf's last entry. */
static int seek_in_leaf(struct tree_cursor *c, const struct tree_root *root, struct span key,
			bool *ret_equal)
{
	int r;

	*ret_equal = false;
	r = tree_enter(c, root);
	while (r == 0 && !c->is_end) {
		const struct node *n = tree_leaf(c);
		uint32_t i = node_search(n, key, ret_equal);

		if (n->level > 0 && !*ret_equal && i > 0)
			i--;
		c->path[c->depth - 1].i = i;
		if (n->level == 0)
			break;
		r = tree_down(c);
	}
	return r;
}

int tree_seek_key(struct tree_cursor *c, const struct tree_root *root, struct span key)
{
	bool is_equal;
	int r;

	r = seek_in_leaf(c, root, key, &is_equal);
	if (r < 0 || c->is_end || tree_index(c) < tree_leaf(c)->count)
		return r;
	c->path[c->depth - 1].i--;
	return tree_next(c);
}

static uint64_t measure(const struct tree_sum *s, bool by_bytes)
{
	return by_bytes ? s->bytes : s->items;
}

/* To the entry of @n that covers @at, which there is; what is left of @at there. */
static uint32_t entry_at(const struct node *n, uint64_t *at, bool by_bytes)
{
	for (uint32_t i = 0;; i++) {
		struct tree_sum s = node_entry_sum(n, i);

		if (*at < measure(&s, by_bytes))
			return i;
		*at -= measure(&s, by_bytes);
	}
}

/* To the entry that covers @at, counted in entries or bytes; @ret_into: how far into it. */
static int seek_sum(struct tree_cursor *c, const struct tree_root *root, uint64_t at, bool by_bytes,
		    uint64_t *ret_into)
{
	uint64_t total;
	int r;

	r = tree_enter(c, root);
	if (r < 0)
		return r;
	total = c->is_end ? 0 : measure(&tree_leaf(c)->sum, by_bytes);
	if (at >= total) {
		tree_cursor_release(c);
		*ret_into = at - total;
		return 0;
	}
	for (;;) {
		const struct node *n = tree_leaf(c);

		/* Below the node's sum, which is the sum of its entries and what its parent says.
		 */
		c->path[c->depth - 1].i = entry_at(n, &at, by_bytes);
		if (n->level == 0)
			break;
		r = tree_down(c);
		if (r < 0)
			return r;
	}
	*ret_into = at;
	return 0;
}

int tree_seek_ordinal(struct tree_cursor *c, const struct tree_root *root, uint64_t ordinal)
{
	uint64_t into;

	return seek_sum(c, root, ordinal, false, &into);
}

int tree_seek_byte(struct tree_cursor *c, const struct tree_root *root, uint64_t off,
		   uint64_t *ret_start)
{
	uint64_t into;
	int r;

	r = seek_sum(c, root, off, true, &into);
	if (r == 0)
		*ret_start = off - into;
	return r;
}

/* The leaf that has @key, as a reference of the caller's, and where. */
static int find(enum tree_kind kind, struct node_source *s, const struct tree_root *root,
		struct span key, struct node **ret_leaf, uint32_t *ret_i)
{
	_cleanup_(tree_cursor_release) struct tree_cursor c;
	bool is_found;
	int r;

	tree_cursor_init(&c, kind, s);
	r = seek_in_leaf(&c, root, key, &is_found);
	if (r < 0)
		return r;
	if (!is_found)
		return -ENOENT;
	*ret_i = tree_index(&c);
	*ret_leaf = node_ref(c.path[c.depth - 1].node);
	return 0;
}

int dir_lookup(struct node_source *s, const struct tree_root *root, struct span name,
	       struct node **ret_leaf, struct dirent_rec *ret)
{
	uint32_t i;
	int r;

	r = find(TREE_DIR, s, root, name, ret_leaf, &i);
	if (r == 0)
		node_dirent(*ret_leaf, i, ret);
	return r;
}

int links_lookup(struct node_source *s, const struct tree_root *root, const struct id128 *link,
		 struct node **ret_leaf, struct link_rec *ret)
{
	uint32_t i;
	int r;

	r = find(TREE_LINKS, s, root, span_of(link->b, sizeof(link->b)), ret_leaf, &i);
	if (r == 0)
		node_link(*ret_leaf, i, ret);
	return r;
}
