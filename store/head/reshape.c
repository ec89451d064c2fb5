/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Changing what a file shows without writing to it: truncate, fallocate.
 */
#include <fcntl.h>

#include "head/attr.h"
#include "head/data.h"

/* A change of what a range of a file shows that stages nothing: smaller, larger, or a hole. */
struct reshaping {
	const struct setattr *attrs; /* NULL: none but times */
	uint64_t size; /* afterwards */
	uint64_t hole_off, hole_end; /* to become a hole; equal: none */
	struct stat st; /* the result */
};

static int carve_hole(struct change *c, struct vnode *n, struct file *f, uint64_t off, uint64_t end,
		      struct freed_list *freed)
{
	struct extent x = { .off = off, .len = end - off, .source = EXTENT_HOLE };

	/* Where nothing shows from below, nothing is needed to hide it. */
	if (off >= f->rec.lower_end)
		return f->rec.has_extents ? extents_carve(c, n->ino, off, end - off, freed) : 0;
	if (end >= f->rec.lower_end && end >= f->rec.size) {
		f->rec.lower_end = off;
		return f->rec.has_extents ? extents_carve(c, n->ino, off, end - off, freed) : 0;
	}
	f->rec.has_extents = true;
	return extents_set(c, n->ino, &x, 1, freed);
}

static int reshape_locked(struct vnode *n, struct reshaping *s, struct access *acc)
{
	struct view *v = n->view;
	struct head *h = head_of(v);
	_cleanup_change_ struct change c = { 0 };
	_cleanup_file_ struct file f = { 0 };
	_cleanup_buf_ struct buf list = { 0 };
	struct freed_list freed = { 0 };
	uint64_t lost = 0, lost_hole = 0, hole_end;
	int r;

	WITH_LOCK(&v->lock);

	r = change_begin(&c, v, acc);
	if (r == 0)
		r = load_vnode(v, n, acc, &f);
	if (r < 0)
		return r;
	s->size = s->size == UINT64_MAX ? f.rec.size : s->size;
	hole_end = MIN(s->hole_end, f.rec.size);
	if (s->size < f.rec.size)
		r = data_in(h, n->ino, &f, s->size, f.rec.size, &lost);
	if (r == 0 && s->hole_off < hole_end)
		r = data_in(h, n->ino, &f, s->hole_off, hole_end, &lost_hole);
	if (r == 0)
		r = change_file(&c, n, &f);
	if (r == 0 && s->size < f.rec.size)
		r = carve_hole(&c, n, &f, s->size, f.rec.size, &freed);
	if (r == 0 && s->hole_off < hole_end)
		r = carve_hole(&c, n, &f, s->hole_off, hole_end, &freed);
	if (r == 0 && s->attrs)
		r = attr_apply(&c, n, &f, s->attrs, &list);
	if (r == 0) {
		f.rec.data -= MIN(f.rec.data, lost + lost_hole);
		f.rec.size = s->size;
		if (!s->attrs)
			f.rec.inode.mtime = f.rec.inode.ctime = c.now;
		change_put(&c, n->ino, &f.rec);
		r = change_apply(&c);
	}
	freed_end(&freed, h->heads->staging, r == 0);
	if (r == 0)
		file_stat(&f.rec, n->ino, &s->st);
	return r;
}

static int reshape_attempt(struct vnode *n, struct live_file *file, struct reshaping *s,
			   struct access *acc)
{
	_cleanup_data_ struct data_lock l = data_lock(n, file, true);

	return reshape_locked(n, s, acc);
}

static int reshape(struct vnode *n, struct reshaping *s, struct access *acc)
{
	struct live_file *file;
	int r = live_get(n, &file);

	if (r < 0)
		return r;
	r = WITH_ACCESS(acc, reshape_attempt(n, file, s, acc));
	live_put(n);
	return r;
}

int data_set_size(struct vnode *n, const struct setattr *a, struct access *acc, struct stat *ret_st)
{
	struct reshaping s = { .attrs = a, .size = a->size };
	int r;

	if (n->type != FT_REG)
		return n->type == FT_DIR ? -EISDIR : -EINVAL;
	if (a->size > INT64_MAX)
		return -EFBIG;
	r = reshape(n, &s, acc);
	if (r == 0)
		*ret_st = s.st;
	return r;
}

int view_fallocate(struct vnode *n, int mode, uint64_t off, uint64_t len, struct access *acc)
{
	struct reshaping s = { .size = UINT64_MAX };
	uint64_t end;
	struct stat st;
	int r;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) ||
	    (mode & FALLOC_FL_PUNCH_HOLE && mode & FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	if (len == 0 || __builtin_add_overflow(off, len, &end))
		return len == 0 ? -EINVAL : -EFBIG;
	if (end > INT64_MAX)
		return -EFBIG;
	r = change_room(n->view, acc);
	if (r == 0)
		r = view_getattr(n, acc, &st);
	if (r < 0)
		return r;
	if (!(mode & FALLOC_FL_KEEP_SIZE) && end > (uint64_t)st.st_size)
		s.size = end;
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
		s.hole_off = off;
		s.hole_end = end;
	} else if (s.size == UINT64_MAX) {
		/* Space is not reserved, so there is nothing to do. */
		return 0;
	}
	return reshape(n, &s, acc);
}
