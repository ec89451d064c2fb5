/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What was made from a file (lineage/uses.h).
 *
 * Lines, a run before those that use what it wrote: {"run": a row's JSON, "depth", "outputs":
 * [{"path", "id"?, "size", "there": bool}], "outputs_more"?, "stale"?: [{"path", "was", "now"?:
 * its id on the branch now} or {"path", "run": the stale run that made it}]}; "stale" is asked
 * for. A run that may not be seen has its id alone, and is followed all the same.
 *
 * Runs are met in the order of their ids, which is that of their starts, so that of those that a
 * run used it is known whether they are stale. (Where clocks differ by more than a run takes, a
 * run may be told before one that it used.)
 */
#include "lineage/uses.h"

#include "base/hash.h"
#include "base/heap.h"
#include "base/htab.h"
#include "catalog/catalog.h"
#include "catalog/maker.h"
#include "catalog/turns.h"
#include "lineage/stale.h"
#include "record/archive.h"
#include "record/json_bytes.h"

enum {
	PARTS_MAX = 2048, /* of a path */
};

/* A run that used it. */
struct user {
	struct hnode node;
	struct run_id id;
	unsigned depth;
};

/* What a stale run wrote. */
struct stale_output {
	struct hnode node;
	struct oid id;
	struct run_id run;
};

struct usage {
	const struct run_uses *u;
	struct htab users; /* owned, with its elements; as the next */
	struct htab stale_outputs;
	struct heap waiting; /* those to be told */
	size_t count;
	struct buf asked; /* the place that was asked for last */
	struct run_turns made; /* owned; who has made what is there */
	/* Of the run that is told. */
	const struct user *at;
	json_t *outputs, *reasons; /* owned */
	uint64_t more, there;
	bool is_stale;
};

static void free_user(struct hnode *n, void *ctx)
{
	free(container_of(n, struct user, node));
}

static void free_stale(struct hnode *n, void *ctx)
{
	free(container_of(n, struct stale_output, node));
}

static void usage_release(struct usage *g)
{
	htab_walk(&g->users, free_user, NULL);
	htab_release(&g->users);
	htab_walk(&g->stale_outputs, free_stale, NULL);
	htab_release(&g->stale_outputs);
	heap_release(&g->waiting);
	buf_release(&g->asked);
	run_turns_release(&g->made);
	json_decref(g->outputs);
	json_decref(g->reasons);
}

static bool starts_before(const void *a, const void *b)
{
	return strcmp(((const struct user *)a)->id.s, ((const struct user *)b)->id.s) < 0;
}

static int meet(struct usage *g, const struct run_id *id, unsigned depth)
{
	uint64_t hash = hash_bytes(id->s, INDEX_RUN_ID);
	struct user *m;

	htab_for_each (n, &g->users, hash)
		if (strcmp(container_of(n, struct user, node)->id.s, id->s) == 0)
			return 0;
	if (g->count == RUN_USES_RUNS)
		return 0;
	m = new0(struct user, 1);
	if (!m || htab_insert(&g->users, &m->node, hash) < 0) {
		free(m);
		return -ENOMEM;
	}
	m->id = *id;
	m->depth = depth;
	g->count++;
	return heap_push(&g->waiting, m);
}

/* Those who read a content, wherever, or a place, whatever was there. */
static int meet_readers(struct usage *g, const struct oid *id, const struct run_place *place,
			unsigned depth)
{
	_cleanup_run_ids_ struct index_run_ids ids = { 0 };
	uint64_t names[PARTS_MAX + 2];
	struct index_run_query q = { .tree = INDEX_RUN_READ, .content = id, .max = RUN_USES_RUNS };
	int r;

	if (place) {
		q.names = names;
		q.name_count = run_place_names(place, names, PARTS_MAX + 2);
	}
	r = index_runs_having(g->u->rd.store->index, &q, &ids);
	for (size_t i = 0; r == 0 && i < ids.count; i++) {
		struct run_id run = { 0 };

		memcpy(run.s, ids.ids[i], INDEX_RUN_ID);
		r = meet(g, &run, depth);
	}
	return r;
}

static int set(json_t *o, const char *key, json_t *value)
{
	return json_object_set_new(o, key, value) < 0 ? -ENOMEM : 0;
}

static int set_oid(json_t *o, const char *key, const struct oid *id)
{
	char hex[OID_HEX];

	return oid_is_null(id) ? 0 : set(o, key, json_string(oid_hex(id, hex)));
}

