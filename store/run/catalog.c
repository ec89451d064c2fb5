/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Looking for runs, and asking for rows (run/catalog.h).
 *
 * A look lists up to LISTED_MAX runs that are to be learned, learns them in batches, and lists on
 * from there: so it holds no more than that, and what it has learned stays when it is interrupted.
 *
 * Kept in the index's state: "looked", when the last look began; "full", when the last full one
 * that came to its end did; "running", ids of runs that had no end.
 */
#include "run/catalog.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "base/log.h"
#include "base/thread.h"
#include "run/archive.h"
#include "run/fields.h"

enum {
	LISTED_MAX = 4096, /* runs */
	BATCH = 128, /* runs learned at a time */
	ALONE_MAX = 4, /* so few are learned without a pool */
	REMOTE_THREADS = 16,
	SCAN_BATCH = 512,
	RUNNING_MAX = 1024, /* runs without an end that are kept in mind */
	RUNNING_ASKED = 8, /* of those, asked for at each look */
};

#define LOOK_BACK_SEC (2 * 86400)
#define NS_PER_SEC    1000000000ll

static pthread_mutex_t look_lock = PTHREAD_MUTEX_INITIALIZER; /* one look at a time */

/* A run to be learned. */
struct lesson {
	struct job job;
	struct looking *looking;
	struct run_id id;
	struct buf row;
	struct oid read, written, key;
	bool is_running;
	int result;
};

struct looking {
	struct store *store;
	const struct catalog_look *look;
	const struct deadline *dl;
	struct pool *pool; /* owned; made when it is needed */
	struct run_id wanted[LISTED_MAX];
	size_t wanted_count;
	struct run_id at; /* the run that is being listed */
	bool has_at, has_end;
	struct run_id last; /* listed so far */
	struct buf running; /* ids of runs that were learned without an end */
	uint64_t learned;
	pthread_mutex_t lock;
	pthread_cond_t done;
	unsigned open; /* guarded by lock: lessons under way */
};

static void looking_free(struct looking *l)
{
	pool_free(l->pool);
	pthread_mutex_destroy(&l->lock);
	pthread_cond_destroy(&l->done);
	buf_release(&l->running);
	free(l);
}
DEFINE_CLEANUP(struct looking *, looking_free)

int catalog_row(struct store *s, const struct run_id *id, struct buf *bytes, struct run_row *ret)
{
	int r = index_runs_get(s->index, id->s, bytes);

	if (r == 0)
		r = run_row_read(id, buf_span(bytes), ret);
	return r == -EBADMSG ? -ENOENT : r;
}

/* The row of a record, as far as it can be read; and its ways. */
static int learn(struct lesson *l, struct access *acc)
{
	struct store *s = l->looking->store;
	json_t *start = NULL, *end = NULL;
	enum run_status unreadable = RUN_RUNNING;
	struct run_row row;
	uint8_t flags = 0;
	int r = archive_get(s, &l->id, &acc->deadline, &start, &end);

	if (r == -EBADMSG || r == -ENOENT)
		unreadable = RUN_DAMAGED;
	else if (r == -ENOTSUP)
		unreadable = RUN_NEWER;
	else if (r < 0)
		return r;
	r = run_row_write(&l->id, start, end, unreadable, 0, &l->row);
	if (r == 0)
		r = run_row_read(&l->id, buf_span(&l->row), &row);
	/* What says otherwise than a key cannot be repeated. */
	if (end && strcmp(field_text(end, "status"), "ok") == 0 &&
	    field_oid(json_object_get(end, "memo"), "key", &l->key) < 0)
		l->key = (struct oid){ 0 };
	l->is_running = r == 0 && row.status == RUN_RUNNING;
	if (r == 0 && !oid_is_null(&row.tree)) {
		flags = RUN_ROW_TREES;
		r = catalog_add_ways(s, &row.tree, &row.tree_loc, acc, &l->read, &l->written);
	}
	if (r == -EIO || r == -EBADMSG) {
		log_warning("run %s: what it read and wrote cannot be looked at: %s", l->id.s,
			    errno_text(r));
		l->read = l->written = (struct oid){ 0 };
		flags = RUN_ROW_NO_TREES;
		r = 0;
	}
	if (r == 0 && flags)
		r = run_row_write(&l->id, start, end, unreadable, flags, &l->row);
	json_decref(start);
	json_decref(end);
	return r;
}

static void learn_in_turn(struct lesson *l)
{
	bool was_quiet = log_set_quiet(false);
	struct access acc;

	access_init(&acc, l->looking->store->reader, true);
	acc.deadline = *l->looking->dl;
	l->result = learn(l, &acc);
	access_release(&acc);
	log_set_quiet(was_quiet);
}

static void run_lesson(struct job *j)
{
	struct lesson *l = container_of(j, struct lesson, job);
	struct looking *k = l->looking;

	learn_in_turn(l);
	WITH_LOCK(&k->lock);
	if (--k->open == 0)
		pthread_cond_signal(&k->done);
}

