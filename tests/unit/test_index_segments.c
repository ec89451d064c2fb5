/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The index learns from the store what others have published, tells it what it has, and leaves out
 * what is damaged there.
 */
#include <dirent.h>

#include "index_world.h"

static void a_segment_takes_the_place_of_its_packs(void **state)
{
	struct world *w = *state;
	struct pack_entry *e = entries_make(&w->random, 700);
	struct id128 packs[70];

	for (int i = 0; i < 70; i++)
		packs[i] = add_pack(w, e + 10 * i, 10);
	assert_ok(index_publish(w->index, w->backend, false, NULL));
	assert_int_equal(stats_of(w->index).packs, 0);
	assert_int_equal(stats_of(w->index).segments, 1);
	for (int i = 0; i < 70; i++)
		for (int k = 0; k < 10; k++)
			assert_found(w->index, &packs[i], &e[10 * i + k]);
	reopen(w);
	assert_found(w->index, &packs[33], &e[333]);
	assert_true(index_knows_pack(w->index, &packs[69]));
	free(e);
}

static void few_packs_wait_for_more_unless_forced(void **state)
{
	struct world *w = *state;
	struct pack_entry *e = entries_make(&w->random, 10);

	add_pack(w, e, 10);
	assert_ok(index_publish(w->index, w->backend, false, NULL));
	assert_int_equal(stats_of(w->index).segments, 0);
	assert_ok(index_publish(w->index, w->backend, true, NULL));
	assert_int_equal(stats_of(w->index).segments, 1);
	assert_int_equal(stats_of(w->index).packs, 0);
	free(e);
}

static void others_learn_from_what_was_published(void **state)
{
	struct world *w = *state;
	struct pack_entry *e = entries_make(&w->random, 20);
	struct id128 pack = add_pack(w, e, 10), own;
	struct other o = other_open(MAP_BYTES);
	struct loc loc;

	assert_ok(index_publish(w->index, w->backend, true, NULL));
	own = sample_id128(&w->random);
	assert_ok(index_add_pack(o.index, &own, e + 10, 10));
	assert_ok(index_add_pack(o.index, &pack, e, 10));
	assert_int_equal(stats_of(o.index).packs, 2);
	assert_ok(index_refresh(o.index, w->backend, false, NULL));
	/* What the segment covers is no longer in the table. */
	assert_int_equal(stats_of(o.index).packs, 1);
	assert_found(o.index, &pack, &e[5]);
	assert_found(o.index, &own, &e[15]);
	assert_int_equal(index_find(w->index, &e[15].id, NULL, NULL, &loc), -ENOENT);
	other_close(&o);
	free(e);
}

static void sixteen_segments_become_one(void **state)
{
	struct world *w = *state;
	struct pack_entry *e = entries_make(&w->random, 40 * 10);
	struct id128 packs[40];
	struct other o = other_open(MAP_BYTES);

	for (int i = 0; i < 40; i++) {
		packs[i] = add_pack(w, e + 10 * i, 10);
		assert_ok(index_publish(w->index, w->backend, true, NULL));
		if (i == 3)
			assert_ok(index_refresh(o.index, w->backend, false, NULL));
	}
	/* 40 = 2 * 16 + 8 */
	assert_int_equal(stats_of(w->index).segments, 10);
	assert_ok(index_refresh(o.index, w->backend, false, NULL));
	assert_int_equal(stats_of(o.index).segments, 10);
	for (int i = 0; i < 40; i++) {
		assert_found(w->index, &packs[i], &e[10 * i]);
		assert_found(o.index, &packs[i], &e[10 * i + 9]);
	}
	reopen(w);
	assert_int_equal(stats_of(w->index).segments, 10);
	other_close(&o);
	free(e);
}

