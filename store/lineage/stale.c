/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Holding what a run has looked at against what is there now (lineage/stale.h).
 *
 * All of its "looked" is walked. Where a directory is the same tree that it was in the commit that
 * the run had pinned, all below is as it was. What comes from the store may be anything: what is
 * not understood has changed.
 */
#include "lineage/stale.h"

#include <stdio.h>

#include "format/xattr.h"
#include "object/reader.h"
#include "record/fields.h"
#include "record/listing.h"
#include "record/record.h"
#include "record/throwaway.h"
#include "record/tree_read.h"
#include "record/trees.h"
#include "tree/diff.h"

/* A branch as the run had it. */
struct branch {
	char *key; /* owned: "REPO/BRANCH" */
	bool is_pinned; /* there was one */
	bool is_lost; /* its commit is not there any more */
	bool has_committed; /* something was uncommitted */
	struct loaded pinned, committed; /* without an id: it was unborn */
};

struct checking {
	const struct run_staleness *s;
	struct tree_root tree;
	struct throwaways throwaways;
	struct branch branch; /* that the walk is in */
};

static void branch_release(struct branch *b)
{
	loaded_release(&b->pinned);
	loaded_release(&b->committed);
	free(b->key);
	*b = (struct branch){ 0 };
}

static struct refs_wait patient(const struct checking *c)
{
	return (struct refs_wait){ .may_wait = true, .deadline = c->s->rd.access->deadline };
}

/* ---- what it had ---- */

static int load_commit(const struct checking *c, const json_t *p, const char *key,
		       struct loaded *ret)
{
	struct refs_wait w = patient(c);
	struct id128 repo;
	struct oid id;

	if (field_id128(p, "repo_id", &repo) < 0 || field_oid(p, key, &id) < 0)
		return -EBADMSG;
	return oid_is_null(&id) ? 0 : refs_load_commit(c->s->rd.store->refs, &repo, &id, &w, ret);
}

static int load_branch(const struct checking *c, const json_t *p, const char *key,
		       struct branch *ret)
{
	int r = load_commit(c, p, key, &ret->pinned);

	ret->is_pinned = true;
	ret->has_committed = json_object_get(p, "committed");
	if (r == 0 && ret->has_committed)
		r = load_commit(c, p, "committed", &ret->committed);
	ret->is_lost = r == -ENOENT;
	return r == -ENOENT ? 0 : r;
}

/* The branch of a place, from the record. */
static int use_branch(struct checking *c, const struct run_place *place)
{
	size_t len = (size_t)(place->rev.data + place->rev.len - place->repo.data);
	const json_t *p;
	const char *key;

	if (c->branch.key && span_equal(span_str(c->branch.key), span_of(place->repo.data, len)))
		return 0;
	branch_release(&c->branch);
	c->branch.key = strndup((const char *)place->repo.data, len);
	if (!c->branch.key)
		return -ENOMEM;
	p = run_pin_of(c->s->start, c->s->end, place->repo, place->rev, &key);
	return p ? load_branch(c, p, key, &c->branch) : 0;
}

/* What a path was then: -ENOENT. */
static int find_then(const struct checking *c, const struct loaded *in, struct span path,
		     struct run_file *ret)
{
	return oid_is_null(&in->id) ? -ENOENT
				    : run_file_in_commit(&c->s->rd, &in->commit, path, ret);
}

