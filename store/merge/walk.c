/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The walk of a merge, down both trees where they differ (merge/merge.h).
 *
 * What is said to the session is what differs from their tree: a directory's edit begins with
 * theirs, and each name of which the result is not what they have is put or removed.
 *
 * A directory that one side has removed and the other changed is there afterwards if anything below
 * it is. That must be known before the session is told, so a probe goes down first: the same
 * walk, that says nothing and ends with the first name that stays.
 */
#include "merge/walk.h"

#include "base/log.h"

enum {
	OURS,
	THEIRS,
	SIDES,
};

/* A pair of directories of which one may be missing. */
struct level {
	struct tree_diff *names; /* owned */
	struct tree_root bases[MERGE_BASES_MAX]; /* empty: it was none */
	struct inode result; /* its attributes; borrows @keep */
	struct node *keep[SIDES]; /* references, or NULL */
	struct buf name;
	size_t path_len; /* of the directory above */
};

struct walk {
	struct merging *m;
	bool is_probe;
	bool has_kept; /* a probe has found something */
	struct level *levels; /* a stack; owned */
	size_t count, cap;
};

/* A name on one side. */
struct name {
	struct merge_entry entry;
	struct dirent_rec rec;
	struct node *leaf, *link_leaf; /* references, or NULL */
};

static void name_release(struct name *n)
{
	node_unref(n->leaf);
	node_unref(n->link_leaf);
}
#define _cleanup_name_ _cleanup_(name_release)

static void level_release(struct level *l)
{
	tree_diff_free(l->names);
	for (unsigned i = 0; i < SIDES; i++)
		node_unref(l->keep[i]);
	buf_release(&l->name);
}

static void walk_release(struct walk *w)
{
	while (w->count > 0)
		level_release(&w->levels[--w->count]);
	free(w->levels);
}

int merging_conflict(struct merging *m, enum merge_verdict what)
{
	m->conflicts++;
	return m->fn ? m->fn(buf_span(&m->path), what, m->ctx) : 0;
}

int merging_enter(struct merging *m, struct span name, size_t *ret_len)
{
	*ret_len = m->path.len;
	if (m->path.len > 0 && name.len > 0)
		buf_put_u8(&m->path, '/');
	buf_put(&m->path, name.data, name.len);
	return buf_failed(&m->path) ? -ENOMEM : 0;
}

enum merge_verdict merging_prefer(const struct merging *m, enum merge_verdict v)
{
	if (!merge_is_conflict(v))
		return v;
	return m->o->prefer == MERGE_PREFER_OURS ? MERGE_OURS : MERGE_THEIRS;
}

enum merge_verdict merging_agree(enum merge_verdict sum, enum merge_verdict v,
				 enum merge_verdict otherwise)
{
	return !sum || sum == v ? v : otherwise;
}

/* Fills @n from n->rec, whose leaf it has: the record of a hard-linked file. */
static int name_load(struct walk *w, const struct merge_side *side, struct name *n)
{
	struct link_rec rec;
	int r;

	n->entry = (struct merge_entry){
		.is_there = true,
		.has_link = n->rec.has_link,
		.link = n->rec.link,
		.inode = n->rec.inode,
	};
	if (!n->rec.has_link)
		return 0;
	r = links_lookup(&w->m->source.base, side->links, &n->rec.link, &n->link_leaf, &rec);
	if (r == -ENOENT)
		return log_fail(-EBADMSG, "a merge: %.*s: a hard-linked file has no record",
				(int)n->rec.name.len, (const char *)n->rec.name.data);
	n->entry.inode = rec.inode;
	return r;
}

static int name_at(struct walk *w, const struct merge_side *side, const struct tree_place *at,
		   struct name *n)
{
	if (!at->leaf)
		return 0;
	n->leaf = node_ref((struct node *)at->leaf);
	node_dirent(n->leaf, at->i, &n->rec);
	return name_load(w, side, n);
}

static int name_in(struct walk *w, const struct merge_side *side, const struct tree_root *dir,
		   struct span name, struct name *n)
{
	int r = dir_lookup(&w->m->source.base, dir, name, &n->leaf, &n->rec);

	return r < 0 ? (r == -ENOENT ? 0 : r) : name_load(w, side, n);
}

