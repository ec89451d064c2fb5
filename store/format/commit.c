/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Commits as bytes (FORMAT.md, section 9).
 *
 * The rules stand once, in fields_are_valid(), and hold for what is written as for what is read,
 * so whatever commit_read() accepts, commit_write() gives back byte for byte (hints aside, which
 * may be written in more than one way).
 */
#include "format/commit.h"

#include "format/envelope.h"
#include "format/node.h"

#define COMMIT_MAGIC "pfsC"

enum {
	COMMIT_HINTS = 2, /* the root directory's, the links tree's */
	META_ENTRY_MIN = 1 + 4, /* the lengths of a key and a value of no bytes */
};

void commit_release(struct commit *c)
{
	free(c->meta);
	*c = (struct commit){ 0 };
}

bool commit_is_pin(const struct commit *c)
{
	for (uint16_t i = 0; i < c->meta_count; i++)
		if (span_equal(c->meta[i].key, span_str(META_PIN)))
			return true;
	return false;
}

static bool meta_is_valid(const struct commit *c)
{
	size_t size = 0;

	for (uint16_t i = 0; i < c->meta_count; i++) {
		const struct commit_meta *m = &c->meta[i];

		if (m->key.len > UINT8_MAX || m->value.len > COMMIT_META_MAX ||
		    (i > 0 && span_cmp(m[-1].key, m->key) >= 0))
			return false;
		size += META_ENTRY_MIN + m->key.len + m->value.len;
	}
	return size <= COMMIT_META_MAX;
}

static bool fields_are_valid(const struct commit *c)
{
	return c->generation > 0 && (c->parent_count > 0 || c->generation == 1) &&
	       c->parent_count <= COMMIT_PARENTS_MAX && c->root.type == FT_DIR &&
	       oid_is_null(&c->links.id) == (c->links.sum.items == 0) && stamp_is_valid(c->time) &&
	       c->author.len <= UINT8_MAX && c->machine.len <= UINT8_MAX &&
	       c->message.len <= COMMIT_MESSAGE_MAX && meta_is_valid(c);
}

static void canon_put(struct buf *b, const struct commit *c)
{
	buf_put(b, c->repo.b, sizeof(c->repo.b));
	buf_put_u64(b, c->generation);
	buf_put_u8(b, c->parent_count);
	for (uint8_t i = 0; i < c->parent_count; i++)
		buf_put_oid(b, &c->parents[i]);
	inode_put(b, &c->root);
	buf_put_oid(b, &c->links.id);
	buf_put_u64(b, c->links.sum.items);
	stamp_put(b, c->time);
	buf_put(b, c->nonce.b, sizeof(c->nonce.b));
	buf_put_str8(b, c->author);
	buf_put_str8(b, c->machine);
	buf_put_str32(b, c->message);
	buf_put_u16(b, c->meta_count);
	for (uint16_t i = 0; i < c->meta_count; i++) {
		buf_put_str8(b, c->meta[i].key);
		buf_put_str32(b, c->meta[i].value);
	}
}

static int hints_put(struct buf *b, const struct commit *c)
{
	const struct entry_hint hints[COMMIT_HINTS] = {
		{ .loc = c->root.dir.loc, .xattr_loc = c->root.xattrs.loc },
		{ .loc = c->links.loc, .xattr_loc = LOC_NOWHERE },
	};

	for (size_t i = 0; i < COMMIT_HINTS; i++)
		if (hints[i].loc.state == LOC_PENDING || hints[i].xattr_loc.state == LOC_PENDING)
			return -EINVAL;
	hint_put(b, hints, COMMIT_HINTS);
	return 0;
}

int commit_write(const struct commit *c, struct buf *ret, struct oid *ret_id)
{
	_cleanup_buf_ struct buf b = { 0 };
	size_t lens_at, canon_at, hint_at;
	struct oid id;
	int r;

	if (!fields_are_valid(c))
		return -EINVAL;
	envelope_head_put(&b, COMMIT_MAGIC);
	lens_at = b.len;
	buf_put_u32(&b, 0);
	buf_put_u32(&b, 0);
	canon_at = b.len;
	canon_put(&b, c);
	hint_at = b.len;
	r = hints_put(&b, c);
	if (r < 0)
		return r;
	if (buf_failed(&b))
		return -ENOMEM;
	buf_set_u32(&b, lens_at, (uint32_t)(hint_at - canon_at));
	buf_set_u32(&b, lens_at + sizeof(uint32_t), (uint32_t)(b.len - hint_at));
	id = oid_of(OID_COMMIT, b.data + canon_at, hint_at - canon_at);
	envelope_seal(&b);
	if (b.len > COMMIT_MAX)
		return -EINVAL;
	r = buf_take(&b, ret);
	if (r < 0)
		return r;
	*ret_id = id;
	return 0;
}

