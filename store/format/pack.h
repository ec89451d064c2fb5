/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Packs and their frames as bytes (FORMAT.md, section 5). Pure: no I/O, no threads of its own.
 */
#pragma once

#include "base/oid.h"
#include "format/limits.h"
#include "format/loc.h"

enum {
	PACK_HEADER_SIZE = 32,
	PACK_TRAILER_SIZE = 48,
	PACK_ENTRY_SIZE = 48,
	FRAME_FIXED_SIZE = 24,
	FRAME_ITEM_SIZE = 37,
};

#define FRAME_HEADER_SIZE(items) ((size_t)FRAME_FIXED_SIZE + (items) * FRAME_ITEM_SIZE + 8)

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
 * stores raw what does not shrink. 0, -ENOMEM, -EINVAL (lengths or limits wrong). */
int frame_encode(struct codec *c, const struct frame_item *items, uint16_t n, struct span raw,
		 struct buf *out);

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

/* The item @i < count; where it starts in the uncompressed payload. */
void frame_item(const struct frame *f, uint16_t i, struct frame_item *ret, uint32_t *ret_at);

static inline size_t frame_len(const struct frame *f)
{
	return f->header_len + f->stored_len;
}

/* Uncompresses the payload into exactly f->raw_len bytes at @raw. The items' ids are not checked
 * here. 0, -EBADMSG, -ENOMEM. */
int frame_decode(struct codec *c, const struct frame *f, struct span payload, void *raw);

/* An entry of a footer, and with a place in the pack table, of a segment. */
struct pack_entry {
	struct oid id;
	uint32_t offset;
	uint32_t frame_len;
	uint16_t item;
	uint8_t kind;
	uint32_t len;
};

void pack_header_put(struct buf *b, const struct id128 *name);

/* Sorts @entries and appends footer and trailer; @footer_off is the pack's length so far. */
void pack_footer_put(struct buf *b, struct pack_entry *entries, size_t n, uint64_t footer_off,
		     const struct id128 *name);

/* What the last PACK_TRAILER_SIZE bytes say. 0 or -EBADMSG. */
struct pack_trailer {
	uint64_t footer_off;
	uint32_t count;
	struct id128 name;
};
int pack_trailer_read(struct span last, uint64_t pack_size, struct pack_trailer *ret);

/* Checks the footer (all entries and the checksum over it and the trailer). @bytes is from
 * footer_off to the pack's end. 0 or -EBADMSG. */
int pack_footer_check(struct span bytes, const struct pack_trailer *t);
void pack_footer_entry(struct span bytes, uint32_t i, struct pack_entry *ret);

/* 0 or -EBADMSG: the first bytes of a pack called @name. */
int pack_header_check(struct span first, const struct id128 *name);
