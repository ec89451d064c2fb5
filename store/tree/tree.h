/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading prolly trees: look-up, position, iteration.
 *
 * Trees know no store: nodes come from a source. Every child is held against what its parent says
 * of it, so a hostile tree can end a walk with -EBADMSG and do no more. Nothing recurses.
 */
#pragma once

#include "format/node.h"

struct node_source {
	/*
	 * The node @id of a tree of any kind, a reference of the caller's own. @hint may be wrong.
	 *
	 * Returns 0, -ENOENT (there is no such node: the store lacks it), -EBADMSG, -EAGAIN (not
	 * at hand, and this source does not wait), -EIO, -ETIME, -ECANCELED, -ENOMEM.
	 */
	int (*get)(struct node_source *s, const struct oid *id, const struct loc *hint,
		   struct node **ret);
};

/* A place in a tree: an entry, or the end. Holds references to the nodes above it. */
struct tree_cursor {
	struct node_source *source; /* borrowed */
	enum tree_kind kind;
	unsigned depth; /* levels in use; 0: an empty tree */
	bool is_end;
	struct {
		struct node *node;
		uint32_t i;
	} path[TREE_LEVELS]; /* [0] is the root, [depth - 1] the leaf */
};

/* A cursor that must not be used before one of the seeks has succeeded. */
void tree_cursor_init(struct tree_cursor *c, enum tree_kind kind, struct node_source *source);
void tree_cursor_release(struct tree_cursor *c);

/*
 * Seeks in the tree of @root: to the first entry whose key is not below @key; to the entry with
 * that ordinal; to the extent that holds the byte @off (@ret_start: where it begins). Past the
 * last entry the cursor is at the end, which is no error (@ret_start: the tree's length). 0, or an
 * error of the source's or -EBADMSG (then the cursor is at the end).
 *
 * Here and below a node that the source does not have is -EIO: -ENOENT is for names.
 *
 * A root's sum is held against its node, but for the items of an extents tree: no inode has them.
 */
int tree_seek_key(struct tree_cursor *c, const struct tree_root *root, struct span key);
int tree_seek_ordinal(struct tree_cursor *c, const struct tree_root *root, uint64_t ordinal);
int tree_seek_byte(struct tree_cursor *c, const struct tree_root *root, uint64_t off,
		   uint64_t *ret_start);

/* To the next entry, or the end. */
int tree_next(struct tree_cursor *c);

static inline const struct node *tree_leaf(const struct tree_cursor *c)
{
	return c->path[c->depth - 1].node;
}

static inline uint32_t tree_index(const struct tree_cursor *c)
{
	return c->path[c->depth - 1].i;
}

/*
 * Steps for walks that do not see every leaf (edit.c, diff.c): a cursor may then stand at an entry
 * above the leaves. tree_enter() goes to the first entry of the root's node, tree_down() to that of
 * the child it stands at, tree_up() back to the entry of the node it is in, tree_step() past its
 * entry, whatever the level. Errors as above.
 */
int tree_enter(struct tree_cursor *c, const struct tree_root *root);
int tree_down(struct tree_cursor *c);
void tree_up(struct tree_cursor *c);
void tree_step(struct tree_cursor *c);

/* The first key behind path[@depth - 1]'s entry and all that is below it; false when there is
 * none. Not for extents. */
bool tree_bound(const struct tree_cursor *c, unsigned depth, struct span *ret);

/*
 * One name of a directory tree, one record of a links tree. What they fill in borrows from
 * @ret_leaf, of which the caller gets a reference. 0, -ENOENT, or the source's errors.
 */
int dir_lookup(struct node_source *s, const struct tree_root *root, struct span name,
	       struct node **ret_leaf, struct dirent_rec *ret);
int links_lookup(struct node_source *s, const struct tree_root *root, const struct id128 *link,
		 struct node **ret_leaf, struct link_rec *ret);
