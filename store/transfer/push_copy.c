/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The queues of transfer/push_copy.h.
 */
#include "transfer/push_copy.h"

#include "base/log.h"

enum {
	WANTED_MAX = 8 << 20, /* bytes of chunks that are being fetched */
	NODES_MAX = 16 << 20, /* bytes of nodes that wait to be stored */
	DONE_MAX = 1 << 18, /* ids that are remembered */
};

int copier_init(struct copier *c, struct store *from, struct store *to, struct report *report)
{
	struct packer_options o = { .store = to, .cancelled = report->o->cancelled };

	*c = (struct copier){ .from = from, .to = to, .report = report };
	list_init(&c->wanted);
	list_init(&c->submitted);
	list_init(&c->nodes);
	access_init(&c->access, from->reader, true);
	c->access.deadline.cancelled = report->o->cancelled;
	c->source = reader_source(from->reader, &c->access);
	return packer_new(&o, &c->packer);
}

void moving_node_free(struct moving_node *n)
{
	node_unref(n->node);
	free(n->hints);
	free(n);
}

static void chunk_free(struct copier *c, struct moving_chunk *x)
{
	list_remove(&x->link);
	packer_batch_unref(c->packer, x->batch);
	free(x);
}

void copier_release(struct copier *c)
{
	list_for_each_safe (x, &c->wanted, struct moving_chunk, link)
		chunk_free(c, x);
	list_for_each_safe (x, &c->submitted, struct moving_chunk, link)
		chunk_free(c, x);
	list_for_each_safe (n, &c->nodes, struct moving_node, link)
		moving_node_free(n);
	packer_batch_unref(c->packer, c->open);
	packer_free(c->packer);
	access_release(&c->access);
	oidset_release(&c->done);
	oidset_release(&c->bare);
}

static int submit_open(struct copier *c)
{
	struct batch *b = TAKE_PTR(c->open);
	int r = b ? packer_submit(c->packer, b) : 0;

	packer_batch_unref(c->packer, b);
	return r;
}

/* Those in front that are in a pack: their nodes learn where. */
static void take_placed(struct copier *c)
{
	list_for_each_safe (x, &c->submitted, struct moving_chunk, link) {
		if (!packer_is_placed(c->packer, x->batch))
			return;
		*x->at = x->batch->chunks[x->index].loc;
		if (x->owner)
			x->owner->waiting--;
		chunk_free(c, x);
	}
}

static int add_chunk(struct copier *c, struct moving_chunk *x, struct span bytes)
{
	struct content_options o = { .packer = c->packer, .open = &c->open };
	int r = content_add_chunk(&o, bytes, &x->batch, &x->index);

	if (r < 0) {
		x->batch = NULL;
		return r;
	}
	list_remove(&x->link);
	list_append(&c->submitted, &x->link);
	report_add(c->report, 1, bytes.len);
	report_tell(c->report, false);
	take_placed(c);
	return 0;
}

/* The first that is wanted comes from its store, and goes to the packer. */
static int fetch_one(struct copier *c)
{
	struct moving_chunk *x = list_first(&c->wanted, struct moving_chunk, link);
	_cleanup_(blob_unrefp) struct blob *b = NULL;
	int r = reader_chunk(c->from->reader, &x->id, &x->hint, &c->access, &b);

	if (r < 0)
		return r == -ENOENT ? -EIO : r;
	if (b->len != x->len)
		return -EBADMSG;
	c->wanted_bytes -= x->len;
	return add_chunk(c, x, span_of(b->data, b->len));
}

/* What an entry of a node leads to. */
struct target {
	enum oid_kind kind;
	struct oid id; /* null: nothing */
};

static struct target inode_target(const struct inode *ino)
{
	const struct content *x = &ino->content;

	if (ino->type == FT_DIR)
		return (struct target){ OID_NODE, ino->dir.id };
	if ((ino->type != FT_REG && ino->type != FT_LNK) || x->size == 0)
		return (struct target){ 0 };
	return (struct target){ x->kind == CONTENT_EXTENTS ? OID_NODE : OID_CHUNK, x->id };
}

static struct target entry_target(const struct node *n, uint32_t i, struct xattrs *ret_xattrs)
{
	struct child_rec child;
	struct dirent_rec d;
	struct link_rec l;
	struct extent_rec x;

