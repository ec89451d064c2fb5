/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Ways up from contents and names to runs (index/runs.h).
 *
 *	run-ids		tree, id -> its number there, and whether all below it is known
 *	run-parents	a number -> a parent's number and the name's hash; several
 *	run-names	tree, a name's hash -> numbers of leaves that have it
 *	run-tops	a node's number -> ids of the runs of which it is the top
 *
 * Numbers are big-endian, so that LMDB's order of bytes is theirs. They are given once and for
 * all.
 */
#include <endian.h>

#include "index/parts.h"
#include "index/runs.h"

enum {
	VISITS_MAX = 4 << 20, /* places that one question may lead to: some 64 MiB */
};

/* As run-ids has it. */
struct numbered {
	uint32_t number; /* big-endian */
	uint8_t is_known;
} __attribute__((packed));

/* As run-parents has it. */
struct way {
	uint32_t parent; /* big-endian */
	uint64_t name;
} __attribute__((packed));

/* Keys that begin with the tree. */
struct id_key {
	uint8_t tree; /* enum index_run_tree */
	struct oid id;
};
struct name_key {
	uint8_t tree;
	uint64_t name;
} __attribute__((packed));

static int number_get(struct env *e, MDB_txn *txn, const struct id_key *id, struct numbered *ret)
{
	MDB_val k = env_val(id, sizeof(*id)), v;
	int r = mdb_get(txn, env_db(e, ENV_RUN_IDS), &k, &v);

	if (r == 0 && v.mv_size != sizeof(*ret))
		return MDB_CORRUPTED;
	if (r == 0)
		memcpy(ret, v.mv_data, sizeof(*ret));
	return r;
}

static int number_put(struct env *e, MDB_txn *txn, const struct id_key *id, struct numbered n)
{
	MDB_val k = env_val(id, sizeof(*id)), v = env_val(&n, sizeof(n));

	return mdb_put(txn, env_db(e, ENV_RUN_IDS), &k, &v, 0);
}

/* The number of an id, given if need be. */
static int number_of(struct env *e, MDB_txn *txn, const struct id_key *id, struct numbered *ret)
{
	struct numbered n = { 0 };
	MDB_stat st;
	int r = number_get(e, txn, id, &n);

	if (r == MDB_NOTFOUND) {
		r = mdb_stat(txn, env_db(e, ENV_RUN_IDS), &st);
		if (r == 0 && st.ms_entries >= UINT32_MAX)
			return MDB_MAP_FULL;
		n.number = htobe32((uint32_t)st.ms_entries + 1);
		if (r == 0)
			r = number_put(e, txn, id, n);
	}
	if (r == 0)
		*ret = n;
	return r;
}

static int put_dup(MDB_txn *txn, MDB_dbi db, MDB_val k, MDB_val v)
{
	int r = mdb_put(txn, db, &k, &v, MDB_NODUPDATA);

	return r == MDB_KEYEXIST ? 0 : r;
}

struct edges_put {
	enum index_run_tree tree;
	const struct index_run_edge *edges;
	size_t n;
};

static int put_edges(struct env *e, MDB_txn *txn, void *ctx)
{
	const struct edges_put *p = ctx;
	struct numbered parent = { 0 }, child;
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->n; i++) {
		const struct index_run_edge *d = &p->edges[i];
		const struct id_key of = { (uint8_t)p->tree, d->parent };
		const struct id_key in = { (uint8_t)p->tree, d->child };
		const struct name_key name = { (uint8_t)p->tree, d->name };
		struct way w;

		if (i == 0 || !oid_equal(&d->parent, &d[-1].parent))
			r = number_of(e, txn, &of, &parent);
		if (r == 0 && oid_is_null(&d->child)) {
			parent.is_known = 1;
			r = number_put(e, txn, &of, parent);
			continue;
		}
		if (r == 0)
			r = number_of(e, txn, &in, &child);
		w = (struct way){ parent.number, d->name };
		if (r == 0)
			r = put_dup(txn, env_db(e, ENV_RUN_PARENTS),
				    env_val(&child.number, sizeof(child.number)),
				    env_val(&w, sizeof(w)));
		if (r == 0 && d->name)
			r = put_dup(txn, env_db(e, ENV_RUN_NAMES), env_val(&name, sizeof(name)),
				    env_val(&parent.number, sizeof(parent.number)));
	}
	return r;
}

int index_runs_add_edges(struct index *x, enum index_run_tree tree,
			 const struct index_run_edge *edges, size_t n)
{
	struct edges_put p = { tree, edges, n };

	return n > 0 ? index_write(x, put_edges, &p) : 0;
}

int index_runs_knows(struct index *x, enum index_run_tree tree, const struct oid *node)
{
	const struct id_key key = { (uint8_t)tree, *node };
	struct numbered n = { 0 };
	MDB_txn *txn;
	int r;

	r = index_look(x, &txn);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = number_get(x->env, txn, &key, &n);
	env_read_end(x->env, txn);
	r = index_env_error(x, env_errno(r));
	return r == -ENOENT ? 0 : r < 0 ? r : n.is_known;
}

