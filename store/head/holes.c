/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * SEEK_DATA and SEEK_HOLE: holes as a commit will keep them, that is in whole blocks (FORMAT.md,
 * section 8.3), so that the answer does not change when the file is committed.
 */
#include <unistd.h>

#include "head/data.h"

static int content_run(struct view *v, const struct content *c, uint64_t off, struct access *acc,
		       bool *ret_is_hole, uint64_t *ret_len)
{
	struct reader_source src = reader_source(v->store->reader, acc);
	_cleanup_(tree_cursor_release) struct tree_cursor cur;
	struct tree_root root = content_root(c);
	struct extent_rec x;
	uint64_t start;
	int r;

	tree_cursor_init(&cur, TREE_EXTENTS, &src.base);
	r = tree_seek_byte(&cur, &root, off, &start);
	if (r < 0)
		return r;
	if (cur.is_end)
		return -EIO;
	node_extent(tree_leaf(&cur), tree_index(&cur), &x);
	*ret_is_hole = x.is_hole;
	*ret_len = x.len - (off - start);
	return 0;
}

/* What is at @off < size: data or hole, and for how long at least. */
static int run_at(struct vnode *n, const struct file *f, uint64_t off, struct access *acc,
		  bool *ret_is_hole, uint64_t *ret_len)
{
	struct view *v = n->view;
	struct shown s;
	int r;

	r = view_shown(v, n->ino, f, off, &s);
	if (r < 0)
		return r;
	*ret_is_hole = s.source == EXTENT_HOLE;
	*ret_len = s.len;
	if (s.source != EXTENT_CONTENT || s.content.kind != CONTENT_EXTENTS ||
	    s.content.data == s.content.size)
		return 0;
	r = content_run(v, &s.content, s.content_off, acc, ret_is_hole, ret_len);
	*ret_len = MIN(*ret_len, s.len);
	return r;
}

/* Where the hole around @off, counted in whole blocks, ends; @off if there is none. */
static int hole_end(struct vnode *n, const struct file *f, uint64_t off, struct access *acc,
		    uint64_t *ret)
{
	uint64_t size = f->rec.size, at = ALIGN_DOWN(off, HOLE_ALIGN);
	bool is_hole = true;

	while (at < size) {
		uint64_t len;
		int r = run_at(n, f, at, acc, &is_hole, &len);

		if (r < 0)
			return r;
		if (!is_hole)
			break;
		at += len;
	}
	if (at < size)
		at = ALIGN_DOWN(at, HOLE_ALIGN);
	*ret = MAX(at, off);
	return 0;
}

/* The first byte from @off on that begins a whole block of hole, or the size. */
static int data_end(struct vnode *n, const struct file *f, uint64_t off, struct access *acc,
		    uint64_t *ret)
{
	uint64_t size = f->rec.size;

	while (off < size) {
		uint64_t end, len, start;
		bool is_hole;
		int r = run_at(n, f, off, acc, &is_hole, &len);

		if (r < 0)
			return r;
		if (is_hole) {
			start = ALIGN_UP(off, HOLE_ALIGN);
			if (start >= size)
				break;
			r = hole_end(n, f, start, acc, &end);
			if (r < 0)
				return r;
			if (end > start) {
				*ret = start;
				return 0;
			}
		}
		off += len;
	}
	*ret = size;
	return 0;
}

static int seek_locked(struct vnode *n, uint64_t off, int whence, struct access *acc, uint64_t *ret)
{
	struct view *v = n->view;
	_cleanup_file_ struct file f = { 0 };
	uint64_t end;
	int r;

	WITH_LOCK(&v->lock);

	r = live_load(v, n, acc, &f);
	if (r < 0)
		return r;
	if (off >= f.rec.size)
		return -ENXIO;
	r = hole_end(n, &f, off, acc, &end);
	if (r < 0)
		return r;
	if (whence == SEEK_DATA) {
		*ret = end;
		return end < f.rec.size ? 0 : -ENXIO;
	}
	if (end > off) {
		*ret = off;
		return 0;
	}
	return data_end(n, &f, off, acc, ret);
}

static int seek_attempt(struct vnode *n, uint64_t off, int whence, struct access *acc,
			uint64_t *ret)
{
	_cleanup_data_ struct data_lock l = data_lock(n, n->file, false);

	return seek_locked(n, off, whence, acc, ret);
}

int64_t view_seek(struct vnode *n, uint64_t off, int whence, struct access *acc)
{
	uint64_t at;
	int r;

	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	r = WITH_ACCESS(acc, seek_attempt(n, off, whence, acc, &at));
	return r < 0 ? r : (int64_t)at;
}
