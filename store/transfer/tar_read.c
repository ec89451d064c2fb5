/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading tar streams (transfer/tar.h).
 */
#include <unistd.h>

#include "base/fdio.h"
#include "base/log.h"
#include "format/xattr.h"
#include "head/acl.h"
#include "transfer/attributes.h"
#include "transfer/tar_acl.h"
#include "transfer/tar_stream.h"

struct tar_reader {
	struct tar_stream stream;
	struct buf list, target; /* of the entry: xattrs, a symlink's target */
	struct buf names; /* scratch */
	struct tar_range *ranges; /* owned */
	/* The block of the entry's data that was read last. */
	const uint8_t *block;
	uint64_t block_off;
	size_t block_len;
	uint8_t buffer[STREAM_BUFFER];
};

static ssize_t read_stream(struct archive *a, void *ctx, const void **ret)
{
	struct tar_reader *t = ctx;
	struct tar_stream *s = &t->stream;
	ssize_t n;

	do
		n = tar_stream_check(s) < 0 ? -1 : read(s->fd, t->buffer, sizeof(t->buffer));
	while (n < 0 && s->error == 0 && errno == EINTR);
	if (n < 0) {
		s->error = s->error ?: -errno;
		archive_set_error(a, -s->error, "not readable");
		return ARCHIVE_FATAL;
	}
	s->bytes += (uint64_t)n;
	*ret = t->buffer;
	return n;
}

int tar_reader_new(int fd, const atomic_bool *cancelled, struct tar_reader **ret)
{
	_cleanup_(tar_reader_freep) struct tar_reader *t = new0(struct tar_reader, 1);
	struct archive *a;

	if (!t || tar_stream_init(&t->stream, archive_read_new(), "C", fd, cancelled) < 0)
		return -ENOMEM;
	a = t->stream.a;
	if (archive_read_support_format_tar(a) != ARCHIVE_OK)
		return -ENOMEM;
	if (archive_read_open(a, t, NULL, read_stream, NULL) != ARCHIVE_OK)
		return tar_stream_error(&t->stream, -EBADMSG);
	*ret = TAKE_PTR(t);
	return 0;
}

void tar_reader_free(struct tar_reader *t)
{
	if (!t)
		return;
	if (t->stream.a)
		archive_read_free(t->stream.a);
	tar_stream_release(&t->stream);
	buf_release(&t->list);
	buf_release(&t->target);
	buf_release(&t->names);
	free(t->ranges);
	free(t);
}

/* An attribute of an entry: where its name lies in the scratch. */
struct named_value {
	size_t name_at;
	struct span value; /* libarchive's */
};

static int hex_value(char c)
{
	const char *digits = "0123456789abcdef", *p = c ? strchr(digits, c | 0x20) : NULL;

	return p ? (int)(p - digits) : -1;
}

/* GNU tar writes "%25" for '%' in the names of attributes, libarchive more of that kind. */
static void put_unescaped(struct buf *to, const char *from)
{
	for (; *from; from++) {
		int hi = *from == '%' ? hex_value(from[1]) : -1;
		int lo = hi >= 0 ? hex_value(from[2]) : -1;

		if (lo > 0 || hi > 0)
			from += 2;
		buf_put_u8(to, lo >= 0 && hi + lo > 0 ? (uint8_t)(hi << 4 | lo) : (uint8_t)*from);
	}
	buf_put_u8(to, 0);
}

static int cmp_named_values(const void *a, const void *b, void *names)
{
	const struct named_value *x = a, *y = b;
	const char *base = names;

	return strcmp(base + x->name_at, base + y->name_at);
}

static int read_xattrs(struct tar_reader *t, struct archive_entry *e)
{
	_cleanup_free_ struct named_value *all = NULL;
	int count = archive_entry_xattr_reset(e), n = 0, r = 0;
	const char *name, *last = "";
	const void *value;
	size_t len;

	buf_clear(&t->list);
	buf_clear(&t->names);
	if (count <= 0)
		return 0;
	all = new0(struct named_value, (size_t)count);
	while (all && n < count && archive_entry_xattr_next(e, &name, &value, &len) == ARCHIVE_OK) {
		all[n++] = (struct named_value){ t->names.len, span_of(value, len) };
		put_unescaped(&t->names, name);
	}
	if (!all || buf_failed(&t->names))
		return -ENOMEM;
	qsort_r(all, (size_t)n, sizeof(*all), cmp_named_values, t->names.data);
	for (int i = 0; r == 0 && i < n; i++) {
		name = (const char *)t->names.data + all[i].name_at;
		if (xattr_travels(name) && strcmp(name, last) != 0)
			r = xattr_append(&t->list, span_str(name), all[i].value);
		last = name;
	}
	return r;
}

