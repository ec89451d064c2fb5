/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Holding a former run's observations against what a run has pinned now (memo.h).
 *
 * All of "looked" is walked, beside it the commits that are pinned now and those that were then.
 * Where both have the same tree all below holds. (What has several names is in a tree of its own:
 * there this counts only if that is the same, too.) What comes from the store may be anything: what
 * is not understood does not hold.
 */
#include "run/memo.h"

#include <stdio.h>

#include "base/digest.h"
#include "base/log.h"
#include "catalog/catalog.h"
#include "format/xattr.h"
#include "index/runs.h"
#include "object/reader.h"
#include "record/archive.h"
#include "record/fields.h"
#include "record/listing.h"
#include "record/tree_read.h"
#include "record/trees_parts.h"
#include "run/parts.h"

enum {
	DIFFERS = 2, /* ends the walk; RUN_TREE_SKIP is 1 */
	OUTPUT_PIECE = 48 << 10,
	REPO_LEVEL = 1,
	TOP_LEVEL = 2,
};

#define KEY_VERSION "pfs-memo-1"

/* A directory of the commits, now and then. */
struct pair {
	struct tree_root now, before;
};

struct checking {
	struct run *run;
	struct making m;
	const json_t *start, *end; /* the former run's */
	struct pair *dirs; /* from TOP_LEVEL on, by level; owned */
	size_t cap;
	struct commit_trees now, before; /* of the top */
	bool links_are_same;
	char repo[OBJECT_NAME_MAX + 1];
	struct id128 repo_id;
};

void memo_release(struct memo *m)
{
	json_decref(m->end);
	*m = (struct memo){ 0 };
}

/* ---- the key ---- */

static int put_json(const char *text, size_t len, void *ctx)
{
	digest_put(ctx, text, len);
	return 0;
}

int memo_key(const json_t *start, const json_t *around, struct oid *ret)
{
	static const char *const parts[] = { "argv", "cwd", "env",	   "out",  "params",
					     "uid",  "gid", "environment", "stdin" };
	_cleanup_(digest_freep) struct digest *d = NULL;
	json_t *all = json_object();
	uint8_t raw[DIGEST_SIZE];
	int r = all ? digest_new(&d) : -ENOMEM;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++) {
		json_t *v = json_object_get(start, parts[i]);

		if (v && json_object_set(all, parts[i], v) < 0)
			r = -ENOMEM;
	}
	if (r == 0 && json_object_set(all, "around", (json_t *)around) < 0)
		r = -ENOMEM;
	if (r == 0) {
		digest_put(d, KEY_VERSION, sizeof(KEY_VERSION));
		if (json_dump_callback(all, put_json, d, JSON_COMPACT | JSON_SORT_KEYS) < 0)
			r = -ENOMEM;
	}
	json_decref(all);
	if (r < 0)
		return r;
	digest_end(d, raw);
	memcpy(ret->b, raw, OID_SIZE);
	return 0;
}

/* ---- what holds ---- */

static struct refs_wait patient(const struct checking *c)
{
	return (struct refs_wait){ .may_wait = true, .deadline = c->m.access->deadline };
}

static int is_same(const struct listing_id *now, struct span noted)
{
	return span_equal(span_of(now->b, DIGEST_SIZE), noted) ? 0 : DIFFERS;
}

/* The attribute of a directory in "looked", if it has it. */
static bool noted(const struct buf *xattrs, const char *name, struct span *ret)
{
	return xattr_get(buf_span(xattrs), span_str(name), ret) == 0;
}

static int check_root(struct checking *c, const struct buf *xattrs)
{
	struct refs_wait w = patient(c);
	struct listing_id id;
	struct span was;
	int r;

	if (!noted(xattrs, RUN_TREE_LISTING, &was))
		return 0;
	r = listing_of_repos(c->m.store->refs, &w, &id);
	return r < 0 ? r : is_same(&id, was);
}

