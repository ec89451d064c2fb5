/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Writing tar streams (transfer/tar.h).
 */
#include "base/fdio.h"
#include "base/log.h"
#include "base/text.h"
#include "format/xattr.h"
#include "head/acl.h"
#include "transfer/attributes.h"
#include "transfer/tar_acl.h"
#include "transfer/tar_stream.h"

/*
 * Two archives take turns on one stream: @binary for what has a name that is not UTF-8, which the
 * header then says. (One archive for both would say it of all that follow, or change the names.)
 * Both are unbuffered, so that each entry is in the stream when it ends.
 */
struct tar_writer {
	struct tar_stream stream; /* whose archive has the entry that is open */
	struct archive *text, *binary; /* owned */
	struct archive_entry *entry; /* owned */
	struct buf path, target; /* scratch, with a NUL behind */
	struct buf out; /* not written yet */
	bool is_over; /* nothing more is to be written */
};

static int flush(struct tar_writer *t)
{
	struct tar_stream *s = &t->stream;

	if (tar_stream_check(s) == 0)
		s->error = write_all(s->fd, t->out.data, t->out.len);
	s->bytes += t->out.len;
	buf_clear(&t->out);
	return s->error;
}

static ssize_t write_stream(struct archive *a, void *ctx, const void *data, size_t len)
{
	struct tar_writer *t = ctx;
	size_t n = MIN(len, (size_t)STREAM_BUFFER);

	if (t->is_over)
		return -1;
	if (t->out.len + n > STREAM_BUFFER && flush(t) < 0) {
		archive_set_error(a, -t->stream.error, "not writable");
		return -1;
	}
	buf_put(&t->out, data, n);
	if (!buf_failed(&t->out))
		return (ssize_t)n;
	archive_set_error(a, ENOMEM, "no memory");
	return -1;
}

static struct archive *open_archive(struct tar_writer *t, const char *options)
{
	struct archive *a = archive_write_new();

	if (a && archive_write_set_format_pax(a) == ARCHIVE_OK &&
	    archive_write_set_options(a, options) == ARCHIVE_OK &&
	    archive_write_set_bytes_per_block(a, 0) == ARCHIVE_OK &&
	    archive_write_open(a, t, NULL, write_stream, NULL) == ARCHIVE_OK)
		return a;
	archive_write_free(a);
	return NULL;
}

