/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The last commit of a head on its way to the branch.
 *
 *	none --packed--> stored --named, landed--> landed --joined--> joined
 *	  ^                 '--name taken: withdrawn--> none            |
 *	  '---------------------- the next commit ----------------------'
 *
 * Each step can be taken again, so a process may die between any two: what is stored is named and
 * landed before the next commit, what has landed is brought onto the branch then or earlier. The
 * branch itself says whether that has happened. "joined" is kept until the next commit for who
 * asks once more for a name whose making was not acknowledged.
 *
 * Commits made while one before could not join have it among their ancestors, so only the last one
 * matters.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "format/key.h"
#include "head/commit.h"
#include "merge/join.h"

enum {
	JOIN_TIMEOUT_MS = 60 * 1000, /* with somebody waiting */
	REJOIN_TIMEOUT_MS = 10 * 60 * 1000,
	CLOSING_MS = 500,
};

enum head_standing head_standing(const struct head *h)
{
	if (h->pending.state != PENDING_LANDED)
		return HEAD_ON_BRANCH;
	return h->pending.is_diverged ? HEAD_DIVERGED : HEAD_PENDING;
}

void pending_put(const struct head *h, const struct pending *p, struct table_batch *batch)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct record_key k = key_pending(h->id);
	struct pending_rec rec = {
		.state = (uint8_t)p->state,
		.commit = p->commit,
		.fork = p->fork,
		.name = span_str(p->name),
		.is_old = p->is_old,
	};

	if (!p->state) {
		table_batch_delete(batch, key_span(&k));
		return;
	}
	pending_rec_put(&b, &rec);
	table_batch_put(batch, key_span(&k), buf_span(&b));
	batch->bytes.failed |= buf_failed(&b);
}

void pending_landed(struct head *h, struct pending *p)
{
	if (p->state == PENDING_STORED)
		p->state = PENDING_LANDED;
}

static int set(struct head *h, const struct pending *p)
{
	_cleanup_table_batch_ struct table_batch batch = { 0 };
	int r;

	WITH_LOCK(&h->view.lock);

	pending_put(h, p, &batch);
	r = table_apply(h->heads->table, &batch);
	if (r == 0)
		h->pending = *p;
	return r;
}

int pending_begin(struct head *h, const struct oid *id, const char *name)
{
	struct pending p = {
		.state = PENDING_STORED,
		.commit = *id,
		.fork = h->committed,
		.is_fork_sure = true,
	};
	int r;

	/* Somebody may have brought that one onto the branch, or will. */
	if (h->pending.state == PENDING_LANDED) {
		p.fork = h->pending.fork;
		p.is_fork_sure = false;
	}
	snprintf(p.name, sizeof(p.name), "%s", name ? name : "");
	r = set(h, &p);
	return r < 0 ? r : table_sync(h->heads->table);
}

int pending_name(struct head *h, const char *name)
{
	struct pending p = h->pending;
	int r;

	if (p.state != PENDING_LANDED)
		p = (struct pending){ .state = *name ? PENDING_JOINED : 0 };
	p.commit = h->committed;
	p.is_answered = false;
	p.is_old = true;
	snprintf(p.name, sizeof(p.name), "%s", name);
	r = set(h, &p);
	return r < 0 ? r : table_sync(h->heads->table);
}

void pending_answered(struct head *h)
{
	struct pending p;

	/* Where the next commit is under way already, it has taken the place of this one. */
	if (pthread_mutex_trylock(&h->commit_lock) != 0)
		return;
	p = h->pending;
	if (p.is_answered && p.name[0]) {
		p.name[0] = '\0';
		p.state = p.state == PENDING_JOINED ? 0 : p.state;
		set(h, &p);
	}
	pthread_mutex_unlock(&h->commit_lock);
}

/*
 * The commit got no name. What was before it is back; and if nobody can have found it by the name
 * meanwhile, its object goes, once it is certain that nothing asks for it any more.
 */
