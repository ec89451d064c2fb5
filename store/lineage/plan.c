/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Planning an update (lineage/plan.h).
 *
 *	found --looked at: its reasons, its edges--> known --all that it is made from told--> told
 *
 * Steps are looked at as they are found, and told in the order of a walk in depth from those that
 * were asked for: of a cycle each comes once. Neither recurses.
 */
#include "lineage/plan.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/htab.h"
#include "base/log.h"
#include "base/text.h"
#include "catalog/catalog.h"
#include "catalog/maker.h"
#include "lineage/stale.h"
#include "record/archive.h"
#include "record/json_bytes.h"
#include "record/throwaway.h"
#include "record/tree_read.h"
#include "record/trees.h"

enum {
	PARENTS_MAX = 100, /* of runs in one another */
};

/* A step that another one has read from, and what. */
struct edge {
	struct step *from;
	json_t *path; /* owned */
};

struct step {
	struct hnode node;
	struct run_id id;
	struct step *next; /* in the order in which they were found */
	struct edge *edges; /* owned */
	size_t edge_count, edge_cap;
	size_t at; /* while the walk is in it: the next edge */
	struct step *read_by; /* the last one that got an edge to it */
	bool is_root, is_entered, is_stale, depends, is_over; /* is_over: made again since */
	json_t *reasons; /* owned; of one that is stale, NULL: nobody may see them */
	char *skip; /* owned; NULL: it can be run */
};

struct run_plan {
	struct run_planning p;
	struct htab by_id; /* of struct step; owned, with its elements */
	struct step *first, *last;
	size_t count;
	struct throwaways throwaways;
	struct step **stack; /* owned; of the walk in depth */
	size_t depth, room;
	/* Of the step that is looked at. */
	struct step *at;
	json_t *start, *end; /* owned */
	struct buf bytes;
	struct run_row row;
	struct tree_root tree;
	struct run_id met; /* the last one that has made again what it has made */
};

int run_plan_new(const struct run_planning *p, struct run_plan **ret)
{
	struct run_plan *plan = new0(struct run_plan, 1);

	if (!plan)
		return -ENOMEM;
	plan->p = *p;
	plan->throwaways.refs = p->rd.store->refs;
	*ret = plan;
	return 0;
}

static void free_step(struct hnode *n, void *ctx)
{
	struct step *s = container_of(n, struct step, node);

	for (size_t i = 0; i < s->edge_count; i++)
		json_decref(s->edges[i].path);
	free(s->edges);
	json_decref(s->reasons);
	free(s->skip);
	free(s);
}

void run_plan_free(struct run_plan *p)
{
	if (!p)
		return;
	htab_walk(&p->by_id, free_step, NULL);
	htab_release(&p->by_id);
	throwaways_release(&p->throwaways);
	free(p->stack);
	json_decref(p->start);
	json_decref(p->end);
	buf_release(&p->bytes);
	free(p);
}

/* ---- steps ---- */

static int step_of(struct run_plan *p, const struct run_id *id, struct step **ret)
{
	uint64_t hash = hash_bytes(id->s, RUN_ID_LEN);
	struct step *s;

	htab_for_each (n, &p->by_id, hash) {
		*ret = container_of(n, struct step, node);
		if (strcmp((*ret)->id.s, id->s) == 0)
			return 0;
	}
	if (p->count == RUN_PLAN_STEPS)
		return log_fail(-E2BIG, "it was made by more than %d runs: name some of it",
				RUN_PLAN_STEPS);
	s = new0(struct step, 1);
	if (!s || htab_insert(&p->by_id, &s->node, hash) < 0) {
		free(s);
		return -ENOMEM;
	}
	s->id = *id;
	p->count++;
	if (p->last)
		p->last->next = s;
	else
		p->first = s;
	p->last = s;
	*ret = s;
	return 0;
}

/* Runs in one another are run again by the outermost. */
static int outermost(struct run_plan *p, struct run_id *id)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct run_row row;

	for (int i = 0; i < PARENTS_MAX; i++) {
		int r = catalog_row(p->p.rd.store, id, &bytes, &row);

		if (r < 0 || row.parent.len != RUN_ID_LEN)
			return r == -ENOENT ? 0 : r;
		memcpy(id->s, row.parent.data, RUN_ID_LEN);
	}
	return 0;
}

/* The run that what lies at the place is of: 1, 0, -errno. @is_its: as it made it there; else
 * somebody has changed it since. */
static int maker_of(struct run_plan *p, const struct run_place *place, const struct run_file *f,
		    struct run_id *ret, bool *is_its)
{
	enum run_how how = RUN_HOW_NOT;
	int r;

