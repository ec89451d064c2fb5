/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The levels of a tree that is being written, from its entries in order or from whole subtrees.
 *
 * Each level has at most one open node; a node that ends goes to the sink and becomes an entry of
 * the level above. Whoever gives every entry gets the tree that FORMAT.md, section 7.2 says;
 * whoever gives a subtree whole must know that it would come out just so (see tree/edit.c).
 */
#pragma once

#include "tree/edit.h"

struct tree_key {
	uint8_t len;
	uint8_t b[FILE_NAME_MAX];
};

/* An entry of any level, borrowed for the call. */
struct tree_item {
	struct span bytes; /* canonical */
	struct span key; /* empty in extents trees */
	struct span cut_key; /* what boundary_after() hashes */
	struct tree_sum sum;
	struct entry_hint hint;
};

struct tree_level {
	struct buf canon; /* the open node, with its header */
	size_t size; /* of its entries; 0: no node is open */
	uint32_t count;
	struct tree_sum sum;
	struct entry_hint *hints; /* owned; count of them; inlined.data is set when the node ends */
	size_t hints_cap;
	struct buf inlined; /* what the hints have inline, one after another */
	struct tree_key first_key;
	uint64_t total; /* entries this level has ever had */
	struct tree_root only; /* level > 0: its first child ever */
};

struct tree_builder {
	enum tree_kind kind;
	struct node_sink *sink; /* borrowed */
	struct tree_key ended_key; /* scratch: of the node that ended last */
	struct buf child; /* scratch */
	struct tree_level levels[TREE_LEVELS];
};

void tree_builder_init(struct tree_builder *b, enum tree_kind kind, struct node_sink *sink);
void tree_builder_release(struct tree_builder *b);

/* The next entry of a leaf. 0, -EFBIG (too many levels), -ENOMEM, or the sink's error. */
int tree_builder_add(struct tree_builder *b, const struct tree_item *it);

/* The next node of @level, as a whole: at and below it no node may be open. Errors as above. */
int tree_builder_take(struct tree_builder *b, unsigned level, const struct child_rec *child);

/* Is no node open at @level or below? */
bool tree_builder_is_even(const struct tree_builder *b, unsigned level);

/* Would an entry of @size start a new node at @level, rather than go on with an open one? */
bool tree_builder_cuts_before(const struct tree_builder *b, unsigned level, size_t size);

/* Ends the open node of @level, where nothing is open below it. Errors as above. */
int tree_builder_end_node(struct tree_builder *b, unsigned level);

/*
 * Ends all that is open and says what the root is and its level. A root that came whole
 * (*@ret_is_whole) may have a single child, which then is the root in its stead: the caller's to
 * see to. Errors as above.
 */
int tree_builder_finish(struct tree_builder *b, struct tree_root *ret, unsigned *ret_level,
			bool *ret_is_whole);

static inline void tree_key_set(struct tree_key *k, struct span s)
{
	k->len = (uint8_t)s.len;
	if (s.len > 0)
		memcpy(k->b, s.data, k->len);
}

static inline struct span tree_key_span(const struct tree_key *k)
{
	return span_of(k->b, k->len);
}
