/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading the tree of a run's record (tree_read.h).
 */
#include "run/tree_read.h"

#include "object/reader.h"

struct level {
	struct tree_cursor at;
	size_t path_len; /* of the directory */
};

struct walking {
	struct reader_source source;
	struct level *levels; /* a stack; owned */
	size_t depth, cap;
	struct buf path;
	run_tree_fn fn;
	void *ctx;
};

static int push(struct walking *w, const struct tree_root *dir)
{
	struct level *l;

	if (w->depth == w->cap) {
		size_t cap = MAX(2 * w->cap, (size_t)16);

		l = reallocarray(w->levels, cap, sizeof(*l));
		if (!l)
			return -ENOMEM;
		w->levels = l;
		w->cap = cap;
	}
	l = &w->levels[w->depth++];
	l->path_len = w->path.len;
	tree_cursor_init(&l->at, TREE_DIR, &w->source.base);
	return tree_seek_ordinal(&l->at, dir, 0);
}

static int tell(struct walking *w, const struct inode *ino)
{
	int r = w->fn(buf_span(&w->path), ino, w->ctx);

	if (r == RUN_TREE_SKIP)
		return 0;
	return r != 0 || ino->type != FT_DIR ? r : push(w, &ino->dir);
}

/* Tells of the entry that the deepest level is at, and moves on. */
static int step(struct walking *w)
{
	struct level *l = &w->levels[w->depth - 1];
	size_t depth = w->depth;
	struct dirent_rec e;
	int r;

	w->path.len = l->path_len;
	if (l->at.is_end) {
		tree_cursor_release(&l->at);
		w->depth--;
		return 0;
	}
	node_dirent(tree_leaf(&l->at), tree_index(&l->at), &e);
	/* There are none; only the commit could say what one is. */
	if (e.has_link)
		return -EBADMSG;
	if (l->path_len > 0)
		buf_put_u8(&w->path, '/');
	buf_put(&w->path, e.name.data, e.name.len);
	r = buf_failed(&w->path) ? -ENOMEM : tell(w, &e.inode);
	return r == 0 ? tree_next(&w->levels[depth - 1].at) : r;
}

int run_tree_walk(const struct tree_root *tree, const char *part, struct access *acc,
		  run_tree_fn fn, void *ctx)
{
	struct walking w = { .source = reader_source(acc->reader, acc), .fn = fn, .ctx = ctx };
	_cleanup_(node_unrefp) struct node *leaf = NULL;
	struct inode ino;
	int r = run_tree_find(tree, part, span_of(NULL, 0), acc, &leaf, &ino);

	if (r == 0)
		r = tell(&w, &ino);
	else if (r == -ENOENT)
		r = 0;
	while (r == 0 && w.depth > 0)
		r = step(&w);
	while (w.depth > 0)
		tree_cursor_release(&w.levels[--w.depth].at);
	free(w.levels);
	buf_release(&w.path);
	return r;
}

int run_tree_find(const struct tree_root *tree, const char *part, struct span path,
		  struct access *acc, struct node **ret_leaf, struct inode *ret)
{
	struct reader_source source = reader_source(acc->reader, acc);
	_cleanup_(node_unrefp) struct node *leaf = NULL;
	struct inode ino = { .type = FT_DIR, .dir = *tree };
	struct span name = span_str(part);

	for (;;) {
		struct node *next = NULL;
		const uint8_t *slash;
		struct dirent_rec e;
		int r;

		if (ino.type != FT_DIR)
			return -ENOENT;
		r = dir_lookup(&source.base, &ino.dir, name, &next, &e);
		if (r < 0)
			return r;
		node_unref(leaf);
		leaf = next;
		if (e.has_link)
			return -EBADMSG;
		ino = e.inode;
		if (path.len == 0)
			break;
		slash = memchr(path.data, '/', path.len);
		name = span_of(path.data, slash ? (size_t)(slash - path.data) : path.len);
		path.data += name.len + (slash != NULL);
		path.len -= name.len + (slash != NULL);
	}
	*ret_leaf = TAKE_PTR(leaf);
	*ret = ino;
	return 0;
}

bool run_tree_is_absent(const struct inode *ino)
{
	return ino->type == FT_CHR && ino->mode == 0 && ino->dev.major == 0 && ino->dev.minor == 0;
}
