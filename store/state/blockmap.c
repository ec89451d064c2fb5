/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The map of blockmap.h: a hash table of pieces of 64 MiB.
 *
 * Invariants
 *  - a piece is there only if one of its blocks is not free
 *  - it has no words when all its blocks are in one state
 */
#include "state/blockmap.h"

#include "base/hash.h"

enum {
	PIECE_BLOCKS = 16384,
	WORD_BLOCKS = 32,
	PIECE_WORDS = PIECE_BLOCKS / WORD_BLOCKS,
};

/* The same state in all 32 places of a word. */
#define EVERY_BLOCK 0x5555555555555555ull

struct piece {
	struct hnode node;
	uint64_t index;
	uint32_t counts[BLOCK_STATES];
	enum block_state all; /* without words: the state of all */
	uint64_t *words; /* owned */
};

static struct piece *find_piece(const struct blockmap *m, uint64_t index)
{
	uint64_t hash = hash_u64(index);

	htab_for_each (n, &m->pieces, hash) {
		struct piece *p = container_of(n, struct piece, node);

		if (p->index == index)
			return p;
	}
	return NULL;
}

static void free_piece(struct hnode *n, void *ctx)
{
	struct piece *p = container_of(n, struct piece, node);

	free(p->words);
	free(p);
}

void blockmap_release(struct blockmap *m)
{
	htab_walk(&m->pieces, free_piece, NULL);
	htab_release(&m->pieces);
	*m = (struct blockmap){ 0 };
}

static struct piece *new_piece(struct blockmap *m, uint64_t index)
{
	struct piece *p = new0(struct piece, 1);

	if (!p)
		return NULL;
	p->index = index;
	p->all = BLOCK_FREE;
	p->counts[BLOCK_FREE] = PIECE_BLOCKS;
	if (htab_insert(&m->pieces, &p->node, hash_u64(index)) < 0) {
		free(p);
		return NULL;
	}
	return p;
}

static enum block_state piece_get(const struct piece *p, uint32_t i)
{
	if (!p->words)
		return p->all;
	return p->words[i / WORD_BLOCKS] >> 2 * (i % WORD_BLOCKS) & 3;
}

/* Gives the piece words where it needs them. */
static int split_piece(struct piece *p)
{
	if (p->words)
		return 0;
	p->words = malloc(PIECE_WORDS * sizeof(p->words[0]));
	if (!p->words)
		return -ENOMEM;
	for (unsigned w = 0; w < PIECE_WORDS; w++)
		p->words[w] = EVERY_BLOCK * p->all;
	return 0;
}

/* Takes the words away where it does not, and the piece if it says nothing. */
static void settle_piece(struct blockmap *m, struct piece *p)
{
	for (unsigned s = 0; s < BLOCK_STATES; s++) {
		if (p->counts[s] != PIECE_BLOCKS)
			continue;
		p->all = s;
		free(TAKE_PTR(p->words));
	}
	if (p->counts[BLOCK_FREE] == PIECE_BLOCKS) {
		htab_remove(&m->pieces, &p->node);
		free(p);
	}
}

static int piece_set(struct blockmap *m, struct piece *p, uint32_t first, uint32_t count,
		     enum block_state state)
{
	if (split_piece(p) < 0)
		return -ENOMEM;
	for (uint32_t i = first; i < first + count; i++) {
		uint64_t *w = &p->words[i / WORD_BLOCKS];
		unsigned shift = 2 * (i % WORD_BLOCKS);
		enum block_state old = *w >> shift & 3;

		*w = (*w & ~(3ull << shift)) | (uint64_t)state << shift;
		p->counts[old]--;
		p->counts[state]++;
		m->counts[old]--;
		m->counts[state]++;
	}
	return 0;
}