/* Adds an ACL to the attributes, if only the text is there. */
static int add_acl(struct tar_reader *t, struct archive_entry *e, int type, const char *xattr)
{
	_cleanup_buf_ struct buf acl = { 0 }, list = { 0 };
	struct span value;
	int r;

	if (xattr_get(buf_span(&t->list), span_str(xattr), &value) == 0)
		return 0;
	r = tar_acl_read(e, type, &acl);
	if (r == -EINVAL) {
		log_warning("%s: an ACL in the tar stream is left out: it is damaged, or names "
			    "somebody who is not known here",
			    archive_entry_pathname(e));
		return 0;
	}
	if (r < 0 || acl.len == 0)
		return r;
	value = buf_span(&acl);
	r = xattr_set(buf_span(&t->list), span_str(xattr), &value, &list);
	return r < 0 ? r : buf_take(&list, &t->list);
}

/* ACLs that are there as text; and the mode is what the ACL says, of which libarchive may have read
 * the owning group's part and not the mask. */
static int read_acls(struct tar_reader *t, struct archive_entry *e, struct inode *ino)
{
	struct span acl;
	mode_t mode = ino->mode;
	bool is_minimal;
	int r = 0;

	if (ino->type == FT_LNK)
		return 0;
	r = add_acl(t, e, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, ACL_ACCESS_XATTR);
	if (r == 0 && ino->type == FT_DIR)
		r = add_acl(t, e, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, ACL_DEFAULT_XATTR);
	if (r == 0 && xattr_get(buf_span(&t->list), span_str(ACL_ACCESS_XATTR), &acl) == 0 &&
	    acl_to_mode(acl, &mode, &is_minimal) == 0)
		ino->mode = (uint16_t)mode;
	return r;
}

/* Where a sparse file has data. */
static int read_ranges(struct tar_reader *t, struct archive_entry *e, struct tar_entry *ret)
{
	int count = archive_entry_sparse_reset(e);
	uint64_t size = ret->inode.content.size, end = 0;
	la_int64_t off, len;

	if (count <= 0)
		return 0;
	free(t->ranges);
	t->ranges = new0(struct tar_range, (size_t)count);
	if (!t->ranges)
		return -ENOMEM;
	ret->is_sparse = true;
	ret->ranges = t->ranges;
	while (archive_entry_sparse_next(e, &off, &len) == ARCHIVE_OK) {
		if (off < 0 || len < 0 || (uint64_t)off < end || (uint64_t)off > size ||
		    (uint64_t)len > size - (uint64_t)off)
			return -EBADMSG;
		end = (uint64_t)off + (uint64_t)len;
		if (len > 0)
			t->ranges[ret->range_count++] =
				(struct tar_range){ (uint64_t)off, (uint64_t)len };
	}
	return 0;
}

static int read_symlink(struct tar_reader *t, struct archive_entry *e, struct inode *ino)
{
	const char *target = archive_entry_symlink(e);
	size_t len = target ? strlen(target) : 0;

	if (len == 0 || len > SYMLINK_MAX)
		return len == 0 ? -EBADMSG : -ENAMETOOLONG;
	buf_clear(&t->target);
	buf_put(&t->target, target, len);
	if (buf_failed(&t->target))
		return -ENOMEM;
	ino->content.inlined = buf_span(&t->target);
	ino->content.size = ino->content.data = len;
	return 0;
}

