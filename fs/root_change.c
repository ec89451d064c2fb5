/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * mkdir, rmdir, rename and chmod above the views: repos, branches, commits. All of it waits for the
 * store, so it runs on the slow lane.
 */
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "lane.h"
#include "object/refs.h"
#include "root_parts.h"

int commit_name_parse(const char *text, struct commit_name *ret)
{
	const char *at = strchr(text, '@');
	size_t len = at ? (size_t)(at - text) : 0;

	*ret = (struct commit_name){ .name = at ? at + 1 : text };
	if (len > OBJECT_NAME_MAX)
		return -EINVAL;
	memcpy(ret->branch, text, len);
	if (!object_name_is_valid(ret->name) || (at && !object_name_is_valid(ret->branch)))
		return -EINVAL;
	return 0;
}

static int make_repo(struct call *c, struct access *acc)
{
	_cleanup_repo_ref_ struct repo_ref x = { 0 };
	const char *name = (const char *)c->name.data;
	struct repo_rec rec = {
		.default_branch = "main",
		.chunk = CHUNK_PARAMS_DEFAULT,
		.root_mode = (uint16_t)(c->mode & 07777 & ~c->by.umask),
		.root_uid = c->by.uid,
		.root_gid = c->by.gid,
	};
	int r = refs_create_repo(c->fs->store->refs, name, &rec, &acc->deadline);

	if (r == 0)
		r = repo_of_name(c, name, acc, &x);
	return r < 0 ? r : reply_repo(c, &x, false);
}

/* From the default branch's last commit. */
static int make_branch(struct call *c, const struct repo_ref *x, struct access *acc)
{
	struct refs *refs = c->fs->store->refs;
	const char *name = (const char *)c->name.data;
	_cleanup_ref_ struct ref tip = { 0 };
	struct refs_wait w = refs_wait_of(acc);
	struct vnode *root;
	struct etag tag;
	int r;

	w.fresh = true;
	r = refs_get(refs, &x->rec.id, REF_BRANCH, x->rec.default_branch, &w, &tip, &tag);
	if (r == 0)
		r = refs_create_branch(refs, &x->rec.id, name, &tip.target, &acc->deadline);
	if (r == 0)
		r = alias_resolve(c, x, c->node, name, acc, &root);
	return r < 0 ? r : reply_view_root(c, root, acc);
}

/* Who commits, if it is not whom the mount runs for. NULL: the store's writer. */
static char *author_of(const struct call *c)
{
	char space[4096], *author = NULL;
	struct passwd pw, *found = NULL;

	if (c->by.uid == geteuid())
		return NULL;
	getpwuid_r(c->by.uid, &pw, space, sizeof(space), &found);
	if (found)
		author = strf("%s@%s", found->pw_name, c->fs->store->machine);
	return author ?: strf("%u@%s", c->by.uid, c->fs->store->machine);
}

static int make_commit(struct call *c, const struct repo_ref *x, struct access *acc)
{
	const char *text = (const char *)c->name.data;
	_cleanup_free_ char *author = author_of(c);
	struct commit_request req = { .author = author, .cancelled = lane_cancelled(c->job) };
	struct commit_name n;
	struct vnode *root;
	struct view *head;
	struct commit_result res;
	int r;

	r = commit_name_parse(text, &n);
	if (r < 0)
		return r;
	req.name = n.name;
	r = heads_get(c->fs->heads, x->repo->name, n.branch[0] ? n.branch : x->rec.default_branch,
		      acc, &head);
	if (r < 0)
		return r;
	r = head_commit(head, &req, acc, &res);
	view_unref(head);
	if (r == 0)
		r = alias_resolve(c, x, c->node, text, acc, &root);
	return r < 0 ? r : reply_view_root(c, root, acc);
}

/* A run has the repos and branches that there are: 0, or -EROFS. */
static int check_realm(const struct call *c)
{
	if (root_realm(c->node) == 0)
		return 0;
	return log_fail(-EROFS,
			"%s: inside a run no repo, branch or commit is made, renamed or removed",
			(const char *)c->name.data);
}

int root_mkdir(struct call *c, struct access *acc)
{
	_cleanup_repo_ref_ struct repo_ref x = { 0 };
	int r = check_realm(c);

	if (r < 0)
		return r;
	if (c->fs->store->read_only)
		return -EROFS;
	if (!acc->may_wait) {
		/* A commit takes as long as it takes. */
		if (is_commits(c->node))
			c->patience = PATIENCE_LONG;
		return -EAGAIN;
	}
	if (c->node == ROOT_TOP)
		return make_repo(c, acc);
	r = repo_of_node(c, c->node, acc, &x);
	if (r < 0)
		return r == -ENOTDIR ? -EPERM : r;
	return is_commits(c->node) ? make_commit(c, &x, acc) : make_branch(c, &x, acc);
}

static int remove_repo(struct call *c, struct access *acc)
{
	_cleanup_repo_ref_ struct repo_ref x = { 0 };
	const char *name = (const char *)c->name.data;
	int r = repo_of_name(c, name, acc, &x);

	return r < 0 ? r : heads_remove_repo(c->fs->heads, &x.rec.id, name, &acc->deadline);
}

