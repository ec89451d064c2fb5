/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * cmocka, after what it wants to be included before it, and a few words of our own.
 */
#pragma once

#include "base/defs.h"

/* clang-format off */
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>
/* clang-format on */

#define assert_ok(expr) assert_int_equal((expr), 0)

/*
 * Every byte of @object changed in turn, in one bit and in all, must make @read refuse it: with
 * -EBADMSG, or where @version_at holds the version (SIZE_MAX: nowhere), with -ENOTSUP.
 */
static inline _unused_ void assert_no_flip_passes(struct span object, size_t version_at,
						  int (*read)(struct span object))
{
	static const uint8_t masks[] = { 0x01, 0x80, 0xff };
	uint8_t *copy = malloc(object.len);

	assert_non_null(copy);
	memcpy(copy, object.data, object.len);
	assert_ok(read(span_of(copy, object.len)));
	for (size_t i = 0; i < object.len; i++) {
		for (size_t k = 0; k < ARRAY_SIZE(masks); k++) {
			int r;

			copy[i] ^= masks[k];
			r = read(span_of(copy, object.len));
			copy[i] ^= masks[k];
			if (r == -EBADMSG || (r == -ENOTSUP && i / 2 == version_at / 2))
				continue;
			fail_msg("byte %zu of %zu changed by %02x: %d", i, object.len, masks[k], r);
		}
	}
	free(copy);
}

/* Nor may any beginning of it. */
static inline _unused_ void assert_no_beginning_passes(struct span object,
						       int (*read)(struct span object))
{
	for (size_t n = 0; n < object.len; n++) {
		/* of its own, so that reading beyond the end is seen */
		uint8_t *copy = malloc(n + 1);
		int r;

		assert_non_null(copy);
		memcpy(copy, object.data, n);
		r = read(span_of(copy, n));
		free(copy);
		if (r != -EBADMSG)
			fail_msg("the first %zu of %zu bytes: %d", n, object.len, r);
	}
}
