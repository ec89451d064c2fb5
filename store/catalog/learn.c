/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Learning of runs (catalog_parts.h): from records to rows and ways.
 *
 * What cannot be read of a run is a fact of that run and stops no other, unless it is the store
 * that does not answer: then nothing is noted, and the look ends.
 */
#include "backend/breaker.h"
#include "base/log.h"
#include "catalog/catalog_parts.h"
#include "record/archive.h"
#include "record/fields.h"

enum {
	BATCH = 128, /* runs learned at a time */
	ALONE_MAX = 4, /* so few are learned without a pool */
	REMOTE_THREADS = 16,
};

/* A run to be learned. */
struct lesson {
	struct job job;
	struct learning *learning;
	const struct wanted_run *run;
	struct buf row;
	struct catalog_ways ways;
	struct oid key;
	bool is_open, is_nothing; /* is_nothing: there is nothing new */
	int result;
};

void learning_init(struct learning *k, struct store *s, const struct deadline *dl)
{
	*k = (struct learning){ .store = s, .dl = dl };
	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->done, NULL);
}

void learning_release(struct learning *k)
{
	pool_free(k->pool);
	pthread_mutex_destroy(&k->lock);
	pthread_cond_destroy(&k->done);
}

/* Is the error one of what was asked for, and not of who asks or of the whole store? */
static bool is_of_run(const struct store *s, int r)
{
	return r != -ETIME && r != -ECANCELED && r != -ENOMEM && r != -EMFILE && r != -ENFILE &&
	       (!s->breaker || breaker_is_closed(s->breaker));
}

/* Its record, as far as it can be read: 0, and what its row is to say of it. */
static int read_record(struct lesson *l, struct access *acc, json_t **ret_start, json_t **ret_end,
		       enum run_status *ret_unreadable)
{
	struct store *s = l->learning->store;
	int r = archive_get(s, &l->run->id, &acc->deadline, ret_start, ret_end);

	*ret_unreadable = RUN_RUNNING;
	if (r == 0)
		return 0;
	*ret_unreadable = r == -ENOTSUP ? RUN_NEWER : RUN_DAMAGED;
	if (r == -EBADMSG || r == -ENOENT || r == -ENOTSUP)
		return 0;
	/* It may be readable next time. */
	l->is_open = true;
	return is_of_run(s, r) ? 0 : r;
}

static int learn_ways(struct lesson *l, const struct run_row *row, struct access *acc,
		      uint8_t *ret_flags)
{
	struct store *s = l->learning->store;
	int r;

	*ret_flags = 0;
	if (oid_is_null(&row->tree))
		return 0;
	*ret_flags = RUN_ROW_TREES;
	r = catalog_add_ways(s, &row->tree, &row->tree_loc, acc, &l->ways);
	if ((r != -EIO && r != -EBADMSG) || !is_of_run(s, r))
		return r;
	log_warning("run %s: what it read and wrote cannot be looked at: %s", row->id.s,
		    errno_text(r));
	l->ways = (struct catalog_ways){ 0 };
	*ret_flags = RUN_ROW_NO_TREES;
	return 0;
}

/* The row of a record, and its ways. */
static int learn(struct lesson *l, struct access *acc)
{
	const struct run_id *id = &l->run->id;
	json_t *start = NULL, *end = NULL;
	enum run_status unreadable;
	struct run_row row;
	uint8_t flags = 0;
	int r = read_record(l, acc, &start, &end, &unreadable);

	if (r == 0)
		r = run_row_write(id, start, end, unreadable, 0, &l->row);
	if (r == 0)
		r = run_row_read(id, buf_span(&l->row), &row);
	if (r == 0) {
		l->is_open |= row.status == RUN_RUNNING;
		r = learn_ways(l, &row, acc, &flags);
	}
	if (r == 0 && flags)
		r = run_row_write(id, start, end, unreadable, flags, &l->row);
	/* What says otherwise than a key cannot be repeated. */
	if (end && strcmp(field_text(end, "status"), "ok") == 0 &&
	    field_oid(json_object_get(end, "memo"), "key", &l->key) < 0)
		l->key = (struct oid){ 0 };
	json_decref(start);
	json_decref(end);
	return r;
}

