/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Content-defined chunking: FastCDC (Xia et al., USENIX ATC 2016) with normalisation level 2, as
 * FORMAT.md, section 8.4 fixes it. A cut depends only on the bytes since the last one, so the
 * chunks of equal content are equal, however the input came.
 *
 * Pure; a chunker may move between threads but serves one at a time.
 */
#pragma once

#include "base/defs.h"

enum {
	CHUNK_MIN_LEAST = 64
};

struct chunk_params {
	/* bytes; avg a power of two, CHUNK_MIN_LEAST <= min < avg < max <= CHUNK_LIMIT */
	uint32_t min, avg, max;
};

#define CHUNK_PARAMS_DEFAULT ((struct chunk_params){ 128 << 10, 512 << 10, 2 << 20 })

bool chunk_params_are_valid(const struct chunk_params *p);

/* The state of a scan: bytes of the current chunk seen so far. */
struct chunker {
	struct chunk_params params;
	uint64_t mask_small, mask_large;
	uint64_t hash;
	uint32_t pos;
};

void chunker_init(struct chunker *c, const struct chunk_params *p);

/*
 * Looks at the next bytes of a run of data. Returns how many of them belong to the current chunk,
 * with *@ret_cut true when the chunk ends there (and the next one starts); else all @len of them.
 * At the end of the run the caller ends the last chunk itself, with chunker_reset().
 *
 * A chunk that is still open when the run ends is cut there, so `min` needs no look ahead.
 */
size_t chunker_scan(struct chunker *c, const void *data, size_t len, bool *ret_cut);

void chunker_reset(struct chunker *c);
