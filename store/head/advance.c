/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A head with changes of its own takes in what its branch has got: it is pinned, the pin is merged
 * with the branch's commit, and the head moves to what comes out, a pin on that commit.
 *
 * A private head takes in what a run in its run has made by the same way; its committed base stays.
 * What a run of this mount has published goes on top of what is uncommitted in the branch's head,
 * and in the same move that comes to lie on the branch's commit: what its user does next is done to
 * both.
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
	TAKES_MAX = 100, /* others go on writing to a private head */
	TAKE_PAUSE_MAX_MS = 50,
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
		.parent_count = !oid_is_null(&a->to.id),
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

static int merge_once(struct advancing *a, const struct merge_options *o, struct base *ret)
{
	_cleanup_(session_freep) struct session *s = NULL;
	const struct session_options so = {
		.store = a->head->view.store,
		.chunk = a->repo.chunk,
		.cancelled = a->acc->deadline.cancelled,
	};
	struct snapshot snap;
	int r = session_new(&so, &s);

	if (r == 0)
		r = merge_write(o, s, &snap);
	return r < 0 ? r : store(a, s, &snap, ret);
}

/* -ESTALE: both have changed the same. */
static int merge(struct advancing *a, const struct merge_options *o, struct base *ret)
{
	int r = -ERESTART;

	for (unsigned i = 0; r == -ERESTART && i <= RESTARTS_MAX; i++)
		r = merge_once(a, o, ret);
	return r == -ERESTART ? -EAGAIN : r;
}

/* A pin that the head did not move to. Nobody was told of it. */
static void take_back(struct head *h, const struct oid *id)
{
	struct backend *b = h->view.store->backend;
	struct deadline dl = deadline_in_ms(TAKE_BACK_MS);

	if (b->ops->remove(b, pin_key(&h->view.repo, id).s, &dl) == 0)
		refs_forget_commit(h->view.store->refs, &h->view.repo, id);
}

/* From the pin that the head is at to one on the new commit: 1; 0: not now; -errno. */
static int move(struct advancing *a)
{
	const struct merge_options o = {
		.access = a->acc,
		.ours = side_of(&a->to),
		.theirs = side_of(&a->head->view.base),
		.bases = { side_of(&a->from) },
		.base_count = !oid_is_null(&a->from.id),
	};
	struct view *v = &a->head->view;
	struct refs_wait w = wait_of(a);
	_cleanup_base_ struct base base = { 0 };
	struct oid id;
	int r = refs_repo(v->store->refs, v->repo_name, &w, &a->repo);

	if (r == 0)
		r = merge(a, &o, &base);
	if (r < 0)
		return r == -ESTALE ? 0 : r;
	id = base.id;
	r = head_move(a->head, &base, &a->to.id, true, a->acc);
	if (r <= 0 && !oid_equal(&id, &a->to.id))
		take_back(a->head, &id);
	return r;
}

