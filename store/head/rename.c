/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * rename(2) and renameat2(2): one change of up to two directories, what moves, and what it
 * replaces. A directory takes its contents along by its number alone, whatever their count.
 */
#include <stdio.h>

#include "head/named.h"

struct renaming {
	struct vnode *from, *to; /* borrowed */
	struct span name, new_name;
	unsigned flags;
	struct named moved, target; /* target.v: NULL without one */
	struct vnode *former[2]; /* parents that were left; references */
};

/* Is @dir @of, or below it? */
static bool is_below(const struct vnode *dir, const struct vnode *of)
{
	for (; dir; dir = dir->parent)
		if (dir == of)
			return true;
	return false;
}

static int check(const struct renaming *n)
{
	const struct file_rec *moved = &n->moved.f.rec, *target = &n->target.f.rec;
	bool moves_dir = moved->inode.type == FT_DIR;

	if (moves_dir && is_below(n->to, n->moved.v))
		return -EINVAL;
	if (!n->target.v)
		return n->flags & RENAME_EXCHANGE ? -ENOENT : 0;
	if (n->flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (n->flags & RENAME_EXCHANGE)
		return target->inode.type == FT_DIR && is_below(n->from, n->target.v) ? -EINVAL : 0;
	if (moves_dir && target->inode.type != FT_DIR)
		return -ENOTDIR;
	if (!moves_dir && target->inode.type == FT_DIR)
		return -EISDIR;
	return target->inode.type == FT_DIR && target->items > 0 ? -ENOTEMPTY : 0;
}

/* The file of @x leaves @from for @name in @to. */
static int put_moved(struct change *c, struct named *x, struct dir *from, struct dir *to,
		     struct span name)
{
	bool is_dir = x->found.type == FT_DIR;

	if (!x->f.rec.has_link) {
		x->f.rec.parent = to->v->ino;
		x->f.rec.name = name;
	}
	x->f.rec.inode.ctime = c->now;
	change_put(c, x->found.ino, &x->f.rec);
	change_name_put(c, to->v->ino, name, x->found.ino, &x->f.rec);
	dir_touch(c, from, -1, is_dir ? -1 : 0);
	dir_touch(c, to, 1, is_dir ? 1 : 0);
	return 0;
}

static int collect(struct change *c, struct renaming *n, struct dir *from, struct dir *to)
{
	bool is_exchange = n->flags & RENAME_EXCHANGE;
	int r;

	r = change_file(c, n->moved.v, &n->moved.f);
	if (r == 0 && n->target.v)
		r = change_file(c, n->target.v, &n->target.f);
	if (r == 0)
		r = change_file(c, from->v, &from->f);
	if (r == 0 && to != from)
		r = change_file(c, to->v, &to->f);
	if (r == 0)
		r = change_name_remove(c, from->v->ino, &from->root, n->name, n->moved.found.ino,
				       &n->moved.f.rec);
	if (r == 0 && is_exchange)
		r = change_name_remove(c, to->v->ino, &to->root, n->new_name, n->target.found.ino,
				       &n->target.f.rec);
	else if (r == 0 && n->target.v)
		r = named_remove(c, to, n->new_name, &n->target);
	if (r == 0)
		r = put_moved(c, &n->moved, from, to, n->new_name);
	if (r == 0 && is_exchange)
		r = put_moved(c, &n->target, to, from, n->name);
	if (r < 0)
		return r;
	dir_put(c, from);
	if (to != from)
		dir_put(c, to);
	return 0;
}

/* By which names clients know what has several. */
static void told(struct renaming *n)
{
	uint64_t from = vnode_id(n->from), to = vnode_id(n->to);

	link_unknown(n->moved.v, from, n->name);
	if (n->target.v)
		link_unknown(n->target.v, to, n->new_name);
	link_known(n->moved.v, to, n->new_name);
	if (n->flags & RENAME_EXCHANGE)
		link_known(n->target.v, from, n->name);
}

static int rename_locked(struct renaming *n, struct access *acc)
{
	struct view *v = n->from->view;
	_cleanup_change_ struct change c = { 0 };
	_cleanup_dir_ struct dir one = { 0 }, two = { 0 };
	struct dir *from = &one, *to = n->from == n->to ? &one : &two;
	int r;

	WITH_LOCK(&v->lock);

	r = change_begin(&c, v, acc);
	if (r == 0)
		r = dir_load(v, n->from, acc, from);
	if (r == 0 && to != from)
		r = dir_load(v, n->to, acc, to);
	if (r == 0)
		r = named_load(&c, from, n->name, &n->moved);
	if (r < 0)
		return r;
	r = named_load(&c, to, n->new_name, &n->target);
	if (r < 0 && r != -ENOENT)
		return r;
	r = check(n);
	if (r < 0 || n->moved.v == n->target.v)
		return r;
	r = collect(&c, n, from, to);
	if (r == 0)
		r = change_apply(&c);
	if (r < 0)
		return r;
	told(n);
	vnode_move(v->vnodes, n->moved.v, n->to, n->new_name, &n->former[0]);
	if (n->flags & RENAME_EXCHANGE)
		vnode_move(v->vnodes, n->target.v, n->from, n->name, &n->former[1]);
	else if (n->target.v)
		named_gone(v, &n->target);
	return 0;
}

static int rename_attempt(struct renaming *n, struct access *acc)
{
	struct view *v = n->from->view;
	int r = rename_locked(n, acc);

	named_release(v, &n->moved);
	named_release(v, &n->target);
	for (size_t i = 0; i < ARRAY_SIZE(n->former); i++)
		if (n->former[i])
			vnode_unref(v->vnodes, n->former[i]);
	return r;
}

int view_rename(struct vnode *from, struct span name, struct vnode *to, struct span new_name,
		unsigned flags, struct access *acc)
{
	struct renaming n = {
		.from = from, .to = to, .name = name, .new_name = new_name, .flags = flags
	};
	int r;

	if (from->view != to->view)
		return -EXDEV;
	if (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE) ||
	    flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	r = change_room(from->view, acc);
	if (r == 0)
		r = name_check(new_name);
	return r < 0 ? r : WITH_ACCESS(acc, rename_attempt(&n, acc));
}
