/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a push is to do: which repo it is there, which refs differ, which commits are missing.
 */
#include <stdio.h>

#include "base/log.h"
#include "transfer/crew.h"
#include "transfer/push_parts.h"

/* The repo there, which may have got another name. */
struct search {
	struct push *push;
	char name[OBJECT_NAME_MAX + 1];
};

static int is_it(const char *name, void *ctx)
{
	struct search *s = ctx;
	struct push *p = s->push;
	struct refs_wait w = push_wait(p, false);
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	int r = refs_repo(p->req->to->refs, name, &w, &rec);

	/* One that cannot be read does not stand in the others' way. */
	if (r == -ENOENT || r == -EBADMSG || r == -ENOTSUP)
		return 0;
	if (r < 0 || !id128_equal(&rec.id, &p->repo.id))
		return r;
	snprintf(s->name, sizeof(s->name), "%s", name);
	return 1;
}

static int find_repo_there(struct push *p)
{
	const struct push_request *req = p->req;
	struct refs_wait w = push_wait(p, true);
	struct search s = { .push = p };
	_cleanup_repo_rec_ struct repo_rec there = { 0 };
	const char *name = req->as ?: req->repo;
	int r = refs_repo(req->to->refs, name, &w, &there);

	snprintf(p->result.repo, sizeof(p->result.repo), "%s", name);
	if (r == 0 && id128_equal(&there.id, &p->repo.id))
		return 0;
	if (r < 0 && r != -ENOENT)
		return log_errno(r, "%s: %s", req->to->backend->url, name);
	p->is_new = r == -ENOENT;
	r = refs_list_repos(req->to->refs, &w, is_it, &s);
	if (r < 0)
		return log_errno(r, "%s: the repos cannot be listed", req->to->backend->url);
	if (r > 0) {
		p->is_new = false;
		memcpy(p->result.repo, s.name, sizeof(s.name));
		return 0;
	}
	return p->is_new ? 0
			 : log_fail(-EEXIST,
				    "%s has another repo that is called %s; under another name "
				    "(--as) this one can go there",
				    req->to->backend->url, name);
}

static int find_repo(struct push *p)
{
	const struct push_request *req = p->req;
	struct refs_wait w = push_wait(p, true);
	int r;

	if (id128_equal(&req->from->format.store_id, &req->to->format.store_id))
		return log_fail(-EXDEV,
				"%s and %s are the same store, or one is a copy of the other",
				req->from->backend->url, req->to->backend->url);
	r = refs_repo(req->from->refs, req->repo, &w, &p->repo);
	if (r < 0)
		return log_errno(r, "%s: %s", req->from->backend->url, req->repo);
	return find_repo_there(p);
}

static struct push_ref *add_ref(struct push *p, enum ref_kind kind, const char *name)
{
	struct push_refs *refs = &p->refs;

	if (refs->count == refs->cap) {
		size_t cap = MAX(2 * refs->cap, (size_t)16);
		struct push_ref *items = reallocarray(refs->items, cap, sizeof(*items));

		if (!items)
			return NULL;
		refs->items = items;
		refs->cap = cap;
	}
	refs->items[refs->count] = (struct push_ref){ .kind = kind };
	snprintf(refs->items[refs->count].name, sizeof(refs->items->name), "%s", name);
	return &refs->items[refs->count++];
}

static int cmp_ref(const void *a, const void *b)
{
	const struct push_ref *x = a, *y = b;

	return (int)x->kind - (int)y->kind ?: strcmp(x->name, y->name);
}

struct listing {
	struct push *push;
	enum ref_kind kind;
	size_t count; /* of refs that are here */
};

static int add_here(const char *name, void *ctx)
{
	struct listing *l = ctx;

	return add_ref(l->push, l->kind, name) ? 0 : -ENOMEM;
}

static int mark_there(const char *name, void *ctx)
{
	struct listing *l = ctx;
	struct push_ref key = { .kind = l->kind }, *x;

	snprintf(key.name, sizeof(key.name), "%s", name);
	x = bsearch(&key, l->push->refs.items, l->count, sizeof(key), cmp_ref);
	if (x)
		x->is_there = true;
	return 0;
}

static int read_ref(struct push *p, struct store *s, struct push_ref *x, bool *ret_is,
		    struct oid *ret)
{
	struct refs_wait w = push_wait(p, true);
	_cleanup_ref_ struct ref ref = { 0 };
	struct etag tag;
	int r = refs_get(s->refs, &p->repo.id, x->kind, x->name, &w, &ref, &tag);

	*ret_is = r == 0;
	if (r == 0)
		*ret = ref.target;
	if (r == 0 || r == -ENOENT)
		return 0;
	return r == -ECANCELED ? r : log_errno(r, "%s: %s", s->backend->url, x->name);
}

static int read_both(size_t i, void *ctx)
{
	struct push *p = ctx;
	struct push_ref *x = &p->refs.items[i];
	int r = read_ref(p, p->req->from, x, &x->is_here, &x->here);

	if (r == 0 && x->is_there)
		r = read_ref(p, p->req->to, x, &x->is_there, &x->there);
	return r;
}

