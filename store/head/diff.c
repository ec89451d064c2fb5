/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Comparing views (diff.h).
 *
 * Names of a pair of directories that can differ are those in which their base trees differ, and
 * those that a layer of either has. Each is looked up on both sides; where both are directories,
 * the walk goes down if their trees differ or a layer knows them: a directory that no layer knows
 * is the base's with all that is below it.
 *
 * A hard-linked file may change without any directory doing so. So if the links' trees of the two
 * differ, or a layer has a link record, directories with links below are looked through whole.
 */
#include "head/diff.h"

#include "head/overlay.h"
#include "tree/diff.h"

/* One side of a pair of directories. */
struct side {
	struct view *view;
	uint64_t ino;
	struct tree_root root; /* below the layers */
	bool is_layered;
};

struct level {
	struct side side[2];
	struct tree_diff *trees[2]; /* names to look at, one or two streams; owned */
	struct buf peek[2]; /* the stream's next name */
	bool has_peek[2];
	struct buf last; /* the name looked at last, and a NUL once there was one */
	size_t path_len; /* of the directory */
};

struct diffing {
	struct access *acc;
	struct reader_source source;
	struct level *levels; /* a stack; owned */
	size_t count, cap;
	struct buf path;
	bool links_differ;
	diff_fn fn;
	void *ctx;
};

static void level_release(struct level *l)
{
	for (size_t i = 0; i < 2; i++) {
		tree_diff_free(l->trees[i]);
		buf_release(&l->peek[i]);
	}
	buf_release(&l->last);
}

static int advance(struct level *l, unsigned i)
{
	struct tree_place a, b;
	struct span key;
	int r = tree_diff_next(l->trees[i], &a, &b);

	l->has_peek[i] = r > 0;
	if (r <= 0)
		return r;
	key = a.leaf ? node_key(a.leaf, a.i) : node_key(b.leaf, b.i);
	buf_clear(&l->peek[i]);
	buf_put(&l->peek[i], key.data, key.len);
	return buf_failed(&l->peek[i]) ? -ENOMEM : 0;
}

static int open_streams(struct diffing *d, struct level *l)
{
	const struct tree_root empty = { 0 };
	const struct tree_root *a = &l->side[0].root, *b = &l->side[1].root;
	struct node_source *src = &d->source.base;
	bool whole = d->links_differ && (a->sum.has_links || b->sum.has_links);
	int r;

	r = tree_diff_new(TREE_DIR, src, a, whole ? &empty : b, &l->trees[0]);
	if (r == 0)
		r = advance(l, 0);
	if (r == 0 && whole) {
		r = tree_diff_new(TREE_DIR, src, b, &empty, &l->trees[1]);
		if (r == 0)
			r = advance(l, 1);
	}
	return r;
}

static int push(struct diffing *d, const struct side *a, const struct side *b)
{
	struct level *l;

	if (d->count == d->cap) {
		size_t cap = MAX(2 * d->cap, (size_t)16);

		l = reallocarray(d->levels, cap, sizeof(*l));
		if (!l)
			return -ENOMEM;
		d->levels = l;
		d->cap = cap;
	}
	l = &d->levels[d->count++];
	*l = (struct level){ .side = { *a, *b }, .path_len = d->path.len };
	return open_streams(d, l);
}

/* The least name above the last one that a layer has in the directory of @s. */
static int layer_name(const struct side *s, const struct buf *last, bool *found, struct buf *best)
{
	struct head *h = head_of(s->view);
	struct layers layers;

	pthread_mutex_lock(&s->view->lock);
	layers = head_layers(h);
	pthread_mutex_unlock(&s->view->lock);
	for (unsigned i = 0; i < layers.count; i++) {
		struct record_key prefix = key_prefix_u64(layers.id[i], 'e', s->ino);
		_cleanup_buf_ struct buf key = { 0 }, value = { 0 }, from = { 0 };
		struct span name;
		int r;

		buf_put(&from, prefix.b, prefix.len);
		buf_put(&from, last->data, last->len);
		if (buf_failed(&from))
			return -ENOMEM;
		r = table_next(h->heads->table, key_span(&prefix), buf_span(&from), &key, &value);
		if (r == -ENOENT)
			continue;
		if (r < 0)
			return r;
		name = key_rest(buf_span(&key), KEY_AFTER_OBJECT);
		if (*found && span_cmp(name, buf_span(best)) >= 0)
			continue;
		*found = true;
		buf_clear(best);
		buf_put(best, name.data, name.len);
	}
	return buf_failed(best) ? -ENOMEM : 0;
}

