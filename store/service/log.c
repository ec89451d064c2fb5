/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The history of a branch, a commit, or of a path in one.
 *
 * Commits come from a heap, by descending generation, so that each comes after all that descend
 * from it; the younger of two first. What waits in the heap is loaded, so that with a path the
 * same entry need not be looked up for each child.
 */
#include "base/log.h"

#include "base/heap.h"
#include "base/htab.h"
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
	bool is_queued; /* it is to be told, or was */
};

struct history {
	struct request *q;
	struct address address;
	struct name_map names;
	struct htab seen; /* of all commits so far; owned, with its elements */
	struct heap heap; /* of those still to be told; owned */
	uint64_t limit;
	bool was_there; /* some commit has the path */
	struct loaded
		*last; /* takes the first commit, which is not told then; NULL: all are told */
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

static int load(struct history *h, struct past *p)
{
	int r = commit_load(h->q, &h->address.rec.id, &p->at.id, &p->at);

	if (r == 0 && h->address.path.len > 0)
		r = entry_at(h->q, &p->at.commit, buf_span(&h->address.path), &p->entry);
	h->was_there |= p->entry.len > 0;
	return r;
}

/* Only that it was met is kept. */
static void unload(struct past *p)
{
	struct oid id = p->at.id;

	loaded_release(&p->at);
	p->at = (struct loaded){ .id = id };
	buf_release(&p->entry);
	p->entry = (struct buf){ 0 };
}

/* The commit @id, loaded unless it was told already. */
static int meet(struct history *h, const struct oid *id, struct past **ret)
{
	struct past *p;
	int r;

	htab_for_each (n, &h->seen, oid_hash(id)) {
		p = container_of(n, struct past, node);
		if (oid_equal(&p->at.id, id)) {
			*ret = p;
			return p->is_queued || p->at.object.len > 0 ? 0 : load(h, p);
		}
	}
	p = new0(struct past, 1);
	if (!p)
		return -ENOMEM;
	p->at.id = *id;
	r = htab_insert(&h->seen, &p->node, oid_hash(id));
	if (r < 0) {
		free(p);
		return r;
	}
	*ret = p;
	return load(h, p);
}

static int queue(struct history *h, struct past *p)
{
	if (p->is_queued)
		return 0;
	p->is_queued = true;
	return heap_push(&h->heap, p);
}

/*
 * Goes on with a commit's parents. A merge that has the path from one of them leads to that one
 * alone: what came in from elsewhere is not how the path came to be what it is. But what is gone
 * may have been anywhere. @ret_is_same: it has the path from a parent, or neither path nor parent.
 */
static int follow(struct history *h, const struct past *p, bool *ret_is_same)
{
	const struct commit *c = &p->at.commit;
	struct past *parents[COMMIT_PARENTS_MAX] = { NULL }, *from = NULL;
	bool is_same = c->parent_count == 0 && p->entry.len == 0;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < c->parent_count; i++) {
		r = meet(h, &c->parents[i], &parents[i]);
		if (r == 0 && parents[i]->at.commit.generation >= c->generation)
			return log_fail(-EBADMSG, "a commit is not younger than its parent");
		if (r < 0 || from || !span_equal(buf_span(&p->entry), buf_span(&parents[i]->entry)))
			continue;
		is_same = true;
		from = p->entry.len > 0 ? parents[i] : NULL;
	}
	for (unsigned i = 0; r == 0 && i < c->parent_count; i++) {
		if (!from || from == parents[i])
			r = queue(h, parents[i]);
		else if (!parents[i]->is_queued)
			unload(parents[i]);
	}
	*ret_is_same = is_same;
	return r;
}

/* Tells of a commit unless it has the path from one of its parents. */
static int tell(struct history *h, struct past *p)
{
	const bool has_path = h->address.path.len > 0;
	_cleanup_answer_ struct answer a = answer_new();
	bool is_same = false;
	int r = request_check(h->q);

	if (r == 0)
		r = follow(h, p, &is_same);
	if (r < 0 || (has_path && is_same))
		return r;
	h->limit--;
	if (h->last) {
		*h->last = p->at;
		p->at = (struct loaded){ .id = p->at.id };
		return 0;
	}
	answer_commit(h->q, &a, &p->at.id, &p->at.commit, &h->names);
	return request_answer(h->q, &a);
}

static int tell_all(struct history *h)
{
	struct past *p = NULL;
	int r = 0;

	if (!oid_is_null(&h->address.commit))
		r = meet(h, &h->address.commit, &p);
	if (r == 0 && p)
		r = queue(h, p);
	while (r == 0 && h->heap.count > 0 && h->limit > 0) {
		p = heap_pop(&h->heap);
		r = tell(h, p);
		unload(p);
	}
	return r;
}

/*
 * log			commits from the last one backwards, each after all that descend from it
 *
 *	path: of a branch or commit, or of a file or directory in one: then only those in which it
 *	is not what it was in any parent; of a merge that has it from one, only that one's history
 *	is told; limit?: how many lines
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

int path_last_commit(struct request *q, const struct address *p, struct loaded *ret)
{
	_cleanup_(history_release) struct history h = { .q = q,
							.heap.is_before = is_before,
							.limit = 1 };
	struct loaded last = { 0 };
	int r;

	h.address = *p;
	h.last = &last;
	r = tell_all(&h);
	h.address = (struct address){ 0 }; /* the caller's */
	if (r < 0)
		return request_fail(r, "the log of %s cannot be read", p->repo);
	if (h.limit > 0)
		return log_fail(-ENOENT, "%s/%s has never had `%.*s`", p->repo, address_branch(p),
				(int)p->path.len, (const char *)p->path.data);
	*ret = last;
	return 0;
}

int path_is_from(struct request *q, const struct commit *now, const struct commit *c,
		 const struct id128 *repo, struct span path, bool *ret)
{
	_cleanup_buf_ struct buf a = { 0 }, b = { 0 }, before = { 0 };
	_cleanup_loaded_ struct loaded parent = { 0 };
	int r = entry_at(q, now, path, &a);

	if (r == 0)
		r = entry_at(q, c, path, &b);
	if (r == 0 && c->parent_count > 0)
		r = commit_load(q, repo, &c->parents[0], &parent);
	if (r == 0 && c->parent_count > 0)
		r = entry_at(q, &parent.commit, path, &before);
	if (r == 0)
		*ret = a.len > 0 && span_equal(buf_span(&a), buf_span(&b)) &&
		       !span_equal(buf_span(&b), buf_span(&before));
	return r;
}