static int learn_what_is_new(struct lesson *l, struct access *acc)
{
	int r = l->run->has_no_end
			? archive_has_end(l->learning->store, &l->run->id, &acc->deadline)
			: 0;

	l->is_nothing = r < 0;
	if (r < 0)
		return r == -ENOENT || is_of_run(l->learning->store, r) ? 0 : r;
	return learn(l, acc);
}

static void learn_in_turn(struct lesson *l)
{
	bool was_quiet = log_set_quiet(false);
	struct access acc;

	access_init(&acc, l->learning->store->reader, true);
	acc.deadline = *l->learning->dl;
	l->result = learn_what_is_new(l, &acc);
	access_release(&acc);
	log_set_quiet(was_quiet);
}

static void run_lesson(struct job *j)
{
	struct lesson *l = container_of(j, struct lesson, job);
	struct learning *k = l->learning;

	learn_in_turn(l);
	WITH_LOCK(&k->lock);
	if (--k->open == 0)
		pthread_cond_signal(&k->done);
}

static unsigned thread_count(const struct store *s)
{
	return s->breaker ? REMOTE_THREADS : cpu_count();
}

static void learn_all(struct learning *k, struct lesson *lessons, size_t n)
{
	if (!k->pool && n > ALONE_MAX && thread_count(k->store) > 1 &&
	    pool_new("runs", thread_count(k->store), &k->pool) < 0)
		k->pool = NULL;
	if (!k->pool) {
		for (size_t i = 0; i < n; i++)
			learn_in_turn(&lessons[i]);
		return;
	}
	k->open = (unsigned)n;
	for (size_t i = 0; i < n; i++) {
		lessons[i].job.run = run_lesson;
		pool_submit(k->pool, &lessons[i].job);
	}
	WITH_LOCK(&k->lock);
	while (k->open > 0)
		pthread_cond_wait(&k->done, &k->lock);
}

static int store_lessons(struct learning *k, struct lesson *lessons, size_t n)
{
	struct index_run runs[BATCH];
	size_t count = 0;
	int r = 0, put;

	for (size_t i = 0; i < n; i++) {
		struct lesson *l = &lessons[i];
		struct index_run *run = &runs[count];

		if (l->result < 0)
			r = l->result;
		if (l->result < 0 || l->is_nothing)
			continue;
		memcpy(run->id, l->run->id.s, INDEX_RUN_ID);
		run->record = buf_span(&l->row);
		run->read = l->ways.read;
		run->kept = l->ways.kept;
		run->written = l->ways.written;
		run->key = l->key;
		run->is_open = l->is_open;
		count++;
	}
	put = index_runs_put(k->store->index, runs, count);
	k->learned += count;
	/* A broken index is made anew at the next start. */
	return r < 0 ? r : put == -ENOENT ? 0 : put;
}

static int learn_batch(struct learning *k, const struct wanted_run *runs, size_t n,
		       const struct catalog_look *look)
{
	_cleanup_free_ struct lesson *lessons = new0(struct lesson, n);
	int r;

	if (!lessons)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		lessons[i].learning = k;
		lessons[i].run = &runs[i];
	}
	learn_all(k, lessons, n);
	r = store_lessons(k, lessons, n);
	for (size_t i = 0; i < n; i++)
		buf_release(&lessons[i].row);
	if (r == 0)
		r = deadline_check(k->dl);
	if (r == 0 && look && look->progress)
		r = look->progress(k->learned, look->ctx);
	return r;
}

int learn_runs(struct learning *k, const struct wanted_run *runs, size_t n,
	       const struct catalog_look *look)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i += BATCH)
		r = learn_batch(k, runs + i, MIN(n - i, (size_t)BATCH), look);
	return r;
}

int catalog_learn(struct store *s, const struct run_id *ids, size_t n, const struct deadline *dl)
{
	_cleanup_(learning_release) struct learning k;
	int r = 0;

	learning_init(&k, s, dl);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = learn_runs(&k, &(struct wanted_run){ .id = ids[i] }, 1, NULL);
	return r;
}
