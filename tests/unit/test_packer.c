/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Packers: what is given to them lies in packs where they say, once, or an error comes out.
 */
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "format/gcstate.h"
#include "index/index.h"
#include "object/cache.h"
#include "sample.h"
#include "storestand.h"
#include "write/packer.h"

static struct packer *packer_of(struct storestand *s, bool is_large)
{
	struct packer_options o = { .store = &s->store, .is_large = is_large };
	struct packer *p;

	assert_ok(packer_new(&o, &p));
	return p;
}

static void add(struct batch *b, uint64_t seed, uint32_t len)
{
	struct prng r = { seed };
	uint8_t *to = batch_add(b, len);

	assert_non_null(to);
	prng_fill(&r, to, len);
}

/* A batch of one chunk that is all of its own. */
static struct batch *submit_one(struct packer *p, uint64_t seed, uint32_t len)
{
	struct batch *b;

	assert_ok(packer_batch(p, &b));
	add(b, seed, len);
	assert_ok(packer_submit(p, b));
	return b;
}

/* What was said of a chunk is true: it is there, for one who knows nothing else. */
static void assert_stored(struct storestand *s, const struct batch_chunk *c, uint64_t seed)
{
	_cleanup_(blob_unrefp) struct blob *blob = NULL;
	uint8_t *want = malloc(c->len);
	struct prng r = { seed };
	struct oid id;

	assert_non_null(want);
	prng_fill(&r, want, c->len);
	id = oid_of(OID_CHUNK, want, c->len);
	assert_memory_equal(&id, &c->id, sizeof(id));
	assert_int_equal(c->checksum, xxh64(want, c->len, 0));
	assert_int_equal(c->loc.state, LOC_AT);
	assert_ok(reader_chunk(s->store.reader, &c->id, &c->loc, &s->acc, &blob));
	assert_int_equal(blob->len, c->len);
	assert_memory_equal(blob->data, want, c->len);
	free(want);
}

static void chunks_lie_where_the_packer_says(void **state)
{
	enum {
		BATCHES = 60
	};
	struct storestand *s = *state;
	struct packer *p = packer_of(s, false);
	struct batch *b[BATCHES];
	struct fault_counts c;
	struct prng r = { 1 };

	for (unsigned i = 0; i < BATCHES; i++) {
		assert_ok(packer_batch(p, &b[i]));
		for (unsigned j = 0; j <= i % 7; j++)
			add(b[i], i * 100 + j, 1 + (uint32_t)prng_below(&r, 30000));
		assert_ok(packer_submit(p, b[i]));
	}
	for (unsigned i = 0; i < BATCHES; i++)
		assert_ok(packer_wait(p, b[i]));
	assert_ok(packer_finish(p));
	storestand_move(s);
	for (unsigned i = 0; i < BATCHES; i++)
		for (unsigned j = 0; j < b[i]->count; j++)
			assert_stored(s, &b[i]->chunks[j], i * 100 + j);
	/* Nobody had to look for them. */
	c = storestand_counts(s);
	assert_int_equal(c.calls[FAULT_LIST], 0);
	for (unsigned i = 0; i < BATCHES; i++)
		packer_batch_unref(p, b[i]);
	packer_free(p);
}

static void a_chunk_that_comes_again_is_stored_once(void **state)
{
	struct storestand *s = *state;
	struct packer *p = packer_of(s, false);
	struct packer_stats stats;
	struct batch *b[20];

	for (unsigned i = 0; i < ARRAY_SIZE(b); i++) {
		assert_ok(packer_batch(p, &b[i]));
		add(b[i], 1, 5000);
		add(b[i], 2, 6000);
		add(b[i], 1, 5000);
		assert_ok(packer_submit(p, b[i]));
	}
	for (unsigned i = 0; i < ARRAY_SIZE(b); i++)
		assert_ok(packer_wait(p, b[i]));
	assert_ok(packer_finish(p));
	packer_stats(p, &stats);
	assert_int_equal(stats.chunks, 2);
	assert_int_equal(stats.raw_bytes, 11000);
	assert_int_equal(stats.reused, 3 * ARRAY_SIZE(b) - 2);
	assert_int_equal(stats.reused_bytes, 16000 * ARRAY_SIZE(b) - 11000);
	for (unsigned i = 0; i < ARRAY_SIZE(b); i++) {
		for (unsigned j = 0; j < 3; j++)
			assert_stored(s, &b[i]->chunks[j], j % 2 + 1);
		packer_batch_unref(p, b[i]);
	}
	packer_free(p);
}

