/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The slow lane.
 *
 * Long calls (commits) have threads of their own, so that they never keep short ones waiting.
 *
 * Invariants
 *  - a job is in `jobs` from its submission to its end, and in a queue until a thread takes it
 *  - who answers has won lane_own_answer()
 *
 * Threads: submitters, the lane's own, and one that looks after interrupts. l->lock guards all that
 * is not atomic; nothing is called under it.
 */
#include "lane.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#include "base/list.h"
#include "base/log.h"
#include "object/reader.h"

enum {
	SHORT_THREADS = 64,
	LONG_THREADS = 8,
	IDLE_MS = 10 * 1000, /* then a thread ends */
	META_MS = 10 * 1000,
	DATA_MS = 30 * 1000,
	HEARD_AFTER_MS = 1000,
	EARLY_MAX = 256, /* interrupts remembered that came before their calls */
	BYTES_MAX = 64 << 20, /* of names and data in jobs */
};

struct lane_job {
	struct call call;
	struct lane *lane; /* borrowed */
	struct list link; /* in `jobs` */
	struct list queued; /* in a class's queue, or of none */
	atomic_uint refs; /* the lane's, and of who looks at it */
	int64_t since; /* now_ns() */
	struct deadline deadline;
	atomic_bool cancelled;
	atomic_bool is_answered;
	bool is_interrupted; /* guarded by the lane's lock */
	size_t len;
	uint8_t bytes[]; /* what the call borrows */
};

/* Calls of one kind and their threads; guarded by the lane's lock. */
struct lane_class {
	struct lane *lane;
	const char *name;
	unsigned threads_max;
	struct list queue;
	unsigned queued, threads, idle;
	pthread_cond_t work;
};

struct lane {
	struct fs *fs; /* borrowed */
	pthread_mutex_t lock;
	struct lane_class classes[2]; /* short, long */
	struct list jobs;
	unsigned count;
	size_t bytes;
	uint64_t early[EARLY_MAX];
	unsigned next_early;
	bool is_ending;
	pthread_cond_t ended; /* a thread has */
	pthread_cond_t interrupted; /* there is something to look after */
	bool has_looker;
	pthread_t looker;
};

static void job_unref(struct lane_job *j)
{
	if (atomic_fetch_sub(&j->refs, 1) == 1)
		free(j);
}

bool lane_own_answer(struct lane_job *j)
{
	return !atomic_exchange(&j->is_answered, true);
}

const atomic_bool *lane_cancelled(struct lane_job *j)
{
	return &j->cancelled;
}

struct deadline lane_deadline(enum patience patience)
{
	switch (patience) {
	case PATIENCE_META:
		return deadline_in_ms(META_MS);
	case PATIENCE_DATA:
		return deadline_in_ms(DATA_MS);
	case PATIENCE_LONG:
		break;
	}
	return DEADLINE_NEVER;
}

static void run(struct lane_job *j, struct scratch *scratch)
{
	struct access acc;

	j->call.scratch = scratch;
	if (j->cancelled) {
		/* Nothing was begun. */
		call_fail(&j->call, -ECANCELED);
		return;
	}
	access_init(&acc, j->lane->fs->store->reader, true);
	acc.deadline = j->deadline;
	if (call_run(&j->call, &acc) == -EAGAIN)
		call_fail(&j->call, -EIO);
	access_release(&acc);
}

/* The next job of the class; NULL: the thread has been idle for long enough, or all ends. */
static struct lane_job *take(struct lane_class *k)
{
	struct lane *l = k->lane;
	struct deadline idle = deadline_in_ms(IDLE_MS);
	struct lane_job *j;

	while (!(j = list_first(&k->queue, struct lane_job, queued))) {
		int r;

		if (l->is_ending)
			return NULL;
		k->idle++;
		r = cond_wait_until(&k->work, &l->lock, &idle, IDLE_MS);
		k->idle--;
		if (r < 0 && list_is_empty(&k->queue))
			return NULL;
	}
	list_remove(&j->queued);
	k->queued--;
	return j;
}

static void finish(struct lane *l, struct lane_job *j)
{
	list_remove(&j->link);
	l->count--;
	l->bytes -= j->len;
}

