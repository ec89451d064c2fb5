/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The index finds what it was told, shares its directory with other processes, and when it is
 * damaged it is empty but never wrong.
 */
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "index_world.h"

static void each_place_of_an_id_is_found(void **state)
{
	struct world *w = *state;
	struct pack_entry *e = entries_make(&w->random, 10);
	struct refusal f = { .n = 0 };
	struct loc at;

	/* Two in a segment each, two in the table. */
	for (unsigned i = 0; i < 4; i++) {
		struct id128 pack = i < 2 ? store_pack(w, e, 10) : add_pack(w, e, 10);

		if (i >= 2)
			continue;
		assert_ok(index_add_pack(w->index, &pack, e, 10));
		assert_ok(index_publish(w->index, w->backend, true, NULL));
	}
	for (; f.n < 4; f.packs[f.n++] = at.pack)
		assert_ok(index_find(w->index, &e[3].id, is_not_refused, &f, &at));
	assert_int_equal(index_find(w->index, &e[3].id, is_not_refused, &f, &at), -ENOENT);
	free(e);
}

static void of_suspects_the_last_are_known(void **state)
{
	struct world *w = *state;
	struct id128 packs[100];

	for (unsigned i = 0; i < 100; i++) {
		packs[i] = sample_id128(&w->random);
		assert_false(index_is_suspect(w->index, &packs[i]));
		index_suspect(w->index, &packs[i]);
		index_suspect(w->index, &packs[i]);
	}
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(index_is_suspect(w->index, &packs[i]), i >= 36);
}

static void what_was_added_is_found_and_nothing_else(void **state)
{
	struct world *w = *state;
	struct pack_entry *e = entries_make(&w->random, 1000);
	struct id128 pack = add_pack(w, e, 1000);
	struct oid other = sample_oid(&w->random);
	struct id128 unknown = sample_id128(&w->random);
	struct loc loc;

	for (uint32_t i = 0; i < 1000; i++)
		assert_found(w->index, &pack, &e[i]);
	assert_int_equal(index_find(w->index, &other, NULL, NULL, &loc), -ENOENT);
	assert_true(index_knows_pack(w->index, &pack));
	assert_false(index_knows_pack(w->index, &unknown));
	assert_int_equal(stats_of(w->index).ids, 1000);
	free(e);
}

static void an_empty_pack_is_known_all_the_same(void **state)
{
	struct world *w = *state;
	struct id128 pack = add_pack(w, NULL, 0);

	assert_true(index_knows_pack(w->index, &pack));
	reopen(w);
	assert_true(index_knows_pack(w->index, &pack));
}

static void a_pack_that_comes_twice_counts_once(void **state)
{
	struct world *w = *state;
	struct pack_entry *e = entries_make(&w->random, 10);
	struct id128 pack = add_pack(w, e, 10);

	assert_ok(index_add_pack(w->index, &pack, e, 10));
	assert_int_equal(stats_of(w->index).ids, 10);
	assert_int_equal(stats_of(w->index).packs, 1);
	free(e);
}

static void it_survives_being_closed(void **state)
{
	struct world *w = *state;
	struct pack_entry *e = entries_make(&w->random, 100);
	struct id128 pack = add_pack(w, e, 100);

	reopen(w);
	for (uint32_t i = 0; i < 100; i++)
		assert_found(w->index, &pack, &e[i]);
	free(e);
}

static void another_stores_index_is_dropped(void **state)
{
	struct world *w = *state;
	struct pack_entry *e = entries_make(&w->random, 100);
	struct id128 other = { { 9 } };
	struct loc loc;

	add_pack(w, e, 100);
	assert_ok(index_publish(w->index, w->backend, true, NULL));
	index_free(w->index);
	assert_ok(index_open(w->dir.fd, &other, MAP_BYTES, &w->index));
	assert_int_equal(index_find(w->index, &e[0].id, NULL, NULL, &loc), -ENOENT);
	free(e);
}

static void an_index_of_another_boot_is_dropped_but_for_its_segments(void **state)
{
	struct world *w = *state;
	struct pack_entry *e = entries_make(&w->random, 20);
	_cleanup_buf_ struct buf identity = { 0 };
	struct id128 published, pack;
	struct loc loc;
	int fd;

	published = add_pack(w, e, 10);
	assert_ok(index_publish(w->index, w->backend, true, NULL));
	pack = add_pack(w, e + 10, 10);
	index_free(w->index);
	w->index = NULL;

	/* The boot's id follows magic, version and the store's id; the checksum is the last thing.
	 */
	assert_ok(read_file(w->dir.fd, "identity", 1000, &identity));
	identity.data[4 + 4 + 16] ^= 1;
	identity.len -= 8;
	buf_put_u64(&identity, xxh64(identity.data, identity.len, 0));
	fd = openat(w->dir.fd, "identity", O_WRONLY | O_TRUNC);
	assert_ok(write_all(fd, identity.data, identity.len));
	close(fd);

	assert_ok(index_open(w->dir.fd, &STORE, MAP_BYTES, &w->index));
	assert_found(w->index, &published, &e[0]);
	assert_int_equal(index_find(w->index, &e[10].id, NULL, NULL, &loc), -ENOENT);
	assert_false(index_knows_pack(w->index, &pack));
	free(e);
}

