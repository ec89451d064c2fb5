/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What becomes of heads when their branches are renamed or removed, here or by another mount.
 *
 * A head belongs to a branch by the branch's identity; the name is only what it is called by.
 */
#include <stdio.h>

#include "base/log.h"
#include "head/commit.h"
#include "head/overlay.h"

struct head *find_by_name(struct heads *hs, const struct id128 *repo, const char *branch)
{
	WITH_LOCK(&hs->lock);

	list_for_each (h, &hs->heads, struct head, link)
		if (!h->is_removed && id128_equal(&h->view.repo, repo) &&
		    strcmp(h->branch_name, branch) == 0)
			return h;
	return NULL;
}

bool head_is_of(const struct view *head, const struct id128 *repo, const struct id128 *branch)
{
	return id128_equal(&head->repo, repo) &&
	       id128_equal(&container_of(head, const struct head, view)->branch, branch);
}

const struct id128 *head_branch(const struct view *head)
{
	return &container_of(head, struct head, view)->branch;
}

const struct id128 *head_repo(const struct view *head)
{
	return &head->repo;
}

static char *swap_name(struct head *h, char *name)
{
	char *former;
	WITH_LOCK(&h->heads->lock);

	former = h->branch_name;
	h->branch_name = name;
	return former;
}

int head_use_name(struct head *h, const char *name)
{
	struct heads *hs = h->heads;
	_cleanup_table_batch_ struct table_batch batch = { 0 };
	_cleanup_free_ char *fresh = strdup(name), *former = NULL;
	int r;

	if (!fresh)
		return -ENOMEM;
	WITH_LOCK(&h->view.lock);

	former = swap_name(h, TAKE_PTR(fresh));
	head_put(h, h->top, &batch);
	r = table_apply(hs->table, &batch);
	if (r < 0)
		fresh = swap_name(h, TAKE_PTR(former));
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

int head_find_branch(struct head *h, struct refs_wait *w, struct ref *ret)
{
	struct search s = { .head = h, .wait = w };
	struct refs *refs = h->view.store->refs;
	struct etag tag;
	int r;

	r = refs_get(refs, &h->view.repo, REF_BRANCH, h->branch_name, w, ret, &tag);
	if (r == 0 && id128_equal(&ret->branch, &h->branch))
		return 0;
	if (r == 0)
		ref_release(ret);
	else if (r != -ENOENT)
		return r;
	r = refs_list(refs, &h->view.repo, REF_BRANCH, w, try_name, &s);
	if (r < 0)
		return r;
	if (!s.found)
		return -ENOENT;
	return refs_get(refs, &h->view.repo, REF_BRANCH, h->branch_name, w, ret, &tag);
}

static bool has_name(struct head *h, const char *name)
{
	WITH_LOCK(&h->view.lock);

	return strcmp(h->branch_name, name) == 0;
}

void follow_name(struct head *h, const char *name)
{
	if (has_name(h, name) || pthread_mutex_trylock(&h->commit_lock) != 0)
		return;
	if (head_use_name(h, name) < 0)
		log_warning("%s/%s: its new name, %s, is not kept", h->view.repo_name,
			    h->branch_name, name);
	pthread_mutex_unlock(&h->commit_lock);
}

int heads_rename(struct heads *hs, const struct id128 *repo, const char *from, const char *to,
		 const struct deadline *dl)
{
	struct head *h = find_by_name(hs, repo, from);
	int r;

	if (!h)
		return refs_rename_branch(hs->store->refs, repo, from, to, dl);
	WITH_LOCK(&h->commit_lock);

	r = refs_rename_branch(hs->store->refs, repo, from, to, dl);
	return r < 0 ? r : head_use_name(h, to);
}

int get_left_over(struct head *h, struct view **ret)
{
	WITH_LOCK(&h->view.lock);

	if (!is_uncommitted(h))
		return -ENOENT;
	if (!h->is_left_over)
		log_warning("%s/%s: another mount has removed the branch; what is uncommitted in "
			    "it is still here, to be copied elsewhere",
			    h->view.repo_name, h->branch_name);
	h->is_left_over = true;
	*ret = view_ref(&h->view);
	return 0;
}

/* A head whose branch is gone, and its name another's. It gets one that no branch has. */
static void give_way(struct head *h)
{
	char name[OBJECT_NAME_MAX + 1];

	if (pthread_mutex_trylock(&h->commit_lock) != 0)
		return;
	left_name(h->branch_name, &h->branch, name);
	if (head_has_uncommitted(h))
		log_warning("%s/%s: another mount has removed the branch and made another one; "
			    "what is uncommitted in the former is at %s/%s, to be copied elsewhere",
			    h->view.repo_name, h->branch_name, h->view.repo_name, name);
	h->is_left_over = true;
	if (head_use_name(h, name) < 0)
		log_warning("%s/%s: this name is not kept", h->view.repo_name, name);
	pthread_mutex_unlock(&h->commit_lock);
}

void clear_name(struct heads *hs, const struct id128 *repo, const struct id128 *branch,
		const char *name)
{
	for (struct head *h = next_head(hs, NULL); h; h = next_head(hs, h))
		if (!h->is_removed && id128_equal(&h->view.repo, repo) &&
		    !id128_equal(&h->branch, branch) && has_name(h, name))
			give_way(h);
}

static int forget_prefix(struct heads *hs, char letter, uint32_t head)
{
	struct record_key prefix = key_prefix_head(letter, head);
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 };
	int r;

	while ((r = table_next(hs->table, key_span(&prefix), key_span(&prefix), &key, &value)) ==
	       0) {
		_cleanup_table_batch_ struct table_batch batch = { 0 };

		table_batch_delete(&batch, buf_span(&key));
		r = table_apply(hs->table, &batch);
		if (r < 0)
			return r;
	}
	return r == -ENOENT ? 0 : r;
}