static void what_the_index_knows_is_not_stored_again(void **state)
{
	struct storestand *s = *state;
	struct packer *p = packer_of(s, false);
	struct packer_stats stats;
	struct batch *b;
	struct loc at;

	b = submit_one(p, 1, 100000);
	assert_ok(packer_finish(p));
	at = b->chunks[0].loc;
	packer_tell_index(p);
	packer_batch_unref(p, b);
	packer_free(p);

	p = packer_of(s, false);
	b = submit_one(p, 1, 100000);
	assert_ok(packer_finish(p));
	packer_stats(p, &stats);
	assert_int_equal(stats.chunks, 0);
	assert_int_equal(stats.reused, 1);
	assert_int_equal(stats.packs, 0);
	assert_memory_equal(&b->chunks[0].loc.pack, &at.pack, sizeof(at.pack));
	packer_batch_unref(p, b);
	packer_free(p);
	assert_int_equal(storestand_packs(s), 1);
}

/*
 * The collector.
 */

static void set_gc(struct storestand *s, uint64_t epoch, const struct id128 *condemned)
{
	struct gc_state g = { .epoch = epoch,
			      .phase = GC_SWEEPING,
			      .condemned_count = condemned != NULL,
			      .condemned = (struct id128 *)condemned };
	struct backend *b = s->store.backend;
	_cleanup_buf_ struct buf raw = { 0 };

	assert_ok(gc_state_write(&g, &raw));
	assert_ok(b->ops->put(b, "gc/state", buf_span(&raw), NULL));
}

/* A chunk in a pack that the index knows; its name. */
static struct id128 old_pack(struct storestand *s)
{
	struct packer *p = packer_of(s, false);
	struct batch *b = submit_one(p, 1, 1000);
	struct id128 name;

	assert_ok(packer_finish(p));
	packer_tell_index(p);
	name = b->chunks[0].loc.pack;
	packer_batch_unref(p, b);
	packer_free(p);
	return name;
}

static void a_condemned_pack_is_not_relied_upon(void **state)
{
	struct storestand *s = *state;
	struct id128 old = old_pack(s);
	struct packer *p;
	struct packer_stats stats;
	struct batch *b;

	set_gc(s, 1, &old);
	p = packer_of(s, false);
	b = submit_one(p, 1, 1000);
	assert_ok(packer_finish(p));
	packer_stats(p, &stats);
	assert_int_equal(stats.chunks, 1);
	assert_false(id128_equal(&b->chunks[0].loc.pack, &old));
	assert_ok(packer_recheck(p));
	packer_batch_unref(p, b);
	packer_free(p);
}

static void a_collector_that_moves_is_seen_by_whom_it_concerns(void **state)
{
	static const struct id128 other = { { 9 } };
	struct storestand *s = *state;
	struct id128 old = old_pack(s);
	struct backend *b = s->store.backend;
	struct packer *relies = packer_of(s, false), *does_not = packer_of(s, false);
	char hex[ID128_HEX], key[64];

	packer_batch_unref(relies, submit_one(relies, 1, 1000));
	packer_batch_unref(does_not, submit_one(does_not, 2, 1000));
	assert_ok(packer_finish(relies));
	assert_ok(packer_finish(does_not));
	assert_ok(packer_recheck(relies));

	set_gc(s, 1, &other);
	assert_ok(packer_recheck(relies));
	assert_ok(packer_recheck(does_not));

	set_gc(s, 2, &old);
	assert_int_equal(packer_recheck(relies), -ERESTART);
	assert_ok(packer_recheck(does_not));

	/* It was condemned, swept and forgotten while nobody looked. */
	set_gc(s, 3, NULL);
	assert_ok(packer_recheck(relies));
	id128_hex(&old, hex);
	snprintf(key, sizeof(key), "packs/%.2s/%s", hex, hex);
	assert_ok(b->ops->remove(b, key, NULL));
	assert_int_equal(packer_recheck(relies), -ERESTART);
	assert_ok(packer_recheck(does_not));
	packer_free(relies);
	packer_free(does_not);
}

static void a_store_that_cannot_be_asked_of_its_collector_is_not_written_to(void **state)
{
	struct storestand *s = *state;
	struct fault f = {
		.op = FAULT_GET_ALL, .kind = FAULT_FAIL, .prefix = "gc/", .error = -EIO
	};
	struct packer_options o = { .store = &s->store };
	struct packer *p;

	assert_ok(fault_backend_add(s->store.backend, &f));
	assert_int_equal(packer_new(&o, &p), -EIO);
}

