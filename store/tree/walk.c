/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Going through directories (tree/walk.h).
 */
#include "tree/walk.h"

/* A directory that one is in. */
struct dir_walk_level {
	struct tree_cursor at;
	size_t path_len; /* in front of its names */
	bool is_behind; /* the entry that the cursor stands at was told */
};

static void leave(struct dir_walk *w)
{
	tree_cursor_release(&w->levels[--w->depth].at);
}

void dir_walk_release(struct dir_walk *w)
{
	while (w->depth > 0)
		leave(w);
	free(w->levels);
	buf_release(&w->path);
}

int dir_walk_enter(struct dir_walk *w, const struct tree_root *dir)
{
	struct dir_walk_level *l;
	int r;

	if (w->depth == w->cap) {
		size_t cap = MAX(2 * w->cap, (size_t)16);

		l = reallocarray(w->levels, cap, sizeof(*l));
		if (!l)
			return -ENOMEM;
		w->levels = l;
		w->cap = cap;
	}
	l = &w->levels[w->depth++];
	*l = (struct dir_walk_level){ .path_len = w->path.len };
	tree_cursor_init(&l->at, TREE_DIR, w->source);
	r = tree_seek_ordinal(&l->at, dir, 0);
	if (r < 0)
		leave(w);
	return r;
}

int dir_walk_next(struct dir_walk *w, struct dirent_rec *ret)
{
	while (w->depth > 0) {
		struct dir_walk_level *l = &w->levels[w->depth - 1];
		int r = l->is_behind ? tree_next(&l->at) : 0;

		w->path.len = l->path_len;
		if (r < 0 || l->at.is_end) {
			leave(w);
			if (r < 0)
				return r;
			continue;
		}
		l->is_behind = true;
		node_dirent(tree_leaf(&l->at), tree_index(&l->at), ret);
		buf_put(&w->path, ret->name.data, ret->name.len);
		return buf_failed(&w->path) ? -ENOMEM : 1;
	}
	return 0;
}
