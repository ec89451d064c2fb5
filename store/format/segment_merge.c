/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Making segments: a merge of sorted runs of entries, from footers or from older segments.
 *
 * In both an entry is 48 bytes and starts with its id, so one heap orders them all; only the
 * reading of an entry differs. Of equal ids the one from the first input comes first and the
 * others are dropped.
 */
#include "format/envelope.h"
#include "format/segment_layout.h"

_Static_assert((int)PACK_ENTRY_SIZE == (int)SEGMENT_ENTRY_SIZE,
	       "runs of both are stepped through alike");

/* What is left of an input, from its smallest id on. */
struct run {
	const uint8_t *next;
	uint32_t left;
	size_t order; /* among the inputs */
	const struct segment *segment; /* NULL: a footer */
	const uint32_t *pack_places; /* of the input's packs in the new table; borrowed */
};

struct merge {
	struct id128 *packs; /* owned; ascending, each once */
	size_t pack_count;
	uint32_t *places; /* owned: the runs' pack_places, one run after another */
	struct run *heap; /* owned */
	size_t runs;
};

static void merge_release(struct merge *m)
{
	free(m->packs);
	free(m->places);
	free(m->heap);
}

/* Room for @runs inputs with @packs packs in all. */
static int merge_init(struct merge *m, size_t runs, size_t packs)
{
	m->packs = new0(struct id128, packs + 1);
	m->places = new0(uint32_t, packs + 1);
	m->heap = new0(struct run, runs + 1);
	return m->packs && m->places && m->heap ? 0 : -ENOMEM;
}

/* Once all packs of all inputs are there. */
static void pack_table_make(struct merge *m)
{
	size_t n = 0;

	if (m->pack_count > 0)
		qsort(m->packs, m->pack_count, sizeof(m->packs[0]), pack_name_cmp);
	for (size_t i = 0; i < m->pack_count; i++)
		if (n == 0 || !id128_equal(&m->packs[n - 1], &m->packs[i]))
			m->packs[n++] = m->packs[i];
	m->pack_count = n;
}

static uint32_t pack_place(const struct merge *m, const struct id128 *pack)
{
	const struct id128 *p =
		bsearch(pack, m->packs, m->pack_count, sizeof(m->packs[0]), pack_name_cmp);

	return (uint32_t)(p - m->packs);
}

static bool comes_before(const struct run *a, const struct run *b)
{
	int c = memcmp(a->next, b->next, OID_SIZE);

	return c < 0 || (c == 0 && a->order < b->order);
}

static void sift_down(struct merge *m, size_t i)
{
	for (;;) {
		size_t child = 2 * i + 1;
		struct run swapped;

		if (child >= m->runs)
			return;
		if (child + 1 < m->runs && comes_before(&m->heap[child + 1], &m->heap[child]))
			child++;
		if (!comes_before(&m->heap[child], &m->heap[i]))
			return;
		swapped = m->heap[i];
		m->heap[i] = m->heap[child];
		m->heap[child] = swapped;
		i = child;
	}
}

static void run_add(struct merge *m, const struct run *r)
{
	if (r->left > 0)
		m->heap[m->runs++] = *r;
}

/* Takes the smallest entry out. */
static void merge_next(struct merge *m, struct pack_entry *ret, uint32_t *ret_pack)
{
	struct run *top = &m->heap[0];

	if (top->segment) {
		struct segment_entry e;

		segment_entry_read(top->segment, top->segment->count - top->left, &e);
		*ret = e.at;
		*ret_pack = top->pack_places[e.pack];
	} else {
		pack_footer_entry(span_of(top->next, SEGMENT_ENTRY_SIZE), 0, ret);
		*ret_pack = top->pack_places[0];
	}
	top->next += SEGMENT_ENTRY_SIZE;
	if (--top->left == 0)
		*top = m->heap[--m->runs];
	sift_down(m, 0);
}

static void entry_put(struct buf *out, const struct pack_entry *e, uint32_t pack)
{
	buf_put_oid(out, &e->id);
	buf_put_u32(out, pack);
	buf_put_u32(out, e->offset);
	buf_put_u32(out, e->frame_len);
	buf_put_u16(out, e->item);
	buf_put_u8(out, e->kind);
	buf_put_u8(out, 0);
}

/* The runs, in order, each id once; counts them by their first byte. */
static uint32_t entries_put(struct merge *m, struct buf *out,
			    uint32_t by_first_byte[SEGMENT_FANOUT])
{
	uint32_t count = 0;
	struct oid last;

	for (size_t i = m->runs; i-- > 0;)
		sift_down(m, i);
	while (m->runs > 0) {
		struct pack_entry e;
		uint32_t pack;

		merge_next(m, &e, &pack);
		if (count > 0 && oid_equal(&e.id, &last))
			continue;
		entry_put(out, &e, pack);
		by_first_byte[e.id.b[0]]++;
		count++;
		last = e.id;
	}
	return count;
}

