/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Looking for runs (catalog/catalog.h; run/RUNS.md, section 7, says what a look lists and why).
 *
 * It lists from some time before the newest run on, and asks for the ends of older open runs one
 * by one; where the backend has stamps, only months that are not as they were, and those that lie
 * before that time as a whole.
 *
 * A look lists up to WANTED_MAX runs that are to be learned, learns them, and lists on from there:
 * so it holds no more than that, and what it has learned stays when it is interrupted.
 *
 * Kept in the index's state, times in seconds since 1970: "looked", when the last look began that
 * came to its end; "wide", likewise the last that began further back; "full", the last full one;
 * "rows", which version of rows there are since then; "months", with their stamps. What a look
 * keeps it has read before it listed.
 */
#include <time.h>

#include "base/log.h"
#include "catalog/catalog_parts.h"
#include "record/archive.h"

enum {
	WANTED_MAX = 4096, /* runs */
	PIECE_MAX = 4096, /* of a sweep: runs listed */
	OPEN_MAX = 256, /* runs that are asked for their end */
	MONTHS_MAX = 4096, /* with stamps; of more nothing is kept */
	TURN_MS = 200,
};

#define MINUTE 60
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

/* How far a look goes back, for clocks that differ and requests that take their time. */
enum depth {
	DEPTH_USUAL,
	DEPTH_WIDE, /* once in WIDE_EVERY */
	DEPTH_FULL,
};
#define USUAL_BACK (15 * MINUTE)
#define WIDE_BACK  (2 * DAY)
#define WIDE_EVERY HOUR
/* All in the background; and for who has none. */
#define SWEEP_EVERY DAY
#define FULL_EVERY  (7 * DAY)
/* Older runs without an end are only met by full looks. */
#define OPEN_DAYS (30 * DAY)

/* A month's records, "202601/", as they were when it was last listed. */
struct month {
	char name[RUN_MONTH_LEN];
	uint8_t depth; /* enum depth: of that listing */
	uint64_t stamp; /* 0: it must be listed */
} __attribute__((packed));

struct months {
	uint64_t stamp; /* of which there are; 0: that must be listed */
	struct month *items; /* owned */
	size_t count;
};

struct looking {
	struct learning learning;
	struct store *store;
	const struct catalog_look *look;
	const struct deadline *dl;
	struct wanted_run wanted[WANTED_MAX];
	size_t wanted_count;
	struct run_id at; /* the run that is being listed */
	bool has_at, has_end;
	struct run_id last; /* listed so far */
	uint64_t left; /* runs that may be listed */
	struct buf met; /* names of months that were listed */
	enum depth depth;
	struct run_id from; /* where the listing begins, unless it is full */
};

static pthread_mutex_t turn_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t turn_once = PTHREAD_ONCE_INIT;
static pthread_cond_t turn_over; /* made once */
static bool is_looking; /* guarded by turn_lock */

static void make_turn_over(void)
{
	cond_init(&turn_over);
}

/* One look at a time. 0, -ETIME, -ECANCELED. */
static int take_turn(const struct deadline *dl)
{
	int r = 0;

	pthread_once(&turn_once, make_turn_over);
	WITH_LOCK(&turn_lock);
	while (is_looking && r == 0) {
		cond_wait_until(&turn_over, &turn_lock, dl, TURN_MS);
		r = deadline_check(dl);
	}
	if (r == 0)
		is_looking = true;
	return r;
}

static void end_turn(void)
{
	WITH_LOCK(&turn_lock);

	is_looking = false;
	pthread_cond_signal(&turn_over);
}

static void put_time(struct store *s, const char *key, int64_t sec)
{
	uint64_t raw = htole64((uint64_t)sec);

	index_runs_put_state(s->index, key, span_of(&raw, sizeof(raw)));
}

static int64_t wall_sec(void)
{
	return now_wall().tv_sec;
}

/* The moment, as an id that no run of it is below. */
static struct run_id id_at(int64_t sec)
{
	return run_id_new(MAX(sec, (int64_t)0) * 1000000000, 0);
}

static int learn_wanted(struct looking *k)
{
	int r = learn_runs(&k->learning, k->wanted, k->wanted_count, k->look);

	k->wanted_count = 0;
	return r;
}

/* All objects of a run have been listed: is there anything to learn? 1: that is enough. */
static int listed(struct looking *k)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct run_row row;
	int r;

	if (!k->has_at)
		return 0;
	k->has_at = false;
	if (k->left > 0)
		k->left--;
	r = catalog_row(k->store, &k->at, &bytes, &row);
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == -ENOENT || (row.status == RUN_RUNNING && k->has_end) ||
	    (k->look->is_full && (row.status >= RUN_DAMAGED || row.flags & RUN_ROW_NO_TREES)))
		k->wanted[k->wanted_count++] = (struct wanted_run){ .id = k->at };
	return k->wanted_count == WANTED_MAX || k->left == 0;
}