/* The next name of a pair of directories to look at: 1, 0 at the end. */
static int next_name(struct level *l, struct buf *ret)
{
	bool found = false;
	int r = 0;

	for (unsigned i = 0; i < 2; i++) {
		if (!l->has_peek[i] ||
		    (found && span_cmp(buf_span(&l->peek[i]), buf_span(ret)) >= 0))
			continue;
		found = true;
		buf_clear(ret);
		buf_put(ret, l->peek[i].data, l->peek[i].len);
	}
	for (unsigned i = 0; r == 0 && i < 2; i++)
		if (l->side[i].view->is_head && l->side[i].is_layered)
			r = layer_name(&l->side[i], &l->last, &found, ret);
	if (r < 0 || !found)
		return r;
	for (unsigned i = 0; r == 0 && i < 2; i++)
		if (l->has_peek[i] && span_equal(buf_span(&l->peek[i]), buf_span(ret)))
			r = advance(l, i);
	buf_clear(&l->last);
	buf_put(&l->last, ret->data, ret->len);
	buf_put_u8(&l->last, 0);
	if (r < 0 || buf_failed(&l->last) || buf_failed(ret))
		return r < 0 ? r : -ENOMEM;
	return 1;
}

/* What one side has under a name. */
struct has {
	bool is;
	struct file f;
	struct diff_side out;
};

/* The id of what a file shows, if the store has it whole. */
static int content_id(struct view *v, uint64_t ino, const struct file *f, struct oid *ret)
{
	struct shown s;
	int r;

	if (!f->layer || f->rec.size == 0) {
		*ret = f->layer ? *oid_empty_chunk() : f->rec.inode.content.id;
		return 0;
	}
	r = view_shown(v, ino, f, 0, &s);
	if (r == 0 && s.source == EXTENT_CONTENT && s.len == f->rec.size && s.content.size == s.len)
		*ret = s.content.id;
	return r;
}

/* Is all below a directory as its base tree has it? (It was moved here, or its attributes changed.)
 */
static bool is_untouched(struct view *v, uint64_t ino, const struct file *f)
{
	struct layers layers;

	if (!f->layer)
		return true;
	if (f->rec.inode.dir.sum.has_links)
		return false;
	layers = head_layers(head_of(v));
	for (unsigned i = 0; i < layers.count; i++) {
		struct record_key prefix = key_prefix_u64(layers.id[i], 'e', ino);
		_cleanup_buf_ struct buf key = { 0 }, value = { 0 };

		if (table_next(head_of(v)->heads->table, key_span(&prefix), key_span(&prefix), &key,
			       &value) != -ENOENT)
			return false;
	}
	return true;
}

static int identify(struct view *v, uint64_t ino, const struct file *f, struct oid *ret)
{
	const struct inode *i = &f->rec.inode;

	if (i->type == FT_REG)
		return content_id(v, ino, f, ret);
	if (i->type == FT_LNK)
		*ret = i->content.id;
	else if (i->type == FT_DIR && is_untouched(v, ino, f))
		*ret = i->dir.id;
	return 0;
}

static int look_locked(const struct side *s, struct span name, struct access *acc, struct has *ret)
{
	struct view *v = s->view;
	_cleanup_found_ struct found found = { 0 };
	int r;

	WITH_LOCK(&v->lock);

	r = find_in(v, s->ino, &s->root, name, acc, &found);
	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = load_found(v, s->ino, name, &found, acc, &ret->f);
	if (r < 0)
		return r;
	ret->is = true;
	ret->out.ino = found.ino;
	file_stat(&ret->f.rec, found.ino, &ret->out.st);
	return identify(v, found.ino, &ret->f, &ret->out.id);
}

