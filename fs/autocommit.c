/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Heads that are committed by themselves (fs/autocommit.h).
 *
 *	clean --changed--> dirty --its time has come--> committing --done--> clean
 *	                     ^                              |
 *	                     '-------failed: a pause--------'
 *
 * Private heads are none of heads_each(), so a run's are never committed here. A commit may take
 * long, so this is a thread of its own, and one head's commit has the others wait.
 *
 * Threads: all but new and free is the thread's.
 */
#include "autocommit.h"

#include "base/hash.h"
#include "base/htab.h"
#include "base/log.h"
#include "base/thread.h"
#include "head/autocommit.h"
#include "lane.h"

#define NS_PER_MS 1000000ll

enum {
	LOOK_MS = 1000,
	PAUSE_MS = 5 * 1000,
	PAUSE_MAX_MS = 10 * 60 * 1000,
};

/* What was seen of a head; heads stay as long as the mount. All times are clock_ns(). */
struct watched {
	struct hnode node;
	const struct view *head;
	uint64_t touched;
	int64_t touched_at;
	int64_t dirty_at; /* 0: it is clean */
	int64_t not_before; /* after a failure */
	int64_t pause_ms; /* 0: the last commit did not fail */
	bool is_misset, has_diverged; /* and that was said */
};

struct autocommitter {
	struct fs *fs; /* borrowed */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	atomic_bool is_ending; /* set under lock; what is under way gives up */
	bool has_thread;
	pthread_t thread;
	struct htab heads; /* of struct watched; owned */
};

static int64_t clock_ns(const struct autocommitter *a)
{
	return now_ns() * a->fs->opts->autocommit_speed;
}

static struct watched *watch(struct autocommitter *a, const struct view *head)
{
	uint64_t hash = hash_u64((uintptr_t)head);
	struct watched *w;

	htab_for_each (n, &a->heads, hash) {
		w = container_of(n, struct watched, node);
		if (w->head == head)
			return w;
	}
	w = new0(struct watched, 1);
	if (!w)
		return NULL;
	w->head = head;
	w->touched_at = clock_ns(a);
	if (htab_insert(&a->heads, &w->node, hash) < 0) {
		free(w);
		return NULL;
	}
	return w;
}

static void see(const struct autocommitter *a, struct watched *w, const struct head_activity *now)
{
	if (now->touched != w->touched || now->writers > 0)
		w->touched_at = clock_ns(a);
	w->touched = now->touched;
	if (!now->is_dirty)
		w->dirty_at = 0;
	else if (!w->dirty_at)
		w->dirty_at = clock_ns(a);
}

static bool is_time(const struct autocommitter *a, const struct watched *w,
		    const struct autocommit *policy)
{
	int64_t now = clock_ns(a);

	if (!w->dirty_at || now < w->not_before)
		return false;
	switch (policy->when) {
	case AUTOCOMMIT_IDLE:
		return now - w->touched_at >= policy->ns;
	case AUTOCOMMIT_EVERY:
		return now - w->dirty_at >= policy->ns;
	default:
		return false;
	}
}

/* A setting that another version made, say. */
static int policy_of(struct autocommitter *a, struct watched *w, const struct head_activity *now,
		     struct autocommit *ret)
{
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct refs_wait wait = { .may_wait = true, .deadline = lane_deadline(PATIENCE_META) };
	int r;

	wait.deadline.cancelled = &a->is_ending;
	r = heads_repo(a->fs->heads, now->repo, &wait, &rec);
	if (r < 0)
		return r;
	r = autocommit_of(&rec, ret);
	if (r < 0 && !w->is_misset)
		log_warning("%s: its setting `autocommit` does not say when to commit; off, "
			    "idle=30s or every=10m would",
			    now->repo);
	w->is_misset = r < 0;
	return r;
}

static int commit(struct autocommitter *a, const struct head_activity *now,
		  struct commit_result *ret)
{
	const struct commit_request req = { .message = "autocommit", .cancelled = &a->is_ending };
	struct access acc;
	struct view *head;
	int r;

