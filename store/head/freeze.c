/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Freezing a head: the one instant of a commit or a pin.
 *
 * Whoever moves staged bytes holds the gate shared, whoever changes names holds the view's lock;
 * with both taken, every operation is either below or above the line. Of several heads all are
 * taken, so that the line is one.
 */
#include "head/commit.h"

static void lock_all(struct head *const *heads, size_t n)
{
	for (size_t i = 0; i < n; i++)
		pthread_rwlock_wrlock(&heads[i]->gate);
	for (size_t i = 0; i < n; i++)
		pthread_mutex_lock(&heads[i]->view.lock);
}

static void unlock_all(struct head *const *heads, size_t n)
{
	for (size_t i = n; i-- > 0;)
		pthread_mutex_unlock(&heads[i]->view.lock);
	for (size_t i = n; i-- > 0;)
		pthread_rwlock_unlock(&heads[i]->gate);
}

/* Is the newest frozen layer the top, which it is while the record is on its way? */
static bool is_freezing(const struct head *h)
{
	return h->top && h->frozen.count && h->frozen.id[0] == h->top;
}

static void thaw(struct head *h)
{
	struct layers *f = &h->frozen;

	f->count--;
	memmove(f->id, f->id + 1, f->count * sizeof(f->id[0]));
}

static void frozen(struct head *h)
{
	h->top = 0;
	h->lifted_count = 0;
}

static int freeze_locked(struct heads *hs, struct head *const *heads, size_t n)
{
	_cleanup_table_batch_ struct table_batch batch = { 0 };
	bool any = false;
	int r;

	for (size_t i = 0; i < n; i++)
		if (heads[i]->frozen.count == FROZEN_MAX && top_has_changes(heads[i]))
			return -EXFULL;
	for (size_t i = 0; i < n; i++) {
		if (!top_has_changes(heads[i]))
			continue;
		heads[i]->frozen = head_layers(heads[i]);
		head_put(heads[i], 0, &batch);
		any = true;
	}
	r = any ? table_apply(hs->table, &batch) : 0;
	for (size_t i = 0; i < n; i++)
		if (is_freezing(heads[i]))
			(r < 0 ? thaw : frozen)(heads[i]);
	if (any && r == 0)
		staging_cut(hs->staging);
	return r;
}

int heads_freeze(struct heads *hs, struct head *const *heads, size_t n)
{
	int r;

	if (hs->opts.write_back)
		for (size_t i = 0; i < n; i++)
			hs->opts.write_back(&heads[i]->view, hs->opts.ctx);
	lock_all(heads, n);
	r = freeze_locked(hs, heads, n);
	unlock_all(heads, n);
	return r;
}

int head_freeze(struct head *h)
{
	return heads_freeze(h->heads, &h, 1);
}
