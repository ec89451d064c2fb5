/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Writing to files.
 *
 * A write stages its bytes first and then says in one change where they are; nobody reads them in
 * between. It holds the gate, so that no freeze comes between, and the file's lock, so that size
 * and extents move for one writer at a time.
 *
 * Small files go into slabs, where an append uses up its last block first; from STAGE_SMALL_MAX on
 * a file has a staging file of its own, at the same offsets, and may overwrite what it wrote.
 */
#include "head/attr.h"
#include "head/data.h"

/* @a * @b / @c without overflow; @c is not 0. */
static uint64_t scale(uint64_t a, uint64_t b, uint64_t c)
{
	return (uint64_t)((unsigned __int128)a * b / c);
}

/* How much of [@off, @end) of a file is hole; the file has some. */
static int count_holes(struct head *h, uint64_t ino, const struct file *f, uint64_t off,
		       uint64_t end, uint64_t *ret)
{
	uint64_t holes = 0;

	for (uint64_t at = off; at < end;) {
		struct shown s;
		int r = view_shown(&h->view, ino, f, at, &s);

		if (r < 0)
			return r;
		s.len = MIN(s.len, end - at);
		if (s.source == EXTENT_HOLE)
			holes += s.len;
		else if (s.source == EXTENT_CONTENT)
			/* Its own holes are spread as evenly as we care to know. */
			holes += scale(s.content.size - s.content.data, s.len, s.content.size);
		at += s.len;
	}
	*ret = holes;
	return 0;
}

/* Bytes of data that the file has once [@off, @end) is written, and how many it loses of it. */
int data_in(struct head *h, uint64_t ino, const struct file *f, uint64_t off, uint64_t end,
	    uint64_t *ret)
{
	uint64_t inside = MIN(end, f->rec.size), holes = 0;
	int r = 0;

	if (off >= inside) {
		*ret = 0;
		return 0;
	}
	if (f->rec.data < f->rec.size)
		r = count_holes(h, ino, f, off, inside, &holes);
	*ret = MIN(inside - off - holes, f->rec.data);
	return r;
}

/* A write: where it goes, as far as known. */
struct writing {
	struct vnode *n;
	uint64_t off;
	struct span data;
	bool is_append, kill_priv;
	/* decided under the lock */
	uint32_t own_file; /* of the file; 0: none */
	bool is_new_file; /* it is to have one */
	bool in_slab;
	struct stage_place tail; /* room at the end of the extent before */
	uint64_t tail_room;
	/* where it went */
	struct extent parts[2];
	unsigned count;
	struct stage_place fresh; /* newly given out in a slab */
	uint64_t fresh_len;
};

static int decide(struct writing *w, struct access *acc)
{
	struct view *v = w->n->view;
	struct head *h = head_of(v);
	_cleanup_change_ struct change c = { 0 };
	_cleanup_file_ struct file f = { 0 };
	struct extent x;
	uint64_t end;
	int r;

	WITH_LOCK(&v->lock);

	r = change_begin(&c, v, acc);
	if (r == 0)
		r = load_vnode(v, w->n, acc, &f);
	/* What the change will need is fetched before a byte is staged. */
	if (r == 0)
		r = change_file(&c, w->n, &f);
	if (r < 0)
		return r;
	if (w->is_append)
		w->off = f.rec.size;
	if (__builtin_add_overflow(w->off, w->data.len, &end) || end > INT64_MAX)
		return -EFBIG;
	w->own_file = f.rec.own_file;
	if (w->own_file && !staging_has(h->heads->staging, w->own_file))
		w->own_file = 0;
	w->in_slab = end > STAGE_FILE_END || (!w->own_file && end <= STAGE_SMALL_MAX);
	w->is_new_file = !w->own_file && !w->in_slab;
	w->tail_room = 0;
	if (!w->in_slab || !f.rec.has_extents || w->off == 0)
		return 0;
	r = extent_at(h, c.layer, w->n->ino, w->off - 1, &x);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (x.off < w->off && x.off + x.len == w->off && x.source == EXTENT_STAGED) {
		w->tail = (struct stage_place){ x.place.file, x.place.pos + x.len };
		w->tail_room = staging_tail_room(h->heads->staging, w->tail);
	}
	return 0;
}

static int put_bytes(struct writing *w, struct stage_place at, uint64_t skip, uint64_t len)
{
	struct staging *st = head_of(w->n->view)->heads->staging;
	int r = staging_write(st, at, w->data.data + skip, len);

	if (r == 0)
		w->parts[w->count++] = (struct extent){
			.off = w->off + skip, .len = len, .source = EXTENT_STAGED, .place = at
		};
	return r;
}

