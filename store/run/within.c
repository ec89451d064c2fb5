/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A run that was begun in another one's view (RUNS.md, section 1, "Runs in runs"): what it has seen
 * is what that one has seen, and what it has made is taken into that one's private heads.
 *
 * The outer run's end_lock is held from before the look for conflicts until all outputs are taken
 * in, so that it either has all of them in its results or none. Locks go outwards only.
 */
#include "base/log.h"
#include "base/text.h"
#include "run/fields.h"
#include "run/parts.h"
#include "run/publish.h"

enum {
	DEPTH_FIRST = 64,
};

bool run_is_within(const struct run *run)
{
	return json_object_get(run->start, "parent");
}

bool run_may_publish_within(struct run *run)
{
	return run->parent && run_state_of(run->parent) == RUN_GOING_ON;
}

/* An output on its way into the outer run. */
struct taking_in {
	struct run *run;
	json_t *out;
	struct head_change change;
	struct throwaway *throwaway; /* owned */
	struct view *into; /* a reference */
};

static void taking_in_release(struct taking_in *t)
{
	throwaway_free(t->throwaway);
	view_unref(t->into);
}

static int set_doing(const struct oid *id, void *ctx)
{
	struct taking_in *t = ctx;

	json_object_set_new(t->out, "doing", json_of_oid(id));
	return run_note_save(t->run);
}

static void set_published(json_t *out, const char *into, const struct oid *id)
{
	json_object_del(out, "doing");
	json_object_set_new(out, "published", json_of_oid(id));
	json_object_set_new(out, "into", json_string(into));
}

static void note_published(const struct oid *id, void *ctx)
{
	struct taking_in *t = ctx;

	set_published(t->out, t->run->parent->id.s, id);
	/* Else the next mount finds that the head has it. */
	run_note_save(t->run);
}

static int taking_in_init(struct taking_in *t, struct run *run, json_t *out, struct access *acc)
{
	const char *repo = field_text(out, "repo"), *branch = field_text(out, "branch");
	struct refs_wait w = { .may_wait = true, .deadline = acc->deadline };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	int r = refs_repo(run->runs->opts.store->refs, repo, &w, &rec);

	*t = (struct taking_in){ .run = run, .out = out };
	if (r == 0)
		r = throwaway_new(&rec, &t->throwaway);
	if (r == 0)
		r = field_oid(out, "pinned", &t->change.base)
			    ?: field_oid(out, "result", &t->change.result);
	if (r == 0)
		r = run_branch(run->parent, repo, branch, acc, &t->into);
	if (r == 0 && !view_is_head(t->into))
		r = -ENOENT;
	t->change.leave_out = throwaway_has;
	t->change.leave_out_ctx = t->throwaway;
	t->change.about_to = set_doing;
	t->change.has_moved = note_published;
	t->change.ctx = t;
	return r;
}

int run_check_within(struct run *run, json_t *out, struct access *acc, uint64_t *ret_conflicts)
{
	_cleanup_(taking_in_release) struct taking_in t = { 0 };
	int r = taking_in_init(&t, run, out, acc);

	return r < 0 ? r : head_take_check(t.into, &t.change, acc, ret_conflicts);
}

int run_publish_within(struct run *run, json_t *out, struct access *acc, uint64_t *ret_conflicts)
{
	_cleanup_(taking_in_release) struct taking_in t = { 0 };
	struct oid at;
	int r = taking_in_init(&t, run, out, acc);

	if (r == 0)
		r = head_take(t.into, &t.change, acc, &at, ret_conflicts);
	return r == -EBUSY ? -ESTALE : r;
}

/* Is it the outer run's head, at the pin that a former process was about to take it to? */
static int is_at_pin(struct view *head, struct span label, void *ctx)
{
	const struct taking_in *t = ctx;
	_cleanup_free_ char *want = strf("%s %s/%s", field_text(t->run->start, "parent"),
					 field_text(t->out, "repo"), field_text(t->out, "branch"));
	struct oid doing, now = view_commit(head);

	return want && span_equal(label, span_str(want)) &&
	       field_oid(t->out, "doing", &doing) == 0 && oid_equal(&doing, &now);
}

int run_recall_within(struct run *run)
{
	bool any = false;
	json_t *out;
	size_t i;

	json_array_foreach (json_object_get(run->note, "outputs"), i, out) {
		struct taking_in t = { .run = run, .out = out };
		struct oid doing;

		if (!json_object_get(out, "doing") || json_object_get(out, "published") ||
		    field_oid(out, "doing", &doing) < 0)
			continue;
		if (heads_each_private(run->runs->opts.heads, is_at_pin, &t) == 1)
			set_published(out, field_text(run->start, "parent"), &doing);
		else
			json_object_del(out, "doing");
		any = true;
	}
	/* Once the outer run goes further its head does not tell any more. */
	return any ? run_note_save(run) : 0;
}

/* Places of the outer run's log, by depth. */
struct telling {
	struct seen *to;
	seen_place *places; /* owned */
	size_t room;
};

static int tell(unsigned depth, struct span name, unsigned what, void *ctx)
{
	struct telling *t = ctx;
	char top[2 * (OBJECT_NAME_MAX + OID_HEX)];

	if (depth >= t->room) {
		size_t room = MAX(2 * t->room, (size_t)depth + DEPTH_FIRST);
		seen_place *p = reallocarray(t->places, room, sizeof(*p));

		if (!p)
			return -ENOMEM;
		t->places = p;
		t->room = room;
	}
	if (depth > 0) {
		t->places[depth] =
			seen_name(t->to, t->places[depth - 1], name, (enum seen_what)what);
		return 0;
	}
	/* A longer one is no name of ours, and nothing is below it. */
	if (name.len >= sizeof(top))
		return 0;
	memcpy(top, name.data, name.len);
	top[name.len] = '\0';
	t->places[0] = seen_top(t->to, top);
	seen_mark(t->to, t->places[0], (enum seen_what)what);
	return 0;
}

void run_tell_seen(struct run *run)
{
	struct telling t;
	int r;

	if (!run->parent)
		return;
	WITH_LOCK(&run->parent->end_lock);

	if (run_state_of(run->parent) != RUN_GOING_ON)
		return;
	t = (struct telling){ .to = run->parent->seen };
	r = seen_walk(run->seen, tell, &t);
	free(t.places);
	if (r < 0)
		log_errno(r,
			  "run %s: what it has seen cannot be noted for the run %s, which it "
			  "is in",
			  run->id.s, run->parent->id.s);
}
