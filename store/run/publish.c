/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Publication of a run's results, through merge/join.h.
 */
#include "run/publish.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "merge/join.h"

enum {
	NAMES_MAX = 100, /* tried for a branch that is to keep something */
};

int publish_throwaway(const struct publishing *p, const struct deadline *dl, struct throwaway **ret)
{
	struct refs_wait w = { .may_wait = true, .deadline = *dl };
	_cleanup_repo_rec_ struct repo_rec repo = { 0 };
	int r = refs_repo(p->store->refs, p->repo_name, &w, &repo);

	if (r == 0 && !id128_equal(&repo.id, &p->repo))
		r = -ENOENT;
	return r < 0 ? r : throwaway_new(&repo, ret);
}

/* The branch, whatever it is called now. */
struct search {
	const struct publishing *p;
	const struct refs_wait *wait;
	char *name; /* owned */
	struct oid target;
};

static int try_name(const char *name, void *ctx)
{
	struct search *s = ctx;
	_cleanup_ref_ struct ref ref = { 0 };
	struct etag tag;
	int r = refs_get(s->p->store->refs, &s->p->repo, REF_BRANCH, name, s->wait, &ref, &tag);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (!id128_equal(&ref.branch, &s->p->identity))
		return 0;
	s->name = strdup(name);
	s->target = ref.target;
	return s->name ? 1 : -ENOMEM;
}

/* 0 and its name (the caller's to free) and tip; -ENOENT. */
static int find_branch(const struct publishing *p, const struct deadline *dl, char **ret_name,
		       struct oid *ret_tip)
{
	struct refs_wait w = { .may_wait = true, .fresh = true, .deadline = *dl };
	struct search s = { .p = p, .wait = &w };
	int r = try_name(p->branch, &s);

	if (r == 0)
		r = refs_list(p->store->refs, &p->repo, REF_BRANCH, &w, try_name, &s);
	if (r < 0)
		return r;
	if (!s.name)
		return -ENOENT;
	*ret_name = s.name;
	*ret_tip = s.target;
	return 0;
}

/* What a joining is made with, and what it borrows. */
struct change {
	struct join_change how;
	struct joining j;
	struct throwaway *throwaway; /* owned */
	char *branch; /* owned */
	struct oid tip;
	char pinned[OID_HEX], result[OID_HEX], message[64];
	struct commit_meta meta[3];
};

static void change_free(struct change *c)
{
	throwaway_free(c->throwaway);
	free(c->branch);
}
#define _cleanup_change_ _cleanup_(change_free)

static int change_of(const struct publishing *p, const struct deadline *dl, struct change *c)
{
	unsigned n = 0;
	int r = publish_throwaway(p, dl, &c->throwaway);

	if (r == 0)
		r = find_branch(p, dl, &c->branch, &c->tip);
	if (r < 0)
		return r;
	c->meta[n++] = (struct commit_meta){ span_str("pfs.run"), span_str(p->run) };
	if (!oid_is_null(&p->pinned))
		c->meta[n++] = (struct commit_meta){ span_str("pfs.pinned"),
						     span_str(oid_hex(&p->pinned, c->pinned)) };
	c->meta[n++] = (struct commit_meta){ span_str("pfs.result"),
					     span_str(oid_hex(&p->result, c->result)) };
	snprintf(c->message, sizeof(c->message), "run %s", p->run);
	c->how = (struct join_change){
		.meta = c->meta,
		.meta_count = n,
		.committed = &p->committed,
		.leave_out = throwaway_has,
		.leave_out_ctx = c->throwaway,
		.about_to = p->about_to,
		.ctx = p->ctx,
	};
	c->j = (struct joining){
		.store = p->store,
		.repo = p->repo,
		.repo_name = p->repo_name,
		.branch = c->branch,
		.identity = &p->identity,
		.commit = p->result,
		.base = &p->pinned,
		.author = p->author,
		.message = c->message,
		.as_change = &c->how,
		.deadline = *dl,
	};
	return 0;
}