static bool is_dir(const struct name *n)
{
	return n->entry.is_there && !n->entry.has_link && n->entry.inode.type == FT_DIR;
}

/* Is @l a link with a conflict of that kind, by this name before and on the other side? */
static bool is_contested(struct walk *w, const struct name *o, const struct name *gone,
			 const struct name *there, enum merge_verdict conflict)
{
	const struct merge_entry *a = &o->entry, *b = &there->entry;

	return a->is_there && a->has_link && merge_same_entry(a, b) &&
	       !merge_same_entry(a, &gone->entry) && links_conflict(w->m, &a->link) == conflict;
}

/* What one base says of a name. Links whose removal is a conflict are to be found by their names:
 * so no directory that has one is taken whole. */
static int judge_by(struct walk *w, const struct name *o, const struct name *a,
		    const struct name *b, enum merge_verdict *ret)
{
	enum merge_verdict v = merge_name(&o->entry, &a->entry, &b->entry);
	const struct name *there = v == MERGE_OURS ? b : a, *gone = v == MERGE_OURS ? a : b;
	enum merge_verdict conflict = v == MERGE_OURS ? MERGE_WE_DELETED : MERGE_THEY_DELETED;
	bool found;
	int r;

	*ret = v;
	if (!w->m->has_deleted_links)
		return 0;
	if (is_contested(w, o, a, b, MERGE_WE_DELETED))
		*ret = MERGE_WE_DELETED;
	else if (is_contested(w, o, b, a, MERGE_THEY_DELETED))
		*ret = MERGE_THEY_DELETED;
	if ((v != MERGE_OURS && v != MERGE_THEIRS) || !is_dir(o) || !is_dir(there))
		return 0;
	r = links_conflict_below(w->m, &o->entry.inode.dir, conflict, &found);
	if (r == 0 && found)
		*ret = !gone->entry.is_there || is_dir(gone) ? MERGE_DOWN : MERGE_TYPES_DIFFER;
	return r;
}

/* Two of several bases do not agree. */
static enum merge_verdict disagreement(const struct name *a, const struct name *b)
{
	if (!a->entry.is_there)
		return MERGE_WE_DELETED;
	if (!b->entry.is_there)
		return MERGE_THEY_DELETED;
	return is_dir(a) != is_dir(b) ? MERGE_TYPES_DIFFER : MERGE_BOTH_CHANGED;
}

/* What all bases say. @bases gets the trees of those that have a directory there, @ret_was its
 * attributes in the first base that has one (which borrow @keep). */
struct judged {
	enum merge_verdict verdict;
	struct tree_root bases[MERGE_BASES_MAX];
	enum merge_verdict attrs; /* of two directories */
	struct inode result; /* borrows a or b */
	bool attrs_changed; /* of one directory, on the side that has it */
};

static void judge_dirs(const struct name *o, const struct name *a, const struct name *b,
		       struct judged *j)
{
	const struct inode *was = is_dir(o) ? &o->entry.inode : NULL;
	const struct name *there = a->entry.is_there ? a : b;
	struct inode result;

	if (a->entry.is_there && b->entry.is_there) {
		enum merge_verdict v = merge_dir(was, &a->entry.inode, &b->entry.inode, &result);

		if (!j->attrs)
			j->result = result;
		j->attrs = merging_agree(j->attrs, v, MERGE_ATTRS_DIFFER);
		return;
	}
	j->result = there->entry.inode;
	if (!was || !merge_same_attrs(was, &there->entry.inode))
		j->attrs_changed = true;
}

/* 1, 0, -ENOMEM. */
static int is_ours(struct walk *w, struct span name)
{
	const struct merge_options *o = w->m->o;
	size_t len;
	int r = merging_enter(w->m, name, &len);

	if (r == 0)
		r = o->is_ours(buf_span(&w->m->path), o->is_ours_ctx);
	w->m->path.len = len;
	return r;
}

static int judge(struct walk *w, const struct level *l, const struct name *a, const struct name *b,
		 struct judged *ret)
{
	const struct merge_options *o = w->m->o;
	struct span name = a->entry.is_there ? a->rec.name : b->rec.name;
	bool may_go_down = (is_dir(a) || !a->entry.is_there) && (is_dir(b) || !b->entry.is_there);

