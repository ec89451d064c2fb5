/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The end of a push, when all commits are there: names, then branches.
 */
#include "base/log.h"
#include "transfer/crew.h"
#include "transfer/push_parts.h"

enum {
	CHANGE_TIMEOUT_MS = 60 * 1000,
};

static struct deadline change_deadline(const struct push *p)
{
	struct deadline dl = deadline_in_ms(CHANGE_TIMEOUT_MS);

	dl.cancelled = p->report.o->cancelled;
	return dl;
}

int push_make_repo(struct push *p)
{
	struct deadline dl = change_deadline(p);
	struct store *to = p->req->to;
	int r = p->is_new ? refs_create_repo(to->refs, p->result.repo, &p->repo, &dl) : 0;

	if (r == -EINVAL)
		return log_fail(r, "`%s` cannot be a repo's name", p->result.repo);
	return r < 0 ? log_errno(r, "%s: the repo %s cannot be made", to->backend->url,
				 p->result.repo)
		     : 0;
}

void push_tell(struct push *p, const struct push_ref *x)
{
	struct push_outcome o = {
		.kind = x->kind == REF_BRANCH ? PUSH_BRANCH : PUSH_NAME,
		.state = x->state,
		.name = x->name,
		.from = x->here,
		.to = x->there,
	};

	p->result.diverged += x->state == PUSH_DIVERGED;
	p->result.clashes += x->state == PUSH_CLASHES;
	if (p->req->outcome)
		p->req->outcome(&o, p->req->ctx);
}

static int failed(struct push *p, const struct push_ref *x, int r)
{
	return r == -ECANCELED ? r
			       : log_errno(r, "%s: %s/%s cannot be written",
					   p->req->to->backend->url, p->result.repo, x->name);
}

static int publish_name(size_t i, void *ctx)
{
	struct push *p = ctx;
	struct push_ref *x = &p->refs.items[i];
	struct deadline dl = change_deadline(p);
	int r;

	if (x->kind != REF_NAME || !x->is_here || x->state != PUSH_CREATED)
		return 0;
	r = refs_create_name(p->req->to->refs, &p->repo.id, x->name, &x->here, &dl);
	if (r == -EEXIST) {
		x->state = PUSH_CLASHES;
		return 0;
	}
	return r < 0 ? failed(p, x, r) : 0;
}

static int publish_branch(struct push *p, struct push_ref *x)
{
	struct deadline dl = change_deadline(p);
	struct refs *refs = p->req->to->refs;
	struct oid now;
	int r = 0;

	/* The repo was made with it. */
	if (x->state == PUSH_CREATED && p->is_new && strcmp(x->name, p->repo.default_branch) == 0)
		r = oid_is_null(&x->here) ? 0
					  : refs_move_branch(refs, &p->repo.id, x->name, NULL,
							     &x->there, &x->here, &dl, &now);
	else if (x->state == PUSH_CREATED)
		r = refs_create_branch(refs, &p->repo.id, x->name, &x->here, &dl);
	else if (x->state == PUSH_MOVED)
		r = refs_move_branch(refs, &p->repo.id, x->name, NULL, &x->there, &x->here, &dl,
				     &now);
	if (r == -ESTALE)
		x->state = PUSH_DIVERGED;
	else if (r == -EEXIST)
		x->state = PUSH_CLASHES;
	return r < 0 && r != -ESTALE && r != -EEXIST ? failed(p, x, r) : 0;
}

int push_publish(struct push *p)
{
	int r = crew_run(push_crew(p->req->to), p->refs.count, publish_name, p);

	for (size_t i = 0; r == 0 && i < p->refs.count; i++)
		if (p->refs.items[i].kind == REF_BRANCH && p->refs.items[i].is_here)
			r = publish_branch(p, &p->refs.items[i]);
	return r;
}