/* Is there a reason to stay that a pin would not do away with? */
static bool must_stay(struct head *h, const struct oid *target)
{
	WITH_LOCK(&h->view.lock);

	return h->is_removed || head_standing(h) != HEAD_ON_BRANCH ||
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
		return follow_locked(h, target, true, acc);
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

/* A change, and what it is taken into. */
struct taking {
	struct advancing a; /* from: the change's base; to: the head's committed one */
	const struct oid *target; /* the branch's commit, which it is to be on then; NULL: none */
	struct base result;
	struct inode unborn; /* the root of a head without a commit */
	struct merge_options options;
};

static void taking_release(struct taking *t)
{
	advancing_release(&t->a);
	base_release(&t->result);
}

static int load_if_any(struct taking *t, const struct oid *id, struct base *ret)
{
	return oid_is_null(id) ? 0 : load(&t->a, id, ret);
}

/* The head is pinned; what is to be merged with that is made ready. */
static int taking_init(struct taking *t, struct head *h, const struct head_change *c,
		       struct access *acc)
{
	static const struct tree_root none;
	const struct pin_request plain = { .message = "before it took in what a run has made" };
	struct refs_wait w = wait_of(&t->a);
	struct base *now = &h->view.base;
	int r = head_pin_locked(h, &plain, acc);

	if (r == 0)
		r = refs_repo(h->view.store->refs, h->view.repo_name, &w, &t->a.repo);
	if (r == 0)
		r = load_if_any(t, &c->base, &t->a.from);
	if (r == 0)
		r = load_if_any(t, &c->result, &t->result);
	if (r == 0)
		r = load_if_any(t, &h->committed, &t->a.to);
	t->unborn = t->result.root;
	t->unborn.dir = none;
	t->options = (struct merge_options){
		.access = acc,
		.ours = side_of(&t->result),
		.theirs = oid_is_null(&now->id) ? (struct merge_side){ &t->unborn, &none }
						: side_of(now),
		.bases = { side_of(&t->a.from) },
		.base_count = !oid_is_null(&t->a.from.id),
		.prefer = !oid_is_null(&now->id) && oid_equal(&now->id, &c->seen_at)
				  ? MERGE_PREFER_OURS
				  : MERGE_PREFER_NEITHER,
		.leave_out = c->leave_out,
		.leave_out_ctx = c->leave_out_ctx,
	};
	return r;
}

/* What the head would be with the change, @base, comes to lie on the target, and *@committed is
 * that; where others have committed the same there it stays as it is. */
static int lay_on_target(const struct taking *t, struct base *base, struct oid *committed)
{
	_cleanup_(advancing_release) struct advancing a = { .head = t->a.head, .acc = t->a.acc };
	_cleanup_base_ struct base laid = { 0 };
	const struct merge_options o = {
		.access = a.acc,
		.ours = side_of(&a.to),
		.theirs = side_of(base),
		.bases = { side_of(&t->a.to) },
		.base_count = !oid_is_null(&t->a.to.id),
	};
	int r;

	if (!t->target || oid_equal(t->target, committed))
		return 0;
	a.repo.chunk = t->a.repo.chunk;
	r = load(&a, t->target, &a.to);
	if (r == 0)
		r = merge(&a, &o, &laid);
	if (r < 0)
		return r == -ESTALE ? 0 : r;
	if (!oid_equal(&base->id, committed) && !oid_equal(&base->id, &a.head->view.base.id))
		take_back(a.head, &base->id);
	base_release(base);
	*base = laid;
	laid = (struct base){ 0 };
	*committed = *t->target;
	return 0;
}

/* 1: the head has it, and had it at @ret; 0: it was written to meanwhile. */
static int take_once(struct head *h, const struct head_change *c, const struct oid *target,
		     struct access *acc, struct oid *ret, uint64_t *ret_conflicts)
{
	_cleanup_(taking_release) struct taking t = { .a = { .head = h, .acc = acc },
						      .target = target };
	_cleanup_base_ struct base base = { 0 };
	struct oid committed = h->committed;
	int r = taking_init(&t, h, c, acc);

	if (r == 0)
		r = merge_conflicts(&t.options, NULL, NULL, ret_conflicts);
	if (r == 0 && *ret_conflicts > 0 && t.options.prefer == MERGE_PREFER_NEITHER)
		r = -ESTALE;
	if (r == 0)
		r = merge(&t.a, &t.options, &base);
	if (r == 0)
		r = lay_on_target(&t, &base, &committed);
	if (r < 0)
		return r;
	*ret = base.id;
	if (c->about_to)
		r = c->about_to(ret, c->ctx);
	if (r == 0)
		r = oid_equal(ret, &h->view.base.id) ? 1
						     : head_move(h, &base, &committed, true, acc);
	if (r <= 0 && !oid_equal(ret, &committed))
		take_back(h, ret);
	if (r > 0 && c->has_moved)
		c->has_moved(ret, c->ctx);
	return r;
}

/* Somebody else's turn to write. */
static void pause_for_writers(void)
{
	const int64_t ms = (int64_t)(random_u64() % TAKE_PAUSE_MAX_MS);

	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
}

static int take(struct head *h, const struct head_change *c, struct access *acc, struct oid *ret,
		uint64_t *ret_conflicts)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < TAKES_MAX; i++) {
		if (i > 0)
			pause_for_writers();
		r = deadline_check(&acc->deadline);
		if (r == 0)
			r = take_once(h, c, NULL, acc, ret, ret_conflicts);
	}
	return r == 0 ? -EBUSY : MIN(r, 0);
}

