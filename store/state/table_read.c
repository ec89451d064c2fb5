/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading the table: memory, then LMDB where it has the layer.
 *
 * A reader sees one state of the table: what it finds in memory is copied, and its look at LMDB
 * begun, under one hold of the lock. LMDB itself, where a page may have to come from the disk, is
 * read with no lock held. There is one exception: a search for a neighbour that meets deleted keys
 * goes through both at once and keeps the lock until it has found something; the pages it needs are
 * those whose keys were deleted a moment ago.
 */
#include "state/table_core.h"

enum source {
	ACTIVE,
	FROZEN,
	STORED,
	SOURCES,
};

/* A search for the neighbour of a key, in one direction. */
struct search {
	struct table *table;
	struct span prefix;
	bool back;
	/* The key to start at; with beyond, not counting itself. */
	uint8_t at_bytes[TABLE_KEY_MAX + 1];
	struct span at;
	bool beyond;
	/* What each source has there; no data: nothing. */
	struct span keys[SOURCES];
	const struct memrec *records[STORED];
	struct lmdbread *read; /* owned; NULL: LMDB is not asked */
};

static bool has_prefix(struct span key, struct span prefix)
{
	return key.len >= prefix.len &&
	       (prefix.len == 0 || memcmp(key.data, prefix.data, prefix.len) == 0);
}

static bool is_own(struct span key)
{
	return key.len >= TABLE_LAYER_LEN && key_layer(key) == TABLE_LAYER_OWN;
}

static void start_at(struct search *s, struct span at, bool beyond)
{
	/* No key is longer than TABLE_KEY_MAX, so one byte more keeps the order. */
	size_t len = MIN(at.len, sizeof(s->at_bytes));

	if (len > 0)
		memmove(s->at_bytes, at.data, len);
	s->at = span_of(s->at_bytes, len);
	s->beyond = beyond;
}

/* Backwards, from behind all that begins with @prefix. */
static void start_behind(struct search *s, struct span prefix)
{
	static const uint8_t top[TABLE_LAYER_LEN] = { 0xff, 0xff, 0xff, 0xff };

	while (prefix.len > 0 && prefix.data[prefix.len - 1] == 0xff)
		prefix.len--;
	if (prefix.len == 0) {
		start_at(s, span_of(top, sizeof(top)), true);
		return;
	}
	start_at(s, prefix, true);
	s->at_bytes[prefix.len - 1]++;
}

/* False: nothing can match. */
static bool start(struct search *s, struct span from)
{
	if (s->prefix.len > TABLE_KEY_MAX)
		return false;
	if (has_prefix(from, s->prefix)) {
		start_at(s, from, false);
	} else if (span_cmp(from, s->prefix) < 0) {
		if (s->back)
			return false;
		start_at(s, s->prefix, false);
	} else {
		if (!s->back)
			return false;
		start_behind(s, s->prefix);
	}
	/* The table's own records in LMDB lie behind all others. */
	if (s->back && is_own(s->at))
		start_behind(s, span_of(NULL, 0));
	return true;
}

static void found(struct search *s, enum source i, struct span key)
{
	s->keys[i] =
		key.data && has_prefix(key, s->prefix) && !is_own(key) ? key : span_of(NULL, 0);
}

static void found_record(struct search *s, enum source i, const struct memrec *r)
{
	s->records[i] = r;
	found(s, i, r ? memrec_key(r) : span_of(NULL, 0));
}

static void seek_memory(struct search *s)
{
	const struct memtable *tables[] = { s->table->active, s->table->frozen };

	for (enum source i = ACTIVE; i < STORED; i++) {
		const struct memrec *r = NULL;

		if (tables[i])
			r = s->back ? memtable_seek_back(tables[i], s->at, s->beyond)
				    : memtable_seek(tables[i], s->at, s->beyond);
		found_record(s, i, r);
	}
}

static int found_stored(struct search *s, int r, struct span key)
{
	if (r < 0 && r != -ENOENT)
		return r;
	found(s, STORED, r == 0 ? key : span_of(NULL, 0));
	return 0;
}

