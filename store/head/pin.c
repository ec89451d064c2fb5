/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Pins of one head or of all (head/pin.h): settle what was under way, freeze, store, land.
 *
 * A pin that was stored and has not landed is forgotten if the process dies: nobody was told of it,
 * and what it was made of is still in the frozen layers.
 *
 * Threads: who pins several heads holds the commit_lock of all of them from before the freeze until
 * each is stored, and takes them by ascending id. Nobody else waits for one while holding another.
 */
#include "head/pin.h"

#include <stdio.h>

#include "base/log.h"
#include "head/commit.h"

/* Heads to be pinned together. */
struct pinning {
	const struct pin_request *req; /* borrowed, as @acc */
	struct access *acc;
	struct head **heads; /* owned; by ascending id */
	size_t total;
	size_t count; /* those to be pinned come first; NULL: it is done, else its commit_lock is
		       * held */
	struct pinned *pinned; /* owned; what came of it */
	bool any_new;
};

static void set_committing(struct head *h, bool is)
{
	WITH_LOCK(&h->view.lock);

	h->is_committing = is;
}

static void hold(struct head *h)
{
	pthread_mutex_lock(&h->commit_lock);
	set_committing(h, true);
}

static void let_go(struct head *h)
{
	set_committing(h, false);
	pthread_mutex_unlock(&h->commit_lock);
}

static void pinning_release(struct pinning *p)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->heads[i])
			let_go(p->heads[i]);
	free(p->heads);
	free(p->pinned);
}
#define _cleanup_pinning_ _cleanup_(pinning_release)

static int add(struct pinning *p, struct head *h)
{
	struct head **heads = reallocarray(p->heads, p->total + 1, sizeof(struct head *));

	if (!heads)
		return -ENOMEM;
	p->heads = heads;
	heads[p->total++] = h;
	return 0;
}

static int store(struct pinning *p, struct head *h)
{
	const struct pin_request *req = p->req;
	_cleanup_free_ struct commit_meta *meta = new0(struct commit_meta, req->meta_count + 1);
	struct commit_request cr = {
		.message = req->message,
		.meta = meta,
		.meta_count = req->meta_count + 1,
		.cancelled = p->acc->deadline.cancelled,
	};
	const struct oid was = h->view.base.id;
	bool is_new;
	int r;

	if (!meta)
		return -ENOMEM;
	meta[0] = (struct commit_meta){ span_str(META_PIN), span_str("1") };
	for (size_t i = 0; i < req->meta_count; i++)
		meta[i + 1] = req->meta[i];
	r = head_store(h, &cr, true, p->acc, &is_new);
	if (r < 0)
		return log_errno(r, "%s/%s: what is uncommitted cannot be stored",
				 h->view.repo_name, h->branch_name);
	p->any_new |= !oid_equal(&was, &h->view.base.id);
	return 0;
}

static bool is_changed(struct head *h)
{
	WITH_LOCK(&h->view.lock);

	return has_changes(h);
}

/* Another mount may have removed it: nobody finds the head any more then. */
static int check_repo(struct head *h, struct access *acc, bool *ret_is_gone)
{
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct refs_wait w = { .may_wait = true, .deadline = acc->deadline };
	int r = refs_repo(h->view.store->refs, h->view.repo_name, &w, &rec);

	*ret_is_gone = r == -ENOENT || (r == 0 && !id128_equal(&rec.id, &h->view.repo));
	return *ret_is_gone ? 0 : r;
}

/* All that may take its time before the freeze. */
static int prepare(struct pinning *p, struct head *h, bool *ret_is_gone)
{
	bool is_dirty = is_changed(h);
	int r = 0;

	*ret_is_gone = h->is_removed;
	if (!*ret_is_gone && is_dirty && h->view.store->read_only)
		return -EROFS;
	if (!*ret_is_gone && is_dirty)
		r = check_repo(h, p->acc, ret_is_gone);
	if (r < 0 || *ret_is_gone)
		return r;
	r = pending_settle(h, p->acc);
	/* A branch's head that nobody has opened since the mount is as it was. */
	if (r == 0 && (is_dirty || h->is_private))
		r = head_load(h, p->acc);
	/* As many pins and commits have failed as can be kept apart. */
	if (r == 0 && h->frozen.count == FROZEN_MAX)
		r = store(p, h);
	return r;
}