int blockmap_set(struct blockmap *m, uint64_t first, uint64_t count, enum block_state state)
{
	while (count > 0) {
		uint32_t at = (uint32_t)(first % PIECE_BLOCKS);
		uint32_t n = (uint32_t)MIN(count, (uint64_t)PIECE_BLOCKS - at);
		struct piece *p = find_piece(m, first / PIECE_BLOCKS);
		int r = 0;

		if (!p && state != BLOCK_FREE) {
			p = new_piece(m, first / PIECE_BLOCKS);
			if (!p)
				return -ENOMEM;
		}
		if (p) {
			r = piece_set(m, p, at, n, state);
			settle_piece(m, p);
		}
		m->counts[BLOCK_FREE] = 0;
		if (r < 0)
			return r;
		first += n;
		count -= n;
	}
	return 0;
}

enum block_state blockmap_get(const struct blockmap *m, uint64_t block)
{
	const struct piece *p = find_piece(m, block / PIECE_BLOCKS);

	return p ? piece_get(p, (uint32_t)(block % PIECE_BLOCKS)) : BLOCK_FREE;
}

/* How far the state at @first goes in its piece, at most @max. */
static uint64_t run_in_piece(const struct piece *p, uint32_t first, uint64_t max)
{
	uint64_t left = MIN(max, (uint64_t)PIECE_BLOCKS - first), n = 1;

	if (!p || !p->words)
		return left;
	while (n < left && piece_get(p, first + (uint32_t)n) == piece_get(p, first))
		n++;
	return n;
}

uint64_t blockmap_run(const struct blockmap *m, uint64_t first, uint64_t max)
{
	enum block_state state = blockmap_get(m, first);
	uint64_t n = 0;

	while (n < max && blockmap_get(m, first + n) == state)
		n += run_in_piece(find_piece(m, (first + n) / PIECE_BLOCKS),
				  (uint32_t)((first + n) % PIECE_BLOCKS), max - n);
	return n;
}

static void cut_piece(struct hnode *n, void *ctx)
{
	struct piece *p = container_of(n, struct piece, node);

	if (p->counts[BLOCK_RELEASED] == 0)
		return;
	p->counts[BLOCK_CUT] += p->counts[BLOCK_RELEASED];
	p->counts[BLOCK_RELEASED] = 0;
	if (!p->words)
		p->all = BLOCK_CUT;
	/* 10 becomes 11: where the upper bit is set, so is the lower. */
	for (unsigned w = 0; p->words && w < PIECE_WORDS; w++)
		p->words[w] |= p->words[w] >> 1 & EVERY_BLOCK;
}

void blockmap_cut(struct blockmap *m)
{
	_Static_assert(BLOCK_RELEASED == 2 && BLOCK_CUT == 3, "cut_piece() sets bits");
	if (m->counts[BLOCK_RELEASED] == 0)
		return;
	htab_walk(&m->pieces, cut_piece, NULL);
	m->counts[BLOCK_CUT] += m->counts[BLOCK_RELEASED];
	m->counts[BLOCK_RELEASED] = 0;
}

static void note_cut_piece(struct hnode *n, void *ctx)
{
	const struct piece **ret = ctx;
	const struct piece *p = container_of(n, struct piece, node);

	if (p->counts[BLOCK_CUT] > 0)
		*ret = p;
}

bool blockmap_find_cut(const struct blockmap *m, uint64_t hint, uint64_t *ret_first,
		       uint64_t *ret_count)
{
	const struct piece *p = find_piece(m, hint / PIECE_BLOCKS);
	uint32_t i = (uint32_t)(hint % PIECE_BLOCKS);

	if (m->counts[BLOCK_CUT] == 0)
		return false;
	if (!p || p->counts[BLOCK_CUT] == 0) {
		htab_walk((struct htab *)&m->pieces, note_cut_piece, &p);
		i = 0;
	}
	while (piece_get(p, i) != BLOCK_CUT)
		i = (i + 1) % PIECE_BLOCKS;
	*ret_first = p->index * PIECE_BLOCKS + i;
	*ret_count = run_in_piece(p, i, UINT64_MAX);
	return true;
}