static int seek_stored(struct search *s)
{
	struct span key;
	int r;

	if (!s->read)
		return 0;
	r = lmdbread_seek(s->read, s->at, s->beyond, s->back, &key);
	return found_stored(s, r, key);
}

/* The source that comes first, the newest of several with one key; SOURCES: none has anything. */
static enum source nearest(const struct search *s)
{
	enum source best = SOURCES;

	for (enum source i = ACTIVE; i < SOURCES; i++) {
		int c;

		if (!s->keys[i].data)
			continue;
		c = best == SOURCES ? -1 : span_cmp(s->keys[i], s->keys[best]);
		if (best == SOURCES || (s->back ? c > 0 : c < 0))
			best = i;
	}
	return best;
}

static int step(struct search *s, enum source i)
{
	const struct memrec *r = s->records[i == STORED ? 0 : i];
	struct span key;
	int e;

	if (i == STORED) {
		e = lmdbread_step(s->read, s->back, &key);
		return found_stored(s, e, key);
	}
	if (!s->back)
		r = memrec_next(r);
	else
		r = memtable_seek_back(i == ACTIVE ? s->table->active : s->table->frozen,
				       memrec_key(r), true);
	found_record(s, i, r);
	return 0;
}

/* All that are at this key go on. */
static int pass(struct search *s, struct span key)
{
	int r = 0;

	for (enum source i = ACTIVE; i < SOURCES && r == 0; i++)
		if (s->keys[i].data && span_equal(s->keys[i], key))
			r = step(s, i);
	return r;
}

static int pass_layer(struct search *s, uint32_t layer)
{
	uint32_t be = htobe32(s->back ? layer : layer + 1);

	start_at(s, span_of(&be, sizeof(be)), s->back);
	seek_memory(s);
	return seek_stored(s);
}

static int copy_out(struct span key, struct span value, struct buf *ret_key, struct buf *ret_value)
{
	buf_clear(ret_key);
	buf_clear(ret_value);
	buf_put(ret_key, key.data, key.len);
	buf_put(ret_value, value.data, value.len);
	return buf_failed(ret_key) || buf_failed(ret_value) ? -ENOMEM : 0;
}

/* The whole search, under the lock. */
static int search_all(struct search *s, struct buf *ret_key, struct buf *ret_value)
{
	struct table *t = s->table;
	struct span key, value;
	enum source i;
	int r;

	r = seek_stored(s);
	while (r == 0 && (i = nearest(s)) != SOURCES) {
		key = s->keys[i];
		if (layerset_has(&t->dropped, key_layer(key))) {
			r = pass_layer(s, key_layer(key));
			continue;
		}
		if (i != STORED && s->records[i]->is_deleted) {
			r = pass(s, key);
			continue;
		}
		if (i == STORED)
			r = lmdbread_value(s->read, &value);
		else
			value = memrec_value(s->records[i]);
		return r < 0 ? r : copy_out(key, value, ret_key, ret_value);
	}
	return r < 0 ? r : -ENOENT;
}

/* What memory has is in @ret_key already if @r is 0: does LMDB have something nearer? */
static int search_stored(struct search *s, int r, struct buf *ret_key, struct buf *ret_value)
{
	struct span value;
	int e;

	e = seek_stored(s);
	if (e < 0 || r == -ENOMEM)
		return e < 0 ? e : r;
	/* The memory's keys may be gone by now; the copy is not. */
	s->keys[ACTIVE] = r == 0 ? buf_span(ret_key) : span_of(NULL, 0);
	s->keys[FROZEN] = span_of(NULL, 0);
	if (nearest(s) != STORED)
		return r;
	e = lmdbread_value(s->read, &value);
	return e < 0 ? e : copy_out(s->keys[STORED], value, ret_key, ret_value);
}

