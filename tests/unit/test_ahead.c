/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Fetching ahead: few requests for what lies together, none twice, and within bounds.
 */
#include <sched.h>

#include "object/ahead.h"
#include "reader_world.h"

enum {
	LEN = 200000, /* of a chunk: a frame of its own */
	CHUNKS = 71, /* two runs, the second above a half */
	PER_RUN = AHEAD_RUN_BYTES / (LEN + 100), /* with its frame's header, not compressed */
};

/* Chunks in a pack, none of which compresses. */
struct row {
	struct oid id[CHUNKS];
	struct loc loc[CHUNKS];
};

/* A chunk's number, for chunk_fill(). */
static uint64_t number(unsigned i)
{
	return 2 * i + 1;
}

static struct row *row_make(struct world *w)
{
	struct row *r = calloc(1, sizeof(*r));

	for (unsigned i = 0; i < CHUNKS; i++)
		r->id[i] = chunk_add(w, number(i), LEN);
	pack_store(w);
	for (unsigned i = 0; i < CHUNKS; i++)
		r->loc[i] = made_pack_loc(w->pack, i);
	return r;
}

/* Asks for chunks [@first, @end); says how many were taken. */
static unsigned ask(struct world *w, const struct row *r, unsigned first, unsigned end)
{
	struct ahead a = { .reader = w->reader };
	unsigned i = first;

	while (i < end && ahead_add(&a, &r->id[i], &r->loc[i], LEN, (uint64_t)(end - i) * LEN))
		i++;
	ahead_end(&a);
	return i - first;
}

static bool is_in_memory(struct world *w, const struct oid *id)
{
	_cleanup_(blob_unrefp) struct blob *b = memory_chunk(w->reader->memory, id);

	return b;
}

static void wait_for_all(struct world *w, const struct row *r, unsigned n)
{
	struct deadline dl = deadline_in_ms(20000);

	for (unsigned i = 0; i < n; i++)
		while (!is_in_memory(w, &r->id[i]))
			assert_ok(deadline_check(&dl));
}

static void what_lies_together_comes_with_few_requests(void **state)
{
	struct world *w = *state;
	_cleanup_free_ struct row *r = row_make(w);

	assert_int_equal(ask(w, r, 0, CHUNKS), CHUNKS);
	wait_for_all(w, r, CHUNKS);
	assert_int_equal(counts_of(w).calls[FAULT_GET], (CHUNKS + PER_RUN - 1) / PER_RUN);
	for (unsigned i = 0; i < CHUNKS; i++)
		assert_ok(chunk_read(w, number(i), LEN, &r->id[i], &r->loc[i], NULL));
	assert_int_equal(counts_of(w).calls[FAULT_GET], (CHUNKS + PER_RUN - 1) / PER_RUN);
}

static void a_rest_that_is_not_worth_a_request_waits_for_more(void **state)
{
	struct world *w = *state;
	_cleanup_free_ struct row *r = row_make(w);

	assert_int_equal(ask(w, r, 0, PER_RUN + 3), PER_RUN);
	wait_for_all(w, r, PER_RUN);
	assert_int_equal(ask(w, r, PER_RUN, CHUNKS), CHUNKS - PER_RUN);
	wait_for_all(w, r, CHUNKS);
	assert_int_equal(counts_of(w).calls[FAULT_GET], 2);
}

static void what_is_here_is_not_fetched_again(void **state)
{
	struct world *w = *state;
	_cleanup_free_ struct row *r = row_make(w);
	uint64_t before;

	assert_ok(chunk_read(w, number(5), LEN, &r->id[5], &r->loc[5], NULL));
	before = counts_of(w).read;
	assert_int_equal(ask(w, r, 0, 10), 10);
	wait_for_all(w, r, 10);
	/* It parts the run in two. */
	assert_int_equal(counts_of(w).calls[FAULT_GET], 3);
	assert_true(counts_of(w).read - before < 10 * LEN);
}

static void who_wants_what_is_on_its_way_waits_for_it(void **state)
{
	struct world *w = *state;
	_cleanup_free_ struct row *r = row_make(w);

	fault_add(w, (struct fault){ .op = FAULT_GET, .kind = FAULT_DELAY, .delay_ms = 300 });
	assert_int_equal(ask(w, r, 0, PER_RUN), PER_RUN);
	while (counts_of(w).calls[FAULT_GET] == 0)
		sched_yield();
	assert_ok(chunk_read(w, number(3), LEN, &r->id[3], &r->loc[3], NULL));
	assert_int_equal(counts_of(w).calls[FAULT_GET], 1);
}

