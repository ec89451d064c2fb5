/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Views: making and ending them, and looking around in them.
 */
#include <limits.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"
#include "head/base.h"

/* A view's inode numbers hang on what it shows for ever: a commit's id, a branch's identity. */
uint64_t view_salt(const void *identity, size_t len)
{
	return xxh64(identity, len, 0);
}

int view_init(struct view *v, struct store *store, struct vnode_table *vnodes,
	      const struct id128 *repo, const char *repo_name)
{
	v->repo_name = strdup(repo_name);
	if (!v->repo_name)
		return -ENOMEM;
	v->refs = 1;
	v->store = store;
	v->vnodes = vnodes;
	v->repo = *repo;
	pthread_mutex_init(&v->lock, NULL);
	return 0;
}

void view_release(struct view *v)
{
	base_release(&v->base);
	pthread_mutex_destroy(&v->lock);
	free(v->repo_name);
}

char *view_path(struct vnode *v)
{
	struct view *view = v->view;
	char path[PATH_MAX], hex[OID_HEX];
	size_t at = sizeof(path) - 1;

	path[at] = '\0';
	WITH_LOCK(&view->lock);

	for (; v->parent; v = v->parent) {
		struct span name = vnode_name(v);

		if (name.len + 1 > at)
			break;
		at -= name.len;
		memcpy(path + at, name.data, name.len);
		path[--at] = '/';
	}
	for (char *p = path + at; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	oid_hex(&view->base.id, hex);
	return strf("%s/%s%s", view->repo_name, view->is_head ? head_of(view)->branch_name : hex,
		    path + at);
}

void base_release(struct base *b)
{
	commit_release(&b->commit);
	buf_release(&b->object);
	*b = (struct base){ 0 };
}

int base_load(const struct oid *id, struct span object, struct base *ret)
{
	_cleanup_base_ struct base b = { 0 };
	int r;

	buf_put(&b.object, object.data, object.len);
	if (buf_failed(&b.object))
		return -ENOMEM;
	r = commit_read(buf_span(&b.object), id, &b.commit);
	if (r == 0)
		r = commit_id_of(object, &b.id);
	if (r < 0)
		return r;
	b.root = b.commit.root;
	*ret = b;
	b = (struct base){ 0 };
	return 0;
}

void view_swap_base(struct view *v, struct base *b)
{
	struct base old = v->base;

	v->base = *b;
	*b = old;
	v->generation++;
}

int view_of_commit(struct store *store, struct vnode_table *vnodes, const char *repo_name,
		   struct span object, struct view **ret)
{
	_cleanup_base_ struct base b = { 0 };
	struct view *v;
	int r;

	r = base_load(NULL, object, &b);
	if (r < 0)
		return r;
	v = new0(struct view, 1);
	if (!v || view_init(v, store, vnodes, &b.commit.repo, repo_name) < 0) {
		free(v);
		return -ENOMEM;
	}
	v->salt = view_salt(b.id.b, sizeof(b.id.b));
	view_swap_base(v, &b);
	*ret = v;
	return 0;
}

struct view *view_ref(struct view *v)
{
	atomic_fetch_add(&v->refs, 1);
	return v;
}

void view_unref(struct view *v)
{
	if (!v || atomic_fetch_sub(&v->refs, 1) > 1)
		return;
	/* Only one that was discarded comes here: the table has a reference to each. */
	if (v->is_head) {
		head_free(head_of(v));
		return;
	}
	view_release(v);
	free(v);
}

bool view_is_unused(const struct view *v)
{
	/* A head's table has a reference. */
	return v->refs <= (v->is_head ? 2 : 1);
}

bool view_is_head(const struct view *v)
{
	return v->is_head;
}

struct oid view_commit(struct view *v)
{
	WITH_LOCK(&v->lock);

	return v->base.id;
}

int view_root(struct view *v, struct vnode **ret)
{
	return vnode_get(v->vnodes, v, root_ino(v), FT_DIR, NULL, span_of(NULL, 0), ret);
}

static int lookup_locked(struct vnode *dir, struct span name, struct access *acc,
			 struct vnode **ret, struct stat *ret_st)
{
	struct view *v = dir->view;
	_cleanup_found_ struct found f = { 0 };
	_cleanup_file_ struct file file = { 0 };
	int r;

	WITH_LOCK(&v->lock);

	r = find_name(v, dir, name, acc, &f);
	if (r == 0)
		r = load_found(v, dir->ino, name, &f, acc, &file);
	if (r < 0)
		return r;
	file_stat(&file.rec, f.ino, ret_st);
	return vnode_of_found(v, dir, name, &f, &file.rec, ret);
}

int view_lookup(struct vnode *dir, struct span name, struct access *acc, struct vnode **ret,
		struct stat *ret_st)
{
	return WITH_ACCESS(acc, lookup_locked(dir, name, acc, ret, ret_st));
}

static int getattr_locked(struct vnode *n, struct access *acc, struct stat *ret)
{
	_cleanup_file_ struct file f = { 0 };
	int r;

	WITH_LOCK(&n->view->lock);

	r = load_vnode(n->view, n, acc, &f);
	if (r == 0)
		file_stat(&f.rec, n->ino, ret);
	return r;
}

int view_getattr(struct vnode *n, struct access *acc, struct stat *ret)
{
	return WITH_ACCESS(acc, getattr_locked(n, acc, ret));
}

int view_walk(struct vnode *dir, struct span path, struct access *acc, struct vnode **ret,
	      struct stat *ret_st)
{
	struct vnode_table *t = dir->view->vnodes;
	struct vnode *at = dir;
	struct stat st;
	int r;

	vnode_ref(t, at);
	r = view_getattr(at, acc, &st);
	while (r == 0 && path.len > 0) {
		const uint8_t *slash = memchr(path.data, '/', path.len);
		size_t n = slash ? (size_t)(slash - path.data) : path.len;
		struct span name = span_of(path.data, n);
		struct vnode *next;

		path = span_of(path.data + n, path.len - n);
		while (path.len > 0 && path.data[0] == '/')
			path = span_of(path.data + 1, path.len - 1);
		if (n == 0 || (n == 1 && name.data[0] == '.'))
			continue;
		r = at->type == FT_DIR ? view_lookup(at, name, acc, &next, &st) : -ENOTDIR;
		if (r < 0)
			break;
		vnode_unref(t, at);
		at = next;
	}
	if (r < 0) {
		vnode_unref(t, at);
		return r;
	}
	*ret = at;
	*ret_st = st;
	return 0;
}

static int content_locked(struct vnode *n, struct access *acc, struct file *ret)
{
	WITH_LOCK(&n->view->lock);

	return load_vnode(n->view, n, acc, ret);
}

int view_readlink(struct vnode *n, struct access *acc, struct buf *ret)
{
	_cleanup_file_ struct file f = { 0 };
	struct content *c = &f.rec.inode.content;
	uint8_t *p;
	int64_t got;
	int r;

	if (n->type != FT_LNK)
		return -EINVAL;
	r = WITH_ACCESS(acc, content_locked(n, acc, &f));
	if (r < 0)
		return r;
	buf_clear(ret);
	content_check_inlined(c);
	if (c->inlined.len > 0) {
		buf_put(ret, c->inlined.data, c->inlined.len);
		return buf_failed(ret) ? -ENOMEM : 0;
	}
	p = buf_extend(ret, c->size);
	if (!p)
		return -ENOMEM;
	got = WITH_ACCESS_64(acc, content_read(n->view->store->reader, c, 0, c->size, p, acc));
	if (got < 0)
		return (int)got;
	return (uint64_t)got == c->size ? 0 : -EIO;
}
