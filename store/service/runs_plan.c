/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is to be run again.
 */
#include "base/log.h"
#include "base/text.h"
#include "lineage/plan.h"
#include "run/run.h"
#include "service/address.h"
#include "service/runs.h"
#include "service/verbs.h"

struct planning {
	struct request *q;
	struct run_plan *plan; /* owned */
	struct run_tips *tips; /* owned */
	const struct address *at; /* whose branches are gone through */
};

static void planning_release(struct planning *p)
{
	run_plan_free(p->plan);
	run_tips_free(p->tips);
}

static int give(json_t *line, void *ctx)
{
	return request_give(ctx, line);
}

static bool may_see(const struct run_row *row, void *ctx)
{
	return runs_may_see(ctx, row);
}

static int begin(struct planning *p)
{
	struct request *q = p->q;
	struct refs_wait w = request_wait(q);
	struct run_planning how = { .rd = { q->service->store, &q->access },
				    .uid = q->who->uid,
				    .may_see = may_see,
				    .emit = give,
				    .ctx = q };
	int r;

	if (!q->service->heads || !q->service->runs)
		return log_fail(-EROFS, "an update needs a mount that can be written to");
	if (q->who->within)
		return log_fail(-EBUSY, "nothing can be updated in a run: run %s goes on",
				run_id(q->who->within)->s);
	r = request_bool(q, "force", &how.force);
	if (r == 0)
		r = runs_look(q);
	if (r == 0)
		r = run_tips_new(&how.rd, &w, &p->tips);
	if (r == 0)
		r = runs_pin_tips(q, p->tips);
	how.tips = p->tips;
	return r < 0 ? r : run_plan_new(&how, &p->plan);
}

static int add_branch(const char *branch, void *ctx)
{
	struct planning *p = ctx;
	struct run_place place = { .repo = span_str(p->at->repo), .rev = span_str(branch) };
	int r = run_plan_add(p->plan, &place);

	/* One without a commit has nothing. */
	return r == -ENOENT ? 0 : r;
}

static int add_branches(struct planning *p, const struct address *at)
{
	struct refs_wait w = request_wait(p->q);

	p->at = at;
	return refs_list(p->q->service->store->refs, &at->rec.id, REF_BRANCH, &w, add_branch, p);
}

static int add_repo(const char *name, void *ctx)
{
	struct planning *p = ctx;
	_cleanup_address_ struct address at = { 0 };
	int r = address_of(p->q, span_str(name), &at);

	/* Of what he may not read nothing is his to be updated. */
	if (r == -EACCES || r == -ENOENT) {
		complaint_clear();
		return 0;
	}
	return r < 0 ? r : add_branches(p, &at);
}

/* What of a branch the caller may not look at is not told to be there, or not. */
static int add_in_branch(struct planning *p, const struct address *at)
{
	const struct run_place place = { span_str(at->repo), span_str(at->rev),
					 buf_span(&at->path) };
	_cleanup_view_ struct view *v = NULL;
	_cleanup_held_ struct held held = { 0 };
	struct stat st;
	int r = address_view(p->q, at, &v);

	if (r == 0)
		r = address_walk(p->q, v, place.path, &held, &st);
	if (r == 0)
		r = run_plan_add(p->plan, &place);
	if (r == -ENOENT && place.path.len == 0)
		return 0;
	return r == -ENOENT || r == -ENOTDIR
		       ? log_fail(-ENOENT, "%s/%s has no `%.*s`", at->repo, at->rev,
				  (int)place.path.len, (const char *)place.path.data)
	       : r < 0 ? request_fail(r, "%s/%s/%.*s", at->repo, at->rev, (int)place.path.len,
				      (const char *)place.path.data)
		       : 0;
}

static int add_path(struct planning *p, struct span path)
{
	struct refs_wait w = request_wait(p->q);
	_cleanup_address_ struct address at = { 0 };
	int r;

	if (path.len == 0)
		return refs_list_repos(p->q->service->store->refs, &w, add_repo, p);
	r = address_of(p->q, path, &at);
	if (r < 0)
		return r;
	if (!*at.rev)
		return add_branches(p, &at);
	if (!at.is_branch)
		return log_fail(-EINVAL, "%s/%s is a commit: what is on a branch can be updated",
				at.repo, at.rev);
	return add_in_branch(p, &at);
}

static int add_paths(struct planning *p)
{
	json_t *paths = json_object_get(p->q->fields, "paths"), *path;
	size_t i;
	int r = 0;

	if (!json_is_array(paths))
		return log_fail(-EINVAL, "\"paths\" is not what it has to be");
	json_array_foreach (paths, i, path) {
		_cleanup_buf_ struct buf text = { 0 };

		if (r == 0)
			r = json_to_bytes(path, &text);
		if (r == 0)
			r = add_path(p, buf_span(&text));
	}
	return r;
}

/*
 * run-plan		what is to be run again, so that files are up to date
 *
 *	paths: files and directories of branches, branches, repos; "": all of it; or run: an id, for
 *	that one alone, and behind?, ids of steps that are to be run behind it; force?: what would
 *	be overwritten does not keep a run from it
 *
 * Lines: steps (lineage/plan.h)
 */
int verb_run_plan(struct request *q)
{
	_cleanup_(planning_release) struct planning p = { .q = q };
	bool is_one = json_object_get(q->fields, "run");
	struct run_id id;
	int r = begin(&p);

	if (r == 0 && is_one)
		r = request_run(q, "run", &id);
	if (r == 0)
		r = is_one ? run_plan_tell_one(p.plan, &id, json_object_get(q->fields, "behind"))
			   : add_paths(&p);
	if (r == 0 && !is_one)
		r = run_plan_tell(p.plan);
	return r < 0 ? request_fail(r, "what is to be run again cannot be told") : 0;
}
