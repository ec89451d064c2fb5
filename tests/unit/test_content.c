/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Contents: however a file's bytes come, its chunks are those of cutting all of it at once.
 */
#include "prng.h"
#include "storestand.h"

#define SMALL_PARAMS ((struct chunk_params){ 1024, 4096, 16384 })
#define TINY_PARAMS  ((struct chunk_params){ 64, 128, 512 })

enum {
	KNOWN = 5, /* contents that pieces are taken from */
	PIECES_MAX = 24,
};

/* A content that the store has, and what it is. */
struct known_content {
	struct content c;
	struct buf inlined;
	uint8_t *bytes;
	/* Its holes, as pieces would have them. */
	struct madepiece pieces[PIECES_MAX];
	size_t piece_count;
};

struct bench {
	struct storestand *s;
	struct packer *p;
	struct chunk_params params;
	struct prng random;
	struct known_content known[KNOWN];
	uint64_t big; /* lengths up to here */
};

static struct packer *packer_of(struct storestand *s)
{
	struct packer_options o = { .store = &s->store };
	struct packer *p;

	assert_ok(packer_new(&o, &p));
	return p;
}

/* Lengths of all sizes, and now and then such as blocks and small files have. */
static uint64_t some_length(struct prng *r, uint64_t most)
{
	uint64_t len = 1 + prng_below(r, most >> prng_below(r, 12));

	switch (prng_below(r, 6)) {
	case 0:
		return ALIGN_UP(len, (uint64_t)4096);
	case 1:
		return 4096;
	default:
		return len;
	}
}

static struct madepiece data_piece(struct bench *b, uint64_t len)
{
	uint8_t *bytes = malloc(len);

	assert_non_null(bytes);
	prng_fill(&b->random, bytes, len);
	/* Zeroes are data, too. */
	if (prng_below(&b->random, 5) == 0)
		memset(bytes, 0, len);
	return (struct madepiece){ .kind = PIECE_DATA, .len = len, .bytes = bytes };
}

static struct madepiece content_piece(struct bench *b)
{
	const struct known_content *k = &b->known[prng_below(&b->random, KNOWN)];
	uint64_t off = 0, len = k->c.size;

	switch (prng_below(&b->random, 4)) {
	case 0:
		break;
	case 1:
		len = 1 + prng_below(&b->random, k->c.size);
		break;
	case 2:
		off = prng_below(&b->random, k->c.size);
		len -= off;
		break;
	case 3:
		off = prng_below(&b->random, k->c.size);
		len = 1 + prng_below(&b->random, k->c.size - off);
		break;
	}
	return (struct madepiece){
		.kind = PIECE_CONTENT,
		.len = len,
		.content = &k->c,
		.content_off = off,
		.content_bytes = k->bytes,
	};
}

/* Pieces whose contents are spelt out as data and holes: how many. */
static size_t spell_out(const struct bench *b, const struct madepiece *in, size_t n,
			struct madepiece *out)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++) {
		const struct known_content *k;
		uint64_t at = 0, from = in[i].content_off, to = from + in[i].len;

		if (in[i].kind != PIECE_CONTENT) {
			out[count++] = in[i];
			continue;
		}
		k = container_of(in[i].content, struct known_content, c);
		for (size_t j = 0; j < k->piece_count; at += k->pieces[j++].len) {
			uint64_t a = MAX(at, from), z = MIN(at + k->pieces[j].len, to);

			if (a >= z)
				continue;
			out[count] = (struct madepiece){ .kind = k->pieces[j].kind, .len = z - a };
			if (out[count].kind == PIECE_DATA)
				out[count].bytes = k->bytes + a;
			count++;
		}
	}
	return count;
}

static struct content build(struct bench *b, const struct madepiece *pieces, size_t n,
			    struct buf *inlined, struct madecounts *counts)
{
	struct content c;

