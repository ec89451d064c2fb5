/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Verbs that make and tell of commits.
 */
#include <pwd.h>
#include <sys/sysmacros.h>

#include "base/log.h"
#include "service/address.h"
#include "service/describe.h"
#include "service/verbs.h"

#define TRUSTED "trusted."

/* The caller as an author: "user@machine". */
static void author_of(const struct request *q, struct buf *ret)
{
	const char *machine = q->service->store->machine;
	char text[1024];
	struct passwd pw, *found;

	if (getpwuid_r(q->who->uid, &pw, text, sizeof(text), &found) == 0 && found)
		buf_printf(ret, "%s@%s", found->pw_name, machine);
	else
		buf_printf(ret, "%u@%s", q->who->uid, machine);
}

/* What a commit is to carry; strings borrow the request's fields. */
struct wish {
	const char *name;
	struct buf author, message; /* with a NUL behind */
	struct commit_meta *meta; /* owned */
	size_t meta_count;
};

static void wish_release(struct wish *w)
{
	buf_release(&w->author);
	buf_release(&w->message);
	free(w->meta);
}

/* Text of a field, with a NUL behind and none in it. */
static int read_text(struct request *q, const char *field, struct buf *ret, bool *ret_has)
{
	int r = request_bytes(q, field, ret, ret_has);

	if (r == 0 && *ret_has && ret->len > 0 && memchr(ret->data, '\0', ret->len))
		return log_fail(-EINVAL, "the request's field `%s` has a NUL in it", field);
	return r;
}

static int read_wish(struct request *q, struct wish *w)
{
	const char *key;
	json_t *meta, *value;
	bool has_author, has_message;
	int r = request_optional_string(q, "name", &w->name);

	if (r == 0 && w->name && !object_name_is_valid(w->name))
		r = names_refuse(w->name);
	if (r == 0)
		r = read_text(q, "author", &w->author, &has_author);
	if (r == 0 && !has_author)
		author_of(q, &w->author);
	if (r == 0)
		r = read_text(q, "message", &w->message, &has_message);
	if (r == 0)
		r = request_strings(q, "meta", &meta);
	if (r < 0)
		return r;
	buf_put_u8(&w->author, 0);
	buf_put_u8(&w->message, 0);
	json_object_foreach (meta, key, value)
		if (strncmp(key, META_OWN, strlen(META_OWN)) == 0)
			return log_fail(-EINVAL, "metadata: `%s` is for pfs itself to say", key);
	w->meta = new0(struct commit_meta, json_object_size(meta) + 1);
	if (!w->meta || buf_failed(&w->author) || buf_failed(&w->message))
		return -ENOMEM;
	json_object_foreach (meta, key, value)
		w->meta[w->meta_count++] = (struct commit_meta){
			.key = span_str(key),
			.value = span_of(json_string_value(value), json_string_length(value)),
		};
	return 0;
}

static int commit_head(struct request *q, const struct address *p, const struct wish *w,
		       struct commit_result *ret)
{
	_cleanup_view_ struct view *v = NULL;
	struct commit_request cr = {
		.name = w->name,
		.author = (const char *)w->author.data,
		.message = (const char *)w->message.data,
		.meta = w->meta,
		.meta_count = w->meta_count,
		.cancelled = q->who->cancelled,
	};
	int r = address_view(q, p, &v);

	if (r == 0)
		r = head_commit(v, &cr, &q->access, ret);
	return r < 0 ? request_fail(r, "%s/%s cannot be committed", p->repo, address_branch(p)) : 0;
}

/* What is to be committed can be named by anything in it, but not by what is not there: that was
 * meant to be something else. */
static int check_path(struct request *q, const struct address *p)
{
	_cleanup_view_ struct view *v = NULL;
	_cleanup_held_ struct held at = { 0 };
	struct stat st;
	int r = p->path.len > 0 ? address_view(q, p, &v) : 0;

	return r < 0 || !v ? r : address_open(q, p, v, &at, &st);
}

/* Where nothing is mounted nothing can have changed; the last commit can be named. */
static int name_last(struct request *q, const struct address *p, const char *name)
{
	struct deadline dl = request_deadline(q, CHANGE_TIMEOUT_MS);
	int r = 0;

	if (oid_is_null(&p->commit))
		return log_fail(-ENOENT, "%s/%s has no commit yet", p->repo, address_branch(p));
	if (name)
		r = refs_create_name(q->service->store->refs, &p->rec.id, name, &p->commit, &dl);
	if (r == -EEXIST)
		return log_fail(r, "%s has `%s` already", p->repo, name);
	return r < 0 ? request_fail(r, "%s: the name %s cannot be made", p->repo, name) : 0;
}

/*
 * commit		a snapshot of a branch's head, durable when it is answered
 *
 *	path: of the head or anything in it, name?, message?, author?: "user@machine" of the caller,
 *	meta?: {key: value}
 *
 * One line: {repo, branch, id, is_new: false when nothing had changed and the id is the base's,
 * name: or null, standing: "on-branch", "pending" (it will be tried again) or "diverged" (both sides
 * have changed the same), tip: the branch's commit, conflicts: names that both have changed}.
 */
