/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Branches and names as bytes (FORMAT.md, section 10.2).
 *
 * The rules stand once, in fields_are_valid(), for both directions, and padding is as long as it
 * must be and no longer, so an object has one form: what ref_read() accepts ref_write() gives back.
 */
#include "format/ref.h"

#include "format/envelope.h"
#include "format/name.h"

#define REF_MAGIC "pfsR"

void ref_release(struct ref *r)
{
	buf_release(&r->commit);
	*r = (struct ref){ 0 };
}

int ref_copy(const struct ref *r, struct ref *ret)
{
	struct ref copy = *r;

	copy.commit = (struct buf){ 0 };
	buf_put(&copy.commit, r->commit.data, r->commit.len);
	if (buf_failed(&copy.commit)) {
		buf_release(&copy.commit);
		return -ENOMEM;
	}
	*ret = copy;
	return 0;
}

static size_t padded_size(uint8_t state, size_t len)
{
	return state == REF_TOMBSTONE ? REF_TOMBSTONE_SIZE : MAX(len, (size_t)REF_LIVE_MIN);
}

int ref_seal(struct buf *b, uint8_t state)
{
	size_t len = b->len + ENVELOPE_CHECKSUM_SIZE, size = padded_size(state, len);
	uint8_t *padding;

	if (buf_failed(b))
		return -ENOMEM;
	if (len > size || size > REF_MAX)
		return -EINVAL;
	padding = buf_extend(b, size - len);
	if (!padding)
		return -ENOMEM;
	memset(padding, 0, size - len);
	envelope_seal(b);
	return buf_failed(b) ? -ENOMEM : 0;
}

int ref_padding_check(struct cursor *c, uint8_t state, size_t object_size)
{
	struct span padding = rd_bytes(c, cursor_left(c));

	if (cursor_failed(c) || object_size != padded_size(state, object_size - padding.len))
		return -EBADMSG;
	for (size_t i = 0; i < padding.len; i++)
		if (padding.data[i] != 0)
			return -EBADMSG;
	return 0;
}

static bool commit_is_valid(const struct ref *r)
{
	struct oid id;

	return r->commit.len == 0 ||
	       (r->commit.len <= REF_COMMIT_MAX && commit_id_of(buf_span(&r->commit), &id) == 0 &&
		oid_equal(&id, &r->target));
}

static bool fields_are_valid(const struct ref *r)
{
	bool is_branch = r->kind == REF_BRANCH, is_live = r->state == REF_LIVE;

	return (is_branch || r->kind == REF_NAME) && (is_live || r->state == REF_TOMBSTONE) &&
	       id128_is_null(&r->branch) == !is_branch && stamp_is_valid(r->time) &&
	       (is_branch || !is_live || !oid_is_null(&r->target)) &&
	       (!r->renamed_to[0] ||
		(is_branch && !is_live && object_name_is_valid(r->renamed_to))) &&
	       (!is_live || commit_is_valid(r));
}

int ref_write(const struct ref *r, struct buf *ret)
{
	_cleanup_buf_ struct buf b = { 0 };
	int e;

	if (!fields_are_valid(r))
		return -EINVAL;
	envelope_head_put(&b, REF_MAGIC);
	buf_put_u8(&b, r->kind);
	buf_put_u8(&b, r->state);
	buf_put_u64(&b, r->seq);
	buf_put(&b, r->nonce.b, sizeof(r->nonce.b));
	buf_put(&b, r->branch.b, sizeof(r->branch.b));
	buf_put_str8(&b, span_str(r->writer));
	stamp_put(&b, r->time);
	buf_put_oid(&b, &r->target);
	buf_put_str8(&b, span_str(r->renamed_to));
	buf_put_str32(&b, r->state == REF_LIVE ? buf_span(&r->commit) : span_of(NULL, 0));
	e = ref_seal(&b, r->state);
	if (e < 0)
		return e;
	return buf_take(&b, ret);
}

static int commit_copy(struct span object, struct ref *r)
{
	_cleanup_commit_ struct commit c = { 0 };
	int e;

	if (object.len == 0)
		return 0;
	e = commit_read(object, &r->target, &c);
	if (e < 0)
		return e;
	buf_put(&r->commit, object.data, object.len);
	return buf_failed(&r->commit) ? -ENOMEM : 0;
}

int ref_read(struct span object, struct ref *ret)
{
	_cleanup_ref_ struct ref r = { 0 };
	struct span commit;
	struct cursor c;
	int e;

	if (object.len > REF_MAX)
		return -EBADMSG;
	e = envelope_open(object, REF_MAGIC, &c);
	if (e < 0)
		return e;
	r.kind = rd_u8(&c);
	r.state = rd_u8(&c);
	r.seq = rd_u64(&c);
	r.nonce = rd_id128(&c);
	r.branch = rd_id128(&c);
	rd_string8(&c, r.writer, sizeof(r.writer));
	r.time = stamp_read(&c);
	r.target = rd_oid(&c);
	rd_string8(&c, r.renamed_to, sizeof(r.renamed_to));
	commit = rd_str32(&c, r.state == REF_LIVE ? REF_COMMIT_MAX : 0);
	if (ref_padding_check(&c, r.state, object.len) < 0 || !fields_are_valid(&r))
		return -EBADMSG;
	e = commit_copy(commit, &r);
	if (e < 0)
		return e;
	*ret = r;
	r = (struct ref){ 0 };
	return 0;
}