	assert_ok(
		build_content(b->s, b->p, &b->params, made_source(pieces, n, counts), &c, inlined));
	assert_int_equal(counts->freed, 1);
	return c;
}

static void assert_same_content(const struct content *a, const struct content *b)
{
	assert_int_equal(a->size, b->size);
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->data, b->data);
	assert_memory_equal(&a->id, &b->id, sizeof(a->id));
	assert_int_equal(a->inlined.len, b->inlined.len);
	if (a->inlined.len > 0)
		assert_memory_equal(a->inlined.data, b->inlined.data, a->inlined.len);
}

/* Contents to take pieces from: with holes and without, small and large. */
static void make_known(struct bench *b)
{
	for (unsigned i = 0; i < KNOWN; i++) {
		struct known_content *k = &b->known[i];
		struct madecounts counts = { 0 };
		uint64_t at = 0, size = 0;

		k->piece_count = i < 2 ? 1 : 1 + prng_below(&b->random, 8);
		for (size_t j = 0; j < k->piece_count; j++) {
			uint64_t len = some_length(&b->random, b->big);

			if (i < 2)
				len = i == 0 ? 100000 : b->big;
			k->pieces[j] = data_piece(b, len);
			if (i > 1 && prng_below(&b->random, 3) == 0) {
				/* What is a hole there is one: whole blocks. */
				uint64_t pad = ALIGN_UP(size, (uint64_t)4096) - size;

				free((void *)k->pieces[j].bytes);
				k->pieces[j] = (struct madepiece){ .kind = PIECE_HOLE };
				k->pieces[j].len = pad + ALIGN_UP(len, (uint64_t)4096);
				if (pad > 0) {
					k->pieces[j].len = pad;
					k->pieces[j].kind = PIECE_DATA;
					k->pieces[j].bytes = new0(uint8_t, pad);
				}
			}
			size += k->pieces[j].len;
		}
		k->bytes = new0(uint8_t, size + 1);
		for (size_t j = 0; j < k->piece_count; at += k->pieces[j++].len)
			if (k->pieces[j].bytes)
				memcpy(k->bytes + at, k->pieces[j].bytes, k->pieces[j].len);
		k->c = build(b, k->pieces, k->piece_count, &k->inlined, &counts);
	}
}

static void bench_open(struct bench *b, void **state, const struct chunk_params *params,
		       uint64_t seed)
{
	*b = (struct bench){ .s = *state, .params = *params, .random = { seed } };
	b->big = params->max < 100000 ? 400000 : 4 << 20;
	b->p = packer_of(b->s);
	make_known(b);
	assert_ok(packer_finish(b->p));
	packer_tell_index(b->p);
	for (unsigned i = 0; i < KNOWN; i++)
		packer_resolve(b->p, &b->known[i].c.loc);
	packer_free(b->p);
	b->p = packer_of(b->s);
}

static void bench_close(struct bench *b)
{
	for (unsigned i = 0; i < KNOWN; i++) {
		struct known_content *k = &b->known[i];

		for (size_t j = 0; j < k->piece_count; j++)
			free((void *)k->pieces[j].bytes);
		buf_release(&k->inlined);
		free(k->bytes);
	}
	assert_ok(packer_finish(b->p));
	packer_free(b->p);
}

/*
 * The rules of FORMAT.md, section 8, once more and plainly: a file's blocks, which of them are
 * holes, and the runs between, each cut from its start.
 */
struct model {
	uint8_t *bytes, *is_data; /* of each byte */
	uint64_t size;
	struct extent_rec *extents;
	size_t count;
};

static void model_add(struct model *m, const struct extent_rec *x)
{
	m->extents = realloc(m->extents, (m->count + 1) * sizeof(*x));
	assert_non_null(m->extents);
	m->extents[m->count++] = *x;
}

