/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Filling the disk cache with what will be read later.
 *
 * A first walk counts, and brings the trees; what does not fit is refused before anything of it is
 * fetched. The second one fetches. A chunk passes three stations, each bounded:
 *
 *	ahead (is being fetched) --> held (in memory) --> on the disk
 *
 * The reader puts what it has fetched on the disk itself, but only as long as the disk keeps up. So
 * each chunk is held until that has happened or will not happen any more, and then looked after.
 */
#include "base/list.h"
#include "base/log.h"
#include "base/oidset.h"
#include "base/text.h"
#include "object/cache.h"
#include "object/reader.h"
#include "service/compare.h"
#include "service/verbs.h"

enum {
	AHEAD_MAX = 12 << 20, /* bytes */
	HELD_MAX = 20 << 20, /* more than the reader has on its way to the disk */
	SEEN_MAX = 1 << 18, /* ids that are remembered; then some are counted twice */
	TELL_EVERY_MS = 200,
	SHARE_NUM = 7, /* of the budget that can be filled before things go again */
	SHARE_DEN = 8,
};

struct ahead {
	struct list link;
	struct oid id;
	struct loc loc;
	uint32_t len;
};

struct held_chunk {
	struct list link;
	struct blob *blob; /* a reference */
};

struct warming {
	struct request *q;
	struct cache *cache; /* borrowed */
	struct reader *reader;
	bool is_counting; /* the first walk */
	struct oidset seen;
	struct list ahead, held;
	uint64_t ahead_bytes, held_bytes;
	uint64_t files, files_total, bytes, bytes_total; /* different chunks */
	uint64_t fetched, hidden; /* bytes; files that the caller may not read */
	int64_t told_ns;
};

static int tell(struct warming *w, bool is_last)
{
	_cleanup_answer_ struct answer a = answer_new();
	int64_t now = now_ns();

	if (!is_last && now - w->told_ns < TELL_EVERY_MS * 1000000ll)
		return 0;
	w->told_ns = now;
	answer_bool(&a, "is_done", is_last);
	answer_number(&a, "files", w->files);
	answer_number(&a, "files_total", w->files_total);
	answer_number(&a, "bytes", w->bytes);
	answer_number(&a, "bytes_total", w->bytes_total);
	answer_number(&a, "fetched_bytes", w->fetched);
	answer_number(&a, "hidden", w->hidden);
	answer_number(&a, "cached_bytes", cache_used(w->cache));
	answer_number(&a, "cache_budget", cache_budget(w->cache));
	return request_answer(w->q, &a);
}

/* Is it there, whole? It counts as used then. */
static bool is_cached(struct warming *w, const struct oid *id)
{
	uint32_t len;

	return cache_len(w->cache, OID_CHUNK, id, &len) == 0 &&
	       cache_read(w->cache, OID_CHUNK, id, 0, 0, NULL) == 0;
}

/* The one that is held for longest. */
static void settle_one(struct warming *w)
{
	struct held_chunk *h = list_first(&w->held, struct held_chunk, link);

	if (!is_cached(w, &h->blob->id))
		cache_put(w->cache, OID_CHUNK, &h->blob->id, span_of(h->blob->data, h->blob->len));
	list_remove(&h->link);
	w->held_bytes -= h->blob->len;
	blob_unref(h->blob);
	free(h);
}

static int hold(struct warming *w, struct blob *b /* taken */)
{
	struct held_chunk *h = new0(struct held_chunk, 1);

	if (!h) {
		blob_unref(b);
		return -ENOMEM;
	}
	h->blob = b;
	list_append(&w->held, &h->link);
	w->held_bytes += b->len;
	while (w->held_bytes > HELD_MAX)
		settle_one(w);
	return 0;
}

/* Waits for the first that is being fetched. */
static int get_one(struct warming *w)
{
	struct ahead *x = list_first(&w->ahead, struct ahead, link);
	struct blob *b;
	int r = reader_chunk(w->reader, &x->id, &x->loc, &w->q->access, &b);

	if (r < 0)
		return r == -ENOENT ? -EIO : r;
	w->ahead_bytes -= x->len;
	w->bytes += x->len;
	w->fetched += x->len;
	list_remove(&x->link);
	free(x);
	r = hold(w, b);
	return r < 0 ? r : tell(w, false);
}

static int want(struct warming *w, const struct oid *id, const struct loc *loc, uint64_t len)
{
	struct ahead *x;
	int r;

	if (w->seen.ids.count >= SEEN_MAX)
		oidset_release(&w->seen);
	r = oidset_add(&w->seen, id);
	if (r <= 0)
		return r;
	if (w->is_counting) {
		w->bytes_total = add_sat(w->bytes_total, len);
		return 0;
	}
	if (is_cached(w, id)) {
		w->bytes += len;
		return tell(w, false);
	}
	x = new0(struct ahead, 1);
	if (!x)
		return -ENOMEM;
	*x = (struct ahead){ .id = *id, .loc = *loc, .len = (uint32_t)len };
	list_append(&w->ahead, &x->link);
	w->ahead_bytes += x->len;
	reader_prefetch(w->reader, id, loc);
	r = 0;
	while (r == 0 && w->ahead_bytes > AHEAD_MAX)
		r = get_one(w);
	return r;
}

