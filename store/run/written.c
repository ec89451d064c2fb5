/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a run has changed: the names that differ between the pinned commit and the result
 * (trees_parts.h).
 *
 * Directories with the same id are passed over, but for those with hard links below where the
 * links' trees differ: a record may have changed without any directory doing so. A directory that
 * only the result has is taken whole, so that it costs one entry; one with hard links below is
 * walked through, since a run's tree has none.
 */
#include "base/log.h"
#include "run/trees_parts.h"
#include "tree/diff.h"

/* A pair of directories, whose entries come side by side. */
struct pair {
	struct tree_root a, b;
	bool is_whole; /* all entries, else only those that differ */
	struct tree_diff *diff; /* owned; unless is_whole */
	struct tree_cursor at[2]; /* with is_whole */
	bool is_told[2]; /* the entry there: the next call moves on */
};

struct comparing {
	struct making *m;
	struct part *part;
	struct commit_trees a, b;
	bool links_differ;
	struct pair *pairs; /* a stack; owned */
	size_t count, cap;
};

static void pair_release(struct pair *p)
{
	tree_diff_free(p->diff);
	if (p->is_whole) {
		tree_cursor_release(&p->at[0]);
		tree_cursor_release(&p->at[1]);
	}
}

static int push(struct comparing *c, const struct tree_root *a, const struct tree_root *b)
{
	struct node_source *source = &c->m->source.base;
	struct pair *p;
	int r;

	if (c->count == c->cap) {
		size_t cap = MAX(2 * c->cap, (size_t)16);

		p = reallocarray(c->pairs, cap, sizeof(*p));
		if (!p)
			return -ENOMEM;
		c->pairs = p;
		c->cap = cap;
	}
	p = &c->pairs[c->count++];
	*p = (struct pair){ .a = *a, .b = *b };
	if (!c->links_differ || (!a->sum.has_links && !b->sum.has_links))
		return tree_diff_new(TREE_DIR, source, a, b, &p->diff);
	p->is_whole = true;
	tree_cursor_init(&p->at[0], TREE_DIR, source);
	tree_cursor_init(&p->at[1], TREE_DIR, source);
	r = tree_seek_ordinal(&p->at[0], a, 0);
	return r < 0 ? r : tree_seek_ordinal(&p->at[1], b, 0);
}

/* The next name that either has, of two cursors: 1, 0 at the end. */
static int next_of_both(struct pair *p, struct tree_place *ret)
{
	int order = 0, r = 0;

	for (unsigned i = 0; i < 2; i++) {
		if (r == 0 && p->is_told[i])
			r = tree_next(&p->at[i]);
		p->is_told[i] = false;
		ret[i] = (struct tree_place){ 0 };
		if (r == 0 && !p->at[i].is_end)
			ret[i] = (struct tree_place){ tree_leaf(&p->at[i]), tree_index(&p->at[i]) };
	}
	if (r < 0 || (!ret[0].leaf && !ret[1].leaf))
		return r;
	if (ret[0].leaf && ret[1].leaf)
		order = span_cmp(node_key(ret[0].leaf, ret[0].i), node_key(ret[1].leaf, ret[1].i));
	if (order < 0)
		ret[1].leaf = NULL;
	else if (order > 0)
		ret[0].leaf = NULL;
	p->is_told[0] = ret[0].leaf;
	p->is_told[1] = ret[1].leaf;
	return 1;
}

/* What one side has: @ret_ino->type 0 where it has none. */
static int look(struct comparing *c, const struct commit_trees *t, const struct tree_place *at,
		struct node **ret_leaf, struct inode *ret_ino)
{
	struct dirent_rec e;

	*ret_ino = (struct inode){ 0 };
	if (!at->leaf)
		return 0;
	node_dirent(at->leaf, at->i, &e);
	return making_inode(c->m, &t->links, &e, ret_leaf, ret_ino);
}

/* One name of a pair. Directories are gone into. */
static int compare(struct comparing *c, const struct tree_place *at)
{
	_cleanup_(node_unrefp) struct node *of_a = NULL, *of_b = NULL;
	const struct tree_root none = { 0 };
	struct inode a, b, plain = part_plain_dir(), gone = part_absent();
	struct span name = node_key(at[0].leaf ?: at[1].leaf, at[0].leaf ? at[0].i : at[1].i);
	int r;

	r = look(c, &c->a, &at[0], &of_a, &a);
	if (r == 0)
		r = look(c, &c->b, &at[1], &of_b, &b);
	if (r < 0)
		return r;
	if (a.type && b.type && inode_equal(&a, &b) && (a.type != FT_DIR || !a.dir.sum.has_links))
		return 0;
	if (a.type == FT_DIR && b.type == FT_DIR) {
		r = part_enter(c->part, name, &plain, !inode_equal(&a, &b));
		return r < 0 ? r : push(c, &a.dir, &b.dir);
	}
	if (!b.type)
		return part_put(c->part, name, &gone);
	if (b.type == FT_DIR && b.dir.sum.has_links) {
		r = part_enter(c->part, name, &b, true);
		return r < 0 ? r : push(c, &none, &b.dir);
	}
	return part_put(c->part, name, &b);
}

/* All below the two roots, which the open directory of the part is for. */
static int compare_all(struct comparing *c)
{
	int r = push(c, &c->a.root, &c->b.root);

	while (r == 0 && c->count > 0) {
		struct pair *p = &c->pairs[c->count - 1];
		struct tree_place at[2];

		r = p->is_whole ? next_of_both(p, at) : tree_diff_next(p->diff, &at[0], &at[1]);
		if (r > 0) {
			r = compare(c, at);
		} else if (r == 0) {
			pair_release(p);
			c->count--;
			r = part_leave(c->part);
		}
	}
	return r;
}

static int write_branch(struct making *m, const struct run_branch *b, struct part *part)
{
	struct comparing c = { .m = m, .part = part };
	struct inode plain = part_plain_dir();
	int r;

	r = making_commit(m, &b->repo_id, &b->pinned, &c.a);
	if (r == 0)
		r = making_commit(m, &b->repo_id, &b->result, &c.b);
	c.links_differ = !oid_equal(&c.a.links.id, &c.b.links.id);
	if (r == 0)
		r = part_enter(part, span_str(b->branch), &plain, false);
	if (r == 0)
		r = compare_all(&c);
	while (c.count > 0)
		pair_release(&c.pairs[--c.count]);
	free(c.pairs);
	return r < 0 ? log_errno(r, "what a run changed in %s/%s cannot be stored", b->repo,
				 b->branch)
		     : 0;
}

static bool is_changed(const struct run_branch *b)
{
	return !oid_is_null(&b->result) && !oid_equal(&b->pinned, &b->result);
}

int making_written(struct making *m, struct part *written)
{
	struct inode plain = part_plain_dir();
	const char *repo = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->branch_count; i++) {
		const struct run_branch *b = &m->branches[i];

		if (!is_changed(b))
			continue;
		if (repo && strcmp(repo, b->repo) != 0)
			r = part_leave(written);
		if (r == 0 && (!repo || strcmp(repo, b->repo) != 0))
			r = part_enter(written, span_str(b->repo), &plain, false);
		repo = b->repo;
		if (r == 0)
			r = write_branch(m, b, written);
	}
	return r;
}
