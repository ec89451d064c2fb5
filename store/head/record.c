/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Keys and values of head/record.h.
 */
#include "head/record.h"

#include "base/cursor.h"

enum {
	FILE_HAS_LINK = 1,
	FILE_HAS_EXTENTS = 2,
	FILE_XATTR_STAGED = 4,
	LOC_WIRE_AT = 1,
};

static void key_raw(struct record_key *k, const void *p, size_t n)
{
	memcpy(k->b + k->len, p, n);
	k->len += n;
}

static void key_u32(struct record_key *k, uint32_t v)
{
	v = htobe32(v);
	key_raw(k, &v, sizeof(v));
}

static void key_u64(struct record_key *k, uint64_t v)
{
	v = htobe64(v);
	key_raw(k, &v, sizeof(v));
}

static void key_letter(struct record_key *k, char c)
{
	k->b[k->len++] = (uint8_t)c;
}

struct record_key key_prefix(uint32_t layer, char letter)
{
	struct record_key k = { .len = 0 };

	key_u32(&k, layer);
	key_letter(&k, letter);
	return k;
}

struct record_key key_prefix_u64(uint32_t layer, char letter, uint64_t object)
{
	struct record_key k = key_prefix(layer, letter);

	key_u64(&k, object);
	return k;
}

struct record_key key_prefix_head(char letter, uint32_t head)
{
	struct record_key k = key_prefix(0, letter);

	key_u32(&k, head);
	return k;
}

struct record_key key_inode(uint32_t layer, uint64_t ino)
{
	return key_prefix_u64(layer, 'i', ino);
}

struct record_key key_entry(uint32_t layer, uint64_t dir, struct span name)
{
	struct record_key k = key_prefix_u64(layer, 'e', dir);

	key_raw(&k, name.data, MIN(name.len, (size_t)FILE_NAME_MAX));
	return k;
}

struct record_key key_order(uint32_t layer, uint64_t dir, uint64_t age)
{
	struct record_key k = key_prefix_u64(layer, 'o', dir);

	key_u64(&k, age);
	return k;
}

struct record_key key_extent(uint32_t layer, uint64_t ino, uint64_t off)
{
	struct record_key k = key_prefix_u64(layer, 'x', ino);

	key_u64(&k, off);
	return k;
}

struct record_key key_link(uint32_t layer, const struct id128 *link)
{
	struct record_key k = key_prefix(layer, 'l');

	key_raw(&k, link->b, sizeof(link->b));
	return k;
}

struct record_key key_xattrs(uint32_t layer, uint64_t ino)
{
	return key_prefix_u64(layer, 'a', ino);
}

struct record_key key_counters(void)
{
	return key_prefix(0, 'c');
}

struct record_key key_head(uint32_t head)
{
	return key_prefix_head('h', head);
}

struct record_key key_exception(uint32_t head, uint64_t dir, struct span name)
{
	struct record_key k = key_prefix_head('n', head);

	key_u64(&k, dir);
	key_raw(&k, name.data, MIN(name.len, (size_t)FILE_NAME_MAX));
	return k;
}

struct record_key key_taken(uint32_t head, uint64_t ino)
{
	struct record_key k = key_prefix_head('N', head);

	key_u64(&k, ino);
	return k;
}

struct record_key key_link_exception(uint32_t head, const struct id128 *link)
{
	struct record_key k = key_prefix_head('L', head);

	key_raw(&k, link->b, sizeof(link->b));
	return k;
}

struct record_key key_orphan(uint32_t head, uint64_t ino)
{
	struct record_key k = key_prefix_head('z', head);

	key_u64(&k, ino);
	return k;
}

struct record_key key_pending(uint32_t head)
{
	return key_prefix_head('p', head);
}

uint64_t key_u64_at(struct span key, size_t at)
{
	uint64_t v = 0;

	if (key.len >= at + sizeof(v))
		memcpy(&v, key.data + at, sizeof(v));
	return be64toh(v);
}

struct span key_rest(struct span key, size_t at)
{
	return at <= key.len ? span_of(key.data + at, key.len - at) : span_of(key.data, 0);
}

static void loc_put(struct buf *b, const struct loc *l)
{
	buf_put_u8(b, l->state == LOC_AT ? LOC_WIRE_AT : 0);
	if (l->state != LOC_AT)
		return;
	buf_put(b, l->pack.b, sizeof(l->pack.b));
	buf_put_u32(b, l->offset);
	buf_put_u32(b, l->frame_len);
	buf_put_u16(b, l->item);
}

