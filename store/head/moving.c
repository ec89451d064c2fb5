/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a move outdates.
 *
 * Only what the client has in its hands matters: the two commits are compared from the root down,
 * as far as there are vnodes. That takes fetches, so it is done before the move, without locks, and
 * vnodes come up meanwhile: those have ids above the ones there were at the beginning, and are
 * looked at, each by its own name, until the move finds none that is new. In the same instant it
 * leaves behind what differs. So no vnode ever changes its content, and what anybody finds by a
 * name after the move is a vnode of the new commit.
 *
 * A directory that is one in both commits stays itself. So does any other file that differs in its
 * attributes only, since nothing that is cached of its bytes is wrong.
 */
#include "head/moving.h"

#include "tree/diff.h"

enum {
	LOOKS_AT_ONCE = 256, /* others wait for the lock */
};

/* One piece of news; the name is behind it. */
struct news {
	uint64_t dir, vnode;
	uint8_t kind; /* enum outdated_kind */
	uint8_t name_len;
};

static int note(struct moving *m, enum outdated_kind kind, uint64_t dir, struct span name,
		uint64_t vnode)
{
	struct news p = { dir, vnode, (uint8_t)kind, (uint8_t)name.len };

	buf_put(&m->news, &p, sizeof(p));
	buf_put(&m->news, name.data, name.len);
	return buf_failed(&m->news) ? -ENOMEM : 0;
}

/* @n stays, or is left behind as @left, which it takes. */
static int note_file(struct moving *m, struct vnode *n, struct left *left)
{
	if (m->file_count == m->file_cap) {
		size_t cap = MAX(2 * m->file_cap, (size_t)16);
		struct moving_file *p = reallocarray(m->files, cap, sizeof(*p));

		if (!p) {
			left_free(left);
			return -ENOMEM;
		}
		m->files = p;
		m->file_cap = cap;
	}
	vnode_ref(m->head->view.vnodes, n);
	m->files[m->file_count++] = (struct moving_file){ n, left };
	return 0;
}

static int leave(struct moving *m, struct vnode *n, const struct inode *was)
{
	struct left *left;
	int r = left_new(&m->head->committed, was, &left);

	return r < 0 ? r : note_file(m, n, left);
}

static struct moving_dir *find_dir(struct moving *m, uint64_t id)
{
	htab_for_each (h, &m->by_id, id)
		return container_of(h, struct moving_dir, by_id);
	return NULL;
}

static int note_dir(struct moving *m, struct vnode *dir, const struct tree_root *was,
		    const struct tree_root *is)
{
	struct moving_dir *d;

	if (oid_equal(&was->id, &is->id) || find_dir(m, vnode_id(dir)))
		return 0;
	d = new0(struct moving_dir, 1);
	if (!d || htab_insert(&m->by_id, &d->by_id, vnode_id(dir)) < 0) {
		free(d);
		return -ENOMEM;
	}
	vnode_ref(m->head->view.vnodes, dir);
	d->dir = dir;
	d->was = *was;
	d->is = *is;
	list_append(&m->unwalked, &d->link);
	return 0;
}

/* Is it the same file, whatever its attributes? */
static bool is_same(const struct inode *a, const struct inode *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type) {
	case FT_REG:
	case FT_LNK:
		return a->content.size == b->content.size && a->content.kind == b->content.kind &&
		       oid_equal(&a->content.id, &b->content.id);
	case FT_CHR:
	case FT_BLK:
		return a->dev.major == b->dev.major && a->dev.minor == b->dev.minor;
	default:
		return true;
	}
}

static bool is_same_entry(const struct dirent_rec *was, const struct dirent_rec *is)
{
	if (!is || was->has_link != is->has_link)
		return false;
	return was->has_link ? id128_equal(&was->link, &is->link)
			     : is_same(&was->inode, &is->inode);
}

/* A name of a directory means something else. @n: what the client knows under it; NULL: nothing. */
static int visit(struct moving *m, struct vnode *dir, const struct dirent_rec *was,
		 const struct dirent_rec *is, struct vnode *n)
{
	static const struct tree_root empty;
	bool is_dir = was && was->inode.type == FT_DIR;
	uint64_t id = vnode_id(dir);
	int r;

	if (!was)
		return note(m, OUTDATED_NAME, id, is->name, 0);
	/* It may get known by this name while it is known by another. What else it is called,
	 * visit_link() knows. */
	if (was->has_link && !is_same_entry(was, is))
		return note(m, OUTDATED_LINK, id, was->name, n ? vnode_id(n) : 0);
	if (!n)
		return 0;
	if (is_same_entry(was, is)) {
		r = note(m, OUTDATED_NAME, id, was->name, vnode_id(n));
		return r == 0 && is_dir ? note_dir(m, n, &was->inode.dir, &is->inode.dir) : r;
	}
	r = leave(m, n, &was->inode);
	if (r == 0)
		r = note(m, OUTDATED_GONE, id, was->name, vnode_id(n));
	/* What is below a directory that is gone has gone with it. */
	return r == 0 && is_dir ? note_dir(m, n, &was->inode.dir, &empty) : r;
}

