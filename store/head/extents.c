/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where a file's bytes lie: extents of the layers over the content of the base.
 *
 * A layer's extents of a file do not overlap. What shows at an offset is the newest layer's extent;
 * where that has none and the offset is below its lower_end, the next older one's; and below the
 * oldest's lower_end the content; all else is a hole.
 */
#include "head/overlay.h"

enum {
	FREED_FIRST = 8,
};

int freed_add(struct freed_list *l, struct stage_place place, uint64_t len, bool is_shared)
{
	if (l->count == l->cap) {
		size_t cap = MAX(2 * l->cap, (size_t)FREED_FIRST);
		struct freed *p = reallocarray(l->items, cap, sizeof(*p));

		if (!p)
			return -ENOMEM;
		l->items = p;
		l->cap = cap;
	}
	l->items[l->count++] = (struct freed){ place, len, is_shared };
	return 0;
}

void freed_end(struct freed_list *l, struct staging *s, bool was_applied)
{
	for (size_t i = 0; i < l->count; i++)
		if (l->items[i].is_shared != was_applied)
			staging_release(s, l->items[i].place, l->items[i].len);
	free(l->items);
	*l = (struct freed_list){ 0 };
}

static int read_found(struct span key, struct span value, struct extent *ret)
{
	return extent_rec_read(value, key_u64_at(key, KEY_AFTER_OBJECT), ret);
}

/* The last extent that begins at or before @off; -ENOENT. */
static int extent_before(struct head *h, uint32_t layer, uint64_t ino, uint64_t off,
			 struct extent *ret)
{
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 };
	struct record_key prefix = key_prefix_u64(layer, 'x', ino);
	struct record_key from = key_extent(layer, ino, off);
	int r;

	r = table_prev(h->heads->table, key_span(&prefix), key_span(&from), &key, &value);
	return r < 0 ? r : read_found(buf_span(&key), buf_span(&value), ret);
}

static int extent_from(struct head *h, uint32_t layer, uint64_t ino, uint64_t off,
		       struct extent *ret)
{
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 };
	struct record_key prefix = key_prefix_u64(layer, 'x', ino);
	struct record_key from = key_extent(layer, ino, off);
	int r;

	r = table_next(h->heads->table, key_span(&prefix), key_span(&from), &key, &value);
	return r < 0 ? r : read_found(buf_span(&key), buf_span(&value), ret);
}

int extent_at(struct head *h, uint32_t layer, uint64_t ino, uint64_t off, struct extent *ret)
{
	int r = extent_before(h, layer, ino, off, ret);

	if (r == 0 && off < ret->off + ret->len)
		return 0;
	if (r < 0 && r != -ENOENT)
		return r;
	return extent_from(h, layer, ino, off, ret);
}

/* What an extent has from @off on. */
static void shown_of_extent(const struct extent *x, uint64_t off, struct shown *ret)
{
	uint64_t skip = off - x->off;

	*ret = (struct shown){ .len = x->len - skip, .source = x->source };
	if (x->source == EXTENT_STAGED) {
		ret->place = (struct stage_place){ x->place.file, x->place.pos + skip };
	} else if (x->source == EXTENT_CONTENT) {
		ret->content = x->content;
		ret->content_off = x->content_off + skip;
	}
}

static void clip(struct shown *s, uint64_t len)
{
	s->len = MIN(s->len, len);
}

/* One layer's say: 1 with what it shows; 0: it shows what is below, for @ret->len. */
static int shown_in_layer(struct head *h, uint64_t ino, const struct file_rec *f, uint32_t layer,
			  uint64_t off, struct shown *ret)
{
	struct extent x;
	uint64_t next = UINT64_MAX;
	int r;

	if (f->has_extents) {
		r = extent_at(h, layer, ino, off, &x);
		if (r < 0 && r != -ENOENT)
			return r;
		if (r == 0 && x.off <= off) {
			shown_of_extent(&x, off, ret);
			return 1;
		}
		if (r == 0)
			next = x.off;
	}
	*ret = (struct shown){ .source = EXTENT_HOLE, .len = next - off };
	if (off >= f->lower_end)
		return 1;
	clip(ret, f->lower_end - off);
	return 0;
}

/* Where among @layers a file's next older record is: 1, 0 (none), -errno. */
static int older(struct head *h, const struct layers *layers, uint64_t ino, unsigned *at,
		 struct file *ret)
{
	struct layers rest = { .count = layers->count - *at };
	int r;

	memcpy(rest.id, layers->id + *at, rest.count * sizeof(rest.id[0]));
	file_release(ret);
	r = load_from(h, &rest, ino, ret);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	while (*at < layers->count && layers->id[(*at)++] != ret->layer)
		;
	return 1;
}

int extents_shown(struct head *h, const struct layers *layers, uint64_t ino, const struct file *f,
		  uint64_t off, struct shown *ret)
{
	_cleanup_file_ struct file lower = { 0 };
	const struct content *c = &f->rec.inode.content;
	const struct file *at = f;
	uint64_t len = f->rec.size - off;
	unsigned next = 0;
	int r = 0;

	while (f->layer && next < layers->count && layers->id[next++] != f->layer)
		;
	while (at->layer) {
		r = shown_in_layer(h, ino, &at->rec, at->layer, off, ret);
		if (r < 0)
			return r;
		clip(ret, len);
		if (r > 0)
			return 0;
		len = ret->len;
		r = older(h, layers, ino, &next, &lower);
		if (r <= 0)
			break;
		at = &lower;
	}
	if (r < 0)
		return r;
	*ret = (struct shown){ .source = EXTENT_HOLE, .len = len };
	if (off < c->size) {
		ret->source = EXTENT_CONTENT;
		ret->is_base = true;
		ret->content = *c;
		ret->content_off = off;
		clip(ret, c->size - off);
	}
	return 0;
}

