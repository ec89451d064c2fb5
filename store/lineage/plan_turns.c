/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who made what a plan is about (lineage/plan_parts.h): one run, several in turn, runs in place of
 * others, and whom these had before them.
 */
#include "base/log.h"
#include "base/text.h"
#include "catalog/catalog.h"
#include "catalog/maker.h"
#include "lineage/plan_parts.h"
#include "record/archive.h"

int plan_maker(struct run_plan *p, const struct run_place *place, const struct run_file *f,
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
	static const char *const keys[] = { "argv", "cwd", "params" };
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

/* What it was run in place of, in its place: 1; 0: it was not; -errno. */
static int step_back(struct run_plan *p, struct run_id *id)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct run_id of = { 0 };
	struct run_row row;
	int r = catalog_row(p->p.rd.store, id, &bytes, &row);

	if (r < 0 || row.update.len != RUN_ID_LEN)
		return r == -ENOENT ? 0 : r;
	memcpy(of.s, row.update.data, RUN_ID_LEN);
	/* It was there before. */
	if (strcmp(of.s, id->s) >= 0)
		return 0;
	*id = of;
	return 1;
}

int plan_is_in_place_of(struct run_plan *p, const struct run_id *id, const struct run_turns *of)
{
	struct run_id at = *id;
	int r;

	while ((r = step_back(p, &at)) == 1)
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
		while ((r = step_back(p, ret)) == 1) {
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

/* Has anybody else ever written there? 1, 0, -errno. */
static int has_others(struct run_plan *p, const struct run_place *place, const struct run_id *made)
{
	_cleanup_run_turns_ struct run_turns all = { 0 };
	struct run_id mine, its;
	int r = run_turns_ever(&p->p.rd, place, &all) ?: plan_first_of(p, made, &mine);

	for (size_t i = 0; r == 0 && i < all.count; i++) {
		r = plan_first_of(p, &all.at[i].id, &its);
		if (r == 0 && strcmp(its.s, mine.s) != 0)
			return 1;
	}
	return r;
}

int plan_each_undone(struct run_plan *p, struct span path, const struct run_place *place,
		     const struct run_id *made,
		     int (*fn)(struct run_plan *p, struct span path, struct step *s))
{
	_cleanup_run_turns_ struct run_turns t = { 0 };
	struct run_id at = *made;
	int r = step_back(p, &at);

	if (r == 1)
		r = has_others(p, place, made);
	for (; r == 1; r = step_back(p, &at)) {
		r = run_turns_behind(&p->p.rd, place, &at, &t);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; r == 0 && i < t.count; i++) {
		struct step *s;

		r = plan_has_replaced(p, &t, &t.at[i].id);
		if (r == 0)
			r = plan_step(p, &t.at[i].id, &s) ?: fn(p, path, s);
		r = MIN(r, 0);
	}
	return r;
}
