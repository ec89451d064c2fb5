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

/* A pair of directories whose names are looked through for links. */
struct pair {
	struct tree_root a, b;
	size_t path_len;
	struct buf name;
};

struct search {
	struct merging *m;
	enum merge_verdict wanted;
	struct pair *pairs; /* a stack; owned */
	size_t count, cap;
};

static void search_release(struct search *s)
{
	while (s->count > 0)
		buf_release(&s->pairs[--s->count].name);
	free(s->pairs);
}

static int search_push(struct search *s, struct span name, const struct tree_root *a,
		       const struct tree_root *b)
{
	static const struct tree_root empty;
	struct pair *p;

	if (!(a && a->sum.has_links) && !(b && b->sum.has_links))
		return 0;
	if (s->count == s->cap) {
		size_t cap = MAX(2 * s->cap, (size_t)16);

		p = reallocarray(s->pairs, cap, sizeof(*p));
		if (!p)
			return -ENOMEM;
		s->pairs = p;
		s->cap = cap;
	}
	p = &s->pairs[s->count++];
	*p = (struct pair){ a ? *a : empty, b ? *b : empty, s->m->path.len, { 0 } };
	if (name.len > 0)
		buf_put(&p->name, name.data, name.len);
	return buf_failed(&p->name) ? -ENOMEM : 0;
}

static const struct tree_root *dir_of(const struct dirent_rec *e)
{
	return e && !e->has_link && e->inode.type == FT_DIR ? &e->inode.dir : NULL;
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

/* One name: counted, and what is below it to be searched. */
static int replace_one(struct search *s, const struct dirent_rec *theirs,
		       const struct dirent_rec *ours)
{
	int r = count_name(s->m, theirs, -1);

	if (r == 0)
		r = count_name(s->m, ours, 1);
	return r < 0 ? r : search_push(s, span_of(NULL, 0), dir_of(ours), dir_of(theirs));
}

int links_replace(struct merging *m, const struct dirent_rec *theirs, const struct dirent_rec *ours)
{
	_cleanup_(search_release) struct search s = { .m = m };
	int r = replace_one(&s, theirs, ours);

	while (r == 0 && s.count > 0) {
		_cleanup_(tree_diff_freep) struct tree_diff *d = NULL;
		struct pair p = s.pairs[--s.count];
		struct tree_place pa, pb;

		r = tree_diff_new(TREE_DIR, &m->source.base, &p.a, &p.b, &d);
		while (r == 0 && (r = tree_diff_next(d, &pa, &pb)) > 0) {
			struct dirent_rec a, b;

			r = deadline_check(&m->o->access->deadline);
			if (r < 0)
				return r;
			if (pa.leaf)
				node_dirent(pa.leaf, pa.i, &a);
			if (pb.leaf)
				node_dirent(pb.leaf, pb.i, &b);
			r = replace_one(&s, pb.leaf ? &b : NULL, pa.leaf ? &a : NULL);
		}
	}
	return r;
}

/* Goes through all names below a directory, as far as there are links: @fn may push more of them,
 * and ends it with a result other than 0. */
static int search_names(struct search *s, int (*fn)(struct search *s, const struct dirent_rec *e))
{
	int r = 0;

	while (r == 0 && s->count > 0) {
		struct pair p = s->pairs[--s->count];
		_cleanup_buf_ struct buf name = p.name;
		struct tree_cursor c;
		size_t len;

		s->m->path.len = p.path_len;
		r = merging_enter(s->m, buf_span(&name), &len);
		tree_cursor_init(&c, TREE_DIR, &s->m->source.base);
		if (r == 0)
			r = tree_seek_ordinal(&c, &p.a, 0);
		while (r == 0 && !c.is_end) {
			struct dirent_rec e;

			node_dirent(tree_leaf(&c), tree_index(&c), &e);
			r = deadline_check(&s->m->o->access->deadline);
			if (r == 0)
				r = fn(s, &e);
			if (r == 0)
				r = tree_next(&c);
		}
		tree_cursor_release(&c);
	}
	return r;
}

static int find_conflict(struct search *s, const struct dirent_rec *e)
{
	if (!e->has_link)
		return search_push(s, e->name, dir_of(e), NULL);
	return links_conflict(s->m, &e->link) == s->wanted;
}

int links_conflict_below(struct merging *m, const struct tree_root *dir,
			 enum merge_verdict conflict, bool *ret)
{
	_cleanup_(search_release) struct search s = { .m = m, .wanted = conflict };
	size_t len = m->path.len;
	int r = search_push(&s, span_of(NULL, 0), dir, NULL);

	if (r == 0)
		r = search_names(&s, find_conflict);
	m->path.len = len;
	*ret = r == 1;
	return MIN(r, 0);
}

/* A name on our side: told of if both have changed its file, gone into if it is a directory. */
static int tell_name(struct search *s, const struct dirent_rec *e)
{
	size_t len;
	int r = 0;

	if (!e->has_link)
		return search_push(s, e->name, dir_of(e), NULL);
	if (links_conflict(s->m, &e->link) != MERGE_BOTH_CHANGED)
		return 0;
	r = merging_enter(s->m, e->name, &len);
	if (r == 0)
		r = merging_conflict(s->m, MERGE_BOTH_CHANGED);
	s->m->path.len = len;
	return r;
}

static bool has_both_changed(struct merging *m)
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
	_cleanup_(search_release) struct search s = { .m = m };
	int r = 0;

	if (!has_both_changed(m))
		return 0;
	r = search_push(&s, span_of(NULL, 0), &m->o->ours.root->dir, NULL);
	if (r == 0)
		r = search_names(&s, tell_name);
	m->path.len = 0;
	return r;
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
