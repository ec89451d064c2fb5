/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The runs of a mount: finding those of a former process, and taking each to its end when that
 * could not be done at once.
 *
 * One thread, the ender, does the latter: it tries what is ending and nobody else is at, again and
 * again, and what is ended and forgotten; and has heads take in what was published.
 */
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/log.h"
#include "catalog/learner.h"
#include "record/archive.h"
#include "record/fields.h"
#include "run/memo.h"
#include "run/parts.h"

enum {
	RETRY_MS = 5000,
	IDLE_MS = 3600 * 1000,
	SETTLE_TIMEOUT_MS = 10 * 60 * 1000,
	RECALL_TIMEOUT_MS = 5 * 1000,
};

enum run_state run_state_of(struct run *run)
{
	WITH_LOCK(&run->runs->lock);

	return run->state;
}

/* Under runs->lock: there may be more to do. */
static void changed(struct runs *rs)
{
	rs->changes++;
	pthread_cond_signal(&rs->changed);
}

void runs_changed(struct runs *rs)
{
	WITH_LOCK(&rs->lock);

	changed(rs);
}

/* Under runs->lock. */
static bool may_become(enum run_state from, enum run_state to)
{
	return to == from + 1u;
}

void run_set_state(struct run *run, enum run_state to)
{
	WITH_LOCK(&run->runs->lock);

	assert(may_become(run->state, to));
	run->state = to;
	changed(run->runs);
}

static struct access patient(struct runs *rs)
{
	struct access acc;

	access_init(&acc, rs->opts.store->reader, true);
	acc.deadline = deadline_in_ms(SETTLE_TIMEOUT_MS);
	acc.deadline.cancelled = &rs->cancelled;
	return acc;
}

/* Under end_lock. -EEXIST: its start never came to the store, and another run has its id. */
static int confirm(struct run *run, struct access *acc)
{
	int r = archive_start(run->runs->opts.store, &run->id, run->start, &acc->deadline);

	if (r == 0)
		r = run_dir_stored(run);
	if (r < 0 && r != -EEXIST)
		return log_errno(r, "run %s: the start of its record cannot be stored yet",
				 run->id.s);
	run->is_unsure = r < 0;
	return r;
}

/* Under end_lock, of a run that is ending. */
static int settle(struct run *run, struct access *acc)
{
	int r = run->is_unsure ? confirm(run, acc) : 0;

	if (r == 0)
		r = run_settle(run, acc);
	if (r < 0)
		return r;
	run_set_state(run, RUN_ENDED);
	if (run->runs->opts.learner)
		learner_tell(run->runs->opts.learner, &run->id);
	return 0;
}

int run_end(struct run *run, const json_t *request, struct access *acc, json_t **ret)
{
	int r;
	WITH_LOCK(&run->end_lock);

	if (run_state_of(run) != RUN_GOING_ON)
		return -EALREADY;
	run_tell_seen(run, acc);
	run_check_listings(run, acc);
	r = run_note_end(run, request);
	if (r < 0)
		return r;
	run_set_state(run, RUN_ENDING);
	r = settle(run, acc);
	*ret = run_answer(run);
	return r;
}

static bool may_enter_all(const json_t *outputs, run_repo_fn may_enter, void *ctx)
{
	for (size_t i = 0; i < json_array_size(outputs); i++)
		if (!may_enter(field_text(json_array_get(outputs, i), "repo"), ctx))
			return false;
	return true;
}

int run_repeat(struct run *run, const json_t *around, run_repo_fn may_enter, void *ctx,
	       struct access *acc, json_t **ret, struct memo *ret_of)
{
	_cleanup_memo_ struct memo m = { 0 };
	int r;
	WITH_LOCK(&run->end_lock);

	/* What one in a run sees and changes is that run's. */
	if (run->parent)
		return 0;
	r = memo_key(run->start, around, &run->memo);
	if (r == 0)
		r = memo_find(run, &run->memo, acc, &m);
	if (r < 0) {
		if (r != -ENOENT)
			log_warning("run %s: former runs could not be looked at: %s", run->id.s,
				    errno_text(r));
		return 0;
	}
	if (!may_enter_all(json_object_get(m.end, "outputs"), may_enter, ctx))
		return 0;
	r = run_note_repeat(run, &m);
	if (r < 0) {
		log_warning("run %s: that it repeats run %s cannot be noted: %s", run->id.s, m.id.s,
			    errno_text(r));
		json_decref(run->note);
		run->note = NULL;
		return 0;
	}
	run_set_state(run, RUN_ENDING);
	r = settle(run, acc);
	if (r < 0)
		return r;
	*ret = run_answer(run);
	*ret_of = m;
	m = (struct memo){ 0 };
	return *ret ? 1 : -ENOMEM;
}

