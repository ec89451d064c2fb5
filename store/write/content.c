/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Building contents (write/content.h).
 *
 * The file is gone through in runs: new data, a hole, or a chunk that the store has.
 *
 *  - at a cut, a stored chunk that begins here, lies here whole, and ends as it would end if the
 *    file were cut from scratch, is kept
 *  - everything else is read and cut; so after a change, cutting goes on until a cut meets the
 *    start of a stored chunk
 *
 * What was found becomes parts, in order; from the front, parts whose chunks are placed go into an
 * extents tree, which takes over whole subtrees of the file's former tree.
 */
#include "write/content.h"

#include "object/reader.h"
#include "write/runs.h"

enum {
	READ_STEP = CONTENT_LOOK_AHEAD,
};

enum part_kind {
	PART_CHUNK, /* in a batch */
	PART_STORED, /* an extent as it is */
	PART_KEPT, /* a range of the tree that is edited */
};

struct part {
	enum part_kind kind;
	uint64_t off, len;
	struct batch *batch; /* PART_CHUNK: a reference */
	uint32_t index;
	struct extent_rec extent; /* PART_STORED */
	uint64_t kept_off; /* PART_KEPT */
};

struct content_build {
	struct content_options o;
	struct content_source *src; /* owned; NULL: read, and not to be told more */
	uint64_t size;
	struct reader_source source;
	struct runs runs;
	struct part *parts; /* a queue in an array: [first, count); owned */
	size_t first, count, cap;
	bool has_hole, is_whole;
	struct content whole; /* is_whole: the content it turned out to be */
	uint64_t chunks; /* how many there are, at least */
	struct oid last_id; /* the last of them, and where it lies */
	struct loc last_loc;
	struct tree_edit *edit; /* owned; NULL until it is clear that one chunk is not all */
	uint64_t edit_pos; /* bytes of the edited tree that are kept or skipped */
	uint8_t *small; /* content that travels inline; owned */
	struct buf window; /* bytes read from @window_off on */
	uint64_t window_off;
};

static void parts_release(struct content_build *b)
{
	for (size_t i = b->first; i < b->count; i++)
		packer_batch_unref(b->o.packer, b->parts[i].batch);
	free(b->parts);
}

void content_build_free(struct content_build *b)
{
	if (!b)
		return;
	parts_release(b);
	tree_edit_free(b->edit);
	runs_release(&b->runs);
	buf_release(&b->window);
	free(b->small);
	if (b->src)
		b->src->free(b->src);
	free(b);
}

static int add_part(struct content_build *b, const struct part *p)
{
	if (b->count == b->cap) {
		size_t cap;
		struct part *q;

		if (b->first > 0) {
			memmove(b->parts, b->parts + b->first, (b->count - b->first) * sizeof(*p));
			b->count -= b->first;
			b->first = 0;
		}
		cap = MAX(2 * b->count, (size_t)1);
		q = reallocarray(b->parts, cap, sizeof(*q));
		if (!q)
			return -ENOMEM;
		b->parts = q;
		b->cap = cap;
	}
	b->parts[b->count++] = *p;
	return 0;
}

static int open_edit(struct content_build *b)
{
	const struct content *base;
	struct tree_root root;

	if (b->edit)
		return 0;
	base = runs_settle_base(&b->runs);
	if (base)
		root = content_root(base);
	return tree_edit_new(TREE_EXTENTS, &b->source.base, packer_sink(b->o.packer),
			     base ? &root : NULL, &b->edit);
}

static int feed_kept(struct content_build *b, const struct part *p)
{
	int r = 0;

	if (p->kept_off > b->edit_pos)
		r = extents_edit_skip(b->edit, p->kept_off - b->edit_pos);
	if (r == 0)
		r = extents_edit_keep(b->edit, p->len);
	b->edit_pos = p->kept_off + p->len;
	return r;
}

/* The part is placed: it goes into the tree, unless it is all there is. */
static int feed(struct content_build *b, struct part *p)
{
	struct extent_rec x = p->extent;
	int r;

	if (p->kind == PART_CHUNK) {
		const struct batch_chunk *c = &p->batch->chunks[p->index];

		b->last_id = c->id;
		b->last_loc = c->loc;
		x = (struct extent_rec){ .len = c->len, .id = c->id, .loc = c->loc };
		if (b->src && b->src->stored)
			b->src->stored(b->src, p->off, c);
		packer_batch_unref(b->o.packer, TAKE_PTR(p->batch));
	}
	if (p->len == b->size && b->chunks == 1)
		return 0;
	r = open_edit(b);
	if (r < 0)
		return r;
	return p->kind == PART_KEPT ? feed_kept(b, p) : extents_edit_put(b->edit, &x);
}