int verb_commit(struct request *q)
{
	_cleanup_answer_ struct answer a = answer_new();
	_cleanup_address_ struct address p = { 0 };
	_cleanup_(wish_release) struct wish w = { 0 };
	struct commit_result res = { 0 };
	int r = address_find(q, "path", &p);

	if (r == 0)
		r = permit_repo(q, p.repo, &p.rec, W_OK | X_OK);
	if (r == 0 && !p.is_branch)
		r = log_fail(-EROFS, "%s/%s is a commit already", p.repo, p.rev);
	if (r == 0)
		r = check_path(q, &p);
	if (r == 0)
		r = read_wish(q, &w);
	if (r < 0)
		return r;
	res.id = res.tip = p.commit;
	if (q->service->heads)
		r = commit_head(q, &p, &w, &res);
	else
		r = name_last(q, &p, w.name);
	if (r < 0)
		return r;
	answer_text(&a, "repo", p.repo);
	answer_text(&a, "branch", address_branch(&p));
	answer_oid(&a, "id", &res.id);
	answer_bool(&a, "is_new", res.is_new);
	answer_text(&a, "name", w.name);
	answer_commit_result(&a, &res);
	return request_answer(q, &a);
}

/* A symlink's target, a device's number, names of extended attributes, the content's id: what only
 * who may read the file is told. */
static int put_details(struct request *q, struct vnode *n, const struct stat *st, struct answer *a)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct answer xattrs = answer_new();
	struct cursor c;
	int r;

	r = view_getxattr(n, span_str("user.pfs.id"), &q->access, &b);
	if (r == 0)
		answer_bytes(a, "id", buf_span(&b));
	else
		answer_text(a, "id", NULL);
	if (S_ISLNK(st->st_mode)) {
		r = view_readlink(n, &q->access, &b);
		if (r == 0)
			answer_bytes(a, "target", buf_span(&b));
	} else if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
		answer_number(a, "major", major(st->st_rdev));
		answer_number(a, "minor", minor(st->st_rdev));
	}
	r = view_listxattr(n, &q->access, &b);
	c = cursor_of(buf_span(&b));
	while (r == 0 && cursor_left(&c) > 0) {
		_cleanup_buf_ struct buf value = { 0 };
		const char *name = (const char *)c.p;

		rd_bytes(&c, strlen(name) + 1);
		/* As the kernel has it. */
		if (!q->who->is_owner && strncmp(name, TRUSTED, strlen(TRUSTED)) == 0)
			continue;
		r = view_getxattr(n, span_str(name), &q->access, &value);
		if (r == 0)
			answer_keyed(&xattrs, span_str(name), buf_span(&value));
	}
	answer_object(a, "xattrs", &xattrs);
	return r;
}

static int put_entry(struct request *q, struct vnode *n, const struct stat *st, struct answer *a)
{
	struct answer e = answer_new();
	int r;

	answer_stat(&e, st);
	answer_time(&e, "ctime", st->st_ctim.tv_sec, (uint32_t)st->st_ctim.tv_nsec);
	answer_number(&e, "links", st->st_nlink);
	r = permit_dir(q, n, st, R_OK);
	if (r == 0)
		r = put_details(q, n, st, &e);
	answer_object(a, "entry", &e);
	return r == -EACCES ? 0 : r;
}

/*
 * show			what is at a path
 *
 *	path
 *
 * One line: {repo, branch: or null for a commit, path, commit: a commit's facts, the one that is
 * shown or the branch's last one, or null, entry: {type, mode, uid, gid, size, mtime, ctime, links,
 * and if the caller may read it: id: of its content, null while uncommitted, target: a symlink's,
 * major, minor, xattrs: {name: value}}}.
 */
int verb_show(struct request *q)
{
	_cleanup_answer_ struct answer a = answer_new();
	_cleanup_address_ struct address p = { 0 };
	_cleanup_name_map_ struct name_map names = { 0 };
	_cleanup_view_ struct view *v = NULL;
	_cleanup_held_ struct held at = { 0 };
	_cleanup_loaded_ struct loaded l = { 0 };
	struct answer facts = answer_new();
	struct stat st;
	int r = address_find(q, "path", &p);

	if (r == 0)
		r = name_map_load(q, &p.rec.id, &names);
	if (r == 0 && !oid_is_null(&p.commit))
		r = commit_load(q, &p.rec.id, &p.commit, &l);
	if (r == 0)
		r = address_callers_view(q, &p, &v);
	if (r == 0)
		r = address_open(q, &p, v, &at, &st);
	answer_text(&a, "repo", p.repo);
	answer_text(&a, "branch", p.is_branch ? address_branch(&p) : NULL);
	answer_bytes(&a, "path", buf_span(&p.path));
	if (l.object.len > 0) {
		answer_commit(q, &facts, &l.id, &l.commit, &names);
		answer_object(&a, "commit", &facts);
	} else {
		answer_release(&facts);
		answer_text(&a, "commit", NULL);
	}
	if (r == 0)
		r = put_entry(q, at.vnode, &st, &a);
	return r < 0 ? request_fail(r, "%s cannot be shown", p.repo) : request_answer(q, &a);
}
