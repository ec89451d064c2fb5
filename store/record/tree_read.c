/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading the tree of a run's record (tree_read.h).
 */
#include "record/tree_read.h"

#include "object/reader.h"
#include "tree/walk.h"

struct walking {
	struct dir_walk walk;
	struct access *acc;
	run_tree_fn fn;
	void *ctx;
};

/* Of what the walk is at, and goes into it. */
static int tell(struct walking *w, const struct inode *ino)
{
	struct buf *path = &w->walk.path;
	/* A directory may be there under any number of names. */
	int r = deadline_check(&w->acc->deadline);

	if (r == 0)
		r = w->fn(buf_span(path), ino, w->ctx);
	if (r == RUN_TREE_SKIP)
		return 0;
	if (r != 0 || ino->type != FT_DIR)
		return r;
	if (path->len > 0)
		buf_put_u8(path, '/');
	return dir_walk_enter(&w->walk, &ino->dir);
}

int run_tree_walk(const struct tree_root *tree, const char *part, struct access *acc,
		  run_tree_fn fn, void *ctx)
{
	struct reader_source source = reader_source(acc->reader, acc);
	struct walking w = { .walk.source = &source.base, .acc = acc, .fn = fn, .ctx = ctx };
	_cleanup_(node_unrefp) struct node *leaf = NULL;
	struct dirent_rec e;
	struct inode ino;
	int is_more, r = run_tree_find(tree, part, span_of(NULL, 0), acc, &leaf, &ino);

	if (r == 0)
		r = tell(&w, &ino);
	else if (r == -ENOENT)
		r = 0;
	while (r == 0 && (is_more = dir_walk_next(&w.walk, &e)) != 0) {
		/* There are no links; only the commit could say what one is. */
		r = is_more < 0 ? is_more : e.has_link ? -EBADMSG : tell(&w, &e.inode);
	}
	dir_walk_release(&w.walk);
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