	*ret = (struct judged){ 0 };
	if (o->leave_out && o->leave_out(name, o->leave_out_ctx)) {
		ret->verdict = MERGE_THEIRS;
		return 0;
	}
	if (o->is_ours) {
		int r = is_ours(w, name);

		if (r != 0) {
			ret->verdict = MERGE_OURS;
			return MIN(r, 0);
		}
	}
	for (unsigned i = 0; i < o->base_count; i++) {
		_cleanup_name_ struct name base = { 0 };
		enum merge_verdict v = 0;
		int r = name_in(w, &o->bases[i], &l->bases[i], name, &base);

		if (r == 0)
			r = judge_by(w, &base, a, b, &v);
		if (r < 0)
			return r;
		if (is_dir(&base))
			ret->bases[i] = base.entry.inode.dir;
		if (may_go_down)
			judge_dirs(&base, a, b, ret);
		ret->verdict = merging_agree(ret->verdict, v,
					     may_go_down ? MERGE_DOWN : disagreement(a, b));
	}
	if (o->base_count == 0) {
		const struct name none = { 0 };

		if (may_go_down)
			judge_dirs(&none, a, b, ret);
		ret->verdict = merge_name(&none.entry, &a->entry, &b->entry);
		/* Added here, or removed there: who knows? */
		if (o->is_base_unknown && !(a->entry.is_there && b->entry.is_there))
			ret->verdict = may_go_down ? MERGE_DOWN : disagreement(a, b);
	}
	return 0;
}

static int push(struct walk *w, const struct judged *j, const struct name *a, const struct name *b,
		struct span name);

/* The result of a name is our directory, but for what is left out below. */
static int go_into_ours(struct walk *w, struct judged *j, const struct name *a,
			const struct name *b)
{
	static const struct name none;
	int r;

	if (is_dir(b) || !b->entry.is_there)
		return push(w, j, a, b, a->rec.name);
	j->result = a->entry.inode;
	r = links_replace(w->m, &b->rec, NULL);
	return r < 0 ? r : push(w, j, a, &none, a->rec.name);
}

/* The result of a name is ours. */
static int put_ours(struct walk *w, struct judged *j, const struct name *a, const struct name *b)
{
	struct session *s = w->m->session;
	int r;

	if (w->is_probe) {
		w->has_kept |= a->entry.is_there;
		return 0;
	}
	if (!s)
		return 0;
	if (w->m->o->leave_out && is_dir(a))
		return go_into_ours(w, j, a, b);
	r = links_replace(w->m, b->entry.is_there ? &b->rec : NULL,
			  a->entry.is_there ? &a->rec : NULL);
	if (r < 0)
		return r;
	if (!a->entry.is_there)
		return session_remove(s, b->rec.name);
	if (a->rec.has_link)
		return session_put_link(s, a->rec.name, a->rec.inode.type, &a->rec.link);
	return session_put(s, a->rec.name, &a->rec.inode);
}

static int keep_theirs(struct walk *w, const struct name *b)
{
	if (w->is_probe)
		w->has_kept |= b->entry.is_there;
	return 0;
}

static int push(struct walk *w, const struct judged *j, const struct name *a, const struct name *b,
		struct span name)
{
	static const struct tree_root empty;
	const struct tree_root *ta = a->entry.is_there ? &a->entry.inode.dir : &empty;
	const struct tree_root *tb = b->entry.is_there ? &b->entry.inode.dir : &empty;
	struct level *l;
	int r;

	if (w->count == w->cap) {
		size_t cap = MAX(2 * w->cap, (size_t)16);

		l = reallocarray(w->levels, cap, sizeof(*l));
		if (!l)
			return -ENOMEM;
		w->levels = l;
		w->cap = cap;
	}
	l = &w->levels[w->count++];
	*l = (struct level){ .result = j->result };
	memcpy(l->bases, j->bases, sizeof(l->bases));
	l->keep[OURS] = a->leaf ? node_ref(a->leaf) : NULL;
	l->keep[THEIRS] = b->leaf ? node_ref(b->leaf) : NULL;
	buf_put(&l->name, name.data, name.len);
	if (buf_failed(&l->name))
		return -ENOMEM;
	r = merging_enter(w->m, name, &l->path_len);
	if (r == 0 && w->m->session && !w->is_probe)
		r = session_dir_begin(w->m->session, b->entry.is_there ? tb : NULL);
	return r < 0 ? r : tree_diff_new(TREE_DIR, &w->m->source.base, ta, tb, &l->names);
}

