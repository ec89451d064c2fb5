/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inodes as bytes, of format/inode.h.
 *
 * The wire form is canonical: what inode_read() accepts, inode_put() writes again byte for byte.
 */
#include "format/inode.h"

#include "format/envelope.h"
#include "format/xattr.h"

enum {
	MODE_MAX = 07777
};

static void xattrs_put(struct buf *b, const struct xattrs *x)
{
	if (x->large_len > 0) {
		buf_put_u32(b, x->large_len);
		buf_put_oid(b, &x->large);
	} else if (x->list.len > 0) {
		buf_put_str16(b, x->list);
	}
}

static uint8_t xattrs_flag(const struct xattrs *x)
{
	if (x->large_len > 0)
		return INODE_XATTRS_LARGE;
	return x->list.len > 0 ? INODE_XATTRS_SMALL : 0;
}

void dir_sum_put(struct buf *b, const struct tree_sum *s)
{
	buf_put_u64(b, s->items);
	buf_put_u64(b, s->subdirs);
	buf_put_u64(b, s->files);
	buf_put_u64(b, s->bytes);
	buf_put_u8(b, s->has_links);
}

void inode_put(struct buf *b, const struct inode *ino)
{
	buf_put_u8(b, xattrs_flag(&ino->xattrs));
	buf_put_u16(b, ino->mode);
	buf_put_u32(b, ino->uid);
	buf_put_u32(b, ino->gid);
	stamp_put(b, ino->mtime);
	stamp_put(b, ino->ctime);
	switch (ino->type) {
	case FT_REG:
		buf_put_u64(b, ino->content.size);
		buf_put_u8(b, ino->content.kind);
		buf_put_u64(b, ino->content.data);
		buf_put_oid(b, &ino->content.id);
		break;
	case FT_DIR:
		buf_put_oid(b, &ino->dir.id);
		dir_sum_put(b, &ino->dir.sum);
		break;
	case FT_LNK:
		buf_put_u16(b, (uint16_t)ino->content.size);
		buf_put_oid(b, &ino->content.id);
		break;
	case FT_CHR:
	case FT_BLK:
		buf_put_u32(b, ino->dev.major);
		buf_put_u32(b, ino->dev.minor);
		break;
	}
	xattrs_put(b, &ino->xattrs);
}

static void xattrs_read(struct cursor *c, uint8_t flags, struct xattrs *ret)
{
	switch (flags) {
	case 0:
		break;
	case INODE_XATTRS_SMALL:
		ret->list = rd_str16(c, XATTR_INLINE_MAX);
		if (ret->list.len == 0 || xattr_list_check(ret->list) < 0)
			cursor_fail(c);
		break;
	case INODE_XATTRS_LARGE:
		ret->large_len = rd_u32(c);
		ret->large = rd_oid(c);
		if (ret->large_len <= XATTR_INLINE_MAX || ret->large_len > XATTR_LIST_LIMIT)
			cursor_fail(c);
		break;
	default:
		cursor_fail(c);
	}
}

static bool content_is_valid(const struct content *f)
{
	switch (f->kind) {
	case CONTENT_CHUNK:
		return f->size <= CHUNK_LIMIT && f->data == f->size &&
		       (f->size == 0) == oid_equal(&f->id, oid_empty_chunk());
	case CONTENT_EXTENTS:
		/* Small and without holes it would have been one chunk. */
		return f->size <= INT64_MAX && f->data <= f->size && !oid_is_null(&f->id) &&
		       (f->size > CHUNK_WHOLE_MAX || f->data < f->size);
	}
	return false;
}

static void regular_read(struct cursor *c, struct content *ret)
{
	ret->size = rd_u64(c);
	ret->kind = rd_u8(c);
	ret->data = rd_u64(c);
	ret->id = rd_oid(c);
	if (!content_is_valid(ret))
		cursor_fail(c);
}

static void symlink_read(struct cursor *c, struct content *ret)
{
	ret->size = rd_u16(c);
	ret->data = ret->size;
	ret->kind = CONTENT_CHUNK;
	ret->id = rd_oid(c);
	if (ret->size == 0 || ret->size > SYMLINK_MAX)
		cursor_fail(c);
}

struct tree_sum dir_sum_read(struct cursor *c)
{
	struct tree_sum s = { 0 };
	uint8_t links;

	s.items = rd_u64(c);
	s.subdirs = rd_u64(c);
	s.files = rd_u64(c);
	s.bytes = rd_u64(c);
	links = rd_u8(c);
	s.has_links = links == 1;
	if (links > 1 || s.subdirs > s.items)
		cursor_fail(c);
	return s;
}

static void directory_read(struct cursor *c, struct tree_root *ret)
{
	static const struct tree_sum nothing;

	ret->id = rd_oid(c);
	ret->sum = dir_sum_read(c);
	if (oid_is_null(&ret->id) ? !tree_sum_equal(&ret->sum, &nothing) : ret->sum.items == 0)
		cursor_fail(c);
}