static int withdraw(struct head *h, bool may_be_known, const struct deadline *dl)
{
	struct backend *b = h->view.store->backend;
	const struct oid id = h->pending.commit;
	struct pending p = { 0 };
	int r;

	/* The head's base was not on the branch either. */
	if (!oid_equal(&h->pending.fork, &h->committed)) {
		p = h->pending;
		p.state = PENDING_LANDED;
		p.commit = h->committed;
		p.name[0] = '\0';
	}
	r = set(h, &p);
	if (r < 0 || may_be_known)
		return r;
	r = table_sync(h->heads->table);
	if (r == 0 && b->ops->remove(b, commit_key(&h->view.repo, &id).s, dl) == 0)
		refs_forget_commit(h->view.store->refs, &h->view.repo, &id);
	return r;
}

int pending_finish(struct head *h, bool is_first_try, struct span object, struct access *acc)
{
	struct refs *refs = h->view.store->refs;
	struct pending *p = &h->pending;
	bool may_be_known = false;
	int r = 0;

	if (p->name[0])
		r = refs_claim_name(refs, &h->view.repo, p->name, &p->commit, &acc->deadline,
				    &may_be_known);
	if (r == -EEXIST)
		return withdraw(h, may_be_known || !is_first_try, &acc->deadline) ?: -EEXIST;
	return r < 0 ? r : head_land(h, &p->commit, object, acc);
}

int pending_settle(struct head *h, struct access *acc)
{
	struct refs_wait w = { .may_wait = true, .deadline = acc->deadline };
	_cleanup_buf_ struct buf object = { 0 };
	int r;

	if (h->pending.state != PENDING_STORED)
		return 0;
	r = refs_commit(h->view.store->refs, &h->view.repo, &h->pending.commit, &w, &object);
	if (r == 0)
		r = note_all_lifted(h);
	if (r == 0)
		r = pending_finish(h, false, buf_span(&object), acc);
	/* Its maker was not told that it is there. */
	return r == -EEXIST ? 0 : r;
}

static struct joining joining_of(struct head *h, enum merge_prefer prefer, struct access *acc)
{
	struct deadline dl = deadline_in_ms(JOIN_TIMEOUT_MS);

	dl.at_ns = MIN(dl.at_ns, acc->deadline.at_ns);
	dl.cancelled = acc->deadline.cancelled;
	return (struct joining){
		.store = h->view.store,
		.repo = h->view.repo,
		.repo_name = h->view.repo_name,
		.branch = h->branch_name,
		.identity = &h->branch,
		.commit = h->committed,
		.base = h->pending.is_fork_sure ? &h->pending.fork : NULL,
		.unsure = &h->unsure,
		.prefer = prefer,
		.deadline = dl,
	};
}

static int note_joined(struct head *h)
{
	struct pending p = h->pending;

	p.state = p.name[0] && oid_equal(&p.commit, &h->committed) ? PENDING_JOINED : 0;
	p.is_diverged = false;
	return set(h, &p);
}

static void note_failed(struct head *h, int error, const struct joined *x)
{
	WITH_LOCK(&h->view.lock);

	h->pending.is_diverged = error == -ESTALE;
	h->pending.diverged_from = x->tip;
	/* It may be on the branch by now, or come to be. */
	if (error != -ESTALE)
		h->pending.is_fork_sure = false;
}

static bool is_left_over(struct head *h)
{
	WITH_LOCK(&h->view.lock);

	return h->is_left_over;
}

/* Says so once. */
static void note_left_over(struct head *h, bool is)
{
	WITH_LOCK(&h->view.lock);

	if (is && !h->is_left_over)
		log_warning("%s/%s: the branch was removed; what was committed to it here is kept, "
			    "as a commit of the repo",
			    h->view.repo_name, h->branch_name);
	h->is_left_over = is;
}

/* Finds out what the branch is called now. */
static int find_branch(struct head *h, struct access *acc)
{
	struct refs_wait w = { .may_wait = true, .deadline = acc->deadline };
	_cleanup_ref_ struct ref ref = { 0 };
	int r = head_find_branch(h, &w, &ref);

	if (r == -ENOENT) {
		w.fresh = true;
		r = head_find_branch(h, &w, &ref);
	}
	if (r == 0 || r == -ENOENT)
		note_left_over(h, r < 0);
	return r;
}

