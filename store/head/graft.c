/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Putting trees of commits into a head by reference, and taking trees out of one.
 *
 * A directory is grafted by its root: a new inode whose base tree is the commit's. Only where hard
 * links lie below, the names that lead to them are made the head's own, with new link ids: a link
 * id stands for one file of one history.
 */
#include "head/named.h"

/* A hard-linked file of the grafted tree: what it is called here. */
struct regrown {
	struct id128 from;
	uint64_t ino;
	struct file f;
	uint32_t names;
	struct id128 link;
};

/* A directory of the grafted tree on the way to its links. */
struct branch {
	uint64_t ino, parent;
	struct inode inode;
	uint8_t name[FILE_NAME_MAX];
	size_t name_len;
	bool is_put;
	struct tree_cursor cursor;
};

struct grafting {
	struct change *c;
	struct view *from;
	struct reader_source source;
	struct branch *path; /* a stack; owned */
	size_t depth, cap;
	struct regrown *links; /* owned */
	size_t link_count;
};

static void grafting_release(struct grafting *g)
{
	while (g->depth > 0)
		tree_cursor_release(&g->path[--g->depth].cursor);
	free(g->path);
	for (size_t i = 0; i < g->link_count; i++)
		file_release(&g->links[i].f);
	free(g->links);
}

/* The record of a grafted inode of the base of @from. */
static void record_of(const struct inode *i, uint64_t parent, struct span name,
		      struct file_rec *ret)
{
	*ret = (struct file_rec){ .inode = *i, .nlink = 1, .parent = parent, .name = name };
	if (i->type == FT_REG) {
		ret->size = ret->lower_end = i->content.size;
		ret->data = i->content.data;
	} else if (i->type == FT_DIR) {
		ret->nlink = (uint32_t)MIN(i->dir.sum.subdirs + 2, (uint64_t)UINT32_MAX);
		ret->items = i->dir.sum.items;
	}
	if (i->type == FT_REG || i->type == FT_LNK)
		content_check_inlined(&ret->inode.content);
}

static int enter(struct grafting *g, uint64_t ino, uint64_t parent, struct span name,
		 const struct inode *i)
{
	struct branch *b;

	if (g->depth == g->cap) {
		size_t cap = MAX(2 * g->cap, (size_t)8);

		b = reallocarray(g->path, cap, sizeof(*b));
		if (!b)
			return -ENOMEM;
		g->path = b;
		g->cap = cap;
	}
	b = &g->path[g->depth];
	*b = (struct branch){ .ino = ino, .parent = parent, .inode = *i, .name_len = name.len };
	if (name.len > 0)
		memcpy(b->name, name.data, name.len);
	/* Spans of the parent's node: the tree is enough from here on. */
	b->inode.xattrs = i->xattrs;
	tree_cursor_init(&b->cursor, TREE_DIR, &g->source.base);
	g->depth++;
	return tree_seek_ordinal(&b->cursor, &i->dir, 0);
}

/* Names on the way to a link are the head's own from here down. */
static void put_path(struct grafting *g)
{
	for (size_t i = 1; i < g->depth; i++) {
		struct branch *b = &g->path[i];
		struct span name = span_of(b->name, b->name_len);
		struct file_rec rec;

		if (b->is_put)
			continue;
		b->is_put = true;
		record_of(&b->inode, b->parent, name, &rec);
		change_put(g->c, b->ino, &rec);
		change_name_keep(g->c, b->parent, name, b->ino, FT_DIR);
	}
}

static int regrow(struct grafting *g, const struct id128 *from, struct regrown **ret)
{
	struct view *v = &g->c->head->view;
	struct regrown *x;
	struct link_rec rec;
	int r;

	for (size_t i = 0; i < g->link_count; i++) {
		if (!id128_equal(&g->links[i].from, from))
			continue;
		*ret = &g->links[i];
		return 0;
	}
	x = reallocarray(g->links, g->link_count + 1, sizeof(*x));
	if (!x)
		return -ENOMEM;
	g->links = x;
	x = &g->links[g->link_count];
	*x = (struct regrown){ .from = *from, .link = id128_random() };
	r = links_lookup(&g->source.base, &g->from->base.commit.links, from, &x->f.leaf, &rec);
	if (r < 0)
		return r == -ENOENT ? -EIO : r;
	g->link_count++;
	x->ino = derive_link_ino(v, &x->link);
	record_of(&rec.inode, 0, span_of(NULL, 0), &x->f.rec);
	x->f.rec.has_link = true;
	x->f.rec.link = x->link;
	*ret = x;
	return 0;
}

