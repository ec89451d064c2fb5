/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files without a name: kept while somebody has them open or knows them, then removed.
 *
 * The record stays where it was, in the top, with nlink 0, and a mark in layer 0 says so: a mount
 * that finds marks removes what they stand for. A freeze takes orphans along into the frozen
 * layer, where no commit sees them; before that layer is dropped they are moved up again.
 */
#include "base/log.h"
#include "head/overlay.h"

enum {
	REAP_AT_ONCE = 1000, /* extents removed in one change */
};

void orphan_put(struct change *c, uint64_t ino, struct file_rec *f)
{
	struct record_key k = key_orphan(c->head->id, ino);

	f->nlink = 0;
	f->parent = 0;
	f->name = span_of(NULL, 0);
	change_put(c, ino, f);
	table_batch_put(&c->batch, key_span(&k), span_of(NULL, 0));
}

bool has_orphans(struct head *h)
{
	struct record_key prefix = key_prefix_head('z', h->id);
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 };

	return table_next(h->heads->table, key_span(&prefix), key_span(&prefix), &key, &value) !=
	       -ENOENT;
}

static bool has_any(struct head *h, char letter)
{
	struct record_key prefix = key_prefix(h->top, letter);
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 };

	return table_next(h->heads->table, key_span(&prefix), key_span(&prefix), &key, &value) !=
	       -ENOENT;
}

bool top_has_changes(struct head *h)
{
	struct record_key prefix = key_prefix(h->top, 'i');
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 };
	int r;

	if (!h->top)
		return false;
	if (has_any(h, 'e') || has_any(h, 'l'))
		return true;
	while ((r = table_step(h->heads->table, key_span(&prefix), &key, &value)) == 0) {
		struct file_rec f;

		if (file_rec_read(buf_span(&value), &f) < 0 || f.nlink > 0)
			return true;
	}
	return r != -ENOENT;
}

bool has_changes(struct head *h)
{
	return h->frozen.count || top_has_changes(h);
}

bool is_uncommitted(struct head *h)
{
	return is_pinned(h) || has_changes(h);
}

/* Removes up to so many extents of one layer: 1 if there may be more, 0, -errno. */
static int reap_extents(struct heads *hs, uint32_t layer, uint64_t ino)
{
	struct record_key prefix = key_prefix_u64(layer, 'x', ino), from = prefix;
	_cleanup_table_batch_ struct table_batch batch = { 0 };
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 };
	struct freed_list freed = { 0 };
	unsigned n = 0;
	int r = 0;

	while (n < REAP_AT_ONCE) {
		struct extent x;

		r = table_next(hs->table, key_span(&prefix), key_span(&from), &key, &value);
		if (r < 0)
			break;
		r = extent_rec_read(buf_span(&value), 0, &x);
		if (r < 0)
			break;
		if (x.source == EXTENT_STAGED)
			r = freed_add(&freed, x.place, x.len, false);
		if (r < 0)
			break;
		table_batch_delete(&batch, buf_span(&key));
		from = key_extent(layer, ino, key_u64_at(buf_span(&key), KEY_AFTER_OBJECT) + 1);
		n++;
	}
	if (r == -ENOENT)
		r = 0;
	if (r == 0)
		r = table_apply(hs->table, &batch);
	freed_end(&freed, hs->staging, r == 0);
	return r < 0 ? r : n == REAP_AT_ONCE;
}

/* Removes all that a layer has of a file. */
static int reap_layer(struct head *h, uint32_t layer, uint64_t ino)
{
	_cleanup_table_batch_ struct table_batch batch = { 0 };
	_cleanup_buf_ struct buf raw = { 0 };
	struct record_key k = key_inode(layer, ino);
	struct table *t = h->heads->table;
	struct file_rec f;
	int r;

	r = table_get(t, key_span(&k), &raw);
	if (r == 0)
		r = file_rec_read(buf_span(&raw), &f);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	while (f.has_extents && (r = reap_extents(h->heads, layer, ino)) > 0)
		;
	if (r < 0)
		return r;
	table_batch_delete(&batch, key_span(&k));
	if (f.is_xattr_staged) {
		k = key_xattrs(layer, ino);
		table_batch_delete(&batch, key_span(&k));
	}
	r = table_apply(t, &batch);
	if (r == 0 && f.own_file)
		staging_release_file(h->heads->staging, f.own_file);
	return r;
}

static int unmark(struct head *h, uint64_t ino)
{
	_cleanup_table_batch_ struct table_batch batch = { 0 };
	struct record_key mark = key_orphan(h->id, ino);

	table_batch_delete(&batch, key_span(&mark));
	return table_apply(h->heads->table, &batch);
}

int orphan_remove(struct head *h, uint64_t ino)
{
	/* Frozen layers are a commit's to read, and when it lands, the paths in them are followed:
	 * what they have of the file goes with them. */
	int r = h->top ? reap_layer(h, h->top, ino) : 0;

	return r < 0 ? r : unmark(h, ino);
}

void orphan_reap(struct head *h, uint64_t ino)
{
	int r;

	WITH_LOCK(&h->view.lock);

	r = orphan_remove(h, ino);
	if (r < 0)
		log_errno(r, "%s/%s: an unlinked file's space is not freed before the next mount",
			  h->view.repo_name, h->branch_name);
}