static void model_cut(struct model *m, uint64_t at, uint64_t end, const struct chunk_params *params)
{
	while (at < end) {
		struct extent_rec x = { 0 };
		struct chunker c;
		bool is_cut;

		chunker_init(&c, params);
		x.len = chunker_scan(&c, m->bytes + at, end - at, &is_cut);
		x.id = oid_of(OID_CHUNK, m->bytes + at, x.len);
		model_add(m, &x);
		at += x.len;
	}
}

static bool block_is_hole(const struct model *m, uint64_t at)
{
	return at < m->size && !memchr(m->is_data + at, 1, MIN(m->size - at, (uint64_t)HOLE_ALIGN));
}

static void model_make(struct model *m, const struct madepiece *pieces, size_t n,
		       const struct chunk_params *params)
{
	uint64_t at = 0;

	*m = (struct model){ 0 };
	for (size_t i = 0; i < n; i++)
		m->size += pieces[i].len;
	m->bytes = new0(uint8_t, m->size + 1);
	m->is_data = new0(uint8_t, m->size + 1);
	for (size_t i = 0; i < n; at += pieces[i++].len) {
		if (pieces[i].kind != PIECE_DATA)
			continue;
		memcpy(m->bytes + at, pieces[i].bytes, pieces[i].len);
		memset(m->is_data + at, 1, pieces[i].len);
	}
	for (at = 0; at < m->size;) {
		uint64_t end = at;
		bool is_hole = block_is_hole(m, at);

		while (end < m->size && block_is_hole(m, end) == is_hole)
			end = MIN(end + HOLE_ALIGN, m->size);
		if (is_hole)
			model_add(m, &(struct extent_rec){ .is_hole = true, .len = end - at });
		else if (end - at == m->size && m->size <= CHUNK_WHOLE_MAX)
			model_add(m, &(struct extent_rec){
					     .len = m->size,
					     .id = oid_of(OID_CHUNK, m->bytes, m->size) });
		else
			model_cut(m, at, end, params);
		at = end;
	}
}

static void model_release(struct model *m)
{
	free(m->bytes);
	free(m->is_data);
	free(m->extents);
}

/* The content is what the model says: bytes, and extents one by one. The packer that built it has
 * finished. */
static void assert_content_is(struct storestand *s, const struct content *c, const struct model *m)
{
	struct reader_source source = reader_source(s->store.reader, &s->acc);
	struct tree_root root = content_root(c);
	struct tree_cursor at;
	uint64_t start, data = 0;
	uint8_t *got;

	assert_int_equal(c->size, m->size);
	for (size_t i = 0; i < m->count; i++)
		data += m->extents[i].is_hole ? 0 : m->extents[i].len;
	assert_int_equal(c->data, data);
	if (m->size == 0 || (m->count == 1 && !m->extents[0].is_hole)) {
		assert_int_equal(c->kind, CONTENT_CHUNK);
		assert_memory_equal(&c->id, m->size ? &m->extents[0].id : oid_empty_chunk(),
				    sizeof(c->id));
	} else {
		assert_int_equal(c->kind, CONTENT_EXTENTS);
		tree_cursor_init(&at, TREE_EXTENTS, &source.base);
		assert_ok(tree_seek_byte(&at, &root, 0, &start));
		for (size_t i = 0; i < m->count; i++) {
			struct extent_rec x;

			assert_false(at.is_end);
			node_extent(tree_leaf(&at), tree_index(&at), &x);
			assert_int_equal(x.is_hole, m->extents[i].is_hole);
			assert_int_equal(x.len, m->extents[i].len);
			assert_memory_equal(&x.id, &m->extents[i].id, sizeof(x.id));
			assert_ok(tree_next(&at));
		}
		assert_true(at.is_end);
		tree_cursor_release(&at);
	}
	got = content_bytes(s, c);
	assert_memory_equal(got, m->bytes, m->size);
	free(got);
}

