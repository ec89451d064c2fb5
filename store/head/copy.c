/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * copy_file_range(2): what the store has is shared by reference, holes stay holes, and only staged
 * bytes are copied.
 */
#include "head/attr.h"
#include "head/data.h"

enum {
	COPY_BYTES = 1 << 20, /* staged bytes moved at a time */
};

static const uint64_t copy_max = 2 * GiB - STAGE_BLOCK;

static int shown_at(struct vnode *n, uint64_t off, struct access *acc, struct shown *ret)
{
	struct view *v = n->view;
	_cleanup_file_ struct file f = { 0 };
	int r;

	WITH_LOCK(&v->lock);

	r = live_load(v, n, acc, &f);
	if (r < 0)
		return r;
	if (off >= f.rec.size)
		return -ENODATA;
	r = view_shown(v, n->ino, &f, off, ret);
	/* It would borrow what does not outlive the lock. */
	ret->content.inlined = span_of(NULL, 0);
	return r;
}

/* Makes @x what the file shows in its range, with no byte staged. */
static int share_locked(struct vnode *n, const struct extent *x, struct access *acc)
{
	struct view *v = n->view;
	struct head *h = head_of(v);
	uint64_t end = x->off + x->len, had, has = x->len;
	_cleanup_change_ struct change c = { 0 };
	_cleanup_file_ struct file f = { 0 };
	_cleanup_buf_ struct buf list = { 0 };
	struct freed_list freed = { 0 };
	int r;

	WITH_LOCK(&v->lock);

	r = change_begin(&c, v, acc);
	if (r == 0)
		r = load_vnode(v, n, acc, &f);
	if (r == 0)
		r = data_in(h, n->ino, &f, x->off, end, &had);
	if (r == 0)
		r = change_file(&c, n, &f);
	if (r == 0)
		r = attr_kill_priv(&c, n, &f, &list);
	if (r == 0)
		r = extents_set(&c, n->ino, x, 1, &freed);
	if (r == 0) {
		if (x->source == EXTENT_HOLE)
			has = 0;
		else if (x->len == x->content.size)
			has = x->content.data;
		f.rec.has_extents = true;
		f.rec.data = f.rec.data - had + has;
		f.rec.size = MAX(f.rec.size, end);
		f.rec.inode.mtime = f.rec.inode.ctime = c.now;
		change_put(&c, n->ino, &f.rec);
		r = change_apply(&c);
	}
	freed_end(&freed, h->heads->staging, r == 0);
	return r;
}

static int share_attempt(struct vnode *n, const struct extent *x, struct access *acc)
{
	_cleanup_data_ struct data_lock l = data_lock(n, n->file, true);

	return share_locked(n, x, acc);
}

static int64_t copy_bytes(struct vnode *from, uint64_t from_off, struct vnode *to, uint64_t to_off,
			  uint64_t len, struct access *acc)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	int64_t n;
	int r;

	len = MIN(len, (uint64_t)COPY_BYTES);
	bytes = malloc(len);
	if (!bytes)
		return -ENOMEM;
	n = view_read(from, from_off, len, bytes, acc);
	if (n <= 0)
		return n;
	r = view_write(to, to_off, span_of(bytes, (size_t)n), false, true, acc);
	return r < 0 ? r : n;
}

/* One piece; how many bytes. */
static int64_t copy_piece(struct vnode *from, uint64_t from_off, struct vnode *to, uint64_t to_off,
			  uint64_t len, struct access *acc)
{
	struct extent x = { .off = to_off };
	struct shown s;
	int r;

	r = WITH_ACCESS(acc, shown_at(from, from_off, acc, &s));
	if (r < 0)
		return r == -ENODATA ? 0 : r;
	x.len = MIN(s.len, len);
	if (s.source == EXTENT_STAGED)
		return copy_bytes(from, from_off, to, to_off, x.len, acc);
	x.source = s.source;
	x.content = s.content;
	x.content_off = s.content_off;
	r = WITH_ACCESS(acc, share_attempt(to, &x, acc));
	return r < 0 ? r : (int64_t)x.len;
}

int64_t view_copy_range(struct vnode *from, uint64_t from_off, struct vnode *to, uint64_t to_off,
			uint64_t len, struct access *acc)
{
	uint64_t done = 0, end;
	int r = change_room(to->view, acc);

	if (r < 0)
		return r;
	len = MIN(len, copy_max);
	if (__builtin_add_overflow(to_off, len, &end) || end > INT64_MAX)
		return -EFBIG;
	while (done < len) {
		int64_t n = copy_piece(from, from_off + done, to, to_off + done, len - done, acc);

		if (n < 0)
			return done > 0 ? (int64_t)done : n;
		if (n == 0)
			break;
		done += (uint64_t)n;
	}
	return (int64_t)done;
}
