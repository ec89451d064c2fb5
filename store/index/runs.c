/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Runs and their records (index/runs.h); ways up are runs_ways.c's.
 */
#include "index/runs.h"

#include "base/hash.h"
#include "index/parts.h"

uint64_t index_run_name(struct span name)
{
	return xxh64(name.data, name.len, 0) ?: 1;
}

int index_runs_value(struct index *x, enum env_db db, MDB_val k, struct buf *ret)
{
	MDB_val v;
	MDB_txn *txn;
	int r;

	buf_clear(ret);
	r = index_look(x, &txn);
	if (r < 0)
		return r;
	r = mdb_get(txn, env_db(x->env, db), &k, &v);
	if (r == 0)
		buf_put(ret, v.mv_data, v.mv_size);
	env_read_end(x->env, txn);
	r = index_env_error(x, env_errno(r));
	return r < 0 ? r : buf_failed(ret) ? -ENOMEM : 0;
}

int index_runs_get(struct index *x, const char id[INDEX_RUN_ID], struct buf *ret)
{
	return index_runs_value(x, ENV_RUNS, env_val(id, INDEX_RUN_ID), ret);
}

uint64_t index_runs_count(struct index *x)
{
	MDB_stat st = { 0 };
	MDB_txn *txn;

	if (index_look(x, &txn) < 0)
		return 0;
	if (mdb_stat(txn, env_db(x->env, ENV_RUNS), &st) != 0)
		st.ms_entries = 0;
	env_read_end(x->env, txn);
	return st.ms_entries;
}

int index_run_batch_new(size_t max, struct index_run_batch *ret)
{
	struct index_run_batch b = { .max = max };

	b.ids = calloc(max, sizeof(*b.ids));
	b.len = new0(uint32_t, max);
	if (!b.ids || !b.len) {
		index_run_batch_release(&b);
		return -ENOMEM;
	}
	*ret = b;
	return 0;
}

void index_run_batch_release(struct index_run_batch *b)
{
	free(b->ids);
	free(b->len);
	buf_release(&b->records);
	*b = (struct index_run_batch){ 0 };
}

static int fill(MDB_cursor *cur, const char *after, bool backwards, struct index_run_batch *b,
		size_t *ret_n)
{
	const MDB_cursor_op step = backwards ? MDB_PREV : MDB_NEXT;
	MDB_val k = env_val(after, INDEX_RUN_ID), v;
	size_t n = 0;
	int r;

	if (!after)
		r = mdb_cursor_get(cur, &k, &v, backwards ? MDB_LAST : MDB_FIRST);
	else
		r = mdb_cursor_get(cur, &k, &v, MDB_SET_RANGE);
	if (r == MDB_NOTFOUND && after && backwards)
		r = mdb_cursor_get(cur, &k, &v, MDB_LAST);
	else if (r == 0 && after && backwards)
		r = mdb_cursor_get(cur, &k, &v, MDB_PREV);
	else if (r == 0 && after && memcmp(k.mv_data, after, MIN(k.mv_size, INDEX_RUN_ID)) == 0)
		r = mdb_cursor_get(cur, &k, &v, MDB_NEXT);
	for (; r == 0 && n < b->max; r = n < b->max ? mdb_cursor_get(cur, &k, &v, step) : 0) {
		if (k.mv_size != INDEX_RUN_ID || v.mv_size > UINT32_MAX)
			return MDB_CORRUPTED;
		memcpy(b->ids[n], k.mv_data, INDEX_RUN_ID);
		b->len[n++] = (uint32_t)v.mv_size;
		buf_put(&b->records, v.mv_data, v.mv_size);
	}
	*ret_n = n;
	return r == MDB_NOTFOUND ? 0 : r;
}

ssize_t index_runs_next(struct index *x, const char *after, bool backwards,
			struct index_run_batch *b)
{
	MDB_cursor *cur;
	MDB_txn *txn;
	size_t n = 0;
	int r;

	buf_clear(&b->records);
	r = index_look(x, &txn);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = mdb_cursor_open(txn, env_db(x->env, ENV_RUNS), &cur);
	if (r == 0) {
		r = fill(cur, after, backwards, b, &n);
		mdb_cursor_close(cur);
	}
	env_read_end(x->env, txn);
	r = index_env_error(x, env_errno(r));
	if (r == 0 && buf_failed(&b->records))
		r = -ENOMEM;
	return r < 0 ? r : (ssize_t)n;
}

int index_runs_get_state(struct index *x, const char *key, struct buf *ret)
{
	return index_runs_value(x, ENV_RUN_STATE, env_val(key, strlen(key)), ret);
}

struct state_put {
	const char *key;
	struct span value;
};

static int put_state(struct env *e, MDB_txn *txn, void *ctx)
{
	const struct state_put *p = ctx;
	MDB_val k = env_val(p->key, strlen(p->key)), v = env_val(p->value.data, p->value.len);

	return mdb_put(txn, env_db(e, ENV_RUN_STATE), &k, &v, 0);
}

int index_runs_put_state(struct index *x, const char *key, struct span value)
{
	struct state_put p = { key, value };

	return index_write(x, put_state, &p);
}
