/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Verbs about what others have done to a branch: merging and seeing it.
 */
#include "base/log.h"
#include "base/text.h"
#include "head/head.h"
#include "merge/join.h"
#include "service/address.h"
#include "service/verbs.h"

enum {
	JOIN_TIMEOUT_MS = 120 * 1000,
};

const char *standing_text(enum head_standing s)
{
	switch (s) {
	case HEAD_ON_BRANCH:
		return "on-branch";
	case HEAD_PENDING:
		return "pending";
	case HEAD_DIVERGED:
		return "diverged";
	}
	return "";
}

void answer_commit_result(struct answer *a, const struct commit_result *res)
{
	answer_text(a, "standing", standing_text(res->standing));
	answer_oid(a, "tip", &res->tip);
	answer_number(a, "conflicts", res->conflicts);
}

int answer_conflict(struct span path, enum merge_verdict what, void *ctx)
{
	struct request *q = ctx;
	_cleanup_answer_ struct answer a = answer_new();
	int r = request_check(q);

	if (r < 0)
		return r;
	answer_text(&a, "conflict", merge_conflict_word(what));
	answer_bytes(&a, "path", path);
	return request_answer(q, &a);
}

/* What a merge is asked for. */
struct merging_request {
	struct address into;
	const char *from; /* NULL: the head's own last commit */
	enum merge_prefer prefer;
};

static int read_request(struct request *q, struct merging_request *m)
{
	const char *prefer;
	int r = address_find(q, "path", &m->into);

	if (r == 0)
		r = permit_repo(q, m->into.repo, &m->into.rec, W_OK | X_OK);
	if (r == 0 && !m->into.is_branch)
		r = log_fail(-EROFS, "%s/%s is a commit, into which nothing can be merged",
			     m->into.repo, m->into.rev);
	if (r == 0)
		r = request_optional_string(q, "from", &m->from);
	if (r == 0)
		r = request_optional_string(q, "prefer", &prefer);
	if (r < 0)
		return r;
	if (!prefer)
		m->prefer = MERGE_PREFER_NEITHER;
	else if (strcmp(prefer, "ours") == 0)
		m->prefer = MERGE_PREFER_OURS;
	else if (strcmp(prefer, "theirs") == 0)
		m->prefer = MERGE_PREFER_THEIRS;
	else
		return log_fail(-EINVAL, "`%s`: \"ours\" or \"theirs\" can be preferred", prefer);
	return 0;
}

/* Brings another branch's or any commit onto the branch. */
static int merge_other(struct request *q, const struct merging_request *m,
		       struct commit_result *ret)
{
	const struct address *p = &m->into;
	_cleanup_free_ char *message = NULL;
	struct resolved what;
	struct joining j = {
		.store = q->service->store,
		.repo = p->rec.id,
		.repo_name = p->repo,
		.branch = address_branch(p),
		.prefer = m->prefer,
		.deadline = request_deadline(q, JOIN_TIMEOUT_MS),
	};
	struct joined x = { 0 };
	int told = 0, r = address_resolve(q, p->repo, &p->rec, m->from, &what);

	if (r < 0)
		return r;
	if (oid_is_null(&what.commit))
		return log_fail(-ENOENT, "%s/%s has no commit yet", p->repo, m->from);
	message = strf("merge of %s into %s", m->from, j.branch);
	if (!message)
		return -ENOMEM;
	j.commit = what.commit;
	j.message = message;
	do {
		/* Where what stood in the way has gone before it could be told, once more. */
		r = join_branch(&j, &x);
		if (r == -ESTALE)
			told = join_conflicts(&j, answer_conflict, q, &x);
	} while (r == -ESTALE && told == 0 && x.conflicts == 0);
	*ret = (struct commit_result){
		.id = x.tip,
		.tip = x.tip,
		.conflicts = x.conflicts,
		.is_new = x.is_merge,
	};
	return r == -ESTALE ? told : r;
}

/* Follows what has come, as far as nothing is uncommitted. */
static int follow(struct request *q, const struct address *p, const struct oid *tip)
{
	_cleanup_view_ struct view *v = NULL;
	int r = q->service->heads ? address_view(q, p, &v) : 0;

	return v ? MIN(head_follow(v, tip, &q->access), 0) : r;
}

