/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One writing of one ref or record, from the first try to its certain end.
 *
 *	try --0--> done
 *	 |--condition failed, reply lost--> read back --our nonce--> done
 *	 |                                   |--as before the try--> try again, the same bytes
 *	 |                                   '--something else--> lost: the caller looks at it
 *	 '--refused--> nothing was written
 *
 * The same bytes carry the same nonce, so that of several tries at most one has an effect and any
 * of them is known for ours. A try may still land after the deadline: whoever must know in the end
 * has the nonce on record.
 */
#include <stdio.h>

#include "object/refs_parts.h"

enum {
	TRIES_MAX = 20, /* some seconds */
};

/* Did the backend say that nothing happened, and that nothing will? */
static bool is_refusal(int r)
{
	switch (r) {
	case -EROFS:
	case -EACCES:
	case -ENOSPC:
	case -EINVAL:
	case -ENOMEM:
	case -EFBIG:
	case -EOPNOTSUPP:
		return true;
	default:
		return false;
	}
}

static bool is_as_before(const struct finding *now, const struct finding *before)
{
	if (now->is_absent || before->is_absent)
		return now->is_absent && before->is_absent;
	return strcmp(now->tag.s, before->tag.s) == 0;
}

/* Reads what is there until it can be read. */
static int read_back(struct refs *r, const struct writing *w, const struct deadline *dl,
		     struct finding **ret)
{
	int e;

	for (unsigned n = 0; n < TRIES_MAX; n++) {
		e = facts_look(r->facts, w->kind, w->key, dl, ret);
		if (e == 0 || e == -EBADMSG || e == -ENOTSUP || e == -ENOMEM || e == -EACCES)
			return e;
		e = deadline_back_off(n, dl) ?: e;
		if (e == -ETIME || e == -ECANCELED)
			break;
	}
	return e;
}

int refs_swap(struct refs *r, const struct writing *w, const struct deadline *dl,
	      struct finding **ret_now)
{
	const struct etag *tag = w->over->is_absent ? NULL : &w->over->tag;
	struct backend *b = r->options.backend;
	bool may_have_landed = false;
	int e;

	for (unsigned n = 0; n < TRIES_MAX; n++) {
		_cleanup_(finding_unrefp) struct finding *now = NULL, *ours = NULL;
		struct etag fresh = { "-" };

		e = n > 0 ? deadline_back_off(n, dl) : deadline_check(dl);
		if (e < 0)
			break;
		e = b->ops->swap(b, w->key, tag, w->bytes, dl, &fresh);
		if (is_refusal(e) && !may_have_landed)
			return e;
		if (finding_of_object(w->kind, w->key, w->bytes, &fresh, &ours) < 0)
			return e < 0 ? -EINPROGRESS : 0;
		if (e == 0) {
			ours->is_own = true;
			facts_learn(r->facts, w->key, ours, w->bytes);
			return 0;
		}
		may_have_landed |= e != -ESTALE && !is_refusal(e);
		e = read_back(r, w, dl, &now);
		if (e < 0)
			break;
		if (!now->is_absent && id128_equal(finding_nonce(now), finding_nonce(ours)))
			return 0; /* read_back() has told what is known */
		if (!is_as_before(now, w->over)) {
			*ret_now = TAKE_PTR(now);
			return -ESTALE;
		}
	}
	if (may_have_landed)
		return -EINPROGRESS;
	/* A store that goes on refusing a condition that holds. */
	return e < 0 ? e : -EIO;
}

void refs_stamp(struct refs *r, const struct finding *now, struct ref *next)
{
	next->seq = now->is_absent ? 1 : now->ref.seq + 1;
	next->nonce = refs_nonce(r);
	next->time = refs_time();
	snprintf(next->writer, sizeof(next->writer), "%s", r->writer);
}

int refs_swap_ref(struct refs *r, const char *key, const struct finding *now,
		  const struct ref *next, const struct deadline *dl, struct finding **ret_now)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct writing w = { .kind = FINDING_REF, .key = key, .over = now };
	int e;

	e = ref_write(next, &bytes);
	if (e < 0)
		return e;
	w.bytes = buf_span(&bytes);
	return refs_swap(r, &w, dl, ret_now);
}

int refs_place(struct refs *r, const struct id128 *repo, const char *name, struct ref *next,
	       const struct deadline *dl, struct finding **ret_live, bool *ret_may_have_stood)
{
	struct key key = refs_key(next->kind, repo, name);
	_cleanup_(finding_unrefp) struct finding *now = facts_peek(r->facts, FINDING_REF, key.s);
	unsigned tries = 0;
	int e = 0;

	/* What was known as free may have been taken since: then the swap says so. */
	if (!now || finding_is_live(now)) {
		finding_unref(TAKE_PTR(now));
		e = facts_look(r->facts, FINDING_REF, key.s, dl, &now);
	}
	if (e < 0)
		return e;
	for (; !finding_is_live(now); tries++) {
		struct finding *other = NULL;

		refs_stamp(r, now, next);
		e = refs_swap_ref(r, key.s, now, next, dl, &other);
		if (e == 0)
			refs_learn_listed(r, next->kind, repo, name, true);
		if (e != -ESTALE)
			return e;
		finding_unref(now);
		now = other;
	}
	/* What has the number that ours was to have is where ours would have been. */
	*ret_may_have_stood = tries > 1 || (tries == 1 && now->ref.seq != next->seq);
	*ret_live = TAKE_PTR(now);
	return -EEXIST;
}

int refs_bury(struct refs *r, const struct id128 *repo, const char *name, const char *renamed_to,
	      struct finding **now, const struct deadline *dl)
{
	struct ref next = {
		.kind = (*now)->ref.kind,
		.state = REF_TOMBSTONE,
		.branch = (*now)->ref.branch,
		.target = (*now)->ref.target,
	};
	struct finding *other = NULL;
	int e;

	snprintf(next.renamed_to, sizeof(next.renamed_to), "%s", renamed_to);
	refs_stamp(r, *now, &next);
	e = refs_swap_ref(r, refs_key(next.kind, repo, name).s, *now, &next, dl, &other);
	if (e == 0)
		refs_learn_listed(r, next.kind, repo, name, false);
	if (other) {
		finding_unref(*now);
		*now = other;
	}
	return e;
}

int refs_withdraw(struct refs *r, const struct id128 *repo, const char *name,
		  const struct ref *made, const struct deadline *dl)
{
	_cleanup_(finding_unrefp) struct finding *now = NULL;
	int e;

	e = facts_look(r->facts, FINDING_REF, refs_key(made->kind, repo, name).s, dl, &now);
	if (e == 0 && finding_is_live(now) && id128_equal(&now->ref.nonce, &made->nonce))
		e = refs_bury(r, repo, name, "", &now, dl);
	return e == -ESTALE ? 0 : e;
}

int refs_point(struct refs *r, const struct id128 *repo, const struct oid *target,
	       const struct deadline *dl, struct ref *ret)
{
	struct refs_wait w = { .may_wait = true, .deadline = dl ? *dl : DEADLINE_NEVER };
	int e;

	ret->target = *target;
	buf_clear(&ret->commit);
	if (oid_is_null(target))
		return 0;
	e = refs_commit(r, repo, target, &w, &ret->commit);
	if (e == 0 && ret->commit.len > REF_COMMIT_MAX)
		buf_clear(&ret->commit);
	return e;
}
