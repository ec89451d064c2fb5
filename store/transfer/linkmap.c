/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Link ids of an import (transfer/linkmap.h).
 */
#include "transfer/linkmap.h"

#include "base/hash.h"
#include "base/log.h"

/* A link of the base that loses names. */
struct lost_link {
	struct hnode node;
	struct id128 id;
	struct linked *heir; /* who keeps the id, if it may */
	uint32_t names; /* that go */
	uint32_t gone; /* that have gone */
};

static void free_linked(struct hnode *n, void *ctx)
{
	free(container_of(n, struct linked, node));
}

static void free_lost(struct hnode *n, void *ctx)
{
	free(container_of(n, struct lost_link, node));
}

void linkmap_release(struct linkmap *m)
{
	htab_walk(&m->files, free_linked, NULL);
	htab_walk(&m->lost, free_lost, NULL);
	htab_release(&m->files);
	htab_release(&m->lost);
}

static uint64_t file_hash(uint64_t a, uint64_t b)
{
	return hash_u64(hash_u64(a) ^ b);
}

static struct linked *find_file(struct linkmap *m, uint64_t a, uint64_t b)
{
	htab_for_each (n, &m->files, file_hash(a, b)) {
		struct linked *x = container_of(n, struct linked, node);

		if (x->a == a && x->b == b)
			return x;
	}
	return NULL;
}

/* The entry for a link of the base, made if there is none. */
static struct lost_link *lost_entry(struct linkmap *m, const struct id128 *id)
{
	uint64_t hash = hash_bytes(id->b, sizeof(id->b));
	struct lost_link *x;

	htab_for_each (n, &m->lost, hash) {
		x = container_of(n, struct lost_link, node);
		if (id128_equal(&x->id, id))
			return x;
	}
	x = new0(struct lost_link, 1);
	if (!x)
		return NULL;
	x->id = *id;
	if (htab_insert(&m->lost, &x->node, hash) == 0)
		return x;
	free(x);
	return NULL;
}

int linkmap_name(struct linkmap *m, uint64_t a, uint64_t b, const struct id128 *base)
{
	struct linked *x = find_file(m, a, b);
	struct lost_link *lost;

	if (!x) {
		x = new0(struct linked, 1);
		if (!x)
			return -ENOMEM;
		x->a = a;
		x->b = b;
		if (htab_insert(&m->files, &x->node, file_hash(a, b)) < 0) {
			free(x);
			return -ENOMEM;
		}
	}
	x->count++;
	if (!base || x->claim)
		return 0;
	lost = lost_entry(m, base);
	if (!lost)
		return -ENOMEM;
	if (!lost->heir) {
		lost->heir = x;
		x->claim = lost;
	}
	return 0;
}

int linkmap_lose(struct linkmap *m, const struct id128 *id)
{
	struct lost_link *x = lost_entry(m, id);

	if (!x)
		return -ENOMEM;
	if (m->is_settled)
		x->gone++;
	else
		x->names++;
	return 0;
}

/* A directory of the base on the way to its links. */
struct losing {
	struct tree_cursor cursor;
	struct tree_root dir;
	struct losing *up;
};

static int descend(struct losing **at, struct node_source *source, const struct tree_root *dir)
{
	struct losing *x;

	/* Below most directories there are none. */
	if (!dir->sum.has_links)
		return 0;
	x = new0(struct losing, 1);
	if (!x)
		return -ENOMEM;
	x->up = *at;
	x->dir = *dir;
	tree_cursor_init(&x->cursor, TREE_DIR, source);
	*at = x;
	return tree_seek_ordinal(&x->cursor, &x->dir, 0);
}

static void ascend(struct losing **at)
{
	struct losing *x = *at;

	*at = x->up;
	tree_cursor_release(&x->cursor);
	free(x);
}

