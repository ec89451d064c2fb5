/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Changing a head: an operation collects its records in a change, which the table takes whole.
 *
 * Everything here runs under view->lock, at hand; nothing is done before change_apply().
 */
#include "base/log.h"
#include "head/overlay.h"

enum {
	AGES_RESERVED = 1 << 20,
	INO_TRIES = 64,
};

bool view_can_change(const struct view *v)
{
	return v->is_head && !head_of((struct view *)v)->is_fixed;
}

int change_room(struct view *v, struct access *acc)
{
	/* As on any local filesystem, a slow disk is waited for; whoever asked may give up. */
	struct deadline dl = { .at_ns = INT64_MAX, .cancelled = acc->deadline.cancelled };
	struct table *t;

	if (!view_can_change(v))
		return -EROFS;
	t = head_of(v)->heads->table;
	if (table_has_room(t))
		return 0;
	return acc->may_wait ? table_wait_room(t, &dl) : -EAGAIN;
}

uint32_t layer_new(struct heads *hs)
{
	WITH_LOCK(&hs->lock);

	return hs->counters.next_layer++;
}

void head_put(struct head *h, uint32_t top, struct table_batch *batch)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct record_key k = key_head(h->id);
	struct head_rec rec = {
		.repo = h->view.repo,
		.branch = h->branch,
		.repo_name = span_str(h->view.repo_name),
		.branch_name = span_str(h->branch_name),
		.base = h->view.base.id,
		.base_object = h->view.base.object.len <= REF_COMMIT_MAX
				       ? buf_span(&h->view.base.object)
				       : span_of(NULL, 0),
		.top = top,
		.frozen_count = (uint8_t)h->frozen.count,
		.ages = h->ages_end,
		.committed = h->committed,
		.is_private = h->is_private,
		.numbers = h->numbers,
		.label = span_of(h->label, h->label_len),
	};

	memcpy(rec.frozen, h->frozen.id, sizeof(rec.frozen));
	head_rec_put(&b, &rec);
	table_batch_put(batch, key_span(&k), buf_span(&b));
	batch->bytes.failed |= buf_failed(&b);
}

static void counters_put(struct heads *hs, struct table_batch *batch)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct record_key k = key_counters();

	WITH_LOCK(&hs->lock);

	hs->counters.files_end =
		MAX(hs->counters.files_end, staging_next_file(hs->staging) + FILES_RESERVED);
	counters_rec_put(&b, &hs->counters);
	table_batch_put(batch, key_span(&k), buf_span(&b));
	batch->bytes.failed |= buf_failed(&b);
}

int counters_apply(struct heads *hs, struct table_batch *batch)
{
	WITH_LOCK(&hs->counting);

	counters_put(hs, batch);
	return table_apply(hs->table, batch);
}

static bool needs_files(struct heads *hs)
{
	WITH_LOCK(&hs->lock);

	return staging_next_file(hs->staging) + FILES_MARGIN > hs->counters.files_end;
}

int change_begin(struct change *c, struct view *v, struct access *acc)
{
	struct head *h;

	if (!view_can_change(v))
		return -EROFS;
	h = head_of(v);
	if (h->is_removed)
		return -ESTALE;
	*c = (struct change){
		.head = h,
		.acc = acc,
		.now = inode_time_of(now_wall()),
		.layer = h->top,
	};
	if (!c->layer) {
		/* Given out even if this change comes to nothing: they are many. */
		c->layer = layer_new(h->heads);
		c->is_new_top = true;
	}
	return 0;
}

int change_apply(struct change *c)
{
	struct head *h = c->head;
	uint64_t ages_end = h->ages_end;
	int r;

	if (c->age >= h->ages_end || c->is_new_top) {
		h->ages_end = MAX(h->ages_end, h->next_age) + AGES_RESERVED;
		head_put(h, c->layer, &c->batch);
	}
	if (c->is_new_top || needs_files(h->heads))
		r = counters_apply(h->heads, &c->batch);
	else
		r = table_apply(h->heads->table, &c->batch);
	if (r < 0) {
		h->ages_end = ages_end;
		return r;
	}
	h->top = c->layer;
	h->touched++;
	return 0;
}

void change_release(struct change *c)
{
	table_batch_release(&c->batch);
}

void change_put(struct change *c, uint64_t ino, const struct file_rec *f)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct record_key k = key_inode(c->layer, ino);

	file_rec_put(&b, f);
	table_batch_put(&c->batch, key_span(&k), buf_span(&b));
	c->batch.bytes.failed |= buf_failed(&b);
}