static int want_extents(struct warming *w, const struct content *c)
{
	struct reader_source source = reader_source(w->reader, &w->q->access);
	struct tree_root root = content_root(c);
	struct tree_cursor cursor;
	struct extent_rec x;
	uint64_t start;
	int r;

	tree_cursor_init(&cursor, TREE_EXTENTS, &source.base);
	r = tree_seek_byte(&cursor, &root, 0, &start);
	while (r == 0 && !cursor.is_end) {
		node_extent(tree_leaf(&cursor), tree_index(&cursor), &x);
		r = x.is_hole ? 0 : want(w, &x.id, &x.loc, x.len);
		if (r == 0)
			r = request_check(w->q);
		if (r == 0)
			r = tree_next(&cursor);
	}
	tree_cursor_release(&cursor);
	return r;
}

static int want_file(struct warming *w, struct vnode *v, const struct stat *st)
{
	struct content c;
	bool is_inlined;
	int r = permit_dir(w->q, v, st, R_OK);

	if (r == -EACCES) {
		w->hidden += w->is_counting;
		return 0;
	}
	if (r == 0)
		r = view_stored_content(v, &w->q->access, &c, &is_inlined);
	if (r < 0)
		return r;
	if (w->is_counting)
		w->files_total++;
	else
		w->files++;
	if (c.size == 0 || is_inlined)
		return 0;
	return c.kind == CONTENT_EXTENTS ? want_extents(w, &c) : want(w, &c.id, &c.loc, c.size);
}

static int want_below(const struct fact *f, struct span path, void *ctx)
{
	struct stat st = { .st_mode = f->mode, .st_uid = f->uid, .st_gid = f->gid };

	return S_ISREG(f->mode) ? want_file(ctx, f->vnode, &st) : 0;
}

/* One path, from the commit that is there or that its branch was at last. */
static int walk_path(struct warming *w, const json_t *path)
{
	_cleanup_address_ struct address p = { 0 };
	_cleanup_view_ struct view *v = NULL;
	_cleanup_held_ struct held at = { 0 };
	_cleanup_buf_ struct buf bytes = { 0 };
	struct stat st;
	int r = json_to_bytes(path, &bytes);

	if (r == -EINVAL)
		return log_fail(r, "a path is text, or {\"hex\": ...}");
	if (r == 0)
		r = address_of(w->q, buf_span(&bytes), &p);
	if (r == 0)
		r = address_commit_view(w->q, &p, &v);
	if (r == 0)
		r = address_open(w->q, &p, v, &at, &st);
	if (r < 0)
		return r;
	if (S_ISREG(st.st_mode))
		return want_file(w, at.vnode, &st);
	if (!S_ISDIR(st.st_mode))
		return 0;
	r = permit_dir(w->q, at.vnode, &st, R_OK | X_OK);
	if (r < 0)
		return log_errno(r, "%s", p.repo);
	return walk_below(w->q, at.vnode, span_str(""), want_below, w);
}

static int walk_all(struct warming *w, const json_t *paths)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < json_array_size(paths); i++)
		r = walk_path(w, json_array_get(paths, i));
	while (r == 0 && !list_is_empty(&w->ahead))
		r = get_one(w);
	while (r == 0 && !list_is_empty(&w->held))
		settle_one(w);
	oidset_release(&w->seen);
	return r;
}

static int check_room(struct warming *w)
{
	uint64_t budget = cache_budget(w->cache), room = budget / SHARE_DEN * SHARE_NUM;
	char need[24], has[24];

	if (w->bytes_total <= room)
		return 0;
	return log_fail(-ENOSPC,
			"%s are wanted, and the cache can hold %s; nothing was fetched. Fewer "
			"paths, or a mount with a larger disk=, would do",
			format_size(w->bytes_total, need, sizeof(need)),
			format_size(room, has, sizeof(has)));
}

static void release(struct warming *w)
{
	list_for_each_safe (x, &w->ahead, struct ahead, link)
		free(x);
	list_for_each_safe (h, &w->held, struct held_chunk, link) {
		blob_unref(h->blob);
		free(h);
	}
	oidset_release(&w->seen);
}

/*
 * cache-warm		brings the content of files to the disk cache
 *
 *	paths: an array; of a branch it is the last commit's files
 *
 * Lines, several a second and one at the end: {is_done, files, files_total, bytes, bytes_total: of
 * different chunks, fetched_bytes: of those that were not in the cache, hidden: files the caller
 * may not read, cached_bytes, cache_budget}. ENOSPC, with nothing fetched: they do not fit.
 */
int verb_cache_warm(struct request *q)
{
	struct warming w = {
		.q = q,
		.cache = q->service->store->cache,
		.reader = q->service->store->reader,
		.is_counting = true,
	};
	const json_t *paths = json_object_get(q->fields, "paths");
	int r;

	if (!json_is_array(paths))
		return log_fail(-EINVAL, "`paths` must be an array");
	if (!w.cache)
		return log_fail(-EOPNOTSUPP, "only a mount has a disk cache");
	list_init(&w.ahead);
	list_init(&w.held);
	r = walk_all(&w, paths);
	if (r == 0)
		r = check_room(&w);
	w.is_counting = false;
	if (r == 0)
		r = walk_all(&w, paths);
	if (r == 0)
		r = tell(&w, true);
	release(&w);
	return r < 0 ? request_fail(r, "the cache cannot be filled") : 0;
}
