/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What two commits have in common.
 */
#pragma once

#include "merge/merge.h"
#include "object/refs.h"

/*
 * The lowest common ancestors of two commits: those that come before both, or are one of them, and
 * before no other such. None: their histories never met. Commits are read from the younger ones
 * down, as far as one of these is above what is looked for.
 *
 * 0; -E2BIG: there are more than MERGE_BASES_MAX; -EBADMSG: a commit that is older than its
 * parent; or the errors of refs_commit(). Any thread.
 */
int merge_bases(struct refs *refs, const struct id128 *repo, const struct oid *a,
		const struct oid *b, const struct refs_wait *w, struct oid ret[MERGE_BASES_MAX],
		unsigned *ret_count);