static unsigned thread_count(const struct store *s)
{
	return s->breaker ? REMOTE_THREADS : cpu_count();
}

static void learn_all(struct looking *k, struct lesson *lessons, size_t n)
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

static int store_lessons(struct looking *k, struct lesson *lessons, size_t n)
{
	struct index_run runs[BATCH];
	size_t count = 0;
	int r = 0, put;

	for (size_t i = 0; i < n; i++) {
		struct lesson *l = &lessons[i];
		struct index_run *run = &runs[count];

		if (l->result < 0) {
			r = l->result;
			continue;
		}
		memcpy(run->id, l->id.s, INDEX_RUN_ID);
		run->record = buf_span(&l->row);
		run->read = l->read;
		run->written = l->written;
		run->key = l->key;
		if (l->is_running)
			buf_put(&k->running, l->id.s, INDEX_RUN_ID);
		count++;
	}
	put = index_runs_put(k->store->index, runs, count);
	k->learned += count;
	/* A broken index is made anew at the next start. */
	return r < 0 ? r : put == -ENOENT ? 0 : put;
}

static int learn_batch(struct looking *k, const struct run_id *ids, size_t n)
{
	_cleanup_free_ struct lesson *lessons = new0(struct lesson, n);
	int r;

	if (!lessons)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		lessons[i].looking = k;
		lessons[i].id = ids[i];
	}
	learn_all(k, lessons, n);
	r = store_lessons(k, lessons, n);
	for (size_t i = 0; i < n; i++)
		buf_release(&lessons[i].row);
	if (r == 0)
		r = deadline_check(k->dl);
	if (r == 0 && k->look->progress)
		r = k->look->progress(k->learned, k->look->ctx);
	return r;
}

static int learn_wanted(struct looking *k)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < k->wanted_count; i += BATCH)
		r = learn_batch(k, k->wanted + i, MIN(k->wanted_count - i, (size_t)BATCH));
	k->wanted_count = 0;
	return r;
}

/* All objects of a run have been listed: is there anything to learn? */
static int listed(struct looking *k)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct run_row row;
	int r;

	if (!k->has_at)
		return 0;
	k->has_at = false;
	r = catalog_row(k->store, &k->at, &bytes, &row);
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0 && !(row.status == RUN_RUNNING && k->has_end) &&
	    !(k->look->is_full && (row.status >= RUN_DAMAGED || row.flags & RUN_ROW_NO_TREES)))
		return 0;
	k->wanted[k->wanted_count++] = k->at;
	return k->wanted_count == LISTED_MAX;
}

static int take_listed(const struct run_id *id, bool is_end, void *ctx)
{
	struct looking *k = ctx;

	if (!k->has_at || strcmp(k->at.s, id->s) != 0) {
		int r = listed(k);

		if (r != 0)
			return r;
		k->at = *id;
		k->has_at = true;
		k->has_end = false;
	}
	k->has_end |= is_end;
	k->last = *id;
	return 0;
}

/* Lists from behind @after on, and learns. */
static int look_from(struct looking *k, const char *after)
{
	struct key key;
	int r;

	do {
		r = archive_list(k->store, after, take_listed, k, k->dl);
		if (r == 0)
			r = listed(k);
		if (r >= 0) {
			bool is_more = r > 0;

			r = learn_wanted(k);
			if (r == 0)
				r = is_more;
		}
		/* The run that ended the listing is listed again. */
		key = run_start_key(&k->last);
		after = key.s;
		if (r > 0)
			k->has_at = false;
	} while (r > 0);
	return r;
}

static int64_t state_time(struct store *s, const char *key)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct cursor c;

	if (index_runs_get_state(s->index, key, &b) < 0)
		return 0;
	c = cursor_of(buf_span(&b));
	return (int64_t)rd_u64(&c);
}

static void put_state_time(struct store *s, const char *key, int64_t sec)
{
	uint64_t raw = htole64((uint64_t)sec);

	index_runs_put_state(s->index, key, span_of(&raw, sizeof(raw)));
}

/* Where a look begins: an id that no run has, some time before @sec. */
static struct run_id id_at(int64_t sec)
{
	time_t t = (time_t)sec;
	struct run_id id;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(id.s, sizeof(id.s), "%Y%m%d-%H%M%S-0000", &tm);
	return id;
}

/* Of @ids those that have no end, as far as is known, the last of them; and asks for some that a
 * listing from @from on does not show. */
