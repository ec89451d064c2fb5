/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a run has changed: the names that differ between the pinned commit and the result
 * (trees_parts.h).
 *
 * Directories with the same id are passed over, but for those with hard links below where the
 * links' trees differ: a record may have changed without any directory doing so. A directory that
 * only the result has is taken whole, so that it costs one entry; one with hard links below is
 * walked through, since a run's tree has none.
 *
 * Files that were written past the view go in between, unless the run has made something else of
 * the name.
 */
#include "base/log.h"
#include "record/trees_parts.h"
#include "tree/diff.h"

/* Files that were written past the view. */
struct past {
	struct {
		struct span path; /* from where we are */
		const struct inode *ino; /* borrowed */
	} files[RUN_REDIRECTED_MAX];
	unsigned count;
};

/* A pair of directories, whose entries come side by side. */
struct pair {
	struct tree_root a, b;
	struct past past; /* those below it that are still to come */
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

static struct span first_part(struct span path)
{
	const uint8_t *slash = memchr(path.data, '/', path.len);

	return span_of(path.data, slash ? (size_t)(slash - path.data) : path.len);
}

/* The least name that any of them begins with; empty: there are none. */
static struct span least_name(const struct past *p)
{
	struct span least = { 0 };

	for (unsigned i = 0; i < p->count; i++) {
		struct span name = first_part(p->files[i].path);

		if (least.len == 0 || span_cmp(name, least) < 0)
			least = name;
	}
	return least;
}

/* Takes out what is @name or below it: as seen from there, an empty path for itself. */
static struct past take_named(struct past *p, struct span name)
{
	struct past taken = { 0 }, left = { 0 };

	for (unsigned i = 0; i < p->count; i++) {
		struct span path = p->files[i].path, first = first_part(path);
		size_t n = MIN(first.len + 1, path.len);

		if (span_equal(first, name)) {
			taken.files[taken.count] = p->files[i];
			taken.files[taken.count++].path = span_of(path.data + n, path.len - n);
		} else {
			left.files[left.count++] = p->files[i];
		}
	}
	*p = left;
	return taken;
}

static const struct inode *itself(const struct past *p)
{
	for (unsigned i = 0; i < p->count; i++)
		if (p->files[i].path.len == 0)
			return p->files[i].ino;
	return NULL;
}

/* A name that only they have. */
static int put_past(struct part *part, struct span name, struct past p)
{
	const struct inode plain = part_plain_dir(), *file = itself(&p);
	int r;

	if (file)
		return part_put(part, name, file);
	r = part_enter(part, name, &plain, false);
	while (r == 0 && p.count > 0) {
		struct span next = least_name(&p);

		r = put_past(part, next, take_named(&p, next));
	}
	return r < 0 ? r : part_leave(part);
}

/* Those that come before @name; all where there is none. */
static int put_past_before(struct part *part, struct past *p, const struct span *name)
{
	int r = 0;

	while (r == 0 && p->count > 0) {
		struct span next = least_name(p);

		if (name && span_cmp(next, *name) >= 0)
			break;
		r = put_past(part, next, take_named(p, next));
	}
	return r;
}

static int push(struct comparing *c, const struct tree_root *a, const struct tree_root *b,
		const struct past *past)
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
	*p = (struct pair){ .a = *a, .b = *b, .past = *past };
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

/* One name of a pair, and what was written there past the view. Directories are gone into. */
static int compare(struct comparing *c, struct span name, const struct tree_place *at,
		   const struct past *past)
{
	_cleanup_(node_unrefp) struct node *of_a = NULL, *of_b = NULL;
	const struct tree_root none = { 0 };
	struct inode a, b, plain = part_plain_dir(), gone = part_absent();
	int r;

	r = look(c, &c->a, &at[0], &of_a, &a);
	if (r == 0)
		r = look(c, &c->b, &at[1], &of_b, &b);
	if (r < 0)
		return r;
	if (a.type && b.type && inode_equal(&a, &b) && (a.type != FT_DIR || !a.dir.sum.has_links))
		return past->count > 0 ? put_past(c->part, name, *past) : 0;
	if (a.type == FT_DIR && b.type == FT_DIR) {
		r = part_enter(c->part, name, &plain, !inode_equal(&a, &b));
		return r < 0 ? r : push(c, &a.dir, &b.dir, past);
	}
	if (!b.type)
		return past->count > 0 ? put_past(c->part, name, *past)
				       : part_put(c->part, name, &gone);
	if (b.type == FT_DIR && (b.dir.sum.has_links || past->count > 0)) {
		r = part_enter(c->part, name, &b, true);
		return r < 0 ? r : push(c, &none, &b.dir, past);
	}
	return part_put(c->part, name, &b);
}

/* The next name that one of a pair's directories has. */
static int compare_next(struct comparing *c, struct pair *p, const struct tree_place *at)
{
	struct span name = node_key(at[0].leaf ?: at[1].leaf, at[0].leaf ? at[0].i : at[1].i);
	int r = put_past_before(c->part, &p->past, &name);
	struct past past = take_named(&p->past, name);

	return r < 0 ? r : compare(c, name, at, &past);
}

/* All below the two roots, which the open directory of the part is for. */
static int compare_all(struct comparing *c, const struct past *past)
{
	int r = push(c, &c->a.root, &c->b.root, past);

	while (r == 0 && c->count > 0) {
		struct pair *p = &c->pairs[c->count - 1];
		struct tree_place at[2];

		r = p->is_whole ? next_of_both(p, at) : tree_diff_next(p->diff, &at[0], &at[1]);
		if (r > 0) {
			r = compare_next(c, p, at);
		} else if (r == 0) {
			r = put_past_before(c->part, &p->past, NULL);
			pair_release(p);
			c->count--;
			r = r < 0 ? r : part_leave(c->part);
		}
	}
	return r;
}

/* A file that was written past the view, as it is in a commit. */
struct past_file {
	struct node *leaves[2]; /* references, which @ino borrows from */
	struct inode ino;
};

static void past_file_release(struct past_file *f)
{
	node_unref(f->leaves[0]);
	node_unref(f->leaves[1]);
}

/* 1; 0: there is no such file. */
static int find_past(struct making *m, const struct run_branch *b, const struct run_redirected *x,
		     struct past_file *ret)
{
	struct span path = x->path, name;
	struct commit_trees t;
	struct dirent_rec e;
	int r = making_commit(m, &b->repo_id, &x->commit, &t);

