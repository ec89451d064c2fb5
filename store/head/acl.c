/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * ACLs of head/acl.h. The kernel's xattr representation: a version, then entries of tag,
 * permissions and id, little-endian, ordered by tag and id.
 */
#include "head/acl.h"

#include "base/cursor.h"

enum {
	ACL_VERSION = 2,
	ACL_USER_OBJ = 0x01,
	ACL_USER = 0x02,
	ACL_GROUP_OBJ = 0x04,
	ACL_GROUP = 0x08,
	ACL_MASK = 0x10,
	ACL_OTHER = 0x20,
};

struct acl_entry {
	uint16_t tag, perm;
	uint32_t id;
};

static bool acl_start(struct span acl, struct cursor *ret)
{
	*ret = cursor_of(acl);
	return rd_u32(ret) == ACL_VERSION;
}

static bool acl_next(struct cursor *c, struct acl_entry *ret)
{
	if (cursor_left(c) == 0)
		return false;
	ret->tag = rd_u16(c);
	ret->perm = rd_u16(c);
	ret->id = rd_u32(c);
	return !cursor_failed(c);
}

static void acl_put(struct buf *b, const struct acl_entry *e)
{
	buf_put_u16(b, e->tag);
	buf_put_u16(b, e->perm);
	buf_put_u32(b, e->id);
}

int acl_check(struct span acl)
{
	struct acl_entry e, last = { 0 };
	unsigned seen = 0;
	struct cursor c;

	if (!acl_start(acl, &c))
		return -EINVAL;
	while (acl_next(&c, &e)) {
		bool has_id = e.tag == ACL_USER || e.tag == ACL_GROUP;

		if (e.perm > 7 || e.tag < last.tag || e.tag == 0 || e.tag > ACL_OTHER ||
		    (e.tag & (e.tag - 1)))
			return -EINVAL;
		if (e.tag == last.tag && (!has_id || e.id <= last.id))
			return -EINVAL;
		seen |= e.tag;
		last = e;
	}
	if (cursor_failed(&c) || (seen & (ACL_USER_OBJ | ACL_GROUP_OBJ | ACL_OTHER)) !=
					 (ACL_USER_OBJ | ACL_GROUP_OBJ | ACL_OTHER))
		return -EINVAL;
	if ((seen & (ACL_USER | ACL_GROUP)) && !(seen & ACL_MASK))
		return -EINVAL;
	return 0;
}

int acl_to_mode(struct span acl, mode_t *mode, bool *ret_is_minimal)
{
	mode_t user = 0, group = 0, other = 0;
	bool is_minimal = true, has_mask = false;
	struct acl_entry e;
	struct cursor c;
	int r = acl_check(acl);

	if (r < 0)
		return r;
	acl_start(acl, &c);
	while (acl_next(&c, &e)) {
		switch (e.tag) {
		case ACL_USER_OBJ:
			user = e.perm;
			break;
		case ACL_GROUP_OBJ:
			if (!has_mask)
				group = e.perm;
			break;
		case ACL_MASK:
			group = e.perm;
			has_mask = true;
			is_minimal = false;
			break;
		case ACL_OTHER:
			other = e.perm;
			break;
		default:
			is_minimal = false;
		}
	}
	*mode = (*mode & ~(mode_t)0777) | user << 6 | group << 3 | other;
	*ret_is_minimal = is_minimal;
	return 0;
}

static bool acl_has_mask(struct span acl)
{
	struct acl_entry e;
	struct cursor c;

	acl_start(acl, &c);
	while (acl_next(&c, &e))
		if (e.tag == ACL_MASK)
			return true;
	return false;
}

int acl_chmod(struct span acl, mode_t mode, struct buf *ret)
{
	struct acl_entry e;
	struct cursor c;
	bool has_mask;
	int r = acl_check(acl);

	if (r < 0)
		return r;
	has_mask = acl_has_mask(acl);
	buf_clear(ret);
	buf_put_u32(ret, ACL_VERSION);
	acl_start(acl, &c);
	while (acl_next(&c, &e)) {
		if (e.tag == ACL_USER_OBJ)
			e.perm = mode >> 6 & 7;
		else if (e.tag == (has_mask ? ACL_MASK : ACL_GROUP_OBJ))
			e.perm = mode >> 3 & 7;
		else if (e.tag == ACL_OTHER)
			e.perm = mode & 7;
		acl_put(ret, &e);
	}
	return buf_failed(ret) ? -ENOMEM : 0;
}

int acl_inherit(struct span default_acl, mode_t *mode, struct buf *ret, bool *ret_is_minimal)
{
	mode_t m = *mode;
	struct acl_entry e;
	struct cursor c;
	bool has_mask;
	int r = acl_check(default_acl);

	if (r < 0)
		return r;
	has_mask = acl_has_mask(default_acl);
	buf_clear(ret);
	buf_put_u32(ret, ACL_VERSION);
	acl_start(default_acl, &c);
	while (acl_next(&c, &e)) {
		/* Both lose what the other does not grant. */
		if (e.tag == ACL_USER_OBJ) {
			e.perm &= m >> 6 & 7;
			m = (m & ~(mode_t)0700) | e.perm << 6;
		} else if (e.tag == (has_mask ? ACL_MASK : ACL_GROUP_OBJ)) {
			e.perm &= m >> 3 & 7;
			m = (m & ~(mode_t)0070) | e.perm << 3;
		} else if (e.tag == ACL_OTHER) {
			e.perm &= m & 7;
			m = (m & ~(mode_t)0007) | e.perm;
		}
		acl_put(ret, &e);
	}
	if (buf_failed(ret))
		return -ENOMEM;
	r = acl_to_mode(buf_span(ret), &m, ret_is_minimal);
	if (r == 0)
		*mode = m;
	return r;
}