static int visit(struct grafting *g, struct branch *b, const struct dirent_rec *e)
{
	struct view *v = &g->c->head->view;
	struct regrown *x;
	int r;

	if (e->has_link) {
		uint64_t dir = b->ino;

		r = regrow(g, &e->link, &x);
		if (r < 0)
			return r;
		put_path(g);
		x->names++;
		change_name_keep(g->c, dir, e->name, x->ino, x->f.rec.inode.type);
		return 0;
	}
	if (e->inode.type == FT_DIR && e->inode.dir.sum.has_links)
		return enter(g, derive_ino(v, b->ino, e->name), b->ino, e->name, &e->inode);
	return 0;
}

static int walk_links(struct grafting *g, uint64_t ino, const struct inode *i)
{
	int r = enter(g, ino, 0, span_of(NULL, 0), i);

	while (r == 0 && g->depth > 0) {
		struct branch *b = &g->path[g->depth - 1];
		size_t depth = g->depth;
		struct dirent_rec e;

		if (b->cursor.is_end) {
			tree_cursor_release(&b->cursor);
			g->depth--;
			if (g->depth > 0)
				r = tree_next(&g->path[g->depth - 1].cursor);
			continue;
		}
		node_dirent(tree_leaf(&b->cursor), tree_index(&b->cursor), &e);
		r = visit(g, b, &e);
		if (r == 0 && g->depth == depth)
			r = tree_next(&g->path[depth - 1].cursor);
	}
	for (size_t k = 0; r == 0 && k < g->link_count; k++) {
		struct regrown *x = &g->links[k];

		x->f.rec.nlink = x->names;
		change_link_put(g->c, &x->link, x->ino);
		change_put(g->c, x->ino, &x->f.rec);
	}
	return r;
}

/* What is grafted: loaded from its commit, under that view's lock. */
static int load_source(struct vnode *from, struct access *acc, struct file *ret)
{
	WITH_LOCK(&from->view->lock);

	return load_vnode(from->view, from, acc, ret);
}

static int graft_locked(struct vnode *from, const struct file *src, struct vnode *dir,
			struct span name, struct access *acc)
{
	struct view *v = dir->view;
	_cleanup_change_ struct change c = { 0 };
	_cleanup_found_ struct found found = { 0 };
	_cleanup_(grafting_release) struct grafting g = { .c = &c, .from = from->view };
	_cleanup_dir_ struct dir d = { 0 };
	const struct inode *i = &src->rec.inode;
	struct file_rec rec;
	uint64_t ino;
	int r;

	WITH_LOCK(&v->lock);

	g.source = reader_source(v->store->reader, acc);
	r = change_begin(&c, v, acc);
	if (r == 0)
		r = dir_load(v, dir, acc, &d);
	if (r < 0)
		return r;
	r = find_in(v, dir->ino, &d.root, name, acc, &found);
	if (r != -ENOENT)
		return r < 0 ? r : -EEXIST;
	/* What was called so before is another file. */
	r = change_new_ino(&c, dir->ino, name, true, &ino);
	if (r == 0)
		r = change_file(&c, dir, &d.f);
	if (r < 0)
		return r;
	record_of(i, dir->ino, name, &rec);
	change_put(&c, ino, &rec);
	change_name_put(&c, dir->ino, name, ino, &rec);
	dir_touch(&c, &d, 1, i->type == FT_DIR);
	dir_put(&c, &d);
	if (i->type == FT_DIR && i->dir.sum.has_links)
		r = walk_links(&g, ino, i);
	return r < 0 ? r : change_apply(&c);
}

int head_graft(struct vnode *from, struct vnode *dir, struct span name, struct access *acc)
{
	_cleanup_file_ struct file src = { 0 };
	int r;

	if (from->view->is_head)
		return -EINVAL;
	r = change_room(dir->view, acc);
	if (r == 0)
		r = name_check(name);
	if (r == 0)
		r = WITH_ACCESS(acc, load_source(from, acc, &src));
	return r < 0 ? r : WITH_ACCESS(acc, graft_locked(from, &src, dir, name, acc));
}

/* Can a directory go by its name alone? 1, 0, -errno. */
static int is_plain(struct vnode *dir, struct access *acc)
{
	_cleanup_file_ struct file f = { 0 };
	int r;

	WITH_LOCK(&dir->view->lock);

	r = load_vnode(dir->view, dir, acc, &f);
	return r < 0 ? r : !f.layer && !f.rec.inode.dir.sum.has_links;
}

