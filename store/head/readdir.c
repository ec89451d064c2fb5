/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Listing directories, so that a name nobody touches comes exactly once, whatever else happens.
 *
 * A handle pins the base tree that its directory had when it was opened. A listing goes over that
 * tree by ordinal, leaving out what is gone by now, and then over names that the tree does not
 * have, by age. Positions are the ordinals, then AGES_FROM + age.
 *
 * A commit drops the layer that knew ages: before that, names and ages go to the handles that are
 * open (dir_handles_keep()).
 */
#include "head/readdir.h"

/* Where the ages of names begin among positions. */
static const uint64_t ages_from = 1ull << 62;

struct aged_name {
	uint64_t age;
	struct span name; /* owned */
};

struct dir_handle {
	struct vnode *dir; /* a reference */
	struct list link; /* in head->handles */
	/* Guarded by the view's lock. */
	struct tree_root root; /* pinned */
	uint64_t generation; /* of the view when it was opened */
	struct reader_source source;
	struct tree_cursor cursor;
	bool is_placed; /* the cursor is at @ordinal */
	uint64_t ordinal;
	struct aged_name *kept; /* ascending by age; owned */
	size_t kept_count;
};

static int open_locked(struct vnode *dir, struct access *acc, struct dir_handle *h)
{
	struct view *v = dir->view;
	int r;

	WITH_LOCK(&v->lock);

	r = dir_root(v, dir, acc, &h->root);
	if (r < 0)
		return r;
	h->generation = v->generation;
	if (v->is_head)
		list_append(&head_of(v)->handles, &h->link);
	return 0;
}

int view_opendir(struct vnode *dir, struct access *acc, struct dir_handle **ret)
{
	struct view *v = dir->view;
	struct dir_handle *h;
	int r;

	if (dir->type != FT_DIR)
		return -ENOTDIR;
	h = new0(struct dir_handle, 1);
	if (!h)
		return -ENOMEM;
	h->dir = dir;
	list_init(&h->link);
	h->source = reader_source(v->store->reader, acc);
	tree_cursor_init(&h->cursor, TREE_DIR, &h->source.base);
	r = WITH_ACCESS(acc, open_locked(dir, acc, h));
	if (r < 0) {
		free(h);
		return r;
	}
	vnode_ref(v->vnodes, dir);
	*ret = h;
	return 0;
}

void view_closedir(struct dir_handle *h)
{
	struct view *v = h->dir->view;

	pthread_mutex_lock(&v->lock);
	list_remove(&h->link);
	pthread_mutex_unlock(&v->lock);
	tree_cursor_release(&h->cursor);
	for (size_t i = 0; i < h->kept_count; i++)
		free((void *)h->kept[i].name.data);
	free(h->kept);
	vnode_unref(v->vnodes, h->dir);
	free(h);
}

/* Moves the cursor to @ordinal. */
static int place(struct dir_handle *h, uint64_t ordinal, struct access *acc)
{
	int r;

	h->source.access = acc;
	if (h->is_placed && h->ordinal == ordinal)
		return 0;
	if (h->is_placed && h->ordinal + 1 == ordinal)
		r = tree_next(&h->cursor);
	else
		r = tree_seek_ordinal(&h->cursor, &h->root, ordinal);
	h->is_placed = r == 0;
	h->ordinal = ordinal;
	return r;
}

/* One entry on its way out. */
struct listed {
	struct dir_item item;
	struct found found;
	uint8_t name[FILE_NAME_MAX];
};

static int fill(struct dir_handle *h, struct span name, uint64_t next_pos, bool want_stat,
		struct access *acc, struct listed *ret)
{
	struct view *v = h->dir->view;
	_cleanup_file_ struct file file = { 0 };
	struct dir_item *e = &ret->item;
	int r;