static int visit_link(struct moving *m, const struct link_rec *was, const struct link_rec *is,
		      struct vnode *n)
{
	return is && is_same(&was->inode, &is->inode) ? note_file(m, n, NULL)
						      : leave(m, n, &was->inode);
}

static int drop_exception(struct moving *m, const struct record_key *k, uint64_t ino)
{
	struct record_key taken = key_taken(m->head->id, ino);

	buf_put(&m->dropped, k, sizeof(*k));
	buf_put(&m->dropped, &taken, sizeof(taken));
	return buf_failed(&m->dropped) ? -ENOMEM : 0;
}

/*
 * The vnode behind a name of the old commit, with a reference; NULL: there is none. If its file is
 * not there any more, neither is an exception that it had.
 */
static int find_named(struct moving *m, const struct vnode *dir, const struct dirent_rec *was,
		      const struct dirent_rec *is, struct vnode **ret)
{
	struct head *h = m->head;
	struct view *v = &h->view;
	bool stays = is && is->has_link == was->has_link && is->inode.type == was->inode.type;
	struct record_key k = key_exception(h->id, dir->ino, was->name);
	uint64_t ino;
	int r;

	WITH_LOCK(&v->lock);

	r = seen_ino(v, dir->ino, was, &ino);
	if (r == -ENOENT)
		return 0;
	if (r == 0 && !stays && !was->has_link && ino != derive_ino(v, dir->ino, was->name))
		r = drop_exception(m, &k, ino);
	if (r == 0)
		*ret = vnode_find(v->vnodes, v, ino);
	return r;
}

static int find_linked(struct moving *m, const struct id128 *link, bool stays, struct vnode **ret)
{
	struct head *h = m->head;
	struct view *v = &h->view;
	const struct dirent_rec e = { .has_link = true, .link = *link };
	struct record_key k = key_link_exception(h->id, link);
	uint64_t ino;
	int r;

	WITH_LOCK(&v->lock);

	r = seen_ino(v, 0, &e, &ino);
	if (r == -ENOENT)
		return 0;
	if (r == 0 && !stays && ino != derive_link_ino(v, link))
		r = drop_exception(m, &k, ino);
	if (r == 0)
		*ret = vnode_find(v->vnodes, v, ino);
	return r;
}

static int walk_dir(struct moving *m, const struct moving_dir *d)
{
	struct vnode_table *t = m->head->view.vnodes;
	struct reader_source src = reader_source(m->head->view.store->reader, m->acc);
	_cleanup_(tree_diff_freep) struct tree_diff *diff = NULL;
	struct tree_place a, b;
	int r;

	r = tree_diff_new(TREE_DIR, &src.base, &d->was, &d->is, &diff);
	while (r == 0 && (r = tree_diff_next(diff, &a, &b)) > 0) {
		struct dirent_rec was, is;
		struct vnode *n = NULL;

		if (a.leaf)
			node_dirent(a.leaf, a.i, &was);
		if (b.leaf)
			node_dirent(b.leaf, b.i, &is);
		r = a.leaf ? find_named(m, d->dir, &was, b.leaf ? &is : NULL, &n) : 0;
		if (r == 0)
			r = visit(m, d->dir, a.leaf ? &was : NULL, b.leaf ? &is : NULL, n);
		if (n)
			vnode_unref(t, n);
	}
	return r;
}

/* Hard-linked files change without any directory doing so. */
static int walk_links(struct moving *m)
{
	struct view *v = &m->head->view;
	struct reader_source src = reader_source(v->store->reader, m->acc);
	_cleanup_(tree_diff_freep) struct tree_diff *diff = NULL;
	struct tree_place a, b;
	int r;

	r = tree_diff_new(TREE_LINKS, &src.base, &v->base.commit.links, &m->base.commit.links,
			  &diff);
	while (r == 0 && (r = tree_diff_next(diff, &a, &b)) > 0) {
		struct link_rec was, is;
		struct vnode *n = NULL;

		r = 0;
		if (!a.leaf)
			continue;
		node_link(a.leaf, a.i, &was);
		if (b.leaf)
			node_link(b.leaf, b.i, &is);
		r = find_linked(m, &was.link, b.leaf, &n);
		if (n)
			r = visit_link(m, &was, b.leaf ? &is : NULL, n);
		if (n)
			vnode_unref(v->vnodes, n);
	}
	return r;
}

