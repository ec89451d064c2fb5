/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What was published comes to the mount's own heads (RUNS.md, section 1, "Publishing").
 *
 * Where a head cannot take it in at once, since a file is open for writing or it is written to
 * all the time, it is expected: tried again by the ender (runs.c), less and less often, and
 * before the head is committed or pinned. Of two on one branch that was published first comes
 * first: the other one's commit has it among its parents.
 *
 * What has come is noted, so it does not come twice: it may have been removed again. (After a kill
 * in between it comes once more, as the next mount begins.)
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "record/fields.h"
#include "run/parts.h"

enum {
	PAUSE_MS = 250,
	PAUSE_MAX_MS = 60 * 1000,
	TAKE_TIMEOUT_MS = 10 * 1000,
	LOCK_MS = 2000,
};

static const int64_t ms_ns = 1000 * 1000;

/* A branch that has something whose head has not. */
struct untaken {
	struct list link; /* in runs->untaken; guarded by runs->untaken_lock */
	struct run *run; /* which is in runs->list as long as this is there */
	struct id128 repo, branch;
	bool is_under_way; /* who has published it is about to have it taken in */
};

static bool is_of_branch(const struct untaken *u, const struct id128 *repo,
			 const struct id128 *branch)
{
	return id128_equal(&u->repo, repo) && id128_equal(&u->branch, branch);
}

/* Before @pos; twice is once. Under the lock. */
static void expect_before(struct list *pos, struct run *run, const json_t *out, bool is_under_way)
{
	struct untaken *u = new0(struct untaken, 1);

	if (!u || field_id128(out, "repo_id", &u->repo) < 0 ||
	    field_id128(out, "branch_id", &u->branch) < 0) {
		free(u);
		return;
	}
	list_for_each (other, &run->runs->untaken, struct untaken, link)
		if (other->run == run && is_of_branch(other, &u->repo, &u->branch)) {
			free(u);
			return;
		}
	u->run = run;
	u->is_under_way = is_under_way;
	run->untaken++;
	list_insert(pos, &u->link);
}

void run_expect_taking(struct run *run, const json_t *out)
{
	WITH_LOCK(&run->runs->untaken_lock);

	expect_before(&run->runs->untaken, run, out, true);
}

static bool is_taken(const struct run *run, const json_t *out)
{
	return json_object_get(json_object_get(run->note, "taken"), field_text(out, "branch_id"));
}

void run_expect_again(struct run *run)
{
	struct runs *rs = run->runs;
	const char *ended = field_text(run->note, "ended");
	struct list *pos = &rs->untaken;
	json_t *out;
	size_t i;
	WITH_LOCK(&rs->untaken_lock);

	list_for_each (u, &rs->untaken, struct untaken, link)
		if (strcmp(field_text(u->run->note, "ended"), ended) > 0) {
			pos = &u->link;
			break;
		}
	json_array_foreach (json_object_get(run->note, "outputs"), i, out)
		if (json_object_get(out, "published") && !json_object_get(out, "into") &&
		    !is_taken(run, out))
			expect_before(pos, run, out, false);
}

void runs_expect_no_more(struct runs *rs)
{
	list_for_each_safe (u, &rs->untaken, struct untaken, link)
		free(u);
	list_init(&rs->untaken);
}

/* What is expected first on the branch. Under the lock. */
static struct untaken *first_of(struct runs *rs, const struct id128 *repo,
				const struct id128 *branch)
{
	list_for_each (u, &rs->untaken, struct untaken, link)
		if (is_of_branch(u, repo, branch))
			return u;
	return NULL;
}

/* Waits, if it may, for those before it that are about to come. False: it is not its turn. */
static bool get_turn(const struct output *o, bool may_wait)
{
	struct runs *rs = o->run->runs;
	struct deadline dl = deadline_in_ms(TAKE_TIMEOUT_MS);
	struct untaken *first;
	WITH_LOCK(&rs->untaken_lock);

	while ((first = first_of(rs, &o->p.repo, &o->p.identity)) && first->run != o->run)
		if (!may_wait || !first->is_under_way || rs->cancelled ||
		    cond_wait_until(&rs->fewer_untaken, &rs->untaken_lock, &dl, TAKE_TIMEOUT_MS) <
			    0)
			return false;
	return first;
}

/* What the run has changed in the branch, as @ret. */
static int change_of(const struct output *o, struct throwaway **t, struct access *acc,
		     struct head_change *ret)
{
	struct run_head mine;
	int r = publish_throwaway(&o->p, &acc->deadline, t);

	*ret = (struct head_change){
		.base = o->p.pinned,
		.result = o->p.result,
		.leave_out = throwaway_has,
		.leave_out_ctx = *t,
	};
	if (run_head_now(o->run, o->p.repo_name, o->p.branch, &mine) == 0)
		ret->seen_at = mine.pinned;
	if (r == 0 && json_object_get(o->run->start, "update"))
		r = run_redo(o->run, &o->p, acc, &ret->base, &ret->result);
	return r;
}