	if (n->level > 0) {
		node_child(n, i, &child);
		return (struct target){ OID_NODE, child.id };
	}
	switch ((enum tree_kind)n->kind) {
	case TREE_DIR:
		node_dirent(n, i, &d);
		if (d.has_link)
			return (struct target){ 0 };
		*ret_xattrs = d.inode.xattrs;
		return inode_target(&d.inode);
	case TREE_LINKS:
		node_link(n, i, &l);
		*ret_xattrs = l.inode.xattrs;
		return inode_target(&l.inode);
	case TREE_EXTENTS:
		node_extent(n, i, &x);
		return x.is_hole ? (struct target){ 0 } : (struct target){ OID_CHUNK, x.id };
	}
	return (struct target){ 0 };
}

/* Where the other store has an object that was there before; LOC_NONE if that is not known. */
static int find(struct copier *c, enum oid_kind kind, const struct oid *id, struct loc *at)
{
	int r;

	if (at->state != LOC_NONE || oid_is_null(id))
		return 0;
	r = packer_find(c->packer, kind, id, at);
	if (r == 0)
		*at = LOC_NOWHERE;
	return r < 0 ? r : 0;
}

static int find_hints(struct copier *c, struct moving_node *n)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < n->node->count; i++) {
		struct xattrs xattrs = { 0 };
		struct target t = entry_target(n->node, i, &xattrs);

		r = find(c, t.kind, &t.id, &n->hints[i].loc);
		if (r == 0 && xattrs.large_len > 0)
			r = find(c, OID_CHUNK, &xattrs.large, &n->hints[i].xattr_loc);
	}
	return r;
}

/* The first node's chunks are all there. */
static int store_node(struct copier *c, struct moving_node *n)
{
	struct node_sink *sink = packer_sink(c->packer);
	_cleanup_buf_ struct buf canon = { 0 };
	struct oid id;
	struct loc at;
	int r = find_hints(c, n);

	node_canon_begin(&canon, n->node->kind, n->node->level);
	for (uint32_t i = 0; i < n->node->count; i++) {
		struct span entry = node_entry_bytes(n->node, i);

		buf_put(&canon, entry.data, entry.len);
	}
	node_canon_end(&canon, n->node->count);
	if (buf_failed(&canon))
		r = -ENOMEM;
	if (r == 0)
		r = sink->put(sink, buf_span(&canon), n->hints, n->node->count, &id, &at);
	if (r == 0 && !oid_equal(&id, &n->node->id))
		r = -EBADMSG;
	if (r < 0)
		return r;
	if (n->up)
		*n->up = at;
	report_add(c->report, 1, 0);
	return 0;
}

static int store_one(struct copier *c)
{
	struct moving_node *n = list_first(&c->nodes, struct moving_node, link);
	int r = 0;

	while (r == 0 && n->waiting > 0) {
		struct moving_chunk *x = list_first(&c->submitted, struct moving_chunk, link);

		if (!list_is_empty(&c->wanted)) {
			r = fetch_one(c);
			continue;
		}
		r = submit_open(c);
		if (r == 0)
			r = packer_wait(c->packer, x->batch);
		take_placed(c);
	}
	if (r == 0)
		r = store_node(c, n);
	if (r < 0)
		return r;
	list_remove(&n->link);
	c->node_bytes -= node_footprint(n->node);
	moving_node_free(n);
	return 0;
}

int copier_want(struct copier *c, struct moving_node *owner, const struct oid *id, uint64_t len,
		const struct loc *hint, struct span inlined, struct loc *at)
{
	struct moving_chunk *x;
	struct oid real;
	int r = packer_find(c->packer, OID_CHUNK, id, at);

	if (r != 0)
		return r < 0 ? r : 0;
	*at = LOC_NOWHERE;
	if (len == 0 || len > CHUNK_LIMIT)
		return -EBADMSG;
	x = new0(struct moving_chunk, 1);
	if (!x)
		return -ENOMEM;
	*x = (struct moving_chunk){
		.owner = owner, .at = at, .id = *id, .hint = *hint, .len = (uint32_t)len
	};
	list_append(&c->wanted, &x->link);
	if (owner)
		owner->waiting++;
	if (inlined.len == len) {
		real = oid_of(OID_CHUNK, inlined.data, inlined.len);
		if (oid_equal(&real, id))
			return add_chunk(c, x, inlined);
	}
	c->wanted_bytes += x->len;
	reader_prefetch(c->from->reader, id, hint);
	while (r == 0 && c->wanted_bytes > WANTED_MAX)
		r = fetch_one(c);
	return r;
}

