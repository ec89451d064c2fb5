/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The index finds what it was told, shares its directory with other processes, learns from the
 * store and tells it, and when it is damaged it is empty but never wrong.
 */
#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "backend/fault.h"
#include "base/deadline.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/thread.h"
#include "format/key.h"
#include "index/index.h"
#include "sample.h"
#include "scratch.h"

#define MAP_BYTES (1 * GiB)

static const struct id128 STORE = { { 1, 2, 3 } };

struct world {
	struct scratch dir;
	struct index *index;
	struct backend *memory; /* behind the faults, which own it */
	struct backend *backend;
	struct prng random;
};

static int world_setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->dir = scratch_make();
	w->random.state = 42;
	assert_ok(memory_backend_new(&w->memory));
	assert_ok(fault_backend_new(w->memory, &w->backend));
	assert_ok(index_open(w->dir.fd, &STORE, MAP_BYTES, &w->index));
	*state = w;
	return 0;
}

static int world_teardown(void **state)
{
	struct world *w = *state;

	index_free(w->index);
	backend_free(w->backend);
	scratch_remove(&w->dir);
	free(w);
	return 0;
}

static void reopen(struct world *w)
{
	index_free(w->index);
	w->index = NULL;
	assert_ok(index_open(w->dir.fd, &STORE, MAP_BYTES, &w->index));
}

/* A pack's entries, made up; any ten of them in a row lie in ten frames, so any part will do. */
static struct pack_entry *entries_make(struct prng *p, uint32_t n)
{
	struct pack_entry *e = calloc(MAX(n, 1u), sizeof(*e));

	for (uint32_t i = 0; i < n; i++)
		e[i] = (struct pack_entry){
			.id = sample_oid(p),
			.offset = PACK_HEADER_SIZE + 400 * (i % 10),
			.frame_len = 400,
			.item = (uint16_t)(i % 8),
			.kind = OID_CHUNK,
			.len = 1000,
		};
	return e;
}

static struct id128 add_pack(struct world *w, const struct pack_entry *e, uint32_t n)
{
	struct id128 pack = sample_id128(&w->random);

	assert_ok(index_add_pack(w->index, &pack, e, n));
	return pack;
}

static void assert_found(struct index *x, const struct id128 *pack, const struct pack_entry *e)
{
	struct loc loc;

	assert_ok(index_find(x, &e->id, NULL, NULL, &loc));
	assert_memory_equal(&loc.pack, pack, sizeof(*pack));
	assert_int_equal(loc.state, LOC_AT);
	assert_int_equal(loc.offset, e->offset);
	assert_int_equal(loc.frame_len, e->frame_len);
	assert_int_equal(loc.item, e->item);
}

/* Puts a pack with these entries, whose frames nobody will read, into the store. */
static struct id128 store_pack(struct world *w, struct pack_entry *e, uint32_t n)
{
	struct id128 pack = sample_id128(&w->random);
	_cleanup_buf_ struct buf b = { 0 };
	uint8_t *frames;

	pack_header_put(&b, &pack);
	frames = buf_extend(&b, 400 * (size_t)n);
	memset(frames, 0, 400 * (size_t)n);
	pack_footer_put(&b, e, n, b.len, &pack);
	assert_ok(w->memory->ops->put(w->memory, pack_key(&pack).s, buf_span(&b), NULL));
	return pack;
}

static struct index_stats stats_of(struct index *x)
{
	struct index_stats s;

	index_stats(x, &s);
	return s;
}

struct refusal {
	struct id128 packs[4];
	unsigned n;
};

static bool is_not_refused(const struct loc *at, void *ctx)
{
	const struct refusal *f = ctx;

	for (unsigned i = 0; i < f->n; i++)
		if (id128_equal(&f->packs[i], &at->pack))
			return false;
	return true;
}

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

/* Changes @len bytes of data.mdb at @at. */
static void scribble(struct world *w, uint64_t at, size_t len)
{
	int fd = openat(w->dir.fd, "data.mdb", O_RDWR);
	uint8_t *junk = malloc(len);

	prng_fill(&w->random, junk, len);
	assert_ok(pwrite_all(fd, junk, len, at));
	free(junk);
	close(fd);
}