static int list_kind(struct push *p, enum ref_kind kind)
{
	const struct push_request *req = p->req;
	struct refs_wait w = push_wait(p, true);
	struct listing l = { .push = p, .kind = kind };
	int r = 0;

	if (kind == REF_BRANCH && req->branch)
		r = add_here(req->branch, &l);
	else
		r = refs_list(req->from->refs, &p->repo.id, kind, &w, add_here, &l);
	if (r < 0)
		return r == -ENOMEM ? r
				    : log_errno(r, "%s: %s", req->from->backend->url, req->repo);
	qsort(p->refs.items, p->refs.count, sizeof(struct push_ref), cmp_ref);
	l.count = p->refs.count;
	if (p->is_new)
		return 0;
	r = refs_list(req->to->refs, &p->repo.id, kind, &w, mark_there, &l);
	return r < 0 ? log_errno(r, "%s: %s", req->to->backend->url, p->result.repo) : 0;
}

static int find_refs(struct push *p)
{
	const struct push_request *req = p->req;
	int r = list_kind(p, REF_BRANCH);

	if (r == 0)
		r = list_kind(p, REF_NAME);
	if (r == 0)
		r = crew_run(MAX(push_crew(req->from), push_crew(req->to)), p->refs.count,
			     read_both, p);
	if (r == 0 && req->branch && !p->refs.items[0].is_here)
		r = log_fail(-ENOENT, "%s: %s has no branch %s", req->from->backend->url, req->repo,
			     req->branch);
	return r;
}

/* Ids of commits to be looked at. */
struct stack {
	struct oid *ids; /* owned */
	size_t count, cap;
};

static int stack_push(struct stack *s, const struct oid *id)
{
	if (s->count == s->cap) {
		size_t cap = MAX(2 * s->cap, (size_t)64);
		struct oid *ids = reallocarray(s->ids, cap, sizeof(*ids));

		if (!ids)
			return -ENOMEM;
		s->ids = ids;
		s->cap = cap;
	}
	s->ids[s->count++] = *id;
	return 0;
}

/* Every commit and every pin of the repo. */
static int list_all(struct refs *refs, const struct push *p, refs_name_fn fn, void *ctx)
{
	struct refs_wait w = push_wait(p, true);
	int r = refs_list_commits(refs, &p->repo.id, &w, fn, ctx);

	return r < 0 ? r : refs_list_pins(refs, &p->repo.id, &w, fn, ctx);
}

static int add_there(const char *hex, void *ctx)
{
	struct push *p = ctx;
	struct oid id;
	int r = oid_parse(span_str(hex), &id) == 0 ? oidset_add(&p->there, &id) : 0;

	return r < 0 ? r : 0;
}

struct tips {
	struct push *push;
	struct stack stack;
};

static int add_tip(const char *hex, void *ctx)
{
	struct tips *t = ctx;
	struct oid id;

	if (oid_parse(span_str(hex), &id) < 0 || oidset_has(&t->push->there, &id))
		return 0;
	return stack_push(&t->stack, &id);
}

/* So that going through the history waits for a bucket only once, and not once a commit. */
static int fetch_tip(size_t i, void *ctx)
{
	struct tips *t = ctx;
	struct push *p = t->push;
	struct refs_wait w = push_wait(p, false);
	_cleanup_buf_ struct buf object = { 0 };
	int r = refs_commit(p->req->from->refs, &p->repo.id, &t->stack.ids[i], &w, &object);

	return r == -ECANCELED ? r : 0;
}

static int find_tips(struct push *p, struct tips *t)
{
	const struct push_request *req = p->req;
	int r = 0;

	if (!req->branch)
		r = list_all(req->from->refs, p, add_tip, t);
	if (r < 0)
		return log_errno(r, "%s: the commits cannot be listed", req->from->backend->url);
	if (!req->from->backend->is_local)
		r = crew_run(PUSH_CREW, t->stack.count, fetch_tip, t);
	for (size_t i = 0; r == 0 && i < p->refs.count; i++)
		if (p->refs.items[i].kind == REF_BRANCH || !req->branch)
			r = stack_push(&t->stack, &p->refs.items[i].here);
	return r;
}

static int add_commit(struct push *p, const struct oid *id, struct stack *s)
{
	struct refs_wait w = push_wait(p, false);
	_cleanup_commit_ struct commit c = { 0 };
	_cleanup_buf_ struct buf object = { 0 };
	char hex[OID_HEX];
	int r = refs_commit(p->req->from->refs, &p->repo.id, id, &w, &object);

	if (r == 0)
		r = commit_read(buf_span(&object), id, &c);
	if (r < 0)
		return r == -ECANCELED ? r
				       : log_errno(r == -ENOENT ? -EIO : r,
						   "%s: the commit %s cannot be read",
						   p->req->from->backend->url, oid_hex(id, hex));
	if (p->commit_count == p->commit_cap) {
		size_t cap = MAX(2 * p->commit_cap, (size_t)64);
		struct push_commit *x = reallocarray(p->commits, cap, sizeof(*x));

		if (!x)
			return -ENOMEM;
		p->commits = x;
		p->commit_cap = cap;
	}
	p->commits[p->commit_count++] =
		(struct push_commit){ .id = *id, .generation = c.generation };
	for (unsigned i = 0; r == 0 && i < c.parent_count; i++)
		r = stack_push(s, &c.parents[i]);
	return r;
}

