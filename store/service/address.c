/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From paths to repos, views and vnodes.
 */
#include "service/address.h"

#include "base/log.h"
#include "run/run.h"

void address_release(struct address *p)
{
	repo_rec_release(&p->rec);
	buf_release(&p->path);
}

void held_release(struct held *h)
{
	if (h->vnode)
		vnode_unref(h->table, h->vnode);
	h->vnode = NULL;
}

int address_repo(struct request *q, const char *name, struct repo_rec *ret)
{
	struct refs *refs = q->service->store->refs;
	struct refs_wait w = request_fresh_wait(q);
	int r;

	do {
		r = refs_repo(refs, name, &w, ret);
	} while (request_settles(q, &w, r));
	if (r == -ENOENT)
		return log_fail(r, "there is no repo `%s`", name);
	return r < 0 ? request_fail(r, "the repo %s cannot be looked at", name) : 0;
}

int address_resolve(struct request *q, const char *repo, const struct repo_rec *rec,
		    const char *rev, struct resolved *ret)
{
	struct refs *refs = q->service->store->refs;
	struct refs_wait w = request_fresh_wait(q);
	int r;

	do {
		r = refs_resolve(refs, &rec->id, rev, &w, ret);
	} while (request_settles(q, &w, r));
	if (r == -EINVAL)
		return log_fail(r,
				"`%s` has no time between the braces; main@{1h}, main@{2 days ago} "
				"and main@{2026-01-15T14:00} would",
				rev);
	if (r == -ENOENT && refs_has_time(rev))
		return log_fail(r, "%s/%s: there is no such branch, or it had no commit then", repo,
				rev);
	if (r == -ENOENT)
		return log_fail(r, "%s has no branch or commit `%s`", repo, rev);
	if (r == -ENOTUNIQ)
		return log_fail(r, "%s: several commits' ids start with `%s`", repo, rev);
	return r < 0 ? request_fail(r, "%s/%s cannot be looked at", repo, rev) : 0;
}

static struct span skip_slashes(struct span s)
{
	while (s.len > 0 && s.data[0] == '/')
		s = span_of(s.data + 1, s.len - 1);
	return s;
}

/* Takes the first part of a path off it, with the slashes behind. */
static struct span take_part(struct span *path)
{
	const uint8_t *slash = path->len ? memchr(path->data, '/', path->len) : NULL;
	size_t n = slash ? (size_t)(slash - path->data) : path->len;
	struct span part = span_of(path->data, n);

	*path = skip_slashes(span_of(path->data + n, path->len - n));
	return part;
}

static int copy_part(struct span part, char *ret, size_t size)
{
	if (part.len == 0 || part.len >= size || memchr(part.data, '\0', part.len))
		return -ENOENT;
	memcpy(ret, part.data, part.len);
	ret[part.len] = '\0';
	return 0;
}

/* What is below the revision, with single slashes between the parts. */
static int copy_path(struct span rest, struct buf *ret)
{
	while (rest.len > 0) {
		struct span part = take_part(&rest);

		if (span_equal(part, span_str(".")))
			continue;
		if (span_equal(part, span_str("..")))
			return log_fail(-EINVAL, "a path must not have `..` in it");
		if (ret->len > 0)
			buf_put_u8(ret, '/');
		buf_put(ret, part.data, part.len);
	}
	return buf_failed(ret) ? -ENOMEM : 0;
}

int address_of(struct request *q, struct span path, struct address *ret)
{
	_cleanup_address_ struct address p = { 0 };
	struct span rest = skip_slashes(path), rev;
	struct resolved what;
	int r;

	if (copy_part(take_part(&rest), p.repo, sizeof(p.repo)) < 0)
		return log_fail(-ENOENT, "`%.*s` does not begin with a repo's name", (int)path.len,
				(const char *)path.data);
	rev = take_part(&rest);
	if (span_equal(rev, span_str("commits")))
		rev = take_part(&rest);
	if (rev.len > 0 && copy_part(rev, p.rev, sizeof(p.rev)) < 0)
		return log_fail(-ENOENT, "%s has no branch or commit `%.*s`", p.repo, (int)rev.len,
				(const char *)rev.data);
	r = copy_path(rest, &p.path);
	if (r == 0)
		r = address_repo(q, p.repo, &p.rec);
	if (r == 0)
		r = permit_repo(q, p.repo, &p.rec, R_OK | X_OK);
	if (r == 0)
		r = address_resolve(q, p.repo, &p.rec, address_branch(&p), &what);
	if (r < 0)
		return r;
	p.is_branch = what.is_branch;
	p.commit = what.commit;
	*ret = p;
	p = (struct address){ 0 };
	return 0;
}

