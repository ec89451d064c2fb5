/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The growing buffer of base/buf.h.
 */
#include "base/buf.h"

#include <endian.h>
#include <stdarg.h>
#include <stdio.h>

enum {
	CAP_FIRST = 64
};

void buf_release(struct buf *b)
{
	free(b->data);
	*b = (struct buf){ 0 };
}

int buf_reserve(struct buf *b, size_t more)
{
	size_t need, cap;
	uint8_t *p;

	if (b->failed || __builtin_add_overflow(b->len, more, &need))
		goto fail;
	if (need <= b->cap)
		return 0;
	cap = MAX(b->cap + b->cap / 2, (size_t)CAP_FIRST);
	if (cap < need)
		cap = need;
	p = realloc(b->data, cap);
	if (!p)
		goto fail;
	b->data = p;
	b->cap = cap;
	return 0;
fail:
	b->failed = true;
	return -ENOMEM;
}

int buf_take(struct buf *b, struct buf *ret)
{
	if (b->failed)
		return -ENOMEM;
	buf_release(ret);
	*ret = *b;
	*b = (struct buf){ 0 };
	return 0;
}

uint8_t *buf_extend(struct buf *b, size_t n)
{
	uint8_t *p;

	if (buf_reserve(b, n) < 0)
		return NULL;
	p = b->data + b->len;
	b->len += n;
	return p;
}

void buf_put(struct buf *b, const void *data, size_t len)
{
	uint8_t *p;

	if (len == 0)
		return;
	p = buf_extend(b, len);
	if (p)
		memcpy(p, data, len);
}

void buf_put_u8(struct buf *b, uint8_t v)
{
	buf_put(b, &v, sizeof(v));
}

void buf_put_u16(struct buf *b, uint16_t v)
{
	v = htole16(v);
	buf_put(b, &v, sizeof(v));
}

void buf_put_u32(struct buf *b, uint32_t v)
{
	v = htole32(v);
	buf_put(b, &v, sizeof(v));
}

void buf_put_u64(struct buf *b, uint64_t v)
{
	v = htole64(v);
	buf_put(b, &v, sizeof(v));
}

void buf_put_u64be(struct buf *b, uint64_t v)
{
	v = htobe64(v);
	buf_put(b, &v, sizeof(v));
}

void buf_put_str8(struct buf *b, struct span s)
{
	if (s.len > UINT8_MAX)
		b->failed = true;
	buf_put_u8(b, (uint8_t)s.len);
	buf_put(b, s.data, s.len);
}

void buf_put_str16(struct buf *b, struct span s)
{
	if (s.len > UINT16_MAX)
		b->failed = true;
	buf_put_u16(b, (uint16_t)s.len);
	buf_put(b, s.data, s.len);
}

void buf_put_str32(struct buf *b, struct span s)
{
	if (s.len > UINT32_MAX)
		b->failed = true;
	buf_put_u32(b, (uint32_t)s.len);
	buf_put(b, s.data, s.len);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 || buf_reserve(b, (size_t)n + 1) < 0) {
		b->failed = true;
		return;
	}
	va_start(ap, fmt);
	vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

void buf_set_u32(struct buf *b, size_t off, uint32_t v)
{
	v = htole32(v);
	if (!b->failed)
		memcpy(b->data + off, &v, sizeof(v));
}