static void put_entry(struct change *c, uint64_t dir, struct span name, const struct entry_rec *e)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct record_key k = key_entry(c->layer, dir, name);

	entry_rec_put(&b, e);
	table_batch_put(&c->batch, key_span(&k), buf_span(&b));
	c->batch.bytes.failed |= buf_failed(&b);
}

/* A commit that ends gives the file another base: its record in the top must hear of it. */
int note_lifted(struct head *h, uint64_t ino)
{
	if (h->lifted_count == h->lifted_cap) {
		size_t cap = MAX(2 * h->lifted_cap, (size_t)64);
		uint64_t *p = reallocarray(h->lifted, cap, sizeof(*p));

		if (!p)
			return -ENOMEM;
		h->lifted = p;
		h->lifted_cap = cap;
	}
	h->lifted[h->lifted_count++] = ino;
	return 0;
}

/* The top's shape of a record from below: what it has of bytes lies one layer down. */
static int lift(struct change *c, uint64_t ino, struct file *f)
{
	int r = f->layer ? note_lifted(c->head, ino) : 0;

	if (r < 0)
		return r;
	if (f->rec.is_xattr_staged) {
		_cleanup_buf_ struct buf list = { 0 };
		struct record_key from = key_xattrs(f->xattr_layer, ino),
				  to = key_xattrs(c->layer, ino);

		r = table_get(c->head->heads->table, key_span(&from), &list);

		if (r < 0)
			return r;
		table_batch_put(&c->batch, key_span(&to), buf_span(&list));
	}
	if (!f->layer && (f->rec.inode.type == FT_REG || f->rec.inode.type == FT_LNK))
		content_check_inlined(&f->rec.inode.content);
	f->rec.lower_end = f->rec.size;
	f->rec.has_extents = false;
	f->rec.own_file = 0;
	f->layer = c->layer;
	return 0;
}

static bool has_name_in_top(struct change *c, struct vnode *n, int *ret_error)
{
	struct layers top = { .id = { c->layer }, .count = 1 };
	struct entry_rec e;
	int r;

	if (c->is_new_top)
		return false;
	r = entry_get(c->head, &top, n->parent->ino, vnode_name(n), &e);
	if (r < 0 && r != -ENOENT)
		*ret_error = r;
	return r == 0;
}

/* Puts the name of @n and those of the directories above it into the top, with their records. */
static int put_path(struct change *c, struct vnode *n)
{
	struct view *v = &c->head->view;

	while (n->parent && !(n->flags & VNODE_UNLINKED)) {
		_cleanup_file_ struct file dir = { 0 };
		struct entry_rec e = { .ino = n->ino, .type = n->type };
		struct entry_rec below;
		int r = 0;

		if (has_name_in_top(c, n, &r) || r < 0)
			return r;
		if (entry_get(c->head, &c->head->frozen, n->parent->ino, vnode_name(n), &below) ==
		    0)
			e.age = below.age;
		put_entry(c, n->parent->ino, vnode_name(n), &e);

		r = load_vnode(v, n->parent, c->acc, &dir);
		if (r < 0)
			return r;
		if (dir.layer == c->layer)
			return 0;
		r = lift(c, n->parent->ino, &dir);
		if (r < 0)
			return r;
		change_put(c, n->parent->ino, &dir.rec);
		n = n->parent;
	}
	return 0;
}

void change_link_put(struct change *c, const struct id128 *link, uint64_t ino)
{
	struct record_key k = key_link(c->layer, link);
	uint64_t be = htobe64(ino);

	table_batch_put(&c->batch, key_span(&k), span_of(&be, sizeof(be)));
}

int change_file(struct change *c, struct vnode *n, struct file *f)
{
	int r;

	/* Who looks it up again finds what there is now. */
	if (n->flags & VNODE_LEFT)
		return -ESTALE;
	if (f->layer == c->layer)
		return 0;
	if (f->rec.has_link)
		change_link_put(c, &f->rec.link, f->rec.nlink ? n->ino : 0);
	else if (f->rec.nlink > 0) {
		r = put_path(c, n);
		if (r < 0)
			return r;
	}
	return lift(c, n->ino, f);
}

void exception_put(struct head *h, const struct record_key *k, uint64_t ino,
		   struct table_batch *batch)
{
	struct record_key taken = key_taken(h->id, ino);
	uint64_t be = htobe64(ino);

	table_batch_put(batch, key_span(k), span_of(&be, sizeof(be)));
	table_batch_put(batch, key_span(&taken), span_of(NULL, 0));
	h->has_exceptions = true;
}