/* Builds a file with a packer of its own, so that it can be read. */
static struct content build_alone(struct bench *b, struct content_source *src, struct buf *inlined)
{
	struct packer *p = packer_of(b->s);
	struct content c;

	assert_ok(build_content(b->s, p, &b->params, src, &c, inlined));
	assert_ok(packer_finish(p));
	packer_resolve(p, &c.loc);
	packer_free(p);
	return c;
}

/* One file of random pieces. */
static void check_random_file(struct bench *b)
{
	struct madepiece pieces[PIECES_MAX], spelt[PIECES_MAX * PIECES_MAX];
	size_t n = 1 + prng_below(&b->random, 6), spelt_n;
	bool is_even = prng_below(&b->random, 2); /* all in whole blocks */
	_cleanup_buf_ struct buf inlined = { 0 };
	struct madecounts counts = { 0 };
	struct content_source *src;
	struct content c;
	struct model m;

	for (size_t i = 0; i < n; i++) {
		uint64_t len = some_length(&b->random, b->big / 4);

		if (is_even && i + 1 < n)
			len = ALIGN_UP(len, (uint64_t)HOLE_ALIGN);
		switch (prng_below(&b->random, 4)) {
		case 0:
			pieces[i] = data_piece(b, len);
			break;
		case 1:
			pieces[i] = (struct madepiece){ .kind = PIECE_HOLE, .len = len };
			break;
		default:
			pieces[i] = content_piece(b);
		}
	}
	spelt_n = spell_out(b, pieces, n, spelt);
	model_make(&m, spelt, spelt_n, &b->params);

	src = made_source(pieces, n, &counts);
	if (prng_below(&b->random, 2))
		src->base = &b->known[prng_below(&b->random, KNOWN)].c;
	c = build_alone(b, src, &inlined);
	assert_int_equal(counts.freed, 1);
	assert_content_is(b->s, &c, &m);

	model_release(&m);
	for (size_t i = 0; i < n; i++)
		free((void *)pieces[i].bytes);
}

static void a_file_of_pieces_is_the_file_of_its_bytes(void **state)
{
	struct bench b;

	bench_open(&b, state, &SMALL_PARAMS, 1);
	for (unsigned i = 0; i < 300; i++)
		check_random_file(&b);
	bench_close(&b);
}

static void so_it_is_with_tiny_chunks(void **state)
{
	struct bench b;

	bench_open(&b, state, &TINY_PARAMS, 2);
	for (unsigned i = 0; i < 100; i++)
		check_random_file(&b);
	bench_close(&b);
}

static void so_it_is_with_default_chunks(void **state)
{
	struct bench b;

	bench_open(&b, state, &CHUNK_PARAMS_DEFAULT, 3);
	for (unsigned i = 0; i < 25; i++)
		check_random_file(&b);
	bench_close(&b);
}

/* The whole file again, from what the store has: no byte is read and no chunk stored. */
static void a_file_that_is_stored_whole_costs_nothing(void **state)
{
	struct madecounts counts = { 0 };
	_cleanup_buf_ struct buf inlined = { 0 };
	struct packer_stats before;
	struct bench b;

	bench_open(&b, state, &SMALL_PARAMS, 4);
	packer_stats(b.p, &before);
	for (unsigned i = 0; i < KNOWN; i++) {
		const struct known_content *k = &b.known[i];
		struct madepiece whole = { .kind = PIECE_CONTENT,
					   .len = k->c.size,
					   .content = &k->c };
		struct content c = build(&b, &whole, 1, &inlined, &counts);

		assert_same_content(&c, &k->c);
		counts.freed = 0;
	}
	assert_int_equal(counts.read, 0);
	assert_int_equal(stats_since(b.p, &before).chunks, 0);
	assert_int_equal(stats_since(b.p, &before).nodes, 0);
	bench_close(&b);
}

