/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A head with changes of its own takes in what its branch has got: it is pinned, the pin is merged
 * with the branch's commit, and the head moves to what comes out, a pin on that commit.
 *
 * Everything before the move leaves the head as it was to whoever asks; so does giving up.
 */
#include "base/log.h"
#include "format/key.h"
#include "head/commit.h"
#include "head/moving.h"
#include "head/pin.h"
#include "write/publish.h"

enum {
	TRIES_MAX = 4, /* somebody may go on changing it */
	RESTARTS_MAX = 3, /* the collector may have moved meanwhile */
	TAKE_BACK_MS = 10 * 1000,
};

struct advancing {
	struct head *head;
	struct access *acc;
	struct repo_rec repo;
	struct base from, to; /* the committed base (empty: unborn), and what it is to be */
};

static void advancing_release(struct advancing *a)
{
	repo_rec_release(&a->repo);
	base_release(&a->from);
	base_release(&a->to);
}

static struct refs_wait wait_of(const struct advancing *a)
{
	return (struct refs_wait){ .may_wait = true, .deadline = a->acc->deadline };
}

static int load(struct advancing *a, const struct oid *id, struct base *ret)
{
	struct view *v = &a->head->view;
	struct refs_wait w = wait_of(a);
	_cleanup_buf_ struct buf object = { 0 };
	int r = refs_commit(v->store->refs, &v->repo, id, &w, &object);

	return r < 0 ? r : base_load(id, buf_span(&object), ret);
}

static struct merge_side side_of(const struct base *b)
{
	return (struct merge_side){ .root = &b->root, .links = &b->commit.links };
}

/* The pin on the new commit. With nothing left that differs from that: that commit. */
static int store(struct advancing *a, struct session *s, const struct snapshot *snap,
		 struct base *ret)
{
	const struct commit_meta meta = { span_str(META_PIN), span_str("1") };
	_cleanup_buf_ struct buf object = { 0 };
	const struct publication p = {
		.store = a->head->view.store,
		.repo = a->head->view.repo,
		.branch = a->head->branch_name,
		.parents = &a->to.id,
		.parent_count = 1,
		.generation = a->to.commit.generation + 1,
		.meta = &meta,
		.meta_count = 1,
		.deadline = a->acc->deadline,
	};
	struct oid id;
	int r;

	if (inode_equal(&a->to.root, &snap->root) &&
	    oid_equal(&a->to.commit.links.id, &snap->links.id))
		return base_load(&a->to.id, buf_span(&a->to.object), ret);
	r = publish(&p, s, snap, &id, &object);
	if (r == 0)
		r = base_load(&id, buf_span(&object), ret);
	if (r == 0)
		packer_tell_index(session_packer(s));
	return r;
}

static int merge_once(struct advancing *a, struct base *ret)
{
	struct head *h = a->head;
	_cleanup_(session_freep) struct session *s = NULL;
	const struct session_options so = {
		.store = h->view.store,
		.chunk = a->repo.chunk,
		.cancelled = a->acc->deadline.cancelled,
	};
	const struct merge_options o = {
		.access = a->acc,
		.ours = side_of(&a->to),
		.theirs = side_of(&h->view.base),
		.bases = { side_of(&a->from) },
		.base_count = !oid_is_null(&a->from.id),
	};
	struct snapshot snap;
	int r = session_new(&so, &s);

	if (r == 0)
		r = merge_write(&o, s, &snap);
	return r < 0 ? r : store(a, s, &snap, ret);
}

/* -ESTALE: both have changed the same. */
static int merge(struct advancing *a, struct base *ret)
{
	int r = -ERESTART;

	for (unsigned i = 0; r == -ERESTART && i <= RESTARTS_MAX; i++)
		r = merge_once(a, ret);
	return r == -ERESTART ? -EAGAIN : r;
}

/* A pin that the head did not move to. Nobody was told of it. */
static void take_back(struct head *h, const struct oid *id)
{
	struct backend *b = h->view.store->backend;
	struct deadline dl = deadline_in_ms(TAKE_BACK_MS);

	if (b->ops->remove(b, commit_key(&h->view.repo, id).s, &dl) == 0)
		refs_forget_commit(h->view.store->refs, &h->view.repo, id);
}

/* From the pin that the head is at to one on the new commit: 1; 0: not now; -errno. */
static int move(struct advancing *a)
{
	struct view *v = &a->head->view;
	struct refs_wait w = wait_of(a);
	_cleanup_base_ struct base base = { 0 };
	struct oid id;
	int r = refs_repo(v->store->refs, v->repo_name, &w, &a->repo);

	if (r == 0)
		r = merge(a, &base);
	if (r < 0)
		return r == -ESTALE ? 0 : r;
	id = base.id;
	r = head_move(a->head, &base, &a->to.id, a->acc);
	if (r <= 0 && !oid_equal(&id, &a->to.id))
		take_back(a->head, &id);
	return r;
}

/* Is there a reason to stay that a pin would not do away with? */
static bool must_stay(struct head *h, const struct oid *target)
{
	WITH_LOCK(&h->view.lock);

	return h->writers || h->is_removed || head_standing(h) != HEAD_ON_BRANCH ||
	       oid_equal(&h->committed, target);
}

static bool is_clean(struct head *h)
{
	WITH_LOCK(&h->view.lock);

	return !is_uncommitted(h);
}

static bool was_changed(struct head *h)
{
	WITH_LOCK(&h->view.lock);

	return has_changes(h);
}

/* Does the target come after the committed base? 1, 0, -errno. */
static int is_above(struct advancing *a, const struct oid *target)
{
	struct view *v = &a->head->view;
	struct refs_wait w = wait_of(a);

	if (oid_is_null(&a->head->committed))
		return 1;
	return refs_is_ancestor(v->store->refs, &v->repo, &a->head->committed, target, &w);
}

static int advance_once(struct head *h, const struct oid *target, struct access *acc)
{
	_cleanup_(advancing_release) struct advancing a = { .head = h, .acc = acc };
	const struct pin_request plain = { 0 };
	int r;

	if (must_stay(h, target))
		return 0;
	r = is_above(&a, target);
	if (r == 1)
		r = is_clean(h) ? 1 : head_pin_locked(h, &plain, acc) ?: 1;
	if (r <= 0)
		return r;
	/* It may have turned out that nothing is changed. */
	if (is_clean(h))
		return follow_locked(h, target, acc);
	if (must_stay(h, target))
		return 0;
	r = load(&a, target, &a.to);
	if (r == 0 && !oid_is_null(&h->committed))
		r = load(&a, &h->committed, &a.from);
	return r < 0 ? r : move(&a);
}

static int advance(struct head *h, const struct oid *target, struct access *acc)
{
	int r = pending_settle(h, acc);

	for (unsigned i = 0; r == 0 && i < TRIES_MAX; i++) {
		r = advance_once(h, target, acc);
		if (r == 0 && !was_changed(h))
			break;
	}
	return r;
}

int head_advance(struct view *head, const struct oid *target, struct access *acc)
{
	struct head *h = head_of(head);
	int r;

	if (!head->is_head || h->is_private)
		return -EINVAL;
	if (!acc->may_wait)
		return -EAGAIN;
	if (oid_is_null(target) || head->store->read_only)
		return 0;
	pthread_mutex_lock(&h->commit_lock);
	r = advance(h, target, acc);
	pthread_mutex_unlock(&h->commit_lock);
	return r;
}