/*
 * What goes wrong.
 */

/* Puts some new data into packs, enough to fill one; the first error. */
static int write_some(struct storestand *s, const atomic_bool *cancelled)
{
	static uint64_t seed = 1000;
	_cleanup_(packer_freep) struct packer *p = NULL;
	struct packer_options o = { .store = &s->store, .cancelled = cancelled };
	int r = packer_new(&o, &p);

	for (unsigned i = 0; r == 0 && i < 24; i++) {
		struct batch *b;

		r = packer_batch(p, &b);
		if (r < 0)
			break;
		add(b, seed++, 2 << 20);
		r = packer_submit(p, b);
		if (r == 0 && i % 5 == 0)
			r = packer_wait(p, b);
		packer_batch_unref(p, b);
	}
	return r < 0 ? r : packer_finish(p);
}

static void whatever_call_fails_the_error_comes_out(void **state)
{
	static const enum fault_op ops[] = { FAULT_PUT_BEGIN, FAULT_PUT_WRITE, FAULT_PUT_END };
	struct storestand *s = *state;
	struct fault_counts all;

	assert_ok(write_some(s, NULL));
	all = storestand_counts(s);
	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		for (uint64_t nth = 1; nth <= all.calls[ops[i]]; nth++) {
			struct fault f = { .op = ops[i],
					   .kind = FAULT_FAIL,
					   .nth = nth,
					   .times = 1,
					   .error = -ENOSPC };

			assert_ok(fault_backend_add(s->store.backend, &f));
			assert_int_equal(write_some(s, NULL), -ENOSPC);
			fault_backend_clear(s->store.backend);
		}
	}
	assert_ok(write_some(s, NULL));
}

static void who_cancels_is_let_go(void **state)
{
	struct storestand *s = *state;
	atomic_bool cancelled = true;
	struct packer_options o = { .store = &s->store, .cancelled = &cancelled };
	struct packer *p;
	struct batch *b;

	assert_int_equal(write_some(s, &cancelled), -ECANCELED);

	/* In the middle, with work under way. */
	cancelled = false;
	assert_ok(packer_new(&o, &p));
	packer_batch_unref(p, submit_one(p, 1, 2 << 20));
	packer_batch_unref(p, submit_one(p, 2, 2 << 20));
	cancelled = true;
	assert_ok(packer_batch(p, &b));
	add(b, 3, 1000);
	assert_int_equal(packer_submit(p, b), -ECANCELED);
	packer_batch_unref(p, b);
	packer_free(p);
}

/* A packer that is dropped leaves nothing that anybody sees. */
static void what_is_not_finished_is_no_pack(void **state)
{
	struct storestand *s = *state;
	struct packer *p = packer_of(s, false);
	struct batch *b = submit_one(p, 1, 1000);

	assert_ok(packer_wait(p, b));
	packer_batch_unref(p, b);
	packer_free(p);
	assert_int_equal(storestand_packs(s), 0);
}

static void a_batch_takes_what_one_frame_takes(void **state)
{
	struct storestand *s = *state;
	struct packer *p = packer_of(s, false);
	struct packer_stats stats;
	struct batch *b;

	assert_ok(packer_batch(p, &b));
	assert_true(batch_has_room(b, CHUNK_LIMIT));
	add(b, 1, FRAME_TARGET - 1);
	assert_true(batch_has_room(b, 1));
	assert_false(batch_has_room(b, 2));
	assert_ok(packer_submit(p, b));
	packer_batch_unref(p, b);

	assert_ok(packer_batch(p, &b));
	for (unsigned i = 0; i < FRAME_ITEMS_MAX; i++) {
		assert_true(batch_has_room(b, 8));
		add(b, 1000 + i, 8);
	}
	assert_false(batch_has_room(b, 8));
	assert_ok(packer_submit(p, b));
	assert_ok(packer_finish(p));
	packer_stats(p, &stats);
	assert_int_equal(stats.chunks, 1 + FRAME_ITEMS_MAX);
	assert_stored(s, &b->chunks[FRAME_ITEMS_MAX - 1], 1000 + FRAME_ITEMS_MAX - 1);
	packer_batch_unref(p, b);
	packer_free(p);
}

