/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Going through trees for transfer/push_copy.h, depth first and iteratively: what is new in a tree
 * in comparison with the same tree of another commit, to which everything belongs that the other
 * has not under the same key and on the same level.
 */
#include "base/log.h"
#include "transfer/push_copy.h"

/* A tree that is being gone through, in a directory of another one or at the top. */
struct walk {
	struct walk *up;
	enum tree_kind kind;
	bool has_before;
	struct tree_cursor before; /* in the other commit's tree */
	unsigned depth;
	struct {
		struct moving_node *n; /* owned */
		uint32_t i; /* the next entry */
	} path[TREE_LEVELS];
};

static void walk_free(struct walk *w)
{
	for (unsigned i = 0; i < w->depth; i++)
		moving_node_free(w->path[i].n);
	tree_cursor_release(&w->before);
	free(w);
}

static int get_node(struct copier *c, const struct oid *id, const struct loc *hint,
		    struct node **ret)
{
	int r = c->source.base.get(&c->source.base, id, hint, ret);

	return r == -ENOENT ? -EIO : r;
}

static int enter(struct copier *c, struct walk *w, struct node *node /* taken */, struct loc *up)
{
	int r;

	if (w->depth == TREE_LEVELS) {
		node_unref(node);
		return -EBADMSG;
	}
	r = copier_open(c, node, up, &w->path[w->depth].n);
	if (r == 0)
		w->path[w->depth++].i = 0;
	return r;
}

/* Begins a tree in *@top, unless the other store has it. */
static int begin(struct copier *c, enum tree_kind kind, const struct tree_root *root,
		 const struct tree_root *before, struct loc *at, struct walk **top)
{
	struct node *node;
	struct walk *w;
	int r;

	if (oid_is_null(&root->id) || copier_has(c, &root->id) ||
	    (before && oid_equal(&before->id, &root->id)))
		return 0;
	r = get_node(c, &root->id, &root->loc, &node);
	if (r < 0)
		return r;
	w = new0(struct walk, 1);
	if (!w || node->kind != kind) {
		node_unref(node);
		free(w);
		return w ? -EBADMSG : -ENOMEM;
	}
	w->kind = kind;
	w->up = *top;
	tree_cursor_init(&w->before, kind, &c->source.base);
	*top = w;
	w->has_before = before && kind != TREE_EXTENTS && !oid_is_null(&before->id);
	r = enter(c, w, node, at);
	if (r == 0 && w->has_before)
		r = tree_enter(&w->before, before);
	return r;
}

/* Moves the cursor on to @key as an entry of that level: *@ret_has when it stands there. */
static int meet(struct tree_cursor *b, uint8_t level, struct span key, bool *ret_has)
{
	int r = 0;

	*ret_has = false;
	while (r == 0 && !b->is_end) {
		const struct node *n = tree_leaf(b);
		int order = span_cmp(node_key(n, tree_index(b)), key);
		struct span bound;

		if (order > 0 || (order == 0 && n->level <= level)) {
			*ret_has = order == 0 && n->level == level;
			return 0;
		}
		if (order < 0 && tree_bound(b, b->depth, &bound) && span_cmp(bound, key) <= 0)
			tree_step(b);
		else if (n->level > level)
			r = tree_down(b);
		else if (n->level == 0)
			tree_step(b);
		else
			return 0; /* it is somewhere below, and will be met later or not at all */
	}
	return r;
}

/* An inode of the other commit, if that is a directory. */
static void take_before(const struct walk *w, struct inode *ret)
{
	const struct node *n = tree_leaf(&w->before);
	struct dirent_rec d;

	if (w->kind != TREE_DIR)
		return;
	node_dirent(n, tree_index(&w->before), &d);
	if (!d.has_link && d.inode.type == FT_DIR)
		*ret = d.inode;
}