static bool is_stale_output(struct usage *g, const struct oid *id, const struct run_id *run)
{
	htab_for_each (n, &g->stale_outputs, oid_hash(id)) {
		struct stale_output *o = container_of(n, struct stale_output, node);

		if (oid_equal(&o->id, id) && strcmp(o->run.s, run->s) == 0)
			return true;
	}
	return false;
}

static int add_stale(struct usage *g, const struct oid *id)
{
	struct stale_output *o;

	if (oid_is_null(id) || is_stale_output(g, id, &g->at->id))
		return 0;
	o = new0(struct stale_output, 1);
	if (!o || htab_insert(&g->stale_outputs, &o->node, oid_hash(id)) < 0) {
		free(o);
		return -ENOMEM;
	}
	o->id = *id;
	o->run = g->at->id;
	return 0;
}

/* A commit's path never changes. */
static bool is_of_commit(const struct run_place *p)
{
	struct oid id;

	return oid_parse(p->rev, &id) == 0;
}

/* The reason that @o tells, which is taken. */
static int add_reason(struct usage *g, struct span path, json_t *o)
{
	int r = set(o, "path", json_of_bytes(path));

	g->is_stale = true;
	if (json_array_size(g->reasons) == RUN_USES_REASONS) {
		json_decref(o);
		return r;
	}
	return json_array_append_new(g->reasons, o) < 0 ? -ENOMEM : r;
}

/* Who has made what is at the place now, to g->made. Many runs may have changed one file. */
static int look_up_makers(struct usage *g, struct span path, const struct run_place *place,
			  const struct run_file *now)
{
	if (g->asked.len > 0 && span_equal(buf_span(&g->asked), path))
		return 0;
	run_turns_release(&g->made);
	buf_clear(&g->asked);
	buf_put(&g->asked, path.data, path.len);
	return buf_failed(&g->asked) ? -ENOMEM
				     : run_turns_of(&g->u->rd, place, now, NULL, &g->made);
}

/* Is what lies at the place now still what the run has had there: that itself, or what it made of
 * it, also where others have changed that? 1, 0, -errno. */
static int is_there_still(struct usage *g, struct span path, const struct run_place *place,
			  const struct run_file *f)
{
	struct run_id id = g->at->id;
	struct run_file now;
	int r;

	if (is_of_commit(place))
		return 1;
	r = run_tips_find(g->u->tips, place, &now);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (now.type == f->type && oid_equal(&now.id, &f->id))
		return 1;
	r = look_up_makers(g, path, place, &now);
	if (r == 0)
		r = run_outermost(g->u->rd.store, &id);
	return r < 0 ? r : run_turns_find(&g->made, &id) != SIZE_MAX;
}

/* What the run read, and is there still: was it made by a stale run? */
static int take_read(struct span path, const struct run_file *f, void *ctx)
{
	struct usage *g = ctx;
	struct run_place place;
	struct run_id maker;
	enum run_how how;
	json_t *o;
	int r;

	if (g->stale_outputs.count == 0 || !run_place_read(path, &place))
		return 0;
	/* Others may have made the same bytes. */
	r = run_maker(g->u->rd.store, &place, &f->id, &g->at->id, &maker, &how);
	if (r < 0 || how == RUN_HOW_NOT || !is_stale_output(g, &f->id, &maker))
		return r;
	r = is_there_still(g, path, &place, f);
	if (r <= 0)
		return r;
	o = json_object();
	r = set(o, "run", json_string(maker.s));
	return add_reason(g, path, o) ?: r;
}

/* What the run looked at, and is something else now. */
static int take_changed(struct span path, const struct run_file *was, const struct run_file *now,
			void *ctx)
{
	json_t *o = json_object();
	int r = was ? set_oid(o, "was", &was->id) : 0;

	if (r == 0 && now)
		r = set_oid(o, "now", &now->id);
	return add_reason(ctx, path, o) ?: r;
}

static int look_for_changes(struct usage *g)
{
	struct run_staleness s = {
		.rd = g->u->rd,
		.tips = g->u->tips,
		.id = &g->at->id,
		.changed = take_changed,
		.ctx = g,
	};
	json_t *start, *end = NULL;
	int r = archive_get(s.rd.store, s.id, &s.rd.access->deadline, &start, &end);

	/* It is not there as the catalog has it, or a newer version's. */
	if (r == -ENOENT || r == -ENOTSUP)
		return -EIO;
	if (r < 0)
		return r;
	s.start = start;
	s.end = end;
	r = end ? run_stale(&s) : 0;
	json_decref(start);
	json_decref(end);
	return r;
}

