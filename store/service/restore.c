/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Restoring: a head's file or tree becomes what a commit has, by as little as that takes.
 *
 * What is missing is grafted, what is too much removed, what differs exchanged in one step for a
 * graft that was made beside it: at no moment is a file missing or half there. Nothing is copied.
 * First all differences are found, then they are made up for, so that the search is not disturbed.
 * Then names are made to belong together as they do in the commit (relink.c).
 *
 * What the kernel knows of the names is told to be outdated as it changes.
 */
#include "service/restore.h"

#include <stdio.h>
#include <sys/xattr.h>

#include "base/log.h"
#include "service/verbs.h"

enum {
	BESIDE = 64,
};

struct restoring {
	struct request *q;
	struct held from, to; /* what is to be, and what is there */
	struct differences plan;
	struct held parent; /* in the head: of the difference at hand */
	char *parent_path; /* owned; NULL: none yet */
	const char *at; /* the difference at hand, of the plan; NULL: none */
	uint64_t added, removed, replaced, mode;
};

static void restoring_release(struct restoring *x)
{
	held_release(&x->from);
	held_release(&x->to);
	held_release(&x->parent);
	differences_release(&x->plan);
	free(x->parent_path);
}

static void tell_kernel(struct request *q, struct vnode *dir, const char *name)
{
	const struct service *s = q->service;

	if (!s->changed)
		return;
	if (*name)
		s->changed(vnode_id(dir), name, s->ctx);
	s->changed(vnode_id(dir), "", s->ctx);
}

static int set_xattrs(struct request *q, struct vnode *from, struct vnode *to)
{
	_cleanup_buf_ struct buf want = { 0 }, have = { 0 };
	struct cursor c;
	int r = view_listxattr(from, &q->access, &want);

	if (r == 0)
		r = view_listxattr(to, &q->access, &have);
	for (c = cursor_of(buf_span(&have)); r == 0 && cursor_left(&c) > 0;) {
		struct span name = span_str((const char *)c.p);
		_cleanup_buf_ struct buf value = { 0 };

		rd_bytes(&c, name.len + 1);
		r = view_getxattr(from, name, &q->access, &value);
		if (r == -ENODATA)
			r = view_removexattr(to, name, &q->access);
	}
	for (c = cursor_of(buf_span(&want)); r == 0 && cursor_left(&c) > 0;) {
		struct span name = span_str((const char *)c.p);
		_cleanup_buf_ struct buf value = { 0 };

		rd_bytes(&c, name.len + 1);
		r = view_getxattr(from, name, &q->access, &value);
		if (r == 0)
			r = view_setxattr(to, name, buf_span(&value), 0, false, &q->access);
	}
	return r;
}

/* Mode, owner, extended attributes and time of @to become those of @from. */
static int set_attrs(struct request *q, struct vnode *from, struct vnode *to)
{
	struct setattr s = { .what = SETATTR_MODE | SETATTR_UID | SETATTR_GID | SETATTR_MTIME };
	struct stat st;
	int r = view_getattr(from, &q->access, &st);

	if (r == 0)
		r = set_xattrs(q, from, to);
	if (r < 0)
		return r;
	s.mode = st.st_mode;
	s.uid = st.st_uid;
	s.gid = st.st_gid;
	s.mtime = st.st_mtim;
	r = view_setattr(to, &s, &q->access, &st);
	if (r == 0)
		tell_kernel(q, to, "");
	return r;
}

int restore_mtime(struct request *q, struct vnode *from, struct vnode *to)
{
	struct setattr s = { .what = SETATTR_MTIME };
	struct stat st;
	int r = view_getattr(from, &q->access, &st);

	s.mtime = st.st_mtim;
	return r < 0 ? r : view_setattr(to, &s, &q->access, &st);
}

static void name_beside(char ret[BESIDE])
{
	snprintf(ret, BESIDE, ".pfs-restore-%016llx", (unsigned long long)random_u64());
}

/* What has the name now, which it is about to lose: it may have others, under which the kernel then
 * is to ask anew how many. */
static struct held former_of(struct request *q, struct vnode *dir, const char *name)
{
	struct held former = { .table = q->service->vnodes };
	struct stat st;