static int put_top(struct env *e, MDB_txn *txn, const struct index_run *run,
		   enum index_run_tree tree, const struct oid *root)
{
	const struct id_key key = { (uint8_t)tree, *root };
	struct numbered n;
	int r;

	if (oid_is_null(root))
		return 0;
	r = number_of(e, txn, &key, &n);
	return r ? r
		 : put_dup(txn, env_db(e, ENV_RUN_TOPS), env_val(&n.number, sizeof(n.number)),
			   env_val(run->id, INDEX_RUN_ID));
}

struct runs_put {
	const struct index_run *runs;
	size_t n;
};

static int put_runs(struct env *e, MDB_txn *txn, void *ctx)
{
	const struct runs_put *p = ctx;
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->n; i++) {
		const struct index_run *run = &p->runs[i];
		MDB_val k = env_val(run->id, INDEX_RUN_ID);
		MDB_val v = env_val(run->record.data, run->record.len);

		r = mdb_put(txn, env_db(e, ENV_RUNS), &k, &v, 0);
		if (r == 0)
			r = index_note_open(e, txn, run->id, run->is_open);
		if (r == 0)
			r = put_top(e, txn, run, INDEX_RUN_READ, &run->read);
		if (r == 0)
			r = put_top(e, txn, run, INDEX_RUN_READ, &run->kept);
		if (r == 0)
			r = put_top(e, txn, run, INDEX_RUN_WRITTEN, &run->written);
		if (r == 0 && !oid_is_null(&run->key))
			r = index_put_run_key(e, txn, &run->key, run->id);
	}
	return r;
}

int index_runs_put(struct index *x, const struct index_run *runs, size_t n)
{
	struct runs_put p = { runs, n };

	return n > 0 ? index_write(x, put_runs, &p) : 0;
}

void index_run_ids_release(struct index_run_ids *r)
{
	free(r->ids);
	*r = (struct index_run_ids){ 0 };
}

/* A node on the way, and how many parts of the path lie behind. */
struct visit {
	uint32_t number; /* big-endian */
	uint32_t depth;
};

struct climb {
	const struct index_run_query *q;
	MDB_cursor *parents, *tops;
	struct visit *queue; /* owned: all visits so far */
	size_t count, cap;
	uint32_t *seen; /* owned: an open table of positions in the queue, from 1 */
	size_t mask;
	struct index_run_ids found;
};

static void climb_release(struct climb *c)
{
	if (c->parents)
		mdb_cursor_close(c->parents);
	if (c->tops)
		mdb_cursor_close(c->tops);
	free(c->queue);
	free(c->seen);
	index_run_ids_release(&c->found);
}

static size_t slot_of(const struct climb *c, struct visit v)
{
	uint64_t h = ((uint64_t)v.number << 32 | v.depth) * 0x9e3779b97f4a7c15ull;
	size_t i = (size_t)(h >> 20) & c->mask;

	while (c->seen[i] && (c->queue[c->seen[i] - 1].number != v.number ||
			      c->queue[c->seen[i] - 1].depth != v.depth))
		i = (i + 1) & c->mask;
	return i;
}

static int grow(struct climb *c)
{
	size_t cap = MAX(2 * c->cap, (size_t)256);
	struct visit *queue = reallocarray(c->queue, cap, sizeof(*queue));

	if (!queue)
		return ENOMEM;
	c->queue = queue;
	c->cap = cap;
	free(c->seen);
	c->seen = new0(uint32_t, 2 * cap);
	if (!c->seen)
		return ENOMEM;
	c->mask = 2 * cap - 1;
	for (size_t i = 0; i < c->count; i++)
		c->seen[slot_of(c, queue[i])] = (uint32_t)i + 1;
	return 0;
}

static int visit(struct climb *c, uint32_t number, uint32_t depth)
{
	struct visit v = { number, depth };
	size_t i;

	if (c->count == c->cap) {
		int r = grow(c);

		if (r)
			return r;
	}
	i = slot_of(c, v);
	if (c->seen[i])
		return 0;
	if (c->count == VISITS_MAX) {
		c->found.is_cut = true;
		return 0;
	}
	c->queue[c->count++] = v;
	c->seen[i] = (uint32_t)c->count;
	return 0;
}

static int found(struct climb *c, const uint8_t *id)
{
	struct index_run_ids *f = &c->found;

	if (f->count == f->cap) {
		size_t cap = MAX(2 * f->cap, (size_t)64);
		char(*ids)[INDEX_RUN_ID] = reallocarray(f->ids, cap, INDEX_RUN_ID);

		if (!ids)
			return ENOMEM;
		f->ids = ids;
		f->cap = cap;
	}
	memcpy(f->ids[f->count++], id, INDEX_RUN_ID);
	return 0;
}