/* Opens an index that was damaged, and sees that it can be used. */
static void assert_usable(struct world *w, const struct pack_entry *e, uint32_t n)
{
	struct id128 pack;

	assert_ok(index_open(w->dir.fd, &STORE, MAP_BYTES, &w->index));
	pack = add_pack(w, e, n);
	assert_true(index_knows_pack(w->index, &pack));
	assert_found(w->index, &pack, &e[n - 1]);
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

/* An index of another machine. */
struct other {
	struct scratch dir;
	struct index *index;
};

static struct other other_open(uint64_t map_bytes)
{
	struct other o = { .dir = scratch_make() };

	assert_ok(index_open(o.dir.fd, &STORE, map_bytes, &o.index));
	return o;
}

static void other_close(struct other *o)
{
	index_free(o->index);
	scratch_remove(&o->dir);
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

struct listing {
	char text[400];
};

static int list_key(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	struct listing *l = ctx;
	size_t n = strlen(l->text);

	snprintf(l->text + n, sizeof(l->text) - n, "%s:%d ", key, (int)size);
	return strcmp(key, "heads/b/stop") == 0 ? 7 : 0;
}

static void objects_are_kept_with_their_tags(void **state)
{
	struct world *w = *state;
	struct etag tag = { "a-tag" }, got;
	_cleanup_buf_ struct buf b = { 0 };
	struct listing l = { "" };

	assert_int_equal(index_object_get(w->index, "repos/x", &b, &got), -ENOENT);
	index_object_put(w->index, "repos/x", span_str("one"), &tag);
	index_object_put(w->index, "heads/a/main", span_str("two2"), &tag);
	index_object_put(w->index, "heads/a/old", span_str(""), &tag);
	index_object_put(w->index, "heads/b/main", span_str("three"), &tag);
	index_object_put(w->index, "heads/b/stop", span_str("4"), &tag);
	index_object_put(w->index, "heads/b/unseen", span_str("5"), &tag);
	reopen(w);
	assert_ok(index_object_get(w->index, "repos/x", &b, &got));
	assert_true(span_equal(buf_span(&b), span_str("one")));
	assert_string_equal(got.s, "a-tag");
	index_object_forget(w->index, "repos/x");
	assert_int_equal(index_object_get(w->index, "repos/x", &b, &got), -ENOENT);

	assert_ok(index_object_list(w->index, "heads/a/", list_key, &l));
	assert_string_equal(l.text, "heads/a/main:4 heads/a/old:0 ");
	l.text[0] = '\0';
	assert_int_equal(index_object_list(w->index, "heads/b/", list_key, &l), 7);
	assert_string_equal(l.text, "heads/b/main:5 heads/b/stop:1 ");
}

static int count_key(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	++*(int *)ctx;
	return 0;
}

static void a_long_listing_gives_each_key_once(void **state)
{
	struct world *w = *state;
	struct etag tag = { "t" };
	int n = 0;

	for (int i = 0; i < 1000; i++) {
		char key[40];

		snprintf(key, sizeof(key), "names/x/n%d", i);
		index_object_put(w->index, key, span_str("v"), &tag);
	}
	assert_ok(index_object_list(w->index, "names/x/", count_key, &n));
	assert_int_equal(n, 1000);
	n = 0;
	assert_ok(index_object_list(w->index, "", count_key, &n));
	assert_int_equal(n, 1000);
}

static int count_cached(const struct index_cached *e, void *ctx)
{
	uint64_t *sum = ctx;

	*sum += e->place.offset;
	return 0;
}

static void places_of_cached_objects_are_kept_until_dropped(void **state)
{
	enum {
		N = 3000
	};
	struct world *w = *state;
	struct index_cached *e = calloc(N, sizeof(*e)), moved;
	struct index_place p;
	uint64_t sum = 0;

	for (uint32_t i = 0; i < N; i++)
		e[i] = (struct index_cached){
			.kind = i % 2 ? OID_CHUNK : OID_NODE,
			.id = sample_oid(&w->random),
			.place = { .file = i, .offset = i, .len = 5, .checksum = ~0ull - i },
		};
	assert_ok(index_cached_put(w->index, e, N));
	assert_ok(index_cached_get(w->index, OID_CHUNK, &e[1].id, &p));
	assert_memory_equal(&p.checksum, &e[1].place.checksum, 8);
	assert_int_equal(p.file, 1);
	assert_int_equal(index_cached_get(w->index, OID_NODE, &e[1].id, &p), -ENOENT);
	assert_ok(index_cached_walk(w->index, count_cached, &sum));
	assert_int_equal(sum, N * (N - 1) / 2);

	moved = e[1];
	moved.place.file = 77777;
	assert_ok(index_cached_add(w->index, &moved, 1));
	assert_ok(index_cached_get(w->index, OID_CHUNK, &e[1].id, &p));
	assert_int_equal(p.file, 1);

	/* One that lies elsewhere by now stays. */
	moved = e[2];
	moved.place.file = 99999;
	assert_ok(index_cached_put(w->index, &moved, 1));
	assert_ok(index_cached_drop(w->index, e, N));
	assert_int_equal(index_cached_get(w->index, OID_CHUNK, &e[1].id, &p), -ENOENT);
	assert_ok(index_cached_get(w->index, OID_NODE, &e[2].id, &p));
	assert_int_equal(p.file, 99999);
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

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_added_is_found_and_nothing_else),
		TEST(each_place_of_an_id_is_found),
		TEST(of_suspects_the_last_are_known),
		TEST(an_empty_pack_is_known_all_the_same),
		TEST(a_publication_with_little_to_say_asks_the_store_nothing),
		TEST(a_pack_that_comes_twice_counts_once),
		TEST(it_survives_being_closed),
		TEST(another_stores_index_is_dropped),
		TEST(an_index_of_another_boot_is_dropped_but_for_its_segments),
		TEST(an_index_with_broken_pages_is_made_anew),
		TEST(without_its_identity_nothing_in_it_is_believed),
		TEST(one_directory_is_one_index_in_a_process),
		TEST(processes_share_an_index_and_may_be_killed),
		TEST(the_map_grows_under_all_who_use_it),
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
		TEST(objects_are_kept_with_their_tags),
		TEST(a_long_listing_gives_each_key_once),
		TEST(places_of_cached_objects_are_kept_until_dropped),
		TEST(threads_add_find_and_publish_at_once),
		TEST(a_million_ids_are_found_quickly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
