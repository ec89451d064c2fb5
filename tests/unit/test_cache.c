/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The disk cache gives back what was put in or nothing, whatever befell its files and its process;
 * it keeps its budget and what is used.
 */
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/deadline.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/thread.h"
#include "index/index.h"
#include "object/cache.h"
#include "sample.h"
#include "scratch.h"

static const struct id128 STORE = { { 5 } };

struct world {
	struct scratch dir;
	int index_fd, cache_fd;
	struct index *index;
	struct cache *cache;
	uint64_t budget;
	struct prng random;
};

static void start(struct world *w)
{
	assert_ok(index_open(w->index_fd, &STORE, MiB, &w->index));
	assert_ok(cache_open(w->cache_fd, w->index, w->budget, &w->cache));
}

static void stop(struct world *w)
{
	cache_free(w->cache);
	index_free(w->index);
	w->cache = NULL;
	w->index = NULL;
}

static int world_setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->dir = scratch_make();
	w->random.state = 99;
	w->budget = 64 * MiB;
	w->index_fd = scratch_dir(&w->dir, "index");
	w->cache_fd = scratch_dir(&w->dir, "cache");
	start(w);
	*state = w;
	return 0;
}

static int world_teardown(void **state)
{
	struct world *w = *state;

	stop(w);
	close(w->index_fd);
	close(w->cache_fd);
	scratch_remove(&w->dir);
	free(w);
	return 0;
}

/* The chunk number @n of @len bytes; always the same. */
static struct oid chunk_make(uint64_t n, uint32_t len, uint8_t *buf)
{
	struct prng p = { n * 1000003 + len };

	prng_fill(&p, buf, len);
	return oid_of(OID_CHUNK, buf, len);
}

static struct oid put(struct world *w, uint64_t n, uint32_t len)
{
	_cleanup_free_ uint8_t *buf = malloc(len + 1);
	struct oid id = chunk_make(n, len, buf);

	cache_put(w->cache, OID_CHUNK, &id, span_of(buf, len));
	return id;
}

/* Is it there? What is given back must be it. */
static bool has(struct world *w, uint64_t n, uint32_t len)
{
	_cleanup_free_ uint8_t *want = malloc(len + 1), *got = malloc(len + 1);
	struct oid id = chunk_make(n, len, want);

	if (cache_read(w->cache, OID_CHUNK, &id, 0, len, got) < 0)
		return false;
	assert_memory_equal(got, want, len);
	return true;
}

static void what_was_put_in_is_read_in_whole_and_in_parts(void **state)
{
	struct world *w = *state;
	static const uint32_t lens[] = { 1, 100, 4096, 65535, 65536, 65537, 300000, 2 << 20 };

	for (size_t i = 0; i < ARRAY_SIZE(lens); i++)
		put(w, i, lens[i]);
	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
			_cleanup_free_ uint8_t *want = malloc(lens[i]), *got = malloc(lens[i]);
			struct oid id = chunk_make(i, lens[i], want);
			uint32_t len, off = lens[i] / 3, part = lens[i] - off - lens[i] / 4;

			assert_ok(cache_len(w->cache, OID_CHUNK, &id, &len));
			assert_int_equal(len, lens[i]);
			assert_ok(cache_read(w->cache, OID_CHUNK, &id, off, part, got));
			assert_memory_equal(got, want + off, part);
			assert_true(has(w, i, lens[i]));
			assert_int_equal(cache_read(w->cache, OID_CHUNK, &id, 1, lens[i], got),
					 -ENOENT);
			assert_int_equal(cache_read(w->cache, OID_NODE, &id, 0, 1, got), -ENOENT);
		}
	assert_false(has(w, 1000, 100));
}

/* Puts chunks [@first, @first + @n) of @len bytes with one call. */
static void put_together(struct world *w, uint64_t first, size_t n, uint32_t len)
{
	_cleanup_free_ uint8_t *bytes = malloc(n * len);
	struct cache_item items[16];
	struct oid ids[16];

	assert_true(n <= ARRAY_SIZE(items));
	for (size_t i = 0; i < n; i++) {
		uint8_t *at = bytes + i * len;

		ids[i] = chunk_make(first + i, len, at);
		items[i] = (struct cache_item){ OID_CHUNK, &ids[i], span_of(at, len) };
	}
	cache_put_all(w->cache, items, n);
}