static int check_repo(struct checking *c, struct span name, const struct inode *ino,
		      const struct buf *xattrs)
{
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct refs_wait w = patient(c);
	struct listing_id id;
	struct span was;
	int r;

	/* No repo has such a name, then or now. */
	if (name.len > OBJECT_NAME_MAX)
		return run_tree_is_absent(ino) ? 0 : DIFFERS;
	snprintf(c->repo, sizeof(c->repo), "%.*s", (int)name.len, (const char *)name.data);
	r = refs_repo(c->m.store->refs, c->repo, &w, &rec);
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == -ENOENT || run_tree_is_absent(ino))
		return (r == -ENOENT) == run_tree_is_absent(ino) ? 0 : DIFFERS;
	/* It had not been there at first. */
	if (noted(xattrs, RUN_TREE_COMMIT, &was))
		return DIFFERS;
	c->repo_id = rec.id;
	if (!noted(xattrs, RUN_TREE_LISTING, &was))
		return 0;
	r = listing_of_repo(c->m.store->refs, &rec.id, &w, &id);
	return r < 0 ? r : is_same(&id, was);
}

/* The branch as the former run had pinned it; false: it had none of that name. */
static bool was_pinned(const struct checking *c, struct span name, struct oid *ret)
{
	const char *key;
	const json_t *p = run_pin_of(c->start, c->end, span_str(c->repo), name, &key);

	return p && field_oid(p, key, ret) == 0;
}

/* A directory that is there in both: is all that was noted of it itself as it was? */
static int check_dir(struct checking *c, unsigned level, const struct inode *ino,
		     const struct buf *xattrs, uint16_t mode, const struct pair *dir)
{
	bool links_hold = !dir->now.sum.has_links || c->links_are_same;
	struct listing_id id;
	struct span was;
	int r;

	if (ino->type != FT_DIR || ino->mode != mode)
		return DIFFERS;
	if (links_hold && oid_equal(&dir->now.id, &dir->before.id))
		return RUN_TREE_SKIP;
	if (noted(xattrs, RUN_TREE_TREE, &was) &&
	    !(links_hold && span_equal(was, span_of(dir->now.id.b, OID_SIZE))))
		return DIFFERS;
	if (noted(xattrs, RUN_TREE_LISTING, &was)) {
		r = listing_of_dir(&c->m.source.base, &dir->now, &id);
		if (r == 0)
			r = is_same(&id, was);
		if (r != 0)
			return r;
	}
	if (level >= c->cap) {
		size_t cap = MAX(2 * c->cap, (size_t)level + 16);
		struct pair *p = reallocarray(c->dirs, cap, sizeof(*p));

		if (!p)
			return -ENOMEM;
		c->dirs = p;
		c->cap = cap;
	}
	c->dirs[level] = *dir;
	return 0;
}

static int check_branch(struct checking *c, const char *name, const struct oid *was,
			const struct inode *ino, const struct buf *xattrs)
{
	struct pair top;
	struct oid now;
	int r = run_pinned(c->run, c->repo, name, c->m.access, &now);

	if (r == 0)
		r = making_commit(&c->m, &c->repo_id, &now, &c->now);
	if (r == 0)
		r = making_commit(&c->m, &c->repo_id, was, &c->before);
	if (r < 0)
		return r == -ENOENT ? DIFFERS : r;
	top = (struct pair){ .now = c->now.root, .before = c->before.root };
	c->links_are_same = oid_equal(&c->now.links.id, &c->before.links.id);
	return check_dir(c, TOP_LEVEL, ino, xattrs, c->now.mode, &top);
}

/* A name of the repo that was no branch: what does it lead to? -ENOENT: nowhere. */
static int resolve(struct checking *c, const char *name, struct resolved *ret)
{
	struct refs_wait w = patient(c);

	if (run_has_pinned(c->run, c->repo, name)) {
		*ret = (struct resolved){ .is_branch = true };
		return 0;
	}
	return strchr(name, '@') ? -ENOENT
				 : refs_resolve(c->m.store->refs, &c->repo_id, name, &w, ret);
}

