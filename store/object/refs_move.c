/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Moving a branch to a commit, and the question whether one commit comes before another.
 */
#include <stdio.h>

#include "base/htab.h"
#include "object/refs_parts.h"

enum {
	RENAMES_MAX = 16, /* followed */
};

/* A branch on its way from one commit to the next. */
struct move {
	struct refs *refs;
	const struct id128 *repo;
	char name[OBJECT_NAME_MAX + 1];
	const struct oid *from, *to;
	const struct deadline *dl;
	unsigned renames;
	bool is_any; /* whichever branch has the name */
	bool has_identity; /* which branch it is has been said, or found at the first try */
	struct id128 identity;
	struct finding *now; /* owned */
	bool is_fresh; /* @now comes from the store, not from memory */
	bool was_tried; /* something was sent */
	bool was_refused; /* and the last of it was refused, for certain */
};

static void move_release(struct move *m)
{
	finding_unref(m->now);
}

/* Asks the store where the branch is. */
static int look(struct move *m)
{
	finding_unref(m->now);
	m->now = NULL;
	m->is_fresh = true;
	return facts_look(m->refs->facts, FINDING_REF, head_key(m->repo, m->name).s, m->dl,
			  &m->now);
}

static bool is_other(const struct move *m)
{
	return m->has_identity && !m->now->is_absent &&
	       !id128_equal(&m->now->ref.branch, &m->identity);
}

/* Is the commit on what is there now? 1, 0, or an error. */
static int has_commit(struct move *m)
{
	struct refs_wait w = { .may_wait = true, .deadline = m->dl ? *m->dl : DEADLINE_NEVER };
	int e = refs_is_ancestor(m->refs, m->repo, m->to, &m->now->ref.target, &w);

	return e == -ENOENT ? -EBADMSG : e; /* a head without its commit */
}

/* The branch is gone. Its tombstone says whether it has been at the commit before; another branch
 * by its name does not. */
static int judge_gone(struct move *m)
{
	int e = 1;

	if (!m->was_tried)
		return -ENOENT;
	if (!is_other(m) && !m->now->is_absent)
		e = has_commit(m);
	return e < 0 ? e : e == 1 ? -EINPROGRESS : -ENOENT;
}

/* Goes on with the branch's new name, if it has one. */
static int follow_rename(struct move *m)
{
	int e;

	if (is_other(m) || m->now->is_absent || m->now->ref.renamed_to[0] == '\0' ||
	    m->renames++ == RENAMES_MAX)
		return judge_gone(m);
	m->is_any = false;
	m->has_identity = true;
	m->identity = m->now->ref.branch;
	snprintf(m->name, sizeof(m->name), "%s", m->now->ref.renamed_to);
	e = look(m);
	return e == 0 && m->now->is_absent ? judge_gone(m) : e;
}

/* The branch is not where we believed it: are we there, or somebody else? */
static int judge(struct move *m)
{
	int e = has_commit(m);

	if (e != 0)
		return e < 0 ? e : 0;
	return is_other(m) ? judge_gone(m) : -ESTALE;
}

/* Swaps @m->now for a ref that points to the commit in @next. */
static int try_swap(struct move *m, struct ref *next)
{
	struct finding *other = NULL;
	struct key key = head_key(m->repo, m->name);
	int e;

	next->kind = REF_BRANCH;
	next->state = REF_LIVE;
	next->branch = m->now->ref.branch;
	refs_stamp(m->refs, m->now, next);
	if (!m->has_identity)
		m->identity = m->now->ref.branch;
	m->has_identity = true;
	m->was_tried = true;
	e = refs_swap_ref(m->refs, key.s, m->now, next, m->dl, &other);
	m->was_refused = e < 0 && e != -ESTALE && e != -EINPROGRESS;
	if (other) {
		finding_unref(m->now);
		m->now = other;
		m->is_fresh = true;
	}
	return e;
}

