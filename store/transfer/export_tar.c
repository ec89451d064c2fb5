/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Exporting to a tar stream: one walk, depth first, each directory before what is in it. Of a
 * hard-linked file the first name has the content, the others say that they are the same.
 *
 * Threads: the caller's; what comes next is fetched ahead by the reader's.
 */
#include "base/hash.h"
#include "base/htab.h"
#include "base/log.h"
#include "transfer/export.h"
#include "transfer/tar.h"
#include "tree/walk.h"

/* The path a hard-linked file has been written under. */
struct written {
	struct hnode node;
	struct id128 id;
	size_t len;
	uint8_t path[];
};

struct tar_walk {
	struct export *x;
	struct tar_writer *out; /* owned */
	struct dir_walk walk; /* paths of directories end with a '/' */
	struct htab links; /* struct written */
	struct buf xattrs;
	struct tar_range *ranges; /* owned: of the file that is being written */
	size_t range_count, range_cap;
};

static int skip(struct tar_walk *w, int error)
{
	struct buf *b = &w->walk.path;
	int r;

	buf_put_u8(b, 0);
	if (buf_failed(b))
		return -ENOMEM;
	r = report_skip(&w->x->report, (const char *)b->data, error);
	b->len--;
	return r;
}

/*
 * Where a file has data.
 */

static int add_range(struct tar_walk *w, uint64_t off, uint64_t len)
{
	struct tar_range *last = w->range_count > 0 ? &w->ranges[w->range_count - 1] : NULL;

	if (last && last->off + last->len == off) {
		last->len += len;
		return 0;
	}
	if (w->range_count == w->range_cap) {
		size_t cap = MAX(2 * w->range_cap, (size_t)16);
		struct tar_range *more = reallocarray(w->ranges, cap, sizeof(*more));

		if (!more)
			return -ENOMEM;
		w->ranges = more;
		w->range_cap = cap;
	}
	w->ranges[w->range_count++] = (struct tar_range){ off, len };
	return 0;
}

typedef int (*extent_fn)(struct tar_walk *w, uint64_t off, const struct extent_rec *x);

static int walk_extents(struct tar_walk *w, const struct content *c, extent_fn fn)
{
	struct tree_root root = content_root(c);
	struct tree_cursor at;
	uint64_t off = 0;
	int r;

	tree_cursor_init(&at, TREE_EXTENTS, &w->x->place.source.base);
	r = tree_seek_byte(&at, &root, 0, &off);
	while (r == 0 && !at.is_end) {
		struct extent_rec x;

		node_extent(tree_leaf(&at), tree_index(&at), &x);
		r = fn(w, off, &x);
		off += x.len;
		if (r == 0)
			r = tree_next(&at);
	}
	tree_cursor_release(&at);
	return r;
}

static int note_extent(struct tar_walk *w, uint64_t off, const struct extent_rec *x)
{
	return x->is_hole ? 0 : add_range(w, off, x->len);
}

/*
 * Content.
 */

static int put_chunk(struct tar_walk *w, const struct oid *id, const struct loc *loc, uint64_t len)
{
	struct export *x = w->x;
	_cleanup_(blob_unrefp) struct blob *b = NULL;
	int r = reader_chunk(x->store->reader, id, loc, &x->place.access, &b);

	if (r == 0 && b->len != len)
		r = -EBADMSG;
	if (r < 0)
		return r == -ENOENT ? -EIO : r;
	report_add(&x->report, 0, len);
	report_tell(&x->report, false);
	return tar_writer_put(w->out, b->data, len);
}

static int put_extent(struct tar_walk *w, uint64_t off, const struct extent_rec *x)
{
	return x->is_hole ? tar_writer_put(w->out, NULL, x->len)
			  : put_chunk(w, &x->id, &x->loc, x->len);
}

static int put_content(struct tar_walk *w, const struct content *c)
{
	struct export *x = w->x;
	uint8_t small[INLINE_MAX];
	int64_t n;

	if (c->size == 0)
		return 0;
	if (c->kind == CONTENT_EXTENTS)
		return walk_extents(w, c, put_extent);
	if (c->size > sizeof(small))
		return put_chunk(w, &c->id, &c->loc, c->size);
	n = content_read(x->store->reader, c, 0, c->size, small, &x->place.access);
	if (n < 0)
		return (int)n;
	report_add(&x->report, 0, c->size);
	return tar_writer_put(w->out, small, (uint64_t)n);
}

/* A stream in which a file has been begun can only go on with the whole of it. */
static int put_regular(struct tar_walk *w, struct tar_entry *e)
{
	const struct content *c = &e->inode.content;
	int r = 0;

	w->range_count = 0;
	if (c->kind == CONTENT_EXTENTS && c->data < c->size) {
		r = walk_extents(w, c, note_extent);
		e->is_sparse = true;
		e->ranges = w->ranges;
		e->range_count = w->range_count;
	}
	if (r < 0)
		return skip(w, r);
	r = tar_writer_begin(w->out, e);
	if (r == 0)
		r = put_content(w, c);
	return r == 0 || r == -ECANCELED ? r
					 : log_errno(r, "the stream ends in the middle of a file");
}

