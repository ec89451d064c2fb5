/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who made what a plan is about (lineage/plan_parts.h): one run, several in turn, runs in place of
 * others, and whom these had before them.
 */
#include "base/log.h"
#include "catalog/catalog.h"
#include "catalog/maker.h"
#include "lineage/plan_parts.h"
#include "record/archive.h"

/* Of an empty file: 1, 0, -errno. */
static int maker_of_nothing(struct run_plan *p, const struct run_place *place,
			    const struct run_file *f, struct run_id *ret)
{
	_cleanup_run_turns_ struct run_turns t = { 0 };
	int r = run_turns_of(&p->p.rd, place, f, NULL, &t);

	if (r == 0 && t.count > 0)
		*ret = t.at[0].id;
	return r < 0 ? r : t.count > 0;
}

int plan_maker(struct run_plan *p, const struct run_place *place, const struct run_file *f,
	       struct run_id *ret, bool *is_its)
{
	enum run_how how = RUN_HOW_NOT;
	int r;

	if (f->type != FT_REG && f->type != FT_LNK)
		return 0;
	if (f->type == FT_REG && f->size == 0) {
		r = maker_of_nothing(p, place, f, ret);
		*is_its = r == 1;
		if (r != 0)
			return r;
	}
	r = run_maker(p->p.rd.store, place, &f->id, NULL, ret, &how);
	*is_its = how == RUN_HOW_PLACE;
	if (r == 0)
		r = *is_its ? 1
			    : run_last_writer(p->p.rd.store, place, &p->p.rd.access->deadline, ret);
	if (r <= 0)
		return r;
	r = run_outermost(p->p.rd.store, ret);
	return r < 0 ? r : 1;
}

static struct line *known_line(const struct run_plan *p, struct span path)
{
	htab_for_each (n, &p->lines, hash_bytes(path.data, path.len)) {
		struct line *l = container_of(n, struct line, node);

		if (span_equal(span_str(l->path), path))
			return l;
	}
	return NULL;
}

/* Takes the turns. */
static int keep_line(struct run_plan *p, struct span path, struct run_turns *t, struct line **ret)
{
	struct line *l = new0(struct line, 1);

	if (l)
		l->path = strndup((const char *)path.data, path.len);
	if (!l || !l->path || htab_insert(&p->lines, &l->node, hash_bytes(path.data, path.len))) {
		free(l ? l->path : NULL);
		free(l);
		return -ENOMEM;
	}
	l->turns = *t;
	*t = (struct run_turns){ 0 };
	*ret = l;
	return 0;
}

int plan_line(struct run_plan *p, struct span path, const struct run_place *place,
	      const struct run_file *now, const struct run_turns **ret)
{
	struct line *l = known_line(p, path);
	int r = 0;

	if (!l) {
		run_turns_release(&p->turns);
		r = run_turns_of(&p->p.rd, place, now, NULL, &p->turns);
		*ret = &p->turns;
		/* Most files have one maker, or none. */
		if (r == 0 && p->turns.count > 1)
			r = keep_line(p, path, &p->turns, &l);
	}
	if (l)
		*ret = &l->turns;
	return r;
}

static void free_line(struct hnode *n, void *ctx)
{
	struct line *l = container_of(n, struct line, node);

	run_turns_release(&l->turns);
	free(l->path);
	free(l);
}

/* ---- what was run ---- */

static uint64_t hash_of(const json_t *start)
{
	static const char *const keys[] = { "argv", "cwd", "params", "stdin", "env" };
	uint64_t hash = 0;

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		_cleanup_free_ char *text =
			json_dumps(json_object_get(start, keys[i]),
				   JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);

		hash = hash * 31 + (text ? hash_bytes(text, strlen(text)) : 0);
	}
	return hash;
}

static int read_command(struct run_plan *p, struct known_run *k)
{
	json_t *start = NULL, *end = NULL;
	int r = archive_get(p->p.rd.store, &k->id, &p->p.rd.access->deadline, &start, &end);

	k->command = r == 0 ? hash_of(start) : hash_bytes(k->id.s, RUN_ID_LEN);
	if (r == 0) {
		json_decref(start);
		json_decref(end);
	}
	complaint_clear();
	return plan_is_unreadable(r) ? 0 : r;
}

static int know(struct run_plan *p, const struct run_id *id, struct known_run **ret)
{
	uint64_t hash = hash_bytes(id->s, RUN_ID_LEN);

	htab_for_each (n, &p->runs, hash) {
		*ret = container_of(n, struct known_run, node);
		if (strcmp((*ret)->id.s, id->s) == 0)
			return 0;
	}
	*ret = new0(struct known_run, 1);
	if (!*ret || htab_insert(&p->runs, &(*ret)->node, hash) < 0) {
		free(*ret);
		return -ENOMEM;
	}
	(*ret)->id = *id;
	return 0;
}

int plan_command(struct run_plan *p, const struct run_id *id, uint64_t *ret)
{
	struct known_run *k;
	int r = know(p, id, &k);

	if (r == 0 && !k->has_command) {
		r = read_command(p, k);
		k->has_command = r == 0;
	}
	if (r == 0)
		*ret = k->command;
	return r;
}