/* From what has the number, with @depth parts of the path behind, to what it is in. */
static int step_up(struct climb *c, uint32_t number, uint32_t depth)
{
	const struct index_run_query *q = c->q;
	MDB_val k = env_val(&number, sizeof(number)), v;
	int r;

	for (r = mdb_cursor_get(c->parents, &k, &v, MDB_SET_KEY); r == 0;
	     r = mdb_cursor_get(c->parents, &k, &v, MDB_NEXT_DUP)) {
		struct way w;

		if (v.mv_size != sizeof(w))
			return MDB_CORRUPTED;
		memcpy(&w, v.mv_data, sizeof(w));
		if (w.name == 0 || q->name_count == 0)
			r = visit(c, w.parent, depth);
		else if (depth < q->name_count && w.name == q->names[depth])
			r = visit(c, w.parent, depth + 1);
		if (r)
			return r;
	}
	return r == MDB_NOTFOUND ? 0 : r;
}

static int take_tops(struct climb *c, uint32_t number)
{
	MDB_val k = env_val(&number, sizeof(number)), v;
	int r;

	for (r = mdb_cursor_get(c->tops, &k, &v, MDB_SET_KEY); r == 0;
	     r = mdb_cursor_get(c->tops, &k, &v, MDB_NEXT_DUP)) {
		if (v.mv_size != INDEX_RUN_ID)
			return MDB_CORRUPTED;
		if (c->found.count >= c->q->max) {
			c->found.is_cut = true;
			return 0;
		}
		r = found(c, v.mv_data);
		if (r)
			return r;
	}
	return r == MDB_NOTFOUND ? 0 : r;
}

/* Where the climb begins: at what has the content, or at the leaves that have the name. */
static int begin(struct climb *c, struct env *e, MDB_txn *txn)
{
	const struct index_run_query *q = c->q;
	struct numbered n;
	struct name_key name;
	MDB_cursor *names;
	MDB_val k, v;
	int r;

	if (q->content) {
		const struct id_key key = { (uint8_t)q->tree, *q->content };

		r = number_get(e, txn, &key, &n);
		return r ? r : step_up(c, n.number, 0);
	}
	if (q->name_count == 0)
		return MDB_NOTFOUND;
	r = mdb_cursor_open(txn, env_db(e, ENV_RUN_NAMES), &names);
	if (r)
		return r;
	name = (struct name_key){ (uint8_t)q->tree, q->names[0] };
	k = env_val(&name, sizeof(name));
	for (r = mdb_cursor_get(names, &k, &v, MDB_SET_KEY); r == 0;
	     r = mdb_cursor_get(names, &k, &v, MDB_NEXT_DUP)) {
		uint32_t number;

		if (v.mv_size != sizeof(number))
			r = MDB_CORRUPTED;
		if (r)
			break;
		memcpy(&number, v.mv_data, sizeof(number));
		r = visit(c, number, 1);
		if (r)
			break;
	}
	mdb_cursor_close(names);
	return r;
}

static int climb_all(struct climb *c, struct env *e, MDB_txn *txn)
{
	int r = mdb_cursor_open(txn, env_db(e, ENV_RUN_PARENTS), &c->parents);

	if (r == 0)
		r = mdb_cursor_open(txn, env_db(e, ENV_RUN_TOPS), &c->tops);
	if (r == 0)
		r = begin(c, e, txn);
	if (r == MDB_NOTFOUND)
		r = 0;
	for (size_t i = 0; r == 0 && i < c->count && !c->found.is_cut; i++) {
		struct visit v = c->queue[i];

		if (v.depth == c->q->name_count)
			r = take_tops(c, v.number);
		if (r == 0)
			r = step_up(c, v.number, v.depth);
	}
	return r;
}

static int cmp_ids(const void *a, const void *b)
{
	return memcmp(a, b, INDEX_RUN_ID);
}

int index_runs_having(struct index *x, const struct index_run_query *q, struct index_run_ids *ret)
{
	_cleanup_(climb_release) struct climb c = { .q = q };
	struct index_run_ids *f = &c.found;
	size_t n = 0;
	MDB_txn *txn;
	int r;

	r = index_look(x, &txn);
	if (r == 0) {
		r = climb_all(&c, x->env, txn);
		mdb_cursor_close(c.parents);
		mdb_cursor_close(c.tops);
		c.parents = c.tops = NULL;
		env_read_end(x->env, txn);
		r = index_env_error(x, env_errno(r));
	}
	if (r < 0 && r != -ENOENT)
		return r;
	if (f->count > 0)
		qsort(f->ids, f->count, INDEX_RUN_ID, cmp_ids);
	for (size_t i = 0; i < f->count; i++)
		if (n == 0 || cmp_ids(f->ids[n - 1], f->ids[i]) != 0)
			memmove(f->ids[n++], f->ids[i], INDEX_RUN_ID);
	f->count = n;
	*ret = *f;
	*f = (struct index_run_ids){ 0 };
	return 0;
}