static int remove_branch(struct call *c, const struct repo_ref *x, struct access *acc)
{
	struct refs *refs = c->fs->store->refs;
	struct refs_wait w = refs_wait_of(acc);
	const char *name = (const char *)c->name.data;
	struct resolved to;
	int r;

	if (strcmp(name, x->rec.default_branch) == 0)
		return log_fail(-EBUSY, "%s/%s is the default branch: it cannot be removed",
				x->repo->name, name);
	r = refs_resolve(refs, &x->rec.id, name, &w, &to);
	if (r < 0)
		return r;
	if (!to.is_branch)
		return log_fail(-EPERM,
				"%s/%s is a commit; rmdir %s/commits/%s takes the name away",
				x->repo->name, name, x->repo->name, name);
	r = heads_remove(c->fs->heads, &x->rec.id, name, &acc->deadline);
	if (r < 0)
		return r;
	alias_forget(x->root, c->node, name);
	return 0;
}

static int remove_name(struct call *c, const struct repo_ref *x, struct access *acc)
{
	const char *text = (const char *)c->name.data;
	struct commit_name n;
	int r;

	/* What has no name is listed by its id. */
	if (commit_name_parse(text, &n) < 0)
		return -EPERM;
	r = refs_remove_name(c->fs->store->refs, &x->rec.id, n.name, &acc->deadline);
	if (r < 0)
		return r;
	alias_forget(x->root, c->node, text);
	alias_forget(x->root, repo_node(x->repo), n.name);
	return 0;
}

int root_rmdir(struct call *c, struct access *acc)
{
	_cleanup_repo_ref_ struct repo_ref x = { 0 };
	const char *name = (const char *)c->name.data;
	int r = check_realm(c);

	if (r < 0)
		return r;
	if (c->fs->store->read_only)
		return -EROFS;
	if (!acc->may_wait)
		return -EAGAIN;
	if (c->node == ROOT_TOP) {
		r = strcmp(name, ".pfs") == 0 ? -EBUSY : remove_repo(c, acc);
	} else {
		r = repo_of_node(c, c->node, acc, &x);
		if (r < 0)
			return r == -ENOTDIR ? -EPERM : r;
		r = is_commits(c->node)		   ? remove_name(c, &x, acc)
		    : strcmp(name, "commits") == 0 ? -EBUSY
						   : remove_branch(c, &x, acc);
	}
	if (r == 0)
		call_ok(c);
	return r;
}

static int rename_branch(struct call *c, const struct repo_ref *x, struct access *acc)
{
	struct refs *refs = c->fs->store->refs;
	struct refs_wait w = refs_wait_of(acc);
	const char *from = (const char *)c->name.data, *to = (const char *)c->name2.data;
	struct resolved is;
	int r;

	if (strcmp(from, x->rec.default_branch) == 0)
		return log_fail(-EBUSY, "%s/%s is the default branch: it cannot be renamed",
				x->repo->name, from);
	if (strcmp(from, "commits") == 0)
		return -EBUSY;
	r = refs_resolve(refs, &x->rec.id, from, &w, &is);
	if (r < 0)
		return r;
	if (!is.is_branch)
		return -EPERM;
	r = heads_rename(c->fs->heads, &x->rec.id, from, to, &acc->deadline);
	if (r < 0)
		return r;
	alias_forget(x->root, c->node, from);
	return 0;
}

int root_rename(struct call *c, struct access *acc)
{
	_cleanup_repo_ref_ struct repo_ref x = { 0 };
	int r;

	/* Branches are renamed, within their repo; nothing else is. */
	if (!root_has(c->node) || !root_has(c->node2))
		return -EXDEV;
	if (c->node != c->node2 || !is_repo(c->node) || is_commits(c->node))
		return -EPERM;
	r = check_realm(c);
	if (r < 0)
		return r;
	if (c->flags & ~RENAME_NOREPLACE)
		return -EINVAL;
	if (c->fs->store->read_only)
		return -EROFS;
	if (!acc->may_wait)
		return -EAGAIN;
	r = repo_of_node(c, c->node, acc, &x);
	if (r == 0)
		r = rename_branch(c, &x, acc);
	if (r == 0)
		call_ok(c);
	return r;
}

static int change_owner(struct repo_rec *rec, void *ctx)
{
	const struct setattr *s = ctx;

	if (s->what & SETATTR_MODE)
		rec->root_mode = s->mode & 07777;
	if (s->what & SETATTR_UID)
		rec->root_uid = s->uid;
	if (s->what & SETATTR_GID)
		rec->root_gid = s->gid;
	return 0;
}

/* chmod and chown of a repo: who may branch and commit. */
int root_setattr(struct call *c, struct access *acc)
{
	_cleanup_repo_ref_ struct repo_ref x = { 0 };
	int r;

	if (is_run(c->node))
		return run_setattr(c);
	if (!is_repo(c->node)) {
		/* Opening the control file with O_TRUNC changes nothing. */
		if (c->attrs.what != SETATTR_SIZE)
			return -EPERM;
		return root_getattr(c, acc);
	}
	if (c->attrs.what & ~(SETATTR_MODE | SETATTR_UID | SETATTR_GID))
		return -EPERM;
	if (c->fs->store->read_only || root_realm(c->node) != 0)
		return -EROFS;
	if (!acc->may_wait)
		return -EAGAIN;
	r = repo_of_node(c, c->node, acc, &x);
	if (r == 0)
		r = refs_change_repo(c->fs->store->refs, x.repo->name, change_owner, &c->attrs,
				     &acc->deadline);
	return r < 0 ? r : root_getattr(c, acc);
}
