/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The history of a branch, a commit, or of a path in one.
 *
 * Commits come from a heap, by descending generation, so that each comes after all that descend
 * from it; the younger of two first. What waits in the heap is loaded, so that with a path the
 * same entry need not be looked up for each child.
 */
#include "base/heap.h"
#include "base/htab.h"
#include "base/log.h"
#include "format/xattr.h"
#include "head/acl.h"
#include "object/reader.h"
#include "service/address.h"
#include "service/describe.h"
#include "service/verbs.h"
#include "tree/tree.h"

/* A commit of the history. */
struct past {
	struct hnode node;
	struct loaded at; /* emptied once it was told */
	struct buf entry; /* what the path is in it; the same */
};

struct history {
	struct request *q;
	struct address address;
	struct name_map names;
	struct htab seen; /* of all commits so far; owned, with its elements */
	struct heap heap; /* of those still to be told; owned */
	uint64_t limit;
	bool was_there; /* some commit has the path */
};

static void past_free(struct hnode *n, void *ctx)
{
	struct past *p = container_of(n, struct past, node);

	loaded_release(&p->at);
	buf_release(&p->entry);
	free(p);
}

static void history_release(struct history *h)
{
	address_release(&h->address);
	name_map_release(&h->names);
	htab_walk(&h->seen, past_free, NULL);
	htab_release(&h->seen);
	heap_release(&h->heap);
}

static bool is_before(const void *p, const void *q)
{
	const struct past *a = p, *b = q;
	const struct commit *x = &a->at.commit, *y = &b->at.commit;

	if (x->generation != y->generation)
		return x->generation > y->generation;
	if (x->time.sec != y->time.sec)
		return x->time.sec > y->time.sec;
	if (x->time.nsec != y->time.nsec)
		return x->time.nsec > y->time.nsec;
	return oid_cmp(&a->at.id, &b->at.id) < 0;
}

static bool may_search(struct request *q, const struct inode *i)
{
	struct span acl;

	if (q->who->is_owner)
		return true;
	if (!permit_mode(q->who, i->mode, i->uid, i->gid, X_OK))
		return false;
	return q->who->uid == i->uid ||
	       (!i->xattrs.large_len &&
		xattr_get(i->xattrs.list, span_str(ACL_ACCESS_XATTR), &acl) == -ENODATA);
}

/*
 * What a path is in a commit, as bytes that are equal when it is: nothing when it is not there. Of
 * a directory that is all below it.
 */
static int entry_at(struct request *q, const struct commit *c, struct span path, struct buf *ret)
{
	struct reader_source src = reader_source(q->service->store->reader, &q->access);
	struct node *leaf = NULL, *link_leaf = NULL;
	struct inode at = c->root;
	int r = 0;

	buf_clear(ret);
	while (r == 0 && path.len > 0) {
		const uint8_t *slash = memchr(path.data, '/', path.len);
		size_t n = slash ? (size_t)(slash - path.data) : path.len;
		struct tree_root root = at.dir;
		struct dirent_rec e;
		struct node *next;

		if (at.type != FT_DIR || !may_search(q, &at)) {
			r = -ENOENT;
			break;
		}
		r = dir_lookup(&src.base, &root, span_of(path.data, n), &next, &e);
		if (r < 0)
			break;
		node_unref(leaf);
		leaf = next;
		at = e.inode;
		if (e.has_link) {
			struct link_rec l;

			node_unref(link_leaf);
			link_leaf = NULL;
			r = links_lookup(&src.base, &c->links, &e.link, &link_leaf, &l);
			if (r == -ENOENT)
				r = -EIO;
			if (r == 0)
				at = l.inode;
		}
		n += slash ? 1 : 0;
		path = span_of(path.data + n, path.len - n);
	}
	if (r == 0) {
		buf_put_u8(ret, at.type);
		inode_put(ret, &at);
		/* A hard-linked file changes without the directory's tree doing so. */
		if (at.type == FT_DIR && at.dir.sum.has_links)
			buf_put_oid(ret, &c->links.id);
	}
	node_unref(leaf);
	node_unref(link_leaf);
	if (r == -ENOENT)
		r = 0;
	return r < 0 ? r : buf_failed(ret) ? -ENOMEM : 0;
}

