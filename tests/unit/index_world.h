/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An index of a store in memory, behind faults.
 */
#pragma once

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

static const struct id128 _unused_ STORE = { { 1, 2, 3 } };

struct world {
	struct scratch dir;
	struct index *index;
	struct backend *memory; /* behind the faults, which own it */
	struct backend *backend;
	struct prng random;
};

static inline _unused_ int world_setup(void **state)
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

static inline _unused_ int world_teardown(void **state)
{
	struct world *w = *state;

	index_free(w->index);
	backend_free(w->backend);
	scratch_remove(&w->dir);
	free(w);
	return 0;
}

static inline _unused_ void reopen(struct world *w)
{
	index_free(w->index);
	w->index = NULL;
	assert_ok(index_open(w->dir.fd, &STORE, MAP_BYTES, &w->index));
}

/* A pack's entries, made up; any ten of them in a row lie in ten frames, so any part will do. */
static inline _unused_ struct pack_entry *entries_make(struct prng *p, uint32_t n)
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

static inline _unused_ struct id128 add_pack(struct world *w, const struct pack_entry *e,
					     uint32_t n)
{
	struct id128 pack = sample_id128(&w->random);

	assert_ok(index_add_pack(w->index, &pack, e, n));
	return pack;
}

static inline _unused_ void assert_found(struct index *x, const struct id128 *pack,
					 const struct pack_entry *e)
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
static inline _unused_ struct id128 store_pack(struct world *w, struct pack_entry *e, uint32_t n)
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

static inline _unused_ struct index_stats stats_of(struct index *x)
{
	struct index_stats s;

	index_stats(x, &s);
	return s;
}

struct refusal {
	struct id128 packs[4];
	unsigned n;
};

static inline _unused_ bool is_not_refused(const struct loc *at, void *ctx)
{
	const struct refusal *f = ctx;

	for (unsigned i = 0; i < f->n; i++)
		if (id128_equal(&f->packs[i], &at->pack))
			return false;
	return true;
}

/* Changes @len bytes of data.mdb at @at. */
static inline _unused_ void scribble(struct world *w, uint64_t at, size_t len)
{
	int fd = openat(w->dir.fd, "data.mdb", O_RDWR);
	uint8_t *junk = malloc(len);

	prng_fill(&w->random, junk, len);
	assert_ok(pwrite_all(fd, junk, len, at));
	free(junk);
	close(fd);
}

/* Opens an index that was damaged, and sees that it can be used. */
static inline _unused_ void assert_usable(struct world *w, const struct pack_entry *e, uint32_t n)
{
	struct id128 pack;

	assert_ok(index_open(w->dir.fd, &STORE, MAP_BYTES, &w->index));
	pack = add_pack(w, e, n);
	assert_true(index_knows_pack(w->index, &pack));
	assert_found(w->index, &pack, &e[n - 1]);
}

/* An index of another machine. */
struct other {
	struct scratch dir;
	struct index *index;
};

static inline _unused_ struct other other_open(uint64_t map_bytes)
{
	struct other o = { .dir = scratch_make() };

	assert_ok(index_open(o.dir.fd, &STORE, map_bytes, &o.index));
	return o;
}

static inline _unused_ void other_close(struct other *o)
{
	index_free(o->index);
	scratch_remove(&o->dir);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
