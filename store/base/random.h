/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Random bytes from the kernel. Aborts when the kernel has none to give, which it always has.
 */
#pragma once

#include "base/defs.h"

/* A random name of an object: 128 bits, never derived from content, never used twice. */
struct id128 {
	uint8_t b[16];
};

#define ID128_HEX 33

void random_bytes(void *buf, size_t len);
uint64_t random_u64(void);

struct id128 id128_random(void);
bool id128_is_null(const struct id128 *id);
bool id128_equal(const struct id128 *a, const struct id128 *b);
int id128_cmp(const struct id128 *a, const struct id128 *b);

/* Writes 32 lower-case hex digits and a NUL; returns @buf. */
char *id128_hex(const struct id128 *id, char buf[ID128_HEX]);

/* Reads exactly 32 lower-case hex digits of @s. 0 or -EINVAL. */
int id128_parse(struct span s, struct id128 *ret);