static void a_pack_for_a_store_elsewhere_is_one_request(void **state)
{
	enum {
		BATCHES = 200
	};
	struct storestand *s = *state;
	struct packer *p = packer_of(s, false);
	struct batch *b[BATCHES];
	struct fault_counts c;

	for (unsigned i = 0; i < BATCHES; i++)
		b[i] = submit_one(p, i, 400000);
	assert_ok(packer_finish(p));
	c = storestand_counts(s);
	assert_int_equal(storestand_packs(s), 5); /* of 16 MiB and more */
	assert_int_equal(c.calls[FAULT_PUT], 5);
	assert_int_equal(c.calls[FAULT_PUT_BEGIN], 0);
	storestand_move(s);
	for (unsigned i = 0; i < BATCHES; i++) {
		assert_stored(s, &b[i]->chunks[0], i);
		packer_batch_unref(p, b[i]);
	}
	packer_free(p);
}

/* How many of the batches' chunks the disk cache has. */
static unsigned count_cached(struct cache *c, struct batch *const *b, unsigned n)
{
	unsigned found = 0;
	uint32_t len;

	for (unsigned i = 0; i < n; i++)
		found += cache_len(c, OID_CHUNK, &b[i]->chunks[0].id, &len) == 0;
	return found;
}

/* Stores some chunks with a disk cache of @budget bytes; says how many of them it has then. */
static unsigned store_with_cache(struct storestand *s, uint64_t budget, unsigned n, uint32_t len)
{
	struct packer *p = packer_of(s, false);
	int fd = scratch_dir(&s->dir, "cache");
	struct batch **b = calloc(n, sizeof(b[0]));
	uint8_t *bytes = malloc(len);
	unsigned found;

	assert_ok(cache_open(fd, s->store.index, budget, &s->store.cache));
	for (unsigned i = 0; i < n; i++)
		b[i] = submit_one(p, i, len);
	assert_ok(packer_finish(p));
	found = count_cached(s->store.cache, b, n);
	for (unsigned i = 0; i < n; i++) {
		const struct batch_chunk *c = &b[i]->chunks[0];

		if (cache_read(s->store.cache, OID_CHUNK, &c->id, 0, len, bytes) == 0)
			assert_int_equal(xxh64(bytes, len, 0), c->checksum);
		packer_batch_unref(p, b[i]);
	}
	packer_free(p);
	cache_free(s->store.cache);
	s->store.cache = NULL;
	close(fd);
	free(bytes);
	free(b);
	return found;
}

static void what_is_stored_elsewhere_is_cached_here(void **state)
{
	assert_int_equal(store_with_cache(*state, GiB, 20, 300000), 20);
}

static void one_commit_takes_a_quarter_of_the_cache_at_most(void **state)
{
	assert_int_equal(store_with_cache(*state, 8 * MiB, 20, 300000), 6);
}

static void what_is_stored_here_is_not_cached_as_well(void **state)
{
	struct storestand *s = *state;

	assert_true(s->store.backend->is_local);
	assert_int_equal(store_with_cache(s, GiB, 20, 300000), 0);
}

#define T(name)                                                                         \
	cmocka_unit_test_setup_teardown(name, storestand_set_up, storestand_tear_down), \
		cmocka_unit_test_setup_teardown(name, storestand_set_up_elsewhere,      \
						storestand_tear_down)
#define E(name) \
	cmocka_unit_test_setup_teardown(name, storestand_set_up_elsewhere, storestand_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(chunks_lie_where_the_packer_says),
		T(a_chunk_that_comes_again_is_stored_once),
		T(what_the_index_knows_is_not_stored_again),
		T(a_condemned_pack_is_not_relied_upon),
		T(a_collector_that_moves_is_seen_by_whom_it_concerns),
		T(a_store_that_cannot_be_asked_of_its_collector_is_not_written_to),
		T(whatever_call_fails_the_error_comes_out),
		T(who_cancels_is_let_go),
		T(what_is_not_finished_is_no_pack),
		T(a_batch_takes_what_one_frame_takes),
		E(a_pack_for_a_store_elsewhere_is_one_request),
		E(what_is_stored_elsewhere_is_cached_here),
		E(one_commit_takes_a_quarter_of_the_cache_at_most),
		cmocka_unit_test_setup_teardown(what_is_stored_here_is_not_cached_as_well,
						storestand_set_up, storestand_tear_down),
	};

	log_set_quiet(true);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
