/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is done in a realm, noted for its run (run/RUNS.md, section 3).
 *
 * It is noted before it is answered: who has the answer may end the run at once. A file's place is
 * where it was first found: what it is called later, by the run, is no name of a pinned commit.
 */
#include <stdio.h>

#include "format/inode.h"
#include "realm.h"
#include "root_parts.h"

/* Where it is to be noted, until noted(); NULL: nowhere. */
static struct seen *note(struct realm *k)
{
	if (!k || !k->run)
		return NULL;
	atomic_fetch_add(&k->noting, 1);
	if (!atomic_load(&k->is_sealed))
		return run_seen(k->run);
	atomic_fetch_sub(&k->noting, 1);
	return NULL;
}

static void noted(struct realm *k)
{
	atomic_fetch_sub(&k->noting, 1);
}

static void place(struct vnode *v, seen_place p)
{
	seen_place none = 0;

	atomic_compare_exchange_strong(&v->place, &none, p);
}

void realm_saw_name(struct call *c, struct vnode *dir, struct span name, struct vnode *found)
{
	struct realm *k = view_owner(dir->view);
	struct seen *s = note(k);

	if (!s)
		return;
	if (found)
		place(found, seen_name(s, dir->place, name, SEEN_PRESENT));
	else
		seen_name(s, dir->place, name, SEEN_ABSENT);
	noted(k);
}

static void mark(struct vnode *v, enum seen_what what)
{
	struct realm *k = view_owner(v->view);
	struct seen *s = note(k);

	if (!s)
		return;
	if (v->place)
		seen_mark(s, v->place, what);
	noted(k);
}

bool realm_shows_pinned(struct vnode *v, struct access *acc)
{
	struct realm *k = view_owner(v->view);

	return k && v->place && view_shows_base(v, acc) && !run_has_changed(k->run, v, acc);
}

void realm_saw_read(struct call *c, struct vnode *v, struct access *acc)
{
	if (realm_shows_pinned(v, acc))
		mark(v, SEEN_READ);
}

void realm_saw_kept(struct vnode *v, struct access *acc)
{
	if (view_shows_base(v, acc))
		mark(v, SEEN_KEPT);
}

void realm_saw_list(struct call *c, struct vnode *dir)
{
	mark(dir, SEEN_LISTED);
}

void realm_saw_link(struct call *c, struct vnode *v)
{
	mark(v, SEEN_READ);
}

void realm_saw_move(struct call *c, struct vnode *v, bool showed_pinned)
{
	if (v->type == FT_DIR)
		mark(v, SEEN_TREE);
	else if (v->type == FT_REG && showed_pinned)
		mark(v, SEEN_KEPT);
}

int realm_saw_top_list(struct realm *k, const char *repo, struct access *acc)
{
	struct seen *s;
	int r;

	if (!k || !k->run || atomic_load(&k->is_sealed))
		return 0;
	/* It may wait, which what is noted must not. */
	r = run_saw_listing(k->run, repo, acc);
	s = r == 0 ? note(k) : NULL;
	if (!s)
		return r;
	seen_mark(s, seen_top(s, repo), SEEN_LISTED);
	noted(k);
	return 0;
}

void realm_saw_top_name(struct realm *k, const char *repo, const char *name, bool is_there)
{
	struct seen *s = note(k);

	if (!s)
		return;
	seen_name(s, seen_top(s, repo), span_str(name), is_there ? SEEN_PRESENT : SEEN_ABSENT);
	noted(k);
}

void realm_saw_commit_name(struct realm *k, const char *repo, const char *name, const char *id)
{
	struct seen *s = note(k);
	seen_place p;

	if (!s)
		return;
	p = seen_name(s, seen_top(s, repo), span_str(name), SEEN_PRESENT);
	seen_name(s, p, span_str(id), SEEN_PRESENT);
	noted(k);
}

void realm_saw_more(struct realm *k)
{
	if (note(k)) {
		run_spoil(k->run);
		noted(k);
	}
}

void realm_own_view(struct realm *k, struct view *view)
{
	if (k->run)
		view_set_owner(view, k);
}

void realm_place_root(struct realm *k, struct vnode *root, const char *top)
{
	struct seen *s = note(k);

	if (!s)
		return;
	place(root, seen_top(s, top));
	noted(k);
}