static void note_month(struct looking *k, const struct run_id *id)
{
	char name[RUN_MONTH_LEN];

	memcpy(name, id->s, RUN_MONTH_LEN - 1);
	name[RUN_MONTH_LEN - 1] = '/';
	if (k->met.len == 0 ||
	    memcmp(k->met.data + k->met.len - RUN_MONTH_LEN, name, RUN_MONTH_LEN) != 0)
		buf_put(&k->met, name, RUN_MONTH_LEN);
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
		note_month(k, id);
	}
	k->has_end |= is_end;
	k->last = *id;
	return 0;
}

/* Lists from behind @after on, and learns. 1: there may be more, behind k->last. What cannot be
 * listed does not keep from being learned what can. */
static int look_from(struct looking *k, const char *month, const char *after)
{
	struct key key;
	int r;

	do {
		int learned;

		r = archive_list(k->store, month, after, take_listed, k, k->dl);
		if (r <= 0 && listed(k) < 0)
			r = r ?: -EIO;
		learned = learn_wanted(k);
		if (learned != 0)
			return learned;
		/* The run that ended the listing was not taken. */
		key = run_start_key(&k->last);
		after = key.s;
		k->has_at = false;
	} while (r > 0 && k->left > 0);
	return r;
}

/* Where a look begins that is not full. If this machine's clock is ahead, what others have may lie
 * well before its last look; so the newest run is asked as well. */
static struct run_id first_of(struct looking *k, int64_t now)
{
	_cleanup_run_batch_ struct index_run_batch b = { 0 };
	int64_t from = MIN(catalog_time(k->store, "looked"), now);
	struct run_id newest = { 0 };

	if (index_run_batch_new(1, &b) == 0 &&
	    index_runs_next(k->store->index, NULL, true, &b) == 1) {
		memcpy(newest.s, b.ids[0], INDEX_RUN_ID);
		from = MIN(from, run_id_time(&newest));
	}
	return id_at(from - (k->depth == DEPTH_WIDE ? WIDE_BACK : USUAL_BACK));
}

/* Asks for open runs, the newest of them: for an end, where the listing has not shown one, and for
 * what could not be read. */
static int ask_for_open(struct looking *k, int64_t now)
{
	_cleanup_buf_ struct buf ids = { 0 }, bytes = { 0 };
	struct run_id oldest = id_at(now - OPEN_DAYS);
	int r = index_runs_open(k->store->index, &ids);

	if (r < 0)
		return r;
	for (size_t n = ids.len / INDEX_RUN_ID; n-- > 0 && k->wanted_count < OPEN_MAX;) {
		struct wanted_run w = { 0 };
		struct run_row row;

		memcpy(w.id.s, ids.data + n * INDEX_RUN_ID, INDEX_RUN_ID);
		w.has_no_end = catalog_row(k->store, &w.id, &bytes, &row) == 0 &&
			       row.status == RUN_RUNNING;
		if (w.has_no_end && (k->depth == DEPTH_FULL || strcmp(w.id.s, k->from.s) >= 0 ||
				     strcmp(w.id.s, oldest.s) < 0))
			continue;
		k->wanted[k->wanted_count++] = w;
	}
	return learn_wanted(k);
}

static int months_read(struct store *s, struct months *ret)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct cursor c;
	int r = index_runs_get_state(s->index, "months", &b);

	*ret = (struct months){ 0 };
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	c = cursor_of(buf_span(&b));
	ret->stamp = rd_u64(&c);
	ret->count = cursor_left(&c) / sizeof(struct month);
	ret->items = calloc(ret->count + 1, sizeof(struct month));
	if (!ret->items)
		return -ENOMEM;
	rd_copy(&c, ret->items, ret->count * sizeof(struct month));
	return 0;
}

static bool months_have(const struct months *all, const uint8_t *name)
{
	for (size_t i = 0; i < all->count; i++)
		if (memcmp(all->items[i].name, name, RUN_MONTH_LEN) == 0)
			return true;
	return false;
}

/* Keeps them, and the months that were met for the first time. */
static void months_write(struct looking *k, const struct months *now)
{
	_cleanup_buf_ struct buf b = { 0 };
	size_t count = now->count;

	buf_put_u64(&b, now->stamp);
	buf_put(&b, now->items, now->count * sizeof(struct month));
	for (size_t i = 0; i < k->met.len; i += RUN_MONTH_LEN) {
		struct month m = { 0 };

		if (months_have(now, k->met.data + i))
			continue;
		memcpy(m.name, k->met.data + i, RUN_MONTH_LEN);
		buf_put(&b, &m, sizeof(m));
		count++;
	}
	if (count > MONTHS_MAX)
		buf_clear(&b);
	if (!buf_failed(&b) && !k->met.failed)
		index_runs_put_state(k->store->index, "months", buf_span(&b));
}

/* Where the listing of all, or of one month, begins; NULL: with the first. */
static const char *begin_of(const struct looking *k, const struct month *m, struct key *key)
{
	*key = run_start_key(&k->from);
	if (k->depth == DEPTH_FULL || (m && memcmp(m->name, k->from.s, RUN_MONTH_LEN - 1) < 0))
		return NULL;
	return key->s;
}