int linkmap_lose_below(struct linkmap *m, struct node_source *source, const struct tree_root *dir)
{
	struct losing *at = NULL;
	int r = descend(&at, source, dir);

	while (r == 0 && at) {
		struct dirent_rec d;
		struct tree_root below;

		if (at->cursor.is_end) {
			ascend(&at);
			continue;
		}
		node_dirent(tree_leaf(&at->cursor), tree_index(&at->cursor), &d);
		if (d.has_link)
			r = linkmap_lose(m, &d.link);
		below = d.inode.dir;
		if (r == 0)
			r = tree_next(&at->cursor);
		if (r == 0 && !d.has_link && d.inode.type == FT_DIR)
			r = descend(&at, source, &below);
	}
	while (at)
		ascend(&at);
	return r;
}

/* What walks over the tables need. */
struct linkmap_walk {
	struct node_source *source;
	const struct tree_root *links;
	struct session *session;
	bool is_checked;
	int r;
};

/* May the id go over to its heir? */
static void settle_lost(struct hnode *n, void *ctx)
{
	struct lost_link *x = container_of(n, struct lost_link, node);
	struct linkmap_walk *w = ctx;
	_cleanup_(node_unrefp) struct node *leaf = NULL;
	struct link_rec rec;

	if (w->r < 0 || !x->heir)
		return;
	w->r = links_lookup(w->source, w->links, &x->id, &leaf, &rec);
	if (w->r < 0) {
		w->r = w->r == -ENOENT ? -EIO : w->r;
		return;
	}
	if (x->heir->count < 2 || rec.nlink != x->names) {
		x->heir->claim = NULL;
		x->heir = NULL;
	}
}

static void settle_file(struct hnode *n, void *ctx)
{
	struct linked *x = container_of(n, struct linked, node);

	x->id = x->claim ? x->claim->id : id128_random();
}

int linkmap_settle(struct linkmap *m, struct node_source *source, const struct tree_root *links)
{
	struct linkmap_walk w = { .source = source, .links = links };

	htab_walk(&m->lost, settle_lost, &w);
	htab_walk(&m->files, settle_file, &w);
	m->is_settled = true;
	return w.r;
}

struct linked *linkmap_find(struct linkmap *m, uint64_t a, uint64_t b)
{
	struct linked *x = find_file(m, a, b);

	return x && x->count > 1 ? x : NULL;
}

/* A link of the base that nobody inherited: it is gone, or has names left elsewhere. */
static void finish_lost(struct hnode *n, void *ctx)
{
	struct lost_link *x = container_of(n, struct lost_link, node);
	struct linkmap_walk *w = ctx;
	_cleanup_(node_unrefp) struct node *leaf = NULL;
	struct link_rec rec;

	if (w->r == 0 && w->is_checked && x->gone != x->names)
		w->r = log_fail(-ESTALE, "what was to take the place of a hard-linked file's names "
					 "could not be read, or has changed meanwhile");
	if (w->r < 0 || x->names == 0 || (x->heir && x->heir->state == LINKED_PUT))
		return;
	w->r = links_lookup(w->source, w->links, &x->id, &leaf, &rec);
	if (w->r == -ENOENT)
		w->r = -EIO;
	else if (w->r == 0 && rec.nlink <= x->names)
		w->r = session_unlink(w->session, &x->id);
	else if (w->r == 0)
		w->r = session_link(w->session, &x->id, rec.nlink - x->names, &rec.inode);
}

static void finish_file(struct hnode *n, void *ctx)
{
	struct linked *x = container_of(n, struct linked, node);
	struct linkmap_walk *w = ctx;

	if (w->r == 0 && x->state == LINKED_PUT && x->put != x->count)
		w->r = session_link_names(w->session, &x->id, x->put);
}

int linkmap_finish(struct linkmap *m, struct node_source *source, const struct tree_root *links,
		   struct session *s)
{
	struct linkmap_walk w = {
		.source = source, .links = links, .session = s, .is_checked = m->is_checked
	};

	htab_walk(&m->lost, finish_lost, &w);
	htab_walk(&m->files, finish_file, &w);
	return w.r;
}