static void what_somebody_fetches_already_is_left_to_him(void **state)
{
	struct world *w = *state;
	_cleanup_free_ struct row *r = row_make(w);
	struct flight *f;

	/* The third of five is on its way: the first two are fetched. */
	pthread_mutex_lock(&w->reader->lock);
	f = flight_begin(w->reader, &r->loc[2]);
	assert_non_null(f);
	assert_null(flight_begin(w->reader, &r->loc[2]));
	pthread_mutex_unlock(&w->reader->lock);
	assert_int_equal(ask(w, r, 0, 5), 5);
	wait_for_all(w, r, 2);
	flight_end(w->reader, f, -ETIME, NULL);
	assert_true(counts_of(w).read < 2 * (LEN + 1000));
	assert_int_equal(counts_of(w).calls[FAULT_GET], 1);
}

static void prefetches_of_what_is_queued_do_not_block_it(void **state)
{
	struct world *w = *state;
	_cleanup_free_ struct row *r = row_make(w);
	struct deadline dl = deadline_in_ms(20000);

	/* More runs than threads, so that some are queued; and then each chunk once more, alone. */
	fault_add(w, (struct fault){ .op = FAULT_GET, .kind = FAULT_DELAY, .delay_ms = 50 });
	for (unsigned i = 0; i < CHUNKS; i++)
		assert_int_equal(ask(w, r, i, i + 1), 1);
	for (unsigned i = CHUNKS; i-- > 0;)
		reader_prefetch(w->reader, &r->id[i], &r->loc[i]);
	wait_for_all(w, r, CHUNKS);
	assert_ok(deadline_check(&dl));
}

/* Asks for chunks of which each has @len bytes, and @stored in the store, until no more are taken;
 * says how many were. */
static unsigned ask_much(struct world *w, uint32_t len, uint32_t stored)
{
	enum {
		MANY = 600
	};
	struct ahead a = { .reader = w->reader };
	struct loc loc = { .state = LOC_AT, .frame_len = stored };
	unsigned taken = 0;

	log_set_quiet(true);
	fault_add(w, (struct fault){ .op = FAULT_GET, .kind = FAULT_DELAY, .delay_ms = 60000 });
	for (; taken < MANY; taken++, loc.offset += stored) {
		struct oid id = sample_oid(&w->random);

		if (!ahead_add(&a, &id, &loc, len, UINT64_MAX))
			break;
	}
	ahead_end(&a);
	fault_backend_clear(w->backend);
	log_set_quiet(false);
	return taken;
}

static void no_more_is_on_its_way_than_there_is_room_for(void **state)
{
	assert_in_range((uint64_t)ask_much(*state, LEN, LEN) * LEN, 14 * MiB, 21 * MiB);
}

static void what_is_stored_as_little_counts_as_what_it_unpacks_to(void **state)
{
	const uint32_t len = 2 * MiB;

	assert_in_range((uint64_t)ask_much(*state, len, 5000) * len, 16 * MiB, 36 * MiB);
}

static void hints_that_are_wrong_only_cost_time(void **state)
{
	struct world *w = *state;
	_cleanup_free_ struct row *r = row_make(w);

	log_set_quiet(true);
	pack_tell_index(w);
	for (unsigned i = 0; i < 8; i++) {
		r->loc[i].offset += 17; /* nothing begins there */
		r->loc[i].item = 3;
	}
	for (unsigned i = 8; i < 16; i++)
		r->loc[i].pack = sample_id128(&w->random);
	assert_int_equal(ask(w, r, 0, 16), 16);
	for (unsigned i = 0; i < 16; i++)
		assert_ok(chunk_read(w, number(i), LEN, &r->id[i], &r->loc[i], NULL));
	log_set_quiet(false);
}

static void a_hint_of_a_frame_larger_than_any_does_not_make_a_request_so_large(void **state)
{
	struct world *w = *state;
	_cleanup_free_ struct row *r = row_make(w);

	r->loc[0].frame_len = UINT32_MAX;
	assert_int_equal(ask(w, r, 0, 1), 1);
	wait_for_all(w, r, 1);
	assert_in_range(counts_of(w).read, LEN, FRAME_RAW_MAX + 1 * MiB);
}