static void *work(void *arg)
{
	struct lane_class *k = arg;
	struct lane *l = k->lane;
	struct scratch scratch = { 0 };
	struct lane_job *j;

	pthread_detach(pthread_self());
	pthread_mutex_lock(&l->lock);
	while ((j = take(k))) {
		pthread_mutex_unlock(&l->lock);
		run(j, &scratch);
		pthread_mutex_lock(&l->lock);
		finish(l, j);
		pthread_mutex_unlock(&l->lock);
		job_unref(j);
		pthread_mutex_lock(&l->lock);
	}
	scratch_release(&scratch);
	k->threads--;
	pthread_cond_signal(&l->ended);
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

/* Under the lock: sees to a thread for what is queued. -errno: there is none at all. */
static int see_to_thread(struct lane_class *k)
{
	pthread_t t;
	int r;

	if (k->idle >= k->queued || k->threads >= k->threads_max) {
		pthread_cond_signal(&k->work);
		return 0;
	}
	r = thread_start(&t, k->name, work, k);
	if (r == 0)
		k->threads++;
	return k->threads > 0 ? 0 : r;
}

/* Puts a copy of what @s has at *@at, with a NUL behind. */
static struct span keep(uint8_t **at, struct span s)
{
	uint8_t *p = *at;

	if (s.len > 0)
		memcpy(p, s.data, s.len);
	p[s.len] = '\0';
	*at = p + s.len + 1;
	return span_of(p, s.len);
}

static struct lane_job *job_new(struct lane *l, const struct call *c)
{
	size_t len = c->name.len + c->name2.len + c->data.len + 3;
	struct lane_job *j = malloc(sizeof(*j) + len);
	uint8_t *at;

	if (!j)
		return NULL;
	*j = (struct lane_job){
		.call = *c,
		.lane = l,
		.refs = 1,
		.since = now_ns(),
		.deadline = lane_deadline(c->patience),
		.len = len,
	};
	at = j->bytes;
	j->call.job = j;
	j->call.name = keep(&at, c->name);
	j->call.name2 = keep(&at, c->name2);
	j->call.data = keep(&at, c->data);
	j->deadline.cancelled = &j->cancelled;
	list_init(&j->link);
	list_init(&j->queued);
	return j;
}

static bool take_early(struct lane *l, uint64_t unique)
{
	for (size_t i = 0; i < EARLY_MAX; i++) {
		if (l->early[i] == unique) {
			l->early[i] = 0;
			return true;
		}
	}
	return false;
}

int lane_submit(struct lane *l, const struct call *c)
{
	struct lane_class *k = &l->classes[c->patience == PATIENCE_LONG];
	struct lane_job *j = job_new(l, c);
	int r;

	if (!j)
		return -ENOMEM;
	pthread_mutex_lock(&l->lock);
	/* What brings no data is always taken: a commit waits for other requests, and would keep a
	 * worker from them. */
	r = l->is_ending ? -ECANCELED : 0;
	if (r == 0 && c->data.len > 0 && l->bytes + j->len > BYTES_MAX)
		r = -ENOBUFS;
	if (r == 0) {
		list_append(&k->queue, &j->queued);
		k->queued++;
		r = see_to_thread(k);
		if (r < 0) {
			list_remove(&j->queued);
			k->queued--;
		}
	}
	if (r == 0) {
		list_append(&l->jobs, &j->link);
		l->count++;
		l->bytes += j->len;
		j->is_interrupted = take_early(l, c->unique);
		if (j->is_interrupted)
			pthread_cond_signal(&l->interrupted);
	}
	pthread_mutex_unlock(&l->lock);
	if (r < 0)
		free(j);
	return r;
}

void lane_interrupt(struct lane *l, uint64_t unique)
{
	WITH_LOCK(&l->lock);

	list_for_each (j, &l->jobs, struct lane_job, link) {
		if (j->call.unique == unique) {
			j->is_interrupted = true;
			pthread_cond_signal(&l->interrupted);
			return;
		}
	}
	l->early[l->next_early++ % EARLY_MAX] = unique;
}

/* Has the thread been killed, rather than sent a signal that it handles? Of one that dies, SIGKILL
 * is pending for each of its threads. */
static bool is_killed(pid_t tid)
{
	_cleanup_free_ char *line = NULL;
	uint64_t pending = 0;
	char path[32];
	size_t cap = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	f = tid > 0 ? fopen(path, "re") : NULL;
	if (!f)
		return false;
	while (getline(&line, &cap, f) > 0)
		if (sscanf(line, "SigPnd: %" SCNx64, &pending) == 1)
			break;
	fclose(f);
	return pending >> (SIGKILL - 1) & 1;
}

/* An interrupted job whose time has come, with a reference; else NULL and how long to wait for the
 * next. */
static struct lane_job *next_due(struct lane *l, struct deadline *ret_wait)
{
	int64_t now = now_ns(), next = INT64_MAX;

	list_for_each (j, &l->jobs, struct lane_job, link) {
		int64_t due = j->since + HEARD_AFTER_MS * 1000000ll;

		if (!j->is_interrupted)
			continue;
		if (due <= now) {
			j->refs++;
			return j;
		}
		next = MIN(next, due);
	}
	*ret_wait = (struct deadline){ .at_ns = next };
	return NULL;
}

static void give_up(struct lane *l, struct lane_job *j)
{
	j->cancelled = true;
	counter_add(&l->fs->stats.interrupted, 1);
	if (!j->call.op->must_end && lane_own_answer(j))
		fuse_reply_err(j->call.req, EINTR);
}

static void *look_after(void *arg)
{
	struct lane *l = arg;

	pthread_mutex_lock(&l->lock);
	while (!l->is_ending) {
		struct deadline wait = DEADLINE_NEVER;
		struct lane_job *j = next_due(l, &wait);
		bool is_heard;

		if (!j) {
			cond_wait_until(&l->interrupted, &l->lock, &wait, HEARD_AFTER_MS * 60);
			continue;
		}
		/* Not looked at again, or not so soon. */
		j->is_interrupted = j->call.patience == PATIENCE_LONG;
		if (j->is_interrupted)
			j->since = now_ns();
		pthread_mutex_unlock(&l->lock);
		is_heard = j->call.patience != PATIENCE_LONG || is_killed(j->call.pid);
		if (is_heard && !j->cancelled)
			give_up(l, j);
		job_unref(j);
		pthread_mutex_lock(&l->lock);
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

int lane_new(struct fs *fs, struct lane **ret)
{
	_cleanup_(lane_freep) struct lane *l = new0(struct lane, 1);
	int r;

	if (!l)
		return -ENOMEM;
	l->fs = fs;
	pthread_mutex_init(&l->lock, NULL);
	cond_init(&l->ended);
	cond_init(&l->interrupted);
	list_init(&l->jobs);
	l->classes[0] = (struct lane_class){ .name = "lane", .threads_max = SHORT_THREADS };
	l->classes[1] = (struct lane_class){ .name = "long", .threads_max = LONG_THREADS };
	for (size_t i = 0; i < ARRAY_SIZE(l->classes); i++) {
		l->classes[i].lane = l;
		list_init(&l->classes[i].queue);
		cond_init(&l->classes[i].work);
	}
	r = thread_start(&l->looker, "interrupts", look_after, l);
	if (r < 0)
		return r;
	l->has_looker = true;
	*ret = TAKE_PTR(l);
	return 0;
}

void lane_stop(struct lane *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->is_ending = true;
	list_for_each (j, &l->jobs, struct lane_job, link)
		j->cancelled = true;
	for (size_t i = 0; i < ARRAY_SIZE(l->classes); i++)
		pthread_cond_broadcast(&l->classes[i].work);
	pthread_cond_signal(&l->interrupted);
	for (size_t i = 0; i < ARRAY_SIZE(l->classes); i++)
		while (l->classes[i].threads > 0)
			pthread_cond_wait(&l->ended, &l->lock);
	pthread_mutex_unlock(&l->lock);
	if (l->has_looker)
		pthread_join(l->looker, NULL);
	l->has_looker = false;
}

void lane_free(struct lane *l)
{
	if (!l)
		return;
	lane_stop(l);
	for (size_t i = 0; i < ARRAY_SIZE(l->classes); i++)
		pthread_cond_destroy(&l->classes[i].work);
	pthread_cond_destroy(&l->ended);
	pthread_cond_destroy(&l->interrupted);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

unsigned lane_length(struct lane *l)
{
	WITH_LOCK(&l->lock);

	return l->count;
}
