/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Answers about vnodes.
 */
#include "entry.h"

double node_timeout(const struct vnode *v)
{
	return view_is_head(v->view) ? TIMEOUT_HEAD : TIMEOUT_COMMIT;
}

void entry_fill(struct call *c, struct vnode *v, const struct stat *st, double entry_timeout,
		struct fuse_entry_param *ret)
{
	*ret = (struct fuse_entry_param){
		.ino = vnode_id(v),
		.attr = *st,
		.attr_timeout = node_timeout(v),
		.entry_timeout = entry_timeout,
	};
	vnode_pin(c->fs->vnodes, v);
}

void entry_undo(struct call *c, const struct fuse_entry_param *e)
{
	_cleanup_held_ struct held n = call_vnode(c, e->ino);

	if (n.vnode)
		vnode_unpin(c->fs->vnodes, n.vnode, 1);
}

void reply_entry(struct call *c, struct vnode *v, const struct stat *st, double entry_timeout)
{
	struct fuse_entry_param e;

	entry_fill(c, v, st, entry_timeout, &e);
	if (call_reply_entry(c, &e) < 0)
		entry_undo(c, &e);
}

void reply_no_entry(struct call *c, const struct vnode *dir)
{
	struct fuse_entry_param e = { .entry_timeout = node_timeout(dir) };

	call_reply_entry(c, &e);
}

int reply_value(struct call *c, struct span value)
{
	if (c->len == 0)
		call_reply_size(c, value.len);
	else if (value.len > c->len)
		return -ERANGE;
	else
		call_reply_bytes(c, value.data, value.len);
	return 0;
}