/* A parent's generation is below its child's. */
static int cmp_commit(const void *a, const void *b)
{
	const struct push_commit *x = a, *y = b;

	if (x->generation != y->generation)
		return x->generation < y->generation ? -1 : 1;
	return oid_cmp(&x->id, &y->id);
}

static int find_commits(struct push *p)
{
	_cleanup_oidset_ struct oidset seen = { 0 };
	struct tips t = { .push = p };
	int r = 0;

	if (!p->is_new)
		r = list_all(p->req->to->refs, p, add_there, p);
	if (r < 0)
		return log_errno(r, "%s: the commits cannot be listed", p->req->to->backend->url);
	r = find_tips(p, &t);
	while (r == 0 && t.stack.count > 0) {
		struct oid id = t.stack.ids[--t.stack.count];

		if (oid_is_null(&id) || oidset_has(&p->there, &id))
			continue;
		r = oidset_add(&seen, &id);
		if (r > 0)
			r = add_commit(p, &id, &t.stack);
	}
	free(t.stack.ids);
	if (p->commit_count > 0)
		qsort(p->commits, p->commit_count, sizeof(*p->commits), cmp_commit);
	return r;
}

/* Is a name's commit one of the branch's? Those are all there, or missing; so of others it need not
 * be found out by going through the history. 1, 0, or an error. */
static int is_of_branch(struct push *p, const struct oidset *missing, const struct push_ref *name,
			const struct oid *tip)
{
	struct refs_wait w = push_wait(p, false);

	if (oidset_has(missing, &name->here))
		return 1;
	if (oid_is_null(tip) || !oidset_has(&p->there, &name->here))
		return 0;
	return refs_is_ancestor(p->req->from->refs, &p->repo.id, &name->here, tip, &w);
}

/* With one branch only the names of its commits go along: the others leave the list, and those that
 * both have. */
static int choose_names(struct push *p)
{
	_cleanup_oidset_ struct oidset missing = { 0 };
	const struct oid tip = p->refs.items[0].here;
	size_t kept = 0;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < p->commit_count; i++)
		r = oidset_add(&missing, &p->commits[i].id);
	for (size_t i = 0; r >= 0 && i < p->refs.count; i++) {
		struct push_ref *x = &p->refs.items[i];
		bool is_same = x->is_there && oid_equal(&x->here, &x->there);

		r = x->kind == REF_BRANCH;
		if (r == 0 && x->is_here && !is_same)
			r = is_of_branch(p, &missing, x, &tip);
		if (r > 0)
			p->refs.items[kept++] = *x;
	}
	p->refs.count = kept;
	return r < 0 ? log_errno(r, "%s: %s", p->req->from->backend->url, p->req->repo) : 0;
}

static int judge_branch(struct push *p, struct push_ref *x)
{
	struct refs_wait w = push_wait(p, false);
	int r;

	x->state = PUSH_SAME;
	if (!x->is_there)
		x->state = PUSH_CREATED;
	else if (oid_equal(&x->here, &x->there))
		return 0;
	else if (oid_is_null(&x->there))
		x->state = PUSH_MOVED;
	else if (oid_is_null(&x->here))
		x->state = PUSH_AHEAD;
	if (x->state != PUSH_SAME)
		return 0;
	r = refs_is_ancestor(p->req->from->refs, &p->repo.id, &x->there, &x->here, &w);
	x->state = r == 1 ? PUSH_MOVED : PUSH_DIVERGED;
	if ((r == 0 || r == -ENOENT) && oidset_has(&p->there, &x->here)) {
		r = refs_is_ancestor(p->req->to->refs, &p->repo.id, &x->here, &x->there, &w);
		if (r == 1)
			x->state = PUSH_AHEAD;
	}
	return r < 0 && r != -ENOENT ? log_errno(r, "%s: %s", p->result.repo, x->name) : 0;
}

static int judge_refs(struct push *p)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->refs.count; i++) {
		struct push_ref *x = &p->refs.items[i];

		if (!x->is_here)
			continue;
		if (x->kind == REF_BRANCH)
			r = judge_branch(p, x);
		else if (!x->is_there)
			x->state = PUSH_CREATED;
		else
			x->state = oid_equal(&x->here, &x->there) ? PUSH_SAME : PUSH_CLASHES;
	}
	return r;
}

int push_plan(struct push *p)
{
	int r = find_repo(p);

	if (r == 0)
		r = find_refs(p);
	if (r == 0)
		r = find_commits(p);
	if (r == 0 && p->req->branch)
		r = choose_names(p);
	return r < 0 ? r : judge_refs(p);
}