void run_forgotten(struct run *run)
{
	struct runs *rs = run->runs;
	WITH_LOCK(&rs->lock);

	run->is_forgotten = true;
	changed(rs);
}

#define GONE_PREFIX ".gone-"

/* Its directory goes as one: what is left of it if the process dies is not taken for a run. */
static int remove_dir(struct run *run)
{
	struct runs *rs = run->runs;
	char gone[sizeof(GONE_PREFIX) + RUN_ID_LEN], begun[sizeof(RUN_BEGUN_PREFIX) + RUN_ID_LEN];

	snprintf(gone, sizeof(gone), GONE_PREFIX "%s", run->id.s);
	snprintf(begun, sizeof(begun), RUN_BEGUN_PREFIX "%s", run->id.s);
	if (renameat(rs->dirfd, run->is_unsure ? begun : run->id.s, rs->dirfd, gone) < 0)
		return errno == ENOENT ? 0 : -errno;
	remove_tree(rs->dirfd, gone);
	return 0;
}

/* Nothing of it is left to be taken further; the list's reference goes. */
static int drop(struct run *run)
{
	struct runs *rs = run->runs;
	int r = remove_dir(run);

	if (r < 0)
		return r;
	pthread_mutex_lock(&rs->lock);
	run->state = RUN_GONE;
	list_remove(&run->link);
	pthread_mutex_unlock(&rs->lock);
	run_unref(run);
	return 0;
}

/* Nobody can come back to it, and all is stored: it goes. Its heads first, for good: they are found
 * by the directory; which stays as long as it tells what is to be taken in. */
static int give_up(struct run *run, struct access *acc)
{
	int r = run_settle_gone(run, acc);

	if (r == 0)
		r = heads_sync(run->runs->opts.heads);
	return r < 0 || run_has_untaken(run) ? r : drop(run);
}

/* Under end_lock, of one that has ended. */
static int take_ended_further(struct run *run, struct access *acc)
{
	bool is_forgotten;

	if (run_take_in_due(run) == 0)
		run_take_in(run, false);
	pthread_mutex_lock(&run->runs->lock);
	is_forgotten = run->is_forgotten;
	pthread_mutex_unlock(&run->runs->lock);
	return is_forgotten ? give_up(run, acc) : 0;
}

/* As far as it goes. In how many ms to try again; -1: there is nothing more to try. */
static int64_t take_further(struct run *run)
{
	_cleanup_access_ struct access acc = patient(run->runs);
	int64_t due;
	int r = 0;

	if (pthread_mutex_trylock(&run->end_lock) != 0)
		return RETRY_MS;
	if (run_state_of(run) == RUN_ENDING)
		r = settle(run, &acc);
	/* Of a step of its end it says no more than that this must be tried again. */
	if (r == -EEXIST && run->is_unsure)
		r = drop(run);
	if (r == 0 && run_state_of(run) == RUN_ENDED)
		r = take_ended_further(run, &acc);
	due = run_take_in_due(run);
	pthread_mutex_unlock(&run->end_lock);
	return r < 0 ? RETRY_MS : due;
}

/* Under the lock: is there something to be done for it? */
static bool wants_more(struct run *run)
{
	return run->state == RUN_ENDING ||
	       (run->state == RUN_ENDED && (run->is_forgotten || run_has_untaken(run)));
}

/* Those that want more, each with a reference: how many are in *@ret, which is to be freed. */
static size_t open_ones(struct runs *rs, struct run ***ret)
{
	size_t n = 0, k = 0;
	WITH_LOCK(&rs->lock);

	list_for_each (run, &rs->list, struct run, link)
		n += wants_more(run);
	*ret = reallocarray(NULL, n + 1, sizeof(struct run *));
	if (!*ret)
		return 0;
	list_for_each (run, &rs->list, struct run, link)
		if (wants_more(run))
			(*ret)[k++] = run_ref(run);
	return k;
}

/* In how many ms some are to be tried again. */
static int64_t round_of(struct runs *rs)
{
	_cleanup_free_ struct run **all = NULL;
	size_t n = open_ones(rs, &all);
	int64_t soonest = IDLE_MS;

	for (size_t i = 0; i < n; i++) {
		int64_t ms = rs->cancelled ? -1 : take_further(all[i]);

		if (ms >= 0)
			soonest = MIN(soonest, ms);
		run_unref(all[i]);
	}
	return soonest;
}

/* Until there may be something to do; false: it is over. */
static bool wait_for_more(struct runs *rs, unsigned *seen, int64_t ms)
{
	WITH_LOCK(&rs->lock);

	if (rs->changes == *seen && !rs->cancelled)
		cond_wait_until(&rs->changed, &rs->lock, &DEADLINE_NEVER, ms);
	*seen = rs->changes;
	return !rs->cancelled;
}

