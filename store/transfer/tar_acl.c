/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * ACLs between libarchive and the kernel (transfer/tar_acl.h). Permission bits are the same in
 * both. libarchive keeps an access ACL's entries for owner, owning group and others in the mode.
 */
#include "transfer/tar_acl.h"

#include <grp.h>
#include <limits.h>
#include <pwd.h>

#include "base/cursor.h"
#include "head/acl.h"

enum {
	VERSION = 2,
	NO_ID = UINT32_MAX,
	NAMES_SIZE = 4096,
};

struct entry {
	uint16_t tag, perm; /* the kernel's */
	uint32_t id;
};

static const struct {
	int archive;
	uint16_t kernel;
} tags[] = {
	{ ARCHIVE_ENTRY_ACL_USER_OBJ, 0x01 },  { ARCHIVE_ENTRY_ACL_USER, 0x02 },
	{ ARCHIVE_ENTRY_ACL_GROUP_OBJ, 0x04 }, { ARCHIVE_ENTRY_ACL_GROUP, 0x08 },
	{ ARCHIVE_ENTRY_ACL_MASK, 0x10 },      { ARCHIVE_ENTRY_ACL_OTHER, 0x20 },
};

static uint16_t kernel_tag(int archive)
{
	for (size_t i = 0; i < ARRAY_SIZE(tags); i++)
		if (tags[i].archive == archive)
			return tags[i].kernel;
	return 0;
}

static int archive_tag(uint16_t kernel)
{
	for (size_t i = 0; i < ARRAY_SIZE(tags); i++)
		if (tags[i].kernel == kernel)
			return tags[i].archive;
	return 0;
}

/* Who is only named, on this machine; NO_ID: nobody. */
static uint32_t id_of_name(int tag, const char *name)
{
	char space[NAMES_SIZE];
	struct passwd pw, *user = NULL;
	struct group gr, *group = NULL;

	if (!name || !*name)
		return NO_ID;
	if (tag == ARCHIVE_ENTRY_ACL_USER)
		getpwnam_r(name, &pw, space, sizeof(space), &user);
	else
		getgrnam_r(name, &gr, space, sizeof(space), &group);
	return user ? user->pw_uid : group ? group->gr_gid : NO_ID;
}

static int cmp_entries(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->tag != y->tag)
		return x->tag < y->tag ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static int put_acl(struct entry *all, size_t count, struct buf *ret)
{
	qsort(all, count, sizeof(*all), cmp_entries);
	buf_put_u32(ret, VERSION);
	for (size_t i = 0; i < count; i++) {
		buf_put_u16(ret, all[i].tag);
		buf_put_u16(ret, all[i].perm);
		buf_put_u32(ret, all[i].id);
	}
	return buf_failed(ret) ? -ENOMEM : acl_check(buf_span(ret));
}

int tar_acl_read(struct archive_entry *e, int type, struct buf *ret)
{
	int count = archive_entry_acl_reset(e, type), kind, perm, tag, id;
	_cleanup_free_ struct entry *all = NULL;
	const char *name;
	size_t n = 0;

	buf_clear(ret);
	if (count <= 0)
		return 0;
	all = new0(struct entry, (size_t)count);
	if (!all)
		return -ENOMEM;
	while (n < (size_t)count &&
	       archive_entry_acl_next(e, type, &kind, &perm, &tag, &id, &name) == ARCHIVE_OK) {
		bool has_id = tag == ARCHIVE_ENTRY_ACL_USER || tag == ARCHIVE_ENTRY_ACL_GROUP;
		struct entry x = { kernel_tag(tag), (uint16_t)(perm & 7), NO_ID };

		if (has_id)
			x.id = id >= 0 ? (uint32_t)id : id_of_name(tag, name);
		if (has_id && x.id == NO_ID)
			return -EINVAL;
		all[n++] = x;
	}
	return put_acl(all, n, ret);
}

/* libarchive counts users with an int. */
static bool fits(struct span acl)
{
	struct cursor c = cursor_of(acl);

	if (acl_check(acl) < 0)
		return false;
	rd_u32(&c);
	while (cursor_left(&c) > 0) {
		uint32_t id;

		rd_u32(&c);
		id = rd_u32(&c);
		if (id != NO_ID && id > INT_MAX)
			return false;
	}
	return true;
}

void tar_acl_write(struct archive_entry *e, int type, struct span acl)
{
	struct cursor c = cursor_of(acl);

	if (!fits(acl))
		return;
	rd_u32(&c);
	while (cursor_left(&c) > 0) {
		int tag = archive_tag(rd_u16(&c)), perm = rd_u16(&c);
		uint32_t id = rd_u32(&c);

		archive_entry_acl_add_entry(e, type, perm, tag, id == NO_ID ? -1 : (int)id, NULL);
	}
}
