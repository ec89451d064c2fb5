/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Changing names: create, link, unlink. (rename.c has rename.)
 *
 * Each operation is one attempt under view->lock: it loads what it needs, collects its records in
 * a change, has the table take them, and only then moves vnodes.
 */
#include <sys/sysmacros.h>

#include "format/xattr.h"
#include "head/acl.h"
#include "head/named.h"

/* Is the name in any layer or the base, even if a whiteout hides it? */
static int was_there(struct change *c, const struct dir *d, struct span name)
{
	struct head *h = c->head;
	struct reader_source src = reader_source(h->view.store->reader, c->acc);
	_cleanup_(node_unrefp) struct node *leaf = NULL;
	struct dirent_rec e;
	int r;

	r = dir_lookup(&src.base, &d->root, name, &leaf, &e);
	return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

/*
 * The mode, owner and ACLs of a new file in @d (POSIX.1e: a default ACL takes the umask's place).
 * The list is put together in @xattrs.
 */
static int inherit(struct change *c, struct dir *d, const struct new_file *f, struct inode *ino,
		   struct buf *xattrs)
{
	struct view *v = &c->head->view;
	_cleanup_buf_ struct buf list = { 0 }, acl = { 0 }, one = { 0 };
	const struct inode *dir = &d->f.rec.inode;
	mode_t mode = f->mode & 07777;
	struct span def, acl_span;
	bool is_minimal = true;
	int r;

	r = file_xattrs(v, d->v->ino, &d->f, c->acc, &list);
	if (r < 0)
		return r;
	if (ino->type != FT_LNK &&
	    xattr_get(buf_span(&list), span_str(ACL_DEFAULT_XATTR), &def) == 0 &&
	    acl_inherit(def, &mode, &acl, &is_minimal) == 0) {
		acl_span = buf_span(&acl);
		r = is_minimal ? 0
			       : xattr_set(span_of(NULL, 0), span_str(ACL_ACCESS_XATTR), &acl_span,
					   &one);
		if (r == 0 && ino->type == FT_DIR)
			r = xattr_set(buf_span(&one), span_str(ACL_DEFAULT_XATTR), &def, xattrs);
		else if (r == 0)
			buf_put(xattrs, one.data, one.len);
		if (r < 0 || buf_failed(xattrs))
			return r < 0 ? r : -ENOMEM;
	} else if (ino->type != FT_LNK) {
		mode &= ~f->by.umask;
	}
	ino->uid = f->by.uid;
	ino->gid = f->by.gid;
	if (dir->mode & S_ISGID) {
		ino->gid = dir->gid;
		if (ino->type == FT_DIR)
			mode |= S_ISGID;
	}
	ino->mode = (uint16_t)mode;
	return 0;
}

static int new_inode(struct change *c, struct dir *d, const struct new_file *f,
		     struct file_rec *ret, struct buf *xattrs)
{
	struct inode *i = &ret->inode;
	int r;

	*ret = (struct file_rec){ .nlink = 1 };
	i->type = file_type_of_mode(f->mode);
	if (!i->type)
		return -EINVAL;
	r = inherit(c, d, f, i, xattrs);
	if (r < 0)
		return r;
	i->mtime = i->ctime = c->now;
	i->xattrs.list = buf_span(xattrs);
	if (xattrs->len > XATTR_INLINE_MAX) {
		i->xattrs = (struct xattrs){
			.large_len = (uint32_t)xattrs->len,
			.large = oid_of(OID_CHUNK, xattrs->data, xattrs->len),
		};
		ret->is_xattr_staged = true;
	}
	switch (i->type) {
	case FT_DIR:
		ret->nlink = 2;
		break;
	case FT_LNK:
		if (f->link.len == 0 || f->link.len > SYMLINK_MAX)
			return f->link.len ? -ENAMETOOLONG : -ENOENT;
		i->content.id = oid_of(OID_CHUNK, f->link.data, f->link.len);
		i->content.size = i->content.data = f->link.len;
		i->content.inlined = f->link;
		break;
	case FT_REG:
		i->content.id = *oid_empty_chunk();
		break;
	case FT_CHR:
	case FT_BLK:
		i->dev.major = major(f->rdev);
		i->dev.minor = minor(f->rdev);
		break;
	default:
		break;
	}
	return 0;
}

static void put_new(struct change *c, uint64_t ino, const struct file_rec *rec,
		    const struct buf *xattrs)
{
	struct record_key k = key_xattrs(c->layer, ino);

	change_put(c, ino, rec);
	if (rec->is_xattr_staged)
		table_batch_put(&c->batch, key_span(&k), buf_span(xattrs));
}

static int create_locked(struct vnode *dir, struct span name, const struct new_file *f,
			 struct access *acc, struct vnode **ret, struct stat *ret_st)
{
	struct view *v = dir->view;
	_cleanup_change_ struct change c = { 0 };
	_cleanup_found_ struct found found = { 0 };
	_cleanup_buf_ struct buf xattrs = { 0 };
	_cleanup_dir_ struct dir d = { 0 };
	struct file_rec rec;
	struct vnode *n;
	uint64_t ino;
	int r;

	WITH_LOCK(&v->lock);

	r = change_begin(&c, v, acc);
	if (r == 0)
		r = dir_load(v, dir, acc, &d);
	if (r < 0)
		return r;
	r = find_in(v, dir->ino, &d.root, name, acc, &found);
	if (r != -ENOENT)
		return r < 0 ? r : -EEXIST;
	r = was_there(&c, &d, name);
	if (r >= 0)
		r = change_new_ino(&c, dir->ino, name, r > 0, &ino);
	if (r == 0)
		r = new_inode(&c, &d, f, &rec, &xattrs);
	if (r == 0)
		r = change_file(&c, dir, &d.f);
	if (r < 0)
		return r;
	if (rec.inode.type == FT_DIR && d.f.rec.nlink == UINT32_MAX)
		return -EMLINK;
	rec.parent = dir->ino;
	rec.name = name;
	put_new(&c, ino, &rec, &xattrs);
	change_name_put(&c, dir->ino, name, ino, &rec);
	dir_touch(&c, &d, 1, rec.inode.type == FT_DIR);
	dir_put(&c, &d);

	/* The vnode first: what could fail after the table has taken the change must not. */
	r = vnode_get(v->vnodes, v, ino, rec.inode.type, dir, name, &n);
	if (r < 0)
		return r;
	r = change_apply(&c);
	if (r < 0) {
		*ret = n; /* let go of by the caller, outside the lock */
		return r;
	}
	file_stat(&rec, ino, ret_st);
	*ret = n;
	return 0;
}

/* A vnode that an attempt made and whose change then failed. */
static int give_back(struct view *v, struct vnode **n, int r)
{
	if (r < 0 && *n) {
		vnode_unref(v->vnodes, *n);
		*n = NULL;
	}
	return r;
}

int view_create(struct vnode *dir, struct span name, const struct new_file *f, struct access *acc,
		struct vnode **ret, struct stat *ret_st)
{
	struct vnode *n = NULL;
	int r = change_room(dir->view, acc);

	if (r == 0)
		r = name_check(name);
	if (r < 0)
		return r;
	r = WITH_ACCESS(acc,
			give_back(dir->view, &n, create_locked(dir, name, f, acc, &n, ret_st)));
	if (r == 0)
		*ret = n;
	return r;
}

static int tmpfile_locked(struct vnode *dir, const struct new_file *f, struct access *acc,
			  struct vnode **ret, struct stat *ret_st)
{
	struct view *v = dir->view;
	_cleanup_change_ struct change c = { 0 };
	_cleanup_buf_ struct buf xattrs = { 0 };
	_cleanup_dir_ struct dir d = { 0 };
	struct file_rec rec;
	struct vnode *n;
	uint64_t ino;
	int r;

	WITH_LOCK(&v->lock);

	r = change_begin(&c, v, acc);
	if (r == 0)
		r = dir_load(v, dir, acc, &d);
	if (r == 0)
		r = change_new_ino(&c, dir->ino, span_of(NULL, 0), true, &ino);
	if (r == 0)
		r = new_inode(&c, &d, f, &rec, &xattrs);
	if (r == 0)
		r = vnode_get(v->vnodes, v, ino, rec.inode.type, NULL, span_of(NULL, 0), &n);
	if (r < 0)
		return r;
	n->flags |= VNODE_UNLINKED;
	*ret = n;
	orphan_put(&c, ino, &rec);
	put_new(&c, ino, &rec, &xattrs);
	r = change_apply(&c);
	if (r == 0)
		file_stat(&rec, ino, ret_st);
	return r;
}

int view_tmpfile(struct vnode *dir, const struct new_file *f, struct access *acc,
		 struct vnode **ret, struct stat *ret_st)
{
	struct vnode *n = NULL;
	int r = change_room(dir->view, acc);

	if (r == 0)
		r = WITH_ACCESS(acc,
				give_back(dir->view, &n, tmpfile_locked(dir, f, acc, &n, ret_st)));
	if (r == 0)
		*ret = n;
	return r;
}

static int link_locked(struct vnode *n, struct vnode *dir, struct span name, struct access *acc,
		       struct stat *ret_st)
{
	struct view *v = dir->view;
	_cleanup_change_ struct change c = { 0 };
	_cleanup_found_ struct found found = { 0 };
	_cleanup_file_ struct file f = { 0 };
	_cleanup_dir_ struct dir d = { 0 };
	struct hard_link *link = NULL;
	struct record_key k;
	bool was_orphan;
	int r;

	WITH_LOCK(&v->lock);

	r = change_begin(&c, v, acc);
	if (r == 0)
		r = dir_load(v, dir, acc, &d);
	if (r < 0)
		return r;
	r = find_in(v, dir->ino, &d.root, name, acc, &found);
	if (r != -ENOENT)
		return r < 0 ? r : -EEXIST;
	r = n->flags & VNODE_LEFT ? -ESTALE : load_vnode(v, n, acc, &f);
	if (r == 0 && f.rec.nlink >= NLINK_MAX)
		r = -EMLINK;
	/* What stood for all its names is gone with the last of them. */
	if (r == 0 && f.rec.nlink == 0 && f.rec.has_link)
		r = -ENOENT;
	if (r == 0)
		r = change_file(&c, n, &f);
	if (r == 0)
		r = change_file(&c, dir, &d.f);
	if (r < 0)
		return r;

	was_orphan = f.rec.nlink == 0;
	if (was_orphan && !f.rec.has_link) {
		/* Its first name: an ordinary file from now on. */
		f.rec.parent = dir->ino;
		f.rec.name = name;
	} else if (!f.rec.has_link) {
		change_link_id(&c, n, &f);
		link = link_new(&f.rec.link);
		if (!link)
			return -ENOMEM;
	}
	f.rec.nlink++;
	f.rec.inode.ctime = c.now;
	change_put(&c, n->ino, &f.rec);
	change_name_put(&c, dir->ino, name, n->ino, &f.rec);
	dir_touch(&c, &d, 1, 0);
	dir_put(&c, &d);
	if (was_orphan) {
		k = key_orphan(c.head->id, n->ino);
		table_batch_delete(&c.batch, key_span(&k));
	}
	r = change_apply(&c);
	if (r < 0) {
		link_free(link);
		return r;
	}
	if (link) {
		link_free(n->link);
		n->link = link;
		link_known(n, vnode_id(n->parent), vnode_name(n));
	}
	link_known(n, vnode_id(dir), name);
	if (was_orphan) {
		struct vnode *former;

		n->flags &= ~VNODE_UNLINKED;
		r = vnode_move(v->vnodes, n, dir, name, &former);
	}
	file_stat(&f.rec, n->ino, ret_st);
	return r;
}

int view_link(struct vnode *n, struct vnode *dir, struct span name, struct access *acc,
	      struct stat *ret_st)
{
	int r = change_room(dir->view, acc);

	if (r == 0)
		r = n->view != dir->view ? -EXDEV : n->type == FT_DIR ? -EPERM : name_check(name);
	return r < 0 ? r : WITH_ACCESS(acc, link_locked(n, dir, name, acc, ret_st));
}

static int remove_locked(struct vnode *dir, struct span name, bool want_dir, struct access *acc,
			 struct named *x)
{
	struct view *v = dir->view;
	_cleanup_change_ struct change c = { 0 };
	_cleanup_dir_ struct dir d = { 0 };
	bool is_dir;
	int r;

	WITH_LOCK(&v->lock);

	r = change_begin(&c, v, acc);
	if (r == 0)
		r = dir_load(v, dir, acc, &d);
	if (r == 0)
		r = named_load(&c, &d, name, x);
	if (r < 0)
		return r;
	is_dir = x->f.rec.inode.type == FT_DIR;
	if (is_dir != want_dir)
		return want_dir ? -ENOTDIR : -EISDIR;
	if (is_dir && x->f.rec.items > 0)
		return -ENOTEMPTY;
	return named_take_out(&c, &d, name, x);
}

static int remove_attempt(struct vnode *dir, struct span name, bool want_dir, struct access *acc)
{
	struct named x = { 0 };
	int r = remove_locked(dir, name, want_dir, acc, &x);

	named_release(dir->view, &x);
	return r;
}

int view_unlink(struct vnode *dir, struct span name, struct access *acc)
{
	int r = change_room(dir->view, acc);

	return r < 0 ? r : WITH_ACCESS(acc, remove_attempt(dir, name, false, acc));
}

int view_rmdir(struct vnode *dir, struct span name, struct access *acc)
{
	int r = change_room(dir->view, acc);

	return r < 0 ? r : WITH_ACCESS(acc, remove_attempt(dir, name, true, acc));
}
