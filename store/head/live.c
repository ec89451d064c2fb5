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

	if (n->flags & VNODE_LEFT)
		return load_vnode(v, n, acc, ret);
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

struct hard_link *link_new(const struct id128 *id)
{
	struct hard_link *l = new0(struct hard_link, 1);

	if (l)
		l->id = *id;
	return l;
}

void link_free(struct hard_link *l)
{
	if (!l)
		return;
	buf_release(&l->names);
	free(l);
}

bool link_names_next(const struct buf *names, size_t *at, uint64_t *ret_dir, struct span *ret_name)
{
	const uint8_t *p = names->data + *at;

	if (*at >= names->len)
		return false;
	memcpy(ret_dir, p, sizeof(*ret_dir));
	p += sizeof(*ret_dir);
	*ret_name = span_of(p + 1, *p);
	*at += sizeof(*ret_dir) + 1 + ret_name->len;
	return true;
}

/* Where the name begins, and in *@ret_end where it ends; SIZE_MAX: nowhere. */
static size_t find_known(const struct hard_link *l, uint64_t dir, struct span name, size_t *ret_end)
{
	size_t start = 0, at = 0;
	struct span one;
	uint64_t d;

	while (link_names_next(&l->names, &at, &d, &one)) {
		if (d == dir && span_equal(one, name)) {
			*ret_end = at;
			return start;
		}
		start = at;
	}
	return SIZE_MAX;
}

void link_known(struct vnode *n, uint64_t dir, struct span name)
{
	size_t end;

	if (!n->link || find_known(n->link, dir, name, &end) != SIZE_MAX)
		return;
	if (buf_reserve(&n->link->names, sizeof(dir) + 1 + name.len) < 0) {
		n->link->names.failed = false;
		return;
	}
	buf_put(&n->link->names, &dir, sizeof(dir));
	buf_put_str8(&n->link->names, name);
}

void link_unknown(struct vnode *n, uint64_t dir, struct span name)
{
	struct buf *names;
	size_t start, end;

	if (!n->link)
		return;
	start = find_known(n->link, dir, name, &end);
	if (start == SIZE_MAX)
		return;
	names = &n->link->names;
	memmove(names->data + start, names->data + end, names->len - end);
	names->len -= end - start;
}

int left_new(const struct oid *commit, const struct inode *i, struct left **ret)
{
	struct left *l = new0(struct left, 1);
	struct xattrs *x;
	struct content *c;
	size_t n;

	if (!l)
		return -ENOMEM;
	l->commit = *commit;
	file_of_inode(i, false, &l->rec);
	l->rec.nlink = 0;
	x = &l->rec.inode.xattrs;
	n = x->list.len;
	buf_put(&l->bytes, x->list.data, n);
	if (i->type == FT_REG || i->type == FT_LNK) {
		c = &l->rec.inode.content;
		content_check_inlined(c);
		buf_put(&l->bytes, c->inlined.data, c->inlined.len);
		c->inlined = span_of(l->bytes.data + n, c->inlined.len);
	} else if (i->type == FT_DIR) {
		l->rec.inode.dir = (struct tree_root){ 0 };
		l->rec.items = 0;
	}
	x->list = span_of(l->bytes.data, n);
	if (buf_failed(&l->bytes)) {
		left_free(l);
		return -ENOMEM;
	}
	*ret = l;
	return 0;
}

void left_free(struct left *l)
{
	if (!l)
		return;
	buf_release(&l->bytes);
	free(l);
}

void left_put(struct head *h, struct vnode *n, struct left *l)
{
	vnode_leave(h->view.vnodes, n);
	link_free(n->link);
	n->left = l;
	h->left++;
}

static void left_gone(struct head *h, struct vnode *n)
{
	left_free(n->left);
	WITH_LOCK(&h->view.lock);

	h->left--;
}

static void vnode_hold(struct view *v)
{
	view_ref(v);
	atomic_fetch_add(&v->visited, 1);
}

static void vnode_gone(struct vnode *n)
{
	struct view *v = n->view;

	if (n->flags & VNODE_LEFT)
		left_gone(head_of(v), n);
	else
		link_free(n->link);
	if ((n->flags & (VNODE_UNLINKED | VNODE_LEFT)) == VNODE_UNLINKED && v->is_head)
		orphan_reap(head_of(v), n->ino);
	if (n->type == FT_DIR)
		free(n->dir);
	else if (n->type == FT_REG)
		live_free(n->file);
	atomic_fetch_sub(&v->visited, 1);
	view_unref(v);
}

const struct vnode_hooks *view_vnodes(void)
{
	static const struct vnode_hooks hooks = { .hold = vnode_hold, .gone = vnode_gone };

	return &hooks;
}
