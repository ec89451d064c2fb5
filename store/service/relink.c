/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Hard links of what is restored.
 *
 * Every name of a file with several, on either side, has two numbers: of the file it means in the
 * commit, and in the head. When names that have the same number in the head are apart in the
 * commit, each gets a file of its own; then, when names that have the same number in the commit are
 * apart in the head, all but the first are made names of the first one's file.
 */
#include "service/restore.h"

struct linked {
	char *path; /* owned */
	uint64_t ino[2]; /* in the commit, in the head; 0: not known yet */
};

struct relinking {
	struct request *q;
	struct vnode *side[2]; /* the commit's, the head's; borrowed */
	unsigned at; /* the side being walked */
	struct linked *items; /* owned */
	size_t count, cap;
};

static void relinking_release(struct relinking *x)
{
	for (size_t i = 0; i < x->count; i++)
		free(x->items[i].path);
	free(x->items);
}

static int add(struct relinking *x, struct span path, uint64_t ino)
{
	struct linked l = { .path = strndup((const char *)path.data, path.len) };

	if (x->count == x->cap) {
		size_t cap = MAX(2 * x->cap, (size_t)64);
		struct linked *items = reallocarray(x->items, cap, sizeof(*items));

		if (!items) {
			free(l.path);
			return -ENOMEM;
		}
		x->items = items;
		x->cap = cap;
	}
	if (!l.path)
		return -ENOMEM;
	l.ino[x->at] = ino;
	x->items[x->count++] = l;
	return 0;
}

static int note(const struct fact *f, struct span path, void *ctx)
{
	return f->nlink > 1 && !S_ISDIR(f->mode) ? add(ctx, path, f->ino) : 0;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct linked *)a)->path, ((const struct linked *)b)->path);
}

/* One of each path, with what is known of it. */
static void unite(struct relinking *x)
{
	size_t n = 0;

	qsort(x->items, x->count, sizeof(*x->items), by_path);
	for (size_t i = 0; i < x->count; i++) {
		if (n > 0 && strcmp(x->items[n - 1].path, x->items[i].path) == 0) {
			for (unsigned s = 0; s < 2; s++)
				x->items[n - 1].ino[s] |= x->items[i].ino[s];
			free(x->items[i].path);
		} else {
			x->items[n++] = x->items[i];
		}
	}
	x->count = n;
}

/* What has one name on a side was not met there. */
static int look_up_rest(struct relinking *x)
{
	for (size_t i = 0; i < x->count; i++) {
		for (unsigned s = 0; s < 2; s++) {
			_cleanup_held_ struct held v = { 0 };
			struct stat st;
			int r;

			if (x->items[i].ino[s])
				continue;
			r = address_walk_from(x->q, x->side[s], span_str(x->items[i].path), &v,
					      &st);
			if (r < 0)
				return request_fail(r, "%s", x->items[i].path);
			x->items[i].ino[s] = st.st_ino;
		}
	}
	return 0;
}

static int by_head(const void *a, const void *b)
{
	const struct linked *x = a, *y = b;

	if (x->ino[1] != y->ino[1])
		return x->ino[1] < y->ino[1] ? -1 : 1;
	if (x->ino[0] != y->ino[0])
		return x->ino[0] < y->ino[0] ? -1 : 1;
	return strcmp(x->path, y->path);
}

static int by_commit(const void *a, const void *b)
{
	const struct linked *x = a, *y = b;

	if (x->ino[0] != y->ino[0])
		return x->ino[0] < y->ino[0] ? -1 : 1;
	return by_head(a, b);
}

/* The directory of a path on both sides, and the last part. */
struct parents {
	struct held side[2];
	const char *name;
};

static void parents_release(struct parents *p)
{
	held_release(&p->side[0]);
	held_release(&p->side[1]);
}

static int parents_open(struct relinking *x, const char *path, struct parents *ret)
{
	const char *slash = strrchr(path, '/');
	struct span dir = span_of(path, slash ? (size_t)(slash - path) : 0);
	struct stat st;
	int r = address_walk_from(x->q, x->side[0], dir, &ret->side[0], &st);

	ret->name = slash ? slash + 1 : path;
	return r < 0 ? r : address_walk_from(x->q, x->side[1], dir, &ret->side[1], &st);
}

static int give_own_file(struct relinking *x, struct linked *l)
{
	_cleanup_held_ struct held from = { 0 }, now = { 0 };
	_cleanup_(parents_release) struct parents p = { 0 };
	struct stat st;
	int r = address_walk_from(x->q, x->side[0], span_str(l->path), &from, &st);

	if (r == 0)
		r = parents_open(x, l->path, &p);
	if (r == 0)
		r = restore_replace(x->q, from.vnode, p.side[1].vnode, p.name);
	if (r == 0)
		r = restore_mtime(x->q, p.side[0].vnode, p.side[1].vnode);
	if (r == 0)
		r = address_walk_from(x->q, p.side[1].vnode, span_str(p.name), &now, &st);
	if (r == 0)
		l->ino[1] = st.st_ino;
	return r;
}

/* When names of one file of the head are apart in the commit, what it is now may be what any of
 * them should be: each starts anew. */
static int part(struct relinking *x)
{
	int r = 0;

	qsort(x->items, x->count, sizeof(*x->items), by_head);
	for (size_t i = 0, end; r == 0 && i < x->count; i = end) {
		uint64_t head = x->items[i].ino[1];

		for (end = i + 1; end < x->count && x->items[end].ino[1] == head;)
			end++;
		if (x->items[i].ino[0] == x->items[end - 1].ino[0])
			continue;
		for (size_t k = i; r == 0 && k < end; k++)
			r = give_own_file(x, &x->items[k]);
	}
	return r;
}

static int join_two(struct relinking *x, const struct linked *first, const struct linked *l)
{
	_cleanup_held_ struct held file = { 0 };
	_cleanup_(parents_release) struct parents p = { 0 };
	struct stat st;
	int r = address_walk_from(x->q, x->side[1], span_str(first->path), &file, &st);

	if (r == 0)
		r = parents_open(x, l->path, &p);
	if (r == 0)
		r = restore_link(x->q, file.vnode, p.side[1].vnode, p.name);
	return r < 0 ? r : restore_mtime(x->q, p.side[0].vnode, p.side[1].vnode);
}

static int join(struct relinking *x)
{
	const struct linked *first = NULL;
	int r = 0;

	qsort(x->items, x->count, sizeof(*x->items), by_commit);
	for (size_t i = 0; r == 0 && i < x->count; i++) {
		const struct linked *l = &x->items[i];

		if (!first || l->ino[0] != first->ino[0])
			first = l;
		else if (l->ino[1] != first->ino[1])
			r = join_two(x, first, l);
	}
	return r;
}

int restore_links(struct request *q, struct vnode *from, struct vnode *to)
{
	struct relinking x = { .q = q, .side = { from, to } };
	int r = 0;

	if (!view_has_links(from->view) && !view_has_links(to->view))
		return 0;
	for (x.at = 0; r == 0 && x.at < 2; x.at++)
		r = walk_below(q, x.side[x.at], span_str(""), note, &x);
	if (r == 0 && x.count == 0)
		return 0;
	if (r == 0) {
		unite(&x);
		r = look_up_rest(&x);
	}
	if (r == 0)
		r = part(&x);
	if (r == 0)
		r = join(&x);
	relinking_release(&x);
	return r;
}