/* How a joining ended. */
static int note_ended(struct head *h, int error, const struct joined *x)
{
	bool was_diverged = h->pending.is_diverged;

	if (error == 0)
		return note_joined(h);
	note_failed(h, error, x);
	if (error == -ESTALE && !was_diverged)
		log_warning("%s/%s has diverged: %llu names were changed here and by another "
			    "mount; the commit is kept, and is not on the branch (see pfs "
			    "status)",
			    h->view.repo_name, h->branch_name, (unsigned long long)x->conflicts);
	else if (error != -ESTALE && !is_left_over(h))
		log_errno(error, "%s/%s: the commit is kept, but not on the branch yet",
			  h->view.repo_name, h->branch_name);
	return error;
}

int pending_join(struct head *h, enum merge_prefer prefer, struct access *acc,
		 struct commit_result *ret)
{
	struct joined x = { 0 };
	struct joining j;
	int r;

	if (h->pending.state != PENDING_LANDED)
		return 0;
	r = find_branch(h, acc);
	if (r == 0) {
		j = joining_of(h, prefer, acc);
		r = join_branch(&j, &x);
	}
	ret->tip = x.tip;
	ret->conflicts = x.conflicts;
	return note_ended(h, r, &x);
}

static void say(struct head *h, struct commit_result *ret)
{
	ret->id = h->committed;
	ret->standing = head_standing(h);
}

int head_merge(struct view *head, enum merge_prefer prefer, struct access *acc,
	       struct commit_result *ret)
{
	struct head *h = head_of(head);
	int r;

	if (!head->is_head || head->store->read_only)
		return -EROFS;
	*ret = (struct commit_result){ 0 };
	pthread_mutex_lock(&h->commit_lock);
	r = pending_settle(h, acc);
	if (r == 0)
		r = pending_join(h, prefer, acc, ret);
	say(h, ret);
	pthread_mutex_unlock(&h->commit_lock);
	if (r == 0)
		head_follow(head, &ret->tip, acc);
	return r == -ESTALE ? 0 : r;
}

int head_conflicts(struct view *head, merge_conflict_fn fn, void *ctx, struct access *acc,
		   struct commit_result *ret)
{
	struct head *h = head_of(head);
	_cleanup_free_ char *branch = NULL;
	struct joined x = { 0 };
	struct joining j;
	struct oid fork;
	int r;

	*ret = (struct commit_result){ 0 };
	pthread_mutex_lock(&h->commit_lock);
	say(h, ret);
	j = joining_of(h, MERGE_PREFER_NEITHER, acc);
	fork = h->pending.fork;
	branch = strdup(h->branch_name);
	r = h->pending.state == PENDING_LANDED;
	pthread_mutex_unlock(&h->commit_lock);
	if (!r)
		return 0;
	if (!branch)
		return -ENOMEM;
	/* Whoever is told may take his time. */
	j.branch = branch;
	j.base = j.base ? &fork : NULL;
	r = join_conflicts(&j, fn, ctx, &x);
	ret->tip = x.tip;
	ret->conflicts = x.conflicts;
	return r;
}

static bool is_on_its_way(struct head *h, const struct oid *target)
{
	WITH_LOCK(&h->view.lock);

	return !is_uncommitted(h) && h->writers > 0 && head_standing(h) == HEAD_ON_BRANCH &&
	       !oid_equal(&h->view.base.id, target);
}

/* As head_follow(), after whoever is at the head. */
static int follow_in_turn(struct head *h, const struct oid *target, struct access *acc)
{
	WITH_LOCK(&h->commit_lock);

	return oid_is_null(target) ? 0 : follow_locked(h, target, false, acc);
}

/* A file that was closed is let go of a moment later, and keeps the head where it is so long. */
static int follow_patiently(struct head *h, const struct oid *target, struct access *acc)
{
	struct deadline dl = deadline_in_ms(CLOSING_MS);
	const struct timespec step = { .tv_nsec = 5 * 1000 * 1000 };
	int r;

	while ((r = follow_in_turn(h, target, acc)) == 0 && is_on_its_way(h, target) &&
	       deadline_check(&dl) == 0)
		nanosleep(&step, NULL);
	return MIN(r, 0);
}

