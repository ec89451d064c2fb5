/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Extended attributes, ACLs among them.
 */
#include <errno.h>

#include "entry.h"
#include "head/acl.h"
#include "ops.h"
#include "root.h"

static int run_getxattr(struct call *c, struct access *acc)
{
	_cleanup_held_ struct held v = { 0 };
	_cleanup_buf_ struct buf value = { 0 };
	int r;

	if (root_has(c->node))
		return root_getxattr(c, acc);
	v = call_vnode(c, c->node);
	r = v.vnode ? view_getxattr(v.vnode, c->name, acc, &value) : -ESTALE;
	return r < 0 ? r : reply_value(c, buf_span(&value));
}

static void on_getxattr(fuse_req_t req, fuse_ino_t node, const char *name, size_t size)
{
	static const struct op op = { .id = FS_OP_GETXATTR, .run = run_getxattr };
	struct call c = call_of(req, &op);

	c.node = node;
	c.name = span_str(name);
	c.len = size;
	call_start(&c);
}

static int run_listxattr(struct call *c, struct access *acc)
{
	_cleanup_held_ struct held v = { 0 };
	_cleanup_buf_ struct buf names = { 0 };
	int r;

	if (root_has(c->node))
		return reply_value(c, span_of(NULL, 0));
	v = call_vnode(c, c->node);
	r = v.vnode ? view_listxattr(v.vnode, acc, &names) : -ESTALE;
	return r < 0 ? r : reply_value(c, buf_span(&names));
}

static void on_listxattr(fuse_req_t req, fuse_ino_t node, size_t size)
{
	static const struct op op = { .id = FS_OP_LISTXATTR, .run = run_listxattr };
	struct call c = call_of(req, &op);

	c.node = node;
	c.len = size;
	call_start(&c);
}

/* Names that other filesystems take, and programs so can rely on; else as ext4 says. */
static int check_name(struct span name)
{
	static const char *const prefixes[] = { "user.", "trusted.", "security." };

	if (span_equal(name, span_str(ACL_ACCESS_XATTR)) ||
	    span_equal(name, span_str(ACL_DEFAULT_XATTR)))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		size_t len = strlen(prefixes[i]);

		if (name.len >= len && memcmp(name.data, prefixes[i], len) == 0)
			return name.len > len ? 0 : -EINVAL;
	}
	return -EOPNOTSUPP;
}

static int run_setxattr(struct call *c, struct access *acc)
{
	_cleanup_held_ struct held v = { 0 };
	int r;

	if (root_has(c->node))
		return -EPERM;
	r = check_name(c->name);
	if (r < 0)
		return r;
	v = call_vnode(c, c->node);
	r = v.vnode ? view_setxattr(v.vnode, c->name, c->data, c->flags, c->kill_sgid, acc)
		    : -ESTALE;
	if (r == 0)
		call_ok(c);
	return r;
}

static void on_setxattr(fuse_req_t req, fuse_ino_t node, const char *name, const char *value,
			size_t size, int flags)
{
	static const struct op op = { .id = FS_OP_SETXATTR, .run = run_setxattr, .must_end = true };
	struct call c = call_of(req, &op);

	c.node = node;
	c.name = span_str(name);
	c.data = span_of(value, size);
	c.flags = flags;
	call_start(&c);
}

static int run_removexattr(struct call *c, struct access *acc)
{
	_cleanup_held_ struct held v = { 0 };
	int r;

	if (root_has(c->node))
		return -EPERM;
	v = call_vnode(c, c->node);
	r = v.vnode ? view_removexattr(v.vnode, c->name, acc) : -ESTALE;
	if (r == 0)
		call_ok(c);
	return r;
}

static void on_removexattr(fuse_req_t req, fuse_ino_t node, const char *name)
{
	static const struct op op = { .id = FS_OP_REMOVEXATTR,
				      .run = run_removexattr,
				      .must_end = true };
	struct call c = call_of(req, &op);

	c.node = node;
	c.name = span_str(name);
	call_start(&c);
}

void ops_xattrs(struct fuse_lowlevel_ops *ops)
{
	ops->getxattr = on_getxattr;
	ops->listxattr = on_listxattr;
	ops->setxattr = on_setxattr;
	ops->removexattr = on_removexattr;
}
