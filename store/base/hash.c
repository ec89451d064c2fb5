/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * XXH3 behind base/hash.h.
 */
#include "base/hash.h"

#include <pthread.h>

#include "base/random.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static uint64_t process_seed;
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void seed_init(void)
{
	random_bytes(&process_seed, sizeof(process_seed));
}

uint64_t xxh64(const void *data, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, len, seed);
}

uint64_t hash_bytes(const void *data, size_t len)
{
	pthread_once(&seed_once, seed_init);
	return XXH3_64bits_withSeed(data, len, process_seed);
}

uint64_t hash_u64(uint64_t v)
{
	return hash_bytes(&v, sizeof(v));
}
