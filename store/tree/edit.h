/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Making a tree from another one and a stream of changes in order, or from nothing.
 *
 * Whatever the changes and their history, the result is what a bulk build of the final entries
 * gives: nodes are built anew from a change until a new boundary meets an old one, and whole
 * subtrees are taken over from there on. Memory is one open node a level.
 *
 * An editor belongs to one thread. After an error it can only be freed.
 *
 * Errors: the source's and the sink's, a node that the source does not have being -EIO; -EBADMSG,
 * the base is damaged; -EINVAL, a key is not above the last one, or a record breaks a rule of the
 * format, so that nobody could read it again; -EFBIG, the tree has too many levels; -ENOMEM.
 */
#pragma once

#include "tree/tree.h"

struct node_sink {
	/*
	 * Stores a node: its canonical part and a hint for each of its @n entries (whose locs may
	 * be LOC_PENDING tickets of this sink's). Returns 0 with the id and where it lies or will
	 * lie, or -errno. Storing what the store has already is the sink's to notice.
	 */
	int (*put)(struct node_sink *s, struct span canon, const struct entry_hint *hints,
		   uint32_t n, struct oid *ret_id, struct loc *ret_loc);
};

struct tree_edit;

/* @base may be NULL: from nothing. @source and @sink are borrowed until the editor is freed. */
int tree_edit_new(enum tree_kind kind, struct node_source *source, struct node_sink *sink,
		  const struct tree_root *base, struct tree_edit **ret);
void tree_edit_free(struct tree_edit *e);
DEFINE_CLEANUP(struct tree_edit *, tree_edit_free)

/*
 * Directories and links: each call's key is above the last one's. Entries of the base between
 * them are kept. Removing what is not there is no error. Nothing is borrowed after the call.
 */
int dir_edit_put(struct tree_edit *e, const struct dirent_rec *d);
int dir_edit_remove(struct tree_edit *e, struct span name);
int links_edit_put(struct tree_edit *e, const struct link_rec *l);
int links_edit_remove(struct tree_edit *e, const struct id128 *link);

/*
 * Extents: the base is read from its start; each call says what comes next in the result. keep
 * and skip take @len bytes of the base that must end where an extent ends (-EINVAL if not; since
 * keeps in a row are one, it may come from the call after the last of them). Holes that come to
 * lie side by side become one. What is neither kept nor skipped by the end is dropped.
 */
int extents_edit_keep(struct tree_edit *e, uint64_t len);
int extents_edit_skip(struct tree_edit *e, uint64_t len);
int extents_edit_put(struct tree_edit *e, const struct extent_rec *x);

/* The result; for directories and links after keeping the rest of the base. An extents tree that
 * was kept as it was has the base's sum, as it was given. */
int tree_edit_finish(struct tree_edit *e, struct tree_root *ret);