/* What is gone is left out. */
static int prepare_all(struct pinning *p)
{
	for (size_t i = 0; i < p->total; i++) {
		struct head *h = p->heads[i];
		bool is_gone;
		int r;

		hold(h);
		p->heads[p->count++] = h;
		r = prepare(p, h, &is_gone);
		if (r < 0)
			return r;
		if (is_gone) {
			let_go(h);
			p->count--;
		}
	}
	return 0;
}

static void note(const struct head *h, struct pinned *ret)
{
	*ret = (struct pinned){
		.repo = h->view.repo,
		.branch = h->branch,
		.commit = h->view.base.id,
		.committed = h->committed,
	};
	snprintf(ret->repo_name, sizeof(ret->repo_name), "%s", h->view.repo_name);
	snprintf(ret->branch_name, sizeof(ret->branch_name), "%s", h->branch_name);
}

static int pin_all(struct pinning *p)
{
	int r;

	p->pinned = new0(struct pinned, p->total + 1);
	if (!p->pinned)
		return -ENOMEM;
	r = prepare_all(p);
	if (r == 0 && p->count > 0)
		r = heads_freeze(p->heads[0]->heads, p->heads, p->count, &p->acc->deadline);
	for (size_t i = 0; r == 0 && i < p->count; i++) {
		struct head *h = p->heads[i];

		r = h->frozen.count ? store(p, h) : 0;
		if (r < 0)
			break;
		note(h, &p->pinned[i]);
		let_go(h);
		p->heads[i] = NULL;
	}
	return r;
}

int heads_pin(struct heads *hs, const struct pin_request *req, struct access *acc,
	      struct pinned **ret, size_t *ret_count)
{
	_cleanup_pinning_ struct pinning p = { .req = req, .acc = acc };
	int r = acc->may_wait ? 0 : -EAGAIN;

	for (struct head *h = next_head(hs, NULL); r == 0 && h; h = next_head(hs, h))
		r = add(&p, h);
	if (r == 0)
		r = pin_all(&p);
	if (r < 0)
		return r;
	*ret_count = p.count;
	*ret = TAKE_PTR(p.pinned);
	return 0;
}

static int by_id(const void *a, const void *b)
{
	const struct head *x = *(struct head *const *)a, *y = *(struct head *const *)b;

	return (x->id > y->id) - (x->id < y->id);
}

int heads_pin_these(struct view *const *views, size_t n, const struct pin_request *req,
		    struct access *acc, struct pinned **ret)
{
	_cleanup_pinning_ struct pinning p = { .req = req, .acc = acc };
	int r = acc->may_wait ? 0 : -EAGAIN;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = add(&p, head_of(views[i]));
	if (r < 0)
		return r;
	if (n > 0)
		qsort(p.heads, n, sizeof(struct head *), by_id);
	r = pin_all(&p);
	if (r == 0 && p.count < n)
		r = log_fail(-ESTALE, "a branch is gone");
	if (r == 0)
		*ret = TAKE_PTR(p.pinned);
	return r;
}

int head_pin_locked(struct head *h, const struct pin_request *req, struct access *acc)
{
	struct pinning p = { .req = req, .acc = acc };
	bool is_gone;
	int r = prepare(&p, h, &is_gone);

	if (r == 0 && is_gone)
		r = -ESTALE;
	if (r == 0)
		r = head_freeze(h, &acc->deadline);
	return r == 0 && h->frozen.count ? store(&p, h) : r;
}

int head_pin(struct view *head, const struct pin_request *req, struct access *acc, struct oid *ret,
	     bool *ret_is_new)
{
	_cleanup_pinning_ struct pinning p = { .req = req, .acc = acc };
	int r = acc->may_wait ? add(&p, head_of(head)) : -EAGAIN;

	if (r == 0)
		r = pin_all(&p);
	if (r < 0)
		return r;
	if (p.count == 0)
		return log_fail(-ESTALE, "%s/%s: the branch is gone", head->repo_name,
				head_of(head)->branch_name);
	*ret = p.pinned[0].commit;
	*ret_is_new = p.any_new;
	return 0;
}

struct oid head_committed(struct view *head)
{
	WITH_LOCK(&head->lock);

	return head_of(head)->committed;
}