static int look(const struct side *s, struct span name, struct access *acc, struct has *ret)
{
	if (!s->view)
		return 0;
	return WITH_ACCESS(acc, look_locked(s, name, acc, ret));
}

static bool same_attrs(const struct has *a, const struct has *b)
{
	const struct inode *x = &a->f.rec.inode, *y = &b->f.rec.inode;

	return x->mode == y->mode && x->uid == y->uid && x->gid == y->gid &&
	       x->xattrs.large_len == y->xattrs.large_len &&
	       oid_equal(&x->xattrs.large, &y->xattrs.large) &&
	       span_equal(x->xattrs.list, y->xattrs.list);
}

static bool same_content(const struct has *a, const struct has *b)
{
	const struct inode *x = &a->f.rec.inode, *y = &b->f.rec.inode;

	switch (x->type) {
	case FT_REG:
	case FT_LNK:
		return !oid_is_null(&a->out.id) && oid_equal(&a->out.id, &b->out.id);
	case FT_CHR:
	case FT_BLK:
		return x->dev.major == y->dev.major && x->dev.minor == y->dev.minor;
	default:
		return true;
	}
}

static int report(struct diffing *d, enum diff_what what, const struct has *a, const struct has *b)
{
	struct diff_item item = {
		.path = buf_span(&d->path),
		.what = what,
		.a = a->is ? &a->out : NULL,
		.b = b->is ? &b->out : NULL,
	};

	return d->fn(&item, d->ctx);
}

static struct side side_of(const struct side *parent, const struct has *x)
{
	return (struct side){
		.view = parent->view,
		.ino = x->out.ino,
		.root = x->f.rec.inode.dir,
		.is_layered = x->f.layer != 0,
	};
}

/* Two directories: their attributes, and whether to go down. */
static int compare_dirs(struct diffing *d, const struct level *l, const struct has *a,
			const struct has *b)
{
	struct side x = side_of(&l->side[0], a), y = side_of(&l->side[1], b);
	bool has_links = x.root.sum.has_links || y.root.sum.has_links;
	int r = 0;

	if (!same_attrs(a, b))
		r = report(d, DIFF_ATTRS, a, b);
	if (r != 0)
		return r;
	if (oid_equal(&x.root.id, &y.root.id) && !x.is_layered && !y.is_layered &&
	    !(d->links_differ && has_links))
		return 0;
	return push(d, &x, &y);
}

static int compare(struct diffing *d, struct level *l, struct span name)
{
	struct has a = { 0 }, b = { 0 };
	int r;

	d->path.len = l->path_len;
	if (d->path.len > 0)
		buf_put_u8(&d->path, '/');
	buf_put(&d->path, name.data, name.len);
	r = buf_failed(&d->path) ? -ENOMEM : look(&l->side[0], name, d->acc, &a);
	if (r == 0)
		r = look(&l->side[1], name, d->acc, &b);
	if (r == 0 && (a.is || b.is)) {
		uint8_t type = a.f.rec.inode.type;

		if (!a.is || !b.is)
			r = report(d, a.is ? DIFF_REMOVED : DIFF_ADDED, &a, &b);
		else if (type != b.f.rec.inode.type)
			r = report(d, DIFF_TYPE, &a, &b);
		else if (type == FT_DIR)
			r = compare_dirs(d, l, &a, &b);
		else if (!same_content(&a, &b))
			r = report(d, DIFF_CONTENT, &a, &b);
		else if (!same_attrs(&a, &b))
			r = report(d, DIFF_ATTRS, &a, &b);
	}
	file_release(&a.f);
	file_release(&b.f);
	return r;
}

static int side_locked(struct vnode *n, struct access *acc, struct side *ret)
{
	struct view *v = n->view;
	_cleanup_file_ struct file f = { 0 };
	int r;

	WITH_LOCK(&v->lock);

	r = load_vnode(v, n, acc, &f);
	if (r < 0)
		return r;
	*ret = (struct side){
		.view = v,
		.ino = n->ino,
		.root = f.rec.inode.dir,
		.is_layered = f.layer != 0,
	};
	return 0;
}