static int search_run(struct search *s, struct buf *ret_key, struct buf *ret_value)
{
	struct table *t = s->table;
	bool in_layer = s->prefix.len >= TABLE_LAYER_LEN, is_direct;
	enum source i;
	int r = 0;

	pthread_rwlock_rdlock(&t->lock);
	if (in_layer && layerset_has(&t->dropped, key_layer(s->prefix))) {
		pthread_rwlock_unlock(&t->lock);
		return -ENOENT;
	}
	seek_memory(s);
	i = nearest(s);
	if (in_layer ? layerset_has(&t->stored, key_layer(s->prefix)) : t->stored.count > 0)
		r = lmdbread_begin(t->store, &s->read);
	is_direct = in_layer && (i == SOURCES || !s->records[i]->is_deleted);
	if (r == 0 && !is_direct)
		r = search_all(s, ret_key, ret_value);
	else if (r == 0 && i != SOURCES)
		r = copy_out(s->keys[i], memrec_value(s->records[i]), ret_key, ret_value);
	else if (r == 0)
		r = -ENOENT;
	pthread_rwlock_unlock(&t->lock);

	if (is_direct && s->read)
		r = search_stored(s, r, ret_key, ret_value);
	return r;
}

static int neighbour(struct table *t, struct span prefix, struct span from, bool back,
		     struct buf *ret_key, struct buf *ret_value)
{
	struct search s;
	int r = -ENOENT;

	/* Not all set to zero: the bytes of `at` are many. */
	s.table = t;
	s.prefix = prefix;
	s.back = back;
	s.keys[STORED] = span_of(NULL, 0);
	s.read = NULL;
	buf_clear(ret_key);
	buf_clear(ret_value);
	if (start(&s, from))
		r = search_run(&s, ret_key, ret_value);
	if (s.read)
		lmdbread_end(s.read);
	return r;
}

int table_next(struct table *t, struct span prefix, struct span from, struct buf *ret_key,
	       struct buf *ret_value)
{
	return neighbour(t, prefix, from, false, ret_key, ret_value);
}

int table_step(struct table *t, struct span prefix, struct buf *key, struct buf *ret_value)
{
	_cleanup_buf_ struct buf from = { 0 };

	if (key->len == 0) {
		buf_put(&from, prefix.data, prefix.len);
	} else {
		/* The least key above it. */
		buf_put(&from, key->data, key->len);
		buf_put_u8(&from, 0);
	}
	if (buf_failed(&from))
		return -ENOMEM;
	return table_next(t, prefix, buf_span(&from), key, ret_value);
}

int table_prev(struct table *t, struct span prefix, struct span from, struct buf *ret_key,
	       struct buf *ret_value)
{
	return neighbour(t, prefix, from, true, ret_key, ret_value);
}

/* Looks in memory; -EAGAIN: LMDB may have it, and @ret_read is a look at it. */
static int get_from_memory(struct table *t, struct span key, struct buf *ret,
			   struct lmdbread **ret_read)
{
	const struct memrec *rec;
	int r;

	WITH_RDLOCK(&t->lock);
	if (t->dropped.count > 0 && layerset_has(&t->dropped, key_layer(key)))
		return -ENOENT;
	rec = memtable_get(t->active, key);
	if (!rec && t->frozen)
		rec = memtable_get(t->frozen, key);
	if (rec) {
		if (rec->is_deleted)
			return -ENOENT;
		buf_put(ret, rec->value, rec->value_len);
		return buf_failed(ret) ? -ENOMEM : 0;
	}
	if (!layerset_has(&t->stored, key_layer(key)))
		return -ENOENT;
	r = lmdbread_begin(t->store, ret_read);
	return r < 0 ? r : -EAGAIN;
}

int table_get(struct table *t, struct span key, struct buf *ret)
{
	_cleanup_(lmdbread_endp) struct lmdbread *read = NULL;
	struct span value;
	int r;

	buf_clear(ret);
	if (key.len < TABLE_LAYER_LEN || key.len > TABLE_KEY_MAX || is_own(key))
		return -ENOENT;
	r = get_from_memory(t, key, ret, &read);
	if (r != -EAGAIN)
		return r;
	r = lmdbread_get(read, key, &value);
	if (r < 0)
		return r;
	buf_put(ret, value.data, value.len);
	return buf_failed(ret) ? -ENOMEM : 0;
}
