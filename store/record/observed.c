/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a run has read and looked for, held against the commits that it saw (trees_parts.h).
 *
 * What was noted of a name says what the run saw there, whoever had made it. The commit says which
 * of it was the commit's:
 *
 *	noted		the commit has it	it has not
 *	present, read	its entry		the run's own: left out
 *	absent		the run's own		absent
 *	both		its entry		absent
 *
 * What is below a name that is no directory of the commit is the run's own.
 *
 * A name of R that leads to a commit has that commit's id below it in the log.
 */
#include <limits.h>
#include <stdio.h>

#include "base/log.h"
#include "format/commit.h"
#include "format/xattr.h"
#include "record/listing.h"
#include "record/tree_read.h"
#include "record/trees_parts.h"

enum {
	REPO_LEVEL = 1, /* of directories in a part; its root is 0 */
	TOP_LEVEL = 2, /* a branch, or a commit */
	NOWHERE = UINT_MAX,
};

struct observing {
	struct making *m;
	struct part *read, *kept, *looked;
	struct tree_root *dirs; /* from TOP_LEVEL on: the commit's directories, by level; owned */
	size_t cap;
	struct commit_trees top;
	char repo[OBJECT_NAME_MAX + 1]; /* at REPO_LEVEL */
	unsigned skipped; /* what is below this level is left out; NOWHERE: nothing */
	/* A name that leads to commits, and is put when all of them are known; empty: none. */
	char name[OBJECT_NAME_MAX + OID_HEX];
	struct buf commits; /* ids; owned */
	bool name_was_absent; /* as well */
};

#define WAS_THERE (SEEN_PRESENT | SEEN_READ | SEEN_KEPT | SEEN_LISTED | SEEN_TREE)

static struct refs_wait patient(const struct observing *o)
{
	return (struct refs_wait){ .may_wait = true, .deadline = o->m->access->deadline };
}

/* The repo's id: known from its branches, else asked for. */
static int repo_id(const struct observing *o, struct id128 *ret)
{
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct refs_wait w = patient(o);
	int r;

	for (size_t i = 0; i < o->m->branch_count; i++) {
		if (strcmp(o->m->branches[i].repo, o->repo) == 0) {
			*ret = o->m->branches[i].repo_id;
			return 0;
		}
	}
	r = refs_repo(o->m->store->refs, o->repo, &w, &rec);
	if (r == 0)
		*ret = rec.id;
	return r;
}

/* Notes in @xattrs what was listed: @r is what came of making @id. */
static int add_listing(struct buf *xattrs, int r, const struct listing_id *id)
{
	return r < 0 ? r
		     : xattr_append(xattrs, span_str(RUN_TREE_LISTING),
				    span_of(id->b, DIGEST_SIZE));
}

/* Opens a directory in all parts. */
static int enter(struct observing *o, struct span name, uint16_t mode, struct buf *xattrs,
		 unsigned what)
{
	struct inode ino = part_plain_dir();
	int r;

	r = part_enter(o->read, name, &ino, false) ?: part_enter(o->kept, name, &ino, false);
	ino.mode = mode;
	ino.xattrs.list = buf_span(xattrs);
	return r < 0 ? r : part_enter(o->looked, name, &ino, what != 0);
}

/* It was there, and was not before: no such moment can be held against another. */
static int add_absence(struct buf *xattrs)
{
	return xattr_append(xattrs, span_str(RUN_TREE_COMMIT),
			    span_of((struct oid){ 0 }.b, OID_SIZE));
}

/* A directory of a commit, which becomes the one at @level. */
static int enter_dir(struct observing *o, unsigned level, struct span name, uint16_t mode,
		     const struct tree_root *dir, unsigned what)
{
	_cleanup_buf_ struct buf xattrs = { 0 };
	struct listing_id id;
	int r = 0;

	if (level >= o->cap) {
		size_t cap = MAX(2 * o->cap, (size_t)level + 16);
		struct tree_root *d = reallocarray(o->dirs, cap, sizeof(*d));

		if (!d)
			return -ENOMEM;
		o->dirs = d;
		o->cap = cap;
	}
	o->dirs[level] = *dir;
	if (what & SEEN_ABSENT)
		r = add_absence(&xattrs);
	if (r == 0 && (what & SEEN_LISTED))
		r = add_listing(&xattrs, listing_of_dir(&o->m->source.base, dir, &id), &id);
	if (r == 0 && (what & SEEN_TREE))
		r = xattr_append(&xattrs, span_str(RUN_TREE_TREE), span_of(dir->id.b, OID_SIZE));
	return r < 0 ? r : enter(o, name, mode, &xattrs, what);
}