static int segment_put(struct merge *m, uint32_t tier, const struct segment_id *replaced,
		       size_t replaces, struct buf *out)
{
	uint32_t by_first_byte[SEGMENT_FANOUT] = { 0 }, count, sum = 0;
	uint64_t size = SEGMENT_HEADER_SIZE + (uint64_t)m->pack_count * SEGMENT_PACK_SIZE +
			(uint64_t)replaces * SEGMENT_REPLACED_SIZE + SEGMENT_FANOUT_SIZE +
			ENVELOPE_CHECKSUM_SIZE;
	size_t count_at, fanout_at;

	for (size_t i = 0; i < m->runs; i++)
		size += (uint64_t)m->heap[i].left * SEGMENT_ENTRY_SIZE;
	if (size > SEGMENT_MAX || m->pack_count > SEGMENT_PACKS_MAX || tier > SEGMENT_TIER_MAX)
		return -EFBIG;
	buf_clear(out);
	if (buf_reserve(out, size) < 0)
		return -ENOMEM;

	envelope_head_put(out, SEGMENT_MAGIC);
	buf_put_u32(out, tier);
	buf_put_u32(out, (uint32_t)m->pack_count);
	buf_put_u32(out, (uint32_t)replaces);
	count_at = out->len;
	buf_put_u32(out, 0);
	buf_put_u64(out, 0);
	buf_put(out, m->packs, m->pack_count * SEGMENT_PACK_SIZE);
	for (size_t i = 0; i < replaces; i++) {
		buf_put_u32(out, replaced[i].tier);
		buf_put(out, replaced[i].name.b, sizeof(replaced[i].name.b));
	}
	fanout_at = out->len;
	buf_extend(out, SEGMENT_FANOUT_SIZE);
	count = entries_put(m, out, by_first_byte);
	buf_set_u32(out, count_at, count);
	for (unsigned b = 0; b < SEGMENT_FANOUT; b++) {
		sum += by_first_byte[b];
		buf_set_u32(out, fanout_at + b * sizeof(sum), sum);
	}
	envelope_seal(out);
	return buf_failed(out) ? -ENOMEM : 0;
}

int segment_of_footers(const struct segment_footer *in, size_t n, struct buf *out)
{
	_cleanup_(merge_release) struct merge m = { 0 };
	int r;

	r = merge_init(&m, n, n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		m.packs[m.pack_count++] = in[i].pack;
	pack_table_make(&m);
	for (size_t i = 0; i < n; i++) {
		struct run run = {
			.next = in[i].entries.data,
			.left = in[i].count,
			.order = i,
			.pack_places = &m.places[i],
		};

		m.places[i] = pack_place(&m, &in[i].pack);
		run_add(&m, &run);
	}
	return segment_put(&m, 0, NULL, 0, out);
}

static int by_segment_id(const void *a, const void *b)
{
	return segment_id_cmp(a, b);
}

/* A sorted copy, and the tier above the highest. */
static int replaced_make(const struct segment *in, const struct segment_id *ids, size_t n,
			 struct segment_id **ret, uint32_t *ret_tier)
{
	_cleanup_free_ struct segment_id *sorted = new0(struct segment_id, n + 1);
	uint32_t tier = 0;

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (ids[i].tier != in[i].tier)
			return -EINVAL;
		sorted[i] = ids[i];
		tier = MAX(tier, in[i].tier + 1);
	}
	qsort(sorted, n, sizeof(sorted[0]), by_segment_id);
	for (size_t i = 1; i < n; i++)
		if (segment_id_cmp(&sorted[i - 1], &sorted[i]) == 0)
			return -EINVAL;
	*ret = TAKE_PTR(sorted);
	*ret_tier = tier;
	return 0;
}

int segment_of_segments(const struct segment *in, const struct segment_id *ids, size_t n,
			struct buf *out)
{
	_cleanup_free_ struct segment_id *replaced = NULL;
	_cleanup_(merge_release) struct merge m = { 0 };
	size_t packs = 0;
	uint32_t tier;
	int r;

	r = replaced_make(in, ids, n, &replaced, &tier);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		packs += in[i].packs;
	r = merge_init(&m, n, packs);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < in[i].packs; k++)
			m.packs[m.pack_count++] = segment_pack(&in[i], k);
	pack_table_make(&m);

	packs = 0;
	for (size_t i = 0; i < n; i++) {
		struct run run = {
			.next = in[i].entries,
			.left = in[i].count,
			.order = i,
			.segment = &in[i],
			.pack_places = &m.places[packs],
		};

		for (uint32_t k = 0; k < in[i].packs; k++) {
			struct id128 pack = segment_pack(&in[i], k);

			m.places[packs++] = pack_place(&m, &pack);
		}
		run_add(&m, &run);
	}
	return segment_put(&m, tier, replaced, n, out);
}
