/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The one gate through which outside bytes are parsed.
 *
 * A cursor that has run out goes on returning zeroes and empty spans and remembers it: check
 * cursor_failed() once at the end (and before trusting a length for an allocation). Spans it
 * returns borrow the bytes it was made of.
 */
#pragma once

#include <endian.h>

#include "base/defs.h"
#include "base/random.h"

struct cursor {
	const uint8_t *p;
	const uint8_t *end;
	bool failed;
};

static inline struct cursor cursor_of(struct span s)
{
	return (struct cursor){ .p = s.data, .end = s.len > 0 ? s.data + s.len : s.data };
}

static inline bool cursor_failed(const struct cursor *c)
{
	return c->failed;
}

static inline size_t cursor_left(const struct cursor *c)
{
	return (size_t)(c->end - c->p);
}

/* All was read, and there was neither too little nor too much. */
static inline bool cursor_at_end(const struct cursor *c)
{
	return !c->failed && c->p == c->end;
}

static inline void cursor_fail(struct cursor *c)
{
	c->failed = true;
	c->p = c->end;
}

static inline struct span rd_bytes(struct cursor *c, size_t n)
{
	struct span s = { c->p, n };

	if (n > cursor_left(c)) {
		cursor_fail(c);
		return (struct span){ c->end, 0 };
	}
	if (n > 0)
		c->p += n;
	return s;
}

static inline void rd_copy(struct cursor *c, void *dst, size_t n)
{
	struct span s = rd_bytes(c, n);

	if (s.len == n && n > 0)
		memcpy(dst, s.data, n);
	else
		memset(dst, 0, n);
}

static inline uint8_t rd_u8(struct cursor *c)
{
	uint8_t v;

	rd_copy(c, &v, sizeof(v));
	return v;
}

static inline uint16_t rd_u16(struct cursor *c)
{
	uint16_t v;

	rd_copy(c, &v, sizeof(v));
	return le16toh(v);
}

static inline uint32_t rd_u32(struct cursor *c)
{
	uint32_t v;

	rd_copy(c, &v, sizeof(v));
	return le32toh(v);
}

static inline uint64_t rd_u64(struct cursor *c)
{
	uint64_t v;

	rd_copy(c, &v, sizeof(v));
	return le64toh(v);
}

static inline uint64_t rd_u64be(struct cursor *c)
{
	uint64_t v;

	rd_copy(c, &v, sizeof(v));
	return be64toh(v);
}

static inline struct id128 rd_id128(struct cursor *c)
{
	struct id128 id;

	rd_copy(c, id.b, sizeof(id.b));
	return id;
}

/* A length and the bytes; over @max fails the cursor. */
static inline struct span rd_limited(struct cursor *c, size_t n, size_t max)
{
	if (n > max)
		cursor_fail(c);
	return rd_bytes(c, c->failed ? 0 : n);
}

static inline struct span rd_str8(struct cursor *c, size_t max)
{
	return rd_limited(c, rd_u8(c), max);
}

static inline struct span rd_str16(struct cursor *c, size_t max)
{
	return rd_limited(c, rd_u16(c), max);
}

static inline struct span rd_str32(struct cursor *c, size_t max)
{
	return rd_limited(c, rd_u32(c), max);
}

/* A str8 as a C string of at most @size - 1 bytes; a longer one, or a NUL in it, fails the cursor
 * and leaves "". */
static inline void rd_string8(struct cursor *c, char *ret, size_t size)
{
	struct span s = rd_str8(c, size - 1);

	if (s.len > 0 && memchr(s.data, '\0', s.len)) {
		cursor_fail(c);
		s.len = 0;
	}
	if (s.len > 0)
		memcpy(ret, s.data, s.len);
	ret[s.len] = '\0';
}
