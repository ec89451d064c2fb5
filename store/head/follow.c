/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A clean head follows its branch to commits of other mounts.
 *
 * The base is exchanged at one instant. Then what differs between the old and the new one is said
 * to the client, as far down as it has directories in its hands: nobody else can have cached
 * anything. Files that are in the way by their type, or gone, lose their vnode.
 */
#include "head/base.h"
#include "head/commit.h"
#include "tree/diff.h"

/* A directory in the client's hands, in both commits. */
struct pair {
	struct vnode *dir; /* a reference */
	struct tree_root was, is;
};

struct following {
	struct head *head;
	struct access *acc;
	struct pair *pairs; /* still to be looked at; owned */
	size_t count, cap;
};

static int push(struct following *f, struct vnode *dir, const struct tree_root *was,
		const struct tree_root *is)
{
	if (f->count == f->cap) {
		size_t cap = MAX(2 * f->cap, (size_t)16);
		struct pair *p = reallocarray(f->pairs, cap, sizeof(*p));

		if (!p)
			return -ENOMEM;
		f->pairs = p;
		f->cap = cap;
	}
	f->pairs[f->count++] = (struct pair){ dir, *was, *is };
	return 0;
}

/* The number of the name in the old commit; no exception for it in the new one, unless that has the
 * file still. */
static int former_ino(struct following *f, const struct vnode *dir, const struct dirent_rec *e,
		      bool stays, uint64_t *ret)
{
	struct head *h = f->head;
	_cleanup_table_batch_ struct table_batch batch = { 0 };
	struct record_key k;
	int r;

	WITH_LOCK(&h->view.lock);

	r = base_ino(&h->view, dir->ino, e, ret);
	if (r < 0 || stays || !h->has_exceptions || e->has_link ||
	    *ret == derive_ino(&h->view, dir->ino, e->name))
		return r;
	k = key_exception(h->id, dir->ino, e->name);
	table_batch_delete(&batch, key_span(&k));
	k = key_taken(h->id, *ret);
	table_batch_delete(&batch, key_span(&k));
	return table_apply(h->heads->table, &batch);
}

static void doom(struct head *h, struct vnode *n)
{
	WITH_LOCK(&h->view.lock);

	vnode_doom(h->view.vnodes, n);
}

static int visit(struct following *f, struct vnode *dir, const struct dirent_rec *was,
		 const struct dirent_rec *is)
{
	static const struct tree_root empty;
	struct head *h = f->head;
	const struct heads_options *o = &h->heads->opts;
	struct span name = was ? was->name : is->name;
	bool stays =
		was && is && is->inode.type == was->inode.type && is->has_link == was->has_link;
	struct vnode *n = NULL;
	uint64_t ino;
	int r;

	if (was) {
		r = former_ino(f, dir, was, stays, &ino);
		if (r < 0)
			return r;
		n = vnode_find(h->view.vnodes, &h->view, ino);
	}
	/* A hard-linked file may have other names: compare_links() knows. */
	if (n && !stays && !was->has_link)
		doom(h, n);
	if (o->outdated)
		o->outdated(&h->view, vnode_id(dir), name, n ? vnode_id(n) : 0, o->ctx);
	/* What is below a directory that is gone has gone with it. */
	if (n && was->inode.type == FT_DIR)
		return push(f, n, &was->inode.dir, stays ? &is->inode.dir : &empty);
	if (n)
		vnode_unref(h->view.vnodes, n);
	return 0;
}

static int compare(struct following *f, const struct pair *p)
{
	struct reader_source src = reader_source(f->head->view.store->reader, f->acc);
	_cleanup_(tree_diff_freep) struct tree_diff *d = NULL;
	struct tree_place a, b;
	int r;

	r = tree_diff_new(TREE_DIR, &src.base, &p->was, &p->is, &d);
	while (r == 0 && (r = tree_diff_next(d, &a, &b)) > 0) {
		struct dirent_rec was, is;

		if (a.leaf)
			node_dirent(a.leaf, a.i, &was);
		if (b.leaf)
			node_dirent(b.leaf, b.i, &is);
		r = visit(f, p->dir, a.leaf ? &was : NULL, b.leaf ? &is : NULL);
	}
	return r;
}

