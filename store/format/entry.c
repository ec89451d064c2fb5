/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Entries of leaves as bytes, of format/entry.h. As with inodes, the wire form is canonical.
 */
#include "format/entry.h"

enum {
	EXTENT_HOLE = 0,
	EXTENT_CHUNK = 1
};

bool file_name_is_valid(struct span name)
{
	if (name.len == 0 || name.len > FILE_NAME_MAX)
		return false;
	if (name.data[0] == '.' && (name.len == 1 || (name.len == 2 && name.data[1] == '.')))
		return false;
	return !memchr(name.data, '\0', name.len) && !memchr(name.data, '/', name.len);
}

void dirent_put(struct buf *b, const struct dirent_rec *e)
{
	buf_put_str8(b, e->name);
	buf_put_u8(b, e->inode.type);
	if (!e->has_link) {
		inode_put(b, &e->inode);
		return;
	}
	buf_put_u8(b, INODE_HAS_LINK);
	buf_put(b, e->link.b, sizeof(e->link.b));
}

int dirent_read(struct cursor *c, struct dirent_rec *ret)
{
	struct dirent_rec e = { .name = rd_str8(c, FILE_NAME_MAX) };
	uint8_t type = rd_u8(c);
	struct cursor ahead = *c;
	uint8_t flags = rd_u8(&ahead);

	if (!file_name_is_valid(e.name))
		return -EBADMSG;
	if (flags & INODE_HAS_LINK) {
		*c = ahead;
		e.has_link = true;
		e.link = rd_id128(c);
		e.inode.type = type;
		if (cursor_failed(c) || flags != INODE_HAS_LINK || type == FT_DIR ||
		    file_type_to_mode(type) == 0)
			return -EBADMSG;
	} else if (inode_read(c, type, &e.inode) < 0) {
		return -EBADMSG;
	}
	*ret = e;
	return 0;
}

void link_put(struct buf *b, const struct link_rec *l)
{
	buf_put(b, l->link.b, sizeof(l->link.b));
	buf_put_u32(b, l->nlink);
	buf_put_u8(b, l->inode.type);
	inode_put(b, &l->inode);
}

int link_read(struct cursor *c, struct link_rec *ret)
{
	struct link_rec l = { .link = rd_id128(c) };
	uint8_t type;

	l.nlink = rd_u32(c);
	type = rd_u8(c);
	if (l.nlink == 0 || type == FT_DIR || inode_read(c, type, &l.inode) < 0)
		return -EBADMSG;
	*ret = l;
	return 0;
}

void extent_put(struct buf *b, const struct extent_rec *x)
{
	buf_put_u8(b, x->is_hole ? EXTENT_HOLE : EXTENT_CHUNK);
	buf_put_u64(b, x->len);
	if (!x->is_hole)
		buf_put_oid(b, &x->id);
}

int extent_read(struct cursor *c, struct extent_rec *ret)
{
	uint8_t what = rd_u8(c);
	struct extent_rec x = { .is_hole = what == EXTENT_HOLE, .len = rd_u64(c) };

	if (!x.is_hole)
		x.id = rd_oid(c);
	if (cursor_failed(c) || what > EXTENT_CHUNK || x.len == 0 ||
	    (!x.is_hole && x.len > CHUNK_LIMIT))
		return -EBADMSG;
	*ret = x;
	return 0;
}

void inode_hint_set(struct inode *ino, const struct entry_hint *h)
{
	switch (ino->type) {
	case FT_REG:
	case FT_LNK:
		ino->content.loc = h->loc;
		/* Of another length it cannot be the content. */
		if (ino->content.kind == CONTENT_CHUNK && h->inlined.len == ino->content.size)
			ino->content.inlined = h->inlined;
		break;
	case FT_DIR:
		ino->dir.loc = h->loc;
		break;
	}
	if (ino->xattrs.large_len > 0)
		ino->xattrs.loc = h->xattr_loc;
}

struct entry_hint inode_hint_get(const struct inode *ino)
{
	struct entry_hint h = { 0 };

	switch (ino->type) {
	case FT_REG:
	case FT_LNK:
		h.loc = ino->content.loc;
		h.inlined = ino->content.inlined;
		break;
	case FT_DIR:
		h.loc = ino->dir.loc;
		break;
	}
	if (ino->xattrs.large_len > 0)
		h.xattr_loc = ino->xattrs.loc;
	return h;
}