static void free_known(struct hnode *n, void *ctx)
{
	free(container_of(n, struct known_run, node));
}

void plan_forget_turns(struct run_plan *p)
{
	htab_walk(&p->lines, free_line, NULL);
	htab_release(&p->lines);
	htab_walk(&p->runs, free_known, NULL);
	htab_release(&p->runs);
	run_turns_release(&p->turns);
}

/* ---- in place of whom ---- */

int plan_is_in_place_of(struct run_plan *p, const struct run_id *id, const struct run_turns *of)
{
	struct run_id at = *id;
	int r;

	while ((r = run_step_back(p->p.rd.store, &at)) == 1)
		if (run_turns_find(of, &at) != SIZE_MAX)
			return 1;
	return r;
}

int plan_has_replaced(struct run_plan *p, const struct run_turns *t, const struct run_id *of)
{
	struct run_turn one = { .id = *of };
	const struct run_turns those = { .at = &one, .count = 1 };
	int r = 0;

	for (size_t i = 0; r == 0 && i < t->count; i++)
		r = plan_is_in_place_of(p, &t->at[i].id, &those);
	return r;
}

int plan_first_of(struct run_plan *p, const struct run_id *id, struct run_id *ret)
{
	struct known_run *k;
	int r = know(p, id, &k);

	if (r < 0)
		return r;
	if (!k->first.s[0]) {
		struct known_run *before = NULL;

		*ret = *id;
		while ((r = run_step_back(p->p.rd.store, ret)) == 1) {
			r = know(p, ret, &before);
			if (r < 0 || before->first.s[0])
				break;
		}
		if (r < 0)
			return r;
		k->first = before && before->first.s[0] ? before->first : *ret;
	}
	*ret = k->first;
	return 0;
}

/* As run_outermost() and plan_first_of(), looked up once. */
static int first_outermost(struct run_plan *p, const struct run_id *id, struct run_id *ret)
{
	struct known_run *k;
	int r = know(p, id, &k);

	if (r == 0 && !k->outermost.s[0]) {
		k->outermost = *id;
		r = run_outermost(p->p.rd.store, &k->outermost);
	}
	return r < 0 ? r : plan_first_of(p, &k->outermost, ret);
}

/* Has anybody else ever written there? 1, 0, -errno. */
static int has_others(struct run_plan *p, const struct run_place *place, const struct run_id *made)
{
	_cleanup_run_ids_ struct index_run_ids ids = { 0 };
	struct run_id mine, its;
	int r = run_turns_ever(&p->p.rd, place, &ids) ?: plan_first_of(p, made, &mine);

	for (size_t i = 0; r == 0 && i < ids.count; i++) {
		struct run_id id = { 0 };

		memcpy(id.s, ids.ids[i], INDEX_RUN_ID);
		r = first_outermost(p, &id, &its);
		if (r == 0 && strcmp(its.s, mine.s) != 0)
			return 1;
	}
	return r;
}

/* Those who have come behind it, or behind one in whose place it was run. */
static int all_behind(struct run_plan *p, const struct run_place *place, const struct run_id *made,
		      struct run_turns *ret)
{
	struct run_id at = *made;
	int r = run_step_back(p->p.rd.store, &at);

	/* An update has not run it. */
	if (r <= 0)
		return r;
	at = *made;
	do {
		r = run_turns_behind(&p->p.rd, place, &at, ret);
		if (r == 0)
			r = run_step_back(p->p.rd.store, &at);
	} while (r == 1);
	return r;
}

static int tell_undone(struct run_plan *p, struct span path, const struct run_turns *line,
		       const struct run_turns *behind, plan_undone_fn fn)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < behind->count; i++) {
		const struct run_turn *t = &behind->at[i];
		struct step *s;

		if (t->left.type == 0 || run_turns_find(line, &t->id) != SIZE_MAX)
			continue;
		r = plan_has_replaced(p, behind, &t->id) ?: plan_has_replaced(p, line, &t->id);
		if (r == 0)
			r = plan_step(p, &t->id, &s) ?: fn(p, path, s);
		r = MIN(r, 0);
	}
	return r;
}

int plan_each_undone(struct run_plan *p, struct span path, const struct run_place *place,
		     const struct run_file *now, const struct run_id *made, plan_undone_fn fn)
{
	struct run_turn one = { .id = *made };
	const struct run_turns alone = { .at = &one, .count = 1 }, *line;
	_cleanup_run_turns_ struct run_turns behind = { 0 };
	int r = has_others(p, place, made);

	if (r == 1)
		r = plan_line(p, path, place, now, &line);
	else
		return r;
	/* Somebody has changed it since. */
	if (r == 0 && line->count == 0)
		line = &alone;
	for (size_t i = 0; r == 0 && i < line->count; i++)
		r = all_behind(p, place, &line->at[i].id, &behind);
	return r < 0 ? r : tell_undone(p, path, line, &behind, fn);
}
