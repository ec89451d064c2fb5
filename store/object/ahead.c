/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Runs of frames, of object/ahead.h.
 *
 * A run's frames are flights like any other's: who wants one of them meanwhile waits for it rather
 * than fetching it again, and frames that somebody else is fetching are left to him.
 *
 * A run whose hints are wrong gives nothing: whoever reads looks further.
 */
#include "object/ahead.h"

#include "object/cache.h"

enum {
	RUN_MS = 30000,
};

/* Frames on their way or about to be. */
#define RUNS_BYTES_MAX (18 * MiB)

/* The same of what they unpack to, which may be far more: all of a run is in memory at once. */
#define RUNS_RAW_MAX (36 * MiB)
#define RUN_RAW_MAX  (RUNS_RAW_MAX / 2)

struct run {
	struct job job;
	struct reader *reader; /* borrowed */
	uint64_t bytes, raw;
	unsigned count;
	struct loc at[AHEAD_RUN_FRAMES]; /* one behind the other */
	/* Those nobody else is fetching when the run goes off: from @first on, without a gap. */
	unsigned first, flight_count;
	struct flight *flights[AHEAD_RUN_FRAMES];
};

static void fetch_run(struct job *j)
{
	struct run *run = container_of(j, struct run, job);
	struct load *loads[AHEAD_RUN_FRAMES] = { NULL };
	int results[AHEAD_RUN_FRAMES];
	struct reader *r = run->reader;
	struct deadline dl = deadline_in_ms(RUN_MS);
	unsigned n = run->flight_count;

	dl.cancelled = &r->is_ending;
	loader_read_run(r->loader, &run->at[run->first], n, &dl, loads, results);
	for (unsigned i = 0; i < n; i++)
		flight_end(r, run->flights[i], results[i], loads[i]);
	reader_spill(r, loads, n);
	for (unsigned i = 0; i < n; i++)
		load_unref(loads[i]);
	pthread_mutex_lock(&r->lock);
	r->ahead_bytes -= run->bytes;
	r->ahead_raw -= run->raw;
	pthread_mutex_unlock(&r->lock);
	free(run);
}

/* Whoever wants one of them waits for it from now on, be the run still queued. False: there is
 * nothing to fetch. */
static bool take_off(struct reader *r, struct run *run)
{
	struct flight *f = NULL;

	WITH_LOCK(&r->lock);

	while (run->first < run->count && !(f = flight_begin(r, &run->at[run->first])))
		run->first++;
	while (f) {
		unsigned next = run->first + run->flight_count + 1;

		run->flights[run->flight_count++] = f;
		f = next < run->count ? flight_begin(r, &run->at[next]) : NULL;
	}
	if (run->flight_count == 0)
		return false;
	r->ahead_bytes += run->bytes;
	r->ahead_raw += run->raw;
	return true;
}

static bool is_here(struct reader *r, const struct oid *id)
{
	_cleanup_(blob_unrefp) struct blob *b = memory_chunk(r->memory, id);
	uint32_t len;

	return b || (r->options.cache && cache_len(r->options.cache, OID_CHUNK, id, &len) == 0);
}

static bool fits(const struct run *run, const struct loc *at, uint64_t len)
{
	const struct loc *last = &run->at[run->count - 1];

	return run->count < AHEAD_RUN_FRAMES && run->bytes + at->frame_len <= AHEAD_RUN_BYTES &&
	       run->raw + len <= RUN_RAW_MAX && id128_equal(&last->pack, &at->pack) &&
	       (uint64_t)last->offset + last->frame_len == at->offset;
}

static bool has_room(struct reader *r)
{
	WITH_LOCK(&r->lock);

	return r->ahead_bytes + AHEAD_RUN_BYTES / 2 <= RUNS_BYTES_MAX &&
	       r->ahead_raw + RUN_RAW_MAX <= RUNS_RAW_MAX;
}

static struct run *run_new(struct reader *r)
{
	struct run *run = has_room(r) ? new0(struct run, 1) : NULL;

	if (run) {
		run->reader = r;
		run->job.run = fetch_run;
	}
	return run;
}

void ahead_end(struct ahead *a)
{
	struct run *run = TAKE_PTR(a->run);

	if (run && take_off(a->reader, run))
		pool_submit(a->reader->runs, &run->job);
	else
		free(run);
}

/* Is what is left too little to be worth a request of its own, now? */
static bool may_wait(const struct run *run, uint64_t left)
{
	return run->bytes > AHEAD_RUN_BYTES / 2 && left < AHEAD_RUN_BYTES / 2;
}

bool ahead_add(struct ahead *a, const struct oid *id, const struct loc *hint, uint64_t len,
	       uint64_t left)
{
	if (is_here(a->reader, id)) {
		ahead_end(a);
		return true;
	}
	/* Chunks of one frame, or a frame that must be looked for. */
	if (a->run && hint->state == LOC_AT &&
	    a->run->at[a->run->count - 1].offset == hint->offset &&
	    id128_equal(&a->run->at[a->run->count - 1].pack, &hint->pack))
		return true;
	/* No frame is as long as a run: who looks at it alone finds out how long it is. */
	if (hint->state != LOC_AT || hint->frame_len == 0 || hint->frame_len > AHEAD_RUN_BYTES) {
		ahead_end(a);
		reader_prefetch(a->reader, id, hint);
		return true;
	}
	if (a->run && !fits(a->run, hint, len)) {
		if (may_wait(a->run, left))
			return false;
		ahead_end(a);
	}
	if (!a->run)
		a->run = run_new(a->reader);
	if (!a->run)
		return false;
	a->run->bytes += hint->frame_len;
	a->run->raw += len;
	a->run->at[a->run->count++] = *hint;
	return true;
}
