/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Keeping the catalog up to date (learner.h).
 *
 * What fails is tried again when its time has come again; what is told and cannot be learned, the
 * next look finds.
 */
#include "catalog/learner.h"

#include "base/log.h"
#include "catalog/catalog.h"

enum {
	FIRST_MS = 60 * 1000, /* after the mount */
	LOOK_MS = 60 * 1000, /* while somebody asks */
	IDLE_MS = 3600 * 1000,
	ASKED_MS = 10 * 60 * 1000, /* so long it counts that somebody did */
	PIECE_MS = 100, /* between pieces of a sweep, for others' turn */
	RETRY_MS = 60 * 1000, /* after one that failed */
	TOLD_MAX = 256, /* runs; more are found by the next look */
	TIMEOUT_MS = 10 * 60 * 1000,
};

struct learner {
	struct store *store; /* borrowed */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	atomic_bool is_ending; /* set under lock: what is under way gives up */
	struct run_id told[TOLD_MAX]; /* guarded by lock, as all below */
	size_t told_count;
	int64_t asked, look_at; /* now_ns() */
	/* The thread's own. */
	int64_t sweep_at;
	struct catalog_sweep sweep;
	bool has_thread;
	pthread_t thread;
};

static int64_t after_ms(int64_t ms)
{
	return now_ns() + ms * 1000000;
}

/* Until something is to be done: what has been told, into @told. False: it is over. */
static bool wait_for_work(struct learner *l, struct run_id *told, size_t *ret_count)
{
	WITH_LOCK(&l->lock);

	while (!l->is_ending && l->told_count == 0) {
		struct deadline dl = { .at_ns = MIN(l->look_at, l->sweep_at) };

		if (now_ns() >= dl.at_ns)
			break;
		cond_wait_until(&l->wake, &l->lock, &dl, IDLE_MS);
	}
	memcpy(told, l->told, l->told_count * sizeof(*told));
	*ret_count = l->told_count;
	l->told_count = 0;
	return !l->is_ending;
}

/* Is it time for a look? Then it is said when the next one is. */
static bool is_time_to_look(struct learner *l)
{
	WITH_LOCK(&l->lock);

	if (now_ns() < l->look_at)
		return false;
	l->look_at = after_ms(l->asked && now_ns() - l->asked < ASKED_MS * 1000000ll ? LOOK_MS
										     : IDLE_MS);
	return true;
}

static void sweep(struct learner *l, const struct deadline *dl)
{
	int r;

	if (now_ns() < l->sweep_at)
		return;
	l->sweep_at = after_ms(IDLE_MS);
	if (l->sweep.since == 0 && !catalog_wants_sweep(l->store))
		return;
	r = catalog_sweep(l->store, &l->sweep, dl);
	if (r != 0)
		l->sweep_at = after_ms(r > 0 ? PIECE_MS : RETRY_MS);
}

static void *work(void *arg)
{
	static const struct catalog_look how = { 0 };
	struct learner *l = arg;
	struct run_id told[TOLD_MAX];
	size_t n;

	/* What a store that does not answer says of it, others say as well. */
	log_set_quiet(true);
	while (wait_for_work(l, told, &n)) {
		struct deadline dl = deadline_in_ms(TIMEOUT_MS);

		dl.cancelled = &l->is_ending;
		catalog_learn(l->store, told, n, &dl);
		sweep(l, &dl);
		if (is_time_to_look(l))
			catalog_look(l->store, &how, &dl);
	}
	return NULL;
}

int learner_new(struct store *s, struct learner **ret)
{
	_cleanup_(learner_freep) struct learner *l = new0(struct learner, 1);
	int r;

	if (!l)
		return -ENOMEM;
	l->store = s;
	l->look_at = l->sweep_at = after_ms(FIRST_MS);
	pthread_mutex_init(&l->lock, NULL);
	cond_init(&l->wake);
	r = thread_start(&l->thread, "learner", work, l);
	if (r < 0)
		return r;
	l->has_thread = true;
	*ret = TAKE_PTR(l);
	return 0;
}

void learner_free(struct learner *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->is_ending = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
	if (l->has_thread)
		pthread_join(l->thread, NULL);
	pthread_cond_destroy(&l->wake);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void learner_tell(struct learner *l, const struct run_id *id)
{
	WITH_LOCK(&l->lock);

	if (l->told_count < TOLD_MAX)
		l->told[l->told_count++] = *id;
	pthread_cond_signal(&l->wake);
}

void learner_note_question(struct learner *l)
{
	WITH_LOCK(&l->lock);

	l->asked = now_ns();
	l->look_at = MIN(l->look_at, after_ms(LOOK_MS));
	pthread_cond_signal(&l->wake);
}
