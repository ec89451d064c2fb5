/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files of trees by path (run/files.h).
 */
#include "run/files.h"

#include "object/reader.h"

enum {
	DEPTH_MAX = 4096, /* directories in one another */
};

static struct run_file file_of(const struct inode *i)
{
	struct run_file f = { .type = i->type, .ctime = i->ctime };

	if (i->type == FT_DIR) {
		f.id = i->dir.id;
		f.dir = i->dir;
		f.size = i->dir.sum.bytes;
	} else if (i->type == FT_REG || i->type == FT_LNK) {
		f.size = i->content.size;
		if (f.size > 0)
			f.id = i->content.id;
	}
	return f;
}

int run_files_top(const struct run_reading *rd, const struct run_row *row, enum index_run_tree tree,
		  struct tree_root *ret)
{
	const char *name = tree == INDEX_RUN_READ ? "read" : "written";
	struct reader_source src = reader_source(rd->store->reader, rd->access);
	struct tree_root record = { .id = row->tree, .loc = row->tree_loc };
	struct dirent_rec e;
	struct node *n;
	int r;

	if (oid_is_null(&row->tree))
		return -ENOENT;
	/* The record has not all that the root's sum has. */
	r = reader_node(rd->store->reader, &row->tree, &row->tree_loc, rd->access, &n);
	if (r < 0)
		return r == -ENOENT ? -EIO : r;
	record.sum = n->sum;
	node_unref(n);
	r = dir_lookup(&src.base, &record, span_str(name), &n, &e);
	if (r < 0)
		return r;
	if (e.inode.type == FT_DIR && !e.has_link)
		*ret = e.inode.dir;
	else
		r = -EBADMSG;
	node_unref(n);
	return r;
}

/* A directory that is being walked. */
struct level {
	struct tree_cursor cursor;
	size_t path_len; /* of its own, with the slash */
};

struct walk {
	struct reader_source src;
	struct level *levels; /* owned */
	size_t count, cap;
	struct buf path;
};

static void walk_release(struct walk *w)
{
	while (w->count > 0)
		tree_cursor_release(&w->levels[--w->count].cursor);
	free(w->levels);
	buf_release(&w->path);
}

static int enter(struct walk *w, const struct tree_root *root)
{
	struct level *l;

	if (w->count == DEPTH_MAX)
		return -EBADMSG;
	if (w->count == w->cap) {
		size_t cap = MAX(2 * w->cap, (size_t)8);

		l = reallocarray(w->levels, cap, sizeof(*l));
		if (!l)
			return -ENOMEM;
		w->levels = l;
		w->cap = cap;
	}
	l = &w->levels[w->count++];
	tree_cursor_init(&l->cursor, TREE_DIR, &w->src.base);
	l->path_len = w->path.len;
	return tree_seek_key(&l->cursor, root, (struct span){ 0 });
}

/* The entry that the last directory stands at. */
static int step(struct walk *w, run_file_fn fn, void *ctx)
{
	struct level *l = &w->levels[w->count - 1];
	struct dirent_rec e;
	struct run_file f;
	int r;

	w->path.len = l->path_len;
	if (l->cursor.is_end) {
		tree_cursor_release(&l->cursor);
		w->count--;
		return 0;
	}
	node_dirent(tree_leaf(&l->cursor), tree_index(&l->cursor), &e);
	f = file_of(&e.inode);
	buf_put(&w->path, e.name.data, e.name.len);
	if (buf_failed(&w->path))
		return -ENOMEM;
	r = e.has_link || f.type == FT_DIR ? 0 : fn(buf_span(&w->path), &f, ctx);
	if (r == 0)
		r = tree_next(&l->cursor);
	if (r != 0 || e.has_link || f.type != FT_DIR)
		return r;
	buf_put_u8(&w->path, '/');
	return enter(w, &f.dir);
}

int run_files_each(const struct run_reading *rd, const struct tree_root *top, const char *prefix,
		   run_file_fn fn, void *ctx)
{
	_cleanup_(walk_release) struct walk w = { .src = reader_source(rd->store->reader,
								       rd->access) };
	int r;

	buf_put(&w.path, prefix, strlen(prefix));
	r = enter(&w, top);
	while (r == 0 && w.count > 0) {
		r = deadline_check(&rd->access->deadline);
		if (r == 0)
			r = step(&w, fn, ctx);
	}
	return r;
}

static struct span take_part(struct span *path)
{
	const uint8_t *slash = path->len ? memchr(path->data, '/', path->len) : NULL;
	size_t n = slash ? (size_t)(slash - path->data) : path->len;
	struct span part = span_of(path->data, n);

	n += slash ? 1 : 0;
	*path = span_of(path->data + n, path->len - n);
	return part;
}

bool run_place_read(struct span text, struct run_place *ret)
{
	ret->repo = take_part(&text);
	ret->rev = take_part(&text);
	ret->path = text;
	return ret->repo.len > 0 && ret->rev.len > 0 && text.len > 0;
}

size_t run_place_names(const struct run_place *p, uint64_t *ret, size_t max)
{
	struct span path = p->path;
	size_t n = 0;

	while (path.len > 0 && n < max - 2) {
		const uint8_t *slash = memrchr(path.data, '/', path.len);
		size_t at = slash ? (size_t)(slash - path.data) : 0;
		size_t begin = slash ? at + 1 : 0;

		ret[n++] = index_run_name(span_of(path.data + begin, path.len - begin));
		path.len = at;
	}
	ret[n++] = index_run_name(p->rev);
	ret[n++] = index_run_name(p->repo);
	return n;
}

/* One step down from a directory. */
static int lookup(struct reader_source *src, const struct commit *c, const struct tree_root *dir,
		  struct span name, struct run_file *ret)
{
	struct dirent_rec e;
	struct link_rec l;
	struct node *leaf;
	int r = dir_lookup(&src->base, dir, name, &leaf, &e);

	if (r < 0)
		return r;
	if (!e.has_link) {
		*ret = file_of(&e.inode);
	} else {
		struct id128 link = e.link;
		struct node *links;

		r = links_lookup(&src->base, &c->links, &link, &links, &l);
		if (r == 0) {
			*ret = file_of(&l.inode);
			node_unref(links);
		}
		r = r == -ENOENT ? -EIO : r;
	}
	node_unref(leaf);
	return r;
}

int run_file_in_commit(const struct run_reading *rd, const struct commit *c, struct span path,
		       struct run_file *ret)
{
	struct reader_source src = reader_source(rd->store->reader, rd->access);
	struct run_file at = file_of(&c->root);
	int r = 0;

	while (r == 0 && path.len > 0) {
		struct tree_root dir = at.dir;

		if (at.type != FT_DIR)
			return -ENOENT;
		r = lookup(&src, c, &dir, take_part(&path), &at);
	}
	if (r == 0)
		*ret = at;
	return r;
}

bool run_file_is(const struct run_file *was, const struct stat *now)
{
	return (uint64_t)now->st_size == was->size && now->st_ctim.tv_sec == was->ctime.sec &&
	       (uint32_t)now->st_ctim.tv_nsec == was->ctime.nsec;
}