static int stage_in_slab(struct writing *w, struct staging *st)
{
	uint64_t first = MIN(w->tail_room, (uint64_t)w->data.len);
	int r = 0;

	if (first > 0)
		r = put_bytes(w, w->tail, 0, first);
	if (r < 0 || first == w->data.len)
		return r;
	r = staging_alloc(st, w->data.len - first, &w->fresh);
	if (r < 0)
		return r;
	w->fresh_len = w->data.len - first;
	return put_bytes(w, w->fresh, first, w->fresh_len);
}

static int stage(struct writing *w)
{
	struct staging *st = head_of(w->n->view)->heads->staging;
	int r = 0;

	w->count = 0;
	w->fresh_len = 0;
	if (w->is_new_file)
		r = staging_file_new(st, &w->own_file);
	if (r < 0 || w->in_slab)
		return r < 0 ? r : stage_in_slab(w, st);
	return put_bytes(w, (struct stage_place){ w->own_file, w->off }, 0, w->data.len);
}

/* It came to nothing: what was given out for it goes back. */
static void unstage(struct writing *w)
{
	struct staging *st = head_of(w->n->view)->heads->staging;

	if (w->is_new_file && w->own_file)
		staging_release_file(st, w->own_file);
	if (w->fresh_len > 0)
		staging_release(st, w->fresh, w->fresh_len);
}

static int record_write(struct writing *w, struct access *acc)
{
	struct view *v = w->n->view;
	struct head *h = head_of(v);
	uint64_t end = w->off + w->data.len, had;
	_cleanup_change_ struct change c = { 0 };
	_cleanup_file_ struct file f = { 0 };
	_cleanup_buf_ struct buf list = { 0 };
	struct freed_list freed = { 0 };
	int r;

	WITH_LOCK(&v->lock);

	r = change_begin(&c, v, acc);
	if (r == 0)
		r = load_vnode(v, w->n, acc, &f);
	if (r == 0)
		r = data_in(h, w->n->ino, &f, w->off, end, &had);
	if (r == 0)
		r = change_file(&c, w->n, &f);
	if (r == 0 && w->kill_priv)
		r = attr_kill_priv(&c, w->n, &f, &list);
	if (r == 0)
		r = extents_set(&c, w->n->ino, w->parts, w->count, &freed);
	if (r == 0) {
		f.rec.data += w->data.len - had;
		f.rec.size = MAX(f.rec.size, end);
		f.rec.own_file = w->own_file;
		f.rec.has_extents = true;
		f.rec.inode.mtime = f.rec.inode.ctime = c.now;
		change_put(&c, w->n->ino, &f.rec);
		r = change_apply(&c);
	}
	freed_end(&freed, h->heads->staging, r == 0);
	return r;
}

static int write_attempt(struct writing *w, struct access *acc)
{
	_cleanup_data_ struct data_lock l = data_lock(w->n, w->n->file, true);
	int r;

	r = decide(w, acc);
	if (r < 0)
		return r;
	r = stage(w);
	if (r == 0)
		r = record_write(w, acc);
	if (r < 0)
		unstage(w);
	return r;
}

/* Is there space that a sync point would give back? */
static bool has_waiting(struct head *h)
{
	struct staging_stats s;

	staging_stats(h->heads->staging, &s);
	return s.waiting > 0;
}

/* Has what was freed back, which is a wait for the disk. */
static int wait_for_room(struct head *h)
{
	int r;

	/* What is on its way back keeps the sync point from sending more. */
	staging_settle(h->heads->staging);
	r = table_sync(h->heads->table);
	staging_settle(h->heads->staging);
	return r;
}

int view_write(struct vnode *n, uint64_t off, struct span data, bool append, bool kill_priv,
	       struct access *acc)
{
	struct writing w = {
		.n = n, .off = off, .data = data, .is_append = append, .kill_priv = kill_priv
	};
	int r = change_room(n->view, acc);

	if (r < 0 || data.len == 0)
		return r;
	r = WITH_ACCESS(acc, write_attempt(&w, acc));
	if (r != -ENOSPC || !has_waiting(head_of(n->view)))
		return r;
	if (!acc->may_wait)
		return -EAGAIN;
	r = wait_for_room(head_of(n->view));
	return r < 0 ? r : WITH_ACCESS(acc, write_attempt(&w, acc));
}
