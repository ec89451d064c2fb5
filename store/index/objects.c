/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The index's other tables: refs and commits as last seen, and what the disk cache holds.
 */
#include "index/parts.h"

enum {
	LIST_BATCH = 256, /* keys that are read before their callbacks are called */
	WALK_BATCH = 1024,
	CACHED_KEY = 1 + OID_SIZE,
	LMDB_KEY_MAX = 511,
};

struct object_put {
	const char *key;
	struct span value; /* NULL data: removed */
};

static int put_object(struct env *e, MDB_txn *txn, void *ctx)
{
	const struct object_put *o = ctx;
	MDB_val key = env_val(o->key, strlen(o->key));
	MDB_val value = env_val(o->value.data, o->value.len);

	if (!o->value.data)
		return mdb_del(txn, env_db(e, ENV_OBJECTS), &key, NULL);
	return mdb_put(txn, env_db(e, ENV_OBJECTS), &key, &value, 0);
}

void index_object_put(struct index *x, const char *key, struct span object, const struct etag *tag)
{
	_cleanup_buf_ struct buf value = { 0 };
	struct object_put o = { .key = key };

	if (strlen(key) > LMDB_KEY_MAX)
		return;
	buf_put_str8(&value, span_str(tag->s));
	buf_put(&value, object.data, object.len);
	if (buf_failed(&value))
		return;
	o.value = buf_span(&value);
	index_write(x, put_object, &o);
}

void index_object_forget(struct index *x, const char *key)
{
	struct object_put o = { .key = key };
	_cleanup_buf_ struct buf b = { 0 };

	/* A look costs less than a write. */
	if (index_object_get(x, key, &b, NULL) == 0)
		index_write(x, put_object, &o);
}

int index_object_get(struct index *x, const char *key, struct buf *ret, struct etag *ret_tag)
{
	_cleanup_buf_ struct buf copy = { 0 };
	MDB_val k = env_val(key, strlen(key)), v;
	struct etag tag;
	struct cursor c;
	MDB_txn *txn;
	int r;

	if (k.mv_size == 0 || k.mv_size > LMDB_KEY_MAX)
		return -ENOENT;
	r = index_look(x, &txn);
	if (r < 0)
		return r;
	r = mdb_get(txn, env_db(x->env, ENV_OBJECTS), &k, &v);
	if (r == 0) {
		c = cursor_of(env_span(&v));
		rd_string8(&c, tag.s, sizeof(tag.s));
		buf_put(&copy, c.p, cursor_left(&c));
		if (cursor_failed(&c))
			r = MDB_CORRUPTED;
	}
	env_read_end(x->env, txn);
	r = index_env_error(x, env_errno(r));
	if (r == 0)
		r = buf_take(&copy, ret);
	if (r == 0 && ret_tag)
		*ret_tag = tag;
	return r;
}

struct listed {
	char key[LMDB_KEY_MAX + 1];
	uint64_t size;
};

/* The next keys that start with @prefix and are above @after ("": all). */
static int list_batch(struct index *x, MDB_txn *txn, const char *prefix, const char *after,
		      struct listed *ret, size_t *ret_n)
{
	const char *from = *after ? after : prefix;
	MDB_val k = env_val(from, strlen(from)), v;
	MDB_cursor *cur;
	size_t n = 0;
	int r;

	r = mdb_cursor_open(txn, env_db(x->env, ENV_OBJECTS), &cur);
	if (r)
		return r;
	r = mdb_cursor_get(cur, &k, &v, k.mv_size > 0 ? MDB_SET_RANGE : MDB_FIRST);
	while (r == 0 && n < LIST_BATCH) {
		struct cursor c = cursor_of(env_span(&v));

		if (k.mv_size > LMDB_KEY_MAX || k.mv_size < strlen(prefix) ||
		    memcmp(k.mv_data, prefix, strlen(prefix)) != 0)
			break;
		memcpy(ret[n].key, k.mv_data, k.mv_size);
		ret[n].key[k.mv_size] = '\0';
		rd_bytes(&c, rd_u8(&c)); /* the tag */
		ret[n].size = cursor_left(&c);
		if (strcmp(ret[n].key, after) != 0)
			n++;
		r = mdb_cursor_get(cur, &k, &v, MDB_NEXT);
	}
	mdb_cursor_close(cur);
	*ret_n = n;
	return r == MDB_NOTFOUND ? 0 : r;
}

int index_object_list(struct index *x, const char *prefix, backend_list_fn fn, void *ctx)
{
	_cleanup_free_ struct listed *batch = new0(struct listed, LIST_BATCH);
	char after[LMDB_KEY_MAX + 1] = "";
	size_t n;

	if (!batch)
		return -ENOMEM;
	do {
		MDB_txn *txn;
		int r;

		r = index_look(x, &txn);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		r = list_batch(x, txn, prefix, after, batch, &n);
		env_read_end(x->env, txn);
		if (r)
			return index_env_error(x, env_errno(r));
		for (size_t i = 0; i < n; i++) {
			r = fn(batch[i].key, batch[i].size, NULL, ctx);
			if (r != 0)
				return r;
		}
		if (n > 0)
			memcpy(after, batch[n - 1].key, strlen(batch[n - 1].key) + 1);
	} while (n > 0);
	return 0;
}

static void cached_key(uint8_t kind, const struct oid *id, uint8_t ret[CACHED_KEY])
{
	ret[0] = kind;
	memcpy(ret + 1, id->b, OID_SIZE);
}

/* An index_place as the table has it. */
struct raw_place {
	uint32_t file, len;
	uint64_t offset, checksum;
};

