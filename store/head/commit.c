/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Committing a head: settle what was under way, freeze, pack, store, name, land, join.
 *
 * Whatever fails after the freeze leaves the frozen layers where they are: nothing is lost, what
 * they say still shows, and the next commit takes them along. Once it has landed a commit has
 * succeeded: how it stands with the branch is told apart.
 */
#include "head/commit.h"

#include "base/log.h"
#include "head/base.h"
#include "index/index.h"
#include "write/publish.h"

enum {
	RESTARTS_MAX = 3, /* the collector may have moved meanwhile */
};

/* What is left to do when a commit has been acknowledged; heads_free() waits for it. */
struct aftermath {
	struct job job;
	struct heads *heads; /* borrowed */
	struct session *session; /* owned */
};

static void aftermath_run(struct job *j)
{
	struct aftermath *a = container_of(j, struct aftermath, job);
	struct deadline dl = deadline_in_ms(60 * 1000);
	struct heads *hs = a->heads;

	packer_tell_index(session_packer(a->session));
	session_free(a->session);
	/* A segment that is not published now is published after the next commit. */
	index_publish(hs->store->index, hs->store->backend, false, &dl);
	free(a);
	WITH_LOCK(&hs->lock);
	if (--hs->aftermaths == 0)
		pthread_cond_broadcast(&hs->settled);
}

static void aftermath(struct heads *hs, struct session *session)
{
	struct aftermath *a = new0(struct aftermath, 1);

	if (!a) {
		session_free(session);
		return;
	}
	*a = (struct aftermath){ .job.run = aftermath_run, .heads = hs, .session = session };
	pthread_mutex_lock(&hs->lock);
	hs->aftermaths++;
	pthread_mutex_unlock(&hs->lock);
	pool_submit(hs->store->uploads, &a->job);
}

/* What is stored: a commit or a pin. */
struct storing {
	const struct commit_request *req;
	bool is_pin;
};

static struct refs_wait patient(const struct access *acc)
{
	return (struct refs_wait){ .may_wait = true, .fresh = true, .deadline = acc->deadline };
}

/* The repo's record, for its chunking. */
static int repo_of(struct head *h, struct access *acc, struct repo_rec *ret)
{
	struct refs_wait w = patient(acc);

	w.fresh = false;
	return refs_repo(h->view.store->refs, h->view.repo_name, &w, ret);
}

static bool is_same_tree(const struct base *b, const struct snapshot *s)
{
	return !oid_is_null(&b->id) && inode_equal(&b->root, &s->root) &&
	       oid_equal(&b->commit.links.id, &s->links.id);
}

/* The committed base, if that is not the base. */
static int load_committed(struct head *h, struct access *acc, struct base *ret)
{
	_cleanup_buf_ struct buf object = { 0 };
	struct refs_wait w = patient(acc);
	int r;

	if (!is_pinned(h) || oid_is_null(&h->committed))
		return 0;
	w.fresh = false;
	r = refs_commit(h->view.store->refs, &h->view.repo, &h->committed, &w, &object);
	return r < 0 ? r : base_load(&h->committed, buf_span(&object), ret);
}

/* Stores the commit of what the session wrote, and takes it as far as the head's base. */
static int publish_snapshot(struct head *h, struct session *s, const struct snapshot *snap,
			    const struct base *committed, const struct storing *x,
			    struct access *acc)
{
	const struct commit_request *req = x->req;
	_cleanup_buf_ struct buf object = { 0 };
	struct publication p = {
		.store = h->view.store,
		.repo = h->view.repo,
		.branch = h->branch_name,
		.parents = &h->committed,
		.parent_count = !oid_is_null(&h->committed),
		.generation = committed->commit.generation + 1,
		.author = req->author,
		.message = req->message,
		.meta = req->meta,
		.meta_count = req->meta_count,
		.deadline = acc->deadline,
	};
	struct oid id;
	int r = publish(&p, s, snap, &id, &object);

	if (r == 0 && x->is_pin)
		return head_land_pin(h, &id, buf_span(&object), acc);
	if (r == 0)
		r = pending_begin(h, &id, req->name);
	return r < 0 ? r : pending_finish(h, true, buf_span(&object), acc);
}