static void an_index_with_broken_pages_is_made_anew(void **state)
{
	struct world *w = *state;
	struct pack_entry *e = entries_make(&w->random, 5001);
	struct stat st;

	log_set_level(LOG_LEVEL_ERROR);
	for (int round = 0; round < 4; round++) {
		struct id128 pack = add_pack(w, e, 5000);

		index_free(w->index);
		w->index = NULL;
		assert_ok(fstatat(w->dir.fd, "data.mdb", &st, 0));
		for (uint64_t at = 0; at < (uint64_t)st.st_size; at += 4096)
			if (at < 8192 || prng_below(&w->random, 3) == 0)
				scribble(w, at, 4096);
		assert_ok(index_open(w->dir.fd, &STORE, MAP_BYTES, &w->index));
		assert_false(index_knows_pack(w->index, &pack));
		assert_int_equal(stats_of(w->index).ids, 0);
		index_free(w->index);
		w->index = NULL;
		assert_usable(w, e + 5000, 1);
		reopen(w);
	}
	log_set_level(LOG_LEVEL_INFO);
	free(e);
}

static void without_its_identity_nothing_in_it_is_believed(void **state)
{
	struct world *w = *state;
	struct pack_entry *e = entries_make(&w->random, 10);

	add_pack(w, e, 10);
	index_free(w->index);
	assert_int_equal(unlinkat(w->dir.fd, "identity", 0), 0);
	assert_ok(index_open(w->dir.fd, &STORE, MAP_BYTES, &w->index));
	assert_int_equal(stats_of(w->index).ids, 0);
	free(e);
}

static void one_directory_is_one_index_in_a_process(void **state)
{
	struct world *w = *state;
	struct pack_entry *e = entries_make(&w->random, 10);
	struct id128 other = { { 9 } }, pack;
	struct index *second, *third;

	assert_ok(index_open(w->dir.fd, &STORE, MAP_BYTES, &second));
	pack = add_pack(w, e, 10);
	assert_found(second, &pack, &e[3]);
	assert_int_equal(index_open(w->dir.fd, &other, MAP_BYTES, &third), -EBUSY);
	index_free(w->index);
	w->index = second;
	assert_found(w->index, &pack, &e[4]);
	free(e);
}

/* Adds packs until it is killed. */
static void add_for_ever(struct world *w, int to_parent)
{
	struct index *x;

	if (index_open(w->dir.fd, &STORE, MAP_BYTES, &x) < 0)
		_exit(1);
	for (;;) {
		struct pack_entry *e = entries_make(&w->random, 300);
		struct id128 pack = sample_id128(&w->random);

		if (index_add_pack(x, &pack, e, 300) < 0 ||
		    write(to_parent, &pack, sizeof(pack)) != sizeof(pack))
			_exit(1);
		free(e);
	}
}

static void processes_share_an_index_and_may_be_killed(void **state)
{
	enum {
		CHILDREN = 3
	};
	struct world *w = *state;
	pid_t children[CHILDREN];
	int pipes[CHILDREN][2];

	index_free(w->index);
	w->index = NULL;
	for (int i = 0; i < CHILDREN; i++) {
		assert_int_equal(pipe(pipes[i]), 0);
		w->random.state = 1000 + (uint64_t)i;
		children[i] = fork();
		if (children[i] == 0)
			add_for_ever(w, pipes[i][1]);
		close(pipes[i][1]);
	}
	assert_ok(index_open(w->dir.fd, &STORE, MAP_BYTES, &w->index));
	for (int i = 0; i < CHILDREN; i++) {
		struct id128 pack;

		/* What one has added another one knows. */
		for (int n = 0; n < 20; n++) {
			assert_int_equal(read(pipes[i][0], &pack, sizeof(pack)), sizeof(pack));
			assert_true(index_knows_pack(w->index, &pack));
		}
		kill(children[i], SIGKILL);
		assert_int_equal(waitpid(children[i], NULL, 0), children[i]);
		while (read(pipes[i][0], &pack, sizeof(pack)) == sizeof(pack))
			assert_true(index_knows_pack(w->index, &pack));
		close(pipes[i][0]);
	}
	reopen(w);
	assert_true(stats_of(w->index).ids >= 300 * 20 * CHILDREN);
}