static int drop_locked(struct vnode *dir, struct span name, struct access *acc, struct named *x)
{
	struct view *v = dir->view;
	_cleanup_change_ struct change c = { 0 };
	_cleanup_dir_ struct dir d = { 0 };
	int r;

	WITH_LOCK(&v->lock);

	r = change_begin(&c, v, acc);
	if (r == 0)
		r = dir_load(v, dir, acc, &d);
	if (r == 0)
		r = named_load(&c, &d, name, x);
	if (r == 0 && (x->f.layer || x->f.rec.inode.dir.sum.has_links))
		r = -ENOTEMPTY;
	return r < 0 ? r : named_take_out(&c, &d, name, x);
}

static int drop_attempt(struct vnode *dir, struct span name, struct access *acc)
{
	struct named x = { 0 };
	int r = drop_locked(dir, name, acc, &x);

	named_release(dir->view, &x);
	return r;
}

/* A directory that is being emptied; a chain of them, the innermost first. */
struct level {
	struct level *up;
	struct vnode *dir; /* a reference */
	struct dir_handle *handle;
	uint64_t pos; /* behind what is gone */
	struct buf name; /* of what is to go next */
};

static void level_pop(struct level **levels)
{
	struct level *l = *levels;

	*levels = l->up;
	view_closedir(l->handle);
	vnode_unref(l->dir->view->vnodes, l->dir);
	buf_release(&l->name);
	free(l);
}

static void levels_free(struct level **levels)
{
	while (*levels)
		level_pop(levels);
}

static int level_push(struct level **levels, struct vnode *dir, struct access *acc)
{
	struct level *l = new0(struct level, 1);
	int r;

	if (!l)
		return -ENOMEM;
	r = view_opendir(dir, acc, &l->handle);
	if (r < 0) {
		free(l);
		return r;
	}
	vnode_ref(dir->view->vnodes, dir);
	l->dir = dir;
	l->up = *levels;
	*levels = l;
	return 0;
}

static int take_name(const struct dir_item *e, void *ctx)
{
	struct level *l = ctx;

	buf_put(&l->name, e->name.data, e->name.len);
	l->pos = e->next_pos;
	return 1;
}

/* 1: there is one more name; 0. */
static int level_next(struct level *l, struct access *acc)
{
	int r;

	buf_clear(&l->name);
	r = view_readdir(l->handle, l->pos, false, acc, take_name, l);
	if (r == 0 && buf_failed(&l->name))
		r = -ENOMEM;
	return r < 0 ? r : l->name.len > 0;
}

/* Removes what the innermost level names, or goes into it. */
static int remove_next(struct level **levels, struct access *acc)
{
	struct vnode *dir = (*levels)->dir, *n;
	struct span name = buf_span(&(*levels)->name);
	struct stat st;
	int r = view_lookup(dir, name, acc, &n, &st);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (n->type != FT_DIR) {
		r = view_unlink(dir, name, acc);
	} else {
		r = WITH_ACCESS(acc, is_plain(n, acc));
		if (r > 0)
			r = WITH_ACCESS(acc, drop_attempt(dir, name, acc));
		else if (r == 0)
			r = view_rmdir(dir, name, acc);
		if (r == -ENOTEMPTY)
			r = level_push(levels, n, acc);
	}
	vnode_unref(dir->view->vnodes, n);
	return r;
}

/* Empties @top depth first, without recursion. */
static int empty_dir(struct vnode *top, struct access *acc)
{
	_cleanup_(levels_free) struct level *levels = NULL;
	int r = level_push(&levels, top, acc);

	while (r == 0 && levels) {
		r = level_next(levels, acc);
		if (r > 0) {
			r = remove_next(&levels, acc);
		} else if (r == 0) {
			level_pop(&levels);
			if (levels)
				r = view_rmdir(levels->dir, buf_span(&levels->name), acc);
		}
	}
	return r;
}

int head_remove_tree(struct vnode *dir, struct span name, struct access *acc)
{
	struct vnode_table *t = dir->view->vnodes;
	struct vnode *n;
	struct stat st;
	int r = change_room(dir->view, acc);

	if (r == 0)
		r = view_lookup(dir, name, acc, &n, &st);
	if (r < 0)
		return r;
	if (n->type != FT_DIR) {
		r = view_unlink(dir, name, acc);
	} else {
		r = WITH_ACCESS(acc, drop_attempt(dir, name, acc));
		if (r == -ENOTEMPTY) {
			r = empty_dir(n, acc);
			if (r == 0)
				r = view_rmdir(dir, name, acc);
		}
	}
	vnode_unref(t, n);
	return r;
}