/* A name that there is not in what the run saw. */
static int absent(struct observing *o, unsigned level, struct span name, unsigned what)
{
	struct inode ino = part_absent();

	o->skipped = level;
	return what & SEEN_ABSENT ? part_put(o->looked, name, &ino) : 0;
}

static int at_root(struct observing *o, unsigned what)
{
	struct refs_wait w = patient(o);
	struct listing_id id;
	struct inode ino = part_plain_dir();
	_cleanup_buf_ struct buf xattrs = { 0 };
	int r = 0;

	if (what & SEEN_LISTED)
		r = add_listing(&xattrs, listing_of_repos(o->m->store->refs, &w, &id), &id);
	if (r < 0)
		return r;
	ino.xattrs.list = buf_span(&xattrs);
	return part_root(o->looked, &ino);
}

static int at_repo(struct observing *o, struct span name, unsigned what)
{
	_cleanup_buf_ struct buf xattrs = { 0 };
	struct refs_wait w = patient(o);
	struct listing_id id;
	struct id128 repo;
	int r = 0;

	if (what == SEEN_ABSENT || name.len > OBJECT_NAME_MAX)
		return absent(o, REPO_LEVEL, name, what);
	snprintf(o->repo, sizeof(o->repo), "%.*s", (int)name.len, (const char *)name.data);
	if (what & SEEN_ABSENT)
		r = add_absence(&xattrs);
	if (r == 0 && (what & SEEN_LISTED)) {
		r = repo_id(o, &repo);
		if (r == 0)
			r = listing_of_repo(o->m->store->refs, &repo, &w, &id);
		/* Of a repo that is gone by now: nothing that any listing is. */
		if (r == -ENOENT) {
			id = (struct listing_id){ 0 };
			r = 0;
		}
		r = add_listing(&xattrs, r, &id);
	}
	return r < 0 ? log_errno(r, "what a run saw of %s cannot be stored", o->repo)
		     : enter(o, name, 0755, &xattrs, what);
}

/* The commit that a top stands for. 0, -ENOENT: none. */
static int find_top(struct observing *o, struct span name, struct id128 *ret_repo, struct oid *ret)
{
	int r;

	for (size_t i = 0; i < o->m->branch_count; i++) {
		const struct run_branch *b = &o->m->branches[i];

		if (strcmp(b->repo, o->repo) == 0 && span_equal(span_str(b->branch), name)) {
			*ret_repo = b->repo_id;
			*ret = b->pinned;
			return 0;
		}
	}
	if (oid_parse(name, ret) < 0)
		return -ENOENT;
	r = repo_id(o, ret_repo);
	return r == -ENOENT ? -EBADMSG : r;
}

/* A name that is no branch's. */
static int at_commit_name(struct observing *o, struct span name, unsigned what)
{
	if (!(what & SEEN_PRESENT) || name.len >= sizeof(o->name))
		return absent(o, TOP_LEVEL, name, what);
	memcpy(o->name, name.data, name.len);
	o->name[name.len] = '\0';
	buf_clear(&o->commits);
	o->name_was_absent = what & SEEN_ABSENT;
	return 0;
}

static int add_commit(struct observing *o, struct span hex)
{
	struct oid id;

	if (oid_parse(hex, &id) < 0)
		return 0;
	/* Two are enough to know that it has moved. */
	if (o->commits.len < (size_t)2 * OID_SIZE)
		buf_put(&o->commits, id.b, OID_SIZE);
	return buf_failed(&o->commits) ? -ENOMEM : 0;
}