bool moving_has_more(const struct moving *m)
{
	return !list_is_empty(&m->unwalked);
}

int moving_walk(struct moving *m)
{
	struct moving_dir *d;
	int r = 0;

	while (r == 0 && (d = list_first(&m->unwalked, struct moving_dir, link))) {
		list_remove(&d->link);
		list_append(&m->walked, &d->link);
		r = walk_dir(m, d);
	}
	return r;
}

int moving_init(struct moving *m, struct head *h, struct access *acc, struct base *base)
{
	struct view *v = &h->view;
	struct vnode *root;
	int r;

	*m = (struct moving){ .head = h, .acc = acc, .base = *base, .committed = base->id };
	*base = (struct base){ 0 };
	list_init(&m->walked);
	list_init(&m->unwalked);
	m->looked_to = vnode_next_id(v->vnodes);
	r = view_root(v, &root);
	if (r < 0)
		return r;
	r = note(m, OUTDATED_NAME, 0, span_of(NULL, 0), vnode_id(root));
	if (r == 0)
		r = note_dir(m, root, &v->base.root.dir, &m->base.root.dir);
	if (r == 0)
		r = walk_links(m);
	vnode_unref(v->vnodes, root);
	return r;
}

static void free_dirs(struct moving *m, struct list *dirs)
{
	list_for_each_safe (d, dirs, struct moving_dir, link) {
		vnode_unref(m->head->view.vnodes, d->dir);
		free(d);
	}
}

void moving_release(struct moving *m)
{
	struct vnode_table *t = m->head->view.vnodes;

	free_dirs(m, &m->walked);
	free_dirs(m, &m->unwalked);
	htab_release(&m->by_id);
	for (size_t i = 0; i < m->file_count; i++) {
		vnode_unref(t, m->files[i].n);
		left_free(m->files[i].left);
	}
	free(m->files);
	for (size_t i = 0; i < m->held_count; i++)
		vnode_unref(t, m->held[i]);
	free(m->held);
	buf_release(&m->dropped);
	buf_release(&m->news);
	base_release(&m->base);
}

static int look_at_link(struct moving *m, struct vnode *n)
{
	struct view *v = &m->head->view;
	struct reader_source src = reader_source(v->store->reader, m->acc);
	_cleanup_(node_unrefp) struct node *a = NULL, *b = NULL;
	struct link_rec was, is;
	int r, s;

	r = links_lookup(&src.base, &v->base.commit.links, &n->link->id, &a, &was);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	s = links_lookup(&src.base, &m->base.commit.links, &n->link->id, &b, &is);
	if (s < 0 && s != -ENOENT)
		return s;
	if (s == 0 && was.nlink == is.nlink && inode_equal(&was.inode, &is.inode))
		return 0;
	return visit_link(m, &was, s == 0 ? &is : NULL, n);
}

static int look_at_name(struct moving *m, struct vnode *n, const struct moving_dir *d)
{
	struct reader_source src = reader_source(m->head->view.store->reader, m->acc);
	_cleanup_(node_unrefp) struct node *a = NULL, *b = NULL;
	struct dirent_rec was, is;
	int r, s;

	r = dir_lookup(&src.base, &d->was, vnode_name(n), &a, &was);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	s = dir_lookup(&src.base, &d->is, vnode_name(n), &b, &is);
	if (s < 0 && s != -ENOENT)
		return s;
	if (s == 0 && is_same_entry(&was, &is) &&
	    (was.has_link || inode_equal(&was.inode, &is.inode)))
		return 0;
	return visit(m, d->dir, &was, s == 0 ? &is : NULL, n);
}

/* What is in a directory that does not differ is the same in both. */
static int look_at(struct moving *m, struct vnode *n)
{
	struct moving_dir *d;
	int r = 0;

	if (n->flags & VNODE_UNLINKED)
		return 0;
	if (n->link)
		r = look_at_link(m, n);
	d = n->parent ? find_dir(m, vnode_id(n->parent)) : NULL;
	return r == 0 && d ? look_at_name(m, n, d) : r;
}

