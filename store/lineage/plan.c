/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Planning an update (lineage/plan.h).
 *
 *	found --looked at: its reasons, its edges--> known --all that it is made from told--> told
 *
 * Steps are looked at as they are found, and told in the order of a walk in depth from those that
 * were asked for: of a cycle each comes once. Neither recurses.
 */
#include "base/log.h"
#include "base/text.h"
#include "catalog/catalog.h"
#include "lineage/plan_parts.h"
#include "record/json_bytes.h"

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
	free(s->then);
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
	plan_forget_turns(p);
	throwaways_release(&p->throwaways);
	free(p->stack);
	json_decref(p->start);
	json_decref(p->end);
	buf_release(&p->bytes);
	free(p);
}

/* ---- steps ---- */

struct step *plan_known(const struct run_plan *p, const struct run_id *id)
{
	htab_for_each (n, &p->by_id, hash_bytes(id->s, RUN_ID_LEN)) {
		struct step *s = container_of(n, struct step, node);

		if (strcmp(s->id.s, id->s) == 0)
			return s;
	}
	return NULL;
}

int plan_step(struct run_plan *p, const struct run_id *id, struct step **ret)
{
	struct step *s = *ret = plan_known(p, id);

	if (s)
		return 0;
	if (p->count == RUN_PLAN_STEPS)
		return log_fail(-E2BIG, "it was made by more than %d runs: name some of it",
				RUN_PLAN_STEPS);
	s = new0(struct step, 1);
	if (!s || htab_insert(&p->by_id, &s->node, hash_bytes(id->s, RUN_ID_LEN)) < 0) {
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

int plan_edge(struct step *to, struct span path, struct step *from, bool is_turn)
{
	if (from == to)
		return 0;
	for (size_t i = from->read_by == to ? to->edge_count : 0; i > 0; i--)
		if (to->edges[i - 1].from == from) {
			to->edges[i - 1].is_turn |= is_turn;
			return 0;
		}
	if (to->edge_count == to->edge_cap) {
		size_t cap = MAX(2 * to->edge_cap, (size_t)4);
		struct edge *e = reallocarray(to->edges, cap, sizeof(*e));

		if (!e)
			return -ENOMEM;
		to->edges = e;
		to->edge_cap = cap;
	}
	to->edges[to->edge_count++] = (struct edge){ from, json_of_bytes(path), is_turn };
	from->read_by = to;
	return 0;
}

int plan_then(struct step *s, struct step *then)
{
	for (size_t i = 0; i < s->then_count; i++)
		if (s->then[i] == then)
			return 0;
	if (s->then_count == s->then_cap) {
		size_t cap = MAX(2 * s->then_cap, (size_t)4);
		struct step **f = reallocarray(s->then, cap, sizeof(*f));

		if (!f)
			return -ENOMEM;
		s->then = f;
		s->then_cap = cap;
	}
	s->then[s->then_count++] = then;
	return 0;
}

/* Those whose work lives on in it. Of the same command the last one is meant: what it adds to again
 * and again, as to a log, is not all to be made again. */
static int add_line(struct run_plan *p, const struct run_turns *line)
{
	_cleanup_free_ uint64_t *commands = reallocarray(NULL, line->count, sizeof(uint64_t));

	if (!commands)
		return -ENOMEM;
	for (size_t i = 0; i < line->count; i++) {
		struct step *s;
		bool is_new = true;
		int r = plan_command(p, &line->at[i].id, &commands[i]);

		for (size_t k = 0; k < i; k++)
			is_new &= commands[k] != commands[i];
		if (r == 0 && is_new)
			r = plan_step(p, &line->at[i].id, &s);
		if (r == 0 && is_new)
			s->is_root = true;
		if (r < 0)
			return r;
	}
	return 0;
}

static int ask_for(struct run_plan *p, struct span path, struct step *s)
{
	s->is_root = true;
	return 0;
}

static int add_maker(struct span path, const struct run_file *f, void *ctx)
{
	struct run_plan *p = ctx;
	const struct run_turns *line;
	struct run_place place;
	struct run_id id;
	struct step *s;
	bool is_its;
	int r = run_place_read(path, &place) ? plan_maker(p, &place, f, &id, &is_its) : 0;

	if (r <= 0)
		return r;
	r = plan_step(p, &id, &s);
	if (r < 0)
		return r;
	s->is_root = true;
	r = plan_each_undone(p, path, &place, f, &id, ask_for);
	if (r == 0)
		r = plan_line(p, path, &place, f, &line);
	return r == 0 && line->count > 1 ? add_line(p, line) : r;
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

/* What is to be run for what the edge is to be as it should; NULL: nothing. */
static struct step *waits_for(const struct edge *e)
{
	return is_to_be_run(e->from)		? e->from
	       : e->from->is_over || e->is_turn ? e->from->through
						: NULL;
}

static int set(json_t *o, const char *key, json_t *value)
{
	return json_object_set_new(o, key, value) < 0 ? -ENOMEM : 0;
}

static int add_reason(struct step *s, const struct edge *e, const struct step *from)
{
	json_t *o;

	if (s->is_stale || json_array_size(s->reasons) >= RUN_PLAN_REASONS)
		return 0;
	o = json_pack("{s:O, s:s}", "path", e->path, "run", from->id.s);
	return json_array_append_new(s->reasons, o) < 0 ? -ENOMEM : 0;
}

/* Those that it waits for; with them the reasons of one that is not stale. */
static int set_after(struct step *s, json_t *line)
{
	json_t *after = json_array();
	const struct step *last = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->edge_count; i++) {
		const struct step *from = waits_for(&s->edges[i]);

		if (!from || from == last)
			continue;
		last = from;
		if (json_array_append_new(after, json_string(from->id.s)) < 0)
			r = -ENOMEM;
		if (r == 0)
			r = add_reason(s, &s->edges[i], from);
	}
	return set(line, "after", after) ?: r;
}

static int cmp_followers(const void *a, const void *b)
{
	struct step *const *x = a, *const *y = b;

	return strcmp((*y)->id.s, (*x)->id.s);
}

/* The last one first. */
static int set_taken_back(struct step *s, json_t *line)
{
	json_t *ids = json_array();
	int r = 0;

	if (s->then_count > 0)
		qsort(s->then, s->then_count, sizeof(*s->then), cmp_followers);
	for (size_t i = 0; i < s->then_count; i++)
		if (json_array_append_new(ids, json_string(s->then[i]->id.s)) < 0)
			r = -ENOMEM;
	if (r == 0 && json_array_size(ids) > 0)
		return set(line, "take_back", ids);
	json_decref(ids);
	return r;
}

static int tell(struct run_plan *p, struct step *s)
{
	const char *state = s->is_stale ? "stale" : s->depends ? "depends" : "current";
	json_t *line = json_object();
	bool may_see;
	int r = set(line, "run", row_json(p, s, &may_see));

	if (r == 0)
		r = set_after(s, line);
	if (r == 0)
		r = set_taken_back(s, line);
	if (r == 0)
		r = set(line, "state", json_string(state));
	if (r == 0 && may_see)
		r = set(line, "reasons", json_incref(s->reasons));
	if (r == 0 && s->skip)
		r = set(line, "skip", json_string(s->skip));
	if (r == 0)
		return p->p.emit(line, p->p.ctx);
	json_decref(line);
	return r;
}

/* All that it is made from is told. */
static int leave(struct run_plan *p, struct step *s)
{
	for (size_t i = 0; i < s->edge_count; i++) {
		struct step *from = waits_for(&s->edges[i]);

		s->depends |= from != NULL;
		s->through = from ?: s->through;
	}
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

/* Who has changed what it makes is to do so again. */
static void ask_for_followers(struct step *s)
{
	for (size_t i = 0; i < s->then_count; i++)
		s->then[i]->is_root |= is_to_be_run(s);
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
			ask_for_followers(s);
		}
	}
	return r;
}

/* All of them, by their ids; the caller's to free. NULL: no memory. */
static struct step **sorted(const struct run_plan *p)
{
	struct step **all = reallocarray(NULL, p->count + 1, sizeof(struct step *));
	size_t n = 0;

	for (struct step *s = p->first; all && s; s = s->next)
		all[n++] = s;
	if (all)
		qsort(all, n, sizeof(struct step *), cmp_steps);
	return all;
}

/* What would be taken back and not made again keeps a step from being run. */
static int skip_for_followers(struct run_plan *p, struct step *s)
{
	int r = 0;

	p->at = s;
	for (size_t i = 0; r == 0 && i < s->then_count; i++) {
		const struct step *f = s->then[i];

		if (!f->skip || f->is_over || s->skip)
			continue;
		f = f->skipped_for ?: f;
		s->skipped_for = f;
		r = plan_skip(p, false,
			      "what it has made was changed by run %s since, which cannot be run "
			      "again (%s): --force writes over it",
			      f->id.s, f->skip);
	}
	return r;
}

/* Those that were asked for, by their ids, then those that come behind them. */
static int tell_roots(struct run_plan *p, struct step **all)
{
	bool has_more = true;
	int r = 0;

	while (r == 0 && has_more) {
		has_more = false;
		for (size_t i = 0; r == 0 && i < p->count; i++) {
			if (!all[i]->is_root || all[i]->is_entered)
				continue;
			has_more = true;
			r = tell_from(p, all[i]);
		}
	}
	return r;
}

static int tell_all(struct run_plan *p)
{
	_cleanup_free_ struct step **all = sorted(p);
	int r = all ? 0 : -ENOMEM;

	/* Who changed something began later. */
	for (size_t i = p->count; r == 0 && i > 0; i--)
		r = skip_for_followers(p, all[i - 1]);
	return r < 0 ? r : tell_roots(p, all);
}

int run_plan_tell(struct run_plan *p)
{
	int r = 0;

	/* More of them are found meanwhile. */
	for (struct step *s = p->first; r == 0 && s; s = s->next)
		r = plan_look(p, s);
	return r < 0 ? r : tell_all(p);
}

int run_plan_tell_one(struct run_plan *p, const struct run_id *id, const json_t *behind)
{
	struct run_id other;
	struct step *s;
	json_t *text;
	size_t i;
	int r = 0;

	json_array_foreach ((json_t *)behind, i, text) {
		if (r < 0 || run_id_parse(json_string_value(text) ?: "", &other) < 0)
			continue;
		r = plan_step(p, &other, &s);
		if (r == 0)
			s->is_root = true;
	}
	if (r == 0)
		r = plan_step(p, id, &s);
	if (r == 0)
		r = plan_look(p, s);
	return r < 0 ? r : tell(p, s);
}
