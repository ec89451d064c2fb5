/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a pack has besides its frames: header, footer, trailer (FORMAT.md, section 5).
 *
 * The trailer is read first and says how much must be fetched, before any checksum can be held
 * against it: it bounds the footer by the bytes that as many items take in frames.
 */
#include "format/pack.h"

#include "base/hash.h"
#include "format/envelope.h"

#define PACK_MAGIC    "pfsP"
#define TRAILER_MAGIC "pfsE"

void pack_header_put(struct buf *b, const struct id128 *name)
{
	envelope_head_put(b, PACK_MAGIC);
	buf_put(b, name->b, sizeof(name->b));
	buf_put_u64(b, 0);
}

int pack_header_check(struct span first, const struct id128 *name)
{
	struct cursor c = cursor_of(first);
	struct id128 said;

	if (envelope_head_read(&c, PACK_MAGIC) < 0)
		return -EBADMSG;
	said = rd_id128(&c);
	if (rd_u64(&c) != 0 || cursor_failed(&c) || !id128_equal(&said, name))
		return -EBADMSG;
	return 0;
}

bool pack_entry_is_valid(const struct pack_entry *e)
{
	return (e->kind == OID_CHUNK || e->kind == OID_NODE) && e->item < FRAME_ITEMS_MAX &&
	       e->offset >= PACK_HEADER_SIZE && e->frame_len > FRAME_HEADER_SIZE(e->item + 1) &&
	       (uint64_t)e->offset + e->frame_len <= PACK_FRAMES_MAX;
}

static int entry_cmp(const void *a, const void *b)
{
	const struct pack_entry *x = a, *y = b;
	int c = oid_cmp(&x->id, &y->id);

	if (c == 0)
		c = (x->offset > y->offset) - (x->offset < y->offset);
	if (c == 0)
		c = (x->item > y->item) - (x->item < y->item);
	return c;
}

static void entry_put(struct buf *b, const struct pack_entry *e)
{
	buf_put_oid(b, &e->id);
	buf_put_u32(b, e->offset);
	buf_put_u32(b, e->frame_len);
	buf_put_u16(b, e->item);
	buf_put_u8(b, e->kind);
	buf_put_u8(b, 0);
	buf_put_u32(b, e->len);
}

void pack_footer_put(struct buf *b, struct pack_entry *entries, size_t n, uint64_t footer_off,
		     const struct id128 *name)
{
	size_t start = b->len;
	uint32_t count = 0;

	if (n > 0)
		qsort(entries, n, sizeof(entries[0]), entry_cmp);
	for (size_t i = 0; i < n; i++) {
		if (i > 0 && oid_equal(&entries[i].id, &entries[i - 1].id))
			continue;
		entry_put(b, &entries[i]);
		count++;
	}
	buf_put_u64(b, footer_off);
	buf_put_u32(b, count);
	buf_put_u32(b, 0);
	buf_put(b, name->b, sizeof(name->b));
	if (!buf_failed(b))
		buf_put_u64(b, xxh64(b->data + start, b->len - start, 0));
	envelope_head_put(b, TRAILER_MAGIC);
}

int pack_trailer_read(struct span last, uint64_t pack_size, struct pack_trailer *ret)
{
	struct cursor c = cursor_of(last);
	struct pack_trailer t;
	uint32_t reserved;

	t.footer_off = rd_u64(&c);
	t.count = rd_u32(&c);
	reserved = rd_u32(&c);
	t.name = rd_id128(&c);
	rd_u64(&c); /* the checksum covers the footer too, which is not here yet */
	if (envelope_head_read(&c, TRAILER_MAGIC) < 0 || !cursor_at_end(&c) || reserved != 0)
		return -EBADMSG;
	if (t.footer_off < PACK_HEADER_SIZE || t.footer_off > PACK_FRAMES_MAX ||
	    t.count > (t.footer_off - PACK_HEADER_SIZE) / FRAME_ITEM_SIZE ||
	    t.footer_off + (uint64_t)t.count * PACK_ENTRY_SIZE + PACK_TRAILER_SIZE != pack_size)
		return -EBADMSG;
	*ret = t;
	return 0;
}

static uint8_t entry_read(struct span bytes, uint32_t i, struct pack_entry *ret)
{
	struct cursor c = cursor_of(bytes);
	uint8_t reserved;

	rd_bytes(&c, (size_t)i * PACK_ENTRY_SIZE);
	ret->id = rd_oid(&c);
	ret->offset = rd_u32(&c);
	ret->frame_len = rd_u32(&c);
	ret->item = rd_u16(&c);
	ret->kind = rd_u8(&c);
	reserved = rd_u8(&c);
	ret->len = rd_u32(&c);
	return reserved;
}

void pack_footer_entry(struct span bytes, uint32_t i, struct pack_entry *ret)
{
	entry_read(bytes, i, ret);
}

static bool entries_are_valid(struct span bytes, const struct pack_trailer *t)
{
	struct oid last;

	for (uint32_t i = 0; i < t->count; i++) {
		struct pack_entry e;

		if (entry_read(bytes, i, &e) != 0 || !pack_entry_is_valid(&e) || e.len == 0 ||
		    e.len > FRAME_RAW_MAX || e.offset + e.frame_len > t->footer_off ||
		    (i > 0 && oid_cmp(&last, &e.id) >= 0))
			return false;
		last = e.id;
	}
	return true;
}

int pack_footer_check(struct span bytes, const struct pack_trailer *t)
{
	size_t covered, entries = (size_t)t->count * PACK_ENTRY_SIZE;
	struct pack_trailer again;
	struct cursor c;

	if (bytes.len != entries + PACK_TRAILER_SIZE ||
	    pack_trailer_read(span_of(bytes.data + entries, PACK_TRAILER_SIZE),
			      t->footer_off + bytes.len, &again) < 0 ||
	    again.footer_off != t->footer_off || !id128_equal(&again.name, &t->name))
		return -EBADMSG;
	covered = bytes.len - ENVELOPE_HEAD_SIZE - ENVELOPE_CHECKSUM_SIZE;
	c = cursor_of(span_of(bytes.data + covered, ENVELOPE_CHECKSUM_SIZE));
	if (rd_u64(&c) != xxh64(bytes.data, covered, 0) || !entries_are_valid(bytes, t))
		return -EBADMSG;
	return 0;
}