/* One round: 1 to go on with what is there now. */
static int step(struct move *m, struct ref *next)
{
	int e;

	/* What is known from a while ago proves nothing. */
	if (!m->is_fresh && (!finding_is_live(m->now) || (is_other(m) && !m->is_any)))
		return look(m) ?: 1;
	if (!finding_is_live(m->now))
		return follow_rename(m) ?: 1;
	if (is_other(m) && !m->is_any)
		return judge_gone(m);
	if (oid_equal(&m->now->ref.target, m->to) && m->is_fresh)
		return 0;
	if (!oid_equal(&m->now->ref.target, m->from)) {
		if (m->is_fresh)
			return judge(m);
		e = look(m);
		return e < 0 ? e : 1;
	}
	e = try_swap(m, next);
	return e == -ESTALE ? 1 : e;
}

int refs_move_branch(struct refs *r, const struct id128 *repo, const char *branch,
		     const struct id128 *identity, const struct oid *from, const struct oid *to,
		     const struct deadline *dl, struct oid *ret_now)
{
	_cleanup_(move_release) struct move m = {
		.refs = r,
		.repo = repo,
		.from = from,
		.to = to,
		.dl = dl,
		.is_any = !identity,
		.has_identity = identity,
	};
	_cleanup_ref_ struct ref next = { 0 };
	int e;

	e = refs_check_change(r, branch);
	if (e < 0)
		return e;
	if (oid_is_null(to))
		return -EINVAL;
	e = refs_point(r, repo, to, dl, &next);
	if (e < 0)
		return e;
	if (identity)
		m.identity = *identity;
	snprintf(m.name, sizeof(m.name), "%s", branch);
	m.now = facts_peek(r->facts, FINDING_REF, head_key(repo, branch).s);
	e = m.now ? 0 : look(&m);
	if (e < 0)
		return e;
	do
		e = step(&m, &next);
	while (e == 1);
	if (e == -ESTALE)
		*ret_now = m.now->ref.target;
	else if (m.was_tried && !m.was_refused && e < 0 && e != -ENOENT)
		e = -EINPROGRESS; /* what came of it could not be seen */
	else if (m.was_tried && (e == -ETIME || e == -ECANCELED || e == -EIO))
		e = -EINPROGRESS;
	return e;
}

/* A walk back from a commit. */
struct walk {
	struct htab seen;
	struct seen *todo; /* a stack */
};

struct seen {
	struct hnode node;
	struct seen *next; /* in todo */
	struct oid id;
};

static void seen_free(struct hnode *n, void *ctx)
{
	free(container_of(n, struct seen, node));
}

static void walk_release(struct walk *w)
{
	htab_walk(&w->seen, seen_free, NULL);
	htab_release(&w->seen);
}

static int walk_add(struct walk *w, const struct oid *id)
{
	uint64_t hash = oid_hash(id);
	struct seen *s;

	htab_for_each (n, &w->seen, hash)
		if (oid_equal(&container_of(n, struct seen, node)->id, id))
			return 0;
	s = new0(struct seen, 1);
	if (!s)
		return -ENOMEM;
	s->id = *id;
	if (htab_insert(&w->seen, &s->node, hash) < 0) {
		free(s);
		return -ENOMEM;
	}
	s->next = w->todo;
	w->todo = s;
	return 0;
}

int refs_is_ancestor(struct refs *r, const struct id128 *repo, const struct oid *ancestor,
		     const struct oid *of, const struct refs_wait *w)
{
	_cleanup_(walk_release) struct walk walk = { 0 };
	_cleanup_loaded_ struct loaded first = { 0 };
	int e;

	if (oid_is_null(ancestor) || oid_equal(ancestor, of))
		return 1;
	if (oid_is_null(of))
		return 0;
	e = refs_load_commit(r, repo, ancestor, w, &first);
	if (e < 0)
		return e;
	e = walk_add(&walk, of);
	while (e == 0 && walk.todo) {
		_cleanup_loaded_ struct loaded l = { 0 };
		const struct commit *c = &l.commit;
		struct seen *s = walk.todo;

		walk.todo = s->next;
		e = refs_load_commit(r, repo, &s->id, w, &l);
		/* A commit's generation is above its parents'. */
		if (e == 0 && c->generation <= first.commit.generation)
			continue;
		for (uint8_t i = 0; e == 0 && i < c->parent_count; i++) {
			if (oid_equal(&c->parents[i], ancestor))
				return 1;
			e = walk_add(&walk, &c->parents[i]);
		}
	}
	return e;
}