	if (name.data != ret->name)
		memcpy(ret->name, name.data, name.len);
	*e = (struct dir_item){
		.name = span_of(ret->name, name.len),
		.ino = ret->found.ino,
		.type = ret->found.type,
		.next_pos = next_pos,
	};
	if (!want_stat)
		return 1;
	r = load_found(v, h->dir->ino, e->name, &ret->found, acc, &file);
	if (r < 0)
		return r;
	file_stat(&file.rec, e->ino, &e->st);
	r = vnode_of_found(v, h->dir, e->name, &ret->found, &file.rec, &e->vnode);
	return r < 0 ? r : 1;
}

/* What a name of the pinned tree means now; -ENOENT: nothing. */
static int find_pinned(struct dir_handle *h, const struct dirent_rec *e, struct access *acc,
		       struct found *ret)
{
	struct view *v = h->dir->view;
	struct tree_root root;
	int r;

	if (v->is_head &&
	    (head_of(v)->top || head_of(v)->frozen.count || h->generation != v->generation)) {
		r = dir_root(v, h->dir, acc, &root);
		return r < 0 ? r : find_in(v, h->dir->ino, &root, e->name, acc, ret);
	}
	*ret = (struct found){ .type = e->inode.type, .base = *e };
	ret->leaf = node_ref((struct node *)tree_leaf(&h->cursor));
	return base_ino(v, h->dir->ino, e, &ret->ino);
}

/* The next of the pinned tree from *@pos on: 1; 0: it has no more, and *@pos is past it. */
static int next_pinned(struct dir_handle *h, uint64_t *pos, bool want_stat, struct access *acc,
		       struct listed *ret)
{
	struct dirent_rec e;
	int r;

	for (;; (*pos)++) {
		if (oid_is_null(&h->root.id))
			break;
		r = place(h, *pos, acc);
		if (r < 0)
			return r;
		if (h->cursor.is_end)
			break;
		node_dirent(tree_leaf(&h->cursor), tree_index(&h->cursor), &e);
		found_release(&ret->found);
		r = find_pinned(h, &e, acc, &ret->found);
		if (r == -ENOENT)
			continue;
		return r < 0 ? r : fill(h, e.name, *pos + 1, want_stat, acc, ret);
	}
	*pos = ages_from;
	return 0;
}

/* The first name of a layer that is of age @age or younger; -ENOENT. */
static int aged_in_layer(struct dir_handle *h, uint32_t layer, uint64_t age, uint64_t *ret_age,
			 struct buf *ret_name)
{
	struct view *v = h->dir->view;
	struct record_key prefix = key_prefix_u64(layer, 'o', h->dir->ino);
	struct record_key from = key_order(layer, h->dir->ino, age);
	_cleanup_buf_ struct buf key = { 0 };
	int r;

	r = table_next(head_of(v)->heads->table, key_span(&prefix), key_span(&from), &key,
		       ret_name);
	if (r == 0)
		*ret_age = key_u64_at(buf_span(&key), KEY_AFTER_OBJECT);
	return r;
}

static const struct aged_name *aged_kept(const struct dir_handle *h, uint64_t age)
{
	size_t lo = 0, hi = h->kept_count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (h->kept[mid].age < age)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < h->kept_count ? &h->kept[lo] : NULL;
}

/* The oldest name of age @age or younger, from wherever; -ENOENT. */
static int next_aged(struct dir_handle *h, uint64_t age, uint64_t *ret_age, struct buf *ret)
{
	struct head *head = head_of(h->dir->view);
	const struct aged_name *kept = aged_kept(h, age);
	struct layers layers = head_layers(head);
	uint64_t best = UINT64_MAX;

	if (kept) {
		best = kept->age;
		buf_clear(ret);
		buf_put(ret, kept->name.data, kept->name.len);
	}
	for (unsigned i = 0; i < layers.count; i++) {
		_cleanup_buf_ struct buf name = { 0 };
		uint64_t a;
		int r = aged_in_layer(h, layers.id[i], age, &a, &name);

		if (r < 0 && r != -ENOENT)
			return r;
		if (r == 0 && a < best) {
			best = a;
			buf_clear(ret);
			buf_put(ret, name.data, name.len);
		}
	}
	*ret_age = best;
	if (best == UINT64_MAX)
		return -ENOENT;
	return buf_failed(ret) || ret->len > FILE_NAME_MAX ? -EIO : 0;
}

