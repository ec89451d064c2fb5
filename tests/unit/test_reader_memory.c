/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A reader keeps to its budget of memory, and what was fetched is on the disk.
 */
#include "reader_world.h"

static void memory_stays_within_its_budget(void **state)
{
	enum {
		N = 100000,
		LEN = 700,
		NODES = 2000
	};
	struct world *w = *state;
	struct oid *ids = calloc(N, sizeof(*ids));
	uint64_t chunk_max = 0, node_max = 0;

	for (uint64_t i = 0; i < N; i++)
		ids[i] = chunk_add(w, i, LEN);
	for (uint64_t i = 0; i < NODES; i++)
		node_add(w, i);
	pack_store(w);
	reader_start(w, 500000, 2000000);
	for (uint64_t i = 0; i < N; i++) {
		/* Mostly in order, at times anywhere. */
		uint64_t k = i % 100 == 99 ? prng_below(&w->random, N) : i;
		struct loc at = made_pack_loc(w->pack, k);

		assert_ok(chunk_read(w, k, LEN, &ids[k], &at, NULL));
		chunk_max = MAX(chunk_max, stats_of(w).chunk_memory);
	}
	for (uint64_t i = 0; i < NODES; i++) {
		struct loc at = made_pack_loc(w->pack, N + i);
		struct node *n;

		assert_ok(reader_node(w->reader, &w->pack->entries[N + i].id, &at, NULL, &n));
		node_unref(n);
		node_max = MAX(node_max, stats_of(w).node_memory);
	}
	assert_in_range(chunk_max, 1000000, 2000000);
	assert_in_range(node_max, 250000, 500000);
	free(ids);
}

static void who_holds_a_chunk_keeps_it_when_memory_lets_go(void **state)
{
	struct world *w = *state;
	struct oid a = chunk_add(w, 1, 500000), b = chunk_add(w, 2, 500000);
	uint8_t *want = malloc(500000);
	struct blob *held, *other;

	pack_store(w);
	pack_tell_index(w);
	reader_start(w, 1000, 1000);
	assert_ok(reader_chunk(w->reader, &a, NULL, NULL, &held));
	assert_ok(reader_chunk(w->reader, &b, NULL, NULL, &other));
	chunk_fill(1, want, 500000);
	assert_memory_equal(held->data, want, 500000);
	blob_unref(held);
	blob_unref(other);
	free(want);
}

static void an_offered_node_is_at_hand(void **state)
{
	struct world *w = *state;
	_cleanup_buf_ struct buf item = { 0 };
	struct oid id = node_item(5, &item);
	struct access acc;
	struct node *n;

	assert_ok(node_parse(&id, buf_span(&item), &n));
	reader_offer_node(w->reader, n);
	access_init(&acc, w->reader, false);
	access_at_hand(&acc);
	assert_ok(reader_node(w->reader, &id, NULL, &acc, &n));
	node_unref(n);
	access_release(&acc);
}

static void at_hand_is_what_is_in_memory_and_the_rest_is_wanted(void **state)
{
	struct world *w = *state;
	struct oid chunk = chunk_add(w, 1, 3000), node = node_add(w, 2);
	struct loc chunk_at, node_at;
	struct access acc;
	struct node *n;

	pack_store(w);
	chunk_at = made_pack_loc(w->pack, 0);
	node_at = made_pack_loc(w->pack, 1);
	access_init(&acc, w->reader, true);
	access_at_hand(&acc);
	assert_int_equal(chunk_read(w, 1, 3000, &chunk, &chunk_at, &acc), -EAGAIN);
	assert_int_equal(counts_of(w).calls[FAULT_GET], 0);
	assert_true(acc.want.set);
	assert_int_equal(acc.want.kind, OID_CHUNK);
	assert_memory_equal(&acc.want.id, &chunk, sizeof(chunk));
	assert_ok(access_wait(&acc));
	access_at_hand(&acc);
	assert_ok(chunk_read(w, 1, 3000, &chunk, &chunk_at, &acc));
	/* Nothing is wanted now: the -EAGAIN of somebody else is not ours to satisfy. */
	assert_int_equal(access_wait(&acc), -EAGAIN);

	access_at_hand(&acc);
	assert_ok(reader_node(w->reader, &node, &node_at, &acc, &n)); /* of the same frame */
	node_unref(n);
	access_release(&acc);
}

static void a_memory_too_small_does_not_make_the_retry_endless(void **state)
{
	struct world *w = *state;
	struct oid chunks[3], nodes[20];
	struct access acc;
	int rounds = 0, r;

	for (uint64_t i = 0; i < 3; i++)
		chunks[i] = chunk_add(w, i, 300000);
	for (uint64_t i = 0; i < 20; i++) {
		nodes[i] = node_add(w, i);
		made_pack_cut(w->pack);
	}
	pack_store(w);
	pack_tell_index(w);
	reader_start(w, 1, 1);
	access_init(&acc, w->reader, true);
	/* One attempt needs them all. */
	do {
		access_at_hand(&acc);
		r = 0;
		for (uint64_t i = 0; r == 0 && i < 3; i++)
			r = chunk_read(w, i, 300000, &chunks[i], NULL, &acc);
		for (uint64_t i = 0; r == 0 && i < 20; i++) {
			struct node *n;

			r = reader_node(w->reader, &nodes[i], NULL, &acc, &n);
			if (r == 0)
				node_unref(n);
		}
		assert_in_range(++rounds, 1, 30);
	} while (r == -EAGAIN && (r = access_wait(&acc)) == 0);
	assert_ok(r);
	access_release(&acc);
}

