/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files and directories in use: what is kept of them beside the vnode, and what happens when
 * nobody has a vnode any more.
 */
#include "head/overlay.h"

static struct live_file *live_new(void)
{
	struct live_file *l = new0(struct live_file, 1);

	if (l)
		pthread_rwlock_init(&l->lock, NULL);
	return l;
}

static void live_free(struct live_file *l)
{
	if (!l)
		return;
	pthread_rwlock_destroy(&l->lock);
	buf_release(&l->inlined);
	free(l);
}

int live_get(struct vnode *n, struct live_file **ret)
{
	WITH_LOCK(&n->view->lock);

	if (!n->file)
		n->file = live_new();
	if (!n->file)
		return -ENOMEM;
	n->file->users++;
	*ret = n->file;
	return 0;
}

void live_put(struct vnode *n)
{
	WITH_LOCK(&n->view->lock);

	if (--n->file->users > 0)
		return;
	live_free(n->file);
	n->file = NULL;
}

void content_check_inlined(struct content *c)
{
	struct oid id;

	if (c->inlined.len == 0)
		return;
	id = oid_of(OID_CHUNK, c->inlined.data, c->inlined.len);
	if (c->inlined.len != c->size || !oid_equal(&id, &c->id))
		c->inlined = span_of(NULL, 0);
}

static int remember_content(struct view *v, struct live_file *l, const struct content *c)
{
	buf_clear(&l->inlined);
	buf_put(&l->inlined, c->inlined.data, c->inlined.len);
	if (buf_failed(&l->inlined))
		return -ENOMEM;
	l->content = *c;
	l->content.inlined = buf_span(&l->inlined);
	l->generation = v->generation;
	l->is_known = true;
	return 0;
}

int live_load(struct view *v, struct vnode *n, struct access *acc, struct file *ret)
{
	struct live_file *l = n->file;
	int r = -ENOENT;

	if (n->flags & VNODE_DOOMED)
		return -ESTALE;
	if (v->is_head)
		r = load_layered(head_of(v), n->ino, ret);
	if (r != -ENOENT)
		return r;
	if (l->is_known && l->generation == v->generation) {
		*ret = (struct file){ 0 };
		ret->rec.inode.type = FT_REG;
		ret->rec.inode.content = l->content;
		ret->rec.size = ret->rec.lower_end = l->content.size;
		ret->rec.data = l->content.data;
		return 0;
	}
	r = load_vnode(v, n, acc, ret);
	if (r < 0)
		return r;
	content_check_inlined(&ret->rec.inode.content);
	return remember_content(v, l, &ret->rec.inode.content);
}

static void vnode_hold(struct view *v)
{
	view_ref(v);
}

static void vnode_gone(struct vnode *n)
{
	struct view *v = n->view;

	/* A doomed one's number may be another file's by now. */
	if (v->is_head && (n->flags & VNODE_UNLINKED) && !(n->flags & VNODE_DOOMED))
		orphan_reap(head_of(v), n->ino);
	if (n->type == FT_DIR)
		free(n->dir);
	else if (n->type == FT_REG)
		live_free(n->file);
	view_unref(v);
}

const struct vnode_hooks *view_vnodes(void)
{
	static const struct vnode_hooks hooks = { .hold = vnode_hold, .gone = vnode_gone };

	return &hooks;
}