static int next_made_since(struct dir_handle *h, uint64_t *pos, bool want_stat, struct access *acc,
			   struct listed *ret)
{
	struct view *v = h->dir->view;
	_cleanup_buf_ struct buf name = { 0 };
	struct tree_root root;
	uint64_t age;
	int r;

	if (!v->is_head)
		return 0;
	r = dir_root(v, h->dir, acc, &root);
	if (r < 0)
		return r;
	for (;;) {
		struct reader_source src = reader_source(v->store->reader, acc);
		_cleanup_(node_unrefp) struct node *leaf = NULL;
		struct dirent_rec e;

		r = next_aged(h, *pos - ages_from, &age, &name);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		*pos = ages_from + age;
		/* Those that the pinned tree has came with it. */
		r = dir_lookup(&src.base, &h->root, buf_span(&name), &leaf, &e);
		if (r < 0 && r != -ENOENT)
			return r;
		found_release(&ret->found);
		if (r == -ENOENT) {
			r = find_in(v, h->dir->ino, &root, buf_span(&name), acc, &ret->found);
			if (r < 0 && r != -ENOENT)
				return r;
			/* One that was made anew comes at its new age. */
			if (r == 0 && (!ret->found.is_layered || ret->found.age == age))
				return fill(h, buf_span(&name), *pos + 1, want_stat, acc, ret);
		}
		(*pos)++;
	}
}

static int next_locked(struct dir_handle *h, uint64_t *pos, bool want_stat, struct access *acc,
		       struct listed *ret)
{
	int r = 0;

	WITH_LOCK(&h->dir->view->lock);

	if (h->dir->flags & VNODE_UNLINKED)
		return 0;
	if (*pos < ages_from)
		r = next_pinned(h, pos, want_stat, acc, ret);
	if (r == 0 && *pos >= ages_from)
		r = next_made_since(h, pos, want_stat, acc, ret);
	return r;
}

int view_readdir(struct dir_handle *h, uint64_t pos, bool want_stat, struct access *acc,
		 int (*fn)(const struct dir_item *e, void *ctx), void *ctx)
{
	struct vnode_table *t = h->dir->view->vnodes;
	struct listed e = { 0 };
	int r;

	for (;;) {
		r = WITH_ACCESS(acc, next_locked(h, &pos, want_stat, acc, &e));
		if (r <= 0)
			break;
		r = fn(&e.item, ctx);
		pos = e.item.next_pos;
		if (e.item.vnode)
			vnode_unref(t, TAKE_PTR(e.item.vnode));
		if (r != 0)
			break;
	}
	found_release(&e.found);
	return MIN(r, 0);
}

static int keep(struct dir_handle *h, uint64_t age, struct span name)
{
	struct aged_name *p = reallocarray(h->kept, h->kept_count + 1, sizeof(*p));
	uint8_t *copy = malloc(MAX(name.len, (size_t)1));

	if (p)
		h->kept = p;
	if (!p || !copy) {
		free(copy);
		return -ENOMEM;
	}
	memcpy(copy, name.data, name.len);
	h->kept[h->kept_count++] = (struct aged_name){ age, span_of(copy, name.len) };
	return 0;
}

static int keep_layer(struct dir_handle *h, uint32_t layer)
{
	_cleanup_buf_ struct buf name = { 0 };
	uint64_t age = 0;
	int r;

	while ((r = aged_in_layer(h, layer, age, &age, &name)) == 0) {
		r = keep(h, age, buf_span(&name));
		if (r < 0)
			return r;
		age++;
	}
	return r == -ENOENT ? 0 : r;
}

int dir_handles_keep(struct head *head)
{
	list_for_each (h, &head->handles, struct dir_handle, link) {
		/* Oldest first: ages ascend from layer to layer. */
		for (unsigned i = head->frozen.count; i-- > 0;) {
			int r = keep_layer(h, head->frozen.id[i]);

			if (r < 0)
				return r;
		}
	}
	return 0;
}