/* Feeds parts from the front as far as they are placed, or with @wait to the end. */
static int feed_parts(struct content_build *b, bool wait)
{
	while (b->first < b->count) {
		struct part *p = &b->parts[b->first];
		int r = 0;

		if (p->kind == PART_CHUNK && wait)
			r = packer_wait(b->o.packer, p->batch);
		else if (p->kind == PART_CHUNK && !packer_is_placed(b->o.packer, p->batch))
			return 0;
		if (r == 0)
			r = feed(b, p);
		if (r < 0)
			return r;
		b->first++;
	}
	return 0;
}

int content_add_chunk(const struct content_options *o, struct span bytes, struct batch **ret_batch,
		      uint32_t *ret_index)
{
	uint32_t len = (uint32_t)bytes.len;
	struct batch *own = NULL, **batch = o->open;
	uint8_t *to;
	int r = 0;

	if (len >= FRAME_TARGET)
		batch = &own;
	else if (*batch && !batch_has_room(*batch, len)) {
		r = packer_submit(o->packer, *batch);
		packer_batch_unref(o->packer, TAKE_PTR(*batch));
	}
	if (r == 0 && !*batch)
		r = packer_batch(o->packer, batch);
	if (r < 0)
		return r;
	to = batch_add(*batch, len);
	if (!to) {
		packer_batch_unref(o->packer, own);
		return -ENOMEM;
	}
	memcpy(to, bytes.data, len);
	*ret_index = (*batch)->count - 1;
	*ret_batch = batch_ref(*batch);
	if (own) {
		r = packer_submit(o->packer, own);
		packer_batch_unref(o->packer, own);
		if (r < 0)
			packer_batch_unref(o->packer, *ret_batch);
	}
	return r;
}

static int add_chunk(struct content_build *b, uint64_t off, struct span bytes)
{
	struct part p = { .kind = PART_CHUNK, .off = off, .len = bytes.len };
	int r = content_add_chunk(&b->o, bytes, &p.batch, &p.index);

	if (r < 0)
		return r;
	b->chunks++;
	r = add_part(b, &p);
	if (r < 0) {
		packer_batch_unref(b->o.packer, p.batch);
		return r;
	}
	return feed_parts(b, false);
}

static int add_hole(struct content_build *b, uint64_t off, uint64_t len)
{
	struct part p = { .kind = PART_STORED, .off = off, .len = len };

	p.extent = (struct extent_rec){ .is_hole = true, .len = len };
	b->has_hole = true;
	return add_part(b, &p);
}

/* What is stored stays: a stretch of the edited tree, or another tree's extent. */
static int keep_run(struct content_build *b, uint64_t off, const struct run *run)
{
	struct part p = { .kind = PART_STORED, .off = off, .len = run->len };
	struct part *last = b->count > b->first ? &b->parts[b->count - 1] : NULL;

	b->chunks++;
	b->last_id = run->id;
	b->last_loc = run->loc;
	if (!run->is_base) {
		p.extent = (struct extent_rec){ .len = run->len, .id = run->id, .loc = run->loc };
		return add_part(b, &p);
	}
	p.kind = PART_KEPT;
	p.kept_off = run->content_off;
	if (last && last->kind == PART_KEPT && last->kept_off + last->len == p.kept_off) {
		last->len += p.len;
		return 0;
	}
	return add_part(b, &p);
}

/* Reads the next @len bytes of the file to the window's end. */
static int read_window(struct content_build *b, uint64_t len)
{
	uint8_t *to = buf_extend(&b->window, (size_t)len);
	uint64_t off = b->window_off + b->window.len - len;
	int r;

	if (!to)
		return -ENOMEM;
	r = b->src->read(b->src, off, (size_t)len, to);
	if (r < 0)
		b->window.len -= (size_t)len;
	return r;
}

/* Cuts one chunk that begins at @off, where data is; its bytes are left at the window's start.
 * Returns its length. */
static int64_t cut_chunk(struct content_build *b, uint64_t off)
{
	struct chunker chunker;
	size_t done = 0;
	bool is_cut = false;

	if (b->window_off != off) {
		buf_clear(&b->window);
		b->window_off = off;
	}
	chunker_init(&chunker, &b->o.params);
	while (!is_cut) {
		uint64_t more = 0;
		int r = 0;

		if (done == b->window.len) {
			r = runs_data(&b->runs, off + done, READ_STEP, &more);
			if (r == 0 && more == 0)
				break;
			if (r == 0)
				r = read_window(b, more);
		}
		if (r < 0)
			return r;
		done += chunker_scan(&chunker, b->window.data + done, b->window.len - done,
				     &is_cut);
	}
	return (int64_t)done;
}

