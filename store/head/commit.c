/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Committing a head: settle what was under way, freeze, pack, publish, land.
 *
 * Whatever fails after the freeze leaves the frozen layers where they are: nothing is lost, what
 * they say still shows, and the next commit takes them along.
 */
#include "head/commit.h"

#include "base/log.h"
#include "index/index.h"

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
	pool_submit(hs->store->pool, &a->job);
}

static int note_move(const struct refs_move *m, void *ctx)
{
	struct head *h = ctx;
	_cleanup_table_batch_ struct table_batch batch = { 0 };
	struct record_key k = key_pending(h->id);
	_cleanup_buf_ struct buf b = { 0 };
	int r;

	pending_rec_put(&b, m);
	table_batch_put(&batch, key_span(&k), buf_span(&b));
	if (buf_failed(&b))
		return -ENOMEM;
	r = table_apply(h->heads->table, &batch);
	return r < 0 ? r : table_sync(h->heads->table);
}

static int forget_move(struct head *h)
{
	_cleanup_table_batch_ struct table_batch batch = { 0 };
	struct record_key k = key_pending(h->id);

	table_batch_delete(&batch, key_span(&k));
	return table_apply(h->heads->table, &batch);
}

static struct refs_wait patient(const struct access *acc)
{
	return (struct refs_wait){ .may_wait = true, .fresh = true, .deadline = acc->deadline };
}

int head_settle(struct head *h, struct access *acc)
{
	struct refs *refs = h->view.store->refs;
	struct record_key k = key_pending(h->id);
	_cleanup_buf_ struct buf raw = { 0 }, object = { 0 };
	struct refs_wait w = patient(acc);
	struct refs_move m;
	struct oid now;
	int r;

	r = table_get(h->heads->table, key_span(&k), &raw);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = pending_rec_read(buf_span(&raw), &m);
	if (r < 0)
		return r;
	/* Its commit stands; that the branch be moved to it was asked for. */
	r = refs_move_branch(refs, &h->view.repo, h->branch_name, &m.from, &m.to, NULL, NULL,
			     &acc->deadline, &now);
	if (r == -ESTALE || r == -ENOENT)
		return forget_move(h);
	if (r < 0)
		return r;
	r = refs_commit(refs, &h->view.repo, &m.to, &w, &object);
	if (r == 0)
		r = note_all_lifted(h);
	return r < 0 ? r : head_land(h, &m.to, buf_span(&object), acc);
}

/* The repo's record, for its chunking. */
static int repo_of(struct head *h, struct access *acc, struct repo_rec *ret)
{
	struct refs_wait w = patient(acc);

	w.fresh = false;
	return refs_repo(h->view.store->refs, h->view.repo_name, &w, ret);
}

static bool is_same_tree(struct head *h, const struct snapshot *s)
{
	const struct base *b = &h->view.base;

	return !oid_is_null(&b->id) && inode_equal(&b->root, &s->root) &&
	       oid_equal(&b->commit.links.id, &s->links.id);
}

/* Publishes what the session wrote: 0 and the id, and whether it is a new commit. */
static int publish_snapshot(struct head *h, struct session *s, const struct snapshot *snap,
			    const struct commit_request *req, struct access *acc,
			    struct oid *ret_id, bool *ret_is_new)
{
	struct store *store = h->view.store;
	struct refs_wait w = patient(acc);
	_cleanup_buf_ struct buf object = { 0 };
	struct publication p = {
		.store = store,
		.repo = h->view.repo,
		.branch = h->branch_name,
		.name = req->name,
		.base = h->view.base.id,
		.base_generation = h->view.base.commit.generation,
		.author = req->author,
		.message = req->message,
		.meta = req->meta,
		.meta_count = req->meta_count,
		.note = note_move,
		.note_ctx = h,
		.deadline = acc->deadline,
	};
	struct oid id = p.base;
	bool is_new = !is_same_tree(h, snap);
	int r = 0;

	if (is_new)
		r = publish(&p, s, snap, &id);
	else if (req->name)
		r = refs_create_name(store->refs, &p.repo, req->name, &id, &acc->deadline);
	if (r == -ESTALE) {
		forget_move(h);
		return log_fail(-EBUSY,
				"%s/%s: the branch was moved by another mount meanwhile; the "
				"snapshot is kept as a commit, but not on the branch",
				h->view.repo_name, h->branch_name);
	}
	if (r == 0)
		r = refs_commit(store->refs, &p.repo, &id, &w, &object);
	if (r == 0)
		r = head_land(h, &id, buf_span(&object), acc);
	if (r < 0)
		return r;
	*ret_id = id;
	*ret_is_new = is_new;
	return 0;
}

static int commit_frozen(struct head *h, const struct commit_request *req, struct access *acc,
			 struct oid *ret_id, bool *ret_is_new)
{
	_cleanup_repo_rec_ struct repo_rec repo = { 0 };
	_cleanup_(session_freep) struct session *s = NULL;
	struct session_options so = { .store = h->view.store, .cancelled = req->cancelled };
	struct staging_stats st;
	struct snapshot snap;
	int r;