static struct loc loc_read(struct cursor *c)
{
	struct loc l = LOC_NOWHERE;

	if (rd_u8(c) != LOC_WIRE_AT)
		return l;
	l.state = LOC_AT;
	l.pack = rd_id128(c);
	l.offset = rd_u32(c);
	l.frame_len = rd_u32(c);
	l.item = rd_u16(c);
	return l;
}

void file_rec_put(struct buf *b, const struct file_rec *f)
{
	struct entry_hint h = inode_hint_get(&f->inode);

	buf_put_u8(b, f->inode.type);
	buf_put_u8(b, (f->has_link ? FILE_HAS_LINK : 0) | (f->has_extents ? FILE_HAS_EXTENTS : 0) |
			      (f->is_xattr_staged ? FILE_XATTR_STAGED : 0));
	inode_put(b, &f->inode);
	loc_put(b, &h.loc);
	loc_put(b, &h.xattr_loc);
	buf_put_str16(b, h.inlined);
	buf_put_u64(b, f->size);
	buf_put_u64(b, f->lower_end);
	buf_put_u64(b, f->data);
	buf_put_u32(b, f->nlink);
	buf_put_u64(b, f->items);
	buf_put_u64(b, f->parent);
	buf_put_str8(b, f->name);
	if (f->has_link)
		buf_put(b, f->link.b, sizeof(f->link.b));
	buf_put_u32(b, f->own_file);
}

int file_rec_read(struct span raw, struct file_rec *ret)
{
	struct cursor c = cursor_of(raw);
	struct file_rec f = { 0 };
	struct entry_hint h = { 0 };
	uint8_t type, flags;
	int r;

	type = rd_u8(&c);
	flags = rd_u8(&c);
	r = inode_read(&c, type, &f.inode);
	if (r < 0)
		return r;
	h.loc = loc_read(&c);
	h.xattr_loc = loc_read(&c);
	h.inlined = rd_str16(&c, SYMLINK_MAX);
	inode_hint_set(&f.inode, &h);
	f.size = rd_u64(&c);
	f.lower_end = rd_u64(&c);
	f.data = rd_u64(&c);
	f.nlink = rd_u32(&c);
	f.items = rd_u64(&c);
	f.parent = rd_u64(&c);
	f.name = rd_str8(&c, FILE_NAME_MAX);
	f.has_link = flags & FILE_HAS_LINK;
	if (f.has_link)
		f.link = rd_id128(&c);
	f.own_file = rd_u32(&c);
	f.has_extents = flags & FILE_HAS_EXTENTS;
	f.is_xattr_staged = flags & FILE_XATTR_STAGED;
	if (!cursor_at_end(&c))
		return -EBADMSG;
	*ret = f;
	return 0;
}

void entry_rec_put(struct buf *b, const struct entry_rec *e)
{
	buf_put_u64(b, e->ino);
	buf_put_u8(b, e->type);
	buf_put_u64(b, e->age);
}

int entry_rec_read(struct span raw, struct entry_rec *ret)
{
	struct cursor c = cursor_of(raw);
	struct entry_rec e;

	e.ino = rd_u64(&c);
	e.type = rd_u8(&c);
	e.age = rd_u64(&c);
	if (!cursor_at_end(&c) || (e.ino && (e.type < FT_REG || e.type > FT_SOCK)))
		return -EBADMSG;
	*ret = e;
	return 0;
}

void extent_rec_put(struct buf *b, const struct extent *x)
{
	buf_put_u64(b, x->len);
	buf_put_u8(b, x->source);
	if (x->source == EXTENT_STAGED) {
		buf_put_u32(b, x->place.file);
		buf_put_u64(b, x->place.pos);
	} else if (x->source == EXTENT_CONTENT) {
		buf_put_oid(b, &x->content.id);
		buf_put_u64(b, x->content.size);
		buf_put_u64(b, x->content.data);
		buf_put_u8(b, x->content.kind);
		loc_put(b, &x->content.loc);
		buf_put_u64(b, x->content_off);
	}
}

