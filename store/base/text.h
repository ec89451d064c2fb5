/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Numbers, sizes and bytes to text and back.
 */
#pragma once

#include "base/defs.h"

/* Writes 2 * @len lower-case digits and a NUL. */
void hex_encode(const void *data, size_t len, char *buf);

/* Reads @n (even) lower-case hex digits into @ret; 0 or -EINVAL (then @ret is undefined). */
int hex_decode(const char *s, size_t n, uint8_t *ret);

/* "512", "64K", "1.5G", "2GiB" (powers of 1024) to bytes. 0, -EINVAL, -ERANGE. */
int parse_size(const char *s, uint64_t *ret);

/* A decimal number, nothing before or after it. 0, -EINVAL, -ERANGE. */
int parse_u64(const char *s, uint64_t *ret);

/* "1.4 GiB", "17 B": for people, into @buf of at least 16; returns @buf. */
char *format_size(uint64_t bytes, char *buf, size_t len);

/* True when the bytes are well-formed UTF-8 without NUL (RFC 3629, section 3). */
bool utf8_is_valid(const void *data, size_t len);

/* malloc'ed, formatted as printf() does; NULL without memory. */
char *strf(const char *fmt, ...) _printf_(1, 2);

/* RFC 3339, in UTC, with nanoseconds; what no calendar has, "@SECONDS.NANOSECONDS". */
enum {
	TIME_TEXT = 40
};
char *time_text(int64_t sec, uint32_t nsec, char buf[TIME_TEXT]);
