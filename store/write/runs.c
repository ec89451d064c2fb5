/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Runs of a file (write/runs.h).
 */
#include "write/runs.h"

static void set_base(struct runs *r, const struct content *c)
{
	r->has_base = true;
	r->base = *c;
	r->base.inlined = span_of(NULL, 0);
}

void runs_init(struct runs *r, struct content_source *src, struct node_source *nodes,
	       const struct chunk_params *params)
{
	*r = (struct runs){ .src = src, .nodes = nodes, .params = *params };
	if (src->base && src->base->kind == CONTENT_EXTENTS)
		set_base(r, src->base);
	tree_cursor_init(&r->cursor, TREE_EXTENTS, nodes);
}

void runs_release(struct runs *r)
{
	tree_cursor_release(&r->cursor);
}

const struct content *runs_settle_base(struct runs *r)
{
	r->is_settled = true;
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

/* The hole of whole blocks that begins at @off (a block's start): its end; @off if there is none.
 */
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

int runs_data(struct runs *r, uint64_t off, uint64_t max, uint64_t *ret)
{
	uint64_t at = off, stop = off + MIN(max, r->src->size - off);

	while (at < stop) {
		uint64_t len, start = ALIGN_UP(at, HOLE_ALIGN), end = start;
		bool is_hole;
		int e = look(r, at, &is_hole, &len);

		if (e == 0 && is_hole)
			e = hole_end(r, start, &end);
		if (e < 0)
			return e;
		if (end > start) {
			stop = MIN(stop, start);
			break;
		}
		at += len;
	}
	*ret = stop - off;
	return 0;
}

/* Is there a hole of whole blocks that begins at @off, or the file's end? */
static int data_ends_at(struct runs *r, uint64_t off, bool *ret)
{
	uint64_t end = off;
	int e = 0;

	if (off < r->src->size && off % HOLE_ALIGN == 0)
		e = hole_end(r, off, &end);
	*ret = off == r->src->size || end > off;
	return e;
}

/* What is stored that begins at @at of a content, and lies at @off of the file. */
struct candidate {
	struct content content; /* a copy: the source lends one piece at a time */
	uint64_t at, off;
	struct stored s;
};

/*
 * Would it be cut just so if the file were cut from scratch? A cut made by the bytes is one
 * wherever they are; one made by the end or a hole is one only where such is here as well. What
 * was not cut at all, being small, may have a cut in it.
 */
static int can_stay(struct runs *r, const struct candidate *c, bool *ret)
{
	uint64_t end = c->at + c->s.len;
	bool is_last = end == c->content.size;
	struct stored next;
	int e;

	*ret = false;
	if (c->content.kind == CONTENT_CHUNK && c->s.len <= CHUNK_WHOLE_MAX &&
	    c->s.len > r->params.min)
		return 0;
	if (!is_last) {
		e = extent_of(r, &c->content, end, &next);
		if (e < 0)
			return e;
		is_last = next.x.is_hole;
	}
	if (is_last)
		return data_ends_at(r, c->off + c->s.len, ret);
	*ret = true;
	return 0;
}

/*
 * Of a content without holes, what comes before the chunk that the piece's last byte is in can stay
 * if the first chunk can: all its cuts were made by the bytes. @ret: how much that is.
 */
static int stretch(struct runs *r, const struct candidate *c, uint64_t piece_len, uint64_t *ret)
{
	struct stored last;
	int e;

	*ret = c->s.len;
	if (c->content.data != c->content.size || piece_len <= c->s.len)
		return 0;
	e = extent_of(r, &c->content, c->at + piece_len - 1, &last);
	if (e == 0 && last.start > c->at)
		*ret = last.start - c->at;
	return e;
}

/* The stored chunk of piece @p at @off, if it can stay. */
static int stored_at(struct runs *r, uint64_t off, const struct piece *p, struct run *ret)
{
	struct candidate c = { .content = *p->content, .at = p->content_off, .off = off };
	bool stays, is_tree = c.content.kind == CONTENT_EXTENTS;
	int e = extent_of(r, &c.content, c.at, &c.s);

	if (e < 0 || c.s.x.is_hole || c.s.start != c.at || c.s.len > p->len)
		return e;
	e = can_stay(r, &c, &stays);
	if (e < 0 || !stays)
		return e;
	if (!r->has_base && !r->is_settled && is_tree)
		set_base(r, &c.content);
	*ret = (struct run){
		.kind = RUN_STORED,
		.len = c.s.len,
		.id = c.s.x.id,
		.loc = c.s.x.loc,
		.content_off = c.at,
		.is_base = r->has_base && is_tree && oid_equal(&r->base.id, &c.content.id) &&
			   c.at >= r->base_pos,
	};
	if (!ret->is_base)
		return 0;
	e = stretch(r, &c, p->len, &ret->len);
	r->base_pos = c.at + ret->len;
	return e;
}

int runs_at(struct runs *r, uint64_t off, struct run *ret)
{
	uint64_t end;
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
	return e < 0 || p.kind != PIECE_CONTENT ? e : stored_at(r, off, &p, ret);
}