static int run(struct walk *w);

/* Does anything stay of a directory that one side has removed? */
static int survives(struct walk *w, const struct judged *j, const struct name *a,
		    const struct name *b, struct span name, bool *ret)
{
	_cleanup_(walk_release) struct walk probe = { .m = w->m, .is_probe = true };
	size_t len = w->m->path.len;
	int r = push(&probe, j, a, b, name);

	if (r == 0)
		r = run(&probe);
	w->m->path.len = len;
	*ret = probe.has_kept;
	return r;
}

/* Will the side that has something keep it, as far as is known? */
static bool may_keep(const struct merging *m, enum merge_verdict v, enum merge_verdict keeps)
{
	return m->o->prefer == MERGE_PREFER_NEITHER || merging_prefer(m, v) == keeps;
}

/* A conflict at a name below the walk's directory: told, unless this is a probe, for which it is
 * something that may stay. */
static int conflict(struct walk *w, struct span name, enum merge_verdict v)
{
	size_t len;
	int r;

	if (w->is_probe) {
		w->has_kept |= w->m->o->prefer == MERGE_PREFER_NEITHER;
		return 0;
	}
	r = merging_enter(w->m, name, &len);
	if (r == 0)
		r = merging_conflict(w->m, v);
	w->m->path.len = len;
	return r;
}

/* A directory that one side does not have any more. */
static int go_down_one(struct walk *w, struct judged *j, const struct name *a, const struct name *b,
		       struct span name)
{
	enum merge_verdict v = a->entry.is_there ? MERGE_THEY_DELETED : MERGE_WE_DELETED;
	enum merge_verdict keeps = a->entry.is_there ? MERGE_OURS : MERGE_THEIRS;
	bool stays;
	int r;

	if (w->is_probe) {
		w->has_kept |= j->attrs_changed && may_keep(w->m, v, keeps);
		return push(w, j, a, b, name);
	}
	r = survives(w, j, a, b, name, &stays);
	if (r == 0 && !stays && j->attrs_changed) {
		r = conflict(w, name, v);
		stays = merging_prefer(w->m, v) == keeps;
	}
	if (r < 0)
		return r;
	/* What conflicts below is to be told, whatever is preferred. */
	if (stays || !w->m->session)
		return push(w, j, a, b, name);
	/* What they have has gone below already, or goes now. */
	return a->entry.is_there ? 0 : put_ours(w, j, a, b);
}

static int go_down(struct walk *w, struct judged *j, const struct name *a, const struct name *b,
		   struct span name)
{
	int r = 0;

	if (!a->entry.is_there || !b->entry.is_there)
		return go_down_one(w, j, a, b, name);
	if (merge_is_conflict(j->attrs)) {
		const struct inode *from = merging_prefer(w->m, j->attrs) == MERGE_OURS
						   ? &a->entry.inode
						   : &b->entry.inode;
		struct inode_time mtime = j->result.mtime, ctime = j->result.ctime;

		r = conflict(w, name, j->attrs);
		j->result = *from;
		j->result.mtime = mtime;
		j->result.ctime = ctime;
	}
	return r < 0 ? r : push(w, j, a, b, name);
}

/* One side has changed what the other has made a link: the link is told, if that can be. */
static int change_link(struct walk *w, struct judged *j, const struct name *a, const struct name *b)
{
	const struct merge_options *o = w->m->o;
	int r = 1;

	if (w->is_probe)
		return 0;
	if (j->verdict == MERGE_OURS_IN_THEIR_LINK)
		r = links_set(w->m, &o->ours, &b->rec.link, &a->entry.inode);
	else if (j->verdict == MERGE_THEIRS_IN_OUR_LINK)
		r = links_set(w->m, &o->theirs, &a->rec.link, &b->entry.inode);
	if (r == 0)
		j->verdict = MERGE_BOTH_CHANGED;
	return MIN(r, 0);
}

