/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Content-defined chunking.
 */
#include <openssl/sha.h>

#include "check.h"
#include "chunk/chunker.h"
#include "chunk/gear.h"
#include "format/limits.h"
#include "golden.h"
#include "prng.h"

static const struct chunk_params small = { 2048, 8192, 32768 };

struct cuts {
	uint32_t len[4096];
	size_t count;
};

/* The chunks of one run of data that comes in pieces of up to @piece_max bytes. */
static void cut(const struct chunk_params *params, const uint8_t *data, size_t len,
		struct prng *rnd, size_t piece_max, struct cuts *ret)
{
	struct chunker c;
	size_t open = 0;

	ret->count = 0;
	chunker_init(&c, params);
	while (len > 0) {
		size_t piece = MIN(len, rnd ? (size_t)prng_below(rnd, piece_max + 1) : piece_max);
		bool is_cut;
		size_t n = chunker_scan(&c, data, piece, &is_cut);

		assert_true(n <= piece && (is_cut || n == piece));
		open += n;
		data += n;
		len -= n;
		if (is_cut || (len == 0 && open > 0)) {
			assert_true(ret->count < ARRAY_SIZE(ret->len));
			ret->len[ret->count++] = (uint32_t)open;
			open = 0;
		}
	}
}

static uint8_t *noise(uint64_t seed, size_t len)
{
	struct prng rnd = { seed };
	uint8_t *p = malloc(len);

	assert_non_null(p);
	prng_fill(&rnd, p, len);
	return p;
}

static void the_gear_table_follows_its_rule(void **state)
{
	for (unsigned i = 0; i < 256; i++) {
		uint8_t in[] = "pfs gear?", digest[SHA256_DIGEST_LENGTH];
		uint64_t want;

		in[8] = (uint8_t)i;
		SHA256(in, 9, digest);
		memcpy(&want, digest, sizeof(want));
		assert_int_equal(chunk_gear[i], le64toh(want));
	}
}

static void chunks_end_where_they_always_did(void **state)
{
	enum {
		LEN = 4 << 20
	};
	_cleanup_free_ uint8_t *data = noise(1, LEN);
	_cleanup_free_ char *line = NULL;
	_cleanup_free_ struct cuts *got = new0(struct cuts, 1);
	FILE *f = golden_open("chunks.txt");
	size_t cap = 0, lines = 0;

	assert_non_null(f);
	assert_non_null(got);
	while (golden_line(f, &line, &cap)) {
		char *numbers = strchr(line, ':') + 1;
		struct chunk_params p;
		size_t i = 0;

		assert_int_equal(sscanf(line, "%u %u %u:", &p.min, &p.avg, &p.max), 3);
		assert_true(chunk_params_are_valid(&p));
		/* The file has the first hundred chunks of the smallest. */
		cut(&p, data, p.avg < 1024 ? 100 * 1024 : LEN, NULL, SIZE_MAX, got);
		for (char *s = strtok(numbers, " "); s; s = strtok(NULL, " "), i++)
			assert_int_equal(got->len[i], atoi(s));
		assert_true(i == got->count || i == 100);
		lines++;
	}
	assert_int_equal(lines, 4);
	fclose(f);
}

static void chunks_do_not_depend_on_how_the_input_is_cut(void **state)
{
	static const size_t pieces[] = { 1, 7, 9, 100, 2048, 5000, 100000 };
	enum {
		LEN = 1 << 20
	};
	_cleanup_free_ uint8_t *data = noise(2, LEN);
	_cleanup_free_ struct cuts *want = new0(struct cuts, 1), *got = new0(struct cuts, 1);
	struct prng rnd = { 3 };

	cut(&small, data, LEN, NULL, SIZE_MAX, want);
	assert_true(want->count > 50);
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		cut(&small, data, LEN, NULL, pieces[i], got);
		assert_memory_equal(got, want, sizeof(*got));
		cut(&small, data, LEN, &rnd, pieces[i], got);
		assert_memory_equal(got, want, sizeof(*got));
	}
}

/* The rule of the format, as plain as can be. */
static size_t plain_chunk(const struct chunk_params *p, const uint8_t *data, size_t len)
{
	int bits = __builtin_ctz(p->avg);
	uint64_t h = 0;

	for (size_t i = p->min; i < len && i < p->max; i++) {
		h = (h << 1) + chunk_gear[data[i]];
		if (h >> (64 - (i < p->avg ? bits + 2 : bits - 2)) == 0)
			return i + 1;
	}
	return MIN(len, (size_t)p->max);
}