static void the_budget_holds_and_the_last_resort_finds_the_rest(void **state)
{
	enum {
		N = 12,
		EACH = 100,
		BUDGET = 40000
	};
	struct world *w = *state;
	struct pack_entry *e = entries_make(&w->random, N * EACH);
	struct other o = other_open(BUDGET);
	struct fault_counts counts;
	struct id128 packs[N];
	int found = 0;

	log_set_level(LOG_LEVEL_ERROR);
	for (int i = 0; i < N; i++) {
		packs[i] = store_pack(w, e + EACH * i, EACH);
		assert_ok(index_add_pack(w->index, &packs[i], e + EACH * i, EACH));
		assert_ok(index_publish(w->index, w->backend, true, NULL));
	}
	assert_ok(index_refresh(o.index, w->backend, false, NULL));
	assert_true(stats_of(o.index).mapped_bytes <= BUDGET);
	for (int i = 0; i < N; i++)
		found += index_knows_pack(o.index, &packs[i]);
	assert_true(found > 0 && found < N);

	/* The choice is made once. */
	fault_backend_reset_counts(w->backend);
	assert_ok(index_refresh(o.index, w->backend, false, NULL));
	fault_backend_counts(w->backend, &counts);
	assert_int_equal(counts.calls[FAULT_GET], 0);

	assert_ok(index_refresh(o.index, w->backend, true, NULL));
	for (int i = 0; i < N; i++)
		assert_found(o.index, &packs[i], &e[EACH * i + 50]);
	log_set_level(LOG_LEVEL_INFO);
	other_close(&o);
	free(e);
}

static void the_last_resort_reads_footers_that_nothing_covers(void **state)
{
	struct world *w = *state;
	struct pack_entry *small = entries_make(&w->random, 10);
	/* A footer larger than the first guess. */
	struct pack_entry *large = entries_make(&w->random, 5000);
	struct id128 a = store_pack(w, small, 10), b = store_pack(w, large, 5000);
	struct fault_counts counts;
	struct loc loc;

	assert_ok(index_refresh(w->index, w->backend, false, NULL));
	assert_int_equal(index_find(w->index, &small[0].id, NULL, NULL, &loc), -ENOENT);
	assert_ok(index_refresh(w->index, w->backend, true, NULL));
	assert_found(w->index, &a, &small[9]);
	assert_found(w->index, &b, &large[4999]);

	fault_backend_reset_counts(w->backend);
	assert_ok(index_refresh(w->index, w->backend, true, NULL));
	fault_backend_counts(w->backend, &counts);
	assert_int_equal(counts.calls[FAULT_GET], 0);
	free(small);
	free(large);
}

static void a_damaged_footer_keeps_no_other_from_being_read(void **state)
{
	struct world *w = *state;
	struct pack_entry *e = entries_make(&w->random, 30);
	struct id128 packs[3];
	struct fault bad = { .op = FAULT_GET, .kind = FAULT_FLIP, .at = 100, .times = 1 };
	struct fault_counts counts;
	int found = 0;

	log_set_level(LOG_LEVEL_ERROR);
	for (int i = 0; i < 3; i++)
		packs[i] = store_pack(w, e + 10 * i, 10);
	/* Byte 100 of the first GET lies in a frame; one of 4100 in the footer. */
	bad.at = 4100;
	assert_ok(fault_backend_add(w->backend, &bad));
	assert_ok(index_refresh(w->index, w->backend, true, NULL));
	for (int i = 0; i < 3; i++)
		found += index_knows_pack(w->index, &packs[i]);
	assert_int_equal(found, 2);
	/* It is not asked for again. */
	fault_backend_reset_counts(w->backend);
	assert_ok(index_refresh(w->index, w->backend, true, NULL));
	fault_backend_counts(w->backend, &counts);
	assert_int_equal(counts.calls[FAULT_GET], 0);
	log_set_level(LOG_LEVEL_INFO);
	free(e);
}

static void a_damaged_segment_is_left_out(void **state)
{
	struct world *w = *state;
	struct pack_entry *e = entries_make(&w->random, 10);
	struct fault flip = { .op = FAULT_GET, .kind = FAULT_FLIP, .at = 1200 };
	struct other o = other_open(MAP_BYTES);

	log_set_level(LOG_LEVEL_ERROR);
	add_pack(w, e, 10);
	assert_ok(index_publish(w->index, w->backend, true, NULL));
	assert_ok(fault_backend_add(w->backend, &flip));
	assert_ok(index_refresh(o.index, w->backend, false, NULL));
	assert_int_equal(stats_of(o.index).segments, 0);
	other_close(&o);
	log_set_level(LOG_LEVEL_INFO);
	free(e);
}

/* Changes a byte of the only file in the directory @fd. */
static void flip_in_only_file(int fd, uint64_t at)
{
	DIR *d = fdopendir(dup(fd));
	struct dirent *e;
	int files = 0;

	while ((e = readdir(d))) {
		uint8_t byte;
		int f;

		if (e->d_name[0] == '.')
			continue;
		files++;
		f = openat(fd, e->d_name, O_RDWR);
		assert_ok(pread_all(f, &byte, 1, at));
		byte ^= 1;
		assert_ok(pwrite_all(f, &byte, 1, at));
		close(f);
	}
	closedir(d);
	assert_int_equal(files, 1);
}

