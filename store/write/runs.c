/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Runs of a file (write/runs.h).
 */
#include "write/runs.h"

int runs_init(struct runs *r, struct content_source *src, struct node_source *nodes)
{
	*r = (struct runs){ .src = src, .nodes = nodes };
	tree_cursor_init(&r->cursor, TREE_EXTENTS, nodes);
	return 0;
}

void runs_release(struct runs *r)
{
	tree_cursor_release(&r->cursor);
}

const struct content *runs_base(const struct runs *r)
{
	return r->has_base ? &r->base : NULL;
}

int runs_whole(struct runs *r, struct content *ret)
{
	struct piece p;
	int e;

	if (r->src->size == 0)
		return 0;
	e = r->src->piece(r->src, 0, &p);
	if (e < 0)
		return e;
	if (p.kind != PIECE_CONTENT || p.content_off != 0 || p.len != r->src->size ||
	    p.content->size != p.len)
		return 0;
	*ret = *p.content;
	return 1;
}

/* An extent of a content: its own start and length, and what it is. */
struct stored {
	uint64_t start, len;
	struct extent_rec x;
};

/* The extent of @c that holds @off, by the cursor, which mostly stands just before it. */
static int extent_of(struct runs *r, const struct content *c, uint64_t off, struct stored *ret)
{
	struct tree_root root;
	int e;

	if (c->kind == CONTENT_CHUNK) {
		*ret = (struct stored){ .len = c->size };
		ret->x = (struct extent_rec){ .len = c->size, .id = c->id, .loc = c->loc };
		return 0;
	}
	if (r->is_placed && oid_equal(&r->tree, &c->id) && !r->cursor.is_end) {
		node_extent(tree_leaf(&r->cursor), tree_index(&r->cursor), &ret->x);
		if (off == r->extent_off + ret->x.len) {
			r->extent_off = off;
			e = tree_next(&r->cursor);
			r->is_placed = e == 0;
			if (e < 0)
				return e;
		} else if (off < r->extent_off || off > r->extent_off + ret->x.len) {
			r->is_placed = false;
		}
	} else {
		r->is_placed = false;
	}
	if (!r->is_placed) {
		root = content_root(c);
		e = tree_seek_byte(&r->cursor, &root, off, &r->extent_off);
		if (e < 0)
			return e;
		r->tree = c->id;
		r->is_placed = true;
	}
	if (r->cursor.is_end)
		return -EIO;
	node_extent(tree_leaf(&r->cursor), tree_index(&r->cursor), &ret->x);
	ret->start = r->extent_off;
	ret->len = ret->x.len;
	return 0;
}

/* What is at @off, holes of contents told apart: how long it goes on, and whether it is hole. */
static int look(struct runs *r, uint64_t off, bool *ret_is_hole, uint64_t *ret_len)
{
	struct stored s;
	struct piece p;
	int e = r->src->piece(r->src, off, &p);

	if (e < 0)
		return e;
	*ret_is_hole = p.kind == PIECE_HOLE;
	*ret_len = MIN(p.len, r->src->size - off);
	if (p.kind != PIECE_CONTENT || p.content->kind != CONTENT_EXTENTS ||
	    p.content->data == p.content->size)
		return 0;
	e = extent_of(r, p.content, p.content_off, &s);
	if (e < 0)
		return e;
	*ret_is_hole = s.x.is_hole;
	*ret_len = MIN(*ret_len, s.start + s.len - p.content_off);
	return 0;
}

/* The hole of whole blocks that begins at @off (a block's start): its end; @off if there is none. */
static int hole_end(struct runs *r, uint64_t off, uint64_t *ret)
{
	uint64_t at = off, size = r->src->size;

	while (at < size) {
		uint64_t len;
		bool is_hole;
		int e = look(r, at, &is_hole, &len);

		if (e < 0)
			return e;
		if (!is_hole)
			break;
		at += len;
	}
	*ret = at < size ? MAX(ALIGN_DOWN(at, HOLE_ALIGN), off) : at;
	return 0;
}

/* The first hole of whole blocks at or after @off: its start; the size if there is none. */
static int find_hole(struct runs *r, uint64_t off, uint64_t *ret)
{
	uint64_t size = r->src->size;

	while (off < size) {
		uint64_t len, start, end;
		bool is_hole;
		int e = look(r, off, &is_hole, &len);

		if (e < 0)
			return e;
		start = ALIGN_UP(off, HOLE_ALIGN);
		if (is_hole && start < off + len) {
			e = hole_end(r, start, &end);
			if (e < 0)
				return e;
			if (end > start) {
				*ret = start;
				return 0;
			}
		}
		off += len;
	}
	*ret = size;
	return 0;
}

static int next_hole(struct runs *r, uint64_t off, uint64_t *ret)
{
	int e = 0;

	if (off < r->hole_from || off >= r->hole_at) {
		e = find_hole(r, off, &r->hole_at);
		r->hole_from = e < 0 ? UINT64_MAX : off;
	}
	*ret = r->hole_at;
	return e;
}

int runs_data_end(struct runs *r, uint64_t off, uint64_t *ret)
{
	return next_hole(r, off, ret);
}

int runs_have_holes(struct runs *r, bool *ret)
{
	uint64_t at;
	int e = next_hole(r, 0, &at);

	*ret = at < r->src->size;
	return e;
}

/*
 * Would the chunk that ends at @end of its content, and at @file_end here, end here too? A cut made by the bytes is one wherever they are; one made by the end or a hole is one
 * only where such is here as well.
 */
static int ends_alike(struct runs *r, const struct content *c, uint64_t end, uint64_t file_end,
		      bool *ret)
{
	struct stored next;
	uint64_t hole;
	int e;

	*ret = true;
	if (file_end == r->src->size)
		return 0;
	if (end < c->size) {
		e = extent_of(r, c, end, &next);
		if (e < 0 || !next.x.is_hole)
			return e;
	}
	e = next_hole(r, file_end, &hole);
	*ret = hole == file_end;
	return e;
}

int runs_at(struct runs *r, uint64_t off, struct run *ret)
{
	uint64_t end;
	struct stored s;
	struct piece p;
	int e;

	if (off % HOLE_ALIGN == 0) {
		e = hole_end(r, off, &end);
		if (e < 0)
			return e;
		if (end > off) {
			*ret = (struct run){ .kind = RUN_HOLE, .len = end - off };
			return 0;
		}
	}
	*ret = (struct run){ .kind = RUN_DATA };
	e = r->src->piece(r->src, off, &p);
	if (e < 0 || p.kind != PIECE_CONTENT)
		return e;
	e = extent_of(r, p.content, p.content_off, &s);
	if (e < 0 || s.x.is_hole || s.start != p.content_off || s.len > p.len)
		return e;
	*ret = (struct run){
		.kind = RUN_STORED,
		.len = s.len,
		.id = s.x.id,
		.loc = s.x.loc,
		.content_off = s.start,
	};
	if (!r->has_base && p.content->kind == CONTENT_EXTENTS) {
		r->has_base = true;
		r->base = *p.content;
		r->base.inlined = span_of(NULL, 0);
	}
	ret->is_base = r->has_base && p.content->kind == CONTENT_EXTENTS &&
		       oid_equal(&r->base.id, &p.content->id) && s.start >= r->base_pos;
	e = ends_alike(r, p.content, s.start + s.len, off + s.len, &ret->can_stay);
	if (e == 0 && ret->can_stay && ret->is_base)
		r->base_pos = s.start + s.len;
	return e;
}
