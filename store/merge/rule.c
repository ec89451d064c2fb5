/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The rules of a merge (merge/rule.h, RULES.md).
 */
#include "merge/rule.h"

const char *merge_conflict_word(enum merge_verdict v)
{
	switch (v) {
	case MERGE_BOTH_CHANGED:
		return "both-changed";
	case MERGE_BOTH_ADDED:
		return "both-added";
	case MERGE_WE_DELETED:
		return "we-deleted";
	case MERGE_THEY_DELETED:
		return "they-deleted";
	case MERGE_TYPES_DIFFER:
		return "types-differ";
	case MERGE_ATTRS_DIFFER:
		return "attributes-differ";
	default:
		return "";
	}
}

static int cmp_times(const struct inode_time *a, const struct inode_time *b)
{
	if (a->sec != b->sec)
		return a->sec < b->sec ? -1 : 1;
	return (a->nsec > b->nsec) - (a->nsec < b->nsec);
}

/* The later one; whoever merges, in whichever direction, takes the same. */
static enum merge_verdict later(const struct inode *a, const struct inode *b)
{
	int c = cmp_times(&a->mtime, &b->mtime);

	if (c == 0)
		c = cmp_times(&a->ctime, &b->ctime);
	return c > 0 ? MERGE_OURS : MERGE_THEIRS;
}

static bool same_value(const struct merge_entry *a, const struct merge_entry *b)
{
	return a->is_there && b->is_there && inode_equal_but_times(&a->inode, &b->inode);
}

static bool same_link(const struct merge_entry *a, const struct merge_entry *b)
{
	bool has_a = a->is_there && a->has_link, has_b = b->is_there && b->has_link;

	return has_a == has_b && (!has_a || id128_equal(&a->link, &b->link));
}

bool merge_same_entry(const struct merge_entry *a, const struct merge_entry *b)
{
	if (a->is_there != b->is_there || !same_link(a, b))
		return false;
	return !a->is_there || a->has_link || inode_equal(&a->inode, &b->inode);
}

/* Nothing of it has changed but times. */
static bool is_touched(const struct merge_entry *o, const struct merge_entry *e)
{
	return same_link(o, e) && same_value(o, e);
}

static bool is_dir(const struct merge_entry *e)
{
	return e->is_there && !e->has_link && e->inode.type == FT_DIR;
}

/* One side has it no more, the other has changed it. */
static enum merge_verdict deleted(const struct merge_entry *o, const struct merge_entry *rest,
				  enum merge_verdict delete, enum merge_verdict conflict)
{
	if (is_dir(o) && is_dir(rest))
		return MERGE_DOWN;
	return same_value(o, rest) ? delete : conflict;
}

/* Two files, of which neither is what it was. */
static enum merge_verdict files(const struct merge_entry *o, const struct merge_entry *a,
				const struct merge_entry *b)
{
	enum merge_verdict both = o->is_there ? MERGE_BOTH_CHANGED : MERGE_BOTH_ADDED;

	if (same_link(a, b)) {
		if (same_value(a, b))
			return later(&a->inode, &b->inode);
		if (same_value(o, a))
			return MERGE_THEIRS;
		return same_value(o, b) ? MERGE_OURS : both;
	}
	if (same_link(o, a)) {
		if (same_value(o, a) || same_value(a, b))
			return MERGE_THEIRS;
		return same_value(o, b) ? MERGE_OURS_IN_THEIR_LINK : both;
	}
	if (same_link(o, b)) {
		if (same_value(o, b) || same_value(a, b))
			return MERGE_OURS;
		return same_value(o, a) ? MERGE_THEIRS_IN_OUR_LINK : both;
	}
	return both;
}

enum merge_verdict merge_name(const struct merge_entry *o, const struct merge_entry *a,
			      const struct merge_entry *b)
{
	if (merge_same_entry(o, a))
		return MERGE_THEIRS;
	if (merge_same_entry(o, b))
		return MERGE_OURS;
	if (!a->is_there)
		return deleted(o, b, MERGE_OURS, MERGE_WE_DELETED);
	if (!b->is_there)
		return deleted(o, a, MERGE_THEIRS, MERGE_THEY_DELETED);
	if (is_dir(a) && is_dir(b))
		return MERGE_DOWN;
	if (!is_dir(a) && !is_dir(b))
		return files(o, a, b);
	if (is_touched(o, a))
		return MERGE_THEIRS;
	return is_touched(o, b) ? MERGE_OURS : MERGE_TYPES_DIFFER;
}

enum merge_verdict merge_link(const struct merge_entry *o, const struct merge_entry *a,
			      const struct merge_entry *b)
{
	if (!a->is_there)
		return !o->is_there || same_value(o, b) ? MERGE_THEIRS : MERGE_WE_DELETED;
	if (!b->is_there)
		return !o->is_there || same_value(o, a) ? MERGE_OURS : MERGE_THEY_DELETED;
	if (same_value(a, b))
		return later(&a->inode, &b->inode);
	if (same_value(o, a))
		return MERGE_THEIRS;
	return same_value(o, b) ? MERGE_OURS : MERGE_BOTH_CHANGED;
}

bool merge_same_attrs(const struct inode *a, const struct inode *b)
{
	struct inode x = *a, y = *b;

	x.dir = y.dir = (struct tree_root){ 0 };
	return inode_equal_but_times(&x, &y);
}

static struct inode_time merge_time(const struct inode_time *o, const struct inode_time *a,
				    const struct inode_time *b)
{
	if (o && cmp_times(o, a) == 0)
		return *b;
	if (o && cmp_times(o, b) == 0)
		return *a;
	return cmp_times(a, b) > 0 ? *a : *b;
}

enum merge_verdict merge_dir(const struct inode *o, const struct inode *a, const struct inode *b,
			     struct inode *ret)
{
	enum merge_verdict v = MERGE_ATTRS_DIFFER;

	if (merge_same_attrs(a, b) || (o && merge_same_attrs(o, a)))
		v = MERGE_THEIRS;
	else if (o && merge_same_attrs(o, b))
		v = MERGE_OURS;
	*ret = v == MERGE_OURS ? *a : *b;
	ret->mtime = merge_time(o ? &o->mtime : NULL, &a->mtime, &b->mtime);
	ret->ctime = merge_time(o ? &o->ctime : NULL, &a->ctime, &b->ctime);
	return v;
}