static int check_top(struct checking *c, struct span name, const struct inode *ino,
		     const struct buf *xattrs)
{
	struct resolved to = { 0 };
	struct oid was;
	struct span id;
	char text[FILE_NAME_MAX + 1];
	int r;

	if (name.len >= sizeof(text))
		return DIFFERS;
	snprintf(text, sizeof(text), "%.*s", (int)name.len, (const char *)name.data);
	if (!run_tree_is_absent(ino) && !noted(xattrs, RUN_TREE_COMMIT, &id) &&
	    was_pinned(c, name, &was))
		return check_branch(c, text, &was, ino, xattrs);
	r = resolve(c, text, &to);
	if (r == -ENOTUNIQ)
		return DIFFERS;
	if (r < 0 && r != -ENOENT)
		return r;
	if (run_tree_is_absent(ino))
		return r == -ENOENT ? 0 : DIFFERS;
	if (r == -ENOENT || to.is_branch)
		return DIFFERS;
	/* A commit does not change: what led to it is all there is to look at. */
	if (!noted(xattrs, RUN_TREE_COMMIT, &id)) {
		if (oid_parse(name, &was) < 0)
			return DIFFERS;
		id = span_of(was.b, OID_SIZE);
	}
	return span_equal(id, span_of(to.commit.b, OID_SIZE)) ? RUN_TREE_SKIP : DIFFERS;
}

/* Type and content of what is no directory. */
static bool is_same_file(const struct inode *a, const struct inode *b)
{
	if (a->type != b->type || a->mode != b->mode)
		return false;
	switch (a->type) {
	case FT_REG:
	case FT_LNK:
		return a->content.size == b->content.size &&
		       (a->content.size == 0 || (a->content.kind == b->content.kind &&
						 oid_equal(&a->content.id, &b->content.id)));
	case FT_CHR:
	case FT_BLK:
		return a->dev.major == b->dev.major && a->dev.minor == b->dev.minor;
	default:
		return true;
	}
}

/* Is it in the same way one of several names, or the only one? Who writes to one of them changes
 * all, and who moves one leaves the others. */
static bool is_same_link(const struct dirent_rec *a, const struct dirent_rec *b)
{
	return a->has_link == b->has_link && (!a->has_link || id128_equal(&a->link, &b->link));
}

static int check_name(struct checking *c, unsigned level, struct span name, const struct inode *ino,
		      const struct buf *xattrs)
{
	_cleanup_(node_unrefp) struct node *leaf = NULL, *record = NULL, *leaf_before = NULL;
	const struct pair *parent = &c->dirs[level - 1];
	struct node_source *source = &c->m.source.base;
	struct dirent_rec e, before;
	struct inode now;
	struct pair dir;
	int r = dir_lookup(source, &parent->now, name, &leaf, &e);

	if (r == -ENOENT || (r == 0 && run_tree_is_absent(ino)))
		return r == -ENOENT && run_tree_is_absent(ino) ? 0 : DIFFERS;
	if (r == 0)
		r = dir_lookup(source, &parent->before, name, &leaf_before, &before);
	if (r == 0)
		r = making_inode(&c->m, &c->now.links, &e, &record, &now);
	if (r < 0)
		return r == -ENOENT ? DIFFERS : r;
	if (!is_same_link(&e, &before))
		return DIFFERS;
	if (now.type != FT_DIR)
		return is_same_file(&now, ino) ? 0 : DIFFERS;
	if (before.inode.type != FT_DIR)
		return DIFFERS;
	dir = (struct pair){ .now = now.dir, .before = before.inode.dir };
	return check_dir(c, level, ino, xattrs, now.mode, &dir);
}

static int check(struct span path, const struct inode *ino, void *ctx)
{
	_cleanup_buf_ struct buf xattrs = { 0 };
	struct checking *c = ctx;
	struct span name = path;
	unsigned level = path.len > 0;
	int r = xattrs_load(c->m.store->reader, &ino->xattrs, c->m.access, &xattrs);

	if (r < 0)
		return r;
	for (size_t i = 0; i < path.len; i++) {
		if (path.data[i] == '/') {
			level++;
			name = span_of(path.data + i + 1, path.len - i - 1);
		}
	}
	switch (level) {
	case 0:
		return check_root(c, &xattrs);
	case REPO_LEVEL:
		return check_repo(c, name, ino, &xattrs);
	case TOP_LEVEL:
		return check_top(c, name, ino, &xattrs);
	default:
		return check_name(c, level, name, ino, &xattrs);
	}
}

