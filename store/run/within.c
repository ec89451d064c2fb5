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
#include "catalog/files.h"
#include "record/fields.h"
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

/* Places of the outer run's log, by depth, and where the walk is. */
struct telling {
	struct run *run;
	struct access *acc;
	seen_place *places; /* owned, as ends */
	size_t *ends; /* of path */
	size_t room;
	struct buf path; /* in the branch */
	struct loaded mine, outers; /* the branch's commits, where they are not the same; owned */
};

static void telling_release(struct telling *t)
{
	free(t->places);
	free(t->ends);
	buf_release(&t->path);
	loaded_release(&t->mine);
	loaded_release(&t->outers);
}

static int grow(struct telling *t, size_t depth)
{
	size_t room = MAX(2 * t->room, depth + DEPTH_FIRST);
	seen_place *p = reallocarray(t->places, room, sizeof(*p));
	size_t *e;

	if (!p)
		return -ENOMEM;
	t->places = p;
	e = reallocarray(t->ends, room, sizeof(*e));
	if (!e)
		return -ENOMEM;
	t->ends = e;
	t->room = room;
	return 0;
}

static void load_of(struct telling *t, const struct run_head *h, struct loaded *ret)
{
	struct refs_wait w = { .may_wait = true, .deadline = t->acc->deadline };

	refs_load_commit(t->run->runs->opts.store->refs, &h->repo_id, &h->pinned, &w, ret);
}

/* The commits of a branch that the outer run has changed before this one was begun. */
static void enter_branch(struct telling *t, const char *top)
{
	struct run_head name, mine, outers;

	loaded_release(&t->mine);
	loaded_release(&t->outers);
	t->mine = t->outers = (struct loaded){ 0 };
	if (run_branch_parse(top, &name) < 0 ||
	    run_head_now(t->run, name.repo, name.branch, &mine) < 0 ||
	    run_head_now(t->run->parent, name.repo, name.branch, &outers) < 0 ||
	    oid_equal(&mine.pinned, &outers.pinned))
		return;
	load_of(t, &mine, &t->mine);
	load_of(t, &outers, &t->outers);
}

/* Is the file that this run has read one that the outer run has made or changed? */
static bool is_outers_own(const struct telling *t)
{
	const struct run_reading rd = { t->run->runs->opts.store, t->acc };
	struct run_file mine, outers;

	return t->mine.object.len > 0 && t->outers.object.len > 0 &&
	       run_file_in_commit(&rd, &t->mine.commit, buf_span(&t->path), &mine) == 0 &&
	       run_file_in_commit(&rd, &t->outers.commit, buf_span(&t->path), &outers) == 0 &&
	       !oid_equal(&mine.id, &outers.id);
}

static int tell_below(struct telling *t, unsigned depth, struct span name, unsigned what)
{
	const unsigned was_read = SEEN_READ | SEEN_KEPT;

	t->path.len = depth > 1 ? t->ends[depth - 1] : 0;
	if (depth > 1)
		buf_put_u8(&t->path, '/');
	buf_put(&t->path, name.data, name.len);
	if (buf_failed(&t->path))
		return -ENOMEM;
	t->ends[depth] = t->path.len;
	if (what & was_read && is_outers_own(t))
		what = (what & ~was_read) | SEEN_PRESENT;
	t->places[depth] =
		seen_name(t->run->parent->seen, t->places[depth - 1], name, (enum seen_what)what);
	return 0;
}

static int tell(unsigned depth, struct span name, unsigned what, void *ctx)
{
	struct telling *t = ctx;
	struct seen *to = t->run->parent->seen;
	char top[2 * (OBJECT_NAME_MAX + OID_HEX)];

	if (depth >= t->room && grow(t, depth) < 0)
		return -ENOMEM;
	if (depth > 0)
		return tell_below(t, depth, name, what);
	t->places[0] = 0;
	/* A longer one is no name of ours, and nothing is below it. */
	if (name.len >= sizeof(top))
		return 0;
	memcpy(top, name.data, name.len);
	top[name.len] = '\0';
	enter_branch(t, top);
	t->places[0] = seen_top(to, top);
	seen_mark(to, t->places[0], (enum seen_what)what);
	return 0;
}

void run_tell_seen(struct run *run, struct access *acc)
{
	_cleanup_(telling_release) struct telling t = { .run = run, .acc = acc };
	int r;

	if (!run->parent)
		return;
	WITH_LOCK(&run->parent->end_lock);

	if (run_state_of(run->parent) != RUN_GOING_ON)
		return;
	access_may_fetch(acc);
	r = seen_walk(run->seen, tell, &t);
	if (r < 0)
		log_errno(r,
			  "run %s: what it has seen cannot be noted for the run %s, which it "
			  "is in",
			  run->id.s, run->parent->id.s);
}

/* What the run was begun on. */
static int load_pinned(struct run *run, const struct oid *pinned, const struct run_place *p,
		       struct access *acc, struct loaded *ret)
{
	struct refs_wait w = { .may_wait = acc->may_wait, .deadline = acc->deadline };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	char repo[OBJECT_NAME_MAX + 1];
	int r;

	if (p->repo.len > OBJECT_NAME_MAX)
		return -ENOENT;
	if (oid_is_null(pinned))
		return 0;
	memcpy(repo, p->repo.data, p->repo.len);
	repo[p->repo.len] = '\0';
	r = refs_repo(run->runs->opts.store->refs, repo, &w, &rec);
	return r < 0 ? r : refs_load_commit(run->runs->opts.store->refs, &rec.id, pinned, &w, ret);
}

bool run_has_changed(struct run *run, struct vnode *v, struct access *acc)
{
	const struct run_reading rd = { run->runs->opts.store, acc };
	_cleanup_loaded_ struct loaded top = { 0 };
	_cleanup_free_ char *path = NULL;
	struct run_file was;
	struct oid pinned, at;
	struct run_place p;
	struct stat now;
	int r;

	if (!view_is_head(v->view))
		return false;
	pinned = head_committed(v->view);
	at = view_commit(v->view);
	/* As always but where runs were begun in it; each read comes by here. */
	if (oid_equal(&pinned, &at))
		return false;
	path = view_path(v);
	if (!path || !run_place_read(span_str(path), &p) ||
	    load_pinned(run, &pinned, &p, acc, &top) < 0)
		return false;
	r = top.object.len > 0 ? run_file_in_commit(&rd, &top.commit, p.path, &was) : -ENOENT;
	if (r == 0)
		r = view_getattr(v, acc, &now);
	return r < 0 ? r == -ENOENT : !run_file_is(&was, &now);
}
