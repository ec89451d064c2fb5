/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The streaming editor of tree/edit.h.
 *
 * A cursor goes through the base once, a builder makes the result. Between two changes the base's
 * entries go from the one to the other, as high in the tree as can be. A node of level L may go
 * over whole when the result is bound to have it too:
 *
 *  - it starts where no node of level L or below is open in the result ("even"), and
 *  - it ends there. What ended it in the base was its last entry's hash, which has not changed, or
 *    the size of what follows, or the end of the tree. So either the base's next entry follows in
 *    the result as well, or nothing does ("settled").
 *
 * Where it is not so, the cursor goes down into the node, and its entries are treated likewise.
 * Once the result ends a node where the base begins one, the cursor goes up again ("rejoined").
 *
 * A hole at the end of the result is held back, since the next may join it; while it is, nothing is
 * even.
 */
#include "tree/edit.h"

#include "tree/builder.h"

struct tree_edit {
	enum tree_kind kind;
	struct tree_root base;
	struct tree_cursor at; /* the base's rest; it may stand above the leaves */
	bool is_base_open; /* the cursor has been set to the base's start */
	struct tree_builder out;
	struct buf entry; /* scratch */
	struct tree_key last_key; /* of the last call */
	uint64_t left; /* extents: bytes of the base that no call has spoken of */
	uint64_t kept; /* extents: bytes to be kept from the cursor on */
	uint64_t hole; /* extents: bytes of a hole that ends the result */
	int error;
};

/* What of the base is kept, from the cursor on. */
struct stretch {
	bool is_last; /* nothing follows in the result */
	struct span below; /* directories and links, unless is_last: keys below this one */
	uint64_t bytes; /* extents */
};

int tree_edit_new(enum tree_kind kind, struct node_source *source, struct node_sink *sink,
		  const struct tree_root *base, struct tree_edit **ret)
{
	struct tree_edit *e = new0(struct tree_edit, 1);

	if (!e)
		return -ENOMEM;
	e->kind = kind;
	if (base)
		e->base = *base;
	e->left = e->base.sum.bytes;
	tree_cursor_init(&e->at, kind, source);
	tree_builder_init(&e->out, kind, sink);
	*ret = e;
	return 0;
}

void tree_edit_free(struct tree_edit *e)
{
	if (!e)
		return;
	tree_cursor_release(&e->at);
	tree_builder_release(&e->out);
	buf_release(&e->entry);
	free(e);
}

static int base_open(struct tree_edit *e)
{
	if (e->is_base_open)
		return 0;
	e->is_base_open = true;
	return tree_enter(&e->at, &e->base);
}

static uint64_t bytes_at(const struct tree_edit *e, unsigned depth)
{
	return node_entry_sum(e->at.path[depth - 1].node, e->at.path[depth - 1].i).bytes;
}

static bool is_even(const struct tree_edit *e, unsigned level)
{
	return e->hole == 0 && tree_builder_is_even(&e->out, level);
}

/* Does the result go on after the base's entry at @depth as the base does, or not at all? */
static bool is_settled(const struct tree_edit *e, unsigned depth, const struct stretch *s)
{
	struct span next;

	if (e->kind == TREE_EXTENTS) {
		uint64_t bytes = bytes_at(e, depth);

		return bytes < s->bytes || (s->is_last && bytes == s->bytes);
	}
	return s->is_last || (tree_bound(&e->at, depth, &next) && span_cmp(next, s->below) < 0);
}

static bool is_over(const struct tree_edit *e, const struct stretch *s)
{
	if (e->at.is_end)
		return true;
	if (e->kind == TREE_EXTENTS)
		return s->bytes == 0;
	return !s->is_last &&
	       span_cmp(node_key(tree_leaf(&e->at), tree_index(&e->at)), s->below) >= 0;
}