/* Does the run's "written" have the path? 1, 0, -errno. */
static int has_written(const struct checking *c, struct span path, struct inode *ret)
{
	_cleanup_(node_unrefp) struct node *leaf = NULL;
	int r = run_tree_find(&c->tree, RUN_TREE_WRITTEN, path, c->s->rd.access, &leaf, ret);

	return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

/* Is what lies at the path the run's own work, as far as it counts? */
static int is_own(const struct checking *c, struct span path, bool was_dir)
{
	struct inode ino;
	int r = has_written(c, path, &ino);

	return r == 1 && was_dir && ino.type == FT_DIR ? 0 : r;
}

/* ---- what is there now ---- */

static bool is_same(const struct run_file *a, const struct run_file *b)
{
	return !a || !b ? a == b
			: a->type == b->type && (a->type == FT_DIR || oid_equal(&a->id, &b->id));
}

/* NULL for -ENOENT, with which *@r becomes 0. */
static const struct run_file *found(int *r, const struct run_file *f)
{
	bool is_there = *r == 0;

	if (*r == -ENOENT)
		*r = 0;
	return is_there ? f : NULL;
}

/* Two things that differ: has anybody but the run's user, who had not committed something, to do
 * with it? */
static int report(struct checking *c, const struct run_place *place, const struct run_file *was,
		  const struct run_file *now)
{
	struct span path = span_of(place->repo.data,
				   (size_t)(place->path.data + place->path.len - place->repo.data));
	const struct run_file *before;
	struct run_file f;
	int r;

	if (c->branch.has_committed) {
		r = find_then(c, &c->branch.committed, place->path, &f);
		before = found(&r, &f);
		if (r < 0 || is_same(before, now))
			return r;
	}
	return c->s->changed(path, was, now, c->s->ctx);
}

/* A name in a directory that was listed, which is new, gone, or of another type. */
static int report_name(struct checking *c, const struct run_place *dir, struct span name)
{
	_cleanup_buf_ struct buf path = { 0 };
	const struct run_file *was, *now;
	struct run_file files[2];
	struct run_place place;
	int r;

	buf_printf(&path, "%.*s/%.*s/", (int)dir->repo.len, (const char *)dir->repo.data,
		   (int)dir->rev.len, (const char *)dir->rev.data);
	buf_put(&path, dir->path.data, dir->path.len);
	if (dir->path.len > 0)
		buf_put_u8(&path, '/');
	buf_put(&path, name.data, name.len);
	if (buf_failed(&path) || !run_place_read(buf_span(&path), &place))
		return -ENOMEM;
	r = throwaways_have(&c->throwaways, buf_span(&path), &c->s->rd.access->deadline);
	if (r == 0)
		r = is_own(c, buf_span(&path), false);
	if (r != 0)
		return MIN(r, 0);
	r = find_then(c, &c->branch.pinned, place.path, &files[0]);
	was = found(&r, &files[0]);
	if (r == 0)
		r = run_tips_find(c->s->tips, &place, &files[1]);
	now = found(&r, &files[1]);
	return r < 0 ? r : report(c, &place, was, now);
}

static int compare_names(struct checking *c, const struct run_place *dir,
			 const struct tree_root *was, const struct tree_root *now)
{
	struct reader_source src = reader_source(c->s->rd.store->reader, c->s->rd.access);
	_cleanup_(tree_diff_freep) struct tree_diff *d = NULL;
	struct tree_place at[2];
	int r = tree_diff_new(TREE_DIR, &src.base, was, now, &d);

	while (r == 0 && (r = tree_diff_next(d, &at[0], &at[1])) > 0) {
		struct dirent_rec e[2] = { 0 };

		for (int i = 0; i < 2; i++)
			if (at[i].leaf)
				node_dirent(at[i].leaf, at[i].i, &e[i]);
		r = 0;
		/* One with several names is a file in both; which one is looked at by itself. */
		if (!at[0].leaf || !at[1].leaf ||
		    (!e[0].has_link && !e[1].has_link && e[0].inode.type != e[1].inode.type))
			r = report_name(c, dir, at[0].leaf ? e[0].name : e[1].name);
	}
	return r;
}

/* ---- the walk ---- */

static bool has_listing(const struct buf *xattrs, struct span *ret)
{
	return xattr_get(buf_span(xattrs), span_str(RUN_TREE_LISTING), ret) == 0;
}

/* The names of repos, or of branches, are known by their sum alone. */
static int check_names(struct checking *c, struct span path, const struct id128 *repo,
		       const struct buf *xattrs)
{
	struct refs *refs = c->s->rd.store->refs;
	struct refs_wait w = patient(c);
	struct listing_id now;
	struct span was;
	int r;

	if (!has_listing(xattrs, &was))
		return 0;
	r = repo ? listing_of_repo(refs, repo, &w, &now) : listing_of_repos(refs, &w, &now);
	if (r < 0 || span_equal(span_of(now.b, DIGEST_SIZE), was))
		return r;
	return c->s->changed(path, NULL, NULL, c->s->ctx);
}

static int check_repo(struct checking *c, struct span name, const struct inode *ino,
		      const struct buf *xattrs)
{
	const bool was_there = !run_tree_is_absent(ino);
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	const struct run_file dir = { .type = FT_DIR };
	struct refs_wait w = patient(c);
	char text[OBJECT_NAME_MAX + 1];
	int r = -ENOENT;

	/* A longer one is no repo's, then or now. */
	if (name.len <= OBJECT_NAME_MAX) {
		snprintf(text, sizeof(text), "%.*s", (int)name.len, (const char *)name.data);
		r = refs_repo(c->s->rd.store->refs, text, &w, &rec);
	}
	if (r < 0 && r != -ENOENT && r != -EINVAL)
		return r;
	if (was_there && r == 0)
		return check_names(c, name, &rec.id, xattrs);
	if (was_there == (r == 0))
		return 0;
	r = is_own(c, name, false);
	if (r != 0)
		return MIN(r, 0);
	r = c->s->changed(name, was_there ? &dir : NULL, was_there ? NULL : &dir, c->s->ctx);
	return r != 0 ? r : RUN_TREE_SKIP;
}

/* A name of a repo that was no branch: what a commit's name led to. */
static int check_commit(struct checking *c, struct span path, const struct run_place *place,
			const struct inode *ino, const struct buf *xattrs)
{
	char repo[OBJECT_NAME_MAX + 1], rev[OBJECT_NAME_MAX + OID_HEX + 1];
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct refs_wait w = patient(c);
	struct resolved to = { 0 };
	struct span was;
	struct oid id;
	int r;

	/* By its id it is always the same one. What is longer leads nowhere. */
	if (oid_parse(place->rev, &id) == 0 || place->rev.len >= sizeof(rev))
		return RUN_TREE_SKIP;
	snprintf(repo, sizeof(repo), "%.*s", (int)place->repo.len, (const char *)place->repo.data);
	snprintf(rev, sizeof(rev), "%.*s", (int)place->rev.len, (const char *)place->rev.data);
	r = refs_repo(c->s->rd.store->refs, repo, &w, &rec);
	if (r == 0)
		r = refs_resolve(c->s->rd.store->refs, &rec.id, rev, &w, &to);
	if (r < 0 && r != -ENOENT && r != -EINVAL && r != -ENOTUNIQ)
		return r;
	if (run_tree_is_absent(ino)
		    ? r < 0
		    : r == 0 && xattr_get(buf_span(xattrs), span_str(RUN_TREE_COMMIT), &was) == 0 &&
			      span_equal(was, span_of(to.commit.b, OID_SIZE)))
		return RUN_TREE_SKIP;
	/* One that the run itself has made, as a branch. */
	if (run_tree_is_absent(ino) && (r = is_own(c, path, false)) != 0)
		return r < 0 ? r : RUN_TREE_SKIP;
	r = c->s->changed(path, NULL, NULL, c->s->ctx);
	return r != 0 ? r : RUN_TREE_SKIP;
}

/* A directory then. @now NULL: it is none now. */
static int check_dir(struct checking *c, const struct run_place *place, const struct run_file *now,
		     const struct buf *xattrs)
{
	struct run_file then = { .type = FT_DIR };
	const struct run_file *was;
	struct span noted;
	int r = c->branch.is_lost ? 0 : find_then(c, &c->branch.pinned, place->path, &then);

	was = found(&r, &then);
	if (r < 0)
		return r;
	if (now && !c->branch.is_lost && oid_equal(&then.id, &now->id) && !then.dir.sum.has_links)
		return RUN_TREE_SKIP;
	/* Unborn then, and now. */
	if (!now && !was && place->path.len == 0)
		return RUN_TREE_SKIP;
	if (!now || now->type != FT_DIR || c->branch.is_lost) {
		r = report(c, place, &then, now);
		return r != 0 ? r : RUN_TREE_SKIP;
	}
	if (xattr_get(buf_span(xattrs), span_str(RUN_TREE_TREE), &noted) == 0 &&
	    !span_equal(noted, span_of(now->id.b, OID_SIZE)))
		return report(c, place, &then, now);
	return has_listing(xattrs, &noted) ? compare_names(c, place, &then.dir, &now->dir) : 0;
}

static int check_path(struct checking *c, struct span path, const struct run_place *place,
		      const struct inode *ino, const struct buf *xattrs)
{
	const bool was_dir = ino->type == FT_DIR, was_there = !run_tree_is_absent(ino);
	struct run_file was = run_file_of(ino), file;
	const struct run_file *now;
	int r = throwaways_have(&c->throwaways, path, &c->s->rd.access->deadline);

	if (r == 0 && place->path.len > 0)
		r = is_own(c, path, was_dir);
	if (r != 0)
		return r < 0 ? r : RUN_TREE_SKIP;
	r = run_tips_find(c->s->tips, place, &file);
	now = found(&r, &file);
	if (r < 0)
		return r;
	if (was_dir)
		return check_dir(c, place, now, xattrs);
	return is_same(was_there ? &was : NULL, now)
		       ? 0
		       : report(c, place, was_there ? &was : NULL, now);
}

static int check(struct span path, const struct inode *ino, void *ctx)
{
	struct checking *c = ctx;
	_cleanup_buf_ struct buf xattrs = { 0 };
	struct run_place place = { .repo = path };
	const uint8_t *slash, *next;
	int r = xattrs_load(c->s->rd.store->reader, &ino->xattrs, c->s->rd.access, &xattrs);

	if (r < 0)
		return r;
	if (path.len == 0)
		return check_names(c, path, NULL, &xattrs);
	slash = memchr(path.data, '/', path.len);
	if (!slash)
		return check_repo(c, path, ino, &xattrs);
	place.repo.len = (size_t)(slash - path.data);
	place.rev = span_of(slash + 1, path.len - place.repo.len - 1);
	next = memchr(place.rev.data, '/', place.rev.len);
	if (next)
		place.rev.len = (size_t)(next - place.rev.data);
	place.path = next ? span_of(next + 1, (size_t)(path.data + path.len - next - 1))
			  : span_of(path.data + path.len, 0);
	r = use_branch(c, &place);
	if (r < 0)
		return r;
	return c->branch.is_pinned ? check_path(c, path, &place, ino, &xattrs)
				   : check_commit(c, path, &place, ino, &xattrs);
}

int run_stale(const struct run_staleness *s)
{
	struct checking c = { .s = s, .throwaways.refs = s->rd.store->refs };
	int r = run_tree_read(json_object_get(s->end, "tree"), &c.tree);

	if (r == 0)
		r = run_tree_walk(&c.tree, RUN_TREE_LOOKED, s->rd.access, check, &c);
	branch_release(&c.branch);
	throwaways_release(&c.throwaways);
	return r;
}
