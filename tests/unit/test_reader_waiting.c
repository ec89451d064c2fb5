/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Many readers at once share fetches, and each waits as long as it may itself.
 */
#include "reader_world.h"

/* Many who want something at once. */
struct seeker {
	struct world *world;
	pthread_t thread;
	uint64_t n;
	uint32_t len;
	struct oid id;
	struct loc at;
	struct access acc;
	int result;
};

static void *seek(void *arg)
{
	struct seeker *s = arg;

	s->result = chunk_read(s->world, s->n, s->len, &s->id, &s->at, &s->acc);
	return NULL;
}

static void seek_all(struct seeker *all, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_ok(thread_start(&all[i].thread, "seek", seek, &all[i]));
	for (size_t i = 0; i < n; i++)
		pthread_join(all[i].thread, NULL);
}

static void many_who_want_one_frame_fetch_it_once(void **state)
{
	enum {
		THREADS = 8
	};
	struct world *w = *state;
	struct seeker all[THREADS];

	for (uint64_t i = 0; i < THREADS; i++)
		chunk_add(w, i, 3000);
	chunk_add(w, THREADS, 800000 + 1);
	chunk_add(w, THREADS + 1, 800000);
	pack_store(w);
	fault_add(w, (struct fault){ .op = FAULT_GET, .kind = FAULT_DELAY, .delay_ms = 100 });
	/* Different chunks of a small frame; then one large one. */
	for (int large = 0; large < 2; large++) {
		fault_backend_reset_counts(w->backend);
		for (uint64_t i = 0; i < THREADS; i++) {
			size_t k = large ? THREADS + 1 : i;

			all[i] = (struct seeker){
				.world = w,
				.n = k,
				.len = large ? 800000 : 3000,
				.id = w->pack->entries[k].id,
				.at = made_pack_loc(w->pack, k),
			};
			access_init(&all[i].acc, w->reader, true);
		}
		seek_all(all, THREADS);
		for (int i = 0; i < THREADS; i++)
			assert_ok(all[i].result);
		assert_int_equal(counts_of(w).calls[FAULT_GET], 1);
	}
}

static void who_waits_longer_goes_on_when_the_first_gives_up(void **state)
{
	struct world *w = *state;
	struct seeker all[2];
	struct oid id = chunk_add(w, 1, 3000);

	pack_store(w);
	fault_add(w, (struct fault){
			     .op = FAULT_GET, .kind = FAULT_DELAY, .delay_ms = 60000, .times = 1 });
	for (int i = 0; i < 2; i++) {
		all[i] = (struct seeker){ .world = w, .n = 1, .len = 3000, .id = id };
		all[i].at = made_pack_loc(w->pack, 0);
		access_init(&all[i].acc, w->reader, true);
	}
	all[0].acc.deadline = deadline_in_ms(100);
	assert_ok(thread_start(&all[0].thread, "seek", seek, &all[0]));
	usleep(30000);
	assert_ok(thread_start(&all[1].thread, "seek", seek, &all[1]));
	pthread_join(all[0].thread, NULL);
	assert_int_equal(all[0].result, -ETIME);
	pthread_join(all[1].thread, NULL);
	assert_ok(all[1].result);
}

static void a_waiter_keeps_to_his_own_deadline(void **state)
{
	struct world *w = *state;
	struct seeker first = { .world = w, .n = 1, .len = 3000 };
	struct access acc;
	int64_t start;

	first.id = chunk_add(w, 1, 3000);
	pack_store(w);
	first.at = made_pack_loc(w->pack, 0);
	access_init(&first.acc, w->reader, true);
	fault_add(w, (struct fault){ .op = FAULT_GET, .kind = FAULT_DELAY, .delay_ms = 60000 });
	assert_ok(thread_start(&first.thread, "seek", seek, &first));
	usleep(20000);
	access_init(&acc, w->reader, true);
	acc.deadline = deadline_in_ms(50);
	start = now_ns();
	assert_int_equal(chunk_read(w, 1, 3000, &first.id, &first.at, &acc), -ETIME);
	assert_true(now_ns() - start < 3000000000);
	fault_backend_clear(w->backend);
	pthread_join(first.thread, NULL);
	assert_ok(first.result);
}

static void who_must_not_wait_is_sent_away(void **state)
{
	struct world *w = *state;
	struct oid a = chunk_add(w, 1, 3000), b;
	struct loc at;
	struct access acc;

	made_pack_cut(w->pack);
	b = chunk_add(w, 2, 3000);
	pack_store(w);
	at = made_pack_loc(w->pack, 0);
	access_init(&acc, w->reader, false);
	access_at_hand(&acc);
	assert_int_equal(chunk_read(w, 1, 3000, &a, &at, &acc), -EAGAIN);
	assert_int_equal(access_wait(&acc), -EAGAIN);
	assert_int_equal(counts_of(w).calls[FAULT_GET], 0);
	/* Somebody else's look brought the frame's neighbour. */
	assert_ok(chunk_read(w, 1, 3000, &a, &at, NULL));
	at = made_pack_loc(w->pack, 1);
	access_at_hand(&acc);
	assert_int_equal(chunk_read(w, 2, 3000, &b, &at, &acc), -EAGAIN);
	assert_ok(access_wait(&acc));
	access_at_hand(&acc);
	assert_ok(chunk_read(w, 2, 3000, &b, &at, &acc));
	assert_int_equal(counts_of(w).calls[FAULT_GET], 1);
	access_release(&acc);
}

struct crowd {
	struct world *world;
	pthread_t thread;
	uint64_t seed;
	const struct oid *ids;
	int failed;
};

enum {
	CROWD_CHUNKS = 400,
	CROWD_LEN = 5000
};

static void *crowd(void *arg)
{
	struct crowd *c = arg;
	struct prng p = { c->seed };

	for (int i = 0; i < 2000; i++) {
		uint64_t k = prng_below(&p, CROWD_CHUNKS);
		struct loc at = made_pack_loc(c->world->pack, k);

		if (k % 7 == 0)
			at.offset += 3;
		c->failed += chunk_read(c->world, k, CROWD_LEN, &c->ids[k], &at, NULL) != 0;
		if (k % 5 == 0)
			reader_prefetch(c->world->reader, &c->ids[(k + 1) % CROWD_CHUNKS], NULL);
	}
	return NULL;
}

static void threads_read_at_once_from_a_small_memory(void **state)
{
	struct world *w = *state;
	struct oid ids[CROWD_CHUNKS];
	struct crowd all[4];

	for (uint64_t i = 0; i < CROWD_CHUNKS; i++)
		ids[i] = chunk_add(w, i, CROWD_LEN);
	pack_store(w);
	pack_tell_index(w);
	assert_ok(cache_open(w->cache_fd, w->index, MiB, &w->cache));
	reader_start(w, 10000, 500000);
	for (int i = 0; i < 4; i++) {
		all[i] = (struct crowd){ .world = w, .seed = 60 + (uint64_t)i, .ids = ids };
		assert_ok(thread_start(&all[i].thread, "crowd", crowd, &all[i]));
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(all[i].thread, NULL);
		assert_int_equal(all[i].failed, 0);
	}
	assert_int_equal(stats_of(w).bad, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(many_who_want_one_frame_fetch_it_once),
		TEST(who_waits_longer_goes_on_when_the_first_gives_up),
		TEST(a_waiter_keeps_to_his_own_deadline),
		TEST(who_must_not_wait_is_sent_away),
		TEST(threads_read_at_once_from_a_small_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
