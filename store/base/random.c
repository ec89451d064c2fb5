/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Random bytes and 128-bit names.
 */
#include "base/random.h"

#include <sys/random.h>

#include "base/text.h"

void random_bytes(void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			abort();
		p += n;
		len -= (size_t)n;
	}
}

uint64_t random_u64(void)
{
	uint64_t v;

	random_bytes(&v, sizeof(v));
	return v;
}

struct id128 id128_random(void)
{
	struct id128 id;

	random_bytes(id.b, sizeof(id.b));
	return id;
}

bool id128_is_null(const struct id128 *id)
{
	static const struct id128 null;

	return id128_equal(id, &null);
}

bool id128_equal(const struct id128 *a, const struct id128 *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

int id128_cmp(const struct id128 *a, const struct id128 *b)
{
	return memcmp(a->b, b->b, sizeof(a->b));
}

char *id128_hex(const struct id128 *id, char buf[ID128_HEX])
{
	hex_encode(id->b, sizeof(id->b), buf);
	return buf;
}

int id128_parse(struct span s, struct id128 *ret)
{
	if (s.len != 2 * sizeof(ret->b))
		return -EINVAL;
	return hex_decode((const char *)s.data, s.len, ret->b);
}