static void a_run_that_is_damaged_in_one_place_gives_the_rest(void **state)
{
	struct world *w = *state;
	_cleanup_free_ struct row *r = row_make(w);

	fault_add(w, (struct fault){ .op = FAULT_GET,
				     .kind = FAULT_FLIP,
				     .times = 1,
				     .at = 2 * LEN + LEN / 2 });
	assert_int_equal(ask(w, r, 0, 6), 6);
	for (unsigned i = 0; i < 6; i++)
		if (i != 2)
			while (!is_in_memory(w, &r->id[i]))
				sched_yield();
	assert_false(is_in_memory(w, &r->id[2]));
	assert_ok(chunk_read(w, number(2), LEN, &r->id[2], &r->loc[2], NULL));
	assert_int_equal(counts_of(w).calls[FAULT_GET], 2);
}

enum {
	SMALL = 100000, /* a frame of its own, read with its windows */
	SMALLS = 40,
};

static void small_make(struct world *w, struct oid *id, struct loc *loc)
{
	for (unsigned i = 0; i < SMALLS; i++)
		id[i] = chunk_add(w, number(i), SMALL);
	pack_store(w);
	for (unsigned i = 0; i < SMALLS; i++)
		loc[i] = made_pack_loc(w->pack, i);
}

static void going_through_small_frames_takes_few_requests(void **state)
{
	struct world *w = *state;
	uint64_t windows = (SMALLS * SMALL + WINDOW_SIZE - 1) / WINDOW_SIZE;
	struct oid id[SMALLS];
	struct loc loc[SMALLS];

	small_make(w, id, loc);
	for (unsigned i = 0; i < SMALLS; i++)
		assert_ok(chunk_read(w, number(i), SMALL, &id[i], &loc[i], NULL));
	/* The first comes alone, then four at a time. */
	assert_in_range(counts_of(w).calls[FAULT_GET], 1,
			1 + (windows + WINDOWS_TOGETHER - 1) / WINDOWS_TOGETHER);
}

static void what_came_with_a_small_frame_is_kept(void **state)
{
	struct world *w = *state;
	struct deadline dl = deadline_in_ms(20000);
	struct oid id[SMALLS];
	struct loc loc[SMALLS];
	uint32_t len;

	assert_ok(cache_open(w->cache_fd, w->index, GiB, &w->cache));
	w->backend->is_local = false;
	reader_restart(w);
	small_make(w, id, loc);
	assert_ok(chunk_read(w, number(1), SMALL, &id[1], &loc[1], NULL));
	/* The one before it, which is not looked for: it is found by what it begins with. */
	while (cache_len(w->cache, OID_CHUNK, &id[0], &len) < 0) {
		assert_ok(deadline_check(&dl));
		sched_yield();
	}
	reader_restart(w);
	assert_ok(chunk_read(w, number(0), SMALL, &id[0], &loc[0], NULL));
	assert_int_equal(counts_of(w).calls[FAULT_GET], 0);
}

static void steps_down_a_tree_share_requests(void **state)
{
	enum {
		STEPS = 8,
	};
	struct world *w = *state;
	struct oid id[STEPS];
	size_t at[STEPS];

	/* Deepest first, and between them what lies next to each. */
	for (unsigned i = 0; i < STEPS; i++) {
		chunk_add(w, number(i), 120000);
		at[i] = w->pack->count;
		id[i] = node_add(w, i);
	}
	pack_store(w);
	for (unsigned i = STEPS; i-- > 0;) {
		struct loc loc = made_pack_loc(w->pack, at[i]);
		struct node *n;

		assert_ok(reader_node(w->reader, &id[i], &loc, NULL, &n));
		node_unref(n);
	}
	assert_in_range(counts_of(w).calls[FAULT_GET], 1, 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_lies_together_comes_with_few_requests),
		TEST(a_rest_that_is_not_worth_a_request_waits_for_more),
		TEST(what_is_here_is_not_fetched_again),
		TEST(who_wants_what_is_on_its_way_waits_for_it),
		TEST(what_somebody_fetches_already_is_left_to_him),
		TEST(prefetches_of_what_is_queued_do_not_block_it),
		TEST(no_more_is_on_its_way_than_there_is_room_for),
		TEST(what_is_stored_as_little_counts_as_what_it_unpacks_to),
		TEST(hints_that_are_wrong_only_cost_time),
		TEST(a_hint_of_a_frame_larger_than_any_does_not_make_a_request_so_large),
		TEST(a_run_that_is_damaged_in_one_place_gives_the_rest),
		TEST(going_through_small_frames_takes_few_requests),
		TEST(what_came_with_a_small_frame_is_kept),
		TEST(steps_down_a_tree_share_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
