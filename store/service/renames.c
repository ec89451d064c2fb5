/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What was renamed: a thing that was removed and one that was added are the same if their contents
 * have one id, or, within one head, if they are one file. Empty files and directories are nobody's.
 *
 * A directory that is on one side only comes as one difference, so files that moved out of it or
 * into it are found by looking through it. It stays a difference, and stands for all below it but
 * what is told as renamed.
 */
#include "base/hash.h"
#include "base/htab.h"
#include "service/compare.h"

enum {
	LOOKED_AT_MAX = 200000, /* things below such directories, on each side */
	CANDIDATES_MAX = 64, /* things of one content looked at for one of the same name */
};

static int cmp_paths(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	/* A directory goes before what is below it, and that before what follows the directory. */
	return (*a == '/' ? 1 : (unsigned char)*a) - (*b == '/' ? 1 : (unsigned char)*b);
}

static int cmp_differences(const void *a, const void *b)
{
	return cmp_paths(((const struct difference *)a)->path,
			 ((const struct difference *)b)->path);
}

void differences_sort(struct differences *c)
{
	if (c->count > 0)
		qsort(c->items, c->count, sizeof(*c->items), cmp_differences);
}

/* Something that is gone from where it was. */
struct gone {
	struct hnode node; /* by id or inode number */
	struct gone *next; /* of those paired */
	struct fact fact;
	char *path; /* owned */
	size_t origin; /* of the differences: the one it is, or is below */
	bool is_below;
};

struct pairing {
	struct request *q;
	const struct comparison *c;
	struct differences *all;
	bool is_one_view; /* inode numbers mean the same file on both sides */
	struct htab gone;
	struct gone *paired;
	size_t origin; /* the difference being looked through */
	size_t looked_at;
	struct differences found; /* renames of things below added directories */
};

/* Could it be known again elsewhere? */
static bool is_traceable(const struct pairing *p, const struct fact *f)
{
	if (oid_is_null(&f->id))
		return p->is_one_view && S_ISREG(f->mode);
	return !S_ISREG(f->mode) || f->size > 0;
}

static uint64_t hash_of(const struct fact *f)
{
	return oid_is_null(&f->id) ? hash_u64(f->ino) : oid_hash(&f->id);
}

static bool is_same(const struct fact *a, const struct fact *b)
{
	if ((a->mode & S_IFMT) != (b->mode & S_IFMT) || !oid_equal(&a->id, &b->id))
		return false;
	return !oid_is_null(&a->id) || a->ino == b->ino;
}

static int note_gone(struct pairing *p, const struct fact *f, struct span path, bool is_below)
{
	struct gone *g;

	if (!is_traceable(p, f))
		return 0;
	g = new0(struct gone, 1);
	if (!g)
		return -ENOMEM;
	g->fact = *f;
	g->origin = p->origin;
	g->is_below = is_below;
	g->path = strndup((const char *)path.data, path.len);
	if (!g->path || htab_insert(&p->gone, &g->node, hash_of(f)) < 0) {
		free(g->path);
		free(g);
		return -ENOMEM;
	}
	return 0;
}