int extent_rec_read(struct span raw, uint64_t off, struct extent *ret)
{
	struct cursor c = cursor_of(raw);
	struct extent x = { .off = off };
	uint64_t end;

	x.len = rd_u64(&c);
	x.source = rd_u8(&c);
	switch (x.source) {
	case EXTENT_STAGED:
		x.place.file = rd_u32(&c);
		x.place.pos = rd_u64(&c);
		break;
	case EXTENT_HOLE:
		break;
	case EXTENT_CONTENT:
		x.content.id = rd_oid(&c);
		x.content.size = rd_u64(&c);
		x.content.data = rd_u64(&c);
		x.content.kind = rd_u8(&c);
		x.content.loc = loc_read(&c);
		x.content_off = rd_u64(&c);
		if (__builtin_add_overflow(x.content_off, x.len, &end) || end > x.content.size)
			return -EBADMSG;
		break;
	default:
		return -EBADMSG;
	}
	if (!cursor_at_end(&c) || x.len == 0 || __builtin_add_overflow(off, x.len, &end))
		return -EBADMSG;
	*ret = x;
	return 0;
}

void head_rec_put(struct buf *b, const struct head_rec *h)
{
	buf_put(b, h->repo.b, sizeof(h->repo.b));
	buf_put(b, h->branch.b, sizeof(h->branch.b));
	buf_put_str8(b, h->repo_name);
	buf_put_str8(b, h->branch_name);
	buf_put_oid(b, &h->base);
	buf_put_str32(b, h->base_object);
	buf_put_u32(b, h->top);
	buf_put_u8(b, h->frozen_count);
	for (unsigned i = 0; i < h->frozen_count; i++)
		buf_put_u32(b, h->frozen[i]);
	buf_put_u64(b, h->ages);
	buf_put_oid(b, &h->committed);
	buf_put_u8(b, h->is_private);
	if (!h->is_private)
		return;
	buf_put(b, h->numbers.b, sizeof(h->numbers.b));
	buf_put_str8(b, h->label);
}

int head_rec_read(struct span raw, struct head_rec *ret)
{
	struct cursor c = cursor_of(raw);
	struct head_rec h = { 0 };

	h.repo = rd_id128(&c);
	h.branch = rd_id128(&c);
	h.repo_name = rd_str8(&c, OBJECT_NAME_MAX);
	h.branch_name = rd_str8(&c, OBJECT_NAME_MAX);
	h.base = rd_oid(&c);
	h.base_object = rd_str32(&c, REF_COMMIT_MAX);
	h.top = rd_u32(&c);
	h.frozen_count = rd_u8(&c);
	if (h.frozen_count > RECORD_FROZEN_MAX)
		return -EBADMSG;
	for (unsigned i = 0; i < h.frozen_count; i++)
		h.frozen[i] = rd_u32(&c);
	h.ages = rd_u64(&c);
	h.committed = h.base;
	/* Before there were pins a record ended here. */
	if (!cursor_at_end(&c)) {
		h.committed = rd_oid(&c);
		h.is_private = rd_u8(&c) != 0;
	}
	h.numbers = h.branch;
	if (h.is_private) {
		h.numbers = rd_id128(&c);
		h.label = rd_str8(&c, HEAD_LABEL_MAX);
	}
	if (!cursor_at_end(&c))
		return -EBADMSG;
	*ret = h;
	return 0;
}

void counters_rec_put(struct buf *b, const struct counters_rec *n)
{
	buf_put_u32(b, n->next_layer);
	buf_put_u32(b, n->next_head);
	buf_put_u32(b, n->files_end);
}

int counters_rec_read(struct span raw, struct counters_rec *ret)
{
	struct cursor c = cursor_of(raw);
	struct counters_rec n;

	n.next_layer = rd_u32(&c);
	n.next_head = rd_u32(&c);
	n.files_end = rd_u32(&c);
	if (!cursor_at_end(&c) || n.next_layer == 0 || n.next_head == 0)
		return -EBADMSG;
	*ret = n;
	return 0;
}

void pending_rec_put(struct buf *b, const struct pending_rec *p)
{
	buf_put_u8(b, p->state);
	buf_put_oid(b, &p->commit);
	buf_put_oid(b, &p->fork);
	buf_put_str8(b, p->name);
	buf_put_u8(b, p->is_old);
}

int pending_rec_read(struct span raw, struct pending_rec *ret)
{
	struct cursor c = cursor_of(raw);
	struct pending_rec p = { .state = rd_u8(&c) };

	p.commit = rd_oid(&c);
	p.fork = rd_oid(&c);
	p.name = rd_str8(&c, OBJECT_NAME_MAX);
	p.is_old = rd_u8(&c) != 0;
	if (!cursor_at_end(&c) || p.state < PENDING_STORED || p.state > PENDING_JOINED ||
	    oid_is_null(&p.commit))
		return -EBADMSG;
	*ret = p;
	return 0;
}
