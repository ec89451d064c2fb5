/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Frames, of object/load.h.
 *
 * A frame that is small, or of unknown length, is read with the windows it lies in; a large one
 * alone, in one go when its place says how long it is. What a place says of the length is no more
 * than advice: the frame's header has the last word.
 */
#include "object/load.h"

#include "base/thread.h"
#include "format/key.h"

enum {
	SMALL_FRAME = 192 << 10, /* up to here with its windows */
	CODECS_KEPT = 16,
	WINDOWS_MAX = 3, /* a small frame lies in */
};

#define FRAME_MAX (FRAME_HEADER_SIZE(FRAME_ITEMS_MAX) + FRAME_RAW_MAX)

struct loader {
	struct backend *backend;
	struct stretches *stretches;
	struct windows *windows;
	struct load_watch watch;
	pthread_mutex_t lock;
	struct codec *codecs[CODECS_KEPT]; /* guarded by lock: idle ones */
	unsigned codec_count; /* guarded by lock */
};

/* The bytes of a frame, on their way. */
struct taking {
	struct loader *loader;
	const struct loc *at;
	enum window_reach reach;
	bool at_once;
	const struct deadline *dl;
	struct window *windows[WINDOWS_MAX]; /* references */
	unsigned window_count;
	uint8_t *own; /* owned; NULL: the bytes lie in the first window */
	struct span bytes; /* what is here */
	bool has_end; /* the pack ends behind them */
};

struct load *load_ref(struct load *l)
{
	l->refs++;
	return l;
}

void load_unref(struct load *l)
{
	if (!l || --l->refs > 0)
		return;
	for (uint32_t i = 0; i < l->count; i++)
		node_unref(l->items[i].node);
	parcel_unref(l->parcel);
	free(l);
}

static bool is_item(const struct load_item *i, uint8_t kind, const struct oid *id)
{
	return i->kind == kind && oid_equal(&i->id, id);
}

const struct load_item *load_find(const struct load *l, uint8_t kind, const struct oid *id,
				  uint32_t at)
{
	if (at < l->count && is_item(&l->items[at], kind, id))
		return &l->items[at];
	for (uint32_t i = 0; i < l->count; i++)
		if (is_item(&l->items[i], kind, id))
			return &l->items[i];
	return NULL;
}

int loader_new(struct backend *backend, struct stretches *stretches, uint64_t window_bytes,
	       const struct load_watch *watch, struct loader **ret)
{
	struct loader *l = new0(struct loader, 1);
	int r;

	if (!l)
		return -ENOMEM;
	l->backend = backend;
	l->stretches = stretches;
	l->watch = *watch;
	r = windows_new(backend, window_bytes, watch, &l->windows);
	if (r < 0) {
		free(l);
		return r;
	}
	pthread_mutex_init(&l->lock, NULL);
	*ret = l;
	return 0;
}