/* Is that name the last commit's, whose maker was never told? */
static bool is_untold(struct head *h, const char *name)
{
	const struct pending *p = &h->pending;

	return name && p->state >= PENDING_LANDED && !p->is_answered && strcmp(p->name, name) == 0;
}

static int name_again(struct head *h, const struct oid *id, const struct commit_request *req,
		      struct access *acc)
{
	return refs_create_name(h->view.store->refs, &h->view.repo, req->name, id, &acc->deadline);
}

/* The committed base gets one more name. Who asks again after a kill is to be known. */
static int name_base(struct head *h, const struct commit_request *req, struct access *acc)
{
	int r;

	if (!req->name)
		return 0;
	if (is_untold(h, req->name) && oid_equal(&h->pending.commit, &h->committed))
		return name_again(h, &h->committed, req, acc);
	r = pending_name(h, req->name);
	if (r == 0)
		r = refs_create_name_once(h->view.store->refs, &h->view.repo, req->name,
					  &h->committed, &acc->deadline);
	return r == -EEXIST ? pending_name(h, "") ?: r : r;
}

/* Nothing that counts has changed since the commit @b: the frozen layers go. */
static int land_on(struct head *h, const struct base *b, const struct storing *x,
		   struct access *acc)
{
	const struct oid id = b->id;
	int r = name_base(h, x->req, acc);

	if (r < 0)
		return r;
	return (x->is_pin && !oid_equal(&id, &h->committed) ? head_land_pin : head_land)(
		h, &id, buf_span(&b->object), acc);
}

/* What base and frozen layers together are, in the store. */
static int snapshot_of(struct head *h, struct session *s, struct access *acc, struct snapshot *ret)
{
	const struct base *b = &h->view.base;

	if (h->frozen.count || oid_is_null(&b->id))
		return head_pack(h, s, acc, ret);
	*ret = (struct snapshot){ b->root, b->commit.links };
	return 0;
}

static int store_once(struct head *h, const struct repo_rec *repo, const struct storing *x,
		      struct access *acc, bool *ret_is_new)
{
	_cleanup_base_ struct base own = { 0 };
	const struct base *base = &h->view.base, *committed = is_pinned(h) ? &own : base;
	_cleanup_(session_freep) struct session *s = NULL;
	struct session_options so = { .store = h->view.store,
				      .chunk = repo->chunk,
				      .cancelled = x->req->cancelled };
	struct staging_stats st;
	struct snapshot snap;
	int r;

	staging_stats(h->heads->staging, &st);
	so.is_large = st.used > PACK_TARGET;
	r = load_committed(h, acc, &own);
	if (r == 0)
		r = session_new(&so, &s);
	if (r == 0)
		r = snapshot_of(h, s, acc, &snap);
	if (r < 0)
		return r;
	*ret_is_new = !is_same_tree(committed, &snap);
	if (!*ret_is_new)
		r = land_on(h, committed, x, acc);
	else if (x->is_pin && is_same_tree(base, &snap))
		r = land_on(h, base, x, acc);
	else
		r = publish_snapshot(h, s, &snap, committed, x, acc);
	if (r == 0)
		aftermath(h->heads, TAKE_PTR(s));
	return r;
}

int head_store(struct head *h, const struct commit_request *req, bool is_pin, struct access *acc,
	       bool *ret_is_new)
{
	const struct storing x = { req, is_pin };
	_cleanup_repo_rec_ struct repo_rec repo = { 0 };
	int r = repo_of(h, acc, &repo);

	for (unsigned i = 0; r == 0 && i < RESTARTS_MAX; i++) {
		r = store_once(h, &repo, &x, acc, ret_is_new);
		if (r != -ERESTART)
			return r;
		r = 0;
	}
	return r < 0 ? r
		     : log_fail(-EAGAIN, "%s/%s: the garbage collector was in the way; try again",
				h->view.repo_name, h->branch_name);
}

