/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What each block of a staging file is to the disk: two bits a block, in pieces that exist only
 * where a file has something, and take no memory where a piece is all the same.
 *
 *	FREE --given out, written--> USED --given back--> RELEASED --sync point begins--> CUT
 *	 ^------------------------------------ punched, after the sync point ---------------'
 *
 * Threads: none of its own; the staging's lock guards it.
 */
#pragma once

#include "base/htab.h"

enum block_state {
	BLOCK_FREE, /* a hole */
	BLOCK_USED,
	BLOCK_RELEASED,
	BLOCK_CUT,
	BLOCK_STATES,
};

struct blockmap {
	struct htab pieces;
	uint64_t counts[BLOCK_STATES]; /* blocks in each state; FREE ones are not counted */
};

void blockmap_release(struct blockmap *m);

enum block_state blockmap_get(const struct blockmap *m, uint64_t block);

/* Blocks from @first on that are in the same state as it, up to @max. */
uint64_t blockmap_run(const struct blockmap *m, uint64_t first, uint64_t max);

/* 0 or -ENOMEM: then some of them are set. */
int blockmap_set(struct blockmap *m, uint64_t first, uint64_t count, enum block_state state);

/* What is released becomes cut. */
void blockmap_cut(struct blockmap *m);

/* Some run of cut blocks, near @hint and behind it if there is one; false: there is none. */
bool blockmap_find_cut(const struct blockmap *m, uint64_t hint, uint64_t *ret_first,
		       uint64_t *ret_count);
