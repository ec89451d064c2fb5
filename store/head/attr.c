/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Changing attributes: chmod, chown, times, extended attributes. Sizes are data.c's.
 */
#include "head/attr.h"

#include <sys/xattr.h>

#include "format/xattr.h"
#include "head/acl.h"

#define OWN_PREFIX	 "user.pfs."
#define CAPABILITY_XATTR "security.capability"

static int mode_to_acl(struct span list, mode_t mode, struct buf *ret, bool *ret_has_acl)
{
	_cleanup_buf_ struct buf acl = { 0 };
	struct span old, fresh;
	int r;

	r = xattr_get(list, span_str(ACL_ACCESS_XATTR), &old);
	*ret_has_acl = r == 0;
	if (r < 0)
		return 0;
	r = acl_chmod(old, mode, &acl);
	if (r < 0)
		return r;
	fresh = buf_span(&acl);
	return xattr_set(list, span_str(ACL_ACCESS_XATTR), &fresh, ret);
}

void attr_put_xattrs(struct change *c, uint64_t ino, struct file_rec *f, struct buf *list)
{
	struct record_key k = key_xattrs(c->layer, ino);

	if (f->is_xattr_staged)
		table_batch_delete(&c->batch, key_span(&k));
	f->is_xattr_staged = list->len > XATTR_INLINE_MAX;
	f->inode.xattrs = (struct xattrs){ 0 };
	if (!f->is_xattr_staged) {
		f->inode.xattrs.list = buf_span(list);
		return;
	}
	f->inode.xattrs.large_len = (uint32_t)list->len;
	f->inode.xattrs.large = oid_of(OID_CHUNK, list->data, list->len);
	table_batch_put(&c->batch, key_span(&k), buf_span(list));
}

int attr_kill_priv(struct change *c, struct vnode *n, struct file *f, struct buf *list)
{
	struct inode *i = &f->rec.inode;
	_cleanup_buf_ struct buf old = { 0 };
	struct span cap;
	int r;

	if (i->type == FT_DIR)
		return 0;
	if (i->mode & S_IXGRP)
		i->mode &= ~S_ISGID;
	i->mode &= ~S_ISUID;
	r = file_xattrs(&c->head->view, n->ino, f, c->acc, &old);
	if (r < 0 || xattr_get(buf_span(&old), span_str(CAPABILITY_XATTR), &cap) < 0)
		return r;
	r = xattr_set(buf_span(&old), span_str(CAPABILITY_XATTR), NULL, list);
	if (r == 0)
		attr_put_xattrs(c, n->ino, &f->rec, list);
	return r;
}

int attr_apply(struct change *c, struct vnode *n, struct file *f, const struct setattr *s,
	       struct buf *list)
{
	struct inode *i = &f->rec.inode;
	int r = 0;

	if (s->what & SETATTR_MODE) {
		_cleanup_buf_ struct buf old = { 0 };
		bool has_acl;

		i->mode = s->mode & 07777;
		r = file_xattrs(&c->head->view, n->ino, f, c->acc, &old);
		if (r == 0)
			r = mode_to_acl(buf_span(&old), s->mode, list, &has_acl);
		if (r == 0 && has_acl)
			attr_put_xattrs(c, n->ino, &f->rec, list);
	}
	if (r == 0 && s->what & SETATTR_KILL_PRIV)
		r = attr_kill_priv(c, n, f, list);
	if (r < 0)
		return r;
	if (s->what & SETATTR_UID)
		i->uid = s->uid;
	if (s->what & SETATTR_GID)
		i->gid = s->gid;
	if (s->what & SETATTR_SIZE)
		i->mtime = c->now;
	if (s->what & SETATTR_MTIME)
		i->mtime = inode_time_of(s->mtime);
	i->ctime = s->what & SETATTR_CTIME ? inode_time_of(s->ctime) : c->now;
	return 0;
}

static int setattr_locked(struct vnode *n, const struct setattr *s, struct access *acc,
			  struct stat *ret_st)
{
	struct view *v = n->view;
	_cleanup_change_ struct change c = { 0 };
	_cleanup_file_ struct file f = { 0 };
	_cleanup_buf_ struct buf list = { 0 };
	int r;