static int add_extent(struct tree_edit *e, const struct extent_rec *x)
{
	static const struct oid zeroes;
	struct tree_item it = {
		.cut_key = span_of(x->is_hole ? zeroes.b : x->id.b, OID_SIZE),
		.sum = { .items = 1, .bytes = x->len, .data = x->is_hole ? 0 : x->len },
		.hint.loc = x->is_hole ? LOC_NOWHERE : x->loc,
	};

	buf_clear(&e->entry);
	extent_put(&e->entry, x);
	if (buf_failed(&e->entry))
		return -ENOMEM;
	it.bytes = buf_span(&e->entry);
	return tree_builder_add(&e->out, &it);
}

static int end_hole(struct tree_edit *e)
{
	struct extent_rec x = { .is_hole = true, .len = e->hole };

	if (e->hole == 0)
		return 0;
	e->hole = 0;
	return add_extent(e, &x);
}

/* The next extent of the result. */
static int append_extent(struct tree_edit *e, const struct extent_rec *x)
{
	int r;

	if (x->is_hole)
		return __builtin_add_overflow(e->hole, x->len, &e->hole) ? -EINVAL : 0;
	r = end_hole(e);
	return r < 0 ? r : add_extent(e, x);
}

static int keep_entry(struct tree_edit *e, struct stretch *s)
{
	const struct node *n = tree_leaf(&e->at);
	uint32_t i = tree_index(&e->at);
	struct tree_item it;
	struct extent_rec x;
	int r;

	if (e->kind == TREE_EXTENTS) {
		node_extent(n, i, &x);
		if (x.len > s->bytes)
			return -EINVAL;
		s->bytes -= x.len;
		r = append_extent(e, &x);
	} else {
		it.bytes = node_entry_bytes(n, i);
		it.key = it.cut_key = node_key(n, i);
		it.sum = node_entry_sum(n, i);
		node_entry_hint(n, i, &it.hint);
		r = tree_builder_add(&e->out, &it);
	}
	if (r == 0)
		tree_step(&e->at);
	return r;
}

static int keep_subtree(struct tree_edit *e, struct stretch *s)
{
	const struct node *n = tree_leaf(&e->at);
	struct child_rec child;
	int r;

	node_child(n, tree_index(&e->at), &child);
	if (e->kind == TREE_EXTENTS)
		s->bytes -= child.sum.bytes;
	r = tree_builder_take(&e->out, n->level - 1u, &child);
	if (r == 0)
		tree_step(&e->at);
	return r;
}

/*
 * Is the cursor at the start of a node that may go over whole after all? It was entered because a
 * node was open in the result; perhaps that one ends here, as the base's did, by the size of what
 * follows. Returns 1, 0, or -errno.
 */
static int rejoin(struct tree_edit *e, const struct stretch *s)
{
	const struct node *n = tree_leaf(&e->at);
	int r;

	if (tree_index(&e->at) > 0 || e->at.depth == 1 || !is_settled(e, e->at.depth - 1, s))
		return 0;
	if (is_even(e, n->level))
		return 1;
	if (e->hole > 0 || (n->level > 0 && !is_even(e, n->level - 1u)) ||
	    !tree_builder_cuts_before(&e->out, n->level, node_entry_bytes(n, 0).len))
		return 0;
	r = tree_builder_end_node(&e->out, n->level);
	return r < 0 ? r : 1;
}

static int keep(struct tree_edit *e, struct stretch *s)
{
	int r;

	r = base_open(e);
	while (r == 0 && !is_over(e, s)) {
		const struct node *n = tree_leaf(&e->at);

		r = rejoin(e, s);
		if (r < 0)
			return r;
		if (r > 0) {
			tree_up(&e->at);
			r = 0;
		} else if (n->level == 0) {
			r = keep_entry(e, s);
		} else if (is_settled(e, e->at.depth, s) && is_even(e, n->level - 1u)) {
			r = keep_subtree(e, s);
		} else {
			r = tree_down(&e->at);
		}
	}
	return r;
}

