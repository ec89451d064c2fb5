/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading files' contents: inlined bytes, one chunk, or the extents of a tree, holes as zeroes.
 */
#include "format/xattr.h"
#include "object/ahead.h"

static int source_get(struct node_source *s, const struct oid *id, const struct loc *hint,
		      struct node **ret)
{
	struct reader_source *rs = container_of(s, struct reader_source, base);

	return reader_node(rs->reader, id, hint, rs->access, ret);
}

struct reader_source reader_source(struct reader *r, struct access *acc)
{
	return (struct reader_source){
		.base = { .get = source_get },
		.reader = r,
		.access = acc,
	};
}

/* A walk over the extents in a range. */
struct walk {
	struct reader_source source;
	struct tree_cursor cursor;
	uint64_t start; /* of the extent the cursor is at */
};

static void walk_release(struct walk *w)
{
	tree_cursor_release(&w->cursor);
}

static int walk_begin(struct walk *w, struct reader *r, const struct content *c, uint64_t off,
		      struct access *acc)
{
	struct tree_root root = {
		.id = c->id,
		.loc = c->loc,
		.sum = { .bytes = c->size, .data = c->data },
	};

	w->source = reader_source(r, acc);
	tree_cursor_init(&w->cursor, TREE_EXTENTS, &w->source.base);
	return tree_seek_byte(&w->cursor, &root, off, &w->start);
}

/* The extent the cursor is at; false at the end. */
static bool walk_get(const struct walk *w, struct extent_rec *ret)
{
	if (w->cursor.is_end)
		return false;
	node_extent(tree_leaf(&w->cursor), tree_index(&w->cursor), ret);
	return true;
}

static int walk_next(struct walk *w, const struct extent_rec *x)
{
	w->start += x->len;
	return tree_next(&w->cursor);
}

/* Asks for the chunks of a range, as far as the tree's nodes are here and there is room; says up to
 * where. */
static uint64_t ask_ahead(struct reader *r, const struct content *c, uint64_t off, uint64_t end)
{
	struct ahead ahead = { .reader = r };
	_cleanup_(walk_release) struct walk w;
	_cleanup_access_ struct access acc;
	struct extent_rec x;
	int e;

	access_init(&acc, r, false);
	access_at_hand(&acc);
	e = walk_begin(&w, r, c, off, &acc);
	if (e < 0)
		return off;
	while (e == 0 && w.start < end && walk_get(&w, &x)) {
		if (!x.is_hole && !ahead_add(&ahead, &x.id, &x.loc, x.len, end - w.start))
			break;
		e = walk_next(&w, &x);
	}
	ahead_end(&ahead);
	return MAX(w.start, off);
}

static bool is_in_memory(struct reader *r, const struct extent_rec *x)
{
	_cleanup_(blob_unrefp) struct blob *b = memory_chunk(r->memory, &x->id);

	return b != NULL;
}

static int read_extent(struct reader *r, const struct extent_rec *x, uint64_t skip, size_t len,
		       uint8_t *buf, struct access *acc)
{
	if (x->is_hole) {
		memset(buf, 0, len);
		return 0;
	}
	return reader_read(r, &x->id, &x->loc, (uint32_t)skip, (uint32_t)len, buf, acc);
}

static int read_extents(struct reader *r, const struct content *c, uint64_t off, size_t len,
			uint8_t *buf, struct access *acc)
{
	_cleanup_(walk_release) struct walk w;
	bool has_asked = false;
	struct extent_rec x;
	int e;

	e = walk_begin(&w, r, c, off, acc);
	while (e == 0 && len > 0) {
		uint64_t skip;
		size_t n;

		if (!walk_get(&w, &x))
			return -EBADMSG; /* the file is longer than its tree */
		skip = off - w.start;
		n = (size_t)MIN((uint64_t)len, x.len - skip);
		/* While this one is waited for, the others come too. */
		if (n < len && !has_asked && !x.is_hole && !is_in_memory(r, &x)) {
			ask_ahead(r, c, off + n, off + len);
			has_asked = true;
		}
		e = read_extent(r, &x, skip, n, buf, acc);
		off += n;
		buf += n;
		len -= n;
		if (e == 0 && len > 0)
			e = walk_next(&w, &x);
	}
	return e;
}

/* Is what was inlined the file's content? */
static bool is_inlined(const struct content *c)
{
	struct oid id;

	if (c->inlined.len == 0 || c->inlined.len != c->size)
		return false;
	id = oid_of(OID_CHUNK, c->inlined.data, c->inlined.len);
	return oid_equal(&id, &c->id);
}

int64_t content_read(struct reader *r, const struct content *c, uint64_t off, size_t len, void *buf,
		     struct access *acc)
{
	int e;

	if (off >= c->size)
		return 0;
	len = (size_t)MIN((uint64_t)len, c->size - off);
	if (len == 0)
		return 0;
	if (c->kind == CONTENT_EXTENTS) {
		e = read_extents(r, c, off, len, buf, acc);
	} else if (is_inlined(c)) {
		memcpy(buf, c->inlined.data + off, len);
		e = 0;
	} else if (c->size > CHUNK_LIMIT) {
		e = -EBADMSG;
	} else {
		e = reader_read(r, &c->id, &c->loc, (uint32_t)off, (uint32_t)len, buf, acc);
	}
	if (e < 0)
		return e == -ENOENT ? -EIO : e;
	return (int64_t)len;
}

uint64_t content_prefetch(struct reader *r, const struct content *c, uint64_t off, size_t len)
{
	uint64_t end = add_sat(off, len);

	if (off >= c->size || c->inlined.len > 0)
		return end;
	if (c->kind == CONTENT_EXTENTS)
		return ask_ahead(r, c, off, end);
	reader_prefetch(r, &c->id, &c->loc);
	return end;
}

int xattrs_load(struct reader *r, const struct xattrs *x, struct access *acc, struct buf *ret)
{
	_cleanup_(blob_unrefp) struct blob *b = NULL;
	struct span list = x->list;
	int e;

	if (x->large_len > 0) {
		e = reader_chunk(r, &x->large, &x->loc, acc, &b);
		if (e < 0)
			return e == -ENOENT ? -EIO : e;
		if (b->len != x->large_len || b->len > XATTR_LIST_LIMIT)
			return -EBADMSG;
		list = span_of(b->data, b->len);
	}
	e = xattr_list_check(list);
	if (e < 0)
		return e;
	buf_clear(ret);
	buf_put(ret, list.data, list.len);
	return buf_failed(ret) ? -ENOMEM : 0;
}
