/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private heads (head/pin.h): made, found, and taken away again.
 *
 * They are in a list of their own, so nothing that goes by branches sees them. Unlike other heads
 * they come and go with runs: one that was discarded is freed by who has the last reference.
 *
 * Inode numbers are those of the branch, so that what a program has noted of files outside (git's
 * index, say) is true in the run as well. The two are different views, in which no vnode is shared.
 */
#include "base/log.h"
#include "head/base.h"
#include "head/commit.h"
#include "head/pin.h"

/* The branch whose numbers it has: as far as that is known, for it does no harm if not. */
static struct id128 numbers_of(struct heads *hs, const struct id128 *repo, const char *branch,
			       struct access *acc, const struct id128 *own)
{
	struct refs_wait w = { .may_wait = acc->may_wait, .deadline = acc->deadline };
	struct head *h = find_by_name(hs, repo, branch);
	_cleanup_ref_ struct ref ref = { 0 };

	if (h)
		return h->branch;
	return refs_get(hs->store->refs, repo, REF_BRANCH, branch, &w, &ref, NULL) < 0 ? *own
										       : ref.branch;
}

static void add_private(struct heads *hs, struct head *h)
{
	WITH_LOCK(&hs->lock);

	h->id = hs->counters.next_head++;
	list_append(&hs->privates, &h->link);
}

/* Out of the list; the list's reference is the caller's from then on. False: it was not in it. */
static bool take_private(struct heads *hs, struct head *h)
{
	WITH_LOCK(&hs->lock);

	list_for_each (x, &hs->privates, struct head, link) {
		if (x != h)
			continue;
		list_remove(&h->link);
		return true;
	}
	return false;
}

static int record(struct head *h)
{
	_cleanup_table_batch_ struct table_batch batch = { 0 };
	WITH_LOCK(&h->view.lock);

	head_put(h, h->top, &batch);
	return counters_apply(h->heads, &batch);
}

int heads_new_private(struct heads *hs, const struct id128 *repo, const char *repo_name,
		      const char *branch_name, const struct oid *base, struct span label,
		      struct access *acc, struct view **ret)
{
	struct head_rec rec = {
		.repo = *repo,
		.branch = id128_random(),
		.repo_name = span_str(repo_name),
		.branch_name = span_str(branch_name),
		.is_private = true,
		.label = label,
	};
	struct head *h;
	int r;

	if (label.len > HEAD_LABEL_MAX)
		return -EINVAL;
	if (!acc->may_wait)
		return -EAGAIN;
	rec.numbers = numbers_of(hs, repo, branch_name, acc, &rec.branch);
	r = head_new(hs, &rec, &h);
	if (r < 0)
		return r;
	h->view.base.id = h->committed = *base;
	r = head_load(h, acc);
	if (r < 0) {
		head_free(h);
		return r;
	}
	view_ref(&h->view);
	add_private(hs, h);
	r = record(h);
	if (r < 0) {
		take_private(hs, h);
		view_unref(&h->view);
		view_unref(&h->view);
		return r;
	}
	*ret = &h->view;
	return 0;
}

void head_fix(struct view *head)
{
	head_of(head)->is_fixed = true;
}

/* References to all there are. */
static int snapshot(struct heads *hs, struct head ***ret, size_t *ret_count)
{
	struct head **all;
	size_t n = 0;

	WITH_LOCK(&hs->lock);

	list_for_each (h, &hs->privates, struct head, link)
		n++;
	all = new0(struct head *, n + 1);
	if (!all)
		return -ENOMEM;
	n = 0;
	list_for_each (h, &hs->privates, struct head, link) {
		view_ref(&h->view);
		all[n++] = h;
	}
	*ret = all;
	*ret_count = n;
	return 0;
}

int heads_each_private(struct heads *hs, int (*fn)(struct view *head, struct span label, void *ctx),
		       void *ctx)
{
	_cleanup_free_ struct head **all = NULL;
	size_t n = 0;
	int r = snapshot(hs, &all, &n);

	for (size_t i = 0; i < n; i++) {
		if (r == 0 && !all[i]->is_removed)
			r = fn(&all[i]->view, span_of(all[i]->label, all[i]->label_len), ctx);
		view_unref(&all[i]->view);
	}
	return r;
}

static int is_changed(struct view *head, struct span label, void *ctx)
{
	const struct id128 *repo = ctx;

	if (!id128_equal(&head->repo, repo))
		return 0;
	WITH_LOCK(&head->lock);

	return is_uncommitted(head_of(head));
}

bool any_private_changed(struct heads *hs, const struct id128 *repo)
{
	struct id128 id = *repo;

	return heads_each_private(hs, is_changed, &id) != 0;
}

/* From here on nothing is changed in it. Its layers, which it does not have any more. */
static struct layers empty(struct head *h)
{
	struct layers l;
	WITH_WRLOCK(&h->gate);
	WITH_LOCK(&h->view.lock);

	l = head_layers(h);
	h->is_removed = true;
	h->top = 0;
	h->frozen = (struct layers){ 0 };
	return l;
}

/* The layers go with the head's own record, so that there never is one without the other. */
static int drop(struct head *h, const struct layers *layers)
{
	_cleanup_table_batch_ struct table_batch batch = { 0 };
	struct record_key k = key_head(h->id);

	for (unsigned i = 0; i < layers->count; i++)
		table_batch_drop(&batch, layers->id[i]);
	table_batch_delete(&batch, key_span(&k));
	return table_apply(h->heads->table, &batch);
}

static int discard(struct head *h)
{
	_cleanup_(staged_release) struct staged staged = { 0 };
	struct layers layers;
	int r;

	WITH_LOCK(&h->commit_lock);

	layers = empty(h);
	r = staged_collect(h->heads, &layers, &staged);
	if (r == 0)
		r = head_forget_rest(h);
	if (r == 0)
		r = drop(h, &layers);
	if (r == 0)
		staged_free(&staged, h->heads->staging);
	return r;
}

int head_discard(struct view *head)
{
	struct head *h = head_of(head);
	int r;

	if (!h->is_private)
		return -EINVAL;
	if (!take_private(h->heads, h))
		return -EALREADY;
	r = discard(h);
	if (r < 0)
		log_errno(r, "%s/%s: the records of a run's head stay until the next mount",
			  head->repo_name, h->branch_name);
	view_unref(head);
	return r;
}
