/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A growing run of bytes, and the writing half of the wire format: all integers little-endian.
 *
 * An append that finds no memory marks the buffer and every later one does nothing, so a writer
 * checks once, with buf_failed(), at the end.
 */
#pragma once

#include "base/defs.h"

struct buf {
	uint8_t *data; /* owned */
	size_t len;
	size_t cap;
	bool failed;
};

void buf_release(struct buf *b);
#define _cleanup_buf_ _cleanup_(buf_release)

/* Room for @more bytes; 0 or -ENOMEM (and the mark). */
int buf_reserve(struct buf *b, size_t more);

/* Lengthens by @n bytes and returns where they start (NULL: marked); they are not set. */
uint8_t *buf_extend(struct buf *b, size_t n);

void buf_put(struct buf *b, const void *data, size_t len);
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u16(struct buf *b, uint16_t v);
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
void buf_put_u64be(struct buf *b, uint64_t v); /* where bytes must order as numbers do */

/* A length and the bytes. Too long for the length's width marks the buffer. */
void buf_put_str8(struct buf *b, struct span s);
void buf_put_str16(struct buf *b, struct span s);
void buf_put_str32(struct buf *b, struct span s);

void buf_printf(struct buf *b, const char *fmt, ...) _printf_(2, 3);

/* Overwrites bytes that are there already. */
void buf_set_u32(struct buf *b, size_t off, uint32_t v);

static inline bool buf_failed(const struct buf *b)
{
	return b->failed;
}

/* Moves what was written to @ret, in place of what that held. 0, or -ENOMEM when @b is marked. */
int buf_take(struct buf *b, struct buf *ret);

static inline struct span buf_span(const struct buf *b)
{
	return (struct span){ b->data, b->len };
}

/* Empties it and keeps the memory. */
static inline void buf_clear(struct buf *b)
{
	b->len = 0;
	b->failed = false;
}
