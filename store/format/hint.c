/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Hint parts (FORMAT.md, section 7.1): what travels beside entries and is not hashed. Nothing here
 * is to be trusted: it says where to look first, and the id says whether it was right.
 */
#include "format/hint.h"

#include "base/hash.h"
#include "format/node.h"

enum {
	HINT_VERSION = 1,
	HINT_LOC = 1,
	HINT_XATTR_LOC = 2,
	HINT_INLINE = 4,
	HINT_ALL = HINT_LOC | HINT_XATTR_LOC | HINT_INLINE,
	HINT_PACKS_MAX = UINT16_MAX,
};

/* Begins to read a hint part: what is left in the cursor are the entries' hints. */
static struct span packs_read(struct cursor *c)
{
	uint8_t version = rd_u8(c);
	uint8_t reserved = rd_u8(c);
	uint16_t packs = rd_u16(c);

	if (version != HINT_VERSION || reserved != 0)
		cursor_fail(c);
	return rd_bytes(c, packs * sizeof(struct id128));
}

static struct loc loc_read(struct cursor *c, struct span packs)
{
	size_t pack = rd_u16(c);
	struct loc l = { .state = LOC_AT };

	l.offset = rd_u32(c);
	l.frame_len = rd_u32(c);
	l.item = rd_u16(c);
	if (pack >= packs.len / sizeof(l.pack)) {
		cursor_fail(c);
		return LOC_NOWHERE;
	}
	memcpy(l.pack.b, packs.data + pack * sizeof(l.pack), sizeof(l.pack));
	return l;
}

void hint_entry_read(struct cursor *c, struct span packs, struct entry_hint *ret)
{
	uint8_t what = rd_u8(c);

	*ret = (struct entry_hint){ 0 };
	if (what & ~HINT_ALL)
		cursor_fail(c);
	if (what & HINT_LOC)
		ret->loc = loc_read(c, packs);
	if (what & HINT_XATTR_LOC)
		ret->xattr_loc = loc_read(c, packs);
	if (what & HINT_INLINE)
		ret->inlined = rd_str16(c, INLINE_MAX);
}

int hint_index(struct span raw, uint32_t n, uint32_t *ret_at, uint16_t *ret_packs)
{
	struct cursor c = cursor_of(raw);
	struct span packs = packs_read(&c);
	struct entry_hint h;

	for (uint32_t i = 0; i < n && !cursor_failed(&c); i++) {
		ret_at[i] = (uint32_t)(c.p - raw.data);
		hint_entry_read(&c, packs, &h);
	}
	if (!cursor_at_end(&c))
		return -EBADMSG;
	ret_at[n] = (uint32_t)raw.len;
	*ret_packs = (uint16_t)(packs.len / sizeof(struct id128));
	return 0;
}

int hint_read(struct span raw, struct entry_hint *ret, uint32_t n)
{
	struct cursor c = cursor_of(raw);
	struct span packs = packs_read(&c);

	for (uint32_t i = 0; i < n; i++)
		hint_entry_read(&c, packs, &ret[i]);
	return cursor_at_end(&c) ? 0 : -EBADMSG;
}

static bool travels_inline(const struct entry_hint *h)
{
	return h->inlined.len > 0 && h->inlined.len <= INLINE_MAX;
}

/*
 * The pack table while it is being made. It grows where it will stay, in the hint part; @slots is a
 * hash table of places in it, plus one. Packs mostly come in runs, so the last place is tried
 * first.
 */
struct pack_table {
	struct buf *b;
	size_t start;
	uint16_t count;
	uint16_t last;
	uint16_t *slots;
	size_t mask;
};

static const uint8_t *pack_at(const struct pack_table *t, uint16_t i)
{
	return t->b->data + t->start + i * sizeof(struct id128);
}

static bool pack_is_at(const struct pack_table *t, uint16_t i, const struct id128 *pack)
{
	return i < t->count && memcmp(pack_at(t, i), pack->b, sizeof(pack->b)) == 0;
}

/* Finds or adds @pack; false when the table is full or has found no memory. */
static bool pack_place(struct pack_table *t, const struct id128 *pack)
{
	size_t s;

	if (pack_is_at(t, t->last, pack))
		return true;
	for (s = hash_bytes(pack->b, sizeof(pack->b)) & t->mask; t->slots[s];
	     s = (s + 1) & t->mask) {
		t->last = (uint16_t)(t->slots[s] - 1);
		if (pack_is_at(t, t->last, pack))
			return true;
	}
	if (t->count == HINT_PACKS_MAX - 1)
		return false;
	buf_put(t->b, pack->b, sizeof(pack->b));
	if (buf_failed(t->b))
		return false;
	t->last = t->count++;
	t->slots[s] = t->count;
	return true;
}

/* Puts the packs of all hints into the table; the place of each loc's goes to @places. A loc for
 * which there is none is left out. Returns whether there is anything to say at all. */
static bool packs_put(struct pack_table *t, const struct entry_hint *hints, uint32_t n,
		      uint16_t *places)
{
	bool is_any = false;

	for (uint32_t i = 0; i < n; i++) {
		const struct loc *locs[] = { &hints[i].loc, &hints[i].xattr_loc };

		is_any |= travels_inline(&hints[i]);
		for (size_t k = 0; k < ARRAY_SIZE(locs); k++) {
			places[2 * i + k] = HINT_PACKS_MAX;
			if (locs[k]->state == LOC_AT && pack_place(t, &locs[k]->pack))
				places[2 * i + k] = t->last;
		}
	}
	return is_any || t->count > 0;
}

static void loc_put(struct buf *b, const struct loc *l, uint16_t place)
{
	if (place == HINT_PACKS_MAX)
		return;
	buf_put_u16(b, place);
	buf_put_u32(b, l->offset);
	buf_put_u32(b, l->frame_len);
	buf_put_u16(b, l->item);
}

static void hint_entry_put(struct buf *b, const struct entry_hint *h, const uint16_t places[2])
{
	bool is_inline = travels_inline(h);

	buf_put_u8(b, (places[0] != HINT_PACKS_MAX ? HINT_LOC : 0) |
			      (places[1] != HINT_PACKS_MAX ? HINT_XATTR_LOC : 0) |
			      (is_inline ? HINT_INLINE : 0));
	loc_put(b, &h->loc, places[0]);
	loc_put(b, &h->xattr_loc, places[1]);
	if (is_inline)
		buf_put_str16(b, h->inlined);
}

void hint_put(struct buf *b, const struct entry_hint *hints, uint32_t n)
{
	_cleanup_free_ uint16_t *slots = NULL, *places = NULL;
	struct pack_table t = { .b = b, .start = b->len + HINT_PACKS_AT, .mask = 4 };

	while (t.mask < 4 * (size_t)n)
		t.mask *= 2;
	slots = t.slots = new0(uint16_t, t.mask);
	places = malloc(2 * (n + (size_t)1) * sizeof(*places));
	buf_put_u32(b, 0);
	if (!slots || !places)
		b->failed = true;
	if (buf_failed(b))
		return;

	t.mask--;
	if (!packs_put(&t, hints, n, places)) {
		b->len = t.start - HINT_PACKS_AT;
		return;
	}
	buf_set_u32(b, t.start - HINT_PACKS_AT, HINT_VERSION | (uint32_t)t.count << 16);
	for (uint32_t i = 0; i < n; i++)
		hint_entry_put(b, &hints[i], &places[2 * i]);
}