/* 64 MiB in extents, and one byte in it changes. */
static void one_byte_written_in_a_large_file_costs_a_few_chunks(void **state)
{
	const uint64_t size = 64 * MiB, at = size / 2 + 12345;
	struct storestand *s = *state;
	struct bench b = { .s = s, .params = CHUNK_PARAMS_DEFAULT, .random = { 5 } };
	struct madecounts counts = { 0 }, again = { 0 };
	_cleanup_buf_ struct buf inlined = { 0 };
	struct packer_stats before, cost;
	struct madepiece whole, pieces[3];
	struct content c, changed, want;
	uint8_t byte = 0;

	b.p = packer_of(s);
	whole = (struct madepiece){ .kind = PIECE_DATA, .len = size, .bytes = malloc(size) };
	prng_fill(&b.random, (void *)whole.bytes, size);
	c = build(&b, &whole, 1, &inlined, &counts);
	assert_int_equal(c.kind, CONTENT_EXTENTS);
	assert_int_equal(counts.read, size);

	counts = (struct madecounts){ 0 };
	pieces[0] = (struct madepiece){
		.kind = PIECE_CONTENT, .len = at, .content = &c, .content_bytes = whole.bytes
	};
	pieces[1] = (struct madepiece){ .kind = PIECE_DATA, .len = 1, .bytes = &byte };
	pieces[2] = pieces[0];
	pieces[2].len = size - at - 1;
	pieces[2].content_off = at + 1;
	packer_stats(b.p, &before);
	changed = build(&b, pieces, 3, &inlined, &counts);
	cost = stats_since(b.p, &before);
	assert_in_range(counts.read, 1, 6 * MiB);
	assert_in_range(counts.stored, 1, 4);
	assert_in_range(cost.chunks, 1, 4);

	((uint8_t *)whole.bytes)[at] = byte;
	want = build(&b, &whole, 1, &inlined, &again);
	assert_same_content(&changed, &want);
	free((void *)whole.bytes);
	assert_ok(packer_finish(b.p));
	packer_free(b.p);
}

/* A machine that has only the tree's root in its hand looks at a few nodes of it. */
static void one_byte_written_in_a_huge_tree_reads_a_few_nodes(void **state)
{
	const uint64_t size = 24 * MiB;
	struct storestand *s = *state;
	struct bench b = { .s = s, .params = { 64, 256, 1024 }, .random = { 6 } };
	struct madecounts counts = { 0 };
	_cleanup_buf_ struct buf inlined = { 0 };
	struct reader_stats before, after;
	struct madepiece whole, pieces[3];
	struct content c;
	uint8_t byte = 0;

	b.p = packer_of(s);
	whole = (struct madepiece){ .kind = PIECE_DATA, .len = size, .bytes = malloc(size) };
	prng_fill(&b.random, (void *)whole.bytes, size);
	c = build(&b, &whole, 1, &inlined, &counts);
	assert_ok(packer_finish(b.p));
	packer_resolve(b.p, &c.loc);
	packer_free(b.p);
	storestand_move(s);

	b.p = packer_of(s);
	pieces[0] = (struct madepiece){ .kind = PIECE_CONTENT,
					.len = size / 2 + 1,
					.content = &c,
					.content_bytes = whole.bytes };
	pieces[1] = (struct madepiece){ .kind = PIECE_DATA, .len = 1, .bytes = &byte };
	pieces[2] = pieces[0];
	pieces[2].len = size - size / 2 - 2;
	pieces[2].content_off = size / 2 + 2;
	counts = (struct madecounts){ 0 };
	reader_stats(s->store.reader, &before);
	build(&b, pieces, 3, &inlined, &counts);
	reader_stats(s->store.reader, &after);
	/* The tree has more than a hundred. */
	assert_in_range(after.node_misses - before.node_misses, 1, 24);
	free((void *)whole.bytes);
	assert_ok(packer_finish(b.p));
	packer_free(b.p);
}

