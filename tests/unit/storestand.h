/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A store behind a layer of faults, opened as far as writing and reading objects goes.
 */
#pragma once

#include "backend/fault.h"
#include "base/thread.h"
#include "object/reader.h"
#include "object/refs.h"
#include "object/store.h"
#include "scratch.h"
#include "write/content.h"
#include "write/session.h"

struct storestand {
	struct scratch dir;
	struct store store;
	struct access acc;
	unsigned machines; /* so far */
};

/* For cmocka: *@state is a stand of the test's own, its store in memory or on the disk. */
int storestand_set_up(void **state);
int storestand_set_up_on_disk(void **state);
/* The same as in memory, but it looks as if the network were between. */
int storestand_set_up_elsewhere(void **state);
int storestand_tear_down(void **state);

/* From here on it is another machine, which knows nothing of the store. */
void storestand_move(struct storestand *s);

/* Its memory alone goes: the index stays. */
void storestand_forget_objects(struct storestand *s);

/* What a packer has done since @before. */
struct packer_stats stats_since(struct packer *p, const struct packer_stats *before);

/* Calls that its backend has had. */
struct fault_counts storestand_counts(struct storestand *s);

/* How many packs there are. */
unsigned storestand_packs(struct storestand *s);

/* All of a content, which must be readable; the caller frees it. */
uint8_t *content_bytes(struct storestand *s, const struct content *c);

/*
 * A file made of pieces, as a model and as a source. What it is made of is copied or, of contents,
 * must outlive it.
 */
struct madepiece {
	enum piece_kind kind;
	uint64_t len;
	const uint8_t *bytes; /* PIECE_DATA */
	const struct content *content; /* PIECE_CONTENT */
	uint64_t content_off;
	const uint8_t *content_bytes; /* what that is, whole; NULL: not to be read here */
};

/* What a source was asked for, and what became of it. */
struct madecounts {
	uint64_t reads, read; /* calls, bytes */
	uint64_t stored; /* chunks that it was told of */
	uint64_t freed;
	int64_t fail_in; /* the call, from 1, that fails with -EUCLEAN; 0: none */
};

struct content_source *made_source(const struct madepiece *pieces, size_t n,
				   struct madecounts *counts);

/* Builds a content to its end with a packer that is not finished. */
int build_content(struct storestand *s, struct packer *p, const struct chunk_params *params,
		  struct content_source *src, struct content *ret, struct buf *ret_inlined);