int inode_read(struct cursor *c, uint8_t type, struct inode *ret)
{
	struct inode ino = { .type = type };
	uint8_t flags = rd_u8(c);

	ino.mode = rd_u16(c);
	ino.uid = rd_u32(c);
	ino.gid = rd_u32(c);
	ino.mtime = stamp_read(c);
	ino.ctime = stamp_read(c);
	if (ino.mode > MODE_MAX)
		cursor_fail(c);
	switch (type) {
	case FT_REG:
		regular_read(c, &ino.content);
		break;
	case FT_DIR:
		directory_read(c, &ino.dir);
		break;
	case FT_LNK:
		symlink_read(c, &ino.content);
		break;
	case FT_CHR:
	case FT_BLK:
		ino.dev.major = rd_u32(c);
		ino.dev.minor = rd_u32(c);
		break;
	case FT_FIFO:
	case FT_SOCK:
		break;
	default:
		cursor_fail(c);
	}
	xattrs_read(c, flags, &ino.xattrs);
	if (cursor_failed(c))
		return -EBADMSG;
	*ret = ino;
	return 0;
}

static bool time_equal(struct inode_time a, struct inode_time b)
{
	return a.sec == b.sec && a.nsec == b.nsec;
}

static bool xattrs_equal(const struct xattrs *a, const struct xattrs *b)
{
	if (a->large_len != b->large_len)
		return false;
	return a->large_len > 0 ? oid_equal(&a->large, &b->large) : span_equal(a->list, b->list);
}

bool inode_equal_but_times(const struct inode *a, const struct inode *b)
{
	if (a->type != b->type || a->mode != b->mode || a->uid != b->uid || a->gid != b->gid ||
	    !xattrs_equal(&a->xattrs, &b->xattrs))
		return false;
	switch (a->type) {
	case FT_REG:
	case FT_LNK:
		return a->content.size == b->content.size && a->content.data == b->content.data &&
		       a->content.kind == b->content.kind &&
		       oid_equal(&a->content.id, &b->content.id);
	case FT_DIR:
		return oid_equal(&a->dir.id, &b->dir.id) &&
		       tree_sum_equal(&a->dir.sum, &b->dir.sum);
	case FT_CHR:
	case FT_BLK:
		return a->dev.major == b->dev.major && a->dev.minor == b->dev.minor;
	}
	return true;
}

bool inode_equal(const struct inode *a, const struct inode *b)
{
	return time_equal(a->mtime, b->mtime) && time_equal(a->ctime, b->ctime) &&
	       inode_equal_but_times(a, b);
}

static const mode_t type_modes[] = {
	[FT_REG] = S_IFREG, [FT_DIR] = S_IFDIR, [FT_LNK] = S_IFLNK,   [FT_FIFO] = S_IFIFO,
	[FT_CHR] = S_IFCHR, [FT_BLK] = S_IFBLK, [FT_SOCK] = S_IFSOCK,
};

mode_t file_type_to_mode(uint8_t type)
{
	return type < ARRAY_SIZE(type_modes) ? type_modes[type] : 0;
}

uint8_t file_type_of_mode(mode_t mode)
{
	for (uint8_t type = FT_REG; type < ARRAY_SIZE(type_modes); type++) {
		if (type_modes[type] == (mode & S_IFMT))
			return type;
	}
	return 0;
}

struct tree_sum inode_sum(const struct inode *ino, bool has_link)
{
	struct tree_sum s = { .items = 1 };

	if (ino->type == FT_DIR) {
		s.subdirs = 1;
		s.files = ino->dir.sum.files;
		s.bytes = ino->dir.sum.bytes;
		s.has_links = ino->dir.sum.has_links;
		return s;
	}
	s.files = 1;
	s.has_links = has_link;
	if (ino->type == FT_REG && !has_link)
		s.bytes = ino->content.size;
	return s;
}

struct tree_sum tree_sum_add(struct tree_sum a, struct tree_sum b)
{
	return (struct tree_sum){
		.items = add_sat(a.items, b.items),
		.subdirs = add_sat(a.subdirs, b.subdirs),
		.files = add_sat(a.files, b.files),
		.bytes = add_sat(a.bytes, b.bytes),
		.data = add_sat(a.data, b.data),
		.has_links = a.has_links || b.has_links,
	};
}

bool tree_sum_equal(const struct tree_sum *a, const struct tree_sum *b)
{
	return a->items == b->items && a->subdirs == b->subdirs && a->files == b->files &&
	       a->bytes == b->bytes && a->data == b->data && a->has_links == b->has_links;
}

struct inode_time inode_time_of(struct timespec t)
{
	return (struct inode_time){ .sec = t.tv_sec, .nsec = (uint32_t)t.tv_nsec };
}

struct timespec inode_time_to(struct inode_time t)
{
	return (struct timespec){ .tv_sec = t.sec, .tv_nsec = t.nsec };
}
