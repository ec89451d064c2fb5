/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Making, removing and renaming branches.
 *
 * A branch owns its name: whoever makes a name looks for a branch before and after and withdraws
 * (refs_name.c), so here one look before is enough.
 *
 * A rename first makes the new ref, with the identity of the old one, then turns the old one into a
 * tombstone that leads to the new one. In between both are live; a rename that died there is ended
 * by repeating it. When the old one moves meanwhile, the new one is moved after it before the next
 * try; when both have been committed to, they are two branches from then on. So nothing that was
 * published under either name is lost.
 */
#include "base/log.h"
#include "object/refs_parts.h"

static bool is_branch(const struct finding *f, const struct id128 *identity)
{
	return finding_is_live(f) && id128_equal(&f->ref.branch, identity);
}

/*
 * Makes @next, a branch with identity, target and commit, live as @name. 0 also if it is already,
 * perhaps with commits on top. -EEXIST. *@ret_is_ours: we made it so.
 */
static int place(struct refs *r, const struct id128 *repo, const char *name, struct ref *next,
		 const struct deadline *dl, bool *ret_is_ours)
{
	_cleanup_(finding_unrefp) struct finding *now = NULL;
	bool may_have_stood;
	int e;

	e = refs_is_taken(r, REF_NAME, repo, name, dl);
	if (e != 0)
		return e < 0 ? e : -EEXIST;
	e = refs_place(r, repo, name, next, dl, &now, &may_have_stood);
	*ret_is_ours = e == 0;
	return e == -EEXIST && is_branch(now, &next->branch) ? 0 : e;
}

int refs_create_branch(struct refs *r, const struct id128 *repo, const char *name,
		       const struct oid *target, const struct deadline *dl)
{
	_cleanup_ref_ struct ref next = {
		.kind = REF_BRANCH,
		.state = REF_LIVE,
		.branch = id128_random(),
	};
	bool is_ours;
	int e;

	e = refs_check_change(r, name);
	if (e < 0)
		return e;
	e = refs_point(r, repo, target, dl, &next);
	return e < 0 ? e : place(r, repo, name, &next, dl, &is_ours);
}

int refs_remove_branch(struct refs *r, const struct id128 *repo, const char *name,
		       const struct deadline *dl)
{
	_cleanup_(finding_unrefp) struct finding *now = NULL;
	struct id128 identity;
	int e;

	e = refs_check_change(r, name);
	if (e < 0)
		return e;
	e = refs_check_not_default(r, repo, name, dl);
	if (e < 0)
		return e;
	e = facts_look(r->facts, FINDING_REF, head_key(repo, name).s, dl, &now);
	if (e < 0)
		return e;
	if (!finding_is_live(now))
		return -ENOENT;
	identity = now->ref.branch;
	do
		e = refs_bury(r, repo, name, "", &now, dl);
	while (e == -ESTALE && is_branch(now, &identity));
	if (e != -ESTALE)
		return e;
	/* Another one by the same name is there: then the one that was to go has gone. */
	return finding_is_live(now) ? 0 : -ENOENT;
}

/* Makes the live branch @now one of its own. */
static int part(struct refs *r, const struct id128 *repo, const char *name,
		const struct finding *now, const struct deadline *dl)
{
	_cleanup_(finding_unrefp) struct finding *other = NULL;
	_cleanup_ref_ struct ref next = { 0 };
	int e;

	e = ref_copy(&now->ref, &next);
	if (e < 0)
		return e;
	next.branch = id128_random();
	refs_stamp(r, now, &next);
	return refs_swap_ref(r, head_key(repo, name).s, now, &next, dl, &other);
}

/* Sees to it that the branch @to, made as a copy of @from, has all that @from has by now. -EBUSY:
 * it has gone another way, and is a branch of its own. */
static int catch_up(struct refs *r, const struct id128 *repo, const char *to,
		    const struct finding *from, const struct deadline *dl)
{
	struct refs_wait w = { .may_wait = true, .deadline = dl ? *dl : DEADLINE_NEVER };
	const struct oid *want = &from->ref.target;
	int e;

	do {
		_cleanup_(finding_unrefp) struct finding *now = NULL;
		struct oid other;

		e = facts_look(r->facts, FINDING_REF, head_key(repo, to).s, dl, &now);
		if (e < 0)
			return e;
		if (!is_branch(now, &from->ref.branch))
			return -ESTALE;
		e = refs_is_ancestor(r, repo, want, &now->ref.target, &w);
		if (e != 0)
			return e < 0 ? e : 0;
		e = refs_is_ancestor(r, repo, &now->ref.target, want, &w);
		if (e < 0)
			return e;
		if (e == 1) {
			e = refs_move_branch(r, repo, to, &from->ref.branch, &now->ref.target, want,
					     dl, &other);
			/* Gone: the next look says so. */
			e = e == -ENOENT ? -ESTALE : e;
			continue;
		}
		e = part(r, repo, to, now, dl);
		if (e == 0)
			return log_fail(-EBUSY,
					"the branch has been committed to under its old name and "
					"as %s: both stay, as two",
					to);
	} while (e == -ESTALE);
	return e;
}

int refs_rename_branch(struct refs *r, const struct id128 *repo, const char *from, const char *to,
		       const struct deadline *dl)
{
	_cleanup_(finding_unrefp) struct finding *now = NULL;
	_cleanup_ref_ struct ref next = { 0 };
	bool is_ours;
	int e;

	e = refs_check_change(r, from) ?: refs_check_change(r, to);
	if (e < 0)
		return e;
	e = refs_check_not_default(r, repo, from, dl);
	if (e < 0)
		return e;
	e = facts_look(r->facts, FINDING_REF, head_key(repo, from).s, dl, &now);
	if (e < 0)
		return e;
	if (!finding_is_live(now))
		return -ENOENT;
	if (strcmp(from, to) == 0)
		return 0;
	e = ref_copy(&now->ref, &next);
	if (e < 0)
		return e;
	e = place(r, repo, to, &next, dl, &is_ours);
	if (e < 0)
		return e;
	do {
		e = catch_up(r, repo, to, now, dl);
		if (e == 0)
			e = refs_bury(r, repo, from, to, &now, dl);
		else if (e == -ESTALE)
			return -EBUSY; /* somebody was quick to take the new one away */
	} while (e == -ESTALE && is_branch(now, &next.branch));
	if (e != -ESTALE)
		return e;
	/* The old one went another way: the new one is taken back. */
	if (is_ours && (now->is_absent || strcmp(now->ref.renamed_to, to) != 0))
		refs_withdraw(r, repo, to, &next, dl);
	return -ENOENT;
}
