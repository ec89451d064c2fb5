/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Landing: the commit that was made of a head's frozen layers becomes its base.
 *
 * What the top has of files that came up from a frozen layer lay on that layer; it now lies on what
 * the commit has of them. Which those are is known (head->lifted); what the commit has is looked up
 * by the path that the frozen layers say, with no lock held, and put into the records of the top,
 * some at a time, until nothing new has come up. (While the frozen layers are there that shows
 * nothing new: where they show what is below, the commit has just that.) Then the rest is one
 * change: the base, and the end of the frozen layers. Files that have no name in them are moved up
 * in it.
 */
#include "base/log.h"
#include "head/base.h"
#include "head/commit.h"
#include "head/readdir.h"

enum {
	REBASE_AT_ONCE = 1000, /* a change has its limits, and others wait for the lock */
};

/* A file as the new base has it. */
struct landed {
	uint64_t ino;
	struct inode inode; /* spans emptied; type 0: it does not have it */
};

struct landing {
	struct head *head;
	struct base base; /* the new one; after landing, the old one */
	bool is_pin;
	struct access *acc;
	struct landed *landed; /* REBASE_AT_ONCE of them; owned */
	size_t rebased; /* so many of head->lifted */
	uint64_t *nameless; /* those of them that the new base does not have; owned */
	size_t nameless_count;
	struct staged staged; /* what frozen layers have */
};

static void landing_release(struct landing *l)
{
	base_release(&l->base);
	free(l->landed);
	free(l->nameless);
	staged_release(&l->staged);
}

/* The names from the root down to a file of the frozen layers, the last first. */
static int path_of(struct landing *l, uint64_t ino, struct buf *ret, struct file *f)
{
	struct head *h = l->head;
	int r;

	for (;;) {
		file_release(f);
		r = load_from(h, &h->frozen, ino, f);
		if (r < 0)
			return r;
		if (f->rec.has_link || ino == root_ino(&h->view))
			return 0;
		if (f->rec.nlink == 0)
			return -ENOENT;
		buf_put(ret, f->rec.name.data, f->rec.name.len);
		buf_put_u8(ret, (uint8_t)f->rec.name.len);
		if (buf_failed(ret))
			return -ENOMEM;
		ino = f->rec.parent;
	}
}

/* One name down from @dir; @ret may be the same. */
static int step(struct landing *l, const struct inode *dir, struct span name, struct inode *ret)
{
	struct reader_source src = reader_source(l->head->view.store->reader, l->acc);
	_cleanup_(node_unrefp) struct node *leaf = NULL;
	struct dirent_rec e;
	int r;

	if (dir->type != FT_DIR)
		return -EIO;
	r = dir_lookup(&src.base, &dir->dir, name, &leaf, &e);
	if (r < 0)
		return r == -ENOENT ? -EIO : r;
	*ret = e.inode;
	return 0;
}

/* What the commit has of a file of the frozen layers: -ENOENT if it has no name there. */
static int resolve(struct landing *l, uint64_t ino, struct inode *ret)
{
	_cleanup_(node_unrefp) struct node *leaf = NULL;
	_cleanup_buf_ struct buf path = { 0 };
	_cleanup_file_ struct file f = { 0 };
	struct inode at = l->base.root;
	int r = path_of(l, ino, &path, &f);

	if (r < 0)
		return r;
	if (f.rec.has_link) {
		struct reader_source src = reader_source(l->head->view.store->reader, l->acc);
		struct link_rec rec;

		if (f.rec.nlink == 0)
			return -ENOENT;
		r = links_lookup(&src.base, &l->base.commit.links, &f.rec.link, &leaf, &rec);
		at = rec.inode;
	}
	while (r == 0 && path.len > 0) {
		size_t n = path.data[--path.len];

		path.len -= n;
		r = step(l, &at, span_of(path.data + path.len, n), &at);
	}
	if (r < 0)
		return r;
	at.xattrs = (struct xattrs){ 0 };
	if (at.type == FT_REG || at.type == FT_LNK)
		at.content.inlined = span_of(NULL, 0);
	*ret = at;
	return 0;
}

