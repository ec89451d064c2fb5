/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A file's bytes to its content: cuts into chunks what is new, takes over the chunks of what is
 * known, and makes the extents tree.
 *
 * The result is that of chunking the whole file: what is kept of a known content starts where a
 * cut fell, and around a change chunks are cut anew until a cut meets an old one. So a small write
 * into a large file costs a few chunks. (Of contents that were cut with other parameters, a repo's
 * whose settings differ, chunks are kept as they are.)
 */
#pragma once

#include "chunk/chunker.h"
#include "write/packer.h"

enum piece_kind {
	PIECE_DATA, /* new bytes, to be had with read() */
	PIECE_HOLE,
	PIECE_CONTENT, /* a range of a content that the store has */
};

struct piece {
	enum piece_kind kind;
	uint64_t len; /* from the offset asked for to where something else begins */
	const struct content *content; /* PIECE_CONTENT; the source's, until its next piece() */
	uint64_t content_off;
};

enum {
	CONTENT_LOOK_AHEAD = 256 << 10
};

/* Where a file's bytes come from: staged data over a base, a local file, a tar stream. */
struct content_source {
	uint64_t size;
	/* What most of it may be taken from, if that is known before: its tree is edited rather
	 * than built anew. NULL: the first such that is met in time. */
	const struct content *base;
	/* What lies at @off < size. 0 or -errno. */
	int (*piece)(struct content_source *s, uint64_t off, struct piece *ret);
	/* All of [@off, @off + @len), whatever the pieces. Offsets of both calls ascend, but for
	 * ways back of at most CONTENT_LOOK_AHEAD; without PIECE_CONTENT no byte is read twice. 0
	 * or -errno. */
	int (*read)(struct content_source *s, uint64_t off, size_t len, void *buf);
	/* The bytes at @off are that chunk now; NULL: nobody wants to know. */
	void (*stored)(struct content_source *s, uint64_t off, const struct batch_chunk *chunk);
	void (*free)(struct content_source *s);
};

/* A content being made; its last chunks may still be with the workers. */
struct content_build;

struct content_options {
	struct packer *packer; /* borrowed, as all here */
	struct chunk_params params;
	struct access *access; /* for what the store has; may wait */
	/* The batch of small chunks that is being filled, shared with other builds: replaced when
	 * it is full and submitted. NULL: none. */
	struct batch **open;
};

/* Reads @src to its end, submitting batches. @src is taken: it is freed when it is read, or if it
 * wants to be told what is stored, with the build; on failure too. */
int content_build_new(const struct content_options *o, struct content_source *src,
		      struct content_build **ret);
void content_build_free(struct content_build *b);
DEFINE_CLEANUP(struct content_build *, content_build_free)

/* Would content_build_finish() not wait? */
bool content_build_is_ready(struct content_build *b);

/* Waits for the workers; the open batch must have been submitted if chunks of it are missing.
 * Inlined bytes in the result are the build's. */
int content_build_finish(struct content_build *b, struct content *ret);

/* Adds one chunk to the open batch, submitting it when full, or as one of its own. @ret_batch: a
 * reference; @ret_index: which of its chunks. */
int content_add_chunk(const struct content_options *o, struct span bytes, struct batch **ret_batch,
		      uint32_t *ret_index);

/* Bytes in memory as a source; copied. */
int content_of_bytes(struct span bytes, struct content_source **ret);