/* All but the content, as far as the type has it. */
static int read_inode(struct tar_reader *t, struct archive_entry *e, struct tar_entry *ret)
{
	la_int64_t uid = archive_entry_uid(e), gid = archive_entry_gid(e);
	struct inode *ino = &ret->inode;
	int64_t size = archive_entry_size(e);

	*ino = (struct inode){
		.type = file_type_of_mode(archive_entry_filetype(e)),
		.mode = archive_entry_perm(e) & 07777,
		.uid = (uint32_t)uid,
		.gid = (uint32_t)gid,
		.mtime = { archive_entry_mtime(e), (uint32_t)archive_entry_mtime_nsec(e) },
	};
	ino->mtime = tar_time_mirrored(ino->mtime, -1);
	ino->ctime = ino->mtime;
	if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX)
		return -EOVERFLOW;
	if (size < 0)
		return -EBADMSG;
	switch (ino->type) {
	case FT_REG:
		ino->content.size = (uint64_t)size;
		return read_ranges(t, e, ret);
	case FT_LNK:
		return read_symlink(t, e, ino);
	case FT_CHR:
	case FT_BLK:
		ino->dev.major = (uint32_t)archive_entry_rdevmajor(e);
		ino->dev.minor = (uint32_t)archive_entry_rdevminor(e);
		return 0;
	case FT_DIR:
	case FT_FIFO:
		return 0;
	}
	return -EOPNOTSUPP;
}

/* The rest of the stream is read, so that who writes it is not cut off; it must have had an end. */
static int end_of_stream(struct tar_reader *t)
{
	struct tar_stream *s = &t->stream;
	bool had_end = (uint64_t)archive_read_header_position(s->a) + BLOCK <= s->bytes;
	const void *rest;
	ssize_t n;

	do
		n = read_stream(s->a, t, &rest);
	while (n > 0);
	if (n < 0)
		return tar_stream_error(s, -EIO);
	return had_end ? 0 : log_fail(-EBADMSG, "the tar stream was cut off");
}

int tar_reader_next(struct tar_reader *t, struct tar_entry *ret, int *ret_error)
{
	struct tar_stream *s = &t->stream;
	struct archive_entry *e;
	const char *path, *same_as;
	int r;

	t->block_len = 0;
	t->block_off = 0;
	r = tar_stream_check(s);
	if (r < 0)
		return tar_stream_error(s, r);
	do
		r = archive_read_next_header(s->a, &e);
	while (r == ARCHIVE_RETRY);
	if (r == ARCHIVE_EOF)
		return end_of_stream(t);
	if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
		return tar_stream_error(s, -EBADMSG);
	path = archive_entry_pathname(e);
	if (!path)
		return tar_stream_error(s, -EBADMSG);
	same_as = archive_entry_hardlink(e);
	*ret = (struct tar_entry){ .path = span_str(path),
				   .same_as = same_as ? span_str(same_as) : span_of(NULL, 0) };
	r = same_as ? 0 : read_inode(t, e, ret);
	if (r == 0 && !same_as)
		r = read_xattrs(t, e);
	if (r == 0 && !same_as)
		r = read_acls(t, e, &ret->inode);
	ret->xattrs = buf_span(&t->list);
	if (r == -ENOMEM)
		return r;
	*ret_error = r;
	return 1;
}

/* The next block of data; behind the last one there are zeroes. */
static int next_block(struct tar_reader *t)
{
	const void *data = NULL;
	la_int64_t off = 0;
	size_t len = 0;
	int r;

	do
		r = archive_read_data_block(t->stream.a, &data, &len, &off);
	while (r == ARCHIVE_RETRY);
	if (r == ARCHIVE_EOF) {
		t->block_off = UINT64_MAX;
		t->block_len = 0;
		return 0;
	}
	if ((r != ARCHIVE_OK && r != ARCHIVE_WARN) || off < 0)
		return tar_stream_error(&t->stream, -EBADMSG);
	t->block = data;
	t->block_off = (uint64_t)off;
	t->block_len = len;
	return 0;
}

int tar_reader_read(struct tar_reader *t, uint64_t off, size_t len, void *buf)
{
	uint8_t *to = buf;

	while (len > 0) {
		uint64_t end = t->block_off + t->block_len;
		size_t n;
		int r = 0;

		if (off < t->block_off) {
			n = (size_t)MIN((uint64_t)len, t->block_off - off);
			memset(to, 0, n);
		} else if (off < end) {
			n = (size_t)MIN((uint64_t)len, end - off);
			memcpy(to, t->block + (off - t->block_off), n);
		} else {
			n = 0;
			r = next_block(t);
		}
		if (r < 0)
			return r;
		to += n;
		off += n;
		len -= n;
	}
	return 0;
}