int address_find(struct request *q, const char *field, struct address *ret)
{
	_cleanup_buf_ struct buf path = { 0 };
	bool has;
	int r = request_bytes(q, field, &path, &has);

	if (r == 0 && !has)
		return log_fail(-EINVAL, "the request has no field `%s`", field);
	return r < 0 ? r : address_of(q, buf_span(&path), ret);
}

const char *address_branch(const struct address *p)
{
	return p->rev[0] ? p->rev : p->rec.default_branch;
}

int address_view_of(struct request *q, const struct address *p, const struct oid *commit,
		    struct view **ret)
{
	const struct service *s = q->service;
	_cleanup_buf_ struct buf object = { 0 };
	struct refs_wait w = request_wait(q);
	char hex[OID_HEX];
	int r;

	if (oid_is_null(commit))
		return log_fail(-ENOENT, "%s/%s has no commit yet", p->repo, address_branch(p));
	r = refs_commit(s->store->refs, &p->rec.id, commit, &w, &object);
	if (r == 0)
		r = view_of_commit(s->store, s->vnodes, p->repo, buf_span(&object), ret);
	return r < 0 ? request_fail(r, "%s: the commit %.12s cannot be read", p->repo,
				    oid_hex(commit, hex))
		     : 0;
}

int address_commit_view(struct request *q, const struct address *p, struct view **ret)
{
	return address_view_of(q, p, &p->commit, ret);
}

int address_view(struct request *q, const struct address *p, struct view **ret)
{
	int r;

	if (!p->is_branch || !q->service->heads)
		return address_commit_view(q, p, ret);
	r = heads_get(q->service->heads, p->repo, address_branch(p), &q->access, ret);
	return r < 0 ? request_fail(r, "%s/%s cannot be opened", p->repo, address_branch(p)) : 0;
}

int address_callers_view(struct request *q, const struct address *p, struct view **ret)
{
	struct run *run = q->who->within;
	int r;

	if (!p->is_branch || !run)
		return address_view(q, p, ret);
	r = run_branch(run, p->repo, address_branch(p), &q->access, ret);
	return r < 0 ? request_fail(r, "%s/%s cannot be opened in the run %s", p->repo,
				    address_branch(p), run_id(run)->s)
		     : 0;
}

/* One step down. */
static int step(struct request *q, struct held *at, struct span name, struct stat *st)
{
	struct vnode *next;
	int r;

	if (!S_ISDIR(st->st_mode))
		return -ENOTDIR;
	r = permit_dir(q, at->vnode, st, X_OK);
	if (r == 0)
		r = view_lookup(at->vnode, name, &q->access, &next, st);
	if (r < 0)
		return r;
	vnode_unref(at->table, at->vnode);
	at->vnode = next;
	return 0;
}

int address_walk_from(struct request *q, struct vnode *dir, struct span path, struct held *ret,
		      struct stat *ret_st)
{
	_cleanup_held_ struct held at = { .table = q->service->vnodes, .vnode = dir };
	struct stat st;
	int r;

	vnode_ref(at.table, dir);
	r = view_getattr(dir, &q->access, &st);
	while (r == 0 && path.len > 0)
		r = step(q, &at, take_part(&path), &st);
	if (r < 0)
		return r;
	*ret_st = st;
	*ret = at;
	at.vnode = NULL;
	return 0;
}

int address_walk(struct request *q, struct view *v, struct span path, struct held *ret,
		 struct stat *ret_st)
{
	_cleanup_held_ struct held root = { .table = q->service->vnodes };
	int r = view_root(v, &root.vnode);

	return r < 0 ? r : address_walk_from(q, root.vnode, path, ret, ret_st);
}

int address_open(struct request *q, const struct address *p, struct view *v, struct held *ret,
		 struct stat *ret_st)
{
	int r = address_walk(q, v, buf_span(&p->path), ret, ret_st);

	return r < 0 ? request_fail(r, "%s/%s/%.*s", p->repo, address_branch(p), (int)p->path.len,
				    (const char *)p->path.data)
		     : 0;
}
