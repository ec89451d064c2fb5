/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Attributes of files and of the mount, and the targets of symlinks.
 */
#include <sys/statvfs.h>

#include "backend/backend.h"
#include "entry.h"
#include "follow.h"
#include "ops.h"
#include "realm.h"
#include "root.h"

enum {
	BLOCK = 4096,
	NAME_LEN_MAX = 255,
};

/* As good as any: inodes are not counted. */
static const uint64_t files_free = 1ull << 32;

static int run_getattr(struct call *c, struct access *acc)
{
	_cleanup_held_ struct held v = { 0 };
	double timeout;
	struct stat st;
	int r;

	if (root_has(c->node))
		return root_getattr(c, acc);
	v = call_vnode(c, c->node);
	r = v.vnode ? view_getattr(v.vnode, acc, &st) : -ESTALE;
	if (r < 0)
		return r;
	timeout = node_timeout(v.vnode);
	/* Of what says that it has no name the kernel makes no link, and does not ask us, who would
	 * have it look again. */
	if (follow_is_untold(c->fs, v.vnode)) {
		st.st_nlink = 1;
		timeout = 0;
	}
	call_reply_attr(c, &st, timeout);
	return 0;
}

static void on_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	static const struct op op = { .id = FS_OP_GETATTR, .run = run_getattr };
	struct call c = call_of(req, &op);

	c.node = node;
	call_start(&c);
}

static int run_setattr(struct call *c, struct access *acc)
{
	_cleanup_held_ struct held v = { 0 };
	bool may_keep;
	struct stat st;
	int r;

	if (root_has(c->node))
		return root_setattr(c, acc);
	v = call_vnode(c, c->node);
	if (!v.vnode)
		return -ESTALE;
	may_keep = c->attrs.what & SETATTR_SIZE && realm_shows_pinned(v.vnode, acc);
	r = view_setattr(v.vnode, &c->attrs, acc, &st);
	if (r == 0 && may_keep)
		realm_saw_kept(v.vnode, acc);
	if (r == 0)
		call_reply_attr(c, &st, node_timeout(v.vnode));
	return r;
}

/* Access times are not kept, so a change of these alone is none. */
static struct setattr setattr_of(const struct stat *st, int what, bool kill_priv)
{
	static const struct {
		int kernels, ours;
	} bits[] = {
		{ FUSE_SET_ATTR_MODE, SETATTR_MODE },	    { FUSE_SET_ATTR_UID, SETATTR_UID },
		{ FUSE_SET_ATTR_GID, SETATTR_GID },	    { FUSE_SET_ATTR_SIZE, SETATTR_SIZE },
		{ FUSE_SET_ATTR_MTIME, SETATTR_MTIME },	    { FUSE_SET_ATTR_CTIME, SETATTR_CTIME },
		{ FUSE_SET_ATTR_MTIME_NOW, SETATTR_MTIME },
	};
	struct setattr s = {
		.what = kill_priv ? SETATTR_KILL_PRIV : 0,
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.size = (uint64_t)st->st_size,
		.mtime = what & FUSE_SET_ATTR_MTIME_NOW ? now_wall() : st->st_mtim,
		.ctime = st->st_ctim,
	};

	for (size_t i = 0; i < ARRAY_SIZE(bits); i++)
		if (what & bits[i].kernels)
			s.what |= (unsigned)bits[i].ours;
	return s;
}

static void on_setattr(fuse_req_t req, fuse_ino_t node, struct stat *st, int what,
		       struct fuse_file_info *fi)
{
	static const struct op op = { .id = FS_OP_SETATTR, .run = run_setattr, .must_end = true };
	struct call c = call_of(req, &op);

	c.node = node;
	c.attrs = setattr_of(st, what, c.kill_priv);
	call_start(&c);
}

static int run_readlink(struct call *c, struct access *acc)
{
	_cleanup_held_ struct held v = { 0 };
	_cleanup_buf_ struct buf target = { 0 };
	int r;

	if (root_has(c->node))
		return -EINVAL;
	v = call_vnode(c, c->node);
	r = v.vnode ? view_readlink(v.vnode, acc, &target) : -ESTALE;
	if (r < 0)
		return r;
	buf_put_u8(&target, 0);
	if (buf_failed(&target))
		return -ENOMEM;
	realm_saw_link(c, v.vnode);
	call_reply_link(c, (const char *)target.data);
	return 0;
}

static void on_readlink(fuse_req_t req, fuse_ino_t node)
{
	static const struct op op = { .id = FS_OP_READLINK, .run = run_readlink };
	struct call c = call_of(req, &op);

	c.node = node;
	call_start(&c);
}

/* How much can be written is told by what may be staged, and by the store where it has an end. */
static int run_statfs(struct call *c, struct access *acc)
{
	struct backend *b = c->fs->store->backend;
	struct heads_stats h;
	uint64_t left;
	struct statvfs st = {
		.f_bsize = BLOCK,
		.f_frsize = BLOCK,
		.f_files = files_free + vnode_count(c->fs->vnodes),
		.f_ffree = files_free,
		.f_favail = files_free,
		.f_namemax = NAME_LEN_MAX,
	};

	heads_stats(c->fs->heads, &h);
	left = h.budget > h.staged ? h.budget - h.staged : 0;
	left = MIN(left, b->ops->space(b));
	st.f_blocks = (left + h.staged) / BLOCK;
	st.f_bfree = st.f_bavail = left / BLOCK;
	call_reply_statfs(c, &st);
	return 0;
}

static void on_statfs(fuse_req_t req, fuse_ino_t node)
{
	static const struct op op = { .id = FS_OP_STATFS, .run = run_statfs };
	struct call c = call_of(req, &op);

	call_start(&c);
}

void ops_attrs(struct fuse_lowlevel_ops *ops)
{
	ops->getattr = on_getattr;
	ops->setattr = on_setattr;
	ops->readlink = on_readlink;
	ops->statfs = on_statfs;
}