/* Once, however often it was lifted. */
static int note_nameless(struct landing *l, uint64_t ino)
{
	uint64_t *p;

	for (size_t i = 0; i < l->nameless_count; i++)
		if (l->nameless[i] == ino)
			return 0;
	p = reallocarray(l->nameless, l->nameless_count + 1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	l->nameless = p;
	l->nameless[l->nameless_count++] = ino;
	return 0;
}

/* The next of what was lifted: how many. */
static size_t next_lifted(struct landing *l)
{
	struct head *h = l->head;
	size_t n;

	WITH_LOCK(&h->view.lock);

	n = MIN(h->lifted_count - l->rebased, (size_t)REBASE_AT_ONCE);
	for (size_t i = 0; i < n; i++)
		l->landed[i] = (struct landed){ .ino = h->lifted[l->rebased + i] };
	return n;
}

/* A file of the top lies on the new base from now on. */
static int rebase(struct landing *l, const struct landed *x, struct table_batch *batch)
{
	struct head *h = l->head;
	struct layers top = { .id = { h->top }, .count = h->top != 0 };
	struct record_key k = key_inode(h->top, x->ino);
	_cleanup_file_ struct file f = { 0 };
	_cleanup_buf_ struct buf b = { 0 };
	struct inode *i = &f.rec.inode;
	int r = load_from(h, &top, x->ino, &f);

	/* It was removed since. */
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (i->type == FT_DIR)
		i->dir = x->inode.dir;
	else if (i->type == FT_REG || i->type == FT_LNK)
		i->content = x->inode.content;
	file_rec_put(&b, &f.rec);
	table_batch_put(batch, key_span(&k), buf_span(&b));
	return buf_failed(&b) ? -ENOMEM : 0;
}

static int rebase_all(struct landing *l, size_t n)
{
	struct head *h = l->head;
	_cleanup_table_batch_ struct table_batch batch = { 0 };
	int r = 0;

	WITH_LOCK(&h->view.lock);

	for (size_t i = 0; r == 0 && i < n; i++)
		if (l->landed[i].inode.type)
			r = rebase(l, &l->landed[i], &batch);
	return r < 0 ? r : table_apply(h->heads->table, &batch);
}

/* Rebases what was lifted so far. */
static int rebase_lifted(struct landing *l)
{
	size_t n;

	while ((n = next_lifted(l)) > 0) {
		int r = 0;

		for (size_t i = 0; r == 0 && i < n; i++) {
			struct landed *x = &l->landed[i];

			r = resolve(l, x->ino, &x->inode);
			if (r == -ENOENT)
				r = note_nameless(l, x->ino);
		}
		if (r == 0)
			r = change_room(&l->head->view, l->acc);
		if (r == 0)
			r = rebase_all(l, n);
		if (r < 0)
			return r;
		l->rebased += n;
	}
	return 0;
}

/* What it shows at @off becomes an extent of the top, which holds the bytes as well. */
static int rescue_extent(struct landing *l, uint64_t ino, const struct file *f, uint64_t off,
			 uint32_t top, struct table_batch *batch, struct extent *ret)
{
	struct head *h = l->head;
	struct staging *st = h->heads->staging;
	struct record_key k = key_extent(top, ino, off);
	struct layers all = head_layers(h);
	_cleanup_buf_ struct buf value = { 0 };
	struct extent x = { .off = off }, own;
	struct shown s;
	bool is_tops;
	int r;

	r = extents_shown(h, &all, ino, f, off, &s);
	if (r < 0)
		return r;
	is_tops = h->top && extent_at(h, h->top, ino, off, &own) == 0 && own.off <= off;
	x.len = s.len;
	x.source = s.source;
	x.place = s.place;
	x.content = s.content;
	x.content.inlined = span_of(NULL, 0);
	x.content_off = s.content_off;
	extent_rec_put(&value, &x);
	table_batch_put(batch, key_span(&k), buf_span(&value));
	if (x.source == EXTENT_STAGED && !is_tops) {
		if (staging_is_slab(st, x.place.file))
			staging_share(st, x.place, x.len);
		else
			staged_keep_file(&l->staged, x.place.file);
	}
	*ret = x;
	return buf_failed(&value) ? -ENOMEM : 0;
}

/* Moves a file up that the commit does not have: all that it shows becomes the top's. */
static int rescue(struct landing *l, uint64_t ino, uint32_t top, struct table_batch *batch)
{
	struct head *h = l->head;
	struct record_key k = key_inode(top, ino);
	struct layers all = head_layers(h);
	_cleanup_file_ struct file f = { 0 };
	_cleanup_buf_ struct buf b = { 0 }, list = { 0 };
	int r = load_from(h, &h->frozen, ino, &f);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	file_release(&f);
	r = load_from(h, &all, ino, &f);
	for (uint64_t off = 0; r == 0 && f.rec.inode.type == FT_REG && off < f.rec.size;) {
		struct extent x = { 0 };

		r = rescue_extent(l, ino, &f, off, top, batch, &x);
		off += x.len;
	}
	if (r < 0)
		return r;
	if (f.rec.is_xattr_staged) {
		struct record_key from = key_xattrs(f.layer, ino), to = key_xattrs(top, ino);

		r = table_get(h->heads->table, key_span(&from), &list);
		if (r < 0)
			return r;
		table_batch_put(batch, key_span(&to), buf_span(&list));
	}
	f.rec.lower_end = 0;
	f.rec.has_extents = true;
	file_rec_put(&b, &f.rec);
	table_batch_put(batch, key_span(&k), buf_span(&b));
	return buf_failed(&b) ? -ENOMEM : 0;
}

/* What the commit does not have may have got a name since. */
static int rescue_named(struct landing *l, struct table_batch *batch)
{
	struct head *h = l->head;
	struct layers top = { .id = { h->top }, .count = h->top != 0 };
	int r = 0;

	for (size_t i = 0; r == 0 && i < l->nameless_count; i++) {
		_cleanup_file_ struct file f = { 0 };

		r = load_from(h, &top, l->nameless[i], &f);
		if (r == 0 && f.rec.nlink > 0)
			r = rescue(l, l->nameless[i], h->top, batch);
		else if (r == -ENOENT)
			r = 0;
	}
	return r;
}

static int rescue_orphans(struct landing *l, uint32_t top, struct table_batch *batch)
{
	struct head *h = l->head;
	struct record_key prefix = key_prefix_head('z', h->id), from = prefix;
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 };
	int r;

	while ((r = table_next(h->heads->table, key_span(&prefix), key_span(&from), &key,
			       &value)) == 0) {
		uint64_t ino = key_u64_at(buf_span(&key), prefix.len);

		r = rescue(l, ino, top, batch);
		if (r < 0)
			return r;
		if (ino == UINT64_MAX)
			return 0;
		from = key_orphan(h->id, ino + 1);
	}
	return r == -ENOENT ? 0 : r;
}

