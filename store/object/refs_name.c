/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Making and removing commits' names.
 *
 * A branch and a name that are made at once must not both stand where either would do: each looks
 * for the other before, and a name looks once more after and withdraws when a branch has come. A
 * name that was acknowledged before the branch was made stays, as commits/NAME.
 */
#include "object/refs_parts.h"

/* 1: it is there already, and says that. */
static int make_name(struct refs *r, const struct id128 *repo, const char *name,
		     const struct oid *target, const struct deadline *dl)
{
	_cleanup_ref_ struct ref next = { .kind = REF_NAME, .state = REF_LIVE };
	_cleanup_(finding_unrefp) struct finding *now = NULL;
	int e;

	e = refs_check_change(r, name);
	if (e < 0)
		return e;
	if (oid_is_null(target))
		return -EINVAL;
	e = refs_point(r, repo, target, dl, &next);
	if (e < 0)
		return e;
	/* A look of a moment ago will do: there is one after as well. */
	e = refs_was_taken(r, REF_BRANCH, repo, name, dl);
	if (e != 0)
		return e < 0 ? e : -EEXIST;
	e = refs_place(r, repo, name, &next, dl, &now);
	if (e == -EEXIST && oid_equal(&now->ref.target, target))
		return 1;
	if (e < 0)
		return e;
	e = refs_is_taken(r, REF_BRANCH, repo, name, dl);
	if (e <= 0)
		return e;
	return refs_withdraw(r, repo, name, &next, dl) ?: -EEXIST;
}

int refs_create_name(struct refs *r, const struct id128 *repo, const char *name,
		     const struct oid *target, const struct deadline *dl)
{
	return MIN(make_name(r, repo, name, target, dl), 0);
}

int refs_claim_name(struct refs *r, const struct id128 *repo, const char *name,
		    const struct oid *target, const struct deadline *dl)
{
	int e = make_name(r, repo, name, target, dl);

	return e > 0 ? -EEXIST : e;
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