int head_sync(struct view *head, struct access *acc, struct commit_result *ret)
{
	struct head *h = head_of(head);
	struct refs_wait w = { .may_wait = true, .fresh = true, .deadline = acc->deadline };
	_cleanup_ref_ struct ref ref = { 0 };
	int r;

	pthread_mutex_lock(&h->commit_lock);
	r = head_find_branch(h, &w, &ref);
	pthread_mutex_unlock(&h->commit_lock);
	if (r < 0)
		return r;
	if (head->store->read_only)
		*ret = (struct commit_result){ .id = view_commit(head) };
	else
		r = head_merge(head, MERGE_PREFER_NEITHER, acc, ret);
	if (r < 0)
		return r;
	if (oid_is_null(&ret->tip))
		ret->tip = ref.target;
	return follow_patiently(h, &ret->tip, acc);
}

int heads_each(struct heads *hs, int (*fn)(struct view *head, void *ctx), void *ctx)
{
	int r = 0;

	for (struct head *h = next_head(hs, NULL); r == 0 && h; h = next_head(hs, h))
		if (!h->is_removed)
			r = fn(&h->view, ctx);
	return r;
}

/* As far as is known: has the branch moved since it was found to have diverged; is it back, if it
 * was found to be gone? */
static bool is_worth_a_try(struct head *h)
{
	_cleanup_ref_ struct ref ref = { 0 };
	struct refs_wait w = { .may_wait = false };
	struct etag tag;
	bool is_gone = is_left_over(h), is_there;

	if (!h->pending.is_diverged && !is_gone)
		return true;
	is_there = refs_get(h->view.store->refs, &h->view.repo, REF_BRANCH, h->branch_name, &w,
			    &ref, &tag) == 0 &&
		   id128_equal(&ref.branch, &h->branch);
	return is_there == is_gone ||
	       (is_there && !oid_equal(&ref.target, &h->pending.diverged_from));
}

/* A joining with all that it borrows from the head, which may go on meanwhile. */
struct rejoining {
	struct joining j;
	char *branch; /* owned */
	struct oid fork;
	struct unsure_merge unsure;
};

static void rejoining_release(struct rejoining *x)
{
	free(x->branch);
}

/* With commit_lock held: 1 if there is something to join. */
static int rejoin_begin(struct head *h, struct access *acc, struct rejoining *ret)
{
	int r = 0;

	if (h->pending.state == PENDING_STORED)
		r = pending_settle(h, acc);
	if (r < 0 || h->pending.state != PENDING_LANDED || !is_worth_a_try(h))
		return r;
	r = find_branch(h, acc);
	if (r < 0)
		return note_ended(h, r, &(struct joined){ 0 });
	ret->branch = strdup(h->branch_name);
	if (!ret->branch)
		return -ENOMEM;
	ret->j = joining_of(h, MERGE_PREFER_NEITHER, acc);
	ret->j.deadline = deadline_in_ms(REJOIN_TIMEOUT_MS);
	ret->j.deadline.cancelled = acc->deadline.cancelled;
	ret->j.branch = ret->branch;
	ret->fork = h->pending.fork;
	if (ret->j.base)
		ret->j.base = &ret->fork;
	ret->unsure = h->unsure;
	ret->j.unsure = &ret->unsure;
	return 1;
}

/* Likewise. What has been committed or joined since has its own say. */
static void rejoin_end(struct head *h, int error, const struct rejoining *x,
		       const struct joined *to)
{
	if (h->pending.state != PENDING_LANDED || !oid_equal(&h->view.base.id, &x->j.commit))
		return;
	h->unsure = x->unsure;
	note_ended(h, error, to);
}

static bool is_pending(struct head *h)
{
	return h->pending.state == PENDING_STORED ||
	       (head_standing(h) == HEAD_PENDING && !is_left_over(h));
}

bool head_rejoin(struct view *head, struct access *acc)
{
	struct head *h = head_of(head);
	_cleanup_(rejoining_release) struct rejoining x = { 0 };
	struct joined to = { 0 };
	bool is;
	int r;

	if (h->is_removed || pthread_mutex_trylock(&h->commit_lock) != 0)
		return false;
	r = rejoin_begin(h, acc, &x);
	is = is_pending(h);
	pthread_mutex_unlock(&h->commit_lock);
	if (r != 1)
		return is;
	r = join_branch(&x.j, &to);
	pthread_mutex_lock(&h->commit_lock);
	rejoin_end(h, r, &x, &to);
	is = is_pending(h);
	pthread_mutex_unlock(&h->commit_lock);
	if (r == 0 && !oid_is_null(&to.tip))
		head_follow(head, &to.tip, acc);
	return is;
}