static int ask_for_running(struct looking *k, const struct buf *ids, const struct run_id *from)
{
	_cleanup_buf_ struct buf bytes = { 0 }, kept = { 0 };
	size_t n = ids->len / INDEX_RUN_ID, old = 0;

	for (size_t i = n > RUNNING_MAX ? n - RUNNING_MAX : 0; i < n; i++) {
		struct run_id id = { 0 };
		struct run_row row;

		memcpy(id.s, ids->data + i * INDEX_RUN_ID, INDEX_RUN_ID);
		if (catalog_row(k->store, &id, &bytes, &row) < 0 || row.status != RUN_RUNNING)
			continue;
		buf_put(&kept, id.s, INDEX_RUN_ID);
		if (strcmp(id.s, from->s) >= 0)
			continue;
		k->wanted[old++ % RUNNING_ASKED] = id;
	}
	k->wanted_count = MIN(old, (size_t)RUNNING_ASKED);
	if (buf_failed(&kept))
		return -ENOMEM;
	if (!span_equal(buf_span(&kept), buf_span(ids)) || k->running.len > 0)
		index_runs_put_state(k->store->index, "running", buf_span(&kept));
	return learn_wanted(k);
}

static int look_at_running(struct looking *k, const struct run_id *from)
{
	_cleanup_buf_ struct buf ids = { 0 };
	int r = index_runs_get_state(k->store->index, "running", &ids);

	if (r < 0 && r != -ENOENT)
		return r;
	buf_put(&ids, k->running.data, k->running.len);
	return buf_failed(&ids) ? -ENOMEM : ask_for_running(k, &ids, from);
}

static int look(struct looking *k, int64_t now)
{
	int64_t begin = MIN(state_time(k->store, "looked"), now) - LOOK_BACK_SEC;
	struct run_id from = id_at(begin);
	struct key key = run_start_key(&from);
	int r = look_from(k, k->look->is_full ? NULL : key.s);

	if (r == 0)
		r = look_at_running(k, &from);
	if (r != 0)
		return r;
	put_state_time(k->store, "looked", now);
	if (k->look->is_full)
		put_state_time(k->store, "full", now);
	return 0;
}

static int look_locked(struct store *s, const struct catalog_look *how, const struct deadline *dl)
{
	_cleanup_(looking_freep) struct looking *k = new0(struct looking, 1);
	struct catalog_look all = *how;

	if (!k)
		return -ENOMEM;
	k->store = s;
	k->dl = dl;
	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->done, NULL);
	all.is_full |= state_time(s, "full") == 0;
	k->look = &all;
	return look(k, (int64_t)time(NULL));
}

int catalog_look(struct store *s, const struct catalog_look *how, const struct deadline *dl)
{
	int r;

	if (!how->if_free)
		pthread_mutex_lock(&look_lock);
	else if (pthread_mutex_trylock(&look_lock) != 0)
		return -EBUSY;
	r = look_locked(s, how, dl);
	pthread_mutex_unlock(&look_lock);
	return r;
}

int catalog_scan(struct store *s, bool backwards, catalog_row_fn fn, void *ctx)
{
	_cleanup_run_batch_ struct index_run_batch b = { 0 };
	struct run_id id = { 0 };
	bool has_after = false;
	ssize_t n;
	int r = index_run_batch_new(SCAN_BATCH, &b);

	if (r < 0)
		return r;
	while ((n = index_runs_next(s->index, has_after ? id.s : NULL, backwards, &b)) > 0) {
		const uint8_t *at = b.records.data;

		for (ssize_t i = 0; i < n; at += b.len[i++]) {
			struct run_row row;

			memcpy(id.s, b.ids[i], INDEX_RUN_ID);
			if (run_row_read(&id, span_of(at, b.len[i]), &row) < 0)
				continue;
			r = fn(&row, ctx);
			if (r != 0)
				return r;
		}
		has_after = true;
	}
	return (int)n;
}

struct finding_run {
	const char *text;
	struct run_id named, first;
	bool has_name;
	unsigned prefixed;
};

static int find_in(const struct run_row *row, void *ctx)
{
	struct finding_run *f = ctx;

	if (span_equal(row->name, span_str(f->text))) {
		f->named = row->id;
		f->has_name = true;
		return 1;
	}
	if (strncmp(row->id.s, f->text, strlen(f->text)) == 0 && f->prefixed++ == 0)
		f->first = row->id;
	return 0;
}

static int find_known(struct store *s, const char *text, struct run_id *ret)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct finding_run f = { .text = text };
	struct run_row row;
	struct run_id id;
	int r;

	if (run_id_parse(text, &id) == 0) {
		r = catalog_row(s, &id, &bytes, &row);
		if (r == 0)
			*ret = id;
		return r;
	}
	if (!*text)
		return -ENOENT;
	r = catalog_scan(s, true, find_in, &f);
	if (r < 0)
		return r;
	if (!f.has_name && f.prefixed > 1)
		return log_fail(-ENOTUNIQ, "%u runs' ids start with `%s`", f.prefixed, text);
	if (!f.has_name && f.prefixed == 0)
		return -ENOENT;
	*ret = f.has_name ? f.named : f.first;
	return 0;
}

int catalog_find(struct store *s, const char *text, const struct deadline *dl, struct run_id *ret)
{
	static const struct catalog_look full = { .is_full = true };
	int r = find_known(s, text, ret);

	if (r == -ENOENT && catalog_look(s, &full, dl) == 0)
		r = find_known(s, text, ret);
	return r == -ENOENT ? log_fail(r, "there is no run `%s`", text) : r;
}