/* Is the name free, and the branch still there? */
static int check_refs(struct head *h, const struct commit_request *req, struct access *acc)
{
	struct refs *refs = h->view.store->refs;
	_cleanup_ref_ struct ref tip = { 0 }, there = { 0 }, branch = { 0 };
	struct refs_wait w = patient(acc);
	struct etag tag;
	int r;

	r = head_find_branch(h, &w, &tip);
	if (r == -ENOENT)
		return log_fail(r,
				"%s/%s: the branch was removed; what is uncommitted stays here, to "
				"be copied elsewhere",
				h->view.repo_name, h->branch_name);
	if (r < 0 || !req->name)
		return r;
	if (!object_name_is_valid(req->name))
		return log_fail(-EINVAL, "`%s` cannot be a commit's name", req->name);
	w.fresh = false;
	r = refs_get(refs, &h->view.repo, REF_NAME, req->name, &w, &there, &tag);
	if (r == -ENOENT)
		r = refs_get(refs, &h->view.repo, REF_BRANCH, req->name, &w, &branch, &tag);
	/* Killed between naming the base and landing on it: what is frozen says whether it is the
	 * same commit that is asked for again. */
	else if (r == 0 && is_untold(h, req->name) && oid_equal(&there.target, &h->committed))
		return 0;
	if (r == 0)
		return log_fail(-EEXIST, "%s has `%s` already", h->view.repo_name, req->name);
	return r == -ENOENT ? 0 : r;
}

/* The head may have followed its branch since. */
static bool is_asked_again(struct head *h, const struct commit_request *req)
{
	WITH_LOCK(&h->view.lock);

	return is_untold(h, req->name) && !is_uncommitted(h);
}

/* The snapshot, as far as the head's base. */
static int snapshot(struct head *h, const struct commit_request *req, struct access *acc,
		    bool *ret_is_new)
{
	const struct commit_request unnamed = { .cancelled = req->cancelled };
	int r = check_refs(h, req, acc);

	if (r == 0)
		r = head_freeze(h, &acc->deadline);
	if (r == -EXFULL) {
		/* As many have failed as can be kept apart: they are made up for first. */
		r = head_store(h, &unnamed, false, acc, ret_is_new);
		if (r == 0)
			r = head_freeze(h, &acc->deadline);
	}
	if (r < 0)
		return r;
	if (!h->frozen.count && !is_pinned(h) && !oid_is_null(&h->committed)) {
		*ret_is_new = false;
		return name_base(h, req, acc);
	}
	return head_store(h, req, false, acc, ret_is_new);
}

static int commit_locked(struct head *h, const struct commit_request *req, struct access *acc,
			 struct commit_result *ret)
{
	int r = pending_settle(h, acc);
	bool again;

	if (r < 0)
		return r;
	again = is_asked_again(h, req);
	ret->id = h->pending.commit;
	ret->is_new = again && !h->pending.is_old;
	r = again ? name_again(h, &ret->id, req, acc) : snapshot(h, req, acc, &ret->is_new);
	if (r < 0)
		return r;
	/* It stands, whatever comes of it now. */
	pending_join(h, MERGE_PREFER_NEITHER, acc, ret);
	WITH_LOCK(&h->view.lock);

	if (!again)
		ret->id = h->view.base.id;
	ret->standing = head_standing(h);
	h->pending.is_answered = true;
	return 0;
}

static void set_committing(struct head *h, bool is)
{
	WITH_LOCK(&h->view.lock);

	h->is_committing = is;
}

void heads_before_commits(struct heads *hs, void (*fn)(struct view *head, void *ctx), void *ctx)
{
	hs->before_commit = fn;
	hs->before_ctx = ctx;
}

int head_commit(struct view *head, const struct commit_request *req, struct access *acc,
		struct commit_result *ret)
{
	struct head *h = head_of(head);
	struct heads *hs = h->heads;
	int r;

	if (!head->is_head || head->store->read_only)
		return -EROFS;
	if (!acc->may_wait)
		return -EAGAIN;
	*ret = (struct commit_result){ 0 };
	if (hs->before_commit)
		hs->before_commit(head, hs->before_ctx);
	pthread_mutex_lock(&h->commit_lock);
	set_committing(h, true);
	r = commit_locked(h, req, acc, ret);
	set_committing(h, false);
	pthread_mutex_unlock(&h->commit_lock);
	/* What others have added meanwhile is seen at once, if nothing has been changed since. */
	if (r == 0) {
		head_follow(head, &ret->tip, acc);
		pending_answered(h);
	}
	return r;
}
