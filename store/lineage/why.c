/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where files come from (lineage/why.h).
 *
 * Lines: {"run": a row's JSON, "depth": 0 for the run asked about, "inputs": [{"path", "id",
 * "size", "run"?: who made it, "how": "place" or "content"}], "inputs_more"?: how many are not
 * told}. A run that is not known any more, or may not be seen, has no inputs.
 */
#include "lineage/why.h"

#include "base/hash.h"
#include "base/htab.h"
#include "base/log.h"
#include "catalog/catalog.h"
#include "record/json_bytes.h"

enum {
	PATHS_SHOWN = 5,
};

/* A run that was met. */
struct met {
	struct hnode node;
	struct run_id id;
	unsigned depth;
	struct met *next; /* to be told */
	uint64_t files; /* run_why_below() */
	json_t *paths; /* owned; the same */
};

struct asking {
	const struct run_why *w;
	struct htab seen; /* of struct met; owned, with its elements */
	struct met *first, *last; /* to be told */
	size_t count;
	const struct met *at; /* whose inputs are told */
	json_t *inputs; /* owned */
	uint64_t more, others;
};

static void free_met(struct hnode *n, void *ctx)
{
	struct met *m = container_of(n, struct met, node);

	json_decref(m->paths);
	free(m);
}

static void asking_release(struct asking *a)
{
	htab_walk(&a->seen, free_met, NULL);
	htab_release(&a->seen);
	json_decref(a->inputs);
}

/* The run, which is told once. NULL: no memory, or enough of them. */
static struct met *meet(struct asking *a, const struct run_id *id, unsigned depth)
{
	uint64_t hash = hash_bytes(id->s, INDEX_RUN_ID);
	struct met *m;

	htab_for_each (n, &a->seen, hash) {
		m = container_of(n, struct met, node);
		if (strcmp(m->id.s, id->s) == 0)
			return m;
	}
	m = a->count < RUN_WHY_RUNS ? new0(struct met, 1) : NULL;
	if (!m || htab_insert(&a->seen, &m->node, hash) < 0) {
		free(m);
		return NULL;
	}
	m->id = *id;
	m->depth = depth;
	a->count++;
	if (a->last)
		a->last->next = m;
	else
		a->first = m;
	a->last = m;
	return m;
}

static int set(json_t *o, const char *key, json_t *value)
{
	return json_object_set_new(o, key, value) < 0 ? -ENOMEM : 0;
}

static int take_input(struct span path, const struct run_file *f, void *ctx)
{
	struct asking *a = ctx;
	char hex[OID_HEX];
	struct run_place place;
	struct run_id maker;
	enum run_how how = RUN_HOW_NOT;
	bool has_place = run_place_read(path, &place);
	json_t *o;
	int r;

	if (json_array_size(a->inputs) == RUN_WHY_INPUTS) {
		a->more++;
		return 0;
	}
	r = run_maker(a->w->rd.store, has_place ? &place : NULL, &f->id, &a->at->id, &maker, &how);
	if (r < 0)
		return r;
	o = json_object();
	r = set(o, "path", json_of_bytes(path));
	if (r == 0 && !oid_is_null(&f->id))
		r = set(o, "id", json_string(oid_hex(&f->id, hex)));
	if (r == 0)
		r = set(o, "size", json_integer((json_int_t)f->size));
	if (r == 0 && how != RUN_HOW_NOT) {
		r = set(o, "run", json_string(maker.s));
		if (r == 0)
			r = set(o, "how", json_string(how == RUN_HOW_PLACE ? "place" : "content"));
		if (!meet(a, &maker, a->at->depth + 1) && a->count < RUN_WHY_RUNS)
			r = -ENOMEM;
	}
	if (json_array_append_new(a->inputs, o) < 0)
		r = -ENOMEM;
	return r;
}