/* The chunk at the window's start is dealt with. */
static void consume_window(struct content_build *b, size_t n)
{
	memmove(b->window.data, b->window.data + n, b->window.len - n);
	b->window.len -= n;
	b->window_off += n;
}

/* A small file without holes is one chunk, whatever it is made of. */
static int build_small(struct content_build *b)
{
	int r;

	if (b->size == 0)
		return 0;
	r = read_window(b, b->size);
	if (r == 0 && b->size <= INLINE_MAX) {
		b->small = malloc(b->size);
		if (!b->small)
			return -ENOMEM;
		memcpy(b->small, b->window.data, b->size);
	}
	return r < 0 ? r : add_chunk(b, 0, buf_span(&b->window));
}

static int build_runs(struct content_build *b)
{
	uint64_t off = 0;

	while (off < b->size) {
		struct run run;
		int64_t n;
		int r;

		r = runs_at(&b->runs, off, &run);
		if (r < 0)
			return r;
		if (run.kind == RUN_HOLE) {
			r = add_hole(b, off, run.len);
			off += run.len;
		} else if (run.kind == RUN_STORED) {
			r = keep_run(b, off, &run);
			off += run.len;
		} else {
			n = cut_chunk(b, off);
			if (n < 0)
				return (int)n;
			r = add_chunk(b, off, span_of(b->window.data, (size_t)n));
			consume_window(b, (size_t)n);
			off += (uint64_t)n;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_source(struct content_build *b)
{
	uint64_t data = 0;
	int r = runs_whole(&b->runs, &b->whole);

	if (r != 0) {
		b->is_whole = r > 0;
		return MIN(r, 0);
	}
	if (b->size > CHUNK_WHOLE_MAX)
		return build_runs(b);
	r = runs_data(&b->runs, 0, b->size, &data);
	if (r < 0)
		return r;
	return data == b->size ? build_small(b) : build_runs(b);
}

int content_build_new(const struct content_options *o, struct content_source *src,
		      struct content_build **ret)
{
	_cleanup_(content_build_freep) struct content_build *b = new0(struct content_build, 1);
	int r;

	if (!b) {
		src->free(src);
		return -ENOMEM;
	}
	b->o = *o;
	b->src = src;
	b->size = src->size;
	b->source = reader_source(o->access->reader, o->access);
	runs_init(&b->runs, src, &b->source.base, &o->params);
	r = read_source(b);
	if (r < 0)
		return r;
	/* Many builds may wait for the workers: each keeps little. */
	buf_release(&b->window);
	runs_release(&b->runs);
	if (!src->stored) {
		src->free(src);
		b->src = NULL;
	}
	*ret = TAKE_PTR(b);
	return 0;
}

bool content_build_is_ready(struct content_build *b)
{
	return feed_parts(b, false) < 0 || b->first == b->count;
}

int content_build_finish(struct content_build *b, struct content *ret)
{
	uint64_t size = b->size;
	struct tree_root root;
	int r;

	if (b->is_whole) {
		*ret = b->whole;
		return 0;
	}
	r = feed_parts(b, true);
	if (r < 0)
		return r;
	if (size == 0) {
		*ret = (struct content){ .id = *oid_empty_chunk() };
		return 0;
	}
	if (b->chunks == 1 && !b->has_hole) {
		*ret = (struct content){
			.id = b->last_id,
			.size = size,
			.data = size,
			.loc = b->last_loc,
			.inlined = span_of(b->small, b->small ? size : 0),
		};
		return 0;
	}
	r = tree_edit_finish(b->edit, &root);
	if (r < 0)
		return r;
	*ret = (struct content){
		.kind = CONTENT_EXTENTS,
		.id = root.id,
		.size = size,
		.data = root.sum.data,
		.loc = root.loc,
	};
	return 0;
}

/* Bytes in memory. */
struct bytes_source {
	struct content_source base;
	uint8_t bytes[];
};

static int bytes_piece(struct content_source *s, uint64_t off, struct piece *ret)
{
	*ret = (struct piece){ .kind = PIECE_DATA, .len = s->size - off };
	return 0;
}

static int bytes_read(struct content_source *s, uint64_t off, size_t len, void *buf)
{
	memcpy(buf, container_of(s, struct bytes_source, base)->bytes + off, len);
	return 0;
}

static void bytes_free(struct content_source *s)
{
	free(container_of(s, struct bytes_source, base));
}

int content_of_bytes(struct span bytes, struct content_source **ret)
{
	struct bytes_source *b = malloc(sizeof(*b) + bytes.len);

	if (!b)
		return -ENOMEM;
	b->base = (struct content_source){
		.size = bytes.len, .piece = bytes_piece, .read = bytes_read, .free = bytes_free
	};
	memcpy(b->bytes, bytes.data, bytes.len);
	*ret = &b->base;
	return 0;
}