static void every_chunk_ends_by_the_rule(void **state)
{
	static const struct chunk_params params[] = {
		{ 64, 128, 129 },     { 64, 128, 256 },	     { 127, 128, 1000 },
		{ 2048, 8192, 9000 }, { 2048, 8192, 32768 }, { 8191, 8192, 8193 },
	};
	enum {
		LEN = 200000
	};
	_cleanup_free_ uint8_t *data = noise(4, LEN);
	_cleanup_free_ struct cuts *got = new0(struct cuts, 1);

	for (size_t i = 0; i < ARRAY_SIZE(params); i++) {
		size_t at = 0;

		cut(&params[i], data, LEN, NULL, SIZE_MAX, got);
		for (size_t k = 0; k < got->count; at += got->len[k++])
			assert_int_equal(got->len[k], plain_chunk(&params[i], data + at, LEN - at));
		assert_int_equal(at, LEN);
	}
}

static void data_without_variety_is_cut_at_max(void **state)
{
	enum {
		LEN = 10 * 32768 + 5
	};
	_cleanup_free_ uint8_t *data = calloc(1, LEN);
	_cleanup_free_ struct cuts *got = new0(struct cuts, 1);

	cut(&small, data, LEN, NULL, 4096, got);
	assert_int_equal(got->count, 11);
	for (size_t i = 0; i < 10; i++)
		assert_int_equal(got->len[i], small.max);
	assert_int_equal(got->len[10], 5);
}

static void an_insertion_changes_the_chunks_around_it_only(void **state)
{
	enum {
		LEN = 1 << 20,
		AT = LEN / 2,
		MORE = 100
	};
	_cleanup_free_ uint8_t *before = noise(5, LEN), *after = noise(6, LEN + MORE);
	_cleanup_free_ struct cuts *a = new0(struct cuts, 1), *b = new0(struct cuts, 1);
	size_t head = 0, tail = 0;

	memcpy(after, before, AT);
	memcpy(after + AT + MORE, before + AT, LEN - AT);
	cut(&small, before, LEN, NULL, SIZE_MAX, a);
	cut(&small, after, LEN + MORE, NULL, SIZE_MAX, b);

	while (a->len[head] == b->len[head])
		head++;
	while (a->len[a->count - 1 - tail] == b->len[b->count - 1 - tail])
		tail++;
	assert_true(head + tail + 8 >= a->count);
}

static void a_reset_starts_a_chunk_anew(void **state)
{
	enum {
		LEN = 100000
	};
	_cleanup_free_ uint8_t *data = noise(7, LEN);
	struct chunker c, fresh;
	bool is_cut, is_cut_too;

	chunker_init(&fresh, &small);
	chunker_init(&c, &small);
	chunker_scan(&c, data, small.min + 10, &is_cut);
	assert_false(is_cut);
	chunker_reset(&c);
	assert_int_equal(chunker_scan(&c, data, LEN, &is_cut),
			 chunker_scan(&fresh, data, LEN, &is_cut_too));
	assert_true(is_cut && is_cut_too);
}

static void an_empty_piece_is_no_end(void **state)
{
	struct chunker c;
	bool is_cut = true;

	chunker_init(&c, &small);
	assert_int_equal(chunker_scan(&c, "", 0, &is_cut), 0);
	assert_false(is_cut);
}

static void params_out_of_order_are_refused(void **state)
{
	static const struct chunk_params bad[] = {
		{ 0, 0, 0 },
		{ 63, 128, 256 }, /* too small */
		{ 128, 128, 256 },
		{ 64, 256, 256 },
		{ 64, 192, 256 }, /* no power of two */
		{ 64, 128, CHUNK_LIMIT + 1 },
	};

	assert_true(chunk_params_are_valid(&CHUNK_PARAMS_DEFAULT));
	assert_true(chunk_params_are_valid(&(struct chunk_params){ 64, 128, CHUNK_LIMIT }));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(chunk_params_are_valid(&bad[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_gear_table_follows_its_rule),
		cmocka_unit_test(chunks_end_where_they_always_did),
		cmocka_unit_test(chunks_do_not_depend_on_how_the_input_is_cut),
		cmocka_unit_test(every_chunk_ends_by_the_rule),
		cmocka_unit_test(data_without_variety_is_cut_at_max),
		cmocka_unit_test(an_insertion_changes_the_chunks_around_it_only),
		cmocka_unit_test(a_reset_starts_a_chunk_anew),
		cmocka_unit_test(an_empty_piece_is_no_end),
		cmocka_unit_test(params_out_of_order_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
