/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Directories: opening and listing them.
 *
 * A position is that of view_readdir() and 2; 0 and 1 are "." and "..".
 */
#include "entry.h"
#include "files.h"
#include "format/inode.h"
#include "kernel_abi.h"
#include "ops.h"
#include "realm.h"
#include "root.h"

enum {
	DOTS = 2,
	NAME_LEN_MAX = 255,
};

static int run_opendir(struct call *c, struct access *acc)
{
	_cleanup_held_ struct held v = { 0 };
	struct fuse_file_info fi = { 0 };
	struct open_dir *dir;
	int r;

	if (root_has(c->node))
		return root_opendir(c, acc);
	v = call_vnode(c, c->node);
	r = v.vnode ? files_opendir(c->fs->files, v.vnode, acc, &dir) : -ESTALE;
	if (r < 0)
		return r;
	fi.fh = (uint64_t)(uintptr_t)dir;
	fi.cache_readdir = fi.keep_cache = !view_is_head(v.vnode->view);
	if (call_reply_open(c, &fi) < 0)
		files_closedir(c->fs->files, dir);
	return 0;
}

static void on_opendir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	static const struct op op = { .id = FS_OP_OPENDIR, .run = run_opendir, .must_end = true };
	struct call c = call_of(req, &op);

	c.node = node;
	call_start(&c);
}

static void on_releasedir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);

	counter_add(&fs->stats.ops[FS_OP_RELEASEDIR], 1);
	if (root_has(node))
		root_closedir(fs->root, fi->fh);
	else
		files_closedir(fs->files, (struct open_dir *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

/* An answer to readdir or readdirplus that is being put together. */
struct listing {
	struct call *c;
	bool plus; /* that is what was asked for */
	bool with_nodes; /* and names are not to be looked up again */
	uint8_t *out;
	size_t used;
};

/* False: it is full. */
static bool put(struct listing *l, const char *name, const struct fuse_entry_param *e,
		uint64_t next)
{
	char *at = (char *)l->out + l->used;
	size_t left = l->c->len - l->used, n;

	n = l->plus ? fuse_add_direntry_plus(l->c->req, at, left, name, e, (off_t)next)
		    : fuse_add_direntry(l->c->req, at, left, name, &e->attr, (off_t)next);
	if (n > left)
		return false;
	l->used += n;
	return true;
}

static int put_item(const struct dir_item *x, void *ctx)
{
	struct listing *l = ctx;
	struct fuse_entry_param e = { .attr = { .st_ino = x->ino,
						.st_mode = (mode_t)file_type_to_mode(x->type) } };
	char name[NAME_LEN_MAX + 1];

	memcpy(name, x->name.data, x->name.len);
	name[x->name.len] = '\0';
	if (l->with_nodes)
		entry_fill(l->c, x->vnode, &x->st, node_timeout(x->vnode), &e);
	if (put(l, name, &e, x->next_pos + DOTS))
		return 0;
	if (l->with_nodes)
		entry_undo(l->c, &e);
	return 1;
}

/* "." and "..": the kernel has the nodes itself. */
static bool put_dots(struct listing *l, const struct open_dir *dir)
{
	static const char *const names[] = { ".", ".." };
	struct fs *fs = l->c->fs;
	struct fuse_entry_param e = { .attr.st_mode = S_IFDIR };

	for (uint64_t at = l->c->off; at < DOTS; at++) {
		struct vnode *up = at == 1 ? vnode_parent(fs->vnodes, dir->vnode) : NULL;
		uint64_t node = at == 1 && !up ? root_parent(fs->root, dir->vnode->view) : 0;

		e.attr.st_ino = up     ? up->ino
				: node ? root_node_ino(fs->root, node)
				       : dir->vnode->ino;
		if (up)
			vnode_unref(fs->vnodes, up);
		if (!put(l, names[at], &e, at + 1))
			return false;
	}
	return true;
}

/* It did not arrive: what it told of is not known. */
static void undo(struct listing *l)
{
	size_t at = 0;

	while (l->with_nodes && at < l->used) {
		const struct fuse_direntplus *d = (const void *)(l->out + at);
		struct fuse_entry_param e = { .ino = d->entry_out.nodeid };

		if (e.ino)
			entry_undo(l->c, &e);
		at += FUSE_DIRENTPLUS_SIZE(d);
	}
}

static int run_readdir(struct call *c, struct access *acc)
{
	struct open_dir *dir = (struct open_dir *)(uintptr_t)c->fh;
	struct listing l = { .c = c, .plus = c->op->id == FS_OP_READDIRPLUS };
	int r = 0;

	if (root_has(c->node))
		return root_readdir(c, acc);
	l.out = call_memory(c, c->len);
	if (!l.out)
		return -ENOMEM;
	l.with_nodes = l.plus && !realm_is_noted(dir->vnode->view);
	realm_saw_list(c, dir->vnode);
	if (put_dots(&l, dir))
		r = view_readdir(dir->handle, c->off > DOTS ? c->off - DOTS : 0, l.with_nodes, acc,
				 put_item, &l);
	/* What was found before something was missing is told; the kernel asks on from there. */
	if (r < 0 && l.used == 0)
		return r;
	if (call_reply_bytes(c, l.out, l.used) < 0)
		undo(&l);
	return 0;
}

static void start_readdir(fuse_req_t req, const struct op *op, fuse_ino_t node, size_t size,
			  off_t off, struct fuse_file_info *fi)
{
	struct call c = call_of(req, op);

	c.node = node;
	c.fh = fi->fh;
	c.len = size;
	c.off = (uint64_t)off;
	call_start(&c);
}

static void on_readdir(fuse_req_t req, fuse_ino_t node, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	static const struct op op = { .id = FS_OP_READDIR, .run = run_readdir, .must_end = true };

	start_readdir(req, &op, node, size, off, fi);
}

static void on_readdirplus(fuse_req_t req, fuse_ino_t node, size_t size, off_t off,
			   struct fuse_file_info *fi)
{
	static const struct op op = { .id = FS_OP_READDIRPLUS,
				      .run = run_readdir,
				      .must_end = true };

	start_readdir(req, &op, node, size, off, fi);
}

static int run_fsyncdir(struct call *c, struct access *acc)
{
	_cleanup_held_ struct held v = { 0 };
	int r = 0;

	if (!root_has(c->node)) {
		v = call_vnode(c, c->node);
		r = v.vnode ? view_fsync(v.vnode) : -ESTALE;
	}
	if (r == 0)
		call_ok(c);
	return r;
}

static void on_fsyncdir(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi)
{
	static const struct op op = {
		.id = FS_OP_FSYNC, .run = run_fsyncdir, .must_end = true, .is_slow = true
	};
	struct call c = call_of(req, &op);

	c.node = node;
	call_start(&c);
}

void ops_dirs(struct fuse_lowlevel_ops *ops)
{
	ops->opendir = on_opendir;
	ops->readdir = on_readdir;
	ops->readdirplus = on_readdirplus;
	ops->releasedir = on_releasedir;
	ops->fsyncdir = on_fsyncdir;
}
