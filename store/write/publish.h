/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From a snapshot in packs to a commit that everyone sees: the commit's object, its name, the
 * branch's swap (FORMAT.md, section 10.3).
 */
#pragma once

#include "object/refs.h"
#include "write/session.h"

struct publication {
	struct store *store; /* borrowed, as all below */
	struct id128 repo;
	const char *branch; /* NULL: no branch is moved */
	const char *name; /* NULL: unnamed */
	struct oid base; /* the branch's commit it was made from; null: none */
	uint64_t base_generation;
	const char *author, *message; /* NULL: the store's writer; none */
	const struct commit_meta *meta; /* besides what pfs adds itself ("pfs.branch"); any order */
	size_t meta_count;
	/* Told before the branch's swap, for a journal that outlives this process. */
	int (*note)(const struct refs_move *m, void *ctx);
	void *note_ctx;
	struct deadline deadline;
};

/*
 * Writes the commit of @snap (made by @s), names it, and moves the branch. 0 and the commit's id.
 *
 * With -ESTALE the branch is at another commit, @ret_id and the name stand all the same. With
 * -EINPROGRESS too; whether the branch has moved is not known.
 */
int publish(const struct publication *p, struct session *s, const struct snapshot *snap,
	    struct oid *ret_id);

/* Checks and sorts metadata into @ret (the array is the caller's to free): keys of 1 to 255 bytes
 * without '=' or control characters, values up to the limit, no key twice. 0 or -EINVAL, logged. */
int commit_meta_sort(const struct commit_meta *in, size_t n, struct commit_meta **ret);