static int copy_inode(struct copier *c, struct moving_node *n, const struct inode *ino,
		      const struct inode *before, struct entry_hint *hint, struct walk **top)
{
	const struct content *x = &ino->content;
	int r = 0;

	if (c->without_content && ino->type != FT_DIR)
		return 0;
	if (ino->xattrs.large_len > 0)
		r = copier_want(c, n, &ino->xattrs.large, ino->xattrs.large_len, &ino->xattrs.loc,
				(struct span){ 0 }, &hint->xattr_loc);
	if (r < 0)
		return r;
	if (ino->type == FT_DIR)
		return begin(c, TREE_DIR, &ino->dir, before->type == FT_DIR ? &before->dir : NULL,
			     &hint->loc, top);
	if ((ino->type != FT_REG && ino->type != FT_LNK) || x->size == 0)
		return 0;
	if (x->kind == CONTENT_EXTENTS) {
		struct tree_root root = content_root(x);

		return begin(c, TREE_EXTENTS, &root, NULL, &hint->loc, top);
	}
	return copier_want(c, n, &x->id, x->size, &x->loc, x->inlined, &hint->loc);
}

static int leaf_entry(struct copier *c, struct moving_node *n, uint32_t i,
		      const struct inode *before, struct walk **top)
{
	struct entry_hint *hint = &n->hints[i];
	struct dirent_rec d;
	struct link_rec l;
	struct extent_rec x;

	switch ((enum tree_kind)n->node->kind) {
	case TREE_DIR:
		node_dirent(n->node, i, &d);
		return d.has_link ? 0 : copy_inode(c, n, &d.inode, before, hint, top);
	case TREE_LINKS:
		node_link(n->node, i, &l);
		return copy_inode(c, n, &l.inode, before, hint, top);
	case TREE_EXTENTS:
		node_extent(n->node, i, &x);
		return x.is_hole ? 0
				 : copier_want(c, n, &x.id, x.len, &x.loc, (struct span){ 0 },
					       &hint->loc);
	}
	return -EBADMSG;
}

static int child_entry(struct copier *c, struct walk *w, struct moving_node *n, uint32_t i)
{
	struct child_rec child;
	struct node *node;
	int r;

	node_child(n->node, i, &child);
	if (copier_has(c, &child.id))
		return 0;
	r = get_node(c, &child.id, &child.loc, &node);
	if (r < 0)
		return r;
	r = node_check_child(n->node, i, node);
	if (r < 0) {
		node_unref(node);
		return r;
	}
	return enter(c, w, node, &n->hints[i].loc);
}

/* One step of the topmost walk: the next entry of a node, or its end. */
static int step(struct copier *c, struct walk **top)
{
	struct walk *w = *top;
	struct moving_node *n = w->path[w->depth - 1].n;
	uint32_t i = w->path[w->depth - 1].i++;
	struct inode before = { 0 };
	bool has = false;
	int r = 0;

	if (i == n->node->count) {
		w->depth--;
		r = copier_leave(c, n);
		if (w->depth == 0) {
			*top = w->up;
			walk_free(w);
		}
		return r;
	}
	if (w->has_before)
		r = meet(&w->before, n->node->level, node_key(n->node, i), &has);
	if (r < 0)
		return r;
	if (has && span_equal(node_entry_bytes(tree_leaf(&w->before), tree_index(&w->before)),
			      node_entry_bytes(n->node, i)))
		return 0;
	if (n->node->level > 0)
		return child_entry(c, w, n, i);
	if (has)
		take_before(w, &before);
	return leaf_entry(c, n, i, &before, top);
}

int copy_tree(struct copier *c, enum tree_kind kind, const struct tree_root *root,
	      const struct tree_root *before, struct loc *at)
{
	struct walk *top = NULL;
	int r = begin(c, kind, root, before, at, &top);

	while (r == 0 && top)
		r = report_is_cancelled(c->report) ? -ECANCELED : step(c, &top);
	while (top) {
		struct walk *up = top->up;

		walk_free(top);
		top = up;
	}
	return r;
}