static int settle(struct walk *w, struct judged *j, const struct name *a, const struct name *b)
{
	struct span name = a->entry.is_there ? a->rec.name : b->rec.name;
	int r = change_link(w, j, a, b);

	if (r == 0 && merge_is_conflict(j->verdict)) {
		r = conflict(w, name, j->verdict);
		j->verdict = merging_prefer(w->m, j->verdict);
	}
	if (r < 0)
		return r;
	switch (j->verdict) {
	case MERGE_DOWN:
		return go_down(w, j, a, b, name);
	case MERGE_OURS:
	case MERGE_THEIRS_IN_OUR_LINK:
		return put_ours(w, j, a, b);
	default:
		return keep_theirs(w, b);
	}
}

/* The next name of the directory the walk is in: 1, 0 at its end. */
static int step(struct walk *w)
{
	struct level *l = &w->levels[w->count - 1];
	_cleanup_name_ struct name a = { 0 }, b = { 0 };
	struct tree_place pa, pb;
	struct judged j;
	int r = tree_diff_next(l->names, &pa, &pb);

	if (r <= 0)
		return r;
	r = deadline_check(&w->m->o->access->deadline);
	if (r == 0)
		r = name_at(w, &w->m->o->ours, &pa, &a);
	if (r == 0)
		r = name_at(w, &w->m->o->theirs, &pb, &b);
	if (r == 0)
		r = judge(w, l, &a, &b, &j);
	if (r == 0)
		r = settle(w, &j, &a, &b);
	return r < 0 ? r : 1;
}

static int leave(struct walk *w)
{
	struct level *l = &w->levels[w->count - 1];
	int r = 0;

	if (w->m->session && !w->is_probe)
		r = session_dir_end(w->m->session, buf_span(&l->name), &l->result);
	w->m->path.len = l->path_len;
	level_release(l);
	w->count--;
	return r;
}

static int run(struct walk *w)
{
	int r = 0;

	while (r >= 0 && w->count > 0 && !w->has_kept) {
		r = step(w);
		if (r == 0)
			r = leave(w);
	}
	return r < 0 ? r : 0;
}

/* Both roots, whatever they are: the commits differ. */
static int merge_roots(struct merging *m)
{
	const struct merge_options *o = m->o;
	_cleanup_(walk_release) struct walk w = { .m = m };
	struct name side[SIDES] = { 0 };
	struct judged j = { 0 };
	int r;

	side[OURS].entry = (struct merge_entry){ .is_there = true, .inode = *o->ours.root };
	side[THEIRS].entry = (struct merge_entry){ .is_there = true, .inode = *o->theirs.root };
	for (unsigned i = 0; i < o->base_count; i++) {
		struct name base = { .entry = { .is_there = true, .inode = *o->bases[i].root } };

		j.bases[i] = o->bases[i].root->dir;
		judge_dirs(&base, &side[OURS], &side[THEIRS], &j);
	}
	if (o->base_count == 0) {
		const struct name none = { 0 };

		judge_dirs(&none, &side[OURS], &side[THEIRS], &j);
	}
	r = go_down(&w, &j, &side[OURS], &side[THEIRS], span_of(NULL, 0));
	return r < 0 ? r : run(&w);
}

static int merge(struct merging *m)
{
	int r = links_judge(m);

	if (r == 0)
		r = merge_roots(m);
	return r;
}

static void merging_release(struct merging *m)
{
	links_release(m);
	buf_release(&m->path);
}

int merge_conflicts(const struct merge_options *o, merge_conflict_fn fn, void *ctx,
		    uint64_t *ret_count)
{
	_cleanup_(merging_release) struct merging m = {
		.o = o,
		.source = reader_source(o->access->reader, o->access),
		.fn = fn,
		.ctx = ctx,
	};
	int r = merge(&m);

	if (r == 0)
		r = links_tell(&m);
	if (r == 0)
		*ret_count = m.conflicts;
	return r;
}

int merge_write(const struct merge_options *o, struct session *s, struct snapshot *ret)
{
	_cleanup_(merging_release) struct merging m = {
		.o = o,
		.source = reader_source(o->access->reader, o->access),
		.session = s,
	};
	int r = merge(&m);

	if (r == 0 && o->prefer == MERGE_PREFER_NEITHER &&
	    (m.conflicts > 0 || links_have_both_changed(&m)))
		r = -ESTALE;
	if (r == 0)
		r = links_write(&m);
	return r < 0 ? r : session_finish(s, o->theirs.links, ret);
}