static int link_ino(struct head *h, const struct id128 *link, uint64_t *ret)
{
	struct dirent_rec e = { .has_link = true, .link = *link };

	WITH_LOCK(&h->view.lock);

	return base_ino(&h->view, 0, &e, ret);
}

/* Hard-linked files change without any directory doing so. */
static int compare_links(struct following *f, const struct tree_root *was,
			 const struct tree_root *is)
{
	struct head *h = f->head;
	const struct heads_options *o = &h->heads->opts;
	struct reader_source src = reader_source(h->view.store->reader, f->acc);
	_cleanup_(tree_diff_freep) struct tree_diff *d = NULL;
	struct tree_place a, b;
	int r;

	r = tree_diff_new(TREE_LINKS, &src.base, was, is, &d);
	while (r == 0 && (r = tree_diff_next(d, &a, &b)) > 0) {
		struct link_rec rec;
		struct vnode *n;
		uint64_t ino;

		r = 0;
		if (!a.leaf)
			continue;
		node_link(a.leaf, a.i, &rec);
		r = link_ino(h, &rec.link, &ino);
		n = r == 0 ? vnode_find(h->view.vnodes, &h->view, ino) : NULL;
		if (!n)
			continue;
		if (!b.leaf)
			doom(h, n);
		if (o->outdated)
			o->outdated(&h->view, 0, span_of(NULL, 0), vnode_id(n), o->ctx);
		vnode_unref(h->view.vnodes, n);
	}
	return r;
}

/* Under the view's lock: is nothing of it uncommitted, or about to be? */
static bool is_clean(const struct head *h)
{
	return !head_is_dirty(h) && !h->opens && !h->is_removed &&
	       head_standing(h) == HEAD_ON_BRANCH;
}

/* Worth a look at all? */
static bool may_move(struct head *h, const struct oid *target)
{
	WITH_LOCK(&h->view.lock);

	return is_clean(h) && !oid_equal(&h->view.base.id, target);
}

/* Exchanges the base if the head may move: 1, 0. Then @base is the old one. Branches only go
 * forward: a commit that is not above the base's is what somebody knew before that. */
static int move(struct head *h, struct base *base)
{
	WITH_WRLOCK(&h->gate);
	WITH_LOCK(&h->view.lock);

	if (!is_clean(h) || base->commit.generation <= h->view.base.commit.generation)
		return 0;
	view_swap_base(&h->view, base);
	return 1;
}

static int follow_locked(struct head *h, const struct oid *target, struct access *acc)
{
	struct following f = { .head = h, .acc = acc };
	struct refs_wait w = { .may_wait = true, .deadline = acc->deadline };
	_cleanup_base_ struct base base = { 0 };
	_cleanup_buf_ struct buf object = { 0 };
	struct vnode *root;
	int r;

	r = refs_commit(h->view.store->refs, &h->view.repo, target, &w, &object);
	if (r == 0)
		r = base_load(target, buf_span(&object), &base);
	if (r == 0)
		r = view_root(&h->view, &root);
	if (r < 0)
		return r;
	r = move(h, &base);
	if (r <= 0) {
		vnode_unref(h->view.vnodes, root);
		return r;
	}
	r = push(&f, root, &base.root.dir, &h->view.base.root.dir);
	while (f.count > 0) {
		struct pair p = f.pairs[--f.count];

		if (r == 0)
			r = compare(&f, &p);
		vnode_unref(h->view.vnodes, p.dir);
	}
	free(f.pairs);
	if (r == 0)
		r = compare_links(&f, &base.commit.links, &h->view.base.commit.links);
	return r < 0 ? r : 1;
}

int head_follow(struct view *head, const struct oid *target, struct access *acc)
{
	struct head *h = head_of(head);
	int r;

	if (oid_is_null(target) || pthread_mutex_trylock(&h->commit_lock) != 0)
		return 0;
	r = may_move(h, target) ? follow_locked(h, target, acc) : 0;
	pthread_mutex_unlock(&h->commit_lock);
	return r;
}
