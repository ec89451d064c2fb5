/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Making and removing commits' names.
 *
 * A branch and a name that are made at once must not both stand where either would do: each looks
 * for the other before, and a name looks once more after and withdraws when a branch has come. A
 * name that was acknowledged before the branch was made stays, as commits/NAME.
 */
#include "object/refs_parts.h"

/*
 * The name stands already, by a try whose outcome was not known, or by somebody who meant the same.
 * A withdrawal of that try may still be under way: what is written anew is out of its reach. 0;
 * -EEXIST: it is another's by now; -ESTALE: nobody's.
 */
static int renew(struct refs *r, const struct id128 *repo, const char *name, struct ref *next,
		 struct finding **now, const struct deadline *dl)
{
	struct key key = name_key(repo, name);
	int e;

	do {
		struct finding *other = NULL;

		if (!oid_equal(&(*now)->ref.target, &next->target))
			return -EEXIST;
		refs_stamp(r, *now, next);
		e = refs_swap_ref(r, key.s, *now, next, dl, &other);
		if (other) {
			finding_unref(*now);
			*now = other;
		}
	} while (e == -ESTALE && finding_is_live(*now));
	return e;
}

/* There is a branch by that name. */
static int claim_beside_branch(struct refs *r, const struct id128 *repo, const char *name,
			       struct ref *next, const struct deadline *dl)
{
	_cleanup_(finding_unrefp) struct finding *now = NULL;
	int e = facts_look(r->facts, FINDING_REF, name_key(repo, name).s, dl, &now);

	if (e < 0)
		return e;
	e = finding_is_live(now) ? renew(r, repo, name, next, &now, dl) : -EEXIST;
	return e == -ESTALE ? -EEXIST : e;
}

/* @once: a name that stands already is taken, even if it says the same. */
static int claim(struct refs *r, const struct id128 *repo, const char *name, struct ref *next,
		 bool once, const struct deadline *dl, bool *ret_may_be_known)
{
	_cleanup_(finding_unrefp) struct finding *now = NULL;
	bool may_be_known = false;
	int e;

	/* A look of a moment ago will do: there is one after as well. */
	e = refs_was_taken(r, REF_BRANCH, repo, name, dl);
	if (e == 1)
		return once ? -EEXIST : claim_beside_branch(r, repo, name, next, dl);
	if (e < 0)
		return e;
	e = refs_place(r, repo, name, next, dl, &now, &may_be_known);
	/* It may also have been known after an earlier round. */
	*ret_may_be_known |= may_be_known;
	if (e == -EEXIST)
		return once ? e : renew(r, repo, name, next, &now, dl);
	if (e < 0)
		return e;
	e = refs_is_taken(r, REF_BRANCH, repo, name, dl);
	if (e <= 0)
		return e;
	*ret_may_be_known = true;
	return refs_withdraw(r, repo, name, next, dl) ?: -EEXIST;
}

static int make_name(struct refs *r, const struct id128 *repo, const char *name,
		     const struct oid *target, bool once, const struct deadline *dl,
		     bool *ret_may_be_known)
{
	_cleanup_ref_ struct ref next = { .kind = REF_NAME, .state = REF_LIVE };
	int e;

	*ret_may_be_known = false;
	e = refs_check_change(r, name);
	if (e < 0)
		return e;
	if (oid_is_null(target))
		return -EINVAL;
	e = refs_point(r, repo, target, dl, &next);
	if (e < 0)
		return e;
	do
		e = claim(r, repo, name, &next, once, dl, ret_may_be_known);
	while (e == -ESTALE);
	return e;
}

int refs_claim_name(struct refs *r, const struct id128 *repo, const char *name,
		    const struct oid *target, const struct deadline *dl, bool *ret_may_be_known)
{
	return make_name(r, repo, name, target, false, dl, ret_may_be_known);
}

int refs_create_name(struct refs *r, const struct id128 *repo, const char *name,
		     const struct oid *target, const struct deadline *dl)
{
	bool may_be_known;

	return make_name(r, repo, name, target, false, dl, &may_be_known);
}

int refs_create_name_once(struct refs *r, const struct id128 *repo, const char *name,
			  const struct oid *target, const struct deadline *dl)
{
	bool may_be_known;

	return make_name(r, repo, name, target, true, dl, &may_be_known);
}

int refs_remove_name(struct refs *r, const struct id128 *repo, const char *name,
		     const struct deadline *dl)
{
	_cleanup_(finding_unrefp) struct finding *now = NULL;
	int e;

	e = refs_check_change(r, name);
	if (e < 0)
		return e;
	e = facts_look(r->facts, FINDING_REF, name_key(repo, name).s, dl, &now);
	if (e < 0)
		return e;
	if (!finding_is_live(now))
		return -ENOENT;
	e = refs_bury(r, repo, name, "", &now, dl);
	if (e != -ESTALE)
		return e;
	/* Live again, it is another one: the one that was to go has gone. */
	return finding_is_live(now) ? 0 : -ENOENT;
}
