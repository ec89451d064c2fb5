/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A content source as runs: stretches of new data, holes in whole blocks (FORMAT.md, section 8.3),
 * and single chunks that the store has.
 *
 * Threads: the builder's alone.
 */
#pragma once

#include "tree/tree.h"
#include "write/content.h"

enum run_kind {
	RUN_DATA, /* to be read and cut: as far as runs_data() says */
	RUN_HOLE,
	RUN_STORED, /* a chunk of a content, which would be cut just so if all were cut from scratch
		     */
};

struct run {
	enum run_kind kind;
	uint64_t len; /* of a hole, or of what is stored */
	/* RUN_STORED */
	struct oid id;
	struct loc loc;
	/* Of the tree that runs_settle_base() names: then it may be several chunks, id and loc
	 * being the first one's. */
	bool is_base;
	uint64_t content_off; /* there */
};

struct runs {
	struct content_source *src; /* borrowed */
	struct node_source *nodes; /* borrowed */
	struct chunk_params params;
	bool has_base, is_settled; /* is_settled: there will be no other base */
	struct content base; /* of extents: edited rather than rebuilt */
	uint64_t base_pos; /* as far as it has been kept: never back */
	/* Where the cursor is: in which tree, at which extent. */
	struct tree_cursor cursor;
	bool is_placed;
	struct oid tree;
	uint64_t extent_off;
};

void runs_init(struct runs *r, struct content_source *src, struct node_source *nodes,
	       const struct chunk_params *params);
void runs_release(struct runs *r);

/* Is the file one content from end to end? 1 and which, 0, -errno. */
int runs_whole(struct runs *r, struct content *ret);

/* The run that begins at @off < size, where a cut is. */
int runs_at(struct runs *r, uint64_t off, struct run *ret);

/* How much data there is from @off on, up to @max bytes, and no further is looked; less when a hole
 * of a whole block or the file's end comes before. */
int runs_data(struct runs *r, uint64_t off, uint64_t max, uint64_t *ret);

/* The content whose tree is edited, or NULL, from here on. */
const struct content *runs_settle_base(struct runs *r);