	ret->ino = (struct inode){ .type = FT_DIR, .dir = t.root };
	for (; r == 0 && path.len > 0; path = span_of(path.data + name.len, path.len - name.len)) {
		if (*path.data == '/')
			path = span_of(path.data + 1, path.len - 1);
		name = first_part(path);
		if (ret->ino.type != FT_DIR)
			return 0;
		past_file_release(ret);
		ret->leaves[0] = ret->leaves[1] = NULL;
		r = dir_lookup(&m->source.base, &ret->ino.dir, name, &ret->leaves[0], &e);
		if (r == 0)
			r = making_inode(m, &t.links, &e, &ret->leaves[1], &ret->ino);
	}
	return r == 0 ? ret->ino.type == FT_REG : r == -ENOENT ? 0 : r;
}

static int write_branch(struct making *m, const struct run_branch *b, struct part *part)
{
	struct past_file files[RUN_REDIRECTED_MAX] = { 0 };
	struct comparing c = { .m = m, .part = part };
	struct inode plain = part_plain_dir();
	struct past past = { 0 };
	int r;

	r = making_commit(m, &b->repo_id, &b->pinned, &c.a);
	if (r == 0)
		r = making_commit(m, &b->repo_id, oid_is_null(&b->result) ? &b->pinned : &b->result,
				  &c.b);
	for (unsigned i = 0; r >= 0 && i < b->redirected_count; i++) {
		r = find_past(m, b, &b->redirected[i], &files[i]);
		past.files[past.count].path = b->redirected[i].path;
		past.files[past.count].ino = &files[i].ino;
		past.count += r == 1;
	}
	r = MIN(r, 0);
	c.links_differ = !oid_equal(&c.a.links.id, &c.b.links.id);
	if (r == 0)
		r = part_enter(part, span_str(b->branch), &plain, false);
	if (r == 0)
		r = compare_all(&c, &past);
	while (c.count > 0)
		pair_release(&c.pairs[--c.count]);
	free(c.pairs);
	for (unsigned i = 0; i < ARRAY_SIZE(files); i++)
		past_file_release(&files[i]);
	return r < 0 ? log_errno(r, "what a run changed in %s/%s cannot be stored", b->repo,
				 b->branch)
		     : 0;
}

static bool is_changed(const struct run_branch *b)
{
	return b->redirected_count > 0 ||
	       (!oid_is_null(&b->result) && !oid_equal(&b->pinned, &b->result));
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