int copier_open(struct copier *c, struct node *node, struct loc *up, struct moving_node **ret)
{
	struct moving_node *n = new0(struct moving_node, 1);

	if (n)
		n->hints = new0(struct entry_hint, node->count);
	if (!n || !n->hints) {
		free(n);
		node_unref(node);
		return -ENOMEM;
	}
	n->node = node;
	n->up = up;
	for (uint32_t i = 0; i < node->count; i++) {
		node_entry_hint(node, i, &n->hints[i]);
		n->hints[i].loc = n->hints[i].xattr_loc = LOC_NOWHERE;
	}
	*ret = n;
	return 0;
}

bool copier_has(const struct copier *c, const struct oid *node)
{
	return oidset_has(&c->done, node) || (c->without_content && oidset_has(&c->bare, node));
}

int copier_leave(struct copier *c, struct moving_node *n)
{
	struct oidset *done = c->without_content ? &c->bare : &c->done;
	int r;

	list_append(&c->nodes, &n->link);
	c->node_bytes += node_footprint(n->node);
	if (done->ids.count >= DONE_MAX)
		oidset_release(done);
	r = oidset_add(done, &n->node->id);
	if (r > 0)
		r = 0;
	while (r == 0 && c->node_bytes > NODES_MAX)
		r = store_one(c);
	return r;
}

static int drain(struct copier *c)
{
	int r = 0;

	while (r == 0 && !list_is_empty(&c->wanted))
		r = fetch_one(c);
	while (r == 0 && !list_is_empty(&c->nodes))
		r = store_one(c);
	/* What no node waits for: a commit's own. */
	while (r == 0 && !list_is_empty(&c->submitted)) {
		struct moving_chunk *x = list_first(&c->submitted, struct moving_chunk, link);

		r = submit_open(c);
		if (r == 0)
			r = packer_wait(c->packer, x->batch);
		take_placed(c);
	}
	return r;
}

int copier_commit(struct copier *c, struct commit *commit, const struct commit *before)
{
	struct tree_root *root = &commit->root.dir, *links = &commit->links;
	struct xattrs *xattrs = &commit->root.xattrs;
	struct tree_root now[2] = { *root, *links };
	struct xattrs list = *xattrs;
	int r = 0;

	root->loc = links->loc = xattrs->loc = LOC_NOWHERE;
	if (list.large_len > 0)
		r = copier_want(c, NULL, &list.large, list.large_len, &list.loc, (struct span){ 0 },
				&xattrs->loc);
	if (r == 0)
		r = copy_tree(c, TREE_DIR, &now[0], before ? &before->root.dir : NULL, &root->loc);
	if (r == 0)
		r = copy_tree(c, TREE_LINKS, &now[1], before ? &before->links : NULL, &links->loc);
	return r;
}

int copier_tree(struct copier *c, const struct tree_root *root, bool without_content,
		struct loc *at)
{
	int r;

	*at = LOC_NOWHERE;
	c->without_content = without_content;
	r = copy_tree(c, TREE_DIR, root, NULL, at);
	c->without_content = false;
	return r;
}

int copier_finish(struct copier *c)
{
	int r = drain(c);

	if (r == 0)
		r = submit_open(c);
	return r < 0 ? r : packer_finish(c->packer);
}

int copier_resolve_tree(struct copier *c, const struct oid *root, struct loc *at)
{
	int r = find(c, OID_NODE, root, at);

	packer_resolve(c->packer, at);
	return r;
}

int copier_resolve(struct copier *c, struct commit *commit)
{
	struct tree_root *root = &commit->root.dir, *links = &commit->links;
	int r = copier_resolve_tree(c, &root->id, &root->loc);

	return r < 0 ? r : copier_resolve_tree(c, &links->id, &links->loc);
}