	r = repo_of(h, acc, &repo);
	if (r < 0)
		return r;
	staging_stats(h->heads->staging, &st);
	so.chunk = repo.chunk;
	so.is_large = st.used > PACK_TARGET;
	r = session_new(&so, &s);
	if (r == 0)
		r = head_pack(h, s, acc, &snap);
	if (r == 0)
		r = publish_snapshot(h, s, &snap, req, acc, ret_id, ret_is_new);
	if (r == 0)
		aftermath(h->heads, TAKE_PTR(s));
	return r;
}

/* Looking for a branch by its identity. */
struct search {
	struct head *head;
	struct refs_wait *wait;
	bool found;
};

static int try_name(const char *name, void *ctx)
{
	struct search *s = ctx;
	_cleanup_ref_ struct ref ref = { 0 };
	struct etag tag;
	int r = refs_get(s->head->view.store->refs, &s->head->view.repo, REF_BRANCH, name, s->wait,
			 &ref, &tag);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (!id128_equal(&ref.branch, &s->head->branch))
		return 0;
	s->found = true;
	r = head_use_name(s->head, name);
	return r < 0 ? r : 1;
}

/* The branch as it is now, under another name if another mount has renamed it. */
static int find_branch(struct head *h, struct refs_wait *w, struct ref *ret)
{
	struct search s = { .head = h, .wait = w };
	struct refs *refs = h->view.store->refs;
	struct etag tag;
	int r;

	r = refs_get(refs, &h->view.repo, REF_BRANCH, h->branch_name, w, ret, &tag);
	if (r == 0 && id128_equal(&ret->branch, &h->branch))
		return 0;
	if (r < 0 && r != -ENOENT)
		return r;
	r = refs_list(refs, &h->view.repo, REF_BRANCH, w, try_name, &s);
	if (r < 0)
		return r;
	if (!s.found)
		return log_fail(-ENOENT,
				"%s/%s: the branch was removed; what is uncommitted stays here, to "
				"be copied elsewhere",
				h->view.repo_name, h->branch_name);
	ref_release(ret);
	return refs_get(refs, &h->view.repo, REF_BRANCH, h->branch_name, w, ret, &tag);
}

/* Is the name free, and the branch where the head thinks it is? */
static int check_refs(struct head *h, const struct commit_request *req, struct access *acc)
{
	struct refs *refs = h->view.store->refs;
	_cleanup_ref_ struct ref tip = { 0 }, there = { 0 }, branch = { 0 };
	struct refs_wait w = patient(acc);
	struct etag tag;
	int r;

	r = find_branch(h, &w, &tip);
	if (r < 0)
		return r;
	if (!oid_equal(&tip.target, &h->view.base.id))
		return log_fail(-EBUSY,
				"%s/%s is behind: the branch has moved on to another mount's "
				"commit, and merging is not there yet; what is uncommitted "
				"stays as it is",
				h->view.repo_name, h->branch_name);
	if (!req->name)
		return 0;
	if (!object_name_is_valid(req->name))
		return log_fail(-EINVAL, "`%s` cannot be a commit's name", req->name);
	w.fresh = false;
	r = refs_get(refs, &h->view.repo, REF_NAME, req->name, &w, &there, &tag);
	if (r == -ENOENT)
		r = refs_get(refs, &h->view.repo, REF_BRANCH, req->name, &w, &branch, &tag);
	if (r == 0)
		return log_fail(-EEXIST, "%s has `%s` already", h->view.repo_name, req->name);
	return r == -ENOENT ? 0 : r;
}

static int name_base(struct head *h, const struct commit_request *req, struct access *acc,
		     struct oid *ret_id)
{
	int r = 0;

	if (req->name)
		r = refs_create_name(h->view.store->refs, &h->view.repo, req->name,
				     &h->view.base.id, &acc->deadline);
	*ret_id = h->view.base.id;
	return r;
}

static int commit_locked(struct head *h, const struct commit_request *req, struct access *acc,
			 struct oid *ret_id, bool *ret_is_new)
{
	const struct commit_request unnamed = { .cancelled = req->cancelled };
	int r;

	r = head_settle(h, acc);
	if (r == 0)
		r = check_refs(h, req, acc);
	if (r == 0)
		r = head_freeze(h);
	if (r == -EXFULL) {
		/* As many have failed as can be kept apart: they are made up for first. */
		r = commit_frozen(h, &unnamed, acc, ret_id, ret_is_new);
		if (r == 0)
			r = head_freeze(h);
	}
	if (r < 0)
		return r;
	if (!h->frozen.count && !oid_is_null(&h->view.base.id)) {
		*ret_is_new = false;
		return name_base(h, req, acc, ret_id);
	}
	return commit_frozen(h, req, acc, ret_id, ret_is_new);
}

static void set_committing(struct head *h, bool is)
{
	WITH_LOCK(&h->view.lock);

	h->is_committing = is;
}

int head_commit(struct view *head, const struct commit_request *req, struct access *acc,
		struct oid *ret_id, bool *ret_is_new)
{
	struct head *h = head_of(head);
	int r;

	if (!head->is_head || head->store->read_only)
		return -EROFS;
	if (!acc->may_wait)
		return -EAGAIN;
	WITH_LOCK(&h->commit_lock);

	set_committing(h, true);
	r = commit_locked(h, req, acc, ret_id, ret_is_new);
	set_committing(h, false);
	return r;
}
