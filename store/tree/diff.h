/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What differs between two trees of one kind, without looking at what is equal: subtrees with the
 * same id are passed over whole.
 */
#pragma once

#include "tree/tree.h"

struct tree_diff; /* a pair of cursors that move together */

/* Directories and links. @a and @b are read at once and not borrowed. Errors here and below are as
 * in tree/tree.h; after one, a diff can only be freed. */
int tree_diff_new(enum tree_kind kind, struct node_source *source, const struct tree_root *a,
		  const struct tree_root *b, struct tree_diff **ret);
void tree_diff_free(struct tree_diff *d);
DEFINE_CLEANUP(struct tree_diff *, tree_diff_free)

/* The next key whose entries differ in what is hashed: where they are, NULL on the side that has
 * none. Valid until the next call. Returns 1, 0 at the end, -errno. */
struct tree_place {
	const struct node *leaf;
	uint32_t i;
};
int tree_diff_next(struct tree_diff *d, struct tree_place *ret_a, struct tree_place *ret_b);
