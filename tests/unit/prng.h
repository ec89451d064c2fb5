/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Numbers that look random and are the same in every run (SplitMix64).
 */
#pragma once

#include <endian.h>

#include "base/defs.h"

struct prng {
	uint64_t state;
};

static inline uint64_t prng_u64(struct prng *p)
{
	uint64_t z = p->state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* From 0 to @n - 1. */
static inline uint64_t prng_below(struct prng *p, uint64_t n)
{
	return prng_u64(p) % n;
}

/* Little-endian words one after another, so that other languages can make the same. */
static inline void prng_fill(struct prng *p, void *buf, size_t len)
{
	uint8_t *to = buf;

	while (len > 0) {
		uint64_t word = htole64(prng_u64(p));
		size_t n = MIN(len, sizeof(word));

		memcpy(to, &word, n);
		to += n;
		len -= n;
	}
}