	WITH_LOCK(&v->lock);

	r = change_begin(&c, v, acc);
	if (r == 0)
		r = load_vnode(v, n, acc, &f);
	if (r == 0)
		r = change_file(&c, n, &f);
	if (r == 0)
		r = attr_apply(&c, n, &f, s, &list);
	if (r < 0)
		return r;
	change_put(&c, n->ino, &f.rec);
	r = change_apply(&c);
	if (r == 0)
		file_stat(&f.rec, n->ino, ret_st);
	return r;
}

int view_setattr(struct vnode *n, const struct setattr *s, struct access *acc, struct stat *ret_st)
{
	int r = change_room(n->view, acc);

	if (r < 0)
		return r;
	if (s->what & SETATTR_SIZE)
		return data_set_size(n, s, acc, ret_st);
	if (!s->what)
		return view_getattr(n, acc, ret_st);
	return WITH_ACCESS(acc, setattr_locked(n, s, acc, ret_st));
}

static int load_list(struct vnode *n, struct access *acc, struct file *f, struct buf *ret)
{
	struct view *v = n->view;
	int r;

	WITH_LOCK(&v->lock);

	file_release(f);
	r = load_vnode(v, n, acc, f);
	return r < 0 ? r : file_xattrs(v, n->ino, f, acc, ret);
}

static bool is_own(struct span name)
{
	return name.len > strlen(OWN_PREFIX) &&
	       memcmp(name.data, OWN_PREFIX, strlen(OWN_PREFIX)) == 0;
}

/* What one is looking at: computed, never stored, not listed. */
static int get_own(struct vnode *n, struct span name, struct access *acc, struct buf *ret)
{
	struct view *v = n->view;
	_cleanup_buf_ struct buf list = { 0 };
	_cleanup_file_ struct file f = { 0 };
	char hex[OID_HEX];
	int r = WITH_ACCESS(acc, load_list(n, acc, &f, &list));

	if (r < 0)
		return r;
	buf_clear(ret);
	WITH_LOCK(&v->lock);

	if (span_equal(name, span_str(OWN_PREFIX "repo"))) {
		buf_printf(ret, "%s", v->repo_name);
	} else if (span_equal(name, span_str(OWN_PREFIX "branch")) && v->is_head) {
		buf_printf(ret, "%s", head_of(v)->branch_name);
	} else if (span_equal(name, span_str(OWN_PREFIX "commit"))) {
		const struct oid *id = v->is_head ? &head_of(v)->committed : &v->base.id;

		if (n->flags & VNODE_LEFT)
			id = &n->left->commit;
		if (!oid_is_null(id))
			buf_printf(ret, "%s", oid_hex(id, hex));
	} else if (span_equal(name, span_str(OWN_PREFIX "size"))) {
		buf_printf(ret, "%llu",
			   (unsigned long long)(n->type == FT_DIR ? f.rec.inode.dir.sum.bytes
								  : f.rec.size));
	} else if (span_equal(name, span_str(OWN_PREFIX "id")) && !f.layer) {
		/* What is uncommitted has no id yet. */
		if (n->type == FT_DIR)
			buf_printf(ret, "%s", oid_hex(&f.rec.inode.dir.id, hex));
		else if (n->type == FT_REG || n->type == FT_LNK)
			buf_printf(ret, "%s", oid_hex(&f.rec.inode.content.id, hex));
		else
			return -ENODATA;
	} else {
		return -ENODATA;
	}
	return buf_failed(ret) ? -ENOMEM : 0;
}

int view_getxattr(struct vnode *n, struct span name, struct access *acc, struct buf *ret)
{
	_cleanup_buf_ struct buf list = { 0 };
	_cleanup_file_ struct file f = { 0 };
	struct span value;
	int r;

	if (is_own(name))
		return get_own(n, name, acc, ret);
	r = WITH_ACCESS(acc, load_list(n, acc, &f, &list));
	if (r == 0)
		r = xattr_get(buf_span(&list), name, &value);
	if (r < 0)
		return r;
	buf_clear(ret);
	buf_put(ret, value.data, value.len);
	return buf_failed(ret) ? -ENOMEM : 0;
}

