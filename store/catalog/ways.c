/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From a run's trees to the index's ways up (catalog_add_ways()).
 *
 * A node's entries are told before anything below it is walked, and that it is known once all of
 * that is told: so a walk can end anywhere. What is known is not walked again.
 */
#include "base/log.h"
#include "base/oidset.h"
#include "catalog/catalog.h"
#include "object/reader.h"
#include "record/tree_read.h"

enum {
	EDGES_MAX = 8192, /* told at a time, 72 bytes each */
	DEPTH_MAX = 8192, /* nodes above one another: more than any path has */
};

/* A node that is being walked. */
struct stand {
	struct node *node; /* a reference */
	uint32_t i;
};

struct walk {
	struct store *store;
	struct access *acc;
	enum index_run_tree tree;
	struct index_run_edge *edges; /* owned */
	size_t edge_count;
	struct stand *stack; /* owned */
	size_t depth, cap;
	struct oidset done; /* by this walk */
};

static void walk_release(struct walk *w)
{
	while (w->depth > 0)
		node_unref(w->stack[--w->depth].node);
	free(w->stack);
	free(w->edges);
	oidset_release(&w->done);
}

static int flush(struct walk *w)
{
	int r = index_runs_add_edges(w->store->index, w->tree, w->edges, w->edge_count);

	w->edge_count = 0;
	/* A broken index is no reason to fail: it is made anew. */
	return r == -ENOENT ? 0 : r;
}

static int tell(struct walk *w, const struct oid *parent, const struct oid *child, uint64_t name)
{
	int r = w->edge_count == EDGES_MAX ? flush(w) : 0;

	if (r == 0)
		w->edges[w->edge_count++] = (struct index_run_edge){ *parent, *child, name };
	return r;
}

/* What is below entry @i: a directory's root or a child (@ret_is_node), or a content; false:
 * nothing. */
static bool entry_of(const struct node *n, uint32_t i, struct oid *ret, struct loc *ret_loc,
		     uint64_t *ret_name, bool *ret_is_node)
{
	struct dirent_rec e;
	struct child_rec c;

	*ret_is_node = true;
	*ret_name = 0;
	if (n->level > 0) {
		node_child(n, i, &c);
		*ret = c.id;
		*ret_loc = c.loc;
		return true;
	}
	node_dirent(n, i, &e);
	*ret_name = index_run_name(e.name);
	if (e.has_link)
		return false;
	if (e.inode.type == FT_DIR) {
		*ret = e.inode.dir.id;
		*ret_loc = e.inode.dir.loc;
		return !oid_is_null(ret);
	}
	*ret_is_node = false;
	if (e.inode.type != FT_REG && e.inode.type != FT_LNK)
		return false;
	*ret = e.inode.content.size > 0 ? e.inode.content.id : *oid_empty_chunk();
	return true;
}

/* Goes down to a node, unless all below it is known. */
static int enter(struct walk *w, const struct oid *id, const struct loc *hint)
{
	struct node *n;
	int r;

	if (oidset_has(&w->done, id))
		return 0;
	r = index_runs_knows(w->store->index, w->tree, id);
	if (r != 0)
		return r < 0 ? r : 0;
	if (w->depth == DEPTH_MAX)
		return log_fail(-EBADMSG, "a tree is too deep");
	if (w->depth == w->cap) {
		size_t cap = MAX(2 * w->cap, (size_t)64);
		struct stand *stack = reallocarray(w->stack, cap, sizeof(*stack));

		if (!stack)
			return -ENOMEM;
		w->stack = stack;
		w->cap = cap;
	}
	r = reader_node(w->store->reader, id, hint, w->acc, &n);
	if (r < 0)
		return r == -ENOENT ? -EIO : r;
	w->stack[w->depth++] = (struct stand){ .node = n };
	if (n->kind != TREE_DIR)
		return -EBADMSG;
	for (uint32_t i = 0; r == 0 && i < n->count; i++) {
		struct oid child;
		struct loc loc;
		uint64_t name;
		bool is_node;

		if (entry_of(n, i, &child, &loc, &name, &is_node))
			r = tell(w, id, &child, name);
	}
	return r;
}

static int leave(struct walk *w)
{
	static const struct oid none;
	struct node *n = w->stack[--w->depth].node;
	int r = tell(w, &n->id, &none, 0);

	if (r == 0)
		r = oidset_add(&w->done, &n->id);
	node_unref(n);
	return r < 0 ? r : 0;
}

static int walk_tree(struct walk *w, const struct oid *root, const struct loc *hint)
{
	int r = enter(w, root, hint);

	while (r == 0 && w->depth > 0) {
		struct stand *f = &w->stack[w->depth - 1];
		struct oid child;
		struct loc loc;
		uint64_t name;
		bool is_node;

		r = deadline_check(&w->acc->deadline);
		if (r < 0)
			break;
		if (f->i == f->node->count)
			r = leave(w);
		else if (entry_of(f->node, f->i++, &child, &loc, &name, &is_node) && is_node)
			r = enter(w, &child, &loc);
	}
	return r;
}

/* A tree of the record: its root, and where. */
static int top_of(struct walk *w, const struct tree_root *record, const char *name, struct oid *ret,
		  struct loc *ret_loc)
{
	struct reader_source src = reader_source(w->store->reader, w->acc);
	struct dirent_rec e;
	struct node *leaf;
	int r = dir_lookup(&src.base, record, span_str(name), &leaf, &e);

	*ret = (struct oid){ 0 };
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	if (e.inode.type == FT_DIR && !e.has_link) {
		*ret = e.inode.dir.id;
		*ret_loc = e.inode.dir.loc;
	}
	node_unref(leaf);
	return 0;
}

int catalog_add_ways(struct store *s, const struct oid *tree, const struct loc *hint,
		     struct access *acc, struct catalog_ways *ret)
{
	struct catalog_ways ways;
	const struct {
		const char *name;
		enum index_run_tree tree;
		struct oid *top;
	} parts[] = { { RUN_TREE_READ, INDEX_RUN_READ, &ways.read },
		      { RUN_TREE_KEPT, INDEX_RUN_READ, &ways.kept },
		      { RUN_TREE_WRITTEN, INDEX_RUN_WRITTEN, &ways.written } };
	_cleanup_(walk_release) struct walk w = { .store = s, .acc = acc };
	struct tree_root record = { .id = *tree, .loc = *hint };
	struct node *n;
	int r;

	w.edges = new0(struct index_run_edge, EDGES_MAX);
	if (!w.edges)
		return -ENOMEM;
	r = reader_node(s->reader, tree, hint, acc, &n);
	if (r < 0)
		return r == -ENOENT ? -EIO : r;
	record.sum = n->sum;
	node_unref(n);
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
		struct loc loc = LOC_NOWHERE;

		w.tree = parts[i].tree;
		r = top_of(&w, &record, parts[i].name, parts[i].top, &loc);
		if (r == 0 && !oid_is_null(parts[i].top))
			r = walk_tree(&w, parts[i].top, &loc);
		if (r == 0)
			r = flush(&w);
		if (r < 0)
			return r;
		/* What is known of the one tree's ways is not of the other's. */
		oidset_release(&w.done);
		w.done = (struct oidset){ 0 };
	}
	*ret = ways;
	return 0;
}