/* ---- what is published again ---- */

/* An output as the note has it; @result NULL: nothing was changed. What is uncommitted now is not
 * published with it, as of any run: its changes go on what this run's head has committed. */
static int put_output(json_t *all, const struct run_head *h, const struct oid *pinned,
		      const struct oid *result)
{
	json_t *out = json_pack("{s:s, s:o, s:s, s:o, s:o}", "repo", h->repo, "repo_id",
				json_of_id128(&h->repo_id), "branch", h->branch, "branch_id",
				json_of_id128(&h->branch_id), "pinned", json_of_oid(pinned));

	if (out && result)
		json_object_set_new(out, "result", json_of_oid(result));
	if (out && !oid_equal(pinned, &h->committed))
		json_object_set_new(out, "committed", json_of_oid(&h->committed));
	return json_array_append_new(all, out);
}

/* Can what it has made be published as a run's of now? Its branches must be there, and its commits.
 * As outputs of @c->run into *@ret. */
static int take_outputs(struct checking *c, json_t *ret)
{
	json_t *outputs = json_object_get(c->end, "outputs"), *was;
	struct refs_wait w = patient(c);
	size_t i;

	json_array_foreach (outputs, i, was) {
		_cleanup_buf_ struct buf object = { 0 };
		const char *repo = field_text(was, "repo"), *branch = field_text(was, "branch");
		struct oid pinned, result;
		struct run_head h;
		int r = field_oid(was, "pinned", &pinned);

		if (r == 0)
			r = field_oid(was, "result", &result);
		if (r < 0)
			return DIFFERS;
		r = run_head_now(c->run, repo, branch, &h);
		/* One that was only looked at, and pinned then; as this run has it. */
		if (oid_is_null(&result)) {
			if (r == 0 && put_output(ret, &h, &h.pinned, NULL) < 0)
				return -ENOMEM;
			continue;
		}
		if (r < 0 || !h.is_output)
			return DIFFERS;
		r = refs_commit(c->m.store->refs, &h.repo_id, &result, &w, &object);
		if (r == 0 && !oid_is_null(&pinned))
			r = refs_commit(c->m.store->refs, &h.repo_id, &pinned, &w, &object);
		if (r < 0)
			return r == -ENOENT ? DIFFERS : r;
		if (put_output(ret, &h, &pinned, &result) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int stream_of(const json_t *end, const char *name, struct access *acc,
		     struct node **ret_leaf, struct inode *ret)
{
	struct tree_root tree;
	int r = run_tree_read(json_object_get(end, "tree"), &tree);

	return r < 0 ? r : run_tree_find(&tree, RUN_TREE_EXTRA, span_str(name), acc, ret_leaf, ret);
}

static const char *const streams[] = { "stdout", "stderr" };

static json_int_t printed(const json_t *end, const char *stream)
{
	const json_t *s = json_object_get(json_object_get(end, "output"), stream);

	return json_integer_value(json_object_get(s, "bytes"));
}

/* Is all that it printed there? */
static int check_output(struct checking *c)
{
	for (size_t i = 0; i < ARRAY_SIZE(streams); i++) {
		_cleanup_(node_unrefp) struct node *leaf = NULL;
		json_int_t bytes = printed(c->end, streams[i]);
		struct inode ino;
		int r;

		if (bytes == 0)
			continue;
		r = stream_of(c->end, streams[i], c->m.access, &leaf, &ino);
		if (r == -ENOENT)
			return DIFFERS;
		if (r < 0)
			return r;
		if (ino.type != FT_REG || ino.content.size != (uint64_t)bytes)
			return DIFFERS;
	}
	return 0;
}

/* ---- candidates ---- */

/* 0, DIFFERS, or an error. Puts what is to be published into the end it keeps. */
static int hold_against(struct checking *c, const struct oid *key)
{
	json_t *memo = json_object_get(c->end, "memo"), *outputs = json_array();
	struct tree_root tree;
	struct oid had;
	int r = DIFFERS;

	if (outputs && strcmp(field_text(c->end, "status"), "ok") == 0 &&
	    field_oid(memo, "key", &had) == 0 && oid_equal(&had, key) &&
	    run_tree_read(json_object_get(c->end, "tree"), &tree) == 0)
		r = run_tree_walk(&tree, RUN_TREE_LOOKED, c->m.access, check, c);
	if (r == 0)
		r = check_output(c);
	if (r == 0)
		r = take_outputs(c, outputs);
	if (r == 0 && json_object_set((json_t *)c->end, "outputs", outputs) < 0)
		r = -ENOMEM;
	json_decref(outputs);
	return r;
}

static int try_run(struct run *run, const struct oid *key, const struct run_id *id,
		   struct access *acc, json_t **ret)
{
	struct store *store = run->runs->opts.store;
	struct checking c = {
		.run = run,
		.m = { .store = store, .access = acc, .source = reader_source(store->reader, acc) }
	};
	json_t *start = NULL, *end = NULL;
	int r = archive_get(store, id, &acc->deadline, &start, &end);

	c.start = start;
	c.end = end;
	if (r == 0)
		r = end ? hold_against(&c, key) : DIFFERS;
	free(c.dirs);
	json_decref(start);
	if (r == 0) {
		*ret = end;
		return 0;
	}
	json_decref(end);
	/* Whatever is wrong with a former run, this one can be run. */
	if (r == -EBADMSG || r == -EIO || r == -ENOTSUP)
		r = DIFFERS;
	return r == DIFFERS ? -ENOENT : r;
}

/* Those of @ids that @before has not, the newest first. */
static int try_all(struct run *run, const struct oid *key, struct span ids, struct span before,
		   struct access *acc, struct memo *ret)
{
	int r = -ENOENT;

	for (size_t i = ids.len / INDEX_RUN_ID; r == -ENOENT && i-- > 0;) {
		const uint8_t *raw = ids.data + i * INDEX_RUN_ID;
		struct run_id id = { 0 };

		if (before.len > 0 && memmem(before.data, before.len, raw, INDEX_RUN_ID))
			continue;
		memcpy(id.s, raw, INDEX_RUN_ID);
		r = try_run(run, key, &id, acc, &ret->end);
		if (r == 0)
			ret->id = id;
	}
	return r;
}

int memo_find(struct run *run, const struct oid *key, struct access *acc, struct memo *ret)
{
	static const struct catalog_look look = { 0 };
	struct store *store = run->runs->opts.store;
	_cleanup_buf_ struct buf known = { 0 }, more = { 0 };
	int r;

	access_may_fetch(acc);
	r = index_runs_with_key(store->index, key, &known);
	if (r == 0)
		r = try_all(run, key, buf_span(&known), span_of(NULL, 0), acc, ret);
	if (r != -ENOENT)
		return r;
	/* What other machines have done meanwhile. */
	r = catalog_look(store, &look, &acc->deadline);
	if (r == 0)
		r = index_runs_with_key(store->index, key, &more);
	return r < 0 ? r : try_all(run, key, buf_span(&more), buf_span(&known), acc, ret);
}

/* ---- what it printed ---- */

static int put_stream(struct store *store, const struct memo *m, const char *stream,
		      struct access *acc, memo_output_fn fn, void *ctx)
{
	_cleanup_(node_unrefp) struct node *leaf = NULL;
	_cleanup_free_ uint8_t *piece = malloc(OUTPUT_PIECE);
	struct inode ino;
	uint64_t at = 0;
	int64_t n;
	int r = piece ? stream_of(m->end, stream, acc, &leaf, &ino) : -ENOMEM;

	while (r == 0 && at < ino.content.size) {
		n = content_read(store->reader, &ino.content, at, OUTPUT_PIECE, piece, acc);
		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		r = fn(stream, span_of(piece, (size_t)n), ctx);
		at += (uint64_t)n;
	}
	return r;
}

int memo_output(struct store *store, const struct memo *m, struct access *acc, memo_output_fn fn,
		void *ctx)
{
	int r = 0;

	access_may_fetch(acc);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(streams); i++)
		if (printed(m->end, streams[i]) > 0)
			r = put_stream(store, m, streams[i], acc, fn, ctx);
	return r;
}
