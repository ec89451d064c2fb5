/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Commits onto branches (merge/join.h).
 *
 * A merge commit that loses its swap for certain, or whose swap is refused, is removed again:
 * nobody was told of it, and no ref can come to point to it, since the tag that its swap required
 * never comes back. One whose outcome is not known is taken for the next try if nothing has
 * changed; when the branch has moved on without it, it is removed as well.
 */
#include "merge/join.h"

#include <stdio.h>

#include "base/log.h"
#include "format/key.h"
#include "merge/bases.h"
#include "write/publish.h"

enum {
	STEP_TIMEOUT_MS = 30 * 1000,
	RESTARTS_MAX = 3, /* the collector may have moved meanwhile */
};

/* What a merge is about. */
struct sides {
	struct loaded ours, theirs, bases[MERGE_BASES_MAX];
	struct inode unborn; /* their root, of a branch without a commit */
	/* Of a change that was made over something uncommitted: */
	struct loaded pin; /* what it was made on */
	struct session *session; /* owned; of @change */
	struct snapshot change; /* the same on what was committed */
	struct access access;
	struct merge_options options;
};

static void sides_release(struct sides *s)
{
	loaded_release(&s->ours);
	loaded_release(&s->theirs);
	for (unsigned i = 0; i < MERGE_BASES_MAX; i++)
		loaded_release(&s->bases[i]);
	loaded_release(&s->pin);
	session_free(s->session);
	access_release(&s->access);
}

static struct deadline step_deadline(const struct joining *j)
{
	struct deadline dl = deadline_in_ms(STEP_TIMEOUT_MS);

	dl.at_ns = MIN(dl.at_ns, j->deadline.at_ns);
	dl.cancelled = j->deadline.cancelled;
	return dl;
}

static struct refs_wait patient(const struct joining *j)
{
	return (struct refs_wait){ .may_wait = true, .deadline = step_deadline(j) };
}

static int load(const struct joining *j, const struct oid *id, struct loaded *ret)
{
	struct refs_wait w = patient(j);
	int r = refs_load_commit(j->store->refs, &j->repo, id, &w, ret);

	if (r == -ENOENT)
		return log_fail(-EIO, "%s/%s: a commit is missing", j->repo_name, j->branch);
	return r;
}

static struct merge_side side_of(const struct loaded *l)
{
	return (struct merge_side){ .root = &l->commit.root, .links = &l->commit.links };
}

static int load_bases(const struct joining *j, const struct oid *tip, struct sides *s)
{
	struct oid ids[MERGE_BASES_MAX];
	struct refs_wait w = patient(j);
	unsigned n = 0;
	int r = 0;

	if (j->base) {
		ids[0] = *j->base;
		n = !oid_is_null(j->base);
	} else {
		w.deadline = j->deadline;
		r = merge_bases(j->store->refs, &j->repo, &j->commit, tip, &w, ids, &n);
	}
	s->options.is_base_unknown = r == -E2BIG;
	if (r == -E2BIG)
		return 0;
	for (unsigned i = 0; r == 0 && i < n; i++) {
		r = load(j, &ids[i], &s->bases[i]);
		s->options.bases[i] = side_of(&s->bases[i]);
	}
	s->options.base_count = n;
	return r;
}

/* A branch without a commit, as a side: what a commit onto it will be. */
static struct merge_side unborn_side(struct sides *s)
{
	static const struct tree_root none;

	s->unborn = s->ours.commit.root;
	s->unborn.dir = none;
	return (struct merge_side){ .root = &s->unborn, .links = &none };
}

/* Is there anything uncommitted under the change? */
static bool is_over_pin(const struct joining *j)
{
	const struct oid *committed = j->as_change ? j->as_change->committed : NULL;

	return committed && !oid_equal(committed, j->base);
}

/* Ours becomes the change as if it had been made on what was committed, which becomes the base. */
static int take_off_pin(const struct joining *j, struct sides *s)
{
	const struct oid *committed = j->as_change->committed;
	struct refs_wait w = patient(j);
	_cleanup_repo_rec_ struct repo_rec repo = { 0 };
	struct session_options so = { .store = j->store, .cancelled = j->deadline.cancelled };
	struct merge_options o = s->options;
	int r = refs_repo(j->store->refs, j->repo_name, &w, &repo);

	s->pin = s->bases[0];
	s->bases[0] = (struct loaded){ 0 };
	o.bases[0] = side_of(&s->pin);
	if (r == 0 && !oid_is_null(committed))
		r = load(j, committed, &s->bases[0]);
	if (r < 0)
		return r;
	o.theirs = oid_is_null(committed) ? unborn_side(s) : side_of(&s->bases[0]);
	o.prefer = MERGE_PREFER_OURS;
	so.chunk = repo.chunk;
	r = session_new(&so, &s->session);
	if (r == 0)
		r = merge_write(&o, s->session, &s->change);
	s->options.ours = (struct merge_side){ &s->change.root, &s->change.links };
	s->options.bases[0] = o.theirs;
	s->options.base_count = !oid_is_null(committed);
	return r;
}

