/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Walking everything below a directory, as far as the caller may see it.
 *
 * Directories are read in small batches, so that memory goes with the depth alone.
 */
#include "service/compare.h"

enum {
	BATCH = 32,
	DEPTH_MAX = 4096, /* a path cannot be longer */
};

struct entry {
	char *name; /* owned */
	size_t len;
	struct vnode *vnode; /* a reference */
	struct stat st;
};

/* A directory that is being read. */
struct frame {
	struct vnode *dir; /* a reference */
	struct dir_handle *handle; /* owned */
	uint64_t pos;
	struct entry batch[BATCH];
	unsigned count, next;
	size_t path_len; /* of the directory */
	int error; /* of the callback */
};

struct walk {
	struct request *q;
	struct frame **frames; /* a stack; owned */
	size_t depth, cap;
	struct buf path;
	below_fn fn;
	void *ctx;
};

static void drop_batch(struct request *q, struct frame *f)
{
	for (; f->next < f->count; f->next++) {
		free(f->batch[f->next].name);
		vnode_unref(q->service->vnodes, f->batch[f->next].vnode);
	}
	f->next = f->count = 0;
}

static void leave(struct walk *w)
{
	struct frame *f = w->frames[--w->depth];

	drop_batch(w->q, f);
	view_closedir(f->handle);
	vnode_unref(w->q->service->vnodes, f->dir);
	free(f);
}

/* Room for one more. */
static int make_room(struct walk *w)
{
	size_t cap = MAX(2 * w->cap, (size_t)16);
	struct frame **frames;

	if (w->depth == DEPTH_MAX)
		return -ENAMETOOLONG;
	if (w->depth < w->cap)
		return 0;
	frames = reallocarray(w->frames, cap, sizeof(*frames));
	if (!frames)
		return -ENOMEM;
	w->frames = frames;
	w->cap = cap;
	return 0;
}

static int enter(struct walk *w, struct vnode *dir)
{
	struct frame *f;
	int r = make_room(w);

	if (r < 0)
		return r;
	f = new0(struct frame, 1);
	if (!f)
		return -ENOMEM;
	r = view_opendir(dir, &w->q->access, &f->handle);
	if (r < 0) {
		free(f);
		return r;
	}
	vnode_ref(w->q->service->vnodes, dir);
	f->dir = dir;
	f->path_len = w->path.len;
	w->frames[w->depth++] = f;
	return 0;
}

struct filling {
	struct walk *walk;
	struct frame *frame;
};

static int fill(const struct dir_item *e, void *ctx)
{
	struct filling *x = ctx;
	struct frame *f = x->frame;
	struct entry *to;

	if (f->count == BATCH)
		return 1;
	to = &f->batch[f->count];
	to->name = strndup((const char *)e->name.data, e->name.len);
	if (!to->name) {
		f->error = -ENOMEM;
		return 1;
	}
	to->len = e->name.len;
	to->vnode = e->vnode;
	vnode_ref(x->walk->q->service->vnodes, e->vnode);
	to->st = e->st;
	f->count++;
	f->pos = e->next_pos;
	return 0;
}

static int visit(struct walk *w, struct frame *f, struct entry *e)
{
	struct request *q = w->q;
	struct fact fact;
	struct oid id;
	int r;

	w->path.len = f->path_len;
	if (w->path.len > 0)
		buf_put_u8(&w->path, '/');
	buf_put(&w->path, e->name, e->len);
	r = buf_failed(&w->path) ? -ENOMEM : view_content_id(e->vnode, &q->access, &id);
	if (r < 0)
		return r;
	fact_of(&e->st, &id, &fact);
	fact.vnode = e->vnode;
	r = w->fn(&fact, buf_span(&w->path), w->ctx);
	if (r != 0 || !S_ISDIR(e->st.st_mode))
		return r == 1 ? 0 : r;
	r = permit_dir(q, e->vnode, &e->st, R_OK | X_OK);
	if (r < 0)
		return r == -EACCES ? 0 : r;
	return enter(w, e->vnode);
}

static int step(struct walk *w)
{
	struct frame *f = w->frames[w->depth - 1];
	struct filling x = { w, f };
	struct entry *e;
	int r = request_check(w->q);

	if (r == 0 && f->next == f->count) {
		f->next = f->count = 0;
		r = view_readdir(f->handle, f->pos, true, &w->q->access, fill, &x) ?: f->error;
	}
	if (r < 0)
		return r;
	if (f->count == 0) {
		leave(w);
		return 0;
	}
	e = &f->batch[f->next++];
	r = visit(w, f, e);
	free(e->name);
	vnode_unref(w->q->service->vnodes, e->vnode);
	return r == -ENOENT ? 0 : r; /* it went meanwhile */
}

int walk_below(struct request *q, struct vnode *dir, struct span path, below_fn fn, void *ctx)
{
	struct walk w = { .q = q, .fn = fn, .ctx = ctx };
	int r;

	buf_put(&w.path, path.data, path.len);
	r = enter(&w, dir);
	while (r == 0 && w.depth > 0)
		r = step(&w);
	while (w.depth > 0)
		leave(&w);
	free(w.frames);
	buf_release(&w.path);
	return r;
}
