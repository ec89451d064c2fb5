/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Directories and names of head/named.h.
 */
#include "head/named.h"

int name_check(struct span name)
{
	if (name.len > FILE_NAME_MAX)
		return -ENAMETOOLONG;
	return file_name_is_valid(name) ? 0 : -EINVAL;
}

void dir_release(struct dir *d)
{
	file_release(&d->f);
}

int dir_load(struct view *v, struct vnode *n, struct access *acc, struct dir *ret)
{
	int r;

	if (n->type != FT_DIR)
		return -ENOTDIR;
	ret->v = n;
	r = load_vnode(v, n, acc, &ret->f);
	if (r < 0)
		return r;
	ret->root = ret->f.rec.inode.dir;
	return ret->f.rec.nlink == 0 ? -ENOENT : 0;
}

void dir_touch(struct change *c, struct dir *d, int items, int subdirs)
{
	d->f.rec.items += (uint64_t)items;
	d->f.rec.nlink += (uint32_t)subdirs;
	d->f.rec.inode.mtime = d->f.rec.inode.ctime = c->now;
}

void dir_put(struct change *c, const struct dir *d)
{
	change_put(c, d->v->ino, &d->f.rec);
}

void named_release(struct view *v, struct named *x)
{
	if (x->v)
		vnode_unref(v->vnodes, x->v);
	if (x->former)
		vnode_unref(v->vnodes, x->former);
	found_release(&x->found);
	file_release(&x->f);
	*x = (struct named){ 0 };
}

int named_load(struct change *c, struct dir *d, struct span name, struct named *ret)
{
	struct view *v = &c->head->view;
	int r;

	r = find_in(v, d->v->ino, &d->root, name, c->acc, &ret->found);
	if (r == 0)
		r = load_found(v, d->v->ino, name, &ret->found, c->acc, &ret->f);
	if (r == 0)
		r = vnode_of_found(v, d->v, name, &ret->found, &ret->f.rec, &ret->v);
	return r;
}

int named_remove(struct change *c, struct dir *d, struct span name, struct named *x)
{
	struct file_rec *rec = &x->f.rec;
	uint64_t ino = x->found.ino;
	bool is_dir = rec->inode.type == FT_DIR;
	int r;

	r = change_file(c, x->v, &x->f);
	if (r == 0)
		r = change_name_remove(c, d->v->ino, &d->root, name, ino, rec);
	if (r < 0)
		return r;
	rec->inode.ctime = c->now;
	if (!is_dir && rec->nlink > 1) {
		rec->nlink--;
		change_put(c, ino, rec);
	} else {
		if (rec->has_link)
			change_link_gone(c, ino, rec);
		orphan_put(c, ino, rec);
	}
	dir_touch(c, d, -1, is_dir ? -1 : 0);
	return 0;
}

void named_gone(struct view *v, struct named *x)
{
	if (x->f.rec.nlink > 0)
		return;
	x->v->flags |= VNODE_UNLINKED;
	vnode_move(v->vnodes, x->v, NULL, span_of(NULL, 0), &x->former);
}

int named_take_out(struct change *c, struct dir *d, struct span name, struct named *x)
{
	int r = change_file(c, d->v, &d->f);

	if (r == 0)
		r = named_remove(c, d, name, x);
	if (r < 0)
		return r;
	dir_put(c, d);
	r = change_apply(c);
	if (r == 0) {
		link_unknown(x->v, vnode_id(d->v), name);
		named_gone(&c->head->view, x);
	}
	return r;
}