	if (f->type != FT_REG && f->type != FT_LNK)
		return 0;
	r = run_maker(p->p.rd.store, place, &f->id, NULL, ret, &how);
	*is_its = how == RUN_HOW_PLACE;
	if (r == 0)
		r = *is_its ? 1
			    : run_last_writer(p->p.rd.store, place, &p->p.rd.access->deadline, ret);
	if (r <= 0)
		return r;
	r = outermost(p, ret);
	return r < 0 ? r : 1;
}

static int add_maker(struct span path, const struct run_file *f, void *ctx)
{
	struct run_plan *p = ctx;
	struct run_place place;
	struct run_id id;
	struct step *s;
	bool is_its;
	int r = run_place_read(path, &place) ? maker_of(p, &place, f, &id, &is_its) : 0;

	if (r <= 0)
		return r;
	r = step_of(p, &id, &s);
	if (r == 0)
		s->is_root = true;
	return r;
}

int run_plan_add(struct run_plan *p, const struct run_place *place)
{
	_cleanup_free_ char *path =
		strf("%.*s/%.*s/%.*s%s", (int)place->repo.len, (const char *)place->repo.data,
		     (int)place->rev.len, (const char *)place->rev.data, (int)place->path.len,
		     (const char *)place->path.data, place->path.len > 0 ? "/" : "");
	struct run_file f;
	int r = path ? run_tips_find(p->p.tips, place, &f) : -ENOMEM;

	if (r < 0)
		return r;
	if (f.type == FT_DIR)
		return run_files_each(&p->p.rd, &f.dir, path, add_maker, p);
	path[strlen(path) - 1] = '\0';
	return add_maker(span_str(path), &f, p);
}

/* ---- a step's edges and reasons ---- */

static int add_edge(struct run_plan *p, struct span path, const struct run_id *id)
{
	struct step *s = p->at, *from;
	int r = step_of(p, id, &from);

	if (r < 0 || from == s || from->read_by == s)
		return r;
	if (s->edge_count == s->edge_cap) {
		size_t cap = MAX(2 * s->edge_cap, (size_t)4);
		struct edge *e = reallocarray(s->edges, cap, sizeof(*e));

		if (!e)
			return -ENOMEM;
		s->edges = e;
		s->edge_cap = cap;
	}
	s->edges[s->edge_count++] = (struct edge){ from, json_of_bytes(path) };
	from->read_by = s;
	return 0;
}

/* What it read: who has made what is there now? */
static int take_read(struct span path, const struct run_file *f, void *ctx)
{
	struct run_plan *p = ctx;
	struct run_place place;
	struct run_file now;
	struct run_id id;
	bool is_its;
	int r = run_place_read(path, &place) ? run_tips_find(p->p.tips, &place, &now) : -ENOENT;

	if (r == 0)
		r = maker_of(p, &place, &now, &id, &is_its);
	return r == -ENOENT ? 0 : r == 1 ? add_edge(p, path, &id) : r;
}

static int set_id(json_t *o, const char *key, const struct run_file *f)
{
	char hex[OID_HEX];
	json_t *v;

	if (!f)
		return 0;
	v = f->type == FT_DIR	  ? json_string("directory")
	    : oid_is_null(&f->id) ? json_string("")
				  : json_string(oid_hex(&f->id, hex));
	return json_object_set_new(o, key, v);
}

static int take_changed(struct span path, const struct run_file *was, const struct run_file *now,
			void *ctx)
{
	struct run_plan *p = ctx;
	struct run_place place;
	struct run_id id;
	bool is_its;
	json_t *o;
	int r = 0;

	p->at->is_stale = true;
	if (now && run_place_read(path, &place))
		r = maker_of(p, &place, now, &id, &is_its);
	if (r == 1)
		r = add_edge(p, path, &id);
	if (r < 0 || json_array_size(p->at->reasons) == RUN_PLAN_REASONS)
		return r;
	o = json_object();
	if (json_object_set_new(o, "path", json_of_bytes(path)) < 0 || set_id(o, "was", was) < 0 ||
	    set_id(o, "now", now) < 0 || json_array_append_new(p->at->reasons, o) < 0)
		return -ENOMEM;
	return 0;
}

/* ---- what keeps it from being run ---- */

/* A sentence is text, whatever it names. */
static void make_text(char *s)
{
	bool is_utf8 = utf8_is_valid(s, strlen(s));

	for (; *s; s++)
		if ((uint8_t)*s < ' ' || (!is_utf8 && (uint8_t)*s >= 0x80))
			*s = '?';
}

