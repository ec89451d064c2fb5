/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Hard-linked files in a merge: records merge by id, the number of names is counted.
 *
 * The number is their record's, and one more or less for each name that comes to mean something
 * else than on their side. So it is right whatever both sides did to the names.
 */
#include "base/log.h"
#include "merge/walk.h"

static uint64_t hash_of(const struct id128 *link)
{
	return hash_bytes(link, sizeof(*link));
}

static struct link_note *find(struct merging *m, const struct id128 *link)
{
	htab_for_each (n, &m->links, hash_of(link)) {
		struct link_note *l = container_of(n, struct link_note, node);

		if (id128_equal(&l->link, link))
			return l;
	}
	return NULL;
}

static int note(struct merging *m, const struct id128 *link, struct link_note **ret)
{
	struct link_note *l = find(m, link);
	int r;

	if (!l) {
		l = new0(struct link_note, 1);
		if (!l)
			return -ENOMEM;
		l->link = *link;
		r = htab_insert(&m->links, &l->node, hash_of(link));
		if (r < 0) {
			free(l);
			return r;
		}
	}
	*ret = l;
	return 0;
}

static void note_free(struct hnode *n, void *ctx)
{
	struct link_note *l = container_of(n, struct link_note, node);

	buf_release(&l->bytes);
	free(l);
}

void links_release(struct merging *m)
{
	htab_walk(&m->links, note_free, NULL);
	htab_release(&m->links);
}

enum merge_verdict links_conflict(struct merging *m, const struct id128 *link)
{
	struct link_note *l = find(m, link);

	return l ? l->conflict : 0;
}

/* A record that may not be there, and what it borrows from. */
struct record {
	struct link_rec rec;
	struct merge_entry entry;
	struct node *leaf; /* a reference, or NULL */
};

static void record_release(struct record *r)
{
	node_unref(r->leaf);
}
#define _cleanup_record_ _cleanup_(record_release)

static int look_up(struct merging *m, const struct merge_side *side, const struct id128 *link,
		   struct record *ret)
{
	int r = links_lookup(&m->source.base, side->links, link, &ret->leaf, &ret->rec);

	ret->entry = (struct merge_entry){ .is_there = r == 0, .inode = ret->rec.inode };
	return r == -ENOENT ? 0 : r;
}

/* What all bases say of a link. Where they do not agree, its names or its content conflict. */
static int judge(struct merging *m, const struct id128 *link, const struct merge_entry *a,
		 const struct merge_entry *b, enum merge_verdict *ret)
{
	const struct merge_entry none = { 0 };
	enum merge_verdict v = 0, otherwise = MERGE_BOTH_CHANGED;

	if (!a->is_there || !b->is_there)
		otherwise = a->is_there ? MERGE_THEY_DELETED : MERGE_WE_DELETED;

	for (unsigned i = 0; i < m->o->base_count; i++) {
		_cleanup_record_ struct record base = { 0 };
		int r = look_up(m, &m->o->bases[i], link, &base);

		if (r < 0)
			return r;
		v = merging_agree(v, merge_link(&base.entry, a, b), otherwise);
	}
	*ret = v ? v : merge_link(&none, a, b);
	return 0;
}

/* The two records of a difference between our links and theirs. */
static void both(const struct tree_place *pa, const struct tree_place *pb, struct link_rec *a,
		 struct link_rec *b, struct merge_entry *ea, struct merge_entry *eb)
{
	if (pa->leaf)
		node_link(pa->leaf, pa->i, a);
	if (pb->leaf)
		node_link(pb->leaf, pb->i, b);
	*ea = (struct merge_entry){ .is_there = pa->leaf, .inode = a->inode };
	*eb = (struct merge_entry){ .is_there = pb->leaf, .inode = b->inode };
	if (!pa->leaf)
		a->link = b->link;
	if (!pb->leaf)
		b->link = a->link;
}

int links_judge(struct merging *m)
{
	_cleanup_(tree_diff_freep) struct tree_diff *d = NULL;
	struct tree_place pa, pb;
	int r;

	r = tree_diff_new(TREE_LINKS, &m->source.base, m->o->ours.links, m->o->theirs.links, &d);
	while (r == 0 && (r = tree_diff_next(d, &pa, &pb)) > 0) {
		struct link_rec a = { 0 }, b = { 0 };
		struct merge_entry ea, eb;
		enum merge_verdict v;
		struct link_note *l;

		both(&pa, &pb, &a, &b, &ea, &eb);
		r = judge(m, &a.link, &ea, &eb, &v);
		if (r < 0 || !merge_is_conflict(v))
			continue;
		r = note(m, &a.link, &l);
		if (r < 0)
			return r;
		l->conflict = v;
		if (v != MERGE_BOTH_CHANGED)
			m->has_deleted_links = true;
	}
	return r;
}

/* Where a search is in a pair of directories, of which one may be missing. */
struct search_level {
	struct tree_diff *names; /* owned */
	size_t path_len; /* of the directory above */
};

