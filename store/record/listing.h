/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What somebody has seen who listed a directory, as one digest (run/RUNS.md, section 3): of its
 * names, each with its type before it and a NUL behind it.
 *
 * Threads: the caller's; it waits for the backend.
 */
#pragma once

#include "base/digest.h"
#include "object/refs.h"
#include "tree/tree.h"

struct listing_id {
	uint8_t b[DIGEST_SIZE];
};

/* A directory of a commit. Errors of tree/tree.h. */
int listing_of_dir(struct node_source *source, const struct tree_root *dir, struct listing_id *ret);

/* /pfs: its repos, as they are now. Errors of object/refs.h, here and below. */
int listing_of_repos(struct refs *refs, const struct refs_wait *w, struct listing_id *ret);
/* A repo: its branches, then the names of its commits. */
int listing_of_repo(struct refs *refs, const struct id128 *repo, const struct refs_wait *w,
		    struct listing_id *ret);
