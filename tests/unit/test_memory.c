/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Chunks in memory: parcels that several loads share come and go whole, whoever offers them when.
 */
#include <pthread.h>

#include "check.h"
#include "object/memory.h"
#include "object/stretch.h"

enum {
	THREADS = 4,
	ROUNDS = 5000,
	CHUNKS = 8, /* of a parcel; each is what one of its loads offers it for */
	LEN = 64,
	SMALL = 4 << 10, /* parcels */
	LARGE = 296 << 10, /* for one, nearly all others go */
	BUDGET = 300 << 10,
};

struct offerer {
	struct memory *memory; /* borrowed */
	pthread_t thread;
	unsigned number;
	unsigned wrong; /* chunks that were not what they are */
};

static struct oid id_of(uint32_t thread, uint32_t round, uint32_t chunk)
{
	const uint32_t name[] = { thread, round, chunk };

	return oid_of(OID_CHUNK, (const uint8_t *)name, sizeof(name));
}

static uint8_t byte_of(uint32_t thread, uint32_t round, uint32_t chunk)
{
	return (uint8_t)(thread * 89 + round * 7 + chunk);
}

static struct parcel *make(const struct offerer *o, uint32_t round)
{
	size_t size = round % 8 == o->number ? LARGE : SMALL;
	struct stretch s = { .data = malloc(size), .size = size };
	const uint8_t *data = s.data;
	struct parcel *p;

	for (uint32_t i = 0; i < CHUNKS; i++)
		memset(s.data + (size_t)i * LEN, byte_of(o->number, round, i), LEN);
	p = parcel_new(&s, CHUNKS);
	for (uint32_t i = 0; i < CHUNKS; i++) {
		struct oid id = id_of(o->number, round, i);

		parcel_add(p, &id, data + (size_t)i * LEN, LEN);
	}
	return p;
}

static bool is_as_it_was(struct memory *m, uint32_t thread, uint32_t round, uint32_t chunk)
{
	struct oid id = id_of(thread, round, chunk);
	_cleanup_(blob_unrefp) struct blob *b = memory_chunk(m, &id);

	return !b || (b->len == LEN && b->data[0] == byte_of(thread, round, chunk) &&
		      b->data[LEN - 1] == byte_of(thread, round, chunk));
}

static void *offer(void *arg)
{
	struct offerer *o = arg;

	for (uint32_t round = 0; round < ROUNDS; round++) {
		struct parcel *p = make(o, round);

		for (uint32_t i = 0; i < CHUNKS; i++) {
			memory_add_parcel(o->memory, p);
			o->wrong += !is_as_it_was(o->memory, o->number, round, i);
		}
		parcel_unref(p);
		for (uint32_t t = 0; t < THREADS; t++)
			o->wrong += !is_as_it_was(o->memory, t, round, round % CHUNKS);
	}
	return NULL;
}

static void a_parcel_that_is_offered_while_it_goes_is_there_whole_or_not_at_all(void **state)
{
	_cleanup_(memory_freep) struct memory *m = NULL;
	struct offerer offerers[THREADS];
	uint64_t nodes, chunks;

	assert_ok(memory_new(BUDGET, BUDGET, &m));
	for (unsigned i = 0; i < THREADS; i++) {
		offerers[i] = (struct offerer){ .memory = m, .number = i };
		assert_int_equal(pthread_create(&offerers[i].thread, NULL, offer, &offerers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(offerers[i].thread, NULL);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(offerers[i].wrong, 0);
	memory_used(m, &nodes, &chunks);
	assert_true(chunks <= BUDGET);
	for (uint32_t t = 0; t < THREADS; t++)
		for (uint32_t round = 0; round < ROUNDS; round++)
			assert_true(is_as_it_was(m, t, round, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_parcel_that_is_offered_while_it_goes_is_there_whole_or_not_at_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