/* The commit @id, to be told if it is not known yet. */
static int meet(struct history *h, const struct oid *id, struct past **ret)
{
	struct past *p;
	int r;

	htab_for_each (n, &h->seen, oid_hash(id)) {
		p = container_of(n, struct past, node);
		if (oid_equal(&p->at.id, id)) {
			*ret = p;
			return 0;
		}
	}
	p = new0(struct past, 1);
	if (!p)
		return -ENOMEM;
	r = htab_insert(&h->seen, &p->node, oid_hash(id));
	if (r < 0) {
		free(p);
		return r;
	}
	p->at.id = *id;
	r = commit_load(h->q, &h->address.rec.id, id, &p->at);
	if (r == 0 && h->address.path.len > 0)
		r = entry_at(h->q, &p->at.commit, buf_span(&h->address.path), &p->entry);
	if (r < 0)
		return r;
	h->was_there |= p->entry.len > 0;
	*ret = p;
	return heap_push(&h->heap, p);
}

/* Tells of a commit unless it has the path from one of its parents. */
static int tell(struct history *h, struct past *p)
{
	const struct commit *c = &p->at.commit;
	const bool has_path = h->address.path.len > 0;
	bool is_same = has_path && c->parent_count == 0 && p->entry.len == 0;
	_cleanup_answer_ struct answer a = answer_new();
	int r = request_check(h->q);

	for (unsigned i = 0; r == 0 && i < c->parent_count; i++) {
		struct past *parent = NULL;

		r = meet(h, &c->parents[i], &parent);
		if (r == 0 && parent->at.commit.generation >= c->generation)
			return log_fail(-EBADMSG, "a commit is not younger than its parent");
		if (r == 0 && has_path)
			is_same |= span_equal(buf_span(&p->entry), buf_span(&parent->entry));
	}
	if (r < 0 || is_same)
		return r;
	answer_commit(h->q, &a, &p->at.id, c, &h->names);
	h->limit--;
	return request_answer(h->q, &a);
}

static int tell_all(struct history *h)
{
	struct past *p;
	int r = 0;

	if (!oid_is_null(&h->address.commit))
		r = meet(h, &h->address.commit, &p);
	while (r == 0 && h->heap.count > 0 && h->limit > 0) {
		struct oid id;

		p = heap_pop(&h->heap);
		r = tell(h, p);
		id = p->at.id;
		loaded_release(&p->at);
		p->at = (struct loaded){ .id = id };
		buf_release(&p->entry);
		p->entry = (struct buf){ 0 };
	}
	return r;
}

/*
 * log			commits from the last one backwards, each after all that descend from it
 *
 *	path: of a branch or commit, or of a file or directory in one: then only those in which it
 *	is not what it was in any parent; limit?: how many lines
 *
 * Lines: a commit's facts (describe.h).
 */
int verb_log(struct request *q)
{
	_cleanup_(history_release) struct history h = { .q = q, .heap.is_before = is_before };
	struct address *p = &h.address;
	int r = address_find(q, "path", p);

	if (r == 0)
		r = request_number(q, "limit", UINT64_MAX, &h.limit);
	if (r == 0)
		r = name_map_load(q, &p->rec.id, &h.names);
	if (r == 0)
		r = tell_all(&h);
	if (r == 0 && p->path.len > 0 && !h.was_there)
		return log_fail(-ENOENT, "%s/%s has never had `%.*s`", p->repo, address_branch(p),
				(int)p->path.len, (const char *)p->path.data);
	return r < 0 ? request_fail(r, "the log of %s cannot be read", p->repo) : 0;
}