/* The row's JSON; *@ret_row is it, if it is known and may be seen. */
static json_t *row_json(const struct run_why *w, const struct run_id *id, struct buf *bytes,
			struct run_row *ret_row, bool *ret_has)
{
	*ret_has = catalog_row(w->rd.store, id, bytes, ret_row) == 0;
	if (!*ret_has)
		return json_pack("{s:s, s:s}", "id", id->s, "status", "unknown");
	*ret_has = !w->may_see || w->may_see(ret_row, w->ctx);
	return run_row_seen(ret_row, *ret_has);
}

static int tell(struct asking *a, struct met *m)
{
	const struct run_why *w = a->w;
	_cleanup_buf_ struct buf bytes = { 0 };
	json_t *line = json_object();
	struct run_row row;
	bool has;
	int r = set(line, "run", row_json(w, &m->id, &bytes, &row, &has));

	a->at = m;
	a->more = 0;
	json_decref(a->inputs);
	a->inputs = json_array();
	if (r == 0)
		r = set(line, "depth", json_integer(m->depth));
	if (r == 0 && has) {
		r = run_files_of(&w->rd, &row, INDEX_RUN_READ, take_input, a);
		if (r == -EIO || r == -EBADMSG)
			r = set(line, "problem", json_string("what it read cannot be looked at"));
	}
	if (r == 0)
		r = set(line, "inputs", json_incref(a->inputs));
	if (r == 0 && a->more > 0)
		r = set(line, "inputs_more", json_integer((json_int_t)a->more));
	if (r == 0)
		return w->emit(line, w->ctx);
	json_decref(line);
	return r;
}

int run_why(const struct run_why *w, const struct run_id *run)
{
	_cleanup_(asking_release) struct asking a = { .w = w };
	int r = meet(&a, run, 0) ? 0 : -ENOMEM;

	for (struct met *m = a.first; r == 0 && m; m = m->next)
		r = tell(&a, m);
	return r;
}

static int take_below(struct span path, const struct run_file *f, void *ctx)
{
	struct asking *a = ctx;
	struct run_place place;
	bool has_place = run_place_read(path, &place);
	enum run_how how = RUN_HOW_NOT;
	struct run_id maker;
	struct met *m = NULL;
	int r;

	r = run_maker(a->w->rd.store, has_place ? &place : NULL, &f->id, NULL, &maker, &how);
	if (r < 0)
		return r;
	if (how != RUN_HOW_NOT)
		m = meet(a, &maker, 0);
	if (!m) {
		a->others++;
		return 0;
	}
	m->files++;
	if (!m->paths)
		m->paths = json_array();
	if (json_array_size(m->paths) < PATHS_SHOWN &&
	    json_array_append_new(m->paths, json_of_bytes(path)) < 0)
		return -ENOMEM;
	return 0;
}

static int tell_maker(const struct run_why *w, struct met *m)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	json_t *line = json_object();
	struct run_row row;
	bool has;
	int r = set(line, "run", row_json(w, &m->id, &bytes, &row, &has));

	if (r == 0)
		r = set(line, "files", json_integer((json_int_t)m->files));
	if (r == 0)
		r = set(line, "paths", json_incref(m->paths));
	if (r == 0)
		return w->emit(line, w->ctx);
	json_decref(line);
	return r;
}

int run_why_below(const struct run_why *w, const struct run_place *place,
		  const struct tree_root *dir)
{
	_cleanup_(asking_release) struct asking a = { .w = w };
	_cleanup_buf_ struct buf prefix = { 0 };
	int r;

	buf_printf(&prefix, "%.*s/%.*s/", (int)place->repo.len, (const char *)place->repo.data,
		   (int)place->rev.len, (const char *)place->rev.data);
	buf_put(&prefix, place->path.data, place->path.len);
	if (place->path.len > 0)
		buf_put_u8(&prefix, '/');
	buf_put_u8(&prefix, 0);
	if (buf_failed(&prefix))
		return -ENOMEM;
	r = run_files_each(&w->rd, dir, (const char *)prefix.data, take_below, &a);
	for (struct met *m = a.first; r == 0 && m; m = m->next)
		r = tell_maker(w, m);
	if (r == 0)
		r = w->emit(json_pack("{s:I}", "others", (json_int_t)a.others), w->ctx);
	return r;
}