/* The two parts of an object whose checksum is right. */
static int parts_read(struct span object, struct span *ret_canon, struct span *ret_hint)
{
	struct span canon, hint;
	uint32_t canon_len, hint_len;
	struct cursor c;

	if (object.len > COMMIT_MAX || envelope_open(object, COMMIT_MAGIC, &c) < 0)
		return -EBADMSG;
	canon_len = rd_u32(&c);
	hint_len = rd_u32(&c);
	canon = rd_bytes(&c, canon_len);
	hint = rd_bytes(&c, hint_len);
	if (!cursor_at_end(&c))
		return -EBADMSG;
	*ret_canon = canon;
	*ret_hint = hint;
	return 0;
}

int commit_id_of(struct span object, struct oid *ret)
{
	struct span canon, hint;
	int r;

	r = parts_read(object, &canon, &hint);
	if (r < 0)
		return r;
	*ret = oid_of(OID_COMMIT, canon.data, canon.len);
	return 0;
}

static int meta_read(struct cursor *c, struct commit *k)
{
	uint16_t count = rd_u16(c);

	if (count > cursor_left(c) / META_ENTRY_MIN)
		return -EBADMSG;
	if (count == 0)
		return 0;
	k->meta = new0(struct commit_meta, count);
	if (!k->meta)
		return -ENOMEM;
	k->meta_count = count;
	for (uint16_t i = 0; i < count; i++) {
		k->meta[i].key = rd_str8(c, UINT8_MAX);
		k->meta[i].value = rd_str32(c, COMMIT_META_MAX);
	}
	return 0;
}

static int canon_read(struct span canon, struct commit *k)
{
	struct cursor c = cursor_of(canon);
	int r;

	k->repo = rd_id128(&c);
	k->generation = rd_u64(&c);
	k->parent_count = rd_u8(&c);
	if (k->parent_count > COMMIT_PARENTS_MAX)
		return -EBADMSG;
	for (uint8_t i = 0; i < k->parent_count; i++)
		k->parents[i] = rd_oid(&c);
	r = inode_read(&c, FT_DIR, &k->root);
	if (r < 0)
		return r;
	k->links.id = rd_oid(&c);
	k->links.sum.items = rd_u64(&c);
	k->time = stamp_read(&c);
	k->nonce = rd_id128(&c);
	k->author = rd_str8(&c, UINT8_MAX);
	k->machine = rd_str8(&c, UINT8_MAX);
	k->message = rd_str32(&c, COMMIT_MESSAGE_MAX);
	r = meta_read(&c, k);
	if (r < 0)
		return r;
	return cursor_at_end(&c) && fields_are_valid(k) ? 0 : -EBADMSG;
}

/* Hints that do not parse are none. */
static void hints_read(struct span raw, struct commit *k)
{
	struct entry_hint hints[COMMIT_HINTS];

	k->links.loc = LOC_NOWHERE;
	if (raw.len == 0 || hint_read(raw, hints, COMMIT_HINTS) < 0)
		return;
	inode_hint_set(&k->root, &hints[0]);
	k->links.loc = hints[1].loc;
}

int commit_read(struct span object, const struct oid *id, struct commit *ret)
{
	_cleanup_commit_ struct commit k = { 0 };
	struct span canon, hint;
	int r;

	r = parts_read(object, &canon, &hint);
	if (r < 0)
		return r;
	if (id) {
		struct oid is = oid_of(OID_COMMIT, canon.data, canon.len);

		if (!oid_equal(&is, id))
			return -EBADMSG;
	}
	r = canon_read(canon, &k);
	if (r < 0)
		return r;
	hints_read(hint, &k);
	*ret = k;
	k = (struct commit){ 0 };
	return 0;
}
