/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a head is and has, for those who ask.
 */
#include <stdio.h>

#include "head/commit.h"

enum {
	COUNTED_MAX = 100000, /* inodes: who has more need not know how many more */
};

void head_status_release(struct head_status *s)
{
	free(s->repo);
	free(s->branch);
	*s = (struct head_status){ 0 };
}

/* How many inodes a layer has records of, as far as @limit. */
static int count_inodes(struct head *h, uint32_t layer, uint64_t limit, uint64_t *ret)
{
	struct record_key prefix = key_prefix(layer, 'i'), from = prefix;
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 };
	uint64_t n = 0;
	int r = 0;

	while (n < limit && (r = table_next(h->heads->table, key_span(&prefix), key_span(&from),
					    &key, &value)) == 0) {
		uint64_t ino = key_u64_at(buf_span(&key), KEY_OBJECT);

		n++;
		if (ino == UINT64_MAX)
			break;
		from = key_inode(layer, ino + 1);
	}
	if (r < 0 && r != -ENOENT)
		return r;
	*ret = n;
	return 0;
}

static int count_changed(struct head *h, const struct layers *layers, uint64_t *ret)
{
	uint64_t sum = 0, n;

	for (unsigned i = 0; i < layers->count && sum < COUNTED_MAX; i++) {
		int r = count_inodes(h, layers->id[i], COUNTED_MAX - sum, &n);

		if (r < 0)
			return r;
		sum += n;
	}
	*ret = sum;
	return 0;
}

void head_activity(struct view *head, struct head_activity *ret)
{
	struct head *h = head_of(head);

	WITH_LOCK(&head->lock);

	snprintf(ret->repo, sizeof(ret->repo), "%s", head->repo_name);
	snprintf(ret->branch, sizeof(ret->branch), "%s", h->branch_name);
	ret->is_dirty = is_uncommitted(h);
	ret->writers = h->writers;
	ret->touched = h->touched;
}

/* The branch's last commit, without asking the store. */
static struct oid last_known_tip(struct head *h, const struct head_status *s)
{
	_cleanup_ref_ struct ref ref = { 0 };
	struct refs_wait w = { .may_wait = false };

	if (refs_get(h->view.store->refs, &h->view.repo, REF_BRANCH, s->branch, &w, &ref, NULL) < 0)
		return s->base;
	return ref.target;
}

int head_status(struct view *head, struct head_status *ret)
{
	_cleanup_(head_status_release) struct head_status s = { 0 };
	struct head *h = head_of(head);
	struct staging_stats st;
	struct layers layers;
	int r;

	pthread_mutex_lock(&head->lock);
	layers = head_layers(h);
	s.repo = strdup(head->repo_name);
	s.branch = strdup(h->branch_name);
	s.base = h->committed;
	s.is_committing = h->is_committing;
	s.is_dirty = is_uncommitted(h);
	s.standing = head_standing(h);
	pthread_mutex_unlock(&head->lock);
	if (!s.repo || !s.branch)
		return -ENOMEM;
	s.tip = last_known_tip(h, &s);
	s.is_behind = !oid_equal(&s.tip, &s.base);
	staging_stats(h->heads->staging, &st);
	s.staged_bytes = st.used;
	r = s.is_dirty ? count_changed(h, &layers, &s.changed) : 0;
	if (r < 0)
		return r;
	*ret = s;
	s = (struct head_status){ 0 };
	return 0;
}
