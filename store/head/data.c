/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files in use: open, read, close.
 *
 * A read holds the gate and the file's lock shared while it reads staged bytes; what the store has
 * is read without any lock, since it never changes.
 */
#include "head/data.h"

#include <fcntl.h>

#include "head/pin.h"

enum {
	PLAN_MAX = 32,
	LOOKS_AT_ONCE = 256, /* others wait for the lock */
};

static bool opens_for_writing(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

/* From here on the head stays on its base. */
static int add_writer(struct vnode *n)
{
	WITH_LOCK(&n->view->lock);

	if (n->flags & VNODE_LEFT)
		return -ESTALE;
	head_of(n->view)->writers++;
	n->file->writers++;
	return 0;
}

int view_open(struct vnode *n, int flags, struct access *acc)
{
	struct view *v = n->view;
	struct live_file *l;
	int r;

	if (n->type != FT_REG)
		return n->type == FT_DIR ? -EISDIR : -EINVAL;
	if (opens_for_writing(flags) && !view_can_change(v))
		return -EROFS;
	r = live_get(n, &l);
	if (r < 0)
		return r;
	if (opens_for_writing(flags))
		r = add_writer(n);
	if (r < 0) {
		live_put(n);
		return r;
	}
	vnode_ref(v->vnodes, n);
	return 0;
}

void view_close(struct vnode *n, int flags)
{
	struct view *v = n->view;

	if (opens_for_writing(flags)) {
		WITH_LOCK(&v->lock);

		head_of(v)->writers--;
		head_of(v)->touched++;
		n->file->writers--;
	}
	live_put(n);
	vnode_unref(v->vnodes, n);
}

void data_unlock(struct data_lock *l)
{
	if (l->file)
		pthread_rwlock_unlock(l->file);
	if (l->gate)
		pthread_rwlock_unlock(l->gate);
	*l = (struct data_lock){ 0 };
}
struct data_lock data_lock(struct vnode *n, struct live_file *file, bool is_exclusive)
{
	struct data_lock l = { .file = &file->lock };

	if (n->view->is_head) {
		l.gate = &head_of(n->view)->gate;
		pthread_rwlock_rdlock(l.gate);
	}
	if (is_exclusive)
		pthread_rwlock_wrlock(l.file);
	else
		pthread_rwlock_rdlock(l.file);
	return l;
}

/* Part of a read: what shows, and where in the buffer it goes. */
struct plan_piece {
	struct shown shown;
	size_t at;
};
struct plan {
	struct plan_piece pieces[PLAN_MAX];
	unsigned count;
	size_t len; /* covered; less than asked for at the end of the file, or when full */
	bool is_end;
};

static int plan_read(struct vnode *n, uint64_t off, size_t len, uint8_t *buf, struct access *acc,
		     struct plan *p)
{
	struct view *v = n->view;
	_cleanup_file_ struct file f = { 0 };
	int r;

	WITH_LOCK(&v->lock);

	*p = (struct plan){ 0 };
	r = live_load(v, n, acc, &f);
	if (r < 0)
		return r;
	while (p->len < len && p->count < PLAN_MAX && off + p->len < f.rec.size) {
		struct plan_piece *x = &p->pieces[p->count];
		struct shown *s = &x->shown;

		r = view_shown(v, n->ino, &f, off + p->len, s);
		if (r < 0)
			return r;
		s->len = MIN(s->len, (uint64_t)(len - p->len));
		x->at = p->len;
		p->len += s->len;
		if (s->source == EXTENT_HOLE) {
			memset(buf + x->at, 0, s->len);
		} else if (s->source == EXTENT_CONTENT && s->content.inlined.len > 0) {
			/* What it borrows does not outlive the lock. */
			memcpy(buf + x->at, s->content.inlined.data + s->content_off, s->len);
		} else {
			p->count++;
		}
	}
	p->is_end = off + p->len >= f.rec.size;
	return 0;
}

static int read_staged(struct vnode *n, uint64_t off, size_t len, uint8_t *buf, struct access *acc,
		       struct plan *p)
{
	_cleanup_data_ struct data_lock l = data_lock(n, n->file, false);
	int r = plan_read(n, off, len, buf, acc, p);

	for (unsigned i = 0; r == 0 && i < p->count; i++) {
		struct shown *s = &p->pieces[i].shown;

		if (s->source == EXTENT_STAGED)
			r = staging_read(head_of(n->view)->heads->staging, s->place,
					 buf + p->pieces[i].at, s->len);
	}
	return r;
}

int64_t view_read(struct vnode *n, uint64_t off, size_t len, void *buf, struct access *acc)
{
	struct reader *reader = n->view->store->reader;
	uint8_t *out = buf;
	size_t done = 0;
	struct plan p;

	do {
		int r = WITH_ACCESS(acc,
				    read_staged(n, off + done, len - done, out + done, acc, &p));

		for (unsigned i = 0; r == 0 && i < p.count; i++) {
			struct shown *s = &p.pieces[i].shown;
			int64_t got = (int64_t)s->len;

			if (s->source == EXTENT_CONTENT)
				got = WITH_ACCESS_64(acc, content_read(reader, &s->content,
								       s->content_off, s->len,
								       out + done + p.pieces[i].at,
								       acc));
			if (got != (int64_t)s->len)
				r = got < 0 ? (int)got : -EIO;
		}
		if (r < 0)
			return r;
		done += p.len;
	} while (done < len && !p.is_end);
	return (int64_t)done;
}

uint64_t view_prefetch(struct vnode *n, uint64_t off, size_t len, struct access *acc)
{
	struct reader *reader = n->view->store->reader;
	_cleanup_file_ struct file f = { 0 };
	struct content c = { 0 };
	struct shown s;
	int r;

	pthread_mutex_lock(&n->view->lock);
	access_at_hand(acc);
	r = live_load(n->view, n, acc, &f);
	if (r == 0 && off < f.rec.size)
		r = view_shown(n->view, n->ino, &f, off, &s);
	else
		r = -ENOENT;
	if (r == 0 && s.source == EXTENT_CONTENT && s.content.inlined.len == 0)
		c = s.content;
	pthread_mutex_unlock(&n->view->lock);
	access_may_fetch(acc);
	if (c.size == 0)
		return add_sat(off, len);
	len = MIN(len, (size_t)s.len);
	return off + (content_prefetch(reader, &c, s.content_off, len) - s.content_off);
}

int view_fsync(struct vnode *n)
{
	return n->view->is_head ? table_sync(head_of(n->view)->heads->table) : 0;
}

/* From @off on, which moves: 1: some of the base shows; 0: none does; -EINPROGRESS: there is more
 * to be looked at; or the errors of looking. */
static int look_for_base(struct vnode *n, uint64_t *off, struct access *acc)
{
	struct view *v = n->view;
	_cleanup_file_ struct file f = { 0 };
	struct shown s;
	int r;

	WITH_LOCK(&v->lock);

	if (n->flags & VNODE_LEFT)
		return 1;
	r = load_vnode(v, n, acc, &f);
	if (r < 0 || !f.layer)
		return r < 0 ? r : 1;
	for (unsigned i = 0; f.rec.inode.type == FT_REG && *off < f.rec.size; i++) {
		if (i == LOOKS_AT_ONCE)
			return -EINPROGRESS;
		r = view_shown(v, n->ino, &f, *off, &s);
		if (r < 0 || s.is_base)
			return r < 0 ? r : 1;
		*off += s.len;
	}
	return 0;
}

bool view_shows_base(struct vnode *n, struct access *acc)
{
	uint64_t off = 0;
	int r;

	do {
		r = WITH_ACCESS(acc, look_for_base(n, &off, acc));
	} while (r == -EINPROGRESS);
	/* Where that cannot be told it may. */
	return r != 0;
}
