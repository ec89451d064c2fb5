/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Runs by what they are looked for (index/runs.h), in run-state: those that can be repeated by
 * their keys, "memo:" and the key -> ids, ascending; those that are open, "open:" and the id.
 */
#include "index/parts.h"
#include "index/runs.h"

enum {
	SAME_KEY_MAX = 8, /* runs; older ones are forgotten */
	PREFIX_LEN = 5,
};

#define MEMO_PREFIX "memo:"
#define OPEN_PREFIX "open:"

struct memo_key_text {
	char prefix[PREFIX_LEN];
	struct oid key;
};

static struct memo_key_text text_of(const struct oid *key)
{
	struct memo_key_text t = { .key = *key };

	memcpy(t.prefix, MEMO_PREFIX, PREFIX_LEN);
	return t;
}

/* The ids in @was and @id into @ret, which has room for one more than there may be. */
static size_t insert(struct span was, const char *id, char *ret)
{
	size_t n = MIN(was.len / INDEX_RUN_ID, (size_t)SAME_KEY_MAX), at = n;

	while (at > 0 && memcmp(was.data + (at - 1) * INDEX_RUN_ID, id, INDEX_RUN_ID) > 0)
		at--;
	if (at > 0 && memcmp(was.data + (at - 1) * INDEX_RUN_ID, id, INDEX_RUN_ID) == 0)
		return 0;
	memcpy(ret, was.data, at * INDEX_RUN_ID);
	memcpy(ret + at * INDEX_RUN_ID, id, INDEX_RUN_ID);
	memcpy(ret + (at + 1) * INDEX_RUN_ID, was.data + at * INDEX_RUN_ID,
	       (n - at) * INDEX_RUN_ID);
	return n + 1;
}

int index_put_run_key(struct env *e, MDB_txn *txn, const struct oid *key, const char *id)
{
	struct memo_key_text text = text_of(key);
	MDB_val k = env_val(&text, sizeof(text)), v = { 0 };
	char ids[(SAME_KEY_MAX + 1) * INDEX_RUN_ID];
	size_t n, skip;
	int r = mdb_get(txn, env_db(e, ENV_RUN_STATE), &k, &v);

	if (r != 0 && r != MDB_NOTFOUND)
		return r;
	n = insert(r == 0 ? span_of(v.mv_data, v.mv_size) : span_of("", 0), id, ids);
	if (n == 0)
		return 0;
	skip = n > SAME_KEY_MAX ? n - SAME_KEY_MAX : 0;
	v = env_val(ids + skip * INDEX_RUN_ID, (n - skip) * INDEX_RUN_ID);
	return mdb_put(txn, env_db(e, ENV_RUN_STATE), &k, &v, 0);
}

struct key_put {
	const struct oid *key;
	const char *id;
};

static int put_key(struct env *e, MDB_txn *txn, void *ctx)
{
	const struct key_put *p = ctx;

	return index_put_run_key(e, txn, p->key, p->id);
}

int index_runs_put_key(struct index *x, const struct oid *key, const char id[INDEX_RUN_ID])
{
	struct key_put p = { key, id };

	return index_write(x, put_key, &p);
}

int index_runs_with_key(struct index *x, const struct oid *key, struct buf *ret)
{
	struct memo_key_text text = text_of(key);
	int r = index_runs_value(x, ENV_RUN_STATE, env_val(&text, sizeof(text)), ret);

	return r == -ENOENT ? 0 : r;
}

struct open_key_text {
	char prefix[PREFIX_LEN], id[INDEX_RUN_ID];
};

int index_note_open(struct env *e, MDB_txn *txn, const char *id, bool is_open)
{
	struct open_key_text text;
	MDB_val k = env_val(&text, sizeof(text)), v = env_val("", 0);
	int r;

	memcpy(text.prefix, OPEN_PREFIX, PREFIX_LEN);
	memcpy(text.id, id, INDEX_RUN_ID);
	if (is_open)
		return mdb_put(txn, env_db(e, ENV_RUN_STATE), &k, &v, 0);
	r = mdb_del(txn, env_db(e, ENV_RUN_STATE), &k, NULL);
	return r == MDB_NOTFOUND ? 0 : r;
}

static int read_open(MDB_cursor *cur, struct buf *ret)
{
	MDB_val k = env_val(OPEN_PREFIX, PREFIX_LEN), v;
	int r;

	for (r = mdb_cursor_get(cur, &k, &v, MDB_SET_RANGE); r == 0;
	     r = mdb_cursor_get(cur, &k, &v, MDB_NEXT)) {
		if (k.mv_size != sizeof(struct open_key_text) ||
		    memcmp(k.mv_data, OPEN_PREFIX, PREFIX_LEN) != 0)
			return 0;
		buf_put(ret, (const uint8_t *)k.mv_data + PREFIX_LEN, INDEX_RUN_ID);
	}
	return r == MDB_NOTFOUND ? 0 : r;
}

int index_runs_open(struct index *x, struct buf *ret)
{
	MDB_cursor *cur;
	MDB_txn *txn;
	int r;

	buf_clear(ret);
	r = index_look(x, &txn);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = mdb_cursor_open(txn, env_db(x->env, ENV_RUN_STATE), &cur);
	if (r == 0) {
		r = read_open(cur, ret);
		mdb_cursor_close(cur);
	}
	env_read_end(x->env, txn);
	r = index_env_error(x, env_errno(r));
	return r < 0 ? r : buf_failed(ret) ? -ENOMEM : 0;
}
