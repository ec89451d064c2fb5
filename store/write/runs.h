/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A content source as runs: stretches of new data, holes in whole blocks (FORMAT.md, section 8.3), and
 * single chunks that the store has.
 *
 * Threads: the builder's alone.
 */
#pragma once

#include "tree/tree.h"
#include "write/content.h"

enum run_kind {
	RUN_DATA, /* to be read */
	RUN_HOLE,
	RUN_STORED, /* a chunk of a content, from its start */
};

struct run {
	enum run_kind kind;
	uint64_t len;
	/* RUN_STORED */
	struct oid id;
	struct loc loc;
	bool is_base; /* of the tree that runs_base() names */
	uint64_t content_off; /* there */
	bool can_stay; /* it would be cut here just so if all were cut from scratch */
};

struct runs {
	struct content_source *src; /* borrowed */
	struct node_source *nodes; /* borrowed */
	bool has_base;
	struct content base; /* the first content of extents met: edited rather than rebuilt */
	uint64_t base_pos; /* as far as it has been kept: never back */
	/* Where the cursor is: in which tree, at which extent. */
	struct tree_cursor cursor;
	bool is_placed;
	struct oid tree;
	uint64_t extent_off;
	/* What next_hole() found last: none in [from, at). */
	uint64_t hole_from, hole_at;
};

int runs_init(struct runs *r, struct content_source *src, struct node_source *nodes);
void runs_release(struct runs *r);

/* Is the file one content from end to end? 1 and which, 0, -errno. */
int runs_whole(struct runs *r, struct content *ret);

/* Has the file a hole of a whole block or more? */
int runs_have_holes(struct runs *r, bool *ret);

/* The run that begins at @off < size, where a cut is. */
int runs_at(struct runs *r, uint64_t off, struct run *ret);

/* Where the data that @off is in ends: at the next hole, or the end. */
int runs_data_end(struct runs *r, uint64_t off, uint64_t *ret);

/* The content whose tree is edited, or NULL. */
const struct content *runs_base(const struct runs *r);