static int note_below(const struct fact *f, struct span path, void *ctx)
{
	struct pairing *p = ctx;

	if (++p->looked_at > LOOKED_AT_MAX)
		return -E2BIG;
	return note_gone(p, f, path, true);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* What may have become @f, called @path now: best of all, something of the same name. */
static struct gone *find_gone(struct pairing *p, const struct fact *f, const char *path)
{
	struct gone *first = NULL;
	unsigned tried = 0;

	if (!is_traceable(p, f))
		return NULL;
	htab_for_each (n, &p->gone, hash_of(f)) {
		struct gone *g = container_of(n, struct gone, node);

		if (!is_same(&g->fact, f))
			continue;
		if (strcmp(base_name(g->path), base_name(path)) == 0)
			return g;
		if (!first)
			first = g;
		if (++tried == CANDIDATES_MAX)
			break;
	}
	return first;
}

/* @d, which was added, is what @g was. */
static int pair(struct pairing *p, struct gone *g, struct difference *d)
{
	d->from = strdup(g->path);
	if (!d->from)
		return -ENOMEM;
	d->from_len = strlen(d->from);
	d->what = DIFF_RENAMED;
	d->has[0] = true;
	d->side[0] = g->fact;
	htab_remove(&p->gone, &g->node);
	g->next = p->paired;
	p->paired = g;
	if (!g->is_below)
		p->all->items[g->origin].has[0] = false; /* told as renamed */
	return 0;
}

static int pair_below(const struct fact *f, struct span path, void *ctx)
{
	struct pairing *p = ctx;
	struct difference d = { .path_len = path.len };
	struct gone *g;
	int r;

	if (++p->looked_at > LOOKED_AT_MAX)
		return -E2BIG;
	d.path = strndup((const char *)path.data, path.len);
	if (!d.path)
		return -ENOMEM;
	g = find_gone(p, f, d.path);
	if (!g) {
		free(d.path);
		return 0;
	}
	d.has[1] = true;
	d.side[1] = *f;
	r = pair(p, g, &d);
	if (r < 0)
		difference_release(&d);
	else
		r = differences_add(&p->found, &d);
	return r < 0 ? r : 1;
}

static int look_below(struct pairing *p, const struct difference *d, unsigned side, below_fn fn)
{
	_cleanup_held_ struct held at = { 0 };
	struct stat st;
	int r;

	if (!S_ISDIR(d->side[side].mode))
		return 0;
	r = address_walk_from(p->q, p->c->side[side], span_of(d->path, d->path_len), &at, &st);
	if (r == 0)
		r = walk_below(p->q, at.vnode, span_of(d->path, d->path_len), fn, p);
	/* It changes meanwhile; it is not the caller's to see; there is too much of it. */
	return r == -ENOENT || r == -ENOTDIR || r == -EACCES || r == -E2BIG ? 0 : r;
}

static int collect_gone(struct pairing *p)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->all->count; i++) {
		const struct difference *d = &p->all->items[i];

		p->origin = i;
		if (d->what == DIFF_REMOVED)
			r = note_gone(p, &d->side[0], span_of(d->path, d->path_len), false);
	}
	for (size_t i = 0; r == 0 && i < p->all->count; i++) {
		const struct difference *d = &p->all->items[i];

		p->origin = i;
		if (d->what == DIFF_REMOVED)
			r = look_below(p, d, 0, note_below);
	}
	return r;
}

static int pair_added(struct pairing *p)
{
	int r = 0;

	p->looked_at = 0;
	for (size_t i = 0; r == 0 && i < p->all->count; i++) {
		struct difference *d = &p->all->items[i];
		struct gone *g;

		if (d->what != DIFF_ADDED)
			continue;
		g = find_gone(p, &d->side[1], d->path);
		if (g)
			r = pair(p, g, d);
	}
	for (size_t i = 0; r == 0 && i < p->all->count; i++)
		if (p->all->items[i].what == DIFF_ADDED)
			r = look_below(p, &p->all->items[i], 1, pair_below);
	return r;
}

/* Drops what was told as renamed, and puts the rest in order. */
static int settle(struct pairing *p)
{
	struct differences *all = p->all;
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < all->count; i++) {
		if (all->items[i].has[0] || all->items[i].has[1])
			all->items[n++] = all->items[i];
		else
			difference_release(&all->items[i]);
	}
	all->count = n;
	for (size_t i = 0; r == 0 && i < p->found.count; i++) {
		r = differences_add(all, &p->found.items[i]);
		p->found.items[i] = (struct difference){ 0 };
	}
	if (r == 0 && p->found.count > 0)
		differences_sort(all);
	return r;
}

static void gone_free(struct gone *g)
{
	free(g->path);
	free(g);
}

static void free_left(struct hnode *n, void *ctx)
{
	gone_free(container_of(n, struct gone, node));
}

static void pairing_release(struct pairing *p)
{
	struct gone *next;

	htab_walk(&p->gone, free_left, NULL);
	htab_release(&p->gone);
	for (struct gone *g = p->paired; g; g = next) {
		next = g->next;
		gone_free(g);
	}
	differences_release(&p->found);
}

static bool has(const struct differences *all, enum diff_what what)
{
	for (size_t i = 0; i < all->count; i++)
		if (all->items[i].what == what)
			return true;
	return false;
}

int find_renames(struct request *q, const struct comparison *c, struct differences *all)
{
	struct pairing p = { .q = q, .c = c, .all = all };
	int r;

	p.is_one_view = c->side[0] && c->side[0]->view == c->side[1]->view &&
			view_is_head(c->side[0]->view);
	if (!has(all, DIFF_REMOVED) || !has(all, DIFF_ADDED))
		return 0;
	r = collect_gone(&p);
	if (r == 0)
		r = pair_added(&p);
	if (r == 0)
		r = settle(&p);
	pairing_release(&p);
	return r;
}