/* Goes through the names below a pair of directories, as far as there are links and the two differ;
 * depth first, so that it takes no more memory than the path is long. */
struct search {
	struct merging *m;
	/* A name, NULL where it is not there; other than 0 ends the search and is its result. */
	int (*fn)(struct search *s, const struct dirent_rec *a, const struct dirent_rec *b);
	enum merge_verdict wanted;
	struct search_level *levels; /* a stack; owned */
	size_t count, cap;
};

static void search_leave(struct search *s)
{
	struct search_level *l = &s->levels[--s->count];

	tree_diff_free(l->names);
	s->m->path.len = l->path_len;
}

static void search_release(struct search *s)
{
	while (s->count > 0)
		search_leave(s);
	free(s->levels);
}

static int search_enter(struct search *s, struct span name, const struct tree_root *a,
			const struct tree_root *b)
{
	static const struct tree_root empty;
	struct search_level *l;
	int r;

	if (!(a && a->sum.has_links) && !(b && b->sum.has_links))
		return 0;
	if (s->count == s->cap) {
		size_t cap = MAX(2 * s->cap, (size_t)16);

		l = reallocarray(s->levels, cap, sizeof(*l));
		if (!l)
			return -ENOMEM;
		s->levels = l;
		s->cap = cap;
	}
	l = &s->levels[s->count++];
	*l = (struct search_level){ 0 };
	r = merging_enter(s->m, name, &l->path_len);
	return r < 0 ? r
		     : tree_diff_new(TREE_DIR, &s->m->source.base, a ? a : &empty, b ? b : &empty,
				     &l->names);
}

static const struct tree_root *dir_of(const struct dirent_rec *e)
{
	return e && !e->has_link && e->inode.type == FT_DIR ? &e->inode.dir : NULL;
}

/* One name, and what is below it next. */
static int search_name(struct search *s, const struct dirent_rec *a, const struct dirent_rec *b)
{
	int r = s->fn(s, a, b);

	return r != 0 ? r : search_enter(s, a ? a->name : b->name, dir_of(a), dir_of(b));
}

/* Goes on to the end of the level that is uppermost. */
static int search_run(struct search *s)
{
	int r = 0;

	while (r == 0 && s->count > 0) {
		struct tree_place pa, pb;
		struct dirent_rec a, b;

		r = deadline_check(&s->m->o->access->deadline);
		if (r == 0)
			r = tree_diff_next(s->levels[s->count - 1].names, &pa, &pb);
		if (r < 0)
			return r;
		if (r == 0) {
			search_leave(s);
			continue;
		}
		if (pa.leaf)
			node_dirent(pa.leaf, pa.i, &a);
		if (pb.leaf)
			node_dirent(pb.leaf, pb.i, &b);
		r = search_name(s, pa.leaf ? &a : NULL, pb.leaf ? &b : NULL);
	}
	return r;
}

static int count_name(struct merging *m, const struct dirent_rec *e, int names)
{
	struct link_note *l;
	int r;

	if (!e || !e->has_link)
		return 0;
	r = note(m, &e->link, &l);
	if (r == 0)
		l->names += names;
	return r;
}

static int replace_name(struct search *s, const struct dirent_rec *ours,
			const struct dirent_rec *theirs)
{
	int r = count_name(s->m, theirs, -1);

	return r < 0 ? r : count_name(s->m, ours, 1);
}

int links_replace(struct merging *m, const struct dirent_rec *theirs, const struct dirent_rec *ours)
{
	_cleanup_(search_release) struct search s = { .m = m, .fn = replace_name };
	int r = search_name(&s, ours, theirs);

	return r < 0 ? r : search_run(&s);
}

static int find_conflict(struct search *s, const struct dirent_rec *e,
			 const struct dirent_rec *none)
{
	return e->has_link && links_conflict(s->m, &e->link) == s->wanted;
}

int links_conflict_below(struct merging *m, const struct tree_root *dir,
			 enum merge_verdict conflict, bool *ret)
{
	_cleanup_(search_release) struct search s = { .m = m,
						      .fn = find_conflict,
						      .wanted = conflict };
	int r = search_enter(&s, span_of(NULL, 0), dir, NULL);

	if (r == 0)
		r = search_run(&s);
	*ret = r == 1;
	return MIN(r, 0);
}

/* A name on our side: told of if both have changed its file. */
static int tell_name(struct search *s, const struct dirent_rec *e, const struct dirent_rec *none)
{
	size_t len;
	int r;

	if (!e->has_link || links_conflict(s->m, &e->link) != MERGE_BOTH_CHANGED)
		return 0;
	r = merging_enter(s->m, e->name, &len);
	if (r == 0)
		r = merging_conflict(s->m, MERGE_BOTH_CHANGED);
	s->m->path.len = len;
	return r;
}

