/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Any bytes as an inode, an entry of a leaf, or a list of extended attributes; the first byte says
 * which. Nothing may crash, and what is accepted must be written again as it was.
 */
#include "format/entry.h"
#include "format/xattr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	DIRENT = 8,
	LINK,
	EXTENT,
	XATTRS
};

static int read_and_put(uint8_t what, struct cursor *c, struct buf *b)
{
	struct inode ino;
	struct dirent_rec d;
	struct link_rec l;
	struct extent_rec x;
	int r;

	switch (what) {
	case DIRENT:
		r = dirent_read(c, &d);
		if (r == 0)
			dirent_put(b, &d);
		return r;
	case LINK:
		r = link_read(c, &l);
		if (r == 0)
			link_put(b, &l);
		return r;
	case EXTENT:
		r = extent_read(c, &x);
		if (r == 0)
			extent_put(b, &x);
		return r;
	}
	r = inode_read(c, what, &ino);
	if (r == 0)
		inode_put(b, &ino);
	return r;
}

/* Takes each attribute away, which must leave a list that is one. */
static void take_apart(struct span list)
{
	struct cursor c = cursor_of(list);
	struct xattr x;
	struct span value;

	while (xattr_next(&c, &x)) {
		_cleanup_buf_ struct buf rest = { 0 };

		if (xattr_get(list, x.name, &value) < 0 || !span_equal(value, x.value) ||
		    xattr_set(list, x.name, NULL, &rest) < 0 ||
		    xattr_list_check(buf_span(&rest)) < 0 || rest.len >= list.len)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct cursor c = cursor_of(span_of(data, size));
	uint8_t what = rd_u8(&c);
	struct span body = span_of(c.p, cursor_left(&c));

	if (what == XATTRS) {
		if (xattr_list_check(body) == 0)
			take_apart(body);
		return 0;
	}
	if (read_and_put(what, &c, &b) == 0 &&
	    !span_equal(buf_span(&b), span_of(body.data, (size_t)(c.p - body.data))))
		abort();
	return 0;
}