static void a_segments_file_that_rots_is_fetched_again(void **state)
{
	struct world *w = *state;
	struct pack_entry *e = entries_make(&w->random, 10);
	struct id128 pack = add_pack(w, e, 10);
	struct fault_counts counts;
	int fd;

	log_set_level(LOG_LEVEL_ERROR);
	assert_ok(index_publish(w->index, w->backend, true, NULL));
	index_free(w->index);
	w->index = NULL;
	fd = scratch_dir(&w->dir, "segments");
	flip_in_only_file(fd, 1200);
	close(fd);

	assert_ok(index_open(w->dir.fd, &STORE, MAP_BYTES, &w->index));
	assert_int_equal(stats_of(w->index).segments, 0);
	fault_backend_reset_counts(w->backend);
	assert_ok(index_refresh(w->index, w->backend, false, NULL));
	fault_backend_counts(w->backend, &counts);
	assert_int_equal(counts.calls[FAULT_GET], 1);
	assert_found(w->index, &pack, &e[5]);
	log_set_level(LOG_LEVEL_INFO);
	free(e);
}

struct refresher {
	struct world *world;
	pthread_t thread;
	int result;
};

static void *refresh_once(void *arg)
{
	struct refresher *r = arg;

	r->result = index_refresh(r->world->index, r->world->backend, true, NULL);
	return NULL;
}

static void many_who_want_a_refresh_share_two(void **state)
{
	enum {
		THREADS = 12
	};
	struct world *w = *state;
	struct fault slow = { .op = FAULT_LIST, .kind = FAULT_DELAY, .delay_ms = 30 };
	struct refresher all[THREADS];
	struct fault_counts counts;

	assert_ok(fault_backend_add(w->backend, &slow));
	for (int i = 0; i < THREADS; i++) {
		all[i] = (struct refresher){ .world = w };
		assert_ok(thread_start(&all[i].thread, "refresh", refresh_once, &all[i]));
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(all[i].thread, NULL);
		assert_ok(all[i].result);
	}
	fault_backend_counts(w->backend, &counts);
	/* A refresh lists segments and packs. Those who came during the first share the second;
	 * slow machines start a thread later than that. */
	assert_in_range(counts.calls[FAULT_LIST], 2, 8);
}

static void a_refresh_ends_with_its_deadline(void **state)
{
	struct world *w = *state;
	struct fault slow = { .op = FAULT_LIST, .kind = FAULT_DELAY, .delay_ms = 60000 };
	struct refresher first = { .world = w };
	struct deadline dl;
	int64_t start;

	assert_ok(fault_backend_add(w->backend, &slow));
	assert_ok(thread_start(&first.thread, "refresh", refresh_once, &first));
	start = now_ns();
	dl = deadline_in_ms(50);
	assert_int_equal(index_refresh(w->index, w->backend, false, &dl), -ETIME);
	assert_true(now_ns() - start < 5000000000);
	fault_backend_clear(w->backend);
	pthread_join(first.thread, NULL);
	assert_ok(first.result);
}

static void a_publication_with_little_to_say_asks_the_store_nothing(void **state)
{
	struct world *w = *state;
	_cleanup_free_ struct pack_entry *e = entries_make(&w->random, 3);
	struct fault_counts before, after;

	assert_ok(index_publish(w->index, w->backend, false, NULL));
	fault_backend_counts(w->backend, &before);
	assert_int_equal(before.calls[FAULT_LIST], 1); /* the first looks what there is */
	for (int i = 0; i < 3; i++) {
		add_pack(w, &e[i], 1);
		assert_ok(index_publish(w->index, w->backend, false, NULL));
	}
	fault_backend_counts(w->backend, &after);
	assert_memory_equal(&before, &after, sizeof(before));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_segment_takes_the_place_of_its_packs),
		TEST(few_packs_wait_for_more_unless_forced),
		TEST(others_learn_from_what_was_published),
		TEST(sixteen_segments_become_one),
		TEST(the_budget_holds_and_the_last_resort_finds_the_rest),
		TEST(the_last_resort_reads_footers_that_nothing_covers),
		TEST(a_damaged_footer_keeps_no_other_from_being_read),
		TEST(a_damaged_segment_is_left_out),
		TEST(a_segments_file_that_rots_is_fetched_again),
		TEST(many_who_want_a_refresh_share_two),
		TEST(a_refresh_ends_with_its_deadline),
		TEST(a_publication_with_little_to_say_asks_the_store_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
