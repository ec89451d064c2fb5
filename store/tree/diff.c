/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Differences of trees, of tree/diff.h.
 *
 * Two cursors go through their trees in the order of keys, each standing as high as it can. Where
 * they meet at the same key, the higher one goes down until both are on one level; equal entries of
 * any level are then passed over with all that is below them. A cursor whose key is behind the
 * other's goes down to the leaf, since it has what the other has not.
 */
#include "tree/diff.h"

struct tree_diff {
	struct tree_cursor a, b;
	bool a_is_done, b_is_done; /* with the entry the cursor stands at */
	int error;
};

int tree_diff_new(enum tree_kind kind, struct node_source *source, const struct tree_root *a,
		  const struct tree_root *b, struct tree_diff **ret)
{
	_cleanup_(tree_diff_freep) struct tree_diff *d = new0(struct tree_diff, 1);
	int r;

	if (!d)
		return -ENOMEM;
	tree_cursor_init(&d->a, kind, source);
	tree_cursor_init(&d->b, kind, source);
	if (!oid_equal(&a->id, &b->id)) {
		r = tree_enter(&d->a, a);
		if (r == 0)
			r = tree_enter(&d->b, b);
		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(d);
	return 0;
}

void tree_diff_free(struct tree_diff *d)
{
	if (!d)
		return;
	tree_cursor_release(&d->a);
	tree_cursor_release(&d->b);
	free(d);
}

static int compare_keys(const struct tree_diff *d)
{
	if (d->a.is_end || d->b.is_end)
		return d->b.is_end ? -1 : 1;
	return span_cmp(node_key(tree_leaf(&d->a), tree_index(&d->a)),
			node_key(tree_leaf(&d->b), tree_index(&d->b)));
}

static void pass(struct tree_cursor *c, bool *is_done)
{
	if (*is_done)
		tree_step(c);
	*is_done = false;
}

/* One step towards the next difference: 0, or 1 when the cursors stand at one, which is in the
 * trees whose is_done is set. */
static int step(struct tree_diff *d)
{
	int order = compare_keys(d);
	int a_level = order <= 0 ? tree_leaf(&d->a)->level : -1;
	int b_level = order >= 0 ? tree_leaf(&d->b)->level : -1;
	int r = 0;

	if (a_level == b_level &&
	    span_equal(node_entry_bytes(tree_leaf(&d->a), tree_index(&d->a)),
		       node_entry_bytes(tree_leaf(&d->b), tree_index(&d->b)))) {
		tree_step(&d->a);
		tree_step(&d->b);
		return 0;
	}
	if (a_level <= 0 && b_level <= 0) {
		d->a_is_done = a_level == 0;
		d->b_is_done = b_level == 0;
		return 1;
	}
	if (a_level >= b_level)
		r = tree_down(&d->a);
	if (r == 0 && b_level >= a_level)
		r = tree_down(&d->b);
	return r;
}

static struct tree_place place_of(const struct tree_cursor *c, bool has_it)
{
	return has_it ? (struct tree_place){ .leaf = tree_leaf(c), .i = tree_index(c) }
		      : (struct tree_place){ 0 };
}

int tree_diff_next(struct tree_diff *d, struct tree_place *ret_a, struct tree_place *ret_b)
{
	int r = d->error;

	pass(&d->a, &d->a_is_done);
	pass(&d->b, &d->b_is_done);
	while (r == 0) {
		if (d->a.is_end && d->b.is_end)
			return 0;
		r = step(d);
	}
	if (r < 0) {
		d->error = r;
		return r;
	}
	*ret_a = place_of(&d->a, d->a_is_done);
	*ret_b = place_of(&d->b, d->b_is_done);
	return 1;
}