int tar_writer_new(int fd, const atomic_bool *cancelled, struct tar_writer **ret)
{
	_cleanup_(tar_writer_freep) struct tar_writer *t = new0(struct tar_writer, 1);

	if (!t)
		return -ENOMEM;
	t->text = open_archive(t, "pax:xattrheader=SCHILY");
	t->binary = open_archive(t, "pax:xattrheader=SCHILY,pax:hdrcharset=BINARY");
	t->entry = archive_entry_new();
	if (tar_stream_init(&t->stream, t->text, "C.UTF-8", fd, cancelled) < 0 || !t->binary ||
	    !t->entry || buf_reserve(&t->out, STREAM_BUFFER) < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(t);
	return 0;
}

void tar_writer_free(struct tar_writer *t)
{
	if (!t)
		return;
	/* Only closing frees all; what it writes to end the archives comes to nothing. */
	t->is_over = true;
	archive_write_free(t->text);
	archive_write_free(t->binary);
	archive_entry_free(t->entry);
	tar_stream_release(&t->stream);
	buf_release(&t->path);
	buf_release(&t->target);
	buf_release(&t->out);
	free(t);
}

static const char *string_of(struct buf *b, struct span s)
{
	buf_clear(b);
	buf_put(b, s.data, s.len);
	buf_put_u8(b, 0);
	return buf_failed(b) ? NULL : (const char *)b->data;
}

static void add_xattrs(struct archive_entry *e, struct span list)
{
	struct cursor c = cursor_of(list);
	struct xattr x;

	while (xattr_next(&c, &x)) {
		char name[XATTR_NAME_MAX_LEN + 1];

		memcpy(name, x.name.data, x.name.len);
		name[x.name.len] = '\0';
		if (xattr_travels(name))
			archive_entry_xattr_add_entry(e, name, x.value.data, x.value.len);
	}
}

static void add_acls(struct archive_entry *e, struct span list)
{
	struct span acl;

	if (xattr_get(list, span_str(ACL_ACCESS_XATTR), &acl) == 0)
		tar_acl_write(e, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, acl);
	if (xattr_get(list, span_str(ACL_DEFAULT_XATTR), &acl) == 0)
		tar_acl_write(e, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, acl);
}

static void set_inode(struct archive_entry *to, const struct tar_entry *e)
{
	const struct inode *ino = &e->inode;
	struct inode_time mtime = ino->mtime;

	if (mtime.sec == -1)
		mtime.nsec = 0;
	mtime = tar_time_mirrored(mtime, 1);
	archive_entry_set_filetype(to, file_type_to_mode(ino->type));
	archive_entry_set_perm(to, ino->mode);
	archive_entry_set_uid(to, ino->uid);
	archive_entry_set_gid(to, ino->gid);
	archive_entry_set_mtime(to, mtime.sec, mtime.nsec);
	if (ino->type == FT_REG)
		archive_entry_set_size(to, (la_int64_t)ino->content.size);
	if (ino->type == FT_CHR || ino->type == FT_BLK) {
		archive_entry_set_rdevmajor(to, ino->dev.major);
		archive_entry_set_rdevminor(to, ino->dev.minor);
	}
	if (!e->is_sparse)
		return;
	for (size_t i = 0; i < e->range_count; i++)
		archive_entry_sparse_add_entry(to, (la_int64_t)e->ranges[i].off,
					       (la_int64_t)e->ranges[i].len);
	if (e->range_count == 0)
		archive_entry_sparse_add_entry(to, (la_int64_t)ino->content.size, 0);
}

int tar_writer_begin(struct tar_writer *t, const struct tar_entry *e)
{
	struct archive_entry *to = archive_entry_clear(t->entry);
	const char *path = string_of(&t->path, e->path), *target = "";
	int r;

	if (e->inode.type == FT_SOCK)
		return -EOPNOTSUPP;
	if (e->same_as.len > 0)
		target = string_of(&t->target, e->same_as);
	else if (e->inode.type == FT_LNK)
		target = string_of(&t->target, e->inode.content.inlined);
	if (!path || !target)
		return -ENOMEM;
	archive_entry_copy_pathname(to, path);
	if (e->same_as.len > 0) {
		archive_entry_set_filetype(to, AE_IFREG);
		archive_entry_copy_hardlink(to, target);
	} else {
		set_inode(to, e);
		add_xattrs(to, e->xattrs);
		add_acls(to, e->xattrs);
		if (e->inode.type == FT_LNK)
			archive_entry_copy_symlink(to, target);
	}
	if (archive_write_finish_entry(t->stream.a) < ARCHIVE_WARN)
		return tar_stream_error(&t->stream, -EIO);
	t->stream.a = utf8_is_valid(path, strlen(path)) && utf8_is_valid(target, strlen(target))
			      ? t->text
			      : t->binary;
	r = archive_write_header(t->stream.a, to);
	return r == ARCHIVE_OK || r == ARCHIVE_WARN ? 0 : tar_stream_error(&t->stream, -EIO);
}

int tar_writer_put(struct tar_writer *t, const void *data, uint64_t len)
{
	static const uint8_t zeroes[STREAM_BUFFER];

	while (len > 0) {
		size_t n = (size_t)MIN(len, data ? (uint64_t)CHUNK_LIMIT : sizeof(zeroes));
		la_ssize_t done = archive_write_data(t->stream.a, data ?: zeroes, n);

		if (done <= 0)
			return tar_stream_error(&t->stream, -EIO);
		if (data)
			data = (const uint8_t *)data + done;
		len -= (uint64_t)done;
	}
	return 0;
}

int tar_writer_finish(struct tar_writer *t)
{
	static const uint8_t zeroes[RECORD];
	struct tar_stream *s = &t->stream;
	int r = archive_write_finish_entry(s->a);

	if (r >= ARCHIVE_WARN) {
		s->a = t->text;
		r = archive_write_close(s->a);
	}
	if (r < ARCHIVE_WARN)
		return tar_stream_error(s, -EIO);
	buf_put(&t->out, zeroes, (size_t)(RECORD - (s->bytes + t->out.len) % RECORD) % RECORD);
	return buf_failed(&t->out) ? -ENOMEM : flush(t) < 0 ? tar_stream_error(s, -EIO) : 0;
}