static void the_map_grows_under_all_who_use_it(void **state)
{
	enum {
		N = 60000,
		PACKS = 16
	};
	struct world *w = *state;
	struct pack_entry *e = entries_make(&w->random, N);
	struct id128 packs[PACKS];
	struct stat st;
	pid_t child;
	int status;

	index_free(w->index);
	w->index = NULL;
	for (int i = 0; i < PACKS; i++)
		packs[i] = sample_id128(&w->random);
	child = fork();
	if (child == 0) {
		struct index *x;

		if (index_open(w->dir.fd, &STORE, MAP_BYTES, &x) < 0)
			_exit(1);
		for (int i = 0; i < PACKS; i++)
			if (index_add_pack(x, &packs[i], e, N) < 0)
				_exit(1);
		_exit(0);
	}
	assert_ok(index_open(w->dir.fd, &STORE, MAP_BYTES, &w->index));
	for (int i = 0; i < PACKS; i++) {
		struct pack_entry *own = entries_make(&w->random, 2000);
		struct deadline patience = deadline_in_ms(60000);
		struct id128 pack;
		struct loc loc;

		while (!index_knows_pack(w->index, &packs[i]) && deadline_check(&patience) == 0)
			usleep(500);
		assert_ok(index_find(w->index, &e[i].id, NULL, NULL, &loc));
		pack = add_pack(w, own, 2000);
		assert_found(w->index, &pack, &own[17]);
		free(own);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_ok(fstatat(w->dir.fd, "data.mdb", &st, 0));
	assert_true((uint64_t)st.st_size > 64 * MiB); /* or it has not grown */
	free(e);
}

struct hammer {
	struct world *world;
	pthread_t thread;
	uint64_t seed;
};

/* Adds, finds and publishes, all at once. */
static void *hammer(void *arg)
{
	struct hammer *h = arg;
	struct prng p = { h->seed };

	for (int i = 0; i < 40; i++) {
		struct pack_entry *e = entries_make(&p, 50);
		struct id128 pack = sample_id128(&p);

		assert_ok(index_add_pack(h->world->index, &pack, e, 50));
		assert_ok(index_publish(h->world->index, h->world->backend, i % 8 == 0, NULL));
		for (int k = 0; k < 50; k++)
			assert_found(h->world->index, &pack, &e[k]);
		free(e);
	}
	return NULL;
}

static void threads_add_find_and_publish_at_once(void **state)
{
	struct world *w = *state;
	struct hammer all[4];

	for (int i = 0; i < 4; i++) {
		all[i] = (struct hammer){ .world = w, .seed = 500 + (uint64_t)i };
		assert_ok(thread_start(&all[i].thread, "hammer", hammer, &all[i]));
	}
	for (int i = 0; i < 4; i++)
		pthread_join(all[i].thread, NULL);
	assert_ok(index_publish(w->index, w->backend, true, NULL));
	assert_int_equal(stats_of(w->index).packs, 0);
}

static double finds_ns(struct index *x, const struct pack_entry *e, uint32_t n, struct prng *p)
{
	enum {
		LOOKS = 100000
	};
	int64_t start = now_ns();
	struct loc loc;

	for (int i = 0; i < LOOKS; i++)
		assert_ok(index_find(x, &e[prng_below(p, n)].id, NULL, NULL, &loc));
	return (double)(now_ns() - start) / LOOKS;
}

static void a_million_ids_are_found_quickly(void **state)
{
	enum {
		MANY = 1000000,
		EACH = 62500,
		FEW = 80000
	};
	struct world *w = *state;
	struct pack_entry *many = entries_make(&w->random, MANY);
	struct pack_entry *few = entries_make(&w->random, FEW);
	int64_t start;
	double add_ms;

	for (uint32_t i = 0; i < MANY; i += EACH)
		add_pack(w, many + i, EACH);
	assert_ok(index_publish(w->index, w->backend, true, NULL));
	assert_int_equal(stats_of(w->index).segments, 1);
	start = now_ns();
	add_pack(w, few, FEW);
	add_ms = (double)(now_ns() - start) / 1e6;
	print_message("  add 80k ids: %.0f ms\n", add_ms);
	print_message("  find in a segment of 1M: %.0f ns\n",
		      finds_ns(w->index, many, MANY, &w->random));
	print_message("  find in a table of 80k: %.0f ns\n",
		      finds_ns(w->index, few, FEW, &w->random));
	assert_true(add_ms < 5000); /* sanitizers and loaded machines included */
	free(many);
	free(few);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_place_of_an_id_is_found),
		TEST(of_suspects_the_last_are_known),
		TEST(what_was_added_is_found_and_nothing_else),
		TEST(an_empty_pack_is_known_all_the_same),
		TEST(a_pack_that_comes_twice_counts_once),
		TEST(it_survives_being_closed),
		TEST(another_stores_index_is_dropped),
		TEST(an_index_of_another_boot_is_dropped_but_for_its_segments),
		TEST(an_index_with_broken_pages_is_made_anew),
		TEST(without_its_identity_nothing_in_it_is_believed),
		TEST(one_directory_is_one_index_in_a_process),
		TEST(processes_share_an_index_and_may_be_killed),
		TEST(the_map_grows_under_all_who_use_it),
		TEST(threads_add_find_and_publish_at_once),
		TEST(a_million_ids_are_found_quickly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