	if (view_lookup(dir, span_str(name), &q->access, &former.vnode, &st) < 0)
		former.vnode = NULL;
	return former;
}

static void tell_of_links(struct request *q, const struct held *file)
{
	if (file->vnode)
		tell_kernel(q, file->vnode, "");
}

int restore_replace(struct request *q, struct vnode *from, struct vnode *dir, const char *name)
{
	_cleanup_held_ struct held former = former_of(q, dir, name);
	char beside[BESIDE];
	int r;

	name_beside(beside);
	r = head_graft(from, dir, span_str(beside), &q->access);
	if (r < 0)
		return r;
	r = view_rename(dir, span_str(beside), dir, span_str(name), RENAME_EXCHANGE, &q->access);
	if (r == 0)
		tell_kernel(q, dir, name);
	/* Either the old or the grafted one, by now. */
	r = head_remove_tree(dir, span_str(beside), &q->access) ?: r;
	tell_of_links(q, &former);
	return r;
}

int restore_link(struct request *q, struct vnode *file, struct vnode *dir, const char *name)
{
	_cleanup_held_ struct held former = former_of(q, dir, name);
	char beside[BESIDE];
	struct stat st;
	int r;

	name_beside(beside);
	r = view_link(file, dir, span_str(beside), &q->access, &st);
	if (r < 0)
		return r;
	r = view_rename(dir, span_str(beside), dir, span_str(name), 0, &q->access);
	if (r < 0)
		view_unlink(dir, span_str(beside), &q->access);
	else
		tell_kernel(q, dir, name);
	tell_kernel(q, file, "");
	tell_of_links(q, &former);
	return r;
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The directory that @path is in is at hand from here on; the one before gets its time back. */
static int move_to_parent(struct restoring *x, const char *path)
{
	size_t n = (size_t)(last_part(path) - path);
	_cleanup_held_ struct held from = { 0 };
	struct stat st;
	int r = 0;

	n -= n > 0;
	if (x->parent_path &&
	    (!path[0] || strlen(x->parent_path) != n || memcmp(x->parent_path, path, n) != 0)) {
		r = address_walk_from(x->q, x->from.vnode, span_str(x->parent_path), &from, &st);
		if (r == 0)
			r = restore_mtime(x->q, from.vnode, x->parent.vnode);
		tell_kernel(x->q, x->parent.vnode, "");
		held_release(&x->parent);
		free(TAKE_PTR(x->parent_path));
	}
	if (r < 0 || !path[0] || x->parent_path)
		return r;
	x->parent_path = strndup(path, n);
	if (!x->parent_path)
		return -ENOMEM;
	return address_walk_from(x->q, x->to.vnode, span_of(path, n), &x->parent, &st);
}

static int add(struct restoring *x, const char *path)
{
	_cleanup_held_ struct held from = { 0 };
	struct stat st;
	int r = move_to_parent(x, path);

	if (r == 0)
		r = address_walk_from(x->q, x->from.vnode, span_str(path), &from, &st);
	if (r == 0)
		r = head_graft(from.vnode, x->parent.vnode, span_str(last_part(path)),
			       &x->q->access);
	if (r == 0) {
		tell_kernel(x->q, x->parent.vnode, last_part(path));
		x->added++;
	}
	return r;
}

static int take_away(struct restoring *x, const char *path)
{
	_cleanup_held_ struct held former = { 0 };
	int r = move_to_parent(x, path);

	if (r == 0) {
		former = former_of(x->q, x->parent.vnode, last_part(path));
		r = head_remove_tree(x->parent.vnode, span_str(last_part(path)), &x->q->access);
	}
	if (r == 0) {
		tell_kernel(x->q, x->parent.vnode, last_part(path));
		tell_of_links(x->q, &former);
		x->removed++;
	}
	return r;
}

static int change(struct restoring *x, const struct difference *d)
{
	_cleanup_held_ struct held from = { 0 }, to = { 0 };
	struct request *q = x->q;
	struct stat st;
	int r = move_to_parent(x, d->path);

	if (r == 0)
		r = address_walk_from(q, x->from.vnode, span_str(d->path), &from, &st);
	if (r < 0)
		return r;
	if (d->what != DIFF_ATTRS) {
		x->replaced++;
		return restore_replace(q, from.vnode, x->parent.vnode, last_part(d->path));
	}
	x->mode++;
	r = address_walk_from(q, x->to.vnode, span_str(d->path), &to, &st);
	return r < 0 ? r : set_attrs(q, from.vnode, to.vnode);
}

static int make_up_for(struct restoring *x, const struct difference *d)
{
	switch (d->what) {
	case DIFF_ADDED:
		return add(x, d->path);
	case DIFF_REMOVED:
		return take_away(x, d->path);
	default:
		return change(x, d);
	}
}

static int plan(const struct difference *d, void *ctx)
{
	struct restoring *x = ctx;
	struct difference own = *d;

	own.path = strdup(d->path);
	return own.path ? differences_add(&x->plan, &own) : -ENOMEM;
}

/* Both are there: @dir and @name are where @to is. */
static int make_same(struct restoring *x, struct vnode *dir, const char *name)
{
	struct request *q = x->q;
	struct comparison c = {
		.side = { x->to.vnode, x->from.vnode }, .fn = plan, .ctx = x, .is_plain = true
	};
	int r = compare(q, &c);

	if (r == 0 && c.hidden > 0)
		return log_fail(-EACCES, "parts of it are not yours to read");
	for (size_t i = 0; r == 0 && i < x->plan.count; i++) {
		const struct difference *d = &x->plan.items[i];

		r = request_check(q);
		if (r < 0)
			break;
		x->at = d->path;
		if (strcmp(d->path, ".") != 0) {
			r = make_up_for(x, d);
		} else if (d->what == DIFF_ATTRS) {
			x->mode++;
			r = set_attrs(q, x->from.vnode, x->to.vnode);
		} else if (!dir) {
			return log_fail(-ENOTDIR, "only a directory can be a head's root");
		} else {
			x->replaced++;
			r = restore_replace(q, x->from.vnode, dir, name);
		}
	}
	if (r == 0)
		r = move_to_parent(x, "");
	if (r == 0)
		x->at = NULL;
	if (r == 0 && x->to.vnode->type == FT_DIR && x->from.vnode->type == FT_DIR)
		r = restore_links(q, x->from.vnode, x->to.vnode);
	return r;
}

/* A directory as @model is, called @name in @dir. */
static int make_like(struct request *q, struct vnode *dir, struct span name, struct vnode *model,
		     struct vnode **ret)
{
	_cleanup_free_ char *text = strndup((const char *)name.data, name.len);
	_cleanup_held_ struct held made = { .table = q->service->vnodes };
	struct new_file f = { .mode = S_IFDIR | 0700, .by = { q->who->uid, q->who->gid, 0 } };
	struct stat st;
	int r = text ? view_create(dir, name, &f, &q->access, &made.vnode, &st) : -ENOMEM;

	if (r < 0)
		return r;
	tell_kernel(q, dir, text);
	r = set_attrs(q, model, made.vnode);
	if (r == 0)
		*ret = TAKE_PTR(made.vnode);
	return r;
}

/* The parents of where it goes; those that are missing are made as they are in the commit, if that
 * has it in the same place. */
static int make_parents(struct request *q, struct view *head, struct span path, struct view *commit,
			struct held *ret)
{
	_cleanup_held_ struct held at = { 0 };
	struct stat st;
	int r = address_walk(q, head, span_str(""), &at, &st);

	for (size_t end = 0; r == 0 && end < path.len; end++) {
		_cleanup_held_ struct held model = { 0 };
		size_t start = end;
		struct vnode *next;
		struct span name;

		while (end < path.len && path.data[end] != '/')
			end++;
		name = span_of(path.data + start, end - start);
		r = view_lookup(at.vnode, name, &q->access, &next, &st);
		if (r == -ENOENT && commit)
			r = address_walk(q, commit, span_of(path.data, end), &model, &st);
		if (r == 0 && model.vnode)
			r = make_like(q, at.vnode, name, model.vnode, &next);
		if (r < 0)
			return r;
		vnode_unref(at.table, at.vnode);
		at.vnode = next;
	}
	if (r < 0)
		return r;
	*ret = at;
	at.vnode = NULL;
	return 0;
}

static int restore(struct restoring *x, const struct address *to, struct view *head,
		   struct view *same_place)
{
	struct request *q = x->q;
	_cleanup_held_ struct held dir = { 0 };
	_cleanup_free_ char *path =
		to->path.len ? strndup((const char *)to->path.data, to->path.len) : strdup("");
	const char *name = path ? last_part(path) : NULL;
	struct stat st;
	int r;

	if (!path)
		return -ENOMEM;
	if (!*path) {
		r = address_walk(q, head, span_str(""), &x->to, &st);
		return r < 0 ? r : make_same(x, NULL, NULL);
	}
	r = make_parents(q, head, span_of(path, (size_t)(MAX(name - 1, path) - path)), same_place,
			 &dir);
	if (r < 0)
		return r;
	r = address_walk_from(q, dir.vnode, span_str(name), &x->to, &st);
	if (r == 0)
		return make_same(x, dir.vnode, name);
	if (r != -ENOENT)
		return r;
	r = head_graft(x->from.vnode, dir.vnode, span_str(name), &q->access);
	if (r == 0) {
		tell_kernel(q, dir.vnode, name);
		x->added++;
	}
	return r;
}

/* Where to: as asked, or the same path in the default branch. */
static int find_target(struct request *q, const struct address *from, struct address *ret)
{
	const json_t *to = json_object_get(q->fields, "to");
	int r;

	if (to && !json_is_null(to))
		return address_find(q, "to", ret);
	r = address_of(q, span_str(from->repo), ret);
	if (r < 0)
		return r;
	buf_put(&ret->path, from->path.data, from->path.len);
	return buf_failed(&ret->path) ? -ENOMEM : 0;
}

static int check_target(struct request *q, const struct address *to)
{
	int r = permit_repo_owner(q, to->repo, &to->rec);

	if (r < 0)
		return r;
	if (!to->is_branch)
		return log_fail(-EROFS, "%s/%s is a commit, which never changes", to->repo,
				to->rev);
	if (!q->service->heads)
		return log_fail(-EOPNOTSUPP, "only what is mounted can be changed");
	if (q->service->store->read_only)
		return log_fail(-EROFS, "%s is mounted read-only", to->repo);
	return 0;
}

/*
 * restore		a file or tree of a commit, back into a head
 *
 *	from: a path in a commit, or in a branch's last one, to?: a path in a head; the same path in
 *	the default branch's
 *
 * One line: {repo, branch, path, added, removed, replaced, mode: how many files and directories, a
 * directory that comes or goes as a whole counting as one}.
 */
int verb_restore(struct request *q)
{
	_cleanup_answer_ struct answer a = answer_new();
	_cleanup_address_ struct address from = { 0 }, to = { 0 };
	_cleanup_view_ struct view *commit = NULL, *head = NULL;
	_cleanup_(restoring_release) struct restoring x = { .q = q };
	struct stat st;
	bool is_same_path;
	int r = address_find(q, "from", &from);

	if (r == 0)
		r = find_target(q, &from, &to);
	if (r == 0)
		r = check_target(q, &to);
	if (r == 0)
		r = address_commit_view(q, &from, &commit);
	if (r == 0)
		r = address_open(q, &from, commit, &x.from, &st);
	if (r == 0)
		r = address_view(q, &to, &head);
	if (r < 0)
		return r;
	is_same_path = span_equal(buf_span(&from.path), buf_span(&to.path));
	r = restore(&x, &to, head, is_same_path ? commit : NULL);
	if (r < 0)
		return request_fail(r, "%s/%s%s%.*s cannot be restored%s%s", to.repo,
				    address_branch(&to), to.path.len ? "/" : "", (int)to.path.len,
				    (const char *)to.path.data, x.at ? ": " : "", x.at ?: "");
	answer_text(&a, "repo", to.repo);
	answer_text(&a, "branch", address_branch(&to));
	answer_bytes(&a, "path", buf_span(&to.path));
	answer_number(&a, "added", x.added);
	answer_number(&a, "removed", x.removed);
	answer_number(&a, "replaced", x.replaced);
	answer_number(&a, "mode", x.mode);
	return request_answer(q, &a);
}
