/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Any bytes as a node: an item of a frame whose id fits. Nothing may crash, and what is accepted
 * must be the only way to write what it says.
 */
#include "format/node.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_again(struct buf *b, const struct node *n, uint32_t i)
{
	struct dirent_rec d;
	struct link_rec l;
	struct extent_rec x;
	struct child_rec c;

	if (n->level > 0) {
		node_child(n, i, &c);
		child_put(b, n->kind, &c);
	} else if (n->kind == TREE_DIR) {
		node_dirent(n, i, &d);
		dirent_put(b, &d);
	} else if (n->kind == TREE_LINKS) {
		node_link(n, i, &l);
		link_put(b, &l);
	} else {
		node_extent(n, i, &x);
		extent_put(b, &x);
	}
}

static void look_at(const struct node *n, struct span canon)
{
	_cleanup_buf_ struct buf b = { 0 }, hints = { 0 };
	_cleanup_free_ struct entry_hint *h = new0(struct entry_hint, n->count);
	struct tree_sum sum = { 0 };

	node_canon_begin(&b, n->kind, n->level);
	for (uint32_t i = 0; i < n->count; i++) {
		bool is_equal;

		put_again(&b, n, i);
		node_entry_hint(n, i, &h[i]);
		sum = tree_sum_add(sum, node_entry_sum(n, i));
		if (n->kind != TREE_EXTENTS &&
		    (node_search(n, node_key(n, i), &is_equal) != i || !is_equal))
			abort();
		if (node_check_child(n, i, n) == 0)
			abort();
	}
	node_canon_end(&b, n->count);
	if (!span_equal(buf_span(&b), canon) || !tree_sum_equal(&sum, &n->sum))
		abort();
	hint_put(&hints, h, n->count);
	if (hints.len > 0 && hint_read(buf_span(&hints), h, n->count) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor c = cursor_of(span_of(data, size));
	struct span canon = rd_bytes(&c, rd_u32(&c));
	struct span hint = rd_bytes(&c, cursor_left(&c));
	struct node *n;

	if (cursor_failed(&c) || node_of_canon(canon, hint, &n) < 0)
		return 0;
	look_at(n, canon);
	node_unref(n);
	return 0;
}
