/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What becomes of one name, of one hard-linked file and of a directory's own attributes when two
 * sides have changed what they have in common. The rules stand in RULES.md.
 *
 * Pure functions; any thread.
 */
#pragma once

#include "format/entry.h"

/* What a name means on one side. */
struct merge_entry {
	bool is_there;
	bool has_link;
	struct id128 link;
	struct inode inode; /* with has_link: the link record's; borrowed spans */
};

enum merge_verdict {
	MERGE_OURS = 1,
	MERGE_THEIRS,
	MERGE_DOWN, /* directories: their names, one by one */
	MERGE_OURS_IN_THEIR_LINK, /* they made it a hard-linked file, we changed what it is */
	MERGE_THEIRS_IN_OUR_LINK,
	/* Nobody but the user can say. */
	MERGE_BOTH_CHANGED,
	MERGE_BOTH_ADDED,
	MERGE_WE_DELETED, /* and they changed it */
	MERGE_THEY_DELETED,
	MERGE_TYPES_DIFFER, /* a file and a directory */
	MERGE_ATTRS_DIFFER, /* a directory's mode, owner or extended attributes */
};

static inline bool merge_is_conflict(enum merge_verdict v)
{
	return v >= MERGE_BOTH_CHANGED;
}

/* A word for a verdict that is a conflict: "both-changed", ... */
const char *merge_conflict_word(enum merge_verdict v);

/* One name. @a (ours) and @b (theirs) are not equal, @o is what they come from. */
enum merge_verdict merge_name(const struct merge_entry *o, const struct merge_entry *a,
			      const struct merge_entry *b);

/*
 * What a hard-linked file is, apart from its names; of a side that has it no more, or not yet, the
 * entry is not there. With MERGE_WE_DELETED and MERGE_THEY_DELETED the side that has it is meant
 * as well: it is the names that conflict.
 */
enum merge_verdict merge_link(const struct merge_entry *o, const struct merge_entry *a,
			      const struct merge_entry *b);

/*
 * A directory's own attributes, of which it has two sides (@o: NULL if it was none before) and
 * @ret gets all but the tree: times are the changed side's, or the later. The verdict is about
 * mode, owner and extended attributes.
 */
enum merge_verdict merge_dir(const struct inode *o, const struct inode *a, const struct inode *b,
			     struct inode *ret);

/* Are the attributes of two directories the same, but for times? */
bool merge_same_attrs(const struct inode *a, const struct inode *b);

/* Do two names mean the same, hints apart? */
bool merge_same_entry(const struct merge_entry *a, const struct merge_entry *b);