static int _printf_(3, 4) skip(struct run_plan *p, bool is_hard, const char *fmt, ...)
{
	va_list ap;
	int r = 0;

	if (p->at->skip || (p->p.force && !is_hard))
		return 0;
	va_start(ap, fmt);
	r = vasprintf(&p->at->skip, fmt, ap);
	va_end(ap);
	if (r < 0) {
		p->at->skip = NULL;
		return -ENOMEM;
	}
	make_text(p->at->skip);
	return 0;
}

static int shown(struct span path)
{
	return (int)MIN(path.len, (size_t)200);
}

/* What of a record there is no use in asking for again. */
static bool is_unreadable(int r)
{
	return r == -ENOENT || r == -EBADMSG || r == -ENOTSUP || r == -EIO;
}

static bool is_equal(const json_t *a, const json_t *b, const char *key)
{
	const json_t *x = json_object_get(a, key), *y = json_object_get(b, key);

	return !x || !y ? x == y : json_equal(x, y);
}

/* What lies where it has written is another run's. */
static int meet_other(struct run_plan *p, struct span path, const struct run_id *other)
{
	json_t *start = NULL, *end = NULL;
	bool was_before = false;
	int r;

	if (p->at->is_over || strcmp(other->s, p->met.s) == 0)
		return 0;
	p->met = *other;
	r = archive_get(p->p.rd.store, other, &p->p.rd.access->deadline, &start, &end);
	if (r == 0) {
		/* Run in place of one that the step wrote over then as well? */
		const char *of = json_string_value(json_object_get(start, "update"));

		was_before = of && strcmp(of, p->at->id.s) < 0;
		p->at->is_over =
			is_equal(start, p->start, "argv") && is_equal(start, p->start, "cwd");
	}
	json_decref(start);
	json_decref(end);
	if (r < 0 && !is_unreadable(r))
		return r;
	return p->at->is_over || was_before
		       ? 0
		       : skip(p, false,
			      "%.*s, which it has made, was made by run %s since: --force writes over it",
			      shown(path), (const char *)path.data, other->s);
}

static int take_written(struct span path, const struct inode *ino, void *ctx)
{
	struct run_plan *p = ctx;
	struct run_file was = run_file_of(ino), now;
	struct run_place place;
	struct run_id id;
	bool is_its;
	int r;

	r = throwaways_have(&p->throwaways, path, &p->p.rd.access->deadline);
	if (r != 0)
		return r < 0 ? r : RUN_TREE_SKIP;
	if ((ino->type != FT_REG && ino->type != FT_LNK) || !run_place_read(path, &place))
		return 0;
	r = run_tips_find(p->p.tips, &place, &now);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (now.type == was.type && oid_equal(&now.id, &was.id))
		return 0;
	r = maker_of(p, &place, &now, &id, &is_its);
	if (r < 0)
		return r;
	if (r == 1 && is_its && strcmp(id.s, p->at->id.s) != 0)
		return meet_other(p, path, &id);
	return skip(p, false, "%.*s, which it has made, was changed since: --force writes over it",
		    shown(path), (const char *)path.data);
}

static int check_status(struct run_plan *p)
{
	if (p->row.uid != p->p.uid)
		return skip(p, true, "it is another user's");
	if (p->row.status != RUN_OK)
		return skip(p, true, "it has not ended well");
	return 0;
}

/* The record of a step; what of it cannot be read keeps it from being run. */
static int load(struct run_plan *p, struct step *s)
{
	int r;

	json_decref(p->start);
	json_decref(p->end);
	p->start = p->end = NULL;
	p->at = s;
	p->met = (struct run_id){ 0 };
	s->reasons = json_array();
	r = catalog_row(p->p.rd.store, &s->id, &p->bytes, &p->row);
	if (r < 0)
		return r;
	complaint_clear();
	r = archive_get(p->p.rd.store, &s->id, &p->p.rd.access->deadline, &p->start, &p->end);
	if (r == 0 && p->end)
		r = run_tree_read(json_object_get(p->end, "tree"), &p->tree);
	return r;
}

/* All that there is to know of a step by itself. */
static int look_at(struct run_plan *p, struct step *s)
{
	struct run_staleness stale = {
		.rd = p->p.rd, .tips = p->p.tips, .id = &s->id, .changed = take_changed, .ctx = p
	};
	int r = load(p, s);

	stale.start = p->start;
	stale.end = p->end;
	if (r == 0 && p->end)
		r = run_files_of(&p->p.rd, &p->row, INDEX_RUN_READ, take_read, p);
	if (r == 0 && p->end)
		r = run_stale(&stale);
	if (r == 0)
		r = check_status(p);
	if (r == 0 && p->end)
		r = run_tree_walk(&p->tree, RUN_TREE_WRITTEN, p->p.rd.access, take_written, p);
	if (!is_unreadable(r))
		return r;
	/* Nobody knows what it saw. */
	s->is_stale = true;
	r = skip(p, true, "what is recorded of it cannot be read");
	complaint_clear();
	return r;
}