/* Under the view's lock. 0: it is as good as gone: nobody changes it any more. */
static int remove_clean(struct head *h)
{
	if (is_uncommitted(h))
		return -ENOTEMPTY;
	h->is_removed = true;
	return 0;
}

static int set_removed(struct head *h, bool is_removed)
{
	WITH_LOCK(&h->view.lock);

	if (is_removed)
		return remove_clean(h);
	h->is_removed = false;
	return 0;
}

int head_forget_rest(struct head *h)
{
	static const char letters[] = { 'n', 'N', 'L', 'z', 'p' };
	int r = 0;

	WITH_LOCK(&h->view.lock);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(letters); i++)
		r = forget_prefix(h->heads, letters[i], h->id);
	return r;
}

static int forget(struct head *h)
{
	int r = head_forget_rest(h);

	return r < 0 ? r : forget_prefix(h->heads, 'h', h->id);
}

int heads_remove(struct heads *hs, const struct id128 *repo, const char *branch,
		 const struct deadline *dl)
{
	struct head *h = find_by_name(hs, repo, branch);
	int r = h ? set_removed(h, true) : 0;

	if (r < 0)
		return r;
	r = refs_remove_branch(hs->store->refs, repo, branch, dl);
	if (!h)
		return r;
	if (r < 0) {
		set_removed(h, false);
		return r;
	}
	return forget(h);
}

struct head *next_head(struct heads *hs, const struct head *h)
{
	const struct list *at = h ? &h->link : &hs->heads;
	WITH_LOCK(&hs->lock);

	return at->next == &hs->heads ? NULL : container_of(at->next, struct head, link);
}

static int leave(struct head *h, const void *with)
{
	int r;

	WITH_LOCK(&h->view.lock);

	if (h->is_removed)
		return 0;
	r = remove_clean(h);
	if (r == 0)
		h->leaving_with = with;
	return r;
}

/* Was it this removal that it was leaving with? With @is_back it stays. */
static bool end_leaving(struct head *h, const void *with, bool is_back)
{
	WITH_LOCK(&h->view.lock);

	if (h->leaving_with != with)
		return false;
	h->leaving_with = NULL;
	if (is_back)
		h->is_removed = false;
	return true;
}

int heads_remove_repo(struct heads *hs, const struct id128 *repo, const char *name,
		      const struct deadline *dl)
{
	int r = any_private_changed(hs, repo) ? -ENOTEMPTY : 0;
	const void *us = &r; /* another may be under way */

	for (struct head *h = next_head(hs, NULL); h && r == 0; h = next_head(hs, h))
		if (id128_equal(&h->view.repo, repo))
			r = leave(h, us);
	if (r == 0)
		r = refs_remove_repo(hs->store->refs, name, dl);
	for (struct head *h = next_head(hs, NULL); h; h = next_head(hs, h))
		if (end_leaving(h, us, r < 0) && r == 0 && forget(h) < 0)
			log_warning("%s/%s: its records stay", h->view.repo_name, h->branch_name);
	return r;
}
