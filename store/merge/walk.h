/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inside a merge: what its files share, and nobody else includes.
 */
#pragma once

#include "base/hash.h"
#include "base/htab.h"
#include "merge/merge.h"
#include "object/reader.h"
#include "tree/diff.h"

/* A hard-linked file that is more than what its record says. */
struct link_note {
	struct hnode node;
	struct id128 link;
	enum merge_verdict conflict; /* 0: none */
	int64_t names; /* how many more than on their side */
	bool has_inode; /* the record gets @inode */
	bool is_done;
	struct inode inode;
	struct buf bytes; /* what it borrows from */
};

struct merging {
	const struct merge_options *o;
	struct reader_source source;
	struct session *session; /* NULL: only what conflicts is wanted */
	merge_conflict_fn fn;
	void *ctx;
	uint64_t conflicts;
	struct htab links; /* of link_note; owned */
	bool has_deleted_links; /* a note has such a conflict */
	struct buf path; /* where the walk is */
};

/* Counts and tells of one at the path. */
int merging_conflict(struct merging *m, enum merge_verdict what);

/* Appends a name to the path; @ret_len is what to cut it to again. */
int merging_enter(struct merging *m, struct span name, size_t *ret_len);

/* Who is preferred wins, if the verdict is a conflict. */
enum merge_verdict merging_prefer(const struct merging *m, enum merge_verdict v);

/* All verdicts are the same, or it is a conflict: adds one (@sum 0: the first). */
enum merge_verdict merging_agree(enum merge_verdict sum, enum merge_verdict v,
				 enum merge_verdict otherwise);

/*
 * Hard-linked files (links.c).
 */

/* Finds what conflicts in the records, before the walk; the names come with the walk. */
int links_judge(struct merging *m);

/* Is there a file that both sides have changed? */
bool links_have_both_changed(struct merging *m);

/* Names of files that both sides have changed, told of by their names on our side. */
int links_tell(struct merging *m);

/* The conflict of a link's record, 0 if it has none. */
enum merge_verdict links_conflict(struct merging *m, const struct id128 *link);

/* Does any link below a directory have that conflict? */
int links_conflict_below(struct merging *m, const struct tree_root *dir,
			 enum merge_verdict conflict, bool *ret);

/* A name of theirs is replaced by what it means on our side: what changes in numbers of names, for
 * directories in all that is below them. NULL: nothing. */
int links_replace(struct merging *m, const struct dirent_rec *theirs,
		  const struct dirent_rec *ours);

/* A link that one side has made is to be what @inode, of the other @side, says of a name of it: 1;
 * 0 if it cannot: it was made before, or another name has said something else; -errno. */
int links_set(struct merging *m, const struct merge_side *side, const struct id128 *link,
	      const struct inode *inode);

/* After the walk: the records that differ from theirs. */
int links_write(struct merging *m);

void links_release(struct merging *m);
