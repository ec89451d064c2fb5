/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Freezing a head: the one instant of a commit.
 *
 * Whoever moves staged bytes holds the gate shared, whoever changes names holds the view's lock;
 * with both taken, every operation is either below or above the line.
 */
#include "head/commit.h"

int head_freeze(struct head *h, const struct deadline *dl)
{
	struct heads *hs = h->heads;
	_cleanup_table_batch_ struct table_batch batch = { 0 };
	struct layers frozen;
	int r = hs->opts.write_back ? hs->opts.write_back(&h->view, dl, hs->opts.ctx) : 0;

	if (r < 0)
		return r;

	WITH_WRLOCK(&h->gate);
	WITH_LOCK(&h->view.lock);

	if (!h->top)
		return 0;
	if (h->frozen.count == FROZEN_MAX)
		return -EXFULL;
	frozen = h->frozen;
	h->frozen = head_layers(h);
	head_put(h, 0, &batch);
	r = table_apply(hs->table, &batch);
	if (r < 0) {
		h->frozen = frozen;
		return r;
	}
	h->top = 0;
	h->lifted_count = 0;
	staging_cut(hs->staging);
	return 0;
}