static void much_at_once_beside_little_is_read_as_it_was_put_in(void **state)
{
	/* Below and above what goes past the page cache, and no multiples of a block. */
	static const uint32_t lens[] = { 777, 131077, 70001, 1 << 18, 519999 };
	struct world *w = *state;

	for (int restarted = 0; restarted < 2; restarted++) {
		for (size_t i = 0; !restarted && i < ARRAY_SIZE(lens); i++) {
			put(w, 1000 + i, 50 + (uint32_t)i);
			put_together(w, 100 * i, 16, lens[i]);
		}
		for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
			assert_true(has(w, 1000 + i, 50 + (uint32_t)i));
			for (size_t k = 0; k < 16; k++)
				assert_true(has(w, 100 * i + k, lens[i]));
		}
		stop(w);
		start(w);
	}
}

static void the_same_object_twice_takes_room_once(void **state)
{
	struct world *w = *state;
	uint64_t used;

	put(w, 1, 100000);
	used = cache_used(w->cache);
	put(w, 1, 100000);
	assert_int_equal(cache_used(w->cache), used);
}

static void it_is_kept_over_a_restart(void **state)
{
	struct world *w = *state;

	for (uint64_t i = 0; i < 300; i++)
		put(w, i, 20000);
	stop(w);
	start(w);
	for (uint64_t i = 0; i < 300; i++)
		assert_true(has(w, i, 20000));
	put(w, 1000, 20000);
	assert_true(has(w, 1000, 20000));
}

/* Waits for the worker to have it in the index. */
static bool has_soon(struct world *w, uint64_t n, uint32_t len)
{
	struct deadline dl = deadline_in_ms(5000);

	while (!has(w, n, len)) {
		if (deadline_check(&dl) < 0)
			return false;
		usleep(2000);
	}
	return true;
}

static void it_outlives_the_index(void **state)
{
	struct world *w = *state;

	for (uint64_t i = 0; i < 300; i++)
		put(w, i, 20000);
	stop(w);
	/* As after a reboot. */
	assert_int_equal(unlinkat(w->index_fd, "identity", 0), 0);
	start(w);
	for (uint64_t i = 0; i < 300; i++)
		assert_true(has_soon(w, i, 20000));
}

static void a_second_process_is_refused(void **state)
{
	struct world *w = *state;
	struct cache *second;

	assert_int_equal(cache_open(w->cache_fd, w->index, w->budget, &second), -EBUSY);
	put(w, 1, 1000);
	assert_true(has(w, 1, 1000));
}