/* With everything locked: 0; -EAGAIN: more was lifted meanwhile. */
static int land_locked(struct landing *l)
{
	struct head *h = l->head;
	struct heads *hs = h->heads;
	_cleanup_table_batch_ struct table_batch batch = { 0 };
	struct pending was = h->pending;
	struct oid committed = h->committed;
	struct layers frozen;
	uint32_t top;
	int r;

	WITH_WRLOCK(&h->gate);
	WITH_LOCK(&h->view.lock);

	if (h->lifted_count > l->rebased)
		return -EAGAIN;
	top = h->top;
	frozen = h->frozen;
	r = dir_handles_keep(h);
	if (r == 0)
		r = rescue_named(l, &batch);
	if (r == 0 && has_orphans(h)) {
		if (!top)
			top = layer_new(hs);
		r = rescue_orphans(l, top, &batch);
	}
	if (r < 0)
		return r;
	for (unsigned i = 0; i < frozen.count; i++)
		table_batch_drop(&batch, frozen.id[i]);
	view_swap_base(&h->view, &l->base);
	if (!l->is_pin)
		h->committed = h->view.base.id;
	h->frozen = (struct layers){ 0 };
	pending_landed(h, &h->pending);
	pending_put(h, &h->pending, &batch);
	head_put(h, top, &batch);
	r = counters_apply(hs, &batch);
	if (r < 0) {
		view_swap_base(&h->view, &l->base);
		h->committed = committed;
		h->pending = was;
		h->frozen = frozen;
		return r;
	}
	h->top = top;
	h->lifted_count = 0;
	return 0;
}

static int land(struct head *h, bool is_pin, const struct oid *id, struct span object,
		struct access *acc)
{
	_cleanup_(landing_release) struct landing l = { .head = h, .acc = acc, .is_pin = is_pin };
	int r = base_load(id, object, &l.base);

	if (r == 0)
		r = staged_collect(h->heads, &h->frozen, &l.staged);
	l.landed = new0(struct landed, REBASE_AT_ONCE);
	if (r == 0 && !l.landed)
		r = -ENOMEM;
	if (r < 0)
		return r;
	do {
		r = rebase_lifted(&l);
		if (r == 0)
			r = land_locked(&l);
	} while (r == -EAGAIN);
	if (r < 0)
		return r;
	staged_free(&l.staged, h->heads->staging);
	return 0;
}

int head_land(struct head *h, const struct oid *id, struct span object, struct access *acc)
{
	return land(h, false, id, object, acc);
}

int head_land_pin(struct head *h, const struct oid *id, struct span object, struct access *acc)
{
	return land(h, true, id, object, acc);
}

static uint32_t top_of(struct head *h)
{
	WITH_LOCK(&h->view.lock);

	return h->top;
}

static int note_each(struct head *h, const uint64_t *inos, size_t n)
{
	int r = 0;

	WITH_LOCK(&h->view.lock);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = note_lifted(h, inos[i]);
	return r;
}

/* Of what was lifted before a restart nobody has kept a list; what is lifted meanwhile is noted as
 * ever. */
int note_all_lifted(struct head *h)
{
	const uint32_t top = top_of(h);
	struct record_key prefix = key_prefix(top, 'i');
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 }, inos = { 0 };
	int r = -ENOENT;

	while (top && (r = table_step(h->heads->table, key_span(&prefix), &key, &value)) == 0) {
		uint64_t ino = key_u64_at(buf_span(&key), KEY_OBJECT);
		_cleanup_file_ struct file f = { 0 };

		r = load_from(h, &h->frozen, ino, &f);
		if (r == 0)
			buf_put(&inos, &ino, sizeof(ino));
		if (r < 0 && r != -ENOENT)
			return r;
	}
	if (r != -ENOENT || buf_failed(&inos))
		return r == -ENOENT ? -ENOMEM : r;
	return note_each(h, (const uint64_t *)(const void *)inos.data, inos.len / sizeof(uint64_t));
}