int view_shown(struct view *v, uint64_t ino, const struct file *f, uint64_t off, struct shown *ret)
{
	struct layers l = { 0 };

	if (v->is_head)
		l = head_layers(head_of(v));
	return extents_shown(v->is_head ? head_of(v) : NULL, &l, ino, f, off, ret);
}

static void put_extent(struct change *c, uint64_t ino, const struct extent *x)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct record_key k = key_extent(c->layer, ino, x->off);

	extent_rec_put(&b, x);
	table_batch_put(&c->batch, key_span(&k), buf_span(&b));
	c->batch.bytes.failed |= buf_failed(&b);
}

/* The part of @x in [@from, @to). */
static struct extent part(const struct extent *x, uint64_t from, uint64_t to)
{
	struct extent p = *x;

	p.off = from;
	p.len = to - from;
	p.place.pos += from - x->off;
	p.content_off += from - x->off;
	return p;
}

/*
 * What a change gives back of the staged bytes of @x when [@from, @to) is taken out of it.
 * @rewritten: an own file in which the bytes of that range have just been written anew, in their
 * old place.
 */
static int give_back(struct staging *st, const struct extent *x, uint64_t from, uint64_t to,
		     uint32_t rewritten, struct freed_list *freed)
{
	uint64_t end = x->off + x->len;
	struct extent left = part(x, x->off, from), gone = part(x, from, to),
		      right = part(x, to, end);
	int r;

	if (!staging_is_slab(st, x->place.file))
		return x->place.file == rewritten ? 0
						  : freed_add(freed, gone.place, gone.len, false);
	/* The parts hold their blocks before the whole gives them back. */
	r = freed_add(freed, x->place, x->len, false);
	if (r == 0 && left.len > 0 && (r = freed_add(freed, left.place, left.len, true)) == 0)
		staging_share(st, left.place, left.len);
	if (r == 0 && right.len > 0 && (r = freed_add(freed, right.place, right.len, true)) == 0)
		staging_share(st, right.place, right.len);
	return r;
}

/* Takes a range out of one extent that it touches; what is left goes into the change. */
static int carve_one(struct change *c, uint64_t ino, const struct extent *x, uint64_t from,
		     uint64_t to, uint32_t rewritten, struct freed_list *freed)
{
	struct record_key k = key_extent(c->layer, ino, x->off);
	uint64_t end = x->off + x->len;
	struct extent left = part(x, x->off, from), right = part(x, to, end);

	if (left.len > 0)
		put_extent(c, ino, &left);
	else
		table_batch_delete(&c->batch, key_span(&k));
	if (right.len > 0)
		put_extent(c, ino, &right);
	return x->source == EXTENT_STAGED
		       ? give_back(c->head->heads->staging, x, from, to, rewritten, freed)
		       : 0;
}

static int carve(struct change *c, uint64_t ino, uint64_t off, uint64_t len, uint32_t rewritten,
		 struct freed_list *freed)
{
	uint64_t end = off + len;
	struct extent x;
	uint64_t at = off;
	int r;

	while (at < end) {
		r = extent_at(c->head, c->layer, ino, at, &x);
		if (r == -ENOENT || (r == 0 && x.off >= end))
			return 0;
		if (r < 0)
			return r;
		r = carve_one(c, ino, &x, MAX(x.off, off), MIN(x.off + x.len, end), rewritten,
			      freed);
		if (r < 0)
			return r;
		at = x.off + x.len;
	}
	return 0;
}

int extents_carve(struct change *c, uint64_t ino, uint64_t off, uint64_t len,
		  struct freed_list *freed)
{
	return carve(c, ino, off, len, 0, freed);
}

/* Does @x go on where @before ends (or within it), in what it refers to as in the file? */
static bool continues(const struct extent *before, const struct extent *x)
{
	uint64_t skip = x->off - before->off;

	if (before->source != x->source || before->off + before->len < x->off)
		return false;
	switch (x->source) {
	case EXTENT_STAGED:
		return before->place.file == x->place.file &&
		       before->place.pos + skip == x->place.pos;
	case EXTENT_CONTENT:
		return oid_equal(&before->content.id, &x->content.id) &&
		       before->content_off + skip == x->content_off;
	default:
		return true;
	}
}

int extents_set(struct change *c, uint64_t ino, const struct extent *x, unsigned count,
		struct freed_list *freed)
{
	uint64_t from = x[0].off, end = x[count - 1].off + x[count - 1].len;
	struct extent first = x[0], before;
	int r;

	r = extent_before(c->head, c->layer, ino, from, &before);
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0 && continues(&before, &first)) {
		from = before.off + before.len;
		if (end <= from)
			return 0;
		before.len = MAX(from, first.off + first.len) - before.off;
		first = before;
	}
	/* In one go: the change's own puts are not seen by its look-ups. */
	r = carve(c, ino, from, end - from, x->source == EXTENT_STAGED ? x->place.file : 0, freed);
	if (r < 0)
		return r;
	put_extent(c, ino, &first);
	for (unsigned i = 1; i < count; i++)
		put_extent(c, ino, &x[i]);
	return 0;
}