/* Room for one more that is held: no vnode is let go of under the view's lock. */
static int reserve_held(struct moving *m)
{
	size_t cap = MAX(2 * m->held_cap, (size_t)64);
	struct vnode **p;

	if (m->held_count < m->held_cap)
		return 0;
	p = reallocarray(m->held, cap, sizeof(*p));
	if (!p)
		return -ENOMEM;
	m->held = p;
	m->held_cap = cap;
	return 0;
}

int moving_look_again(struct moving *m)
{
	struct view *v = &m->head->view;
	uint64_t end = vnode_next_id(v->vnodes);
	int r = 0;

	for (unsigned i = 0; m->looked_to < end; i++) {
		struct vnode *n;

		if (i == LOOKS_AT_ONCE)
			return 1;
		r = reserve_held(m);
		if (r < 0)
			return r;
		n = vnode_by_id(v->vnodes, m->looked_to);
		if (n)
			m->held[m->held_count++] = n;
		if (n && n->view == v)
			r = look_at(m, n);
		if (r < 0)
			return r;
		m->looked_to++;
	}
	return 0;
}

/* All names by which a file with several is known are outdated with it. */
static int note_names(struct moving *m, const struct moving_file *f)
{
	enum outdated_kind kind = f->left ? OUTDATED_GONE : OUTDATED_NAME;
	uint64_t dir;
	struct span name;
	size_t at = 0;
	int r = 0;

	if (f->n->flags & VNODE_LEFT || !f->n->link)
		return 0;
	while (r == 0 && link_names_next(&f->n->link->names, &at, &dir, &name))
		r = note(m, kind, dir, name, vnode_id(f->n));
	return r;
}

static void swap_base(struct moving *m)
{
	struct head *h = m->head;
	struct oid committed = h->committed;

	view_swap_base(&h->view, &m->base);
	h->committed = m->committed;
	m->committed = committed;
}

/* Has the table it? One in which nothing was ever done begins at its branch. */
static int is_recorded(const struct head *h)
{
	struct record_key k = key_head(h->id);
	_cleanup_buf_ struct buf raw = { 0 };
	int r = table_get(h->heads->table, key_span(&k), &raw);

	return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

/* The bases are exchanged: so are they in the records, or the next mount would show the old one. */
static int record(struct moving *m)
{
	_cleanup_table_batch_ struct table_batch batch = { 0 };
	struct head *h = m->head;
	int is_known = is_pinned(h) || !oid_equal(&m->committed, &m->base.id) ? 1 : is_recorded(h);
	struct record_key k;

	if (is_known < 0)
		return is_known;
	for (size_t at = 0; at < m->dropped.len; at += sizeof(k)) {
		memcpy(&k, m->dropped.data + at, sizeof(k));
		table_batch_delete(&batch, key_span(&k));
	}
	if (is_known)
		head_put(h, h->top, &batch);
	return is_known || m->dropped.len ? table_apply(h->heads->table, &batch) : 0;
}

bool moving_leaves_writers(const struct moving *m)
{
	for (size_t i = 0; i < m->file_count; i++) {
		const struct vnode *n = m->files[i].n;

		if (m->files[i].left && n->type == FT_REG && n->file && n->file->writers)
			return true;
	}
	return false;
}

int moving_exchange(struct moving *m)
{
	struct head *h = m->head;
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->file_count; i++)
		r = note_names(m, &m->files[i]);
	if (r < 0)
		return r;
	swap_base(m);
	r = record(m);
	if (r < 0) {
		swap_base(m);
		return r;
	}
	for (size_t i = 0; i < m->file_count; i++) {
		struct moving_file *f = &m->files[i];

		if (f->left && !(f->n->flags & VNODE_LEFT))
			left_put(h, f->n, TAKE_PTR(f->left));
	}
	/* A head that moves has nothing else in its top. */
	h->moved_with_orphans = h->moved_with_orphans || h->top;
	return 0;
}

void moving_tell(const struct moving *m)
{
	const struct heads_options *o = &m->head->heads->opts;
	size_t at = 0;

	while (at < m->news.len) {
		struct outdated x = { 0 };
		struct news p;

		memcpy(&p, m->news.data + at, sizeof(p));
		x.kind = p.kind;
		x.dir = p.dir;
		x.vnode = p.vnode;
		x.name = span_of(m->news.data + at + sizeof(p), p.name_len);
		at += sizeof(p) + p.name_len;
		o->outdated(&m->head->view, &x, o->ctx);
	}
}