void change_name_put(struct change *c, uint64_t dir, struct span name, uint64_t ino,
		     const struct file_rec *f)
{
	struct head *h = c->head;
	struct entry_rec e = { .ino = ino, .type = f->inode.type };
	struct record_key k;

	e.age = c->age = ++h->next_age;
	put_entry(c, dir, name, &e);
	k = key_order(c->layer, dir, e.age);
	table_batch_put(&c->batch, key_span(&k), name);
	/* A hard link's number hangs on its link id, not on its names. */
	k = key_exception(h->id, dir, name);
	if (!f->has_link && ino != derive_ino(&h->view, dir, name))
		exception_put(h, &k, ino, &c->batch);
	else if (h->has_exceptions)
		table_batch_delete(&c->batch, key_span(&k));
}

void change_name_keep(struct change *c, uint64_t dir, struct span name, uint64_t ino, uint8_t type)
{
	put_entry(c, dir, name, &(struct entry_rec){ .ino = ino, .type = type });
}

int change_name_remove(struct change *c, uint64_t dir, const struct tree_root *root,
		       struct span name, uint64_t ino, const struct file_rec *f)
{
	struct head *h = c->head;
	struct reader_source src = reader_source(h->view.store->reader, c->acc);
	_cleanup_(node_unrefp) struct node *leaf = NULL;
	struct layers top = { .id = { c->layer }, .count = 1 };
	struct entry_rec e, below;
	struct dirent_rec d;
	struct record_key k;
	bool is_below;
	int r;

	is_below = entry_get(h, &h->frozen, dir, name, &below) == 0 && below.ino != 0;
	if (!is_below) {
		r = dir_lookup(&src.base, root, name, &leaf, &d);
		if (r < 0 && r != -ENOENT)
			return r;
		is_below = r == 0;
	}
	r = c->is_new_top ? -ENOENT : entry_get(h, &top, dir, name, &e);
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0 && e.age) {
		k = key_order(c->layer, dir, e.age);
		table_batch_delete(&c->batch, key_span(&k));
	}
	if (is_below) {
		put_entry(c, dir, name, &(struct entry_rec){ 0 });
	} else {
		k = key_entry(c->layer, dir, name);
		table_batch_delete(&c->batch, key_span(&k));
	}
	if (h->has_exceptions && !f->has_link && ino != derive_ino(&h->view, dir, name)) {
		k = key_exception(h->id, dir, name);
		table_batch_delete(&c->batch, key_span(&k));
		k = key_taken(h->id, ino);
		table_batch_delete(&c->batch, key_span(&k));
	}
	return 0;
}

/* Is there a file of that number, with a name or without, or may there be again? */
static int ino_is_taken(struct change *c, uint64_t ino)
{
	struct head *h = c->head;
	_cleanup_file_ struct file f = { 0 };
	_cleanup_buf_ struct buf raw = { 0 };
	struct record_key k = key_taken(h->id, ino);
	int r;

	r = load_layered(h, ino, &f);
	if (r != -ENOENT)
		return r < 0 ? r : 1;
	if (h->has_exceptions) {
		r = table_get(h->heads->table, key_span(&k), &raw);
		if (r != -ENOENT)
			return r < 0 ? r : 1;
	}
	return vnode_exists(h->view.vnodes, &h->view, ino);
}

int change_new_ino(struct change *c, uint64_t dir, struct span name, bool was_there, uint64_t *ret)
{
	uint64_t ino = derive_ino(&c->head->view, dir, name);
	int r;

	for (unsigned i = 0; i < INO_TRIES; i++) {
		r = was_there && i == 0 ? 1 : ino_is_taken(c, ino);
		if (r < 0)
			return r;
		if (r == 0) {
			*ret = ino;
			return 0;
		}
		ino = random_ino();
	}
	return -EIO;
}

void change_link_id(struct change *c, struct vnode *n, struct file *f)
{
	struct record_key k;

	if (f->rec.has_link)
		return;
	if (f->rec.parent && c->head->has_exceptions) {
		k = key_exception(c->head->id, f->rec.parent, f->rec.name);
		table_batch_delete(&c->batch, key_span(&k));
	}
	f->rec.has_link = true;
	f->rec.link = id128_random();
	f->rec.parent = 0;
	f->rec.name = span_of(NULL, 0);
	change_link_put(c, &f->rec.link, n->ino);
	k = key_link_exception(c->head->id, &f->rec.link);
	exception_put(c->head, &k, n->ino, &c->batch);
}

void change_link_gone(struct change *c, uint64_t ino, const struct file_rec *f)
{
	struct record_key k;

	change_link_put(c, &f->link, 0);
	k = key_link_exception(c->head->id, &f->link);
	table_batch_delete(&c->batch, key_span(&k));
	k = key_taken(c->head->id, ino);
	table_batch_delete(&c->batch, key_span(&k));
}