/* A month that is not as it was is listed, and gets the stamp that it had before. */
static int look_at_month(struct looking *k, struct month *m, bool is_listed)
{
	char name[RUN_MONTH_LEN + 1] = { 0 };
	uint64_t stamp = 0;
	const char *after;
	struct key key;
	int r;

	memcpy(name, m->name, RUN_MONTH_LEN);
	r = archive_stamp(k->store, name, &stamp);
	if (r < 0 && r != -ENOENT)
		stamp = 0;
	if (!is_listed && stamp != 0 && stamp == m->stamp && m->depth >= k->depth)
		return 0;
	after = begin_of(k, m, &key);
	m->depth = after ? k->depth : DEPTH_FULL;
	m->stamp = stamp;
	return is_listed ? 0 : look_from(k, name, after);
}

/* @top: the stamp of which months there are, from before anything was listed. */
static int look_at_months(struct looking *k, uint64_t top)
{
	struct months all;
	int r = months_read(k->store, &all), closed = 0;
	const bool is_full = k->depth == DEPTH_FULL;

	for (size_t i = 0; r == 0 && i < all.count; i++) {
		r = look_at_month(k, &all.items[i], is_full);
		if (r == -EACCES || r == -EIO) {
			closed = r;
			r = 0;
		}
	}
	/* A new month need not be the last one. */
	if (r == 0 && (is_full || top == 0 || top != all.stamp))
		r = look_from(k, "", NULL);
	r = r ?: closed;
	all.stamp = top;
	if (r == 0)
		months_write(k, &all);
	free(all.items);
	return r;
}

static int look(struct looking *k, int64_t now)
{
	int64_t wide = catalog_time(k->store, "wide");
	uint64_t top = 0;
	struct key key;
	int r = archive_stamp(k->store, "", &top);

	if (k->look->is_full)
		k->depth = DEPTH_FULL;
	else if (now < wide || now - wide >= WIDE_EVERY)
		k->depth = DEPTH_WIDE;
	k->from = first_of(k, now);
	if (r == -EOPNOTSUPP)
		r = look_from(k, "", begin_of(k, NULL, &key));
	else
		r = look_at_months(k, r < 0 ? 0 : top);
	if (r == 0)
		r = ask_for_open(k, now);
	if (r != 0)
		return r;
	put_time(k->store, "looked", now);
	if (k->depth >= DEPTH_WIDE)
		put_time(k->store, "wide", now);
	if (k->depth == DEPTH_FULL) {
		put_time(k->store, "full", now);
		put_time(k->store, "rows", RUN_ROW_VERSION);
	}
	return 0;
}

static bool is_long_ago(struct store *s, int64_t sec)
{
	int64_t full = catalog_time(s, "full"), now = wall_sec();

	return full == 0 || now < full - DAY || now - full >= sec ||
	       catalog_time(s, "rows") != RUN_ROW_VERSION;
}

bool catalog_wants_sweep(struct store *s)
{
	return is_long_ago(s, SWEEP_EVERY);
}

static struct looking *looking_new(struct store *s, const struct catalog_look *look,
				   const struct deadline *dl)
{
	struct looking *k = new0(struct looking, 1);

	if (!k)
		return NULL;
	k->store = s;
	k->look = look;
	k->dl = dl;
	k->left = UINT64_MAX;
	learning_init(&k->learning, s, dl);
	return k;
}

static void looking_free(struct looking *k)
{
	learning_release(&k->learning);
	buf_release(&k->met);
	free(k);
}

int catalog_look(struct store *s, const struct catalog_look *how, const struct deadline *dl)
{
	struct catalog_look all = *how;
	struct looking *k;
	int r;

	r = take_turn(dl);
	if (r < 0)
		return r;
	all.is_full |= is_long_ago(s, FULL_EVERY);
	k = looking_new(s, &all, dl);
	r = k ? look(k, wall_sec()) : -ENOMEM;
	end_turn();
	if (k)
		looking_free(k);
	return r;
}

/* The next piece of a sweep. */
static int sweep(struct looking *k, struct catalog_sweep *w)
{
	struct key key = run_start_key(&w->at);
	int r;

	k->left = PIECE_MAX;
	k->last = w->at;
	r = look_from(k, "", w->at.s[0] ? key.s : NULL);
	if (r < 0)
		return r;
	w->at = k->last;
	if (r > 0)
		return 1;
	put_time(k->store, "looked", MAX(catalog_time(k->store, "looked"), w->since));
	put_time(k->store, "full", w->since);
	put_time(k->store, "rows", RUN_ROW_VERSION);
	*w = (struct catalog_sweep){ 0 };
	return 0;
}

int catalog_sweep(struct store *s, struct catalog_sweep *w, const struct deadline *dl)
{
	static const struct catalog_look full = { .is_full = true };
	struct looking *k;
	uint64_t top;
	int r;

	/* Such a listing is quick, but only as a whole. */
	if (archive_stamp(s, "", &top) != -EOPNOTSUPP)
		return catalog_look(s, &full, dl);
	r = take_turn(dl);
	if (r < 0)
		return r;
	if (w->since == 0)
		w->since = wall_sec();
	k = looking_new(s, &full, dl);
	r = k ? sweep(k, w) : -ENOMEM;
	end_turn();
	if (k)
		looking_free(k);
	return r;
}
