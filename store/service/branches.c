/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Verbs for branches and the names of commits.
 */
#include "base/log.h"
#include "service/address.h"
#include "service/describe.h"
#include "service/names.h"
#include "service/verbs.h"

/* The request's repo, which the caller must be allowed to @want. */
static int find_repo(struct request *q, int want, const char **ret_name, struct repo_rec *ret)
{
	int r = request_string(q, "repo", ret_name);

	if (r == 0)
		r = address_repo(q, *ret_name, ret);
	return r < 0 ? r : permit_repo(q, *ret_name, ret, want);
}

static int answer_branch(struct request *q, const char *repo, const struct repo_rec *rec,
			 const char *branch)
{
	_cleanup_answer_ struct answer a = answer_new();
	_cleanup_ref_ struct ref ref = { 0 };
	struct refs_wait w = request_wait(q);
	int r = refs_get(q->service->store->refs, &rec->id, REF_BRANCH, branch, &w, &ref, NULL);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	answer_text(&a, "repo", repo);
	answer_text(&a, "branch", branch);
	answer_oid(&a, "commit", &ref.target);
	answer_short_id(q, &a, &rec->id, &ref.target);
	answer_bool(&a, "is_default", strcmp(branch, rec->default_branch) == 0);
	answer_time(&a, "moved", ref.time.sec, ref.time.nsec);
	answer_text(&a, "writer", ref.writer);
	return request_answer(q, &a);
}

/*
 * branches		a repo's branches, by name
 *
 *	repo
 *
 * Lines: {repo, branch, commit: id or null, short_id, is_default, moved: when, writer: who moved
 * it}.
 */
int verb_branches(struct request *q)
{
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	_cleanup_names_ struct names names = { 0 };
	const char *repo;
	int r = find_repo(q, R_OK | X_OK, &repo, &rec), damaged = 0;

	if (r == 0)
		r = names_of_refs(q, &rec.id, REF_BRANCH, &names);
	for (size_t i = 0; r == 0 && i < names.count; i++) {
		r = answer_branch(q, repo, &rec, names.items[i]);
		if (r < 0)
			r = names_pass_over(names.items[i], r, &damaged);
	}
	if (r == 0)
		r = damaged;
	return r < 0 ? request_fail(r, "%s: the branches cannot be listed", repo) : 0;
}

/*
 * names		the names that a repo's commits have
 *
 *	repo
 *
 * Lines: {repo, name, commit}.
 */
int verb_names(struct request *q)
{
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	_cleanup_names_ struct names names = { 0 };
	const char *repo;
	int r = find_repo(q, R_OK | X_OK, &repo, &rec), damaged = 0;

	if (r == 0)
		r = names_of_refs(q, &rec.id, REF_NAME, &names);
	for (size_t i = 0; r == 0 && i < names.count; i++) {
		_cleanup_answer_ struct answer a = answer_new();
		_cleanup_ref_ struct ref ref = { 0 };
		struct refs_wait w = request_wait(q);

		r = refs_get(q->service->store->refs, &rec.id, REF_NAME, names.items[i], &w, &ref,
			     NULL);
		if (r < 0) {
			r = r == -ENOENT ? 0 : names_pass_over(names.items[i], r, &damaged);
			continue;
		}
		answer_text(&a, "repo", repo);
		answer_text(&a, "name", names.items[i]);
		answer_oid(&a, "commit", &ref.target);
		r = request_answer(q, &a);
	}
	if (r == 0)
		r = damaged;
	return r < 0 ? request_fail(r, "%s: the names cannot be listed", repo) : 0;
}

/*
 * branch-create	a branch
 *
 *	repo, branch, from?: where it starts, a REV of the repo; the default branch
 *
 * One line as of branches.
 */
int verb_branch_create(struct request *q)
{
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct deadline dl = request_deadline(q, CHANGE_TIMEOUT_MS);
	const char *repo, *branch, *from;
	struct resolved what;
	int r = request_string(q, "branch", &branch);

	if (r == 0)
		r = request_optional_string(q, "from", &from);
	if (r == 0)
		r = find_repo(q, W_OK | X_OK, &repo, &rec);
	if (r == 0 && !object_name_is_valid(branch))
		r = names_refuse(branch);
	if (r == 0)
		r = address_resolve(q, repo, &rec, from ?: rec.default_branch, &what);
	if (r < 0)
		return r;
	r = refs_create_branch(q->service->store->refs, &rec.id, branch, &what.commit, &dl);
	if (r == -EEXIST)
		return log_fail(r, "%s has `%s` already", repo, branch);
	if (r < 0)
		return request_fail(r, "%s/%s cannot be made", repo, branch);
	return answer_branch(q, repo, &rec, branch);
}

/* The request's branch, which must be there and not be the default one. */
static int find_branch(struct request *q, const char *field, const char *repo,
		       const struct repo_rec *rec, const char **ret)
{
	struct resolved what;
	int r = request_string(q, field, ret);

	if (r == 0)
		r = address_resolve(q, repo, rec, *ret, &what);
	if (r < 0)
		return r;
	if (!what.is_branch)
		return log_fail(-ENOENT, "%s has no branch `%s`", repo, *ret);
	if (strcmp(*ret, rec->default_branch) == 0)
		return log_fail(-EBUSY,
				"%s/%s is the default branch, which stays and keeps its name", repo,
				*ret);
	return 0;
}

/*
 * branch-remove	takes a branch away; its commits stay
 *
 *	repo, branch
 */
int verb_branch_remove(struct request *q)
{
	const struct service *s = q->service;
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct deadline dl = request_deadline(q, CHANGE_TIMEOUT_MS);
	const char *repo, *branch;
	int r = find_repo(q, W_OK | X_OK, &repo, &rec);

	if (r == 0)
		r = find_branch(q, "branch", repo, &rec, &branch);
	if (r < 0)
		return r;
	r = s->heads ? heads_remove(s->heads, &rec.id, branch, &dl)
		     : refs_remove_branch(s->store->refs, &rec.id, branch, &dl);
	if (r == -ENOTEMPTY)
		return log_fail(r, "%s/%s has uncommitted changes", repo, branch);
	return r < 0 ? request_fail(r, "%s/%s cannot be removed", repo, branch) : 0;
}

/*
 * branch-rename	gives a branch another name
 *
 *	repo, from, to
 *
 * One line as of branches.
 */
int verb_branch_rename(struct request *q)
{
	const struct service *s = q->service;
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct deadline dl = request_deadline(q, CHANGE_TIMEOUT_MS);
	const char *repo, *from, *to;
	int r = find_repo(q, W_OK | X_OK, &repo, &rec);

	if (r == 0)
		r = request_string(q, "to", &to);
	if (r == 0)
		r = find_branch(q, "from", repo, &rec, &from);
	if (r == 0 && !object_name_is_valid(to))
		r = names_refuse(to);
	if (r < 0)
		return r;
	r = s->heads ? heads_rename(s->heads, &rec.id, from, to, &dl)
		     : refs_rename_branch(s->store->refs, &rec.id, from, to, &dl);
	if (r == -EEXIST)
		return log_fail(r, "%s has `%s` already", repo, to);
	if (r < 0)
		return request_fail(r, "%s/%s cannot be renamed", repo, from);
	return answer_branch(q, repo, &rec, to);
}
