/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Frames, what packs consist of, as bytes (FORMAT.md, section 5.1). Pure: no I/O, no threads.
 */
#pragma once

#include "base/buf.h"
#include "base/oid.h"
#include "format/limits.h"

enum {
	FRAME_FIXED_SIZE = 24,
	FRAME_ITEM_SIZE = 37,
};

#define FRAME_HEADER_SIZE(items) ((size_t)FRAME_FIXED_SIZE + (items)*FRAME_ITEM_SIZE + 8)

/* What a frame begins with. */
#define FRAME_MAGIC "pfsr"

enum pack_codec {
	CODEC_RAW = 0,
	CODEC_ZSTD = 1,
};

/* An item of a frame that is being made, or was read. */
struct frame_item {
	uint8_t kind; /* OID_CHUNK or OID_NODE */
	uint32_t len;
	struct oid id;
};

/* A thread's compression contexts, which are dear to make. */
struct codec;
int codec_new(int level, struct codec **ret);
void codec_free(struct codec *c);
DEFINE_CLEANUP(struct codec *, codec_free)

/* Appends a whole frame to @out: the items' bytes lie in @raw one after another. Compresses, or
 * stores raw what does not shrink. 0, -ENOMEM, -EINVAL (lengths or limits wrong); on an error @out
 * is as it was. */
int frame_encode(struct codec *c, const struct frame_item *items, uint16_t n, struct span raw,
		 struct buf *out);

/* The same, but the payload of what is stored raw is not copied: it is @ret_raw (all of @raw), to
 * stand behind what was appended; else that is empty. */
int frame_encode_head(struct codec *c, const struct frame_item *items, uint16_t n, struct span raw,
		      struct buf *out, struct span *ret_raw);

/* A frame's header, read. */
struct frame {
	uint8_t codec;
	uint16_t count;
	uint32_t raw_len;
	uint32_t stored_len;
	struct span items; /* private: borrowed from what was read */
	size_t header_len;
};

/*
 * Reads a header from the start of @bytes. 0; -EBADMSG; -ENODATA when @bytes ends before the
 * header does (*@ret_need: how many bytes would do).
 */
int frame_header_read(struct span bytes, struct frame *ret, size_t *ret_need);

/* The item @i < count; where it starts in the uncompressed payload, which is found by adding up the
 * items before it. Who goes through all of them adds up the lens himself and gives NULL. */
void frame_item(const struct frame *f, uint16_t i, struct frame_item *ret, uint32_t *ret_at);

static inline size_t frame_len(const struct frame *f)
{
	return f->header_len + f->stored_len;
}

/* Uncompresses the payload, stored_len bytes, into exactly f->raw_len bytes at @raw. The items' ids
 * are not checked here. 0, -EBADMSG, -ENOMEM. */
int frame_decode(struct codec *c, const struct frame *f, struct span payload, void *raw);
