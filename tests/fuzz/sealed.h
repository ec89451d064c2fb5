/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Bytes with their checksum made right, without which a fuzzer would never get past it.
 */
#pragma once

#include <endian.h>

#include "base/buf.h"
#include "base/hash.h"

enum {
	SEAL_SIZE = 8
};

/* Sets the checksum that stands at @at, over all before it. */
static inline void seal(uint8_t *data, size_t at)
{
	uint64_t sum = htole64(xxh64(data, at, 0));

	memcpy(data + at, &sum, sizeof(sum));
}

/* A copy of @data whose last bytes are the checksum; false when it is too short. */
static inline bool sealed_copy(const uint8_t *data, size_t size, struct buf *ret)
{
	buf_put(ret, data, size);
	if (size < SEAL_SIZE || buf_failed(ret))
		return false;
	seal(ret->data, size - SEAL_SIZE);
	return true;
}