int publish_check(const struct publishing *p, const struct deadline *dl, uint64_t *ret_conflicts)
{
	_cleanup_change_ struct change c = { 0 };
	struct joined x = { 0 };
	int r = change_of(p, dl, &c);

	if (r == 0)
		r = join_conflicts(&c.j, NULL, NULL, &x);
	*ret_conflicts = x.conflicts;
	return r;
}

int publish_result(const struct publishing *p, const struct deadline *dl, struct oid *ret_tip,
		   uint64_t *ret_conflicts)
{
	struct refs_wait w = { .may_wait = true, .deadline = *dl };
	_cleanup_change_ struct change c = { 0 };
	struct joined x = { 0 };
	int r = change_of(p, dl, &c);

	if (r < 0)
		return r;
	if (!oid_is_null(&p->doing) && !oid_is_null(&c.tip)) {
		r = refs_is_ancestor(p->store->refs, &p->repo, &p->doing, &c.tip, &w);
		if (r == 1)
			*ret_tip = p->doing;
		if (r == 1 || (r < 0 && r != -ENOENT))
			return MIN(r, 0);
	}
	r = join_branch(&c.j, &x);
	*ret_tip = x.tip;
	*ret_conflicts = x.conflicts;
	return r;
}

/* What came since @before goes on top of what the branch has now. -ESTALE: there it conflicts. */
static int move_on(const struct publishing *p, const char *name, const struct ref *ref,
		   const struct oid *before, const struct deadline *dl)
{
	const struct join_change how = { 0 };
	const struct joining j = {
		.store = p->store,
		.repo = p->repo,
		.repo_name = p->repo_name,
		.branch = name,
		.identity = &ref->branch,
		.commit = p->result,
		.base = before,
		.author = p->author,
		.message = "what was written after the run's end",
		.as_change = &how,
		.deadline = *dl,
	};
	struct joined x;

	return join_branch(&j, &x);
}

/* 0: it lies on the branch; -EEXIST: that is somebody else's, or he has changed the same there. */
static int keep_on(const struct publishing *p, const char *name, const struct oid *before,
		   const struct deadline *dl)
{
	struct refs_wait w = { .may_wait = true, .fresh = true, .deadline = *dl };
	struct refs *refs = p->store->refs;
	_cleanup_ref_ struct ref ref = { 0 };
	struct etag tag;
	int r = refs_create_branch(refs, &p->repo, name, &p->result, dl);

	if (r != -EEXIST)
		return r;
	r = refs_get(refs, &p->repo, REF_BRANCH, name, &w, &ref, &tag);
	/* A commit's name. */
	if (r == -ENOENT || (r == 0 && oid_is_null(&ref.target)))
		return -EEXIST;
	/* Of an earlier try, whatever has been committed to it since. */
	if (r == 0)
		r = refs_is_ancestor(refs, &p->repo, &p->result, &ref.target, &w);
	if (r != 0)
		return MIN(r, 0);
	r = before ? refs_is_ancestor(refs, &p->repo, before, &ref.target, &w) : 0;
	if (r == 1)
		r = move_on(p, name, &ref, before, dl) ?: 1;
	return r == 0 || r == -ESTALE || r == -ENOENT ? -EEXIST : MIN(r, 0);
}

int publish_keep(const struct publishing *p, const char *name, const struct oid *before,
		 const struct deadline *dl, char **ret)
{
	const char *id = strstr(name, p->run);
	const int len = id ? (int)(id - name + (ptrdiff_t)strlen(p->run)) : (int)strlen(name);
	_cleanup_free_ char *on = strdup(name);
	int r = on ? keep_on(p, on, before, dl) : -ENOMEM;

	for (unsigned n = 2; r == -EEXIST && n <= NAMES_MAX; n++) {
		free(on);
		on = strf("%.*s-%u", len, name, n);
		r = on ? keep_on(p, on, NULL, dl) : -ENOMEM;
	}
	if (r == 0)
		*ret = TAKE_PTR(on);
	return r;
}
