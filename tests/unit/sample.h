/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Made-up data for tests: always the same for the same seed.
 */
#pragma once

#include "base/oid.h"
#include "base/random.h"
#include "format/frame.h"
#include "prng.h"

/* Compresses well; prng_fill() does not. */
static inline void sample_text(struct prng *p, void *buf, size_t len)
{
	static const char *const words[] = { "pack ", "frame ", "commit ", "branch\n", "tree " };
	uint8_t *to = buf;
	size_t n = 0;

	while (n < len)
		for (const char *w = words[prng_below(p, ARRAY_SIZE(words))]; *w && n < len; w++)
			to[n++] = (uint8_t)*w;
}

static inline struct id128 sample_id128(struct prng *p)
{
	struct id128 id;

	prng_fill(p, id.b, sizeof(id.b));
	return id;
}

static inline struct oid sample_oid(struct prng *p)
{
	struct oid o;

	prng_fill(p, o.b, sizeof(o.b));
	return o;
}

/* Cuts @raw into @n items, whose ids are right. */
static inline void sample_items(struct prng *p, struct span raw, uint16_t n,
				struct frame_item *items)
{
	size_t at = 0;

	for (uint16_t i = 0; i < n; i++) {
		size_t left = raw.len - at - (n - i - 1u);
		size_t len = i + 1 == n ? left : 1 + prng_below(p, left);

		items[i].kind = prng_below(p, 2) ? OID_CHUNK : OID_NODE;
		items[i].len = (uint32_t)len;
		items[i].id = oid_of(items[i].kind, raw.data + at, len);
		at += len;
	}
}