static int place_read(const MDB_val *v, struct index_place *ret)
{
	struct raw_place raw;

	if (v->mv_size != sizeof(raw))
		return MDB_CORRUPTED;
	memcpy(&raw, v->mv_data, sizeof(raw));
	*ret = (struct index_place){ raw.file, raw.offset, raw.len, raw.checksum };
	return 0;
}

int index_cached_get(struct index *x, uint8_t kind, const struct oid *id, struct index_place *ret)
{
	struct index_place place;
	uint8_t key[CACHED_KEY];
	MDB_val k, v;
	MDB_txn *txn;
	int r;

	r = index_look(x, &txn);
	if (r < 0)
		return r;
	cached_key(kind, id, key);
	k = env_val(key, sizeof(key));
	r = mdb_get(txn, env_db(x->env, ENV_CACHED), &k, &v);
	if (r == 0)
		r = place_read(&v, &place);
	env_read_end(x->env, txn);
	if (r == 0)
		*ret = place;
	return index_env_error(x, env_errno(r));
}

struct cached_change {
	const struct index_cached *entries;
	size_t n;
	unsigned flags; /* of mdb_put() */
};

static int put_cached(struct env *e, MDB_txn *txn, void *ctx)
{
	const struct cached_change *ch = ctx;

	for (size_t i = 0; i < ch->n; i++) {
		const struct index_cached *c = &ch->entries[i];
		const struct index_place *p = &c->place;
		struct raw_place raw = { p->file, p->len, p->offset, p->checksum };
		MDB_val k, v = env_val(&raw, sizeof(raw));
		uint8_t key[CACHED_KEY];
		int r;

		cached_key(c->kind, &c->id, key);
		k = env_val(key, sizeof(key));
		r = mdb_put(txn, env_db(e, ENV_CACHED), &k, &v, ch->flags);
		if (r && r != MDB_KEYEXIST)
			return r;
	}
	return 0;
}

int index_cached_put(struct index *x, const struct index_cached *entries, size_t n)
{
	struct cached_change ch = { entries, n, 0 };

	return n > 0 ? index_write(x, put_cached, &ch) : 0;
}

int index_cached_add(struct index *x, const struct index_cached *entries, size_t n)
{
	struct cached_change ch = { entries, n, MDB_NOOVERWRITE };

	return n > 0 ? index_write(x, put_cached, &ch) : 0;
}

static int drop_cached(struct env *e, MDB_txn *txn, void *ctx)
{
	const struct cached_change *ch = ctx;
	MDB_dbi db = env_db(e, ENV_CACHED);

	for (size_t i = 0; i < ch->n; i++) {
		const struct index_cached *c = &ch->entries[i];
		struct index_place now;
		uint8_t key[CACHED_KEY];
		MDB_val k, v;
		int r;

		cached_key(c->kind, &c->id, key);
		k = env_val(key, sizeof(key));
		r = mdb_get(txn, db, &k, &v);
		if (r == 0)
			r = place_read(&v, &now);
		if (r == MDB_NOTFOUND)
			continue;
		if (r)
			return r;
		if (now.file != c->place.file || now.offset != c->place.offset)
			continue;
		r = mdb_del(txn, db, &k, NULL);
		if (r)
			return r;
	}
	return 0;
}

int index_cached_drop(struct index *x, const struct index_cached *entries, size_t n)
{
	struct cached_change ch = { entries, n, 0 };

	return n > 0 ? index_write(x, drop_cached, &ch) : 0;
}

/* The next entries above *@last (NULL data: all). */
static int walk_batch(struct index *x, MDB_txn *txn, struct span last, struct index_cached *ret,
		      size_t *ret_n)
{
	MDB_val k = env_val(last.data, last.len), v;
	MDB_cursor *cur;
	size_t n = 0;
	int r;

	r = mdb_cursor_open(txn, env_db(x->env, ENV_CACHED), &cur);
	if (r)
		return r;
	r = mdb_cursor_get(cur, &k, &v, last.data ? MDB_SET_RANGE : MDB_FIRST);
	while (r == 0 && n < WALK_BATCH) {
		const uint8_t *key = k.mv_data;

		if (k.mv_size != CACHED_KEY || place_read(&v, &ret[n].place) != 0) {
			r = MDB_CORRUPTED;
			break;
		}
		ret[n].kind = key[0];
		memcpy(ret[n].id.b, key + 1, OID_SIZE);
		if (!last.data || memcmp(key, last.data, CACHED_KEY) != 0)
			n++;
		r = mdb_cursor_get(cur, &k, &v, MDB_NEXT);
	}
	mdb_cursor_close(cur);
	*ret_n = n;
	return r == MDB_NOTFOUND ? 0 : r;
}

int index_cached_walk(struct index *x, int (*fn)(const struct index_cached *e, void *ctx),
		      void *ctx)
{
	_cleanup_free_ struct index_cached *batch = new0(struct index_cached, WALK_BATCH);
	uint8_t key[CACHED_KEY];
	struct span last = { 0 };
	size_t n;

	if (!batch)
		return -ENOMEM;
	do {
		MDB_txn *txn;
		int r;

		r = index_look(x, &txn);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		r = walk_batch(x, txn, last, batch, &n);
		env_read_end(x->env, txn);
		if (r)
			return index_env_error(x, env_errno(r));
		for (size_t i = 0; i < n; i++) {
			r = fn(&batch[i], ctx);
			if (r != 0)
				return r;
		}
		if (n > 0) {
			cached_key(batch[n - 1].kind, &batch[n - 1].id, key);
			last = span_of(key, sizeof(key));
		}
	} while (n > 0);
	return 0;
}