/* One entry: all but the content of directories. */
static int put_inode(struct tar_walk *w, const struct inode *ino)
{
	struct export *x = w->x;
	struct tar_entry e = { .path = buf_span(&w->walk.path), .inode = *ino };
	char target[SYMLINK_MAX];
	int64_t n = 0;
	int r;

	r = xattrs_load(x->store->reader, &ino->xattrs, &x->place.access, &w->xattrs);
	if (r == 0 && ino->type == FT_LNK)
		n = content_read(x->store->reader, &ino->content, 0, sizeof(target), target,
				 &x->place.access);
	if (n < 0)
		r = (int)n;
	if (r == 0 && memchr(target, '\0', (size_t)n))
		r = -EBADMSG;
	if (r < 0)
		return skip(w, r);
	e.xattrs = buf_span(&w->xattrs);
	if (ino->type == FT_LNK)
		e.inode.content.inlined = span_of(target, (size_t)n);
	if (ino->type == FT_REG) {
		r = put_regular(w, &e);
	} else {
		r = tar_writer_begin(w->out, &e);
		if (r == -EOPNOTSUPP)
			return skip(w, r);
	}
	if (r == 0 && ino->type != FT_DIR)
		report_add(&x->report, 1, 0);
	return r;
}

/*
 * Hard links.
 */

static int note_written(struct tar_walk *w, const struct id128 *id)
{
	struct written *x = malloc(sizeof(*x) + w->walk.path.len);

	if (!x)
		return -ENOMEM;
	x->id = *id;
	x->len = w->walk.path.len;
	memcpy(x->path, w->walk.path.data, w->walk.path.len);
	if (htab_insert(&w->links, &x->node, hash_bytes(id->b, sizeof(id->b))) == 0)
		return 0;
	free(x);
	return -ENOMEM;
}

static void free_written(struct hnode *n, void *ctx)
{
	free(container_of(n, struct written, node));
}

static int put_linked(struct tar_walk *w, const struct id128 *id)
{
	struct place *p = &w->x->place;
	_cleanup_(node_unrefp) struct node *leaf = NULL;
	uint64_t skipped = w->x->report.skipped;
	struct link_rec rec;
	int r;

	htab_for_each (n, &w->links, hash_bytes(id->b, sizeof(id->b))) {
		const struct written *x = container_of(n, struct written, node);
		struct tar_entry e = { .path = buf_span(&w->walk.path),
				       .same_as = span_of(x->path, x->len) };

		if (!id128_equal(&x->id, id))
			continue;
		report_add(&w->x->report, 1, 0);
		return tar_writer_begin(w->out, &e);
	}
	r = links_lookup(&p->source.base, &p->commit.links, id, &leaf, &rec);
	if (r < 0)
		return skip(w, r == -ENOENT ? -EIO : r);
	r = put_inode(w, &rec.inode);
	return r == 0 && w->x->report.skipped == skipped ? note_written(w, id) : r;
}

/*
 * The walk.
 */

static int descend(struct tar_walk *w, const struct tree_root *dir)
{
	int r = dir_walk_enter(&w->walk, dir);

	return r < 0 ? skip(w, r) : 0;
}

static int put_entry(struct tar_walk *w, const struct dirent_rec *e)
{
	int r;

	if (e->has_link)
		return put_linked(w, &e->link);
	if (e->inode.type == FT_DIR)
		buf_put_u8(&w->walk.path, '/');
	if (buf_failed(&w->walk.path))
		return -ENOMEM;
	r = put_inode(w, &e->inode);
	return r == 0 && e->inode.type == FT_DIR ? descend(w, &e->inode.dir) : r;
}

static int put_all(struct tar_walk *w)
{
	struct export *x = w->x;
	struct span name = place_name(&x->place);
	struct dirent_rec e;
	int r, is_more;

	if (x->inode.type != FT_DIR) {
		buf_put(&w->walk.path, name.data, name.len);
		return buf_failed(&w->walk.path) ? -ENOMEM : put_inode(w, &x->inode);
	}
	buf_put(&w->walk.path, "./", 2);
	r = buf_failed(&w->walk.path) ? -ENOMEM : put_inode(w, &x->inode);
	w->walk.path.len = 0;
	if (r == 0)
		r = descend(w, &x->inode.dir);
	while (r == 0 && (is_more = dir_walk_next(&w->walk, &e)) != 0) {
		if (report_is_cancelled(&x->report))
			r = -ECANCELED;
		else
			r = is_more < 0 ? skip(w, is_more) : put_entry(w, &e);
		report_tell(&x->report, false);
	}
	return r;
}

int export_tar(struct export *x)
{
	struct tar_walk w = { .x = x, .walk.source = &x->place.source.base };
	int r = tar_writer_new(x->req->fd, x->report.o->cancelled, &w.out);

	if (r == 0)
		r = put_all(&w);
	if (r == 0)
		r = tar_writer_finish(w.out);
	tar_writer_free(w.out);
	dir_walk_release(&w.walk);
	htab_walk(&w.links, free_written, NULL);
	htab_release(&w.links);
	buf_release(&w.xattrs);
	free(w.ranges);
	return r;
}
