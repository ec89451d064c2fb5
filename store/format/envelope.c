/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Both ends of objects, of format/envelope.h.
 */
#include "format/envelope.h"

#include "base/hash.h"

enum {
	MAGIC_SIZE = 4,
	NS_PER_S = 1000000000
};

void envelope_head_put(struct buf *b, const char *magic)
{
	buf_put(b, magic, MAGIC_SIZE);
	buf_put_u16(b, FORMAT_VERSION);
	buf_put_u16(b, 0);
}

/* False: another kind of object, or none. */
static bool head_read(struct cursor *c, const char *magic, uint16_t *ret_version,
		      uint16_t *ret_flags)
{
	struct span m = rd_bytes(c, MAGIC_SIZE);

	*ret_version = rd_u16(c);
	*ret_flags = rd_u16(c);
	return !cursor_failed(c) && memcmp(m.data, magic, MAGIC_SIZE) == 0 && *ret_version > 0;
}

int envelope_head_read(struct cursor *c, const char *magic)
{
	uint16_t version, flags;

	if (!head_read(c, magic, &version, &flags))
		return -EBADMSG;
	return version > FORMAT_VERSION || flags != 0 ? -ENOTSUP : 0;
}

void envelope_seal(struct buf *b)
{
	if (!buf_failed(b))
		buf_put_u64(b, xxh64(b->data, b->len, 0));
}

static bool checksum_is_right(struct span object)
{
	size_t covered = object.len - ENVELOPE_CHECKSUM_SIZE;
	struct cursor c = cursor_of(span_of(object.data + covered, ENVELOPE_CHECKSUM_SIZE));

	return rd_u64(&c) == xxh64(object.data, covered, 0);
}

int envelope_open(struct span object, const char *magic, struct cursor *ret_body)
{
	struct cursor c = cursor_of(object);
	uint16_t version, flags;

	if (!head_read(&c, magic, &version, &flags))
		return -EBADMSG;
	if (version > FORMAT_VERSION)
		return -ENOTSUP;
	if (cursor_left(&c) < ENVELOPE_CHECKSUM_SIZE || !checksum_is_right(object))
		return -EBADMSG;
	if (flags != 0)
		return -ENOTSUP;
	c.end -= ENVELOPE_CHECKSUM_SIZE;
	*ret_body = c;
	return 0;
}

void stamp_put(struct buf *b, struct inode_time t)
{
	buf_put_u64(b, (uint64_t)t.sec);
	buf_put_u32(b, t.nsec);
}

struct inode_time stamp_read(struct cursor *c)
{
	struct inode_time t;

	t.sec = (int64_t)rd_u64(c);
	t.nsec = rd_u32(c);
	if (!stamp_is_valid(t))
		cursor_fail(c);
	return t;
}

bool stamp_is_valid(struct inode_time t)
{
	return t.nsec < NS_PER_S;
}
