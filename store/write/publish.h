/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From a snapshot in packs to a commit: its object (FORMAT.md, section 10.3). What names it and
 * brings it onto a branch comes after (object/refs.h, merge/join.h).
 */
#pragma once

#include "object/refs.h"
#include "write/session.h"

struct publication {
	struct store *store; /* borrowed, as all below */
	struct id128 repo;
	const char *branch; /* that it is made for; NULL: none */
	const struct oid *parents;
	unsigned parent_count;
	uint64_t generation;
	const char *author, *message; /* NULL: the store's writer; none */
	const struct commit_meta *meta; /* besides what pfs adds itself ("pfs.branch"); any order */
	size_t meta_count;
	struct deadline deadline;
};

/* Writes the commit of @snap (made by @s): it is durable when 0 is returned, with its id and
 * object. -ERESTART: the collector has taken what it relies on, make it anew; -EINVAL: more
 * than a commit can carry (logged); or the backend's errors. */
int publish(const struct publication *p, struct session *s, const struct snapshot *snap,
	    struct oid *ret_id, struct buf *ret_object);

/* Checks and sorts metadata into @ret (the array is the caller's to free): keys of 1 to 255 bytes
 * without '=' or control characters, values up to the limit, no key twice. 0 or -EINVAL, logged. */
int commit_meta_sort(const struct commit_meta *in, size_t n, struct commit_meta **ret);