void loader_free(struct loader *l)
{
	if (!l)
		return;
	for (unsigned i = 0; i < l->codec_count; i++)
		codec_free(l->codecs[i]);
	windows_free(l->windows);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static struct codec *codec_take(struct loader *l)
{
	struct codec *c = NULL;

	pthread_mutex_lock(&l->lock);
	if (l->codec_count > 0)
		c = l->codecs[--l->codec_count];
	pthread_mutex_unlock(&l->lock);
	if (!c && codec_new(1, &c) < 0)
		return NULL;
	return c;
}

static void codec_give(struct loader *l, struct codec *c)
{
	pthread_mutex_lock(&l->lock);
	if (l->codec_count < CODECS_KEPT) {
		l->codecs[l->codec_count++] = c;
		c = NULL;
	}
	pthread_mutex_unlock(&l->lock);
	codec_free(c);
}

static void taking_release(struct taking *t)
{
	for (unsigned i = 0; i < t->window_count; i++)
		window_unref(t->windows[i]);
	free(t->own);
}

/* The window that holds the pack's byte @off: the last one that was taken, or the next. */
static int next_window(struct taking *t, uint64_t off, struct span *ret)
{
	uint64_t number = off / WINDOW_SIZE, skip = off % WINDOW_SIZE;
	uint64_t nth = number - t->at->offset / WINDOW_SIZE;
	struct window *w;
	int r;

	if (nth < t->window_count) {
		w = t->windows[nth];
	} else {
		if (t->window_count == WINDOWS_MAX)
			return -EBADMSG;
		r = windows_get(t->loader->windows, &t->at->pack, number, t->reach, t->at_once,
				t->dl, &w);
		if (r < 0)
			return r;
		t->windows[t->window_count++] = w;
	}
	t->has_end = w->len < WINDOW_SIZE;
	*ret = skip < w->len ? span_of(w->bytes + skip, w->len - skip) : (struct span){ 0 };
	return 0;
}

/* Reads @len bytes of the pack at @off into @p; fewer at its end. */
static int read_exactly(struct taking *t, uint64_t off, size_t len, uint8_t *p, size_t *ret_len)
{
	struct backend *b = t->loader->backend;
	int r;

	if (t->at_once)
		return -EAGAIN;
	r = b->ops->get(b, pack_key(&t->at->pack).s, off, len, p, t->dl, ret_len);
	if (r < 0)
		return r;
	t->has_end = *ret_len < len;
	t->loader->watch.fetched(*ret_len, t->loader->watch.ctx);
	return 0;
}

/* Brings what is here to @want bytes. -EBADMSG: there are no more. */
static int extend(struct taking *t, size_t want)
{
	size_t have = t->bytes.len, got = 0;
	bool is_small = want <= SMALL_FRAME && t->window_count > 0;
	uint8_t *p;
	int r = 0;

	if (want > FRAME_MAX)
		return -EBADMSG;
	/* The last window may have more than was taken from it so far. */
	t->has_end = false;
	p = realloc(t->own, want);
	if (!p)
		return -ENOMEM;
	if (!t->own && have > 0)
		memcpy(p, t->bytes.data, have);
	t->own = p;
	t->bytes = span_of(p, have);
	while (r == 0 && is_small && have < want && !t->has_end) {
		struct span more;

		r = next_window(t, t->at->offset + have, &more);
		if (r == 0) {
			got = MIN(more.len, want - have);
			if (got > 0)
				memcpy(p + have, more.data, got);
			have += got;
		}
	}
	if (!is_small) {
		r = read_exactly(t, t->at->offset + have, want - have, p + have, &got);
		have += r == 0 ? got : 0;
	}
	if (r < 0)
		return r;
	t->bytes.len = have;
	return have == want ? 0 : -EBADMSG;
}

/* Gets the whole frame, and reads its header. */
static int take(struct taking *t, struct frame *ret)
{
	size_t need, advice = MIN((size_t)t->at->frame_len, FRAME_MAX);
	int r;

	if (advice > SMALL_FRAME) {
		r = extend(t, advice);
		if (r < 0 && r != -EBADMSG)
			return r;
	} else {
		r = next_window(t, t->at->offset, &t->bytes);
		if (r < 0)
			return r;
	}
	for (;;) {
		r = frame_header_read(t->bytes, ret, &need);
		if (r == 0 && t->bytes.len >= frame_len(ret))
			return 0;
		if (r == 0)
			need = frame_len(ret);
		else if (r != -ENODATA)
			return r;
		r = extend(t, need);
		if (r < 0)
			return r;
	}
}

static void verify(const struct frame_item *f, struct parcel *p, struct load_item *i)
{
	struct oid id;

	if (f->kind == OID_NODE) {
		node_parse(&f->id, i->bytes, &i->node);
		return;
	}
	id = oid_of(OID_CHUNK, i->bytes.data, i->bytes.len);
	if (oid_equal(&id, &f->id))
		i->blob = parcel_add(p, &id, i->bytes.data, (uint32_t)i->bytes.len);
}

/* The frame's items lie in @raw, which is in the parcel. */
static int take_apart(const struct frame *f, struct parcel *p, const uint8_t *raw,
		      struct load **ret)
{
	struct load *l = calloc(1, sizeof(*l) + f->count * sizeof(l->items[0]));

	if (!l)
		return -ENOMEM;
	l->refs = 1;
	l->parcel = parcel_ref(p);
	for (uint16_t i = 0; i < f->count; i++) {
		struct frame_item item;

		frame_item(f, i, &item, NULL);
		l->items[i] = (struct load_item){
			.kind = item.kind,
			.id = item.id,
			.bytes = span_of(raw, item.len),
		};
		raw += item.len;
		verify(&item, l->parcel, &l->items[i]);
		l->count++;
	}
	*ret = l;
	return 0;
}

/* The same for one that has @bytes to itself; those are taken. */
static int take_apart_alone(const struct frame *f, uint8_t *bytes, size_t size, const uint8_t *raw,
			    struct load **ret)
{
	struct stretch s = { .data = bytes, .size = size };
	_cleanup_(parcel_unrefp) struct parcel *p = parcel_new(&s, f->count);

	return p ? take_apart(f, p, raw, ret) : -ENOMEM;
}

/* Decoded or copied to memory of its own. */
static int unpack_copy(struct loader *l, const struct frame *f, struct span payload,
		       struct load **ret)
{
	uint8_t *raw = malloc(f->raw_len);
	struct codec *c;
	int r;

	if (!raw)
		return -ENOMEM;
	c = codec_take(l);
	r = c ? frame_decode(c, f, payload, raw) : -ENOMEM;
	if (c)
		codec_give(l, c);
	if (r < 0) {
		free(raw);
		return r;
	}
	return take_apart_alone(f, raw, f->raw_len, raw, ret);
}

static int unpack(struct taking *t, const struct frame *f, struct load **ret)
{
	struct span payload = span_of(t->bytes.data + f->header_len, f->stored_len);

	/* The header borrows the bytes too, so they may only move whole. */
	if (f->codec == CODEC_RAW && t->own && f->raw_len == f->stored_len) {
		t->own = NULL;
		return take_apart_alone(f, (uint8_t *)t->bytes.data, t->bytes.len, payload.data,
					ret);
	}
	return unpack_copy(t->loader, f, payload, ret);
}

static bool is_all_good(const struct load *l)
{
	for (uint32_t i = 0; i < l->count; i++)
		if (!l->items[i].node && !l->items[i].blob)
			return false;
	return true;
}

int loader_read(struct loader *l, const struct loc *at, bool is_node, bool at_once,
		const struct deadline *dl, struct load **ret)
{
	_cleanup_(taking_release) struct taking t = {
		.loader = l,
		.at = at,
		.reach = is_node ? REACH_AROUND : REACH_NEXT,
		.at_once = at_once,
		.dl = dl,
	};
	struct frame f;
	int r;

	r = take(&t, &f);
	if (r == 0)
		r = unpack(&t, &f, ret);
	/* Perhaps it was the reply that was damaged. */
	if (r == -EBADMSG || (r == 0 && !is_all_good(*ret)))
		for (unsigned i = 0; i < t.window_count; i++)
			window_distrust(t.windows[i]);
	return r;
}

int loader_unpack(struct loader *l, struct span bytes, struct load **ret)
{
	struct frame f;
	size_t need;

	if (frame_header_read(bytes, &f, &need) < 0 || frame_len(&f) != bytes.len)
		return -EBADMSG;
	return unpack_copy(l, &f, span_of(bytes.data + f.header_len, f.stored_len), ret);
}

/* A run of frames as it came. */
struct run {
	const struct loc *at; /* borrowed */
	unsigned n;
	struct stretch stretch; /* owned */
	struct span bytes; /* in it */
	/* of frames that could stay where they are: */
	uint64_t raw_bytes;
	uint32_t raw_items;
	struct parcel *parcel; /* a reference, with the stretch in it; NULL: they are copied */
};

static void run_release(struct run *run)
{
	stretch_release(&run->stretch);
	parcel_unref(run->parcel);
}

/* The bytes of a run's frame; none if they did not come. */
static struct span frame_of(const struct run *run, unsigned i)
{
	size_t off = run->at[i].offset - run->at[0].offset, len = run->at[i].frame_len;

	if (off > run->bytes.len || len > run->bytes.len - off)
		return (struct span){ 0 };
	return span_of(run->bytes.data + off, len);
}

/* Does the frame's content lie in it as it is? */
static bool is_raw(struct span bytes, struct frame *ret)
{
	size_t need;

	return frame_header_read(bytes, ret, &need) == 0 && frame_len(ret) == bytes.len &&
	       ret->codec == CODEC_RAW && ret->raw_len == ret->stored_len;
}

/* Frames stay where they were received if that is most of the memory: it goes as a whole. */
static int keep_raw(struct run *run)
{
	for (unsigned i = 0; i < run->n; i++) {
		struct frame f;

		if (!is_raw(frame_of(run, i), &f))
			continue;
		run->raw_bytes += f.raw_len;
		run->raw_items += f.count;
	}
	if (run->raw_bytes <= run->stretch.size / 2)
		return 0;
	run->parcel = parcel_new(&run->stretch, run->raw_items);
	return run->parcel ? 0 : -ENOMEM;
}

static int unpack_of(struct loader *l, const struct run *run, unsigned i, struct load **ret)
{
	struct span bytes = frame_of(run, i);
	struct frame f;

	if (run->parcel && is_raw(bytes, &f))
		return take_apart(&f, run->parcel, bytes.data + f.header_len, ret);
	return loader_unpack(l, bytes, ret);
}

static int receive(struct loader *l, struct run *run, const struct deadline *dl)
{
	const struct loc *first = &run->at[0], *last = &run->at[run->n - 1];
	size_t len = (size_t)(last->offset - first->offset) + last->frame_len, got;
	int r;

	r = stretch_get(l->stretches, len, &run->stretch);
	if (r == 0)
		r = l->backend->ops->get(l->backend, pack_key(&first->pack).s, first->offset, len,
					 run->stretch.data, dl, &got);
	if (r < 0)
		return r;
	run->bytes = span_of(run->stretch.data, got);
	l->watch.fetched(got, l->watch.ctx);
	return 0;
}

void loader_read_run(struct loader *l, const struct loc *at, unsigned n, const struct deadline *dl,
		     struct load **ret, int *results)
{
	_cleanup_(run_release) struct run run = { .at = at, .n = n };
	int r = receive(l, &run, dl);

	if (r == 0)
		r = keep_raw(&run);
	for (unsigned i = 0; i < n; i++)
		results[i] = r < 0 ? r : unpack_of(l, &run, i, &ret[i]);
}
