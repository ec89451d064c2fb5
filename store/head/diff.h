/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What differs between two directories of any two views: commits, heads, anything below them.
 *
 * Subtrees that are the same by id are passed over, so the cost is that of the differences. Times
 * do not count. A directory that only one side has comes alone, without what is below it.
 *
 * A head may change meanwhile; what comes out is then no single moment's.
 */
#pragma once

#include "format/inode.h"
#include "head/view.h"

enum diff_what {
	DIFF_ADDED = 'A', /* only in the second */
	DIFF_REMOVED = 'D', /* only in the first */
	DIFF_CONTENT = 'M', /* bytes, a symlink's target, a device's number */
	DIFF_TYPE = 'T',
	DIFF_ATTRS = 'P', /* mode, owner or extended attributes, and nothing else */
};

/* One side of a difference. */
struct diff_side {
	uint64_t ino;
	struct stat st;
	struct oid id; /* of the content or tree; null: uncommitted, or of a type without any */
};

struct diff_item {
	struct span path; /* relative to the two directories; borrowed */
	enum diff_what what;
	const struct diff_side *a, *b; /* NULL: that side has none */
};

typedef int (*diff_fn)(const struct diff_item *d, void *ctx);

/* Ascending by name within each directory, a directory before what is below it. A result of @fn
 * other than 0 ends it and is returned. Besides that 0 or the errors of view.h. */
int view_diff(struct vnode *a, struct vnode *b, struct access *acc, diff_fn fn, void *ctx);

/* The id that view_diff() tells of a file: of its content or tree; null: uncommitted, or of a type
 * without any. 0 or the errors of view.h. */
int view_content_id(struct vnode *n, struct access *acc, struct oid *ret);

/* What a file of a commit consists of, without inlined bytes (*@ret_is_inlined: that is all of it,
 * and verified). 0; -EINVAL: no regular file, or one of a head; or the errors of view.h. */
int view_stored_content(struct vnode *n, struct access *acc, struct content *ret,
			bool *ret_is_inlined);

/* May some file of the view have several names? */
bool view_has_links(struct view *v);