	access_init(&acc, a->fs->store->reader, true);
	acc.deadline = DEADLINE_NEVER;
	acc.deadline.cancelled = &a->is_ending;
	r = heads_get(a->fs->heads, now->repo, now->branch, &acc, &head);
	if (r == 0) {
		r = head_commit(head, &req, &acc, ret);
		view_unref(head);
	}
	access_release(&acc);
	return r;
}

/* It is kept; but whoever does not commit himself would not hear of it. */
static void tell_standing(struct watched *w, const struct head_activity *now,
			  const struct commit_result *res)
{
	bool has_diverged = res->standing == HEAD_DIVERGED;

	if (has_diverged && !w->has_diverged)
		log_warning("%s/%s: others have changed the same; what is committed by itself is "
			    "not on the branch until `pfs merge` settles it",
			    now->repo, now->branch);
	w->has_diverged = has_diverged;
}

/* Of failures in a row only the first is said. */
static void try_commit(struct autocommitter *a, struct watched *w, const struct head_activity *now)
{
	bool was_quiet = log_set_quiet(true);
	struct commit_result res;
	int r;

	complaint_clear();
	r = commit(a, now, &res);
	log_set_quiet(was_quiet);
	if (r == 0) {
		if (w->pause_ms)
			log_info("%s/%s: it is committed by itself again", now->repo, now->branch);
		tell_standing(w, now, &res);
		w->pause_ms = w->not_before = w->dirty_at = 0;
		return;
	}
	if (!w->pause_ms && !a->is_ending)
		log_warning("%s/%s cannot be committed by itself, and is tried again: %s",
			    now->repo, now->branch, complaint()[0] ? complaint() : errno_text(r));
	w->pause_ms = w->pause_ms ? MIN(2 * w->pause_ms, (int64_t)PAUSE_MAX_MS) : PAUSE_MS;
	w->not_before = clock_ns(a) + w->pause_ms * NS_PER_MS;
}

static int look(struct view *head, void *ctx)
{
	struct autocommitter *a = ctx;
	struct watched *w = watch(a, head);
	struct head_activity now;
	struct autocommit policy;

	if (!w)
		return 0;
	head_activity(head, &now);
	see(a, w, &now);
	if (now.is_dirty && policy_of(a, w, &now, &policy) == 0 && is_time(a, w, &policy))
		try_commit(a, w, &now);
	return a->is_ending;
}

static bool pause_for(struct autocommitter *a, int64_t ms)
{
	struct deadline dl = deadline_in_ms(ms);

	WITH_LOCK(&a->lock);

	while (!a->is_ending)
		if (cond_wait_until(&a->wake, &a->lock, &dl, ms) < 0)
			return !a->is_ending;
	return false;
}

static void *work(void *arg)
{
	struct autocommitter *a = arg;

	while (pause_for(a, LOOK_MS / a->fs->opts->autocommit_speed))
		heads_each(a->fs->heads, look, a);
	return NULL;
}

int autocommitter_new(struct fs *fs, struct autocommitter **ret)
{
	_cleanup_(autocommitter_freep) struct autocommitter *a = new0(struct autocommitter, 1);
	int r;

	if (!a)
		return -ENOMEM;
	a->fs = fs;
	pthread_mutex_init(&a->lock, NULL);
	cond_init(&a->wake);
	r = thread_start(&a->thread, "autocommit", work, a);
	if (r < 0)
		return r;
	a->has_thread = true;
	*ret = TAKE_PTR(a);
	return 0;
}

static void free_watched(struct hnode *n, void *ctx)
{
	free(container_of(n, struct watched, node));
}

void autocommitter_free(struct autocommitter *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	a->is_ending = true;
	pthread_cond_signal(&a->wake);
	pthread_mutex_unlock(&a->lock);
	if (a->has_thread)
		pthread_join(a->thread, NULL);
	htab_walk(&a->heads, free_watched, NULL);
	htab_release(&a->heads);
	pthread_cond_destroy(&a->wake);
	pthread_mutex_destroy(&a->lock);
	free(a);
}