/* Is what is at a place now, with that content, of the run, or has another made it again since? */
static int is_made_here(struct usage *g, const struct run_place *place, const struct oid *id,
			bool *ret)
{
	enum run_how how;
	struct run_id maker;
	int r = run_maker(g->u->rd.store, place, id, NULL, &maker, &how);

	*ret = r == 0 && (how != RUN_HOW_PLACE || strcmp(maker.s, g->at->id.s) == 0);
	return r;
}

/* What the run wrote: who read it? */
static int take_written(struct span path, const struct run_file *f, void *ctx)
{
	struct usage *g = ctx;
	struct run_place place;
	struct run_file now = { 0 };
	bool is_there, is_own = true;
	json_t *o;
	int r;

	if ((f->type != FT_REG && f->type != FT_LNK) || !run_place_read(path, &place))
		return 0;
	if (json_array_size(g->outputs) == RUN_USES_OUTPUTS) {
		g->more++;
		return 0;
	}
	r = run_tips_find(g->u->tips, &place, &now);
	is_there = r == 0 && now.type == f->type && oid_equal(&now.id, &f->id);
	if (r == 0 || r == -ENOENT)
		r = oid_is_null(&f->id) ? 0 : meet_readers(g, &f->id, NULL, g->at->depth + 1);
	if (r == 0 && g->is_stale && is_there)
		r = is_made_here(g, &place, &f->id, &is_own);
	/* Also what is there no more: others may have made of it what is. */
	if (r == 0 && g->is_stale && is_own)
		r = add_stale(g, &f->id);
	is_there = is_there && is_own;
	g->there += is_there;
	if (r < 0 || (g->u->stale && !is_there))
		return r;
	o = json_object();
	r = set(o, "path", json_of_bytes(path));
	if (r == 0)
		r = set_oid(o, "id", &f->id);
	if (r == 0)
		r = set(o, "size", json_integer((json_int_t)f->size));
	if (r == 0)
		r = set(o, "there", json_boolean(is_there));
	return json_array_append_new(g->outputs, o) < 0 ? -ENOMEM : r;
}

static int line_of(struct usage *g, const struct run_row *row, bool has_error, json_t **ret)
{
	const struct run_uses *u = g->u;
	const bool may_see = !u->may_see || u->may_see(row, u->ctx);
	json_t *line = json_object();
	int r = set(line, "run", run_row_seen(row, may_see));

	if (r == 0)
		r = set(line, "depth", json_integer(g->at->depth));
	if (r == 0 && may_see)
		r = set(line, "outputs", json_incref(g->outputs));
	if (r == 0 && may_see && g->more > 0)
		r = set(line, "outputs_more", json_integer((json_int_t)g->more));
	if (r == 0 && may_see && u->stale)
		r = set(line, "stale", json_incref(g->reasons));
	if (r == 0 && has_error)
		r = set(line, "problem", json_string("what it read and wrote cannot be looked at"));
	if (r == 0)
		*ret = line;
	else
		json_decref(line);
	return r;
}

static int tell(struct usage *g, const struct user *m)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	bool has_error = false;
	struct run_row row;
	json_t *line;
	int r;

	g->at = m;
	g->more = g->there = 0;
	g->is_stale = false;
	json_decref(g->outputs);
	json_decref(g->reasons);
	g->outputs = json_array();
	g->reasons = json_array();
	r = catalog_row(g->u->rd.store, &m->id, &bytes, &row);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (g->u->stale)
		r = run_files_of(&g->u->rd, &row, INDEX_RUN_READ, take_read, g);
	if (r == 0 && g->u->stale)
		r = look_for_changes(g);
	if (r == 0)
		r = run_files_of(&g->u->rd, &row, INDEX_RUN_WRITTEN, take_written, g);
	if (r == -EIO || r == -EBADMSG) {
		has_error = true;
		r = 0;
	}
	if (r < 0 || (g->u->stale && !has_error && !(g->is_stale && g->there > 0)))
		return r;
	r = line_of(g, &row, has_error, &line);
	return r < 0 ? r : g->u->emit(line, g->u->ctx);
}

int run_uses(const struct run_uses *u, const struct run_place *place, const struct oid *id)
{
	_cleanup_(usage_release) struct usage g = { .u = u, .waiting.is_before = starts_before };
	struct user *m;
	int r = meet_readers(&g, NULL, place, 0);

	if (r == 0 && id && !oid_is_null(id))
		r = meet_readers(&g, id, NULL, 0);
	while (r == 0 && (m = heap_pop(&g.waiting)))
		r = tell(&g, m);
	return r;
}
