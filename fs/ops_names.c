/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Names: looking them up, making, moving and removing them.
 */
#include <fcntl.h>
#include <stdio.h>

#include "entry.h"
#include "follow.h"
#include "ops.h"
#include "realm.h"
#include "root.h"

static void start(fuse_req_t req, const struct op *op, fuse_ino_t dir, const char *name)
{
	struct call c = call_of(req, op);

	c.node = dir;
	c.name = span_str(name);
	call_start(&c);
}

/* "." and "..", which only NFS would ask for. */
static int lookup_dots(struct call *c, struct vnode *dir, struct access *acc)
{
	struct vnode_table *t = c->fs->vnodes;
	struct vnode *v = NULL;
	struct stat st;
	int r;

	if (c->name.len == 1) {
		vnode_ref(t, dir);
		v = dir;
	} else {
		v = vnode_parent(t, dir);
	}
	if (!v)
		return -ESTALE;
	r = view_getattr(v, acc, &st);
	if (r == 0)
		reply_entry(c, v, &st, node_timeout(v));
	vnode_unref(t, v);
	return r;
}

static bool is_dots(struct span name)
{
	return span_equal(name, span_str(".")) || span_equal(name, span_str(".."));
}

static int run_lookup(struct call *c, struct access *acc)
{
	_cleanup_held_ struct held dir = { 0 };
	struct vnode *v;
	struct stat st;
	int r;

	if (root_has(c->node))
		return root_lookup(c, acc);
	dir = call_vnode(c, c->node);
	if (!dir.vnode)
		return -ESTALE;
	if (is_dots(c->name))
		return lookup_dots(c, dir.vnode, acc);
	r = view_lookup(dir.vnode, c->name, acc, &v, &st);
	if (r == -ENOENT) {
		realm_saw_name(c, dir.vnode, c->name, NULL);
		reply_no_entry(c, dir.vnode);
		return 0;
	}
	if (r < 0)
		return r;
	realm_saw_name(c, dir.vnode, c->name, v);
	reply_entry(c, v, &st, node_timeout(v));
	vnode_unref(c->fs->vnodes, v);
	return 0;
}

static void on_lookup(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	static const struct op op = { .id = FS_OP_LOOKUP, .run = run_lookup };

	start(req, &op, dir, name);
}

static void forget(struct fs *fs, uint64_t node, uint64_t n)
{
	struct vnode *v;

	if (root_has(node)) {
		root_forget(fs->root, node, n);
		return;
	}
	v = vnode_by_id(fs->vnodes, node);
	if (!v)
		return;
	vnode_unpin(fs->vnodes, v, n);
	vnode_unref(fs->vnodes, v);
}

static void on_forget(fuse_req_t req, fuse_ino_t node, uint64_t n)
{
	struct fs *fs = fuse_req_userdata(req);

	counter_add(&fs->stats.ops[FS_OP_FORGET], 1);
	forget(fs, node, n);
	call_none(req);
}

static void on_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct fs *fs = fuse_req_userdata(req);

	counter_add(&fs->stats.ops[FS_OP_FORGET], count);
	for (size_t i = 0; i < count; i++)
		forget(fs, forgets[i].ino, forgets[i].nlookup);
	call_none(req);
}

/* Files of every type; a directory above the views is another thing. */
static int run_make(struct call *c, struct access *acc)
{
	_cleanup_held_ struct held dir = { 0 };
	struct new_file f = { .mode = c->mode, .rdev = c->rdev, .link = c->data, .by = c->by };
	struct vnode *v;
	struct stat st;
	int r;

	if (root_has(c->node))
		return S_ISDIR(c->mode) ? root_mkdir(c, acc) : -EPERM;
	dir = call_vnode(c, c->node);
	if (!dir.vnode)
		return -ESTALE;
	r = view_create(dir.vnode, c->name, &f, acc, &v, &st);
	if (r < 0)
		return r;
	reply_entry(c, v, &st, node_timeout(v));
	vnode_unref(c->fs->vnodes, v);
	return 0;
}

static void on_mknod(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, dev_t rdev)
{
	static const struct op op = { .id = FS_OP_MKNOD, .run = run_make, .must_end = true };
	struct call c = call_of(req, &op);

	c.node = dir;
	c.name = span_str(name);
	c.mode = mode;
	c.rdev = rdev;
	call_start(&c);
}

static void on_mkdir(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode)
{
	static const struct op op = { .id = FS_OP_MKDIR, .run = run_make, .must_end = true };
	struct call c = call_of(req, &op);

	c.node = dir;
	c.name = span_str(name);
	c.mode = (mode & 07777) | S_IFDIR;
	call_start(&c);
}

static void on_symlink(fuse_req_t req, const char *target, fuse_ino_t dir, const char *name)
{
	static const struct op op = { .id = FS_OP_SYMLINK, .run = run_make, .must_end = true };
	struct call c = call_of(req, &op);

	c.node = dir;
	c.name = span_str(name);
	c.data = span_str(target);
	c.mode = S_IFLNK | 0777;
	call_start(&c);
}

static int run_unlink(struct call *c, struct access *acc)
{
	_cleanup_held_ struct held dir = { 0 };
	int r;

	if (root_has(c->node))
		return -EPERM;
	dir = call_vnode(c, c->node);
	r = dir.vnode ? view_unlink(dir.vnode, c->name, acc) : -ESTALE;
	if (r == 0)
		call_ok(c);
	return r;
}