static void *ender(void *arg)
{
	struct runs *rs = arg;
	int64_t ms = RETRY_MS;
	unsigned seen = 0;

	while (wait_for_more(rs, &seen, ms))
		ms = round_of(rs);
	return NULL;
}

/* What a former process began: it is ending, and nobody can come back to it. */
static void adopt(struct runs *rs, const char *name)
{
	struct run *run;

	if (run_adopt(rs, name, &run) != 0)
		return;
	run->state = RUN_ENDING;
	run->is_forgotten = true;
	run_expect_again(run);
	list_append(&rs->list, &run->link);
	/* The ender begins with it at once. */
	rs->changes++;
}

static int adopt_all(struct runs *rs)
{
	int fd = fcntl(rs->dirfd, F_DUPFD_CLOEXEC, 0);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		int r = -errno;

		if (fd >= 0)
			close(fd);
		return r;
	}
	while ((e = readdir(d)))
		if (strncmp(e->d_name, GONE_PREFIX, strlen(GONE_PREFIX)) == 0)
			remove_tree(rs->dirfd, e->d_name);
		else if (e->d_name[0] != '.' ||
			 strncmp(e->d_name, RUN_BEGUN_PREFIX, strlen(RUN_BEGUN_PREFIX)) == 0)
			adopt(rs, e->d_name);
	closedir(d);
	return 0;
}

int runs_open(const struct runs_options *o, struct runs **ret)
{
	_cleanup_(runs_freep) struct runs *rs = new0(struct runs, 1);
	int fd = o->store->state_fd, r;

	if (!rs)
		return -ENOMEM;
	rs->opts = *o;
	pthread_mutex_init(&rs->lock, NULL);
	pthread_mutex_init(&rs->untaken_lock, NULL);
	for (unsigned i = 0; i < BRANCH_LOCKS; i++)
		pthread_mutex_init(&rs->branches[i], NULL);
	cond_init(&rs->changed);
	cond_init(&rs->fewer_untaken);
	list_init(&rs->list);
	list_init(&rs->untaken);
	if (mkdirat(fd, "runs", 0700) < 0 && errno != EEXIST)
		r = -errno;
	else
		r = rs->dirfd = openat(fd, "runs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = r < 0 ? -errno : adopt_all(rs);
	if (r == 0)
		r = thread_start(&rs->ender, "runs", ender, rs);
	if (r < 0)
		return log_errno(r, "the runs in the state directory cannot be read");
	rs->is_started = true;
	heads_before_commits(o->heads, runs_take_in, rs);
	*ret = TAKE_PTR(rs);
	return 0;
}

/* Whatever goes on is lost: noted, so that the next mount takes it to its end. */
static void end_all(struct runs *rs)
{
	list_for_each (run, &rs->list, struct run, link) {
		WITH_LOCK(&run->end_lock);

		if (run->state == RUN_GOING_ON)
			run_note_end(run, NULL);
		else if (run->state == RUN_ENDING && !run->is_noted)
			run_note_save(run);
	}
}

void runs_stop(struct runs *rs)
{
	if (!rs)
		return;
	pthread_mutex_lock(&rs->lock);
	rs->cancelled = true;
	pthread_cond_broadcast(&rs->changed);
	pthread_mutex_unlock(&rs->lock);
	pthread_mutex_lock(&rs->untaken_lock);
	pthread_cond_broadcast(&rs->fewer_untaken);
	pthread_mutex_unlock(&rs->untaken_lock);
	if (rs->is_started)
		pthread_join(rs->ender, NULL);
	rs->is_started = false;
}

void runs_free(struct runs *rs)
{
	if (!rs)
		return;
	runs_stop(rs);
	heads_before_commits(rs->opts.heads, NULL, NULL);
	end_all(rs);
	runs_expect_no_more(rs);
	list_for_each_safe (run, &rs->list, struct run, link) {
		list_remove(&run->link);
		run_unref(run);
	}
	if (rs->dirfd >= 0)
		close(rs->dirfd);
	pthread_cond_destroy(&rs->changed);
	pthread_cond_destroy(&rs->fewer_untaken);
	pthread_mutex_destroy(&rs->lock);
	pthread_mutex_destroy(&rs->untaken_lock);
	for (unsigned i = 0; i < BRANCH_LOCKS; i++)
		pthread_mutex_destroy(&rs->branches[i]);
	free(rs);
}

void runs_stats(struct runs *rs, struct runs_stats *ret)
{
	struct runs_stats s = { 0 };
	WITH_LOCK(&rs->lock);

	list_for_each (run, &rs->list, struct run, link) {
		s.going_on += run->state == RUN_GOING_ON;
		s.ending += run->state == RUN_ENDING;
		s.ended += run->state == RUN_ENDED;
	}
	*ret = s;
}