static void what_was_fetched_is_on_the_disk_and_reads_without_the_store(void **state)
{
	struct world *w = *state;
	struct oid small = chunk_add(w, 1, 3000), large, node = node_add(w, 2);
	uint8_t *want = malloc(500000), *got = malloc(500000);
	struct access acc;
	struct node *n;

	large = chunk_add(w, 3, 500000);
	pack_store(w);
	pack_tell_index(w);
	assert_ok(cache_open(w->cache_fd, w->index, 64 * MiB, &w->cache));
	reader_restart(w);
	assert_ok(chunk_read(w, 1, 3000, &small, NULL, NULL));
	assert_ok(chunk_read(w, 3, 500000, &large, NULL, NULL));
	wait_for_spill(w, &small);
	wait_for_spill(w, &large);

	reader_restart(w);
	fault_add(w, (struct fault){ .op = FAULT_GET, .kind = FAULT_FAIL, .error = -EIO });
	assert_ok(chunk_read(w, 1, 3000, &small, NULL, NULL));
	assert_ok(reader_node(w->reader, &node, NULL, NULL, &n));
	node_unref(n);
	chunk_fill(3, want, 500000);
	assert_ok(reader_read(w->reader, &large, NULL, 123456, 5000, got, NULL));
	assert_memory_equal(got, want + 123456, 5000);
	assert_true(stats_of(w).disk_hits >= 3);

	/* The disk is no store: who must not wait may look there. */
	reader_restart(w);
	access_init(&acc, w->reader, false);
	access_at_hand(&acc);
	assert_int_equal(chunk_read(w, 3, 500000, &large, NULL, &acc), -EAGAIN);
	assert_ok(access_wait(&acc));
	access_at_hand(&acc);
	assert_ok(chunk_read(w, 3, 500000, &large, NULL, &acc));
	access_release(&acc);
	free(want);
	free(got);
}

static void a_damaged_disk_is_no_worse_than_none(void **state)
{
	struct world *w = *state;
	struct oid id = chunk_add(w, 1, 300000);
	uint8_t junk[300000] = { 0 };

	pack_store(w);
	pack_tell_index(w);
	assert_ok(cache_open(w->cache_fd, w->index, 64 * MiB, &w->cache));
	reader_restart(w);
	assert_ok(chunk_read(w, 1, 300000, &id, NULL, NULL));
	wait_for_spill(w, &id);
	{
		int fd = openat(w->cache_fd, "00000001", O_RDWR);

		assert_true(fd >= 0);
		assert_ok(pwrite_all(fd, junk, sizeof(junk), 0));
		close(fd);
	}
	reader_restart(w);
	assert_ok(chunk_read(w, 1, 300000, &id, NULL, NULL));
	assert_int_equal(stats_of(w).disk_hits, 0);
}

static void a_prefetched_chunk_is_there_when_it_is_wanted(void **state)
{
	struct world *w = *state;
	struct oid id = chunk_add(w, 1, 300000), gone = sample_oid(&w->random);
	struct deadline dl = deadline_in_ms(5000);
	struct loc at;

	pack_store(w);
	at = made_pack_loc(w->pack, 0);
	reader_prefetch(w->reader, &gone, NULL); /* nobody hears of it */
	reader_prefetch(w->reader, &id, &at);
	while (stats_of(w).chunk_memory == 0 && deadline_check(&dl) == 0)
		usleep(1000);
	fault_add(w, (struct fault){ .op = FAULT_GET, .kind = FAULT_FAIL, .error = -EIO });
	assert_ok(chunk_read(w, 1, 300000, &id, &at, NULL));
	assert_int_equal(stats_of(w).chunk_hits, 1);
	assert_int_equal(stats_of(w).bad, 0);
	/* A flood of them is not all queued, and ends with the reader. */
	fault_add(w, (struct fault){ .op = FAULT_LIST, .kind = FAULT_DELAY, .delay_ms = 60000 });
	for (int i = 0; i < 1000; i++) {
		gone = sample_oid(&w->random);
		reader_prefetch(w->reader, &gone, &at);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(memory_stays_within_its_budget),
		TEST(who_holds_a_chunk_keeps_it_when_memory_lets_go),
		TEST(an_offered_node_is_at_hand),
		TEST(at_hand_is_what_is_in_memory_and_the_rest_is_wanted),
		TEST(a_memory_too_small_does_not_make_the_retry_endless),
		TEST(what_was_fetched_is_on_the_disk_and_reads_without_the_store),
		TEST(a_damaged_disk_is_no_worse_than_none),
		TEST(a_prefetched_chunk_is_there_when_it_is_wanted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
