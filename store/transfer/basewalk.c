/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The base beside a walk (transfer/basewalk.h).
 */
#include "transfer/basewalk.h"

void basewalk_release(struct basewalk *b)
{
	node_unref(b->leaf);
	free(b->dirs);
	*b = (struct basewalk){ 0 };
}

int basewalk_enter(struct basewalk *b, const struct tree_root *dir)
{
	if (b->depth == b->cap) {
		size_t cap = MAX(2 * b->cap, (size_t)16);
		struct tree_root *d = reallocarray(b->dirs, cap, sizeof(*d));

		if (!d)
			return -ENOMEM;
		b->dirs = d;
		b->cap = cap;
	}
	b->dirs[b->depth++] = dir ? *dir : (struct tree_root){ 0 };
	return 0;
}

void basewalk_leave(struct basewalk *b)
{
	b->depth--;
}

const struct tree_root *basewalk_dir(const struct basewalk *b)
{
	const struct tree_root *d = &b->dirs[b->depth - 1];

	return oid_is_null(&d->id) ? NULL : d;
}

int basewalk_find(struct basewalk *b, struct span name, struct dirent_rec *ret)
{
	const struct tree_root *d = b->depth > 0 ? basewalk_dir(b) : NULL;
	int r;

	if (!d || (b->links_only && !d->sum.has_links))
		return 0;
	node_unref(b->leaf);
	b->leaf = NULL;
	r = dir_lookup(b->source, d, name, &b->leaf, ret);
	return r == 0 ? 1 : r == -ENOENT ? 0 : r;
}

const struct tree_root *dirent_tree(const struct dirent_rec *d)
{
	return !d->has_link && d->inode.type == FT_DIR ? &d->inode.dir : NULL;
}