int head_take(struct view *head, const struct head_change *c, struct access *acc, struct oid *ret,
	      uint64_t *ret_conflicts)
{
	struct head *h = head_of(head);
	int r;

	if (!head->is_head || !h->is_private)
		return -EINVAL;
	if (!acc->may_wait)
		return -EAGAIN;
	pthread_mutex_lock(&h->commit_lock);
	r = take(h, c, acc, ret, ret_conflicts);
	pthread_mutex_unlock(&h->commit_lock);
	return r;
}

/* On its branch, as far as is known, and not to go elsewhere? */
static bool is_settled(struct head *h)
{
	WITH_LOCK(&h->view.lock);

	return head_standing(h) == HEAD_ON_BRANCH;
}

/* 1: the head has it; 0: not now. */
static int take_published_once(struct head *h, const struct head_change *c,
			       const struct oid *target, struct access *acc)
{
	struct advancing a = { .head = h, .acc = acc };
	struct oid at;
	uint64_t conflicts = 0;
	int r = is_above(&a, target);

	/* The head has made a commit of its own since, which was or will be merged with that. */
	if (r <= 0)
		return r < 0 ? r : 1;
	if (!is_settled(h))
		return 0;
	if (!is_clean(h))
		return take_once(h, c, target, acc, &at, &conflicts);
	return oid_equal(&h->committed, target) ? 1 : follow_locked(h, target, true, acc);
}

static int take_published(struct head *h, const struct head_change *c, const struct oid *target,
			  struct access *acc)
{
	int r = pending_settle(h, acc);

	for (unsigned i = 0; r == 0 && i < TRIES_MAX && !h->is_removed; i++) {
		if (i > 0)
			pause_for_writers();
		r = deadline_check(&acc->deadline);
		if (r == 0)
			r = take_published_once(h, c, target, acc);
		/* A file that is open for writing keeps it, and was not just closed. */
		if (r == 0 && i > 0 && !was_changed(h))
			break;
	}
	return r == 0 && !h->is_removed ? -EBUSY : MIN(r, 0);
}

int head_take_published(struct view *head, const struct head_change *c, const struct oid *target,
			struct access *acc)
{
	struct head *h = head_of(head);
	int r;

	if (!head->is_head || h->is_private || head->store->read_only)
		return -EINVAL;
	if (!acc->may_wait)
		return -EAGAIN;
	pthread_mutex_lock(&h->commit_lock);
	r = take_published(h, c, target, acc);
	pthread_mutex_unlock(&h->commit_lock);
	return r;
}

int head_take_check(struct view *head, const struct head_change *c, struct access *acc,
		    uint64_t *ret_conflicts)
{
	struct head *h = head_of(head);
	_cleanup_(taking_release) struct taking t = { .a = { .head = h, .acc = acc } };
	int r;

	if (!head->is_head || !h->is_private)
		return -EINVAL;
	if (!acc->may_wait)
		return -EAGAIN;
	pthread_mutex_lock(&h->commit_lock);
	r = taking_init(&t, h, c, acc);
	if (r == 0)
		r = merge_conflicts(&t.options, NULL, NULL, ret_conflicts);
	pthread_mutex_unlock(&h->commit_lock);
	return r;
}