int view_listxattr(struct vnode *n, struct access *acc, struct buf *ret)
{
	_cleanup_buf_ struct buf list = { 0 };
	_cleanup_file_ struct file f = { 0 };
	struct cursor c;
	struct xattr x;
	int r;

	r = WITH_ACCESS(acc, load_list(n, acc, &f, &list));
	if (r < 0)
		return r;
	buf_clear(ret);
	c = cursor_of(buf_span(&list));
	while (xattr_next(&c, &x)) {
		buf_put(ret, x.name.data, x.name.len);
		buf_put_u8(ret, 0);
	}
	return buf_failed(ret) ? -ENOMEM : 0;
}

/* One attribute to be set, or removed (no value). */
struct xattr_change {
	struct span name;
	const struct span *value;
	int flags;
	bool kill_sgid;
};

/* An access ACL is the mode, too; one that says no more than a mode is not kept. */
static int acl_set(struct file *f, const struct xattr_change *x, struct span list, struct buf *ret)
{
	mode_t mode = f->rec.inode.mode;
	bool is_minimal;
	int r;

	r = acl_to_mode(*x->value, &mode, &is_minimal);
	if (r < 0)
		return r;
	if (x->kill_sgid)
		mode &= ~(mode_t)S_ISGID;
	f->rec.inode.mode = (uint16_t)mode;
	r = xattr_set(list, x->name, is_minimal ? NULL : x->value, ret);
	if (r == -ENODATA) {
		buf_clear(ret);
		buf_put(ret, list.data, list.len);
		return 0;
	}
	return r;
}

static int change_xattr_locked(struct vnode *n, const struct xattr_change *x, struct access *acc)
{
	struct view *v = n->view;
	_cleanup_change_ struct change c = { 0 };
	_cleanup_buf_ struct buf old = { 0 }, list = { 0 };
	_cleanup_file_ struct file f = { 0 };
	struct span found;
	bool has;
	int r;

	WITH_LOCK(&v->lock);

	r = change_begin(&c, v, acc);
	if (r == 0)
		r = load_vnode(v, n, acc, &f);
	if (r == 0)
		r = file_xattrs(v, n->ino, &f, acc, &old);
	if (r < 0)
		return r;
	has = xattr_get(buf_span(&old), x->name, &found) == 0;
	if (!has && (!x->value || x->flags & XATTR_REPLACE))
		return -ENODATA;
	if (has && x->flags & XATTR_CREATE)
		return -EEXIST;
	r = change_file(&c, n, &f);
	if (r < 0)
		return r;
	if (x->value && span_equal(x->name, span_str(ACL_ACCESS_XATTR)))
		r = acl_set(&f, x, buf_span(&old), &list);
	else
		r = xattr_set(buf_span(&old), x->name, x->value, &list);
	if (r < 0)
		return r;
	attr_put_xattrs(&c, n->ino, &f.rec, &list);
	f.rec.inode.ctime = c.now;
	change_put(&c, n->ino, &f.rec);
	return change_apply(&c);
}

static int change_xattr(struct vnode *n, const struct xattr_change *x, struct access *acc)
{
	int r = change_room(n->view, acc);

	if (r == 0 && is_own(x->name))
		r = -EPERM;
	if (r == 0 && (x->name.len == 0 || x->name.len > XATTR_NAME_MAX_LEN))
		r = -ERANGE;
	return r < 0 ? r : WITH_ACCESS(acc, change_xattr_locked(n, x, acc));
}

int view_setxattr(struct vnode *n, struct span name, struct span value, int flags, bool kill_sgid,
		  struct access *acc)
{
	struct xattr_change x = {
		.name = name, .value = &value, .flags = flags, .kill_sgid = kill_sgid
	};

	if ((span_equal(name, span_str(ACL_ACCESS_XATTR)) ||
	     span_equal(name, span_str(ACL_DEFAULT_XATTR))) &&
	    acl_check(value) < 0)
		return -EINVAL;
	return change_xattr(n, &x, acc);
}

int view_removexattr(struct vnode *n, struct span name, struct access *acc)
{
	return change_xattr(n, &(struct xattr_change){ .name = name }, acc);
}
