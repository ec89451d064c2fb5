/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Making and removing commits' names.
 *
 * A branch and a name that are made at once must not both stand where either would do: each looks
 * for the other before, and a name looks once more after and withdraws when a branch has come. A
 * name that was acknowledged before the branch was made stays, as commits/NAME.
 */
#include "object/refs_parts.h"

/* Turns the live name @now into a tombstone. *@ret_now as refs_swap(). */
static int bury(struct refs *r, const struct id128 *repo, const char *name,
		const struct finding *now, const struct deadline *dl, struct finding **ret_now)
{
	struct ref next = {
		.kind = REF_NAME,
		.state = REF_TOMBSTONE,
		.target = now->ref.target,
	};
	int e;

	refs_stamp(r, now, &next);
	e = refs_swap_ref(r, name_key(repo, name).s, now, &next, dl, ret_now);
	if (e == 0)
		refs_learn_listed(r, REF_NAME, repo, name, false);
	return e;
}

/* Makes it live. 0 also when it says so already; *@ret_nonce: what it was made with, or null. */
static int place(struct refs *r, const struct id128 *repo, const char *name, struct ref *next,
		 const struct deadline *dl, struct id128 *ret_nonce)
{
	_cleanup_(finding_unrefp) struct finding *now = NULL;
	struct key key = name_key(repo, name);
	int e;

	e = facts_look(r->facts, FINDING_REF, key.s, dl, &now);
	while (e == 0 && !finding_is_live(now)) {
		struct finding *other = NULL;

		refs_stamp(r, now, next);
		e = refs_swap_ref(r, key.s, now, next, dl, &other);
		if (e == 0) {
			refs_learn_listed(r, REF_NAME, repo, name, true);
			*ret_nonce = next->nonce;
			return 0;
		}
		if (e != -ESTALE)
			return e;
		finding_unref(now);
		now = other;
		e = 0;
	}
	if (e < 0)
		return e;
	*ret_nonce = (struct id128){ 0 };
	return oid_equal(&now->ref.target, &next->target) ? 0 : -EEXIST;
}

/* A branch has come: takes the name back, if it still is as we made it. */
static int withdraw(struct refs *r, const struct id128 *repo, const char *name,
		    const struct id128 *nonce, const struct deadline *dl)
{
	_cleanup_(finding_unrefp) struct finding *now = NULL, *other = NULL;
	int e;

	e = facts_look(r->facts, FINDING_REF, name_key(repo, name).s, dl, &now);
	if (e < 0)
		return e;
	if (finding_is_live(now) && id128_equal(&now->ref.nonce, nonce))
		e = bury(r, repo, name, now, dl, &other);
	return e == 0 || e == -ESTALE ? -EEXIST : e;
}

int refs_create_name(struct refs *r, const struct id128 *repo, const char *name,
		     const struct oid *target, const struct deadline *dl)
{
	_cleanup_ref_ struct ref next = { .kind = REF_NAME, .state = REF_LIVE };
	struct id128 nonce;
	int e;

	e = refs_check_change(r, name);
	if (e < 0)
		return e;
	if (oid_is_null(target))
		return -EINVAL;
	e = refs_point(r, repo, target, dl, &next);
	if (e < 0)
		return e;
	e = refs_is_taken(r, REF_BRANCH, repo, name, dl);
	if (e != 0)
		return e < 0 ? e : -EEXIST;
	e = place(r, repo, name, &next, dl, &nonce);
	if (e < 0 || id128_is_null(&nonce))
		return e;
	e = refs_is_taken(r, REF_BRANCH, repo, name, dl);
	if (e == 0)
		return 0;
	return e < 0 ? e : withdraw(r, repo, name, &nonce, dl);
}

int refs_remove_name(struct refs *r, const struct id128 *repo, const char *name,
		     const struct deadline *dl)
{
	_cleanup_(finding_unrefp) struct finding *now = NULL, *other = NULL;
	int e;

	e = refs_check_change(r, name);
	if (e < 0)
		return e;
	e = facts_look(r->facts, FINDING_REF, name_key(repo, name).s, dl, &now);
	if (e < 0)
		return e;
	if (!finding_is_live(now))
		return -ENOENT;
	e = bury(r, repo, name, now, dl, &other);
	if (e != -ESTALE)
		return e;
	/* Live again, it is another one: the one that was to go has gone. */
	return finding_is_live(other) ? 0 : -ENOENT;
}