/* ---- order ---- */

static int cmp_edges(const void *a, const void *b)
{
	const struct edge *x = a, *y = b;

	return strcmp(x->from->id.s, y->from->id.s);
}

static int cmp_steps(const void *a, const void *b)
{
	struct step *const *x = a, *const *y = b;

	return strcmp((*x)->id.s, (*y)->id.s);
}

static bool is_to_be_run(const struct step *s)
{
	return (s->is_stale || s->depends) && !s->skip && !s->is_over;
}

static json_t *row_json(struct run_plan *p, const struct step *s, bool *ret_may_see)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct run_row row;

	*ret_may_see = false;
	if (catalog_row(p->p.rd.store, &s->id, &bytes, &row) < 0)
		return json_pack("{s:s, s:s}", "id", s->id.s, "status", "unknown");
	*ret_may_see = !p->p.may_see || p->p.may_see(&row, p->p.ctx);
	return run_row_seen(&row, *ret_may_see);
}

static int tell(struct run_plan *p, struct step *s)
{
	json_t *line = json_object(), *after = json_array();
	bool may_see;
	int r = json_object_set_new(line, "run", row_json(p, s, &may_see));

	for (size_t i = 0; i < s->edge_count; i++) {
		const struct edge *e = &s->edges[i];

		if (!is_to_be_run(e->from))
			continue;
		r |= json_array_append_new(after, json_string(e->from->id.s));
		if (!s->is_stale && json_array_size(s->reasons) < RUN_PLAN_REASONS)
			r |= json_array_append_new(
				s->reasons,
				json_pack("{s:O, s:s}", "path", e->path, "run", e->from->id.s));
	}
	r |= json_object_set_new(line, "after", after);
	r |= json_object_set_new(line, "state",
				 json_string(s->is_stale  ? "stale"
					     : s->depends ? "depends"
							  : "current"));
	if (may_see)
		r |= json_object_set(line, "reasons", s->reasons);
	if (s->skip)
		r |= json_object_set_new(line, "skip", json_string(s->skip));
	if (r == 0)
		return p->p.emit(line, p->p.ctx);
	json_decref(line);
	return -ENOMEM;
}

/* All that it is made from is told. */
static int leave(struct run_plan *p, struct step *s)
{
	for (size_t i = 0; i < s->edge_count; i++)
		s->depends |= is_to_be_run(s->edges[i].from);
	return (s->is_stale || s->depends) && !s->is_over ? tell(p, s) : 0;
}

static int enter(struct run_plan *p, struct step *s)
{
	if (s->is_entered)
		return 0;
	if (p->depth == p->room) {
		size_t room = MAX(2 * p->room, (size_t)64);
		struct step **stack = reallocarray(p->stack, room, sizeof(struct step *));

		if (!stack)
			return -ENOMEM;
		p->stack = stack;
		p->room = room;
	}
	if (s->edge_count > 0)
		qsort(s->edges, s->edge_count, sizeof(*s->edges), cmp_edges);
	s->is_entered = true;
	p->stack[p->depth++] = s;
	return 0;
}

static int tell_from(struct run_plan *p, struct step *root)
{
	int r = enter(p, root);

	while (r == 0 && p->depth > 0) {
		struct step *s = p->stack[p->depth - 1];

		if (s->at < s->edge_count) {
			r = enter(p, s->edges[s->at++].from);
		} else {
			p->depth--;
			r = leave(p, s);
		}
	}
	return r;
}

/* Those that were asked for, by their ids. */
static int tell_all(struct run_plan *p)
{
	_cleanup_free_ struct step **roots =
		reallocarray(NULL, p->count + 1, sizeof(struct step *));
	size_t n = 0;
	int r = 0;

	if (!roots)
		return -ENOMEM;
	for (struct step *s = p->first; s; s = s->next)
		if (s->is_root)
			roots[n++] = s;
	qsort(roots, n, sizeof(struct step *), cmp_steps);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = tell_from(p, roots[i]);
	return r;
}

int run_plan_tell(struct run_plan *p)
{
	int r = 0;

	/* More of them are found meanwhile. */
	for (struct step *s = p->first; r == 0 && s; s = s->next)
		r = look_at(p, s);
	return r < 0 ? r : tell_all(p);
}

int run_plan_tell_one(struct run_plan *p, const struct run_id *id)
{
	struct step *s;
	int r = step_of(p, id, &s);

	if (r == 0)
		r = look_at(p, s);
	return r < 0 ? r : tell(p, s);
}