static void a_killed_process_leaves_what_it_had(void **state)
{
	struct world *w = *state;
	int ready[2];
	char byte;
	pid_t child;

	stop(w);
	assert_int_equal(pipe(ready), 0);
	child = fork();
	if (child == 0) {
		start(w);
		for (uint64_t i = 0; i < 500; i++)
			put(w, i, 10000);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		for (uint64_t i = 500;; i++)
			put(w, i, 10000);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(ready[0]);
	close(ready[1]);

	start(w);
	for (uint64_t i = 0; i < 100; i++) /* later ones may have pushed out some */
		has(w, i, 10000);
	assert_true(cache_used(w->cache) > 4 * MiB);
	assert_true(cache_used(w->cache) <= w->budget);
	put(w, 100000, 10000);
	assert_true(has(w, 100000, 10000));
}

/* Calls @fn for every data file. */
static int each_file(struct world *w, void (*fn)(struct world *w, const char *name))
{
	int fd = openat(w->cache_fd, ".", O_RDONLY | O_DIRECTORY), n = 0;
	DIR *d = fdopendir(fd);
	struct dirent *e;

	while ((e = readdir(d)))
		if (e->d_name[0] >= '0' && e->d_name[0] <= '9' && !strchr(e->d_name, '.')) {
			fn(w, e->d_name);
			n++;
		}
	closedir(d);
	return n;
}

static void flip_some(struct world *w, const char *name)
{
	int fd = openat(w->cache_fd, name, O_RDWR);
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	for (off_t at = 0; at < st.st_size; at += 1 + (off_t)prng_below(&w->random, 200000)) {
		uint8_t byte;

		assert_ok(pread_all(fd, &byte, 1, (uint64_t)at));
		byte ^= 1;
		assert_ok(pwrite_all(fd, &byte, 1, (uint64_t)at));
	}
	close(fd);
}

static void truncate_it(struct world *w, const char *name)
{
	int fd = openat(w->cache_fd, name, O_RDWR);
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(ftruncate(fd, st.st_size / 2), 0);
	close(fd);
}

static void remove_it(struct world *w, const char *name)
{
	assert_int_equal(unlinkat(w->cache_fd, name, 0), 0);
}

static void remove_table(struct world *w, const char *name)
{
	char table[64];

	snprintf(table, sizeof(table), "%s.tab", name);
	assert_int_equal(unlinkat(w->cache_fd, table, 0), 0);
}

static void spoil_table(struct world *w, const char *name)
{
	char table[64];

	snprintf(table, sizeof(table), "%s.tab", name);
	flip_some(w, table);
}

static void damage_is_a_miss_and_never_a_lie(void **state)
{
	static void (*const damages[])(struct world * w, const char *name) = {
		flip_some, truncate_it, remove_it, remove_table, spoil_table,
	};
	struct world *w = *state;

	for (size_t d = 0; d < ARRAY_SIZE(damages); d++) {
		for (int with_index = 0; with_index < 2; with_index++) {
			int found = 0;

			for (uint64_t i = 0; i < 60; i++)
				put(w, i, i % 3 ? 3000 : 150000);
			stop(w);
			assert_true(each_file(w, damages[d]) > 0);
			if (!with_index)
				assert_int_equal(unlinkat(w->index_fd, "identity", 0), 0);
			start(w);
			for (int round = 0; round < 2; round++)
				for (uint64_t i = 0; i < 60; i++)
					found += has(w, i, i % 3 ? 3000 : 150000);
			if (damages[d] == flip_some && with_index)
				assert_in_range(found, 1, 119);
			/* What was lost can be put in again: at once, or when it was missed. */
			for (uint64_t i = 0; i < 60; i++)
				for (int tries = 0; !has(w, i, i % 3 ? 3000 : 150000); tries++) {
					assert_in_range(tries, 0, 2);
					put(w, i, i % 3 ? 3000 : 150000);
				}
		}
	}
}

static uint64_t disk_use(struct world *w)
{
	int fd = openat(w->cache_fd, ".", O_RDONLY | O_DIRECTORY);
	DIR *d = fdopendir(fd);
	struct dirent *e;
	uint64_t sum = 0;

	while ((e = readdir(d))) {
		struct stat st;

		if (e->d_name[0] >= '0' && e->d_name[0] <= '9' && !strchr(e->d_name, '.') &&
		    fstatat(w->cache_fd, e->d_name, &st, 0) == 0)
			sum += (uint64_t)st.st_blocks * 512;
	}
	closedir(d);
	return sum;
}

static void the_budget_is_kept_and_the_latest_stays(void **state)
{
	struct world *w = *state;

	stop(w);
	w->budget = 4 * MiB;
	start(w);
	for (uint64_t i = 0; i < 1000; i++) {
		put(w, i, 30000);
		assert_true(cache_used(w->cache) <= w->budget);
		if (i % 50 == 0) {
			usleep(3000);
			assert_true(disk_use(w) <= w->budget + 200000);
		}
	}
	usleep(50000);
	put(w, 1000, 30000);
	assert_true(has(w, 1000, 30000));
	assert_false(has(w, 0, 30000));
	assert_true(cache_used(w->cache) > w->budget / 2);
}

static void what_is_read_gets_a_second_chance(void **state)
{
	enum {
		FAVOURITES = 20,
		N = 1000,
		LEN = 30000
	};
	struct world *w = *state;
	int misses = 0, others = 0;

	stop(w);
	w->budget = 8 * MiB;
	start(w);
	for (uint64_t i = 0; i < N; i++) {
		put(w, i, LEN);
		usleep(200);
		/* The first are read all the time, and put in again when they are gone. */
		for (uint64_t k = 0; i >= FAVOURITES && k < FAVOURITES; k++)
			if (!has(w, k, LEN)) {
				misses++;
				put(w, k, LEN);
			}
	}
	for (uint64_t k = 0; k < FAVOURITES; k++)
		others += has(w, 100 + k, LEN);
	assert_int_equal(others, 0);
	/* All that is there was replaced three times and more. */
	assert_in_range(misses, 0, 2 * FAVOURITES); /* without: 60 */
}

static void a_smaller_budget_is_reached_soon(void **state)
{
	struct world *w = *state;
	struct deadline dl = deadline_in_ms(5000);

	for (uint64_t i = 0; i < 400; i++)
		put(w, i, 100000);
	assert_true(cache_used(w->cache) > 30 * MiB);
	cache_set_budget(w->cache, 5 * MiB);
	while (cache_used(w->cache) > 5 * MiB && deadline_check(&dl) == 0)
		usleep(1000);
	assert_true(cache_used(w->cache) <= 5 * MiB);
	cache_set_budget(w->cache, 0);
	dl = deadline_in_ms(5000);
	while (cache_used(w->cache) > 0 && deadline_check(&dl) == 0)
		usleep(1000);
	assert_int_equal(cache_used(w->cache), 0);
	put(w, 1000, 100);
	assert_false(has(w, 1000, 100));
}

static void a_disk_that_takes_no_more_does_no_harm(void **state)
{
	struct world *w = *state;
	struct rlimit limit = { 15000, 15000 };
	pid_t child;
	int status;

	stop(w);
	child = fork();
	if (child == 0) {
		signal(SIGXFSZ, SIG_IGN);
		start(w);
		put(w, 1, 10000);
		/* Files may not become longer; what is there reads. */
		if (!has(w, 1, 10000) || setrlimit(RLIMIT_FSIZE, &limit) < 0)
			_exit(1);
		for (uint64_t i = 10; i < 20; i++)
			put(w, i, 10000);
		for (uint64_t i = 10; i < 20; i++)
			if (has(w, i, 10000))
				_exit(2);
		if (!has(w, 1, 10000))
			_exit(3);
		stop(w);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	start(w);
	assert_true(has_soon(w, 1, 10000));
	put(w, 10, 10000);
	assert_true(has(w, 10, 10000));
}

struct hammer {
	struct world *world;
	pthread_t thread;
	uint64_t seed;
	uint64_t found;
};

static void *hammer(void *arg)
{
	struct hammer *h = arg;
	struct prng p = { h->seed };

	for (int i = 0; i < 1500; i++) {
		uint64_t n = prng_below(&p, 300);
		uint32_t len = n % 10 ? 5000 : 150000;

		if (prng_below(&p, 3) == 0)
			put(h->world, n, len);
		else
			h->found += has(h->world, n, len);
		if (i % 500 == 499)
			cache_set_budget(h->world->cache, (1 + prng_below(&p, 6)) * MiB);
	}
	return NULL;
}

static void threads_read_write_and_evict_at_once(void **state)
{
	struct world *w = *state;
	struct hammer all[4];
	uint64_t found = 0;

	stop(w);
	w->budget = 3 * MiB;
	start(w);
	for (int i = 0; i < 4; i++) {
		all[i] = (struct hammer){ .world = w, .seed = 40 + (uint64_t)i };
		assert_ok(thread_start(&all[i].thread, "hammer", hammer, &all[i]));
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(all[i].thread, NULL);
		found += all[i].found;
	}
	assert_true(found > 100);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_put_in_is_read_in_whole_and_in_parts),
		TEST(much_at_once_beside_little_is_read_as_it_was_put_in),
		TEST(the_same_object_twice_takes_room_once),
		TEST(it_is_kept_over_a_restart),
		TEST(it_outlives_the_index),
		TEST(a_second_process_is_refused),
		TEST(a_killed_process_leaves_what_it_had),
		TEST(damage_is_a_miss_and_never_a_lie),
		TEST(the_budget_is_kept_and_the_latest_stays),
		TEST(what_is_read_gets_a_second_chance),
		TEST(a_smaller_budget_is_reached_soon),
		TEST(a_disk_that_takes_no_more_does_no_harm),
		TEST(threads_read_write_and_evict_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