/* Passes over the base's entry of @key, if the cursor stands before it. */
static int drop(struct tree_edit *e, struct span key)
{
	while (!e->at.is_end && span_equal(node_key(tree_leaf(&e->at), tree_index(&e->at)), key)) {
		int r;

		if (tree_leaf(&e->at)->level == 0) {
			tree_step(&e->at);
			return 0;
		}
		r = tree_down(&e->at);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Keeps what is below @key and drops what is there. */
static int move_past(struct tree_edit *e, struct span key)
{
	struct stretch s = { .below = key };
	int r;

	if (key.len > FILE_NAME_MAX || span_cmp(key, tree_key_span(&e->last_key)) <= 0)
		return -EINVAL;
	r = keep(e, &s);
	if (r == 0)
		r = drop(e, key);
	if (r == 0)
		tree_key_set(&e->last_key, key);
	return r;
}

/* Would a reader get what is meant out of the bytes? */
static bool reads_as_dirent(struct span bytes, const struct dirent_rec *d)
{
	struct cursor c = cursor_of(bytes);
	struct dirent_rec found;

	if (dirent_read(&c, &found) < 0 || !cursor_at_end(&c) || !span_equal(found.name, d->name) ||
	    found.has_link != d->has_link)
		return false;
	if (d->has_link)
		return id128_equal(&found.link, &d->link) && found.inode.type == d->inode.type;
	return inode_equal(&found.inode, &d->inode);
}

static bool reads_as_link(struct span bytes, const struct link_rec *l)
{
	struct cursor c = cursor_of(bytes);
	struct link_rec found;

	return link_read(&c, &found) == 0 && cursor_at_end(&c) && found.nlink == l->nlink &&
	       inode_equal(&found.inode, &l->inode);
}

static bool reads_as_extent(struct span bytes, const struct extent_rec *x)
{
	struct cursor c = cursor_of(bytes);
	struct extent_rec found;

	return extent_read(&c, &found) == 0 && cursor_at_end(&c) && found.len == x->len;
}

static int put_dirent(struct tree_edit *e, const struct dirent_rec *d)
{
	struct tree_item it = { .sum = inode_sum(&d->inode, d->has_link) };
	int r;

	if (!file_name_is_valid(d->name) || d->inode.xattrs.list.len > XATTR_INLINE_MAX)
		return -EINVAL;
	buf_clear(&e->entry);
	dirent_put(&e->entry, d);
	if (buf_failed(&e->entry))
		return -ENOMEM;
	if (!reads_as_dirent(buf_span(&e->entry), d))
		return -EINVAL;
	r = move_past(e, d->name);
	if (r < 0)
		return r;
	it.bytes = buf_span(&e->entry);
	it.key = it.cut_key = d->name;
	if (!d->has_link)
		it.hint = inode_hint_get(&d->inode);
	return tree_builder_add(&e->out, &it);
}

static int put_link(struct tree_edit *e, const struct link_rec *l)
{
	struct span key = span_of(l->link.b, sizeof(l->link.b));
	struct tree_item it = { .key = key, .cut_key = key, .sum.items = 1 };
	int r;

	if (l->inode.xattrs.list.len > XATTR_INLINE_MAX)
		return -EINVAL;
	buf_clear(&e->entry);
	link_put(&e->entry, l);
	if (buf_failed(&e->entry))
		return -ENOMEM;
	if (!reads_as_link(buf_span(&e->entry), l))
		return -EINVAL;
	r = move_past(e, key);
	if (r < 0)
		return r;
	it.bytes = buf_span(&e->entry);
	it.hint = inode_hint_get(&l->inode);
	return tree_builder_add(&e->out, &it);
}

/* Takes over what the calls so far said to keep. */
static int keep_extents(struct tree_edit *e, bool is_last)
{
	struct stretch s = { .is_last = is_last, .bytes = e->kept };
	int r;

	if (e->kept == 0)
		return 0;
	e->kept = 0;
	r = keep(e, &s);
	if (r < 0)
		return r;
	return s.bytes > 0 ? -EBADMSG : 0;
}

static int skip_extents(struct tree_edit *e, uint64_t len)
{
	int r;

	if (len == 0)
		return 0;
	if (len > e->left)
		return -EINVAL;
	e->left -= len;
	r = keep_extents(e, false);
	if (r == 0)
		r = base_open(e);
	while (r == 0 && len > 0 && !e->at.is_end) {
		uint64_t bytes = bytes_at(e, e->at.depth);

		if (bytes <= len) {
			len -= bytes;
			tree_step(&e->at);
		} else if (tree_leaf(&e->at)->level > 0) {
			r = tree_down(&e->at);
		} else {
			r = -EINVAL;
		}
	}
	if (r < 0)
		return r;
	return len > 0 ? -EBADMSG : 0;
}

static int put_extent(struct tree_edit *e, const struct extent_rec *x)
{
	int r;

	buf_clear(&e->entry);
	extent_put(&e->entry, x);
	if (buf_failed(&e->entry))
		return -ENOMEM;
	if (!reads_as_extent(buf_span(&e->entry), x))
		return -EINVAL;
	r = keep_extents(e, false);
	return r < 0 ? r : append_extent(e, x);
}

/*
 * A root that was taken over whole, from somewhere in the base, may have a single child: the last
 * node of its level, when all before it is gone. The child is the root then.
 */
static int lower_root(struct tree_edit *e, struct tree_root *root, unsigned level)
{
	for (; level > 0; level--) {
		_cleanup_(node_unrefp) struct node *n = NULL;
		struct child_rec child;
		int r;

		r = e->at.source->get(e->at.source, &root->id, &root->loc, &n);
		if (r < 0)
			return r == -ENOENT ? -EIO : r;
		if (n->kind != e->kind || n->level != level || !tree_sum_equal(&n->sum, &root->sum))
			return -EBADMSG;
		if (n->count > 1)
			return 0;
		node_child(n, 0, &child);
		*root = (struct tree_root){ .id = child.id, .loc = child.loc, .sum = child.sum };
	}
	return 0;
}

/* Is the result the base, which need not be looked at for that? */
static bool is_unchanged(const struct tree_edit *e)
{
	if (e->is_base_open)
		return false;
	if (e->kind != TREE_EXTENTS)
		return true;
	return e->kept == e->base.sum.bytes && e->hole == 0 && e->out.levels[0].total == 0;
}

static int finish(struct tree_edit *e, struct tree_root *ret)
{
	struct stretch rest = { .is_last = true };
	struct tree_root root;
	unsigned level;
	bool is_whole;
	int r;

	if (is_unchanged(e)) {
		*ret = e->base;
		return 0;
	}
	if (e->kind == TREE_EXTENTS) {
		r = keep_extents(e, true);
		if (r == 0)
			r = end_hole(e);
	} else {
		r = keep(e, &rest);
	}
	if (r == 0)
		r = tree_builder_finish(&e->out, &root, &level, &is_whole);
	if (r == 0 && is_whole)
		r = lower_root(e, &root, level);
	if (r == 0)
		*ret = root;
	return r;
}

static int noted(struct tree_edit *e, int r)
{
	if (r < 0)
		e->error = r;
	return r;
}

int dir_edit_put(struct tree_edit *e, const struct dirent_rec *d)
{
	return noted(e, e->error ?: put_dirent(e, d));
}

int dir_edit_remove(struct tree_edit *e, struct span name)
{
	return noted(e, e->error ?: move_past(e, name));
}

int links_edit_put(struct tree_edit *e, const struct link_rec *l)
{
	return noted(e, e->error ?: put_link(e, l));
}

int links_edit_remove(struct tree_edit *e, const struct id128 *link)
{
	return noted(e, e->error ?: move_past(e, span_of(link->b, sizeof(link->b))));
}

int extents_edit_keep(struct tree_edit *e, uint64_t len)
{
	if (e->error)
		return e->error;
	if (len > e->left)
		return noted(e, -EINVAL);
	e->left -= len;
	e->kept += len;
	return 0;
}

int extents_edit_skip(struct tree_edit *e, uint64_t len)
{
	return noted(e, e->error ?: skip_extents(e, len));
}

int extents_edit_put(struct tree_edit *e, const struct extent_rec *x)
{
	return noted(e, e->error ?: put_extent(e, x));
}

int tree_edit_finish(struct tree_edit *e, struct tree_root *ret)
{
	return noted(e, e->error ?: finish(e, ret));
}
