/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The scan of chunk/chunker.h.
 *
 * A chunk passes three stretches: up to min nothing can end it and nothing is looked at; up to avg
 * the strict mask makes ends rare; from there to max the loose one makes them common, so that sizes
 * gather around avg. A mask has the highest bits of the hash, so "no bit of it is set" is a
 * comparison with the lowest of them.
 */
#include "chunk/chunker.h"

#include "chunk/gear.h"
#include "format/limits.h"

enum {
	NORMALISATION = 2
};

bool chunk_params_are_valid(const struct chunk_params *p)
{
	return p->min >= CHUNK_MIN_LEAST && p->min < p->avg && p->avg < p->max &&
	       p->max <= CHUNK_LIMIT && (p->avg & (p->avg - 1)) == 0;
}

static uint64_t highest_bits(int n)
{
	return ~(UINT64_MAX >> n);
}

void chunker_init(struct chunker *c, const struct chunk_params *p)
{
	int bits = __builtin_ctz(p->avg);

	*c = (struct chunker){
		.params = *p,
		.mask_small = highest_bits(bits + NORMALISATION),
		.mask_large = highest_bits(bits - NORMALISATION),
	};
}

void chunker_reset(struct chunker *c)
{
	c->hash = 0;
	c->pos = 0;
}

/* Hashes up to @len bytes. Returns how many it took; *@ret_cut: the last of them ends the chunk. */
static size_t scan_gear(uint64_t *hash, uint64_t mask, const uint8_t *p, size_t len, bool *ret_cut)
{
	const uint64_t lowest = mask & -mask;
	uint64_t h = *hash;
	size_t i = 0;

#define STEP(k)                                        \
	do {                                           \
		h = (h << 1) + chunk_gear[p[i + (k)]]; \
		if (unlikely(h < lowest)) {            \
			*ret_cut = true;               \
			return i + (k) + 1;            \
		}                                      \
	} while (0)
	for (; i + 8 <= len; i += 8) {
		STEP(0);
		STEP(1);
		STEP(2);
		STEP(3);
		STEP(4);
		STEP(5);
		STEP(6);
		STEP(7);
	}
	for (; i < len; i++)
		STEP(0);
#undef STEP
	*hash = h;
	*ret_cut = false;
	return i;
}

size_t chunker_scan(struct chunker *c, const void *data, size_t len, bool *ret_cut)
{
	const struct {
		uint32_t end;
		uint64_t mask;
	} stretches[] = {
		{ c->params.avg, c->mask_small },
		{ c->params.max, c->mask_large },
	};
	const uint8_t *p = data;
	bool is_cut = false;
	size_t done = 0;

	if (c->pos < c->params.min) {
		done = MIN(len, (size_t)(c->params.min - c->pos));
		c->pos += (uint32_t)done;
	}
	for (size_t s = 0; s < ARRAY_SIZE(stretches) && !is_cut && done < len; s++) {
		size_t n;

		if (c->pos >= stretches[s].end)
			continue;
		n = MIN(len - done, (size_t)(stretches[s].end - c->pos));
		n = scan_gear(&c->hash, stretches[s].mask, p + done, n, &is_cut);
		c->pos += (uint32_t)n;
		done += n;
	}
	if (c->pos == c->params.max)
		is_cut = true;
	if (is_cut)
		chunker_reset(c);
	*ret_cut = is_cut;
	return done;
}