static int load_sides(const struct joining *j, const struct oid *tip, struct sides *s)
{
	int r;

	access_init(&s->access, j->store->reader, true);
	s->access.deadline = j->deadline;
	r = load(j, &j->commit, &s->ours);
	if (r == 0 && !oid_is_null(tip))
		r = load(j, tip, &s->theirs);
	if (r == 0)
		r = load_bases(j, tip, s);
	s->options.access = &s->access;
	s->options.ours = side_of(&s->ours);
	s->options.theirs = oid_is_null(tip) ? unborn_side(s) : side_of(&s->theirs);
	s->options.prefer = j->prefer;
	if (j->as_change) {
		s->options.leave_out = j->as_change->leave_out;
		s->options.leave_out_ctx = j->as_change->leave_out_ctx;
	}
	return r == 0 && is_over_pin(j) ? take_off_pin(j, s) : r;
}

/* Where the branch is: null if nowhere yet. */
static int tip_of(const struct joining *j, bool fresh, struct oid *ret)
{
	struct refs_wait w = patient(j);
	_cleanup_ref_ struct ref ref = { 0 };
	struct etag tag;
	int r;

	w.fresh = fresh;
	r = refs_get(j->store->refs, &j->repo, REF_BRANCH, j->branch, &w, &ref, &tag);
	if (r == 0 && j->identity && !id128_equal(&ref.branch, j->identity))
		r = -ENOENT;
	if (r == 0)
		*ret = ref.target;
	return r;
}

/* 1: the branch has it; 0: it has not, and @ret_above says whether it is the branch's next. */
static int compare(const struct joining *j, const struct oid *tip, bool *ret_above)
{
	struct refs_wait w = patient(j);
	int r;

	*ret_above = false;
	if (j->as_change)
		return 0;
	if (oid_equal(&j->commit, tip))
		return 1;
	if (oid_is_null(tip) || (j->base && oid_equal(j->base, tip))) {
		*ret_above = true;
		return 0;
	}
	r = refs_is_ancestor(j->store->refs, &j->repo, tip, &j->commit, &w);
	if (r != 0) {
		*ret_above = r == 1;
		return MIN(r, 0);
	}
	return refs_is_ancestor(j->store->refs, &j->repo, &j->commit, tip, &w);
}

static bool is_theirs(const struct sides *s, const struct snapshot *snap)
{
	return !oid_is_null(&s->theirs.id) && inode_equal(s->options.theirs.root, &snap->root) &&
	       oid_equal(&s->options.theirs.links->id, &snap->links.id);
}

/* 1: there would be nothing in it that they do not have. */
static int write_merge(const struct joining *j, struct sides *s, const struct chunk_params *chunk,
		       struct oid *ret)
{
	const struct oid parents[] = { s->theirs.id, s->ours.id };
	_cleanup_(session_freep) struct session *session = NULL;
	struct session_options so = { .store = j->store,
				      .chunk = *chunk,
				      .cancelled = j->deadline.cancelled };
	_cleanup_buf_ struct buf object = { 0 };
	struct publication p = {
		.store = j->store,
		.repo = j->repo,
		.branch = j->branch,
		.parents = parents,
		.parent_count = j->as_change ? !oid_is_null(&s->theirs.id) : ARRAY_SIZE(parents),
		.generation = MAX(s->theirs.commit.generation,
				  j->as_change ? 0 : s->ours.commit.generation) +
			      1,
		.author = j->author,
		.message = j->message,
		.deadline = j->deadline,
	};
	char hex[OID_HEX], text[64];
	struct snapshot snap;
	int r;

	if (!p.message) {
		snprintf(text, sizeof(text), "merge of %.12s", oid_hex(&j->commit, hex));
		p.message = text;
	}
	if (j->as_change) {
		p.meta = j->as_change->meta;
		p.meta_count = j->as_change->meta_count;
	}
	r = session_new(&so, &session);
	if (r == 0)
		r = merge_write(&s->options, session, &snap);
	if (r == 0 && j->as_change && is_theirs(s, &snap))
		return 1;
	if (r == 0)
		r = publish(&p, session, &snap, ret, &object);
	if (r < 0)
		return r;
	packer_tell_index(session_packer(session));
	return 0;
}

/* The merge commit of an earlier try, if it would be the same. */
static bool take_unsure(const struct joining *j, const struct oid *tip, struct joined *ret)
{
	const struct unsure_merge *u = j->unsure;

	if (!u || oid_is_null(&u->merge) || !oid_equal(&u->tip, tip) ||
	    !oid_equal(&u->commit, &j->commit) || u->prefer != j->prefer)
		return false;
	ret->tip = u->merge;
	ret->is_merge = true;
	return true;
}