bool links_have_both_changed(struct merging *m)
{
	bool found = false;

	for (size_t i = 0; m->links.buckets && i <= m->links.mask; i++)
		for (struct hnode *n = m->links.buckets[i]; n && !found; n = n->next)
			found = container_of(n, struct link_note, node)->conflict ==
				MERGE_BOTH_CHANGED;
	return found;
}

int links_tell(struct merging *m)
{
	_cleanup_(search_release) struct search s = { .m = m, .fn = tell_name };
	int r = 0;

	if (!links_have_both_changed(m))
		return 0;
	r = search_enter(&s, span_of(NULL, 0), &m->o->ours.root->dir, NULL);
	return r < 0 ? r : search_run(&s);
}

/* Was a link made on one side since they parted? Then the other, @side, cannot have it. */
static int is_fresh(struct merging *m, const struct merge_side *side, const struct id128 *link,
		    bool *ret)
{
	bool is_known = false;
	int r = 0;

	for (unsigned i = 0; r == 0 && !is_known && i <= m->o->base_count; i++) {
		_cleanup_record_ struct record rec = { 0 };

		r = look_up(m, i < m->o->base_count ? &m->o->bases[i] : side, link, &rec);
		is_known = rec.entry.is_there;
	}
	*ret = !is_known;
	return r;
}

int links_set(struct merging *m, const struct merge_side *side, const struct id128 *link,
	      const struct inode *inode)
{
	bool has_content = inode->type == FT_REG || inode->type == FT_LNK;
	struct span list = inode->xattrs.list;
	struct span inlined = has_content ? inode->content.inlined : span_of(NULL, 0);
	struct link_note *l;
	bool may_be;
	int r = is_fresh(m, side, link, &may_be);

	if (r < 0 || !may_be)
		return r;
	r = note(m, link, &l);
	if (r < 0)
		return r;
	if (l->has_inode)
		return inode_equal_but_times(&l->inode, inode);
	buf_put(&l->bytes, list.data, list.len);
	buf_put(&l->bytes, inlined.data, inlined.len);
	if (buf_failed(&l->bytes))
		return -ENOMEM;
	l->inode = *inode;
	l->inode.xattrs.list = span_of(l->bytes.data, list.len);
	if (has_content)
		l->inode.content.inlined = span_of(l->bytes.data + list.len, inlined.len);
	l->has_inode = true;
	return 1;
}

/* A record as it shall be: @inode and so many names; @their: of what they have. */
static int write_one(struct merging *m, const struct id128 *link, struct link_note *l,
		     const struct link_rec *their, const struct inode *inode)
{
	int64_t names = (their ? their->nlink : 0) + (l ? l->names : 0);

	if (l) {
		l->is_done = true;
		if (l->has_inode)
			inode = &l->inode;
	}
	if (names <= 0)
		return their ? session_unlink(m->session, link) : 0;
	if (!inode)
		return log_fail(-EBADMSG, "a merge: a hard-linked file has no record");
	if (their && their->nlink == names && inode_equal(&their->inode, inode))
		return 0;
	return session_link(m->session, link, (uint32_t)MIN(names, (int64_t)UINT32_MAX), inode);
}

static int write_changed(struct merging *m)
{
	_cleanup_(tree_diff_freep) struct tree_diff *d = NULL;
	struct tree_place pa, pb;
	int r;

	r = tree_diff_new(TREE_LINKS, &m->source.base, m->o->ours.links, m->o->theirs.links, &d);
	while (r == 0 && (r = tree_diff_next(d, &pa, &pb)) > 0) {
		struct link_rec a = { 0 }, b = { 0 };
		struct merge_entry ea, eb;
		enum merge_verdict v;
		bool take_ours;

		both(&pa, &pb, &a, &b, &ea, &eb);
		r = judge(m, &a.link, &ea, &eb, &v);
		if (r < 0)
			return r;
		if (v == MERGE_BOTH_CHANGED)
			v = merging_prefer(m, v);
		take_ours = ea.is_there && (!eb.is_there || v == MERGE_OURS);
		r = write_one(m, &a.link, find(m, &a.link), eb.is_there ? &b : NULL,
			      take_ours ? &a.inode : &b.inode);
	}
	return r;
}

/* Records that are the same on both sides, and names of them that are not. */
static int write_rest(struct merging *m)
{
	for (size_t i = 0; m->links.buckets && i <= m->links.mask; i++)
		for (struct hnode *n = m->links.buckets[i]; n; n = n->next) {
			struct link_note *l = container_of(n, struct link_note, node);
			_cleanup_record_ struct record their = { 0 };
			int r;

			if (l->is_done || (l->names == 0 && !l->has_inode))
				continue;
			r = look_up(m, &m->o->theirs, &l->link, &their);
			if (r == 0)
				r = write_one(m, &l->link, l,
					      their.entry.is_there ? &their.rec : NULL,
					      their.entry.is_there ? &their.rec.inode : NULL);
			if (r < 0)
				return r;
		}
	return 0;
}

int links_write(struct merging *m)
{
	int r = write_changed(m);

	return r < 0 ? r : write_rest(m);
}