/* What was changed in the head meanwhile, where the run has changed it too, stays. */
static int take_into(struct view *head, const struct output *o, struct access *acc)
{
	_cleanup_(throwaway_freep) struct throwaway *t = NULL;
	struct head_change c;
	struct oid tip;
	int r = field_oid(o->json, "published", &tip);

	if (r == 0)
		r = change_of(o, &t, acc, &c);
	/* The repo is gone, removed by another mount, or what is needed cannot be read: it will
	 * not get better. */
	if (r == -ENOENT || r == -EBADMSG)
		return 0;
	if (r == 0)
		r = head_take_published(head, &c, &tip, acc);
	if (r != -ESTALE)
		return r;
	r = head_advance(head, &tip, acc);
	if (r == 0)
		log_info("run %s: what it has changed in %s/%s was changed here as well: that "
			 "stays, and lies beside what is on the branch",
			 o->run->id.s, o->p.repo_name, o->p.branch);
	return MIN(r, 0);
}

/* An output on its way to the head. */
struct taking {
	const struct output *output;
	int error;
};

static int take_in(struct view *head, void *ctx)
{
	struct taking *t = ctx;
	const struct output *o = t->output;
	struct runs *rs = o->run->runs;
	struct access acc;

	if (!head_is_of(head, &o->p.repo, &o->p.identity))
		return 0;
	access_init(&acc, rs->opts.store->reader, true);
	acc.deadline = deadline_in_ms(TAKE_TIMEOUT_MS);
	acc.deadline.cancelled = &rs->cancelled;
	t->error = take_into(head, o, &acc);
	access_release(&acc);
	complaint_clear();
	return 0;
}

/* It is expected no more; those that it was in the way of can be tried at once. */
static void forget(struct run *run, const struct id128 *repo, const struct id128 *branch)
{
	struct runs *rs = run->runs;
	WITH_LOCK(&rs->untaken_lock);

	list_for_each_safe (u, &rs->untaken, struct untaken, link) {
		if (!is_of_branch(u, repo, branch))
			continue;
		u->run->take_at = 0;
		if (u->run != run)
			continue;
		list_remove(&u->link);
		free(u);
		run->untaken--;
	}
	pthread_cond_broadcast(&rs->fewer_untaken);
}

/* It has come, or nothing is left to come. */
static void note_taken(const struct output *o)
{
	struct run *run = o->run;
	struct runs *rs = run->runs;
	json_t *taken = json_object_get(run->note, "taken");

	if (!taken && json_object_set_new(run->note, "taken", taken = json_object()) < 0)
		taken = NULL;
	if (taken)
		json_object_set_new(taken, field_text(o->json, "branch_id"), json_true());
	forget(run, &o->p.repo, &o->p.identity);
	runs_changed(rs);
}

static bool take_output(struct run *run, json_t *out, bool may_wait)
{
	struct output o;
	struct taking t = { .output = &o };

	if (!json_object_get(out, "published") || json_object_get(out, "into") ||
	    is_taken(run, out) || output_read(run, out, &o) < 0 || !get_turn(&o, may_wait))
		return false;
	heads_each(run->runs->opts.heads, take_in, &t);
	if (t.error == 0)
		note_taken(&o);
	return t.error == 0;
}

/* Nobody waits for what is left; the next try. */
static void put_off(struct run *run, bool is_first)
{
	struct runs *rs = run->runs;
	WITH_LOCK(&rs->untaken_lock);

	list_for_each (u, &rs->untaken, struct untaken, link)
		u->is_under_way = u->is_under_way && u->run != run;
	pthread_cond_broadcast(&rs->fewer_untaken);
	run->take_pause = is_first ? PAUSE_MS : MIN(2 * run->take_pause, (int64_t)PAUSE_MAX_MS);
	run->take_at = now_ns() / ms_ns + run->take_pause;
}

bool run_has_untaken(struct run *run)
{
	WITH_LOCK(&run->runs->untaken_lock);

	return run->untaken > 0;
}

void run_take_in(struct run *run, bool may_wait)
{
	bool any = false;
	json_t *out;
	size_t i;

	if (!run_has_untaken(run))
		return;
	json_array_foreach (json_object_get(run->note, "outputs"), i, out)
		any |= take_output(run, out, may_wait);
	if (any)
		run_note_save(run);
	put_off(run, any || !run->take_pause);
}

int64_t run_take_in_due(struct run *run)
{
	WITH_LOCK(&run->runs->untaken_lock);

	return run->untaken == 0 ? -1 : MAX(run->take_at - now_ns() / ms_ns, (int64_t)0);
}

/* The run whose turn it is on the head's branch, with a reference, or NULL. */
static struct run *next_for(struct runs *rs, struct view *head)
{
	WITH_LOCK(&rs->untaken_lock);

	list_for_each (u, &rs->untaken, struct untaken, link)
		if (!rs->cancelled && head_is_of(head, &u->repo, &u->branch))
			return run_ref(u->run);
	return NULL;
}

/* Whoever is at it may be so for long. */
static bool lock_end_soon(struct run *run)
{
	struct deadline dl = deadline_in_ms(LOCK_MS);
	const struct timespec step = { .tv_nsec = 2 * 1000 * 1000 };

	while (pthread_mutex_trylock(&run->end_lock) != 0) {
		if (run->runs->cancelled || deadline_check(&dl) < 0)
			return false;
		nanosleep(&step, NULL);
	}
	return true;
}

void runs_take_in(struct view *head, void *runs)
{
	struct run *run = next_for(runs, head), *last = NULL;

	/* One of which nothing has come is the next one again. */
	while (run && run != last) {
		if (lock_end_soon(run)) {
			run_take_in(run, false);
			pthread_mutex_unlock(&run->end_lock);
			/* The ender may have found it locked. */
			runs_changed(runs);
		}
		run_unref(last);
		last = run;
		run = next_for(runs, head);
	}
	run_unref(run);
	run_unref(last);
}
