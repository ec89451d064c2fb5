/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files of trees by path (catalog/files.h).
 */
#include "catalog/files.h"

#include "object/reader.h"
#include "record/tree_read.h"
#include "tree/walk.h"

enum {
	DEPTH_MAX = 4096, /* directories in one another */
};

struct run_file run_file_of(const struct inode *i)
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

static int part_of(const struct run_reading *rd, const struct run_row *row, const char *name,
		   struct tree_root *ret)
{
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

int run_files_top(const struct run_reading *rd, const struct run_row *row, enum index_run_tree tree,
		  struct tree_root *ret)
{
	return part_of(rd, row, tree == INDEX_RUN_READ ? RUN_TREE_READ : RUN_TREE_WRITTEN, ret);
}

int run_files_of(const struct run_reading *rd, const struct run_row *row, enum index_run_tree tree,
		 run_file_fn fn, void *ctx)
{
	struct tree_root top;
	int r = run_files_top(rd, row, tree, &top);

	if (r == 0)
		r = run_files_each(rd, &top, "", fn, ctx);
	if (tree != INDEX_RUN_READ || (r != 0 && r != -ENOENT))
		return r == -ENOENT ? 0 : r;
	r = part_of(rd, row, RUN_TREE_KEPT, &top);
	if (r == 0)
		r = run_files_each(rd, &top, "", fn, ctx);
	return r == -ENOENT ? 0 : r;
}

int run_files_each(const struct run_reading *rd, const struct tree_root *top, const char *prefix,
		   run_file_fn fn, void *ctx)
{
	struct reader_source src = reader_source(rd->store->reader, rd->access);
	_cleanup_dir_walk_ struct dir_walk w = { .source = &src.base };
	struct dirent_rec e;
	int r, is_more;

	buf_put(&w.path, prefix, strlen(prefix));
	r = dir_walk_enter(&w, top);
	while (r == 0 && (is_more = dir_walk_next(&w, &e)) != 0) {
		struct run_file f;

		r = is_more < 0 ? is_more : deadline_check(&rd->access->deadline);
		if (r < 0 || e.has_link)
			continue;
		f = run_file_of(&e.inode);
		if (f.type != FT_DIR) {
			r = fn(buf_span(&w.path), &f, ctx);
			continue;
		}
		buf_put_u8(&w.path, '/');
		r = w.depth == DEPTH_MAX ? -EBADMSG : dir_walk_enter(&w, &f.dir);
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
		*ret = run_file_of(&e.inode);
	} else {
		struct id128 link = e.link;
		struct node *links;

		r = links_lookup(&src->base, &c->links, &link, &links, &l);
		if (r == 0) {
			*ret = run_file_of(&l.inode);
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
	struct run_file at = run_file_of(&c->root);
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

/* @part: of the record. */
static int find_in(const struct run_reading *rd, const struct run_row *row, const char *part,
		   const struct run_place *place, struct run_file *ret)
{
	struct reader_source src = reader_source(rd->store->reader, rd->access);
	const struct span parts[] = { place->repo, place->rev, place->path };
	static const struct commit no_links;
	struct run_file at = { .type = FT_DIR };
	int r = part_of(rd, row, part, &at.dir);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++)
		for (struct span path = parts[i]; r == 0 && path.len > 0;) {
			struct tree_root dir = at.dir;

			if (at.type != FT_DIR)
				return -ENOENT;
			r = lookup(&src, &no_links, &dir, take_part(&path), &at);
		}
	if (r == 0)
		*ret = at;
	return r;
}

int run_files_written(const struct run_reading *rd, const struct run_row *row,
		      const struct run_place *place, struct run_file *ret)
{
	return find_in(rd, row, RUN_TREE_WRITTEN, place, ret);
}

int run_files_found(const struct run_reading *rd, const struct run_row *row,
		    const struct run_place *place, struct run_file *ret, bool *ret_has_read)
{
	int r = find_in(rd, row, RUN_TREE_READ, place, ret);

	*ret_has_read = r == 0;
	return r == -ENOENT ? find_in(rd, row, RUN_TREE_KEPT, place, ret) : r;
}

bool run_file_is(const struct run_file *was, const struct stat *now)
{
	return (uint64_t)now->st_size == was->size && now->st_ctim.tv_sec == was->ctime.sec &&
	       (uint32_t)now->st_ctim.tv_nsec == was->ctime.nsec;
}