static void sizes_where_the_kind_changes_are_told_apart(void **state)
{
	static const struct {
		uint64_t data, hole;
		enum content_kind kind;
	} cases[] = {
		{ 0, 0, CONTENT_CHUNK },
		{ 1, 0, CONTENT_CHUNK },
		{ INLINE_MAX, 0, CONTENT_CHUNK },
		{ INLINE_MAX + 1, 0, CONTENT_CHUNK },
		{ CHUNK_WHOLE_MAX, 0, CONTENT_CHUNK },
		{ CHUNK_WHOLE_MAX + 1, 0, CONTENT_EXTENTS },
		{ 0, 1, CONTENT_EXTENTS },
		{ 0, 4096, CONTENT_EXTENTS },
		{ 4096, 1, CONTENT_EXTENTS },
		{ 100, 100, CONTENT_CHUNK }, /* a hole within a block is none */
		{ 100, 3996, CONTENT_CHUNK },
		{ 100, 3997, CONTENT_EXTENTS },
	};
	struct bench b = { .s = *state, .params = SMALL_PARAMS, .random = { 7 } };
	_cleanup_buf_ struct buf inlined = { 0 };

	b.p = packer_of(b.s);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct madecounts counts = { 0 };
		struct madepiece p[2] = { { .kind = PIECE_DATA, .len = cases[i].data },
					  { .kind = PIECE_HOLE, .len = cases[i].hole } };
		uint8_t *bytes = malloc(cases[i].data + 1);
		struct content c;

		prng_fill(&b.random, bytes, cases[i].data);
		p[0].bytes = bytes;
		c = cases[i].data ? build(&b, p, cases[i].hole ? 2 : 1, &inlined, &counts)
				  : build(&b, p + 1, cases[i].hole ? 1 : 0, &inlined, &counts);
		assert_int_equal(c.kind, cases[i].kind);
		assert_int_equal(c.size, cases[i].data + cases[i].hole);
		if (c.kind == CONTENT_CHUNK && c.size <= INLINE_MAX)
			assert_int_equal(c.inlined.len, c.size);
		else
			assert_int_equal(c.inlined.len, 0);
		free(bytes);
	}
	assert_ok(packer_finish(b.p));
	packer_free(b.p);
}

/* Whichever call of the source fails, its error comes out and it is freed once. */
static void a_source_that_fails_is_let_go_of(void **state)
{
	_cleanup_buf_ struct buf inlined = { 0 };
	struct bench b;
	int r = -1;

	bench_open(&b, state, &SMALL_PARAMS, 8);
	for (int64_t call = 1; r < 0; call++) {
		struct madecounts counts = { .fail_in = call };
		struct madepiece p[] = {
			{ .kind = PIECE_CONTENT,
			  .len = 200000,
			  .content = &b.known[1].c,
			  .content_off = 77,
			  .content_bytes = b.known[1].bytes },
			{ .kind = PIECE_HOLE, .len = 50000 },
			{ .kind = PIECE_DATA, .len = 50000, .bytes = b.known[1].bytes },
		};
		struct content c;

		r = build_content(b.s, b.p, &b.params, made_source(p, 3, &counts), &c, &inlined);
		if (r < 0)
			assert_int_equal(r, -EUCLEAN);
		assert_int_equal(counts.freed, 1);
		assert_in_range(call, 1, 1000);
	}
	bench_close(&b);
}

#define T(name) cmocka_unit_test_setup_teardown(name, storestand_set_up, storestand_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_file_of_pieces_is_the_file_of_its_bytes),
		T(so_it_is_with_tiny_chunks),
		T(so_it_is_with_default_chunks),
		T(a_file_that_is_stored_whole_costs_nothing),
		T(one_byte_written_in_a_large_file_costs_a_few_chunks),
		T(one_byte_written_in_a_huge_tree_reads_a_few_nodes),
		T(sizes_where_the_kind_changes_are_told_apart),
		T(a_source_that_fails_is_let_go_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