/* Has a layer of the head a record of a hard link? */
static bool has_link_records(struct view *v)
{
	struct layers layers;

	if (!v->is_head)
		return false;
	WITH_LOCK(&v->lock);

	layers = head_layers(head_of(v));
	for (unsigned i = 0; i < layers.count; i++) {
		struct record_key prefix = key_prefix(layers.id[i], 'l');
		_cleanup_buf_ struct buf key = { 0 }, value = { 0 };

		if (table_next(head_of(v)->heads->table, key_span(&prefix), key_span(&prefix), &key,
			       &value) == 0)
			return true;
	}
	return false;
}

static struct oid links_id(struct view *v)
{
	WITH_LOCK(&v->lock);

	return v->base.commit.links.id;
}

int view_diff(struct vnode *a, struct vnode *b, struct access *acc, diff_fn fn, void *ctx)
{
	struct diffing d = { .acc = acc, .fn = fn, .ctx = ctx };
	_cleanup_buf_ struct buf name = { 0 };
	struct oid la = links_id(a->view), lb = links_id(b->view);
	struct side x, y;
	int r;

	if (a->type != FT_DIR || b->type != FT_DIR)
		return -ENOTDIR;
	if (!acc->may_wait)
		return -EAGAIN;
	d.links_differ =
		!oid_equal(&la, &lb) || has_link_records(a->view) || has_link_records(b->view);
	d.source = reader_source(a->view->store->reader, acc);
	r = WITH_ACCESS(acc, side_locked(a, acc, &x));
	if (r == 0)
		r = WITH_ACCESS(acc, side_locked(b, acc, &y));
	if (r == 0)
		r = push(&d, &x, &y);
	while (r == 0 && d.count > 0) {
		struct level *l = &d.levels[d.count - 1];

		r = next_name(l, &name);
		if (r == 0)
			level_release(&d.levels[--d.count]);
		else if (r > 0)
			r = compare(&d, l, buf_span(&name));
	}
	while (d.count > 0)
		level_release(&d.levels[--d.count]);
	free(d.levels);
	buf_release(&d.path);
	return r;
}

static int identify_locked(struct vnode *n, struct access *acc, struct oid *ret)
{
	_cleanup_file_ struct file f = { 0 };
	int r;

	WITH_LOCK(&n->view->lock);

	r = load_vnode(n->view, n, acc, &f);
	return r < 0 ? r : identify(n->view, n->ino, &f, ret);
}

int view_content_id(struct vnode *n, struct access *acc, struct oid *ret)
{
	struct oid id = { 0 };
	int r = WITH_ACCESS(acc, identify_locked(n, acc, &id));

	if (r == 0)
		*ret = id;
	return r;
}

static int stored_locked(struct vnode *n, struct access *acc, struct content *ret,
			 bool *ret_is_inlined)
{
	_cleanup_file_ struct file f = { 0 };
	int r;

	WITH_LOCK(&n->view->lock);

	r = load_vnode(n->view, n, acc, &f);
	if (r < 0)
		return r;
	content_check_inlined(&f.rec.inode.content);
	*ret = f.rec.inode.content;
	*ret_is_inlined = ret->inlined.len > 0;
	ret->inlined = span_of(NULL, 0);
	return 0;
}

int view_stored_content(struct vnode *n, struct access *acc, struct content *ret,
			bool *ret_is_inlined)
{
	struct content c = { 0 };
	bool is_inlined = false;
	int r;

	if (n->type != FT_REG || n->view->is_head)
		return -EINVAL;
	r = WITH_ACCESS(acc, stored_locked(n, acc, &c, &is_inlined));
	if (r < 0)
		return r;
	*ret = c;
	*ret_is_inlined = is_inlined;
	return 0;
}

bool view_has_links(struct view *v)
{
	struct oid id = links_id(v);

	return !oid_is_null(&id) || has_link_records(v);
}