static int merge(const struct joining *j, const struct oid *tip, struct joined *ret)
{
	struct refs_wait w = patient(j);
	_cleanup_repo_rec_ struct repo_rec repo = { 0 };
	_cleanup_(sides_release) struct sides s = { 0 };
	int r;

	if (take_unsure(j, tip, ret))
		return 0;
	r = load_sides(j, tip, &s);
	if (r == 0 && j->prefer == MERGE_PREFER_NEITHER)
		r = merge_conflicts(&s.options, NULL, NULL, &ret->conflicts);
	if (r == 0 && ret->conflicts > 0)
		return -ESTALE;
	if (r == 0)
		r = refs_repo(j->store->refs, j->repo_name, &w, &repo);
	for (unsigned i = 0; r == 0; i++) {
		r = write_merge(j, &s, &repo.chunk, &ret->tip);
		if (r != -ERESTART)
			break;
		r = i < RESTARTS_MAX ? 0 : -EAGAIN;
	}
	ret->is_merge = r == 0;
	return MIN(r, 0);
}

static void take_back(const struct joining *j, const struct oid *id)
{
	struct backend *b = j->store->backend;
	struct deadline dl = step_deadline(j);

	b->ops->remove(b, commit_key(&j->repo, id).s, &dl);
	refs_forget_commit(j->store->refs, &j->repo, id);
}

/* What came of the swap to a merge commit. All errors but one say that it has not happened and
 * never will; but where an earlier try may still do it, only that the branch is elsewhere does. */
static void note_swapped(const struct joining *j, int error, const struct oid *tip,
			 const struct joined *x)
{
	struct unsure_merge *u = j->unsure;
	bool is_again = u && oid_equal(&u->merge, &x->tip);

	if (error == -EINPROGRESS && u)
		*u = (struct unsure_merge){ x->tip, j->commit, *tip, j->prefer };
	if (error < 0 && error != -EINPROGRESS && (!is_again || error == -ESTALE))
		take_back(j, &x->tip);
	if (is_again && (error == 0 || error == -ESTALE))
		u->merge = (struct oid){ 0 };
}

/* The branch is at @tip, as it was found just now. Where it has moved since an earlier try, that
 * one's merge commit is on it, or never will be. */
static void settle_unsure(const struct joining *j, const struct oid *tip)
{
	struct unsure_merge *u = j->unsure;
	struct refs_wait w = patient(j);
	int r;

	if (!u || oid_is_null(&u->merge) || oid_equal(&u->tip, tip))
		return;
	r = refs_is_ancestor(j->store->refs, &j->repo, &u->merge, tip, &w);
	if (r == 0)
		take_back(j, &u->merge);
	if (r >= 0)
		u->merge = (struct oid){ 0 };
}

/* One round from the branch at @tip: 1 to look again, at what @tip then is. */
static int round_from(const struct joining *j, struct oid *tip, struct joined *ret)
{
	struct deadline dl = step_deadline(j);
	struct oid now = *tip;
	bool above;
	int r;

	settle_unsure(j, tip);
	r = compare(j, tip, &above);
	*ret = (struct joined){ .tip = *tip };
	if (r != 0)
		return MIN(r, 0);
	if (above)
		ret->tip = j->commit;
	else
		r = merge(j, tip, ret);
	if (r == 0 && j->as_change && ret->is_merge && j->as_change->about_to)
		r = j->as_change->about_to(&ret->tip, j->as_change->ctx);
	/* Theirs has all there is. */
	if (r < 0 || oid_equal(tip, &ret->tip))
		return r;
	r = refs_move_branch(j->store->refs, &j->repo, j->branch, j->identity, tip, &ret->tip, &dl,
			     &now);
	if (ret->is_merge)
		note_swapped(j, r, tip, ret);
	if (r != -ESTALE)
		return r;
	*tip = now;
	return 1;
}

int join_branch(const struct joining *j, struct joined *ret)
{
	struct oid tip;
	/* What an earlier try left is judged by where the branch is, not by where it was. */
	int r = tip_of(j, j->unsure && !oid_is_null(&j->unsure->merge), &tip);

	if (r == 0)
		r = 1;
	while (r == 1) {
		r = deadline_check(&j->deadline);
		if (r == 0)
			r = round_from(j, &tip, ret);
	}
	return r;
}

int join_conflicts(const struct joining *j, merge_conflict_fn fn, void *ctx, struct joined *ret)
{
	_cleanup_(sides_release) struct sides s = { 0 };
	bool above;
	int r;

	*ret = (struct joined){ 0 };
	r = tip_of(j, true, &ret->tip);
	if (r == 0)
		r = compare(j, &ret->tip, &above);
	if (r != 0 || above)
		return MIN(r, 0);
	r = load_sides(j, &ret->tip, &s);
	return r < 0 ? r : merge_conflicts(&s.options, fn, ctx, &ret->conflicts);
}