static void on_unlink(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	static const struct op op = { .id = FS_OP_UNLINK, .run = run_unlink, .must_end = true };

	start(req, &op, dir, name);
}

/* Whether a directory can be removed, or replaced, says whether it has anything in it. */
static int see_emptiness(struct call *c, struct vnode *dir, struct span name, struct access *acc)
{
	_cleanup_held_ struct held there = { .fs = c->fs };
	struct stat st;
	int r;

	if (!realm_is_noted(dir->view))
		return 0;
	r = view_lookup(dir, name, acc, &there.vnode, &st);
	if (r == 0 && S_ISDIR(st.st_mode))
		realm_saw_list(c, there.vnode);
	return r == -ENOENT ? 0 : r;
}

static int run_rmdir(struct call *c, struct access *acc)
{
	_cleanup_held_ struct held dir = { 0 };
	int r;

	if (root_has(c->node))
		return root_rmdir(c, acc);
	dir = call_vnode(c, c->node);
	if (!dir.vnode)
		return -ESTALE;
	r = see_emptiness(c, dir.vnode, c->name, acc);
	if (r == 0)
		r = view_rmdir(dir.vnode, c->name, acc);
	if (r == 0)
		call_ok(c);
	return r;
}

static void on_rmdir(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	static const struct op op = { .id = FS_OP_RMDIR, .run = run_rmdir, .must_end = true };

	start(req, &op, dir, name);
}

/* What a rename will have moved. */
static int find_moved(struct call *c, struct vnode *from, struct vnode *to, struct access *acc,
		      struct held *moved, struct held *other)
{
	struct stat st;
	int r = view_lookup(from, c->name, acc, &moved->vnode, &st);

	if (r == 0 && c->flags & RENAME_EXCHANGE)
		r = view_lookup(to, c->name2, acc, &other->vnode, &st);
	return r;
}

static int run_rename(struct call *c, struct access *acc)
{
	_cleanup_held_ struct held from = { 0 }, to = { 0 }, moved = { .fs = c->fs },
				   other = { .fs = c->fs };
	bool is_pinned, is_other_pinned;
	int r = 0;

	if (root_has(c->node) || root_has(c->node2))
		return root_rename(c, acc);
	from = call_vnode(c, c->node);
	to = call_vnode(c, c->node2);
	if (!from.vnode || !to.vnode)
		return -ESTALE;
	if (realm_is_noted(from.vnode->view))
		r = find_moved(c, from.vnode, to.vnode, acc, &moved, &other);
	/* Before they have other paths. */
	is_pinned = r == 0 && moved.vnode && realm_shows_pinned(moved.vnode, acc);
	is_other_pinned = r == 0 && other.vnode && realm_shows_pinned(other.vnode, acc);
	if (r == 0 && !(c->flags & RENAME_EXCHANGE))
		r = see_emptiness(c, to.vnode, c->name2, acc);
	if (r == 0)
		r = view_rename(from.vnode, c->name, to.vnode, c->name2, (unsigned)c->flags, acc);
	if (r < 0)
		return r;
	if (moved.vnode)
		realm_saw_move(c, moved.vnode, is_pinned);
	if (other.vnode)
		realm_saw_move(c, other.vnode, is_other_pinned);
	follow_renamed(c, to.vnode, c->name2, acc);
	if (c->flags & RENAME_EXCHANGE)
		follow_renamed(c, from.vnode, c->name, acc);
	call_ok(c);
	return 0;
}

static void on_rename(fuse_req_t req, fuse_ino_t dir, const char *name, fuse_ino_t new_dir,
		      const char *new_name, unsigned flags)
{
	static const struct op op = { .id = FS_OP_RENAME, .run = run_rename, .must_end = true };
	struct call c = call_of(req, &op);

	c.node = dir;
	c.name = span_str(name);
	c.node2 = new_dir;
	c.name2 = span_str(new_name);
	c.flags = (int)flags;
	call_start(&c);
}

static int run_link(struct call *c, struct access *acc)
{
	_cleanup_held_ struct held v = { 0 }, dir = { 0 };
	bool is_pinned;
	struct stat st;
	int r;

	if (root_has(c->node2))
		return -EPERM;
	if (root_has(c->node))
		return -EXDEV;
	v = call_vnode(c, c->node);
	dir = call_vnode(c, c->node2);
	if (!v.vnode || !dir.vnode)
		return -ESTALE;
	is_pinned = realm_shows_pinned(v.vnode, acc);
	r = view_link(v.vnode, dir.vnode, c->name, acc, &st);
	if (r < 0)
		return r;
	realm_saw_move(c, v.vnode, is_pinned);
	reply_entry(c, v.vnode, &st, node_timeout(v.vnode));
	return 0;
}

static void on_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t dir, const char *name)
{
	static const struct op op = { .id = FS_OP_LINK, .run = run_link, .must_end = true };
	struct call c = call_of(req, &op);

	c.node = node;
	c.node2 = dir;
	c.name = span_str(name);
	call_start(&c);
}

void ops_names(struct fuse_lowlevel_ops *ops)
{
	ops->lookup = on_lookup;
	ops->forget = on_forget;
	ops->forget_multi = on_forget_multi;
	ops->mknod = on_mknod;
	ops->mkdir = on_mkdir;
	ops->symlink = on_symlink;
	ops->unlink = on_unlink;
	ops->rmdir = on_rmdir;
	ops->rename = on_rename;
	ops->link = on_link;
}