/* Puts the name that was last told of. */
static int put_commit_name(struct observing *o)
{
	_cleanup_buf_ struct buf xattrs = { 0 };
	struct inode ino = part_plain_dir();
	bool has_commit = o->commits.len > 0;
	int r = 0;

	if (!*o->name)
		return 0;
	/* As add_absence(). */
	if (has_commit && o->name_was_absent)
		buf_put(&o->commits, (struct oid){ 0 }.b, OID_SIZE);
	if (buf_failed(&o->commits))
		return -ENOMEM;
	if (!has_commit && o->name_was_absent)
		ino = part_absent();
	if (has_commit) {
		r = xattr_append(&xattrs, span_str(RUN_TREE_COMMIT), buf_span(&o->commits));
		ino.xattrs.list = buf_span(&xattrs);
	}
	if (r == 0 && (has_commit || o->name_was_absent))
		r = part_put(o->looked, span_str(o->name), &ino);
	o->name[0] = '\0';
	return r;
}

static int at_top(struct observing *o, struct span name, unsigned what)
{
	struct id128 repo;
	struct oid id;
	int r = find_top(o, name, &repo, &id);

	/* A branch that nobody told of: the run saw that there is none, or what it made. */
	if (r == -ENOENT)
		return at_commit_name(o, name, what);
	if (r == 0)
		r = making_commit(o->m, &repo, &id, &o->top);
	if (r < 0)
		return log_errno(r, "what a run saw of %s/%.*s cannot be stored", o->repo,
				 (int)name.len, (const char *)name.data);
	return enter_dir(o, TOP_LEVEL, name, o->top.mode, &o->top.root, what);
}

static int at_name(struct observing *o, unsigned level, struct span name, unsigned what)
{
	_cleanup_(node_unrefp) struct node *leaf = NULL, *record = NULL;
	struct dirent_rec e;
	struct inode ino;
	int r;

	r = dir_lookup(&o->m->source.base, &o->dirs[level - 1], name, &leaf, &e);
	if (r == -ENOENT)
		return absent(o, level, name, what);
	if (r == 0)
		r = making_inode(o->m, &o->top.links, &e, &record, &ino);
	if (r < 0)
		return r;
	if (ino.type == FT_DIR)
		return enter_dir(o, level, name, ino.mode, &ino.dir, what & WAS_THERE);
	o->skipped = level;
	if (what & WAS_THERE)
		r = part_put(o->looked, name, &ino);
	if (r == 0 && (what & (SEEN_READ | SEEN_KEPT)) && ino.type == FT_REG)
		r = part_put(what & SEEN_READ ? o->read : o->kept, name, &ino);
	return r;
}

static int observe(unsigned depth, struct span name, unsigned what, void *ctx)
{
	const uint8_t *slash = name.len > 0 ? memchr(name.data, '/', name.len) : NULL;
	struct observing *o = ctx;
	unsigned level = depth > 0	? depth + TOP_LEVEL
			 : slash	? TOP_LEVEL
			 : name.len > 0 ? REPO_LEVEL
					: 0;
	int r = 0;

	if (level > o->skipped)
		return 0;
	o->skipped = NOWHERE;
	if (*o->name && level > TOP_LEVEL)
		return add_commit(o, name);
	r = put_commit_name(o);
	/* Where n directories are open, the root among them, what is in the last is at level n. */
	while (r == 0 && o->looked->depth > MAX(level, 1u)) {
		r = part_leave(o->read);
		if (r == 0)
			r = part_leave(o->kept);
		if (r == 0)
			r = part_leave(o->looked);
	}
	if (r < 0)
		return r;
	switch (level) {
	case 0:
		return at_root(o, what);
	case REPO_LEVEL:
		return at_repo(o, name, what);
	case TOP_LEVEL:
		slash++;
		return at_top(o, span_of(slash, (size_t)(name.data + name.len - slash)), what);
	default:
		return at_name(o, level, name, what);
	}
}

int making_observed(struct making *m, struct seen *seen, struct part *read, struct part *kept,
		    struct part *looked)
{
	struct observing o = {
		.m = m, .read = read, .kept = kept, .looked = looked, .skipped = NOWHERE
	};
	int r = seen_walk(seen, observe, &o);

	if (r == 0)
		r = put_commit_name(&o);
	buf_release(&o.commits);
	free(o.dirs);
	return r;
}