static int merge_own(struct request *q, const struct merging_request *m, struct commit_result *ret)
{
	_cleanup_view_ struct view *v = NULL;
	int r;

	if (!q->service->heads)
		return log_fail(-EINVAL, "%s/%s is not mounted here: which branch is to be merged?",
				m->into.repo, address_branch(&m->into));
	r = address_view(q, &m->into, &v);
	if (r == 0)
		r = head_merge(v, m->prefer, &q->access, ret);
	if (r == 0 && ret->standing == HEAD_DIVERGED)
		r = head_conflicts(v, answer_conflict, q, &q->access, ret);
	return r;
}

/*
 * merge		brings a commit onto a branch, with what both have changed since they parted
 *
 *	path: of the branch or anything in it, from?: a REV of the repo, else the last commit of the
 *	mounted head, if that is not on the branch yet; prefer?: "ours" (of from's side; without from,
 *	the head's) or "theirs" (the branch's), where both have changed the same
 *
 * A line {conflict: how, path} for each name that stands in the way, if any does; then nothing has
 * changed. Last {repo, branch, id: the branch's commit, or the head's, is_new: a merge commit was
 * made, standing: of the head (as of commit), tip: the branch's, conflicts}.
 */
int verb_merge(struct request *q)
{
	_cleanup_answer_ struct answer a = answer_new();
	struct merging_request m = { 0 };
	struct commit_result res = { 0 };
	int r = read_request(q, &m);

	if (r == 0)
		r = m.from ? merge_other(q, &m, &res) : merge_own(q, &m, &res);
	if (r == 0 && res.conflicts == 0 && m.from)
		r = follow(q, &m.into, &res.tip);
	if (r == 0) {
		answer_text(&a, "repo", m.into.repo);
		answer_text(&a, "branch", address_branch(&m.into));
		answer_oid(&a, "id", &res.id);
		answer_bool(&a, "is_new", res.is_new);
		answer_commit_result(&a, &res);
		r = request_answer(q, &a);
	} else {
		request_fail(r, "%s/%s cannot be merged", m.into.repo, m.into.rev);
	}
	address_release(&m.into);
	return r;
}

static int answer_synced(struct request *q, struct view *v, const struct commit_result *res)
{
	_cleanup_answer_ struct answer a = answer_new();
	_cleanup_(head_status_release) struct head_status s = { 0 };
	int r = head_status(v, &s);

	if (r < 0)
		return r;
	answer_text(&a, "repo", s.repo);
	answer_text(&a, "branch", s.branch);
	answer_oid(&a, "base", &s.base);
	answer_bool(&a, "is_dirty", s.is_dirty);
	answer_commit_result(&a, res);
	return request_answer(q, &a);
}

static int sync_one(struct view *v, struct request *q)
{
	struct commit_result res;
	int r = request_check(q);

	if (r == 0)
		r = head_sync(v, &q->access, &res);
	return r < 0 ? r : answer_synced(q, v, &res);
}

struct sync_all {
	struct request *q; /* borrowed */
	int error; /* of the last that failed */
};

/* One that cannot be synced keeps no other from it. -ENOENT: its branch is gone. */
static int sync_next(struct view *v, void *ctx)
{
	struct sync_all *all = ctx;
	_cleanup_(head_status_release) struct head_status s = { 0 };
	int r = sync_one(v, all->q);

	if (r >= 0 || r == -ENOENT || request_check(all->q) < 0)
		return r == -ENOENT ? 0 : r;
	all->error = r;
	if (head_status(v, &s) == 0)
		request_fail(r, "%s/%s", s.repo, s.branch);
	return 0;
}

static int sync_all(struct request *q)
{
	struct sync_all all = { .q = q };
	int r = heads_each(q->service->heads, sync_next, &all);

	return r < 0 ? r : all.error;
}

/*
 * sync		sees now what others have done, and brings what is pending onto its branch
 *
 *	path?: of a branch or anything in it; else all heads that the mount has
 *
 * A line for each head: {repo, branch, base: the commit that it is at now, is_dirty: and so stays
 * at, standing, tip, conflicts}.
 */
int verb_sync(struct request *q)
{
	_cleanup_address_ struct address p = { 0 };
	_cleanup_view_ struct view *v = NULL;
	int r;

	if (!q->service->heads)
		return log_fail(-EINVAL, "only what is mounted can be synced");
	if (json_is_null(json_object_get(q->fields, "path")) || !json_object_get(q->fields, "path"))
		return sync_all(q);
	r = address_find(q, "path", &p);
	if (r == 0 && !p.is_branch)
		return 0;
	if (r == 0)
		r = address_view(q, &p, &v);
	if (r == 0)
		r = sync_one(v, q);
	return r < 0 ? request_fail(r, "%s/%s", p.repo, p.rev) : 0;
}
