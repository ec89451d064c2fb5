/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The editor of trees, at work on the extents of files: what was kept, skipped and put between
 * gives what a bulk build does, and what was not changed is not touched.
 */
#include "check.h"
#include "treemodel.h"

/*
 * A file's extents, edited at random: stretches of the base are kept and skipped, and new extents
 * come between.
 */
static struct tree_root edit_extents(struct nodestore *s, struct prng *rnd, enum id_style style,
				     const struct tree_root *base, struct extent_model *m)
{
	static const size_t strides[] = { 1, 5, 50, 1000, 100000 };
	_cleanup_(tree_edit_freep) struct tree_edit *e = edit_of(s, TREE_EXTENTS, base);
	_cleanup_(extent_model_release) struct extent_model old = *m;
	struct tree_root root;

	*m = (struct extent_model){ 0 };
	for (size_t i = 0; i < old.count;) {
		size_t n = MIN(old.count - i,
			       1 + prng_below(rnd, strides[prng_below(rnd, ARRAY_SIZE(strides))]));
		bool is_kept = prng_below(rnd, 4) > 0;
		uint64_t len = 0;

		for (; n > 0; n--, i++) {
			len += old.x[i].len;
			if (is_kept)
				extent_model_put(m, &old.x[i]);
		}
		assert_int_equal(is_kept ? extents_edit_keep(e, len) : extents_edit_skip(e, len),
				 0);
		for (n = prng_below(rnd, 4) ? 0 : prng_below(rnd, 20); n > 0; n--) {
			struct extent_rec x = random_extent(rnd, style);

			extent_model_put(m, &x);
			assert_int_equal(extents_edit_put(e, &x), 0);
		}
		if (prng_below(rnd, 30) == 0)
			break;
	}
	assert_int_equal(tree_edit_finish(e, &root), 0);
	return root;
}

static void any_edits_of_extents_give_the_tree_of_a_bulk_build(void **state)
{
	static const size_t counts[] = { 0, 1, 50, 1000, 9000 };
	struct prng rnd = { 15 };

	for (size_t i = 0; i < ID_STYLES * ARRAY_SIZE(counts); i++) {
		enum id_style style = i % ID_STYLES;
		_cleanup_(nodestore_release) struct nodestore s;

		nodestore_init(&s);
		for (int round = 0; round < 5; round++) {
			_cleanup_(extent_model_release) struct extent_model m = { 0 };
			struct tree_root root;

			for (size_t n = 0; n < counts[i / ID_STYLES]; n++) {
				struct extent_rec x = random_extent(&rnd, style);

				extent_model_put(&m, &x);
			}
			root = extents_build(&s, &m);
			for (int again = 0; again < 3; again++) {
				root = edit_extents(&s, &rnd, style, &root, &m);
				assert_extents_are(&s, &root, &m);
			}
		}
	}
}

/* The base up to @from, then @put, then the base from @to on: a count of extents each. */
static void splice_extents(struct nodestore *s, const struct tree_root *base,
			   const struct extent_model *m, size_t from, size_t to,
			   const struct extent_rec *put, size_t puts)
{
	_cleanup_(tree_edit_freep) struct tree_edit *e = edit_of(s, TREE_EXTENTS, base);
	_cleanup_(extent_model_release) struct extent_model result = { 0 };
	struct tree_root root, bulk;
	uint64_t kept = 0, skipped = 0;

	for (size_t i = 0; i < from; kept += m->x[i++].len)
		extent_model_put(&result, &m->x[i]);
	for (size_t i = from; i < to; i++)
		skipped += m->x[i].len;
	assert_int_equal(extents_edit_keep(e, kept), 0);
	assert_int_equal(extents_edit_skip(e, skipped), 0);
	for (size_t i = 0; i < puts; i++) {
		extent_model_put(&result, &put[i]);
		assert_int_equal(extents_edit_put(e, &put[i]), 0);
	}
	for (size_t i = to; i < m->count; i++)
		extent_model_put(&result, &m->x[i]);
	assert_int_equal(extents_edit_keep(e, base->sum.bytes - kept - skipped), 0);
	assert_int_equal(tree_edit_finish(e, &root), 0);
	bulk = extents_build(s, &result);
	assert_memory_equal(root.id.b, bulk.id.b, OID_SIZE);
}

static void splices_at_the_edges_of_nodes_give_the_tree_of_a_bulk_build(void **state)
{
	struct nodestore *s = *state;
	struct prng rnd = { 17 };

	for (enum id_style style = 0; style < ID_STYLES; style++) {
		_cleanup_(extent_model_release) struct extent_model m = { 0 };
		struct extent_rec put[2] = { random_extent(&rnd, IDS_NEVER), { true, 4096 } };
		struct tree_root root;
		size_t edges[5], n;

		put[0].is_hole = false;
		put[0].len = 100;
		while (m.count < 10000) {
			struct extent_rec x = random_extent(&rnd, style);

			extent_model_put(&m, &x);
		}
		root = extents_build(s, &m);
		edges[0] = 0;
		edges[1] = m.count;
		n = 2 + tree_edges(s, TREE_EXTENTS, &root, 0, edges + 2, ARRAY_SIZE(edges) - 2);
		assert_true(n > 3);
		while (n-- > 0) {
			size_t from_min = edges[n] > 0 ? edges[n] - 1 : 0;
			size_t to_max = MIN(edges[n] + 1, m.count);

			for (size_t from = from_min; from <= edges[n]; from++) {
				for (size_t to = edges[n]; to <= to_max; to++) {
					splice_extents(s, &root, &m, from, to, put, 0);
					splice_extents(s, &root, &m, from, to, put, 1);
					splice_extents(s, &root, &m, from, to, put + 1, 1);
					splice_extents(s, &root, &m, from, to, put, 2);
				}
			}
		}
	}
}

/* A hole that is held back at the end of a node must not keep the next from going over whole. */
static void another_hole_in_a_holes_place_touches_a_handful_of_nodes(void **state)
{
	struct nodestore *s = *state;
	_cleanup_(extent_model_release) struct extent_model m = { 0 };
	struct prng rnd = { 18 };
	struct tree_root base, root;
	size_t edges[40], n, tried = 0;

	while (m.count < 150000) {
		struct extent_rec x = random_extent(&rnd, IDS_SPARSE);

		extent_model_put(&m, &x);
	}
	base = extents_build(s, &m);
	n = tree_edges(s, TREE_EXTENTS, &base, 0, edges, ARRAY_SIZE(edges));
	while (n-- > 0) {
		_cleanup_(tree_edit_freep) struct tree_edit *e = edit_of(s, TREE_EXTENTS, &base);
		struct extent_rec x = m.x[edges[n] - 1];
		uint64_t at = 0;

		if (!x.is_hole)
			continue;
		tried++;
		for (size_t i = 0; i < edges[n] - 1; i++)
			at += m.x[i].len;
		nodestore_count_anew(s);
		assert_int_equal(extents_edit_keep(e, at), 0);
		assert_int_equal(extents_edit_skip(e, x.len), 0);
		at += x.len;
		x.len += 4096;
		assert_int_equal(extents_edit_put(e, &x), 0);
		assert_int_equal(extents_edit_keep(e, base.sum.bytes - at), 0);
		assert_int_equal(tree_edit_finish(e, &root), 0);
		assert_true(s->gets <= 12 && s->puts <= 6);
	}
	assert_true(tried > 3);
}

static struct extent_rec a_chunk(uint32_t i)
{
	struct extent_rec x = { .len = 65536, .loc = { .state = LOC_AT } };

	x.id = oid_of(OID_CHUNK, &i, sizeof(i));
	return x;
}

static struct tree_root build_chunks(struct nodestore *s, uint32_t n)
{
	_cleanup_(tree_edit_freep) struct tree_edit *e = edit_of(s, TREE_EXTENTS, NULL);
	struct tree_root root;

	for (uint32_t i = 0; i < n; i++) {
		struct extent_rec x = a_chunk(i);

		assert_int_equal(extents_edit_put(e, &x), 0);
	}
	assert_int_equal(tree_edit_finish(e, &root), 0);
	return root;
}

static void one_edit_of_a_big_file_touches_a_handful_of_nodes(void **state)
{
	enum {
		N = 500000,
		EACH = 65536
	};
	struct nodestore *s = *state;
	struct tree_root base = build_chunks(s, N);
	static const struct {
		const char *what;
		uint64_t keep, skip, keep_more;
		bool puts;
		unsigned gets_max, puts_max;
	} cases[] = {
		{ "append", N, 0, 0, true, 4, 4 },
		{ "prepend", 0, 0, N, true, 4, 4 },
		{ "replace in the middle", N / 2, 1, N / 2 - 1, true, 6, 6 },
		{ "insert", N / 3, 0, N - N / 3, true, 6, 6 },
		{ "cut out", N / 5, 2 * N / 5, 2 * N / 5, false, 8, 6 },
		{ "truncate", N / 7, 0, 0, false, 4, 4 },
		{ "truncate by leaving out", N / 7, N - N / 7, 0, false, 4, 4 },
		{ "keep", N, 0, 0, false, 0, 0 },
		{ "keep in two", N / 2, 0, N / 2, false, 0, 0 },
		{ "drop", 0, 0, 0, false, 0, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(tree_edit_freep) struct tree_edit *e = edit_of(s, TREE_EXTENTS, &base);
		struct extent_rec x = a_chunk(N + 1);
		struct tree_root root;

		nodestore_count_anew(s);
		assert_int_equal(extents_edit_keep(e, cases[i].keep * EACH), 0);
		assert_int_equal(extents_edit_skip(e, cases[i].skip * EACH), 0);
		if (cases[i].puts)
			assert_int_equal(extents_edit_put(e, &x), 0);
		assert_int_equal(extents_edit_keep(e, cases[i].keep_more * EACH), 0);
		assert_int_equal(tree_edit_finish(e, &root), 0);
		if (s->gets > cases[i].gets_max || s->puts > cases[i].puts_max)
			fail_msg("%s: %u gets, %u puts", cases[i].what, s->gets, s->puts);
		assert_int_equal(root.sum.bytes,
				 (cases[i].keep + cases[i].keep_more + cases[i].puts) * EACH);
	}
}

static void holes_that_meet_become_one(void **state)
{
	struct nodestore *s = *state;
	const struct extent_rec hole = { .is_hole = true, .len = 4096 };
	_cleanup_(extent_model_release) struct extent_model m = { 0 };
	struct extent_rec x = a_chunk(1);
	struct tree_root base, root;
	struct tree_edit *e;

	/* chunk hole chunk hole chunk */
	for (int i = 0; i < 5; i++)
		extent_model_put(&m, i % 2 ? &hole : &x);
	base = extents_build(s, &m);
	extent_model_release(&m);

	/* chunk hole (hole put) [chunk skipped] hole chunk (holes put) */
	e = edit_of(s, TREE_EXTENTS, &base);
	assert_int_equal(extents_edit_keep(e, x.len + hole.len), 0);
	assert_int_equal(extents_edit_put(e, &hole), 0);
	assert_int_equal(extents_edit_skip(e, x.len), 0);
	assert_int_equal(extents_edit_keep(e, hole.len + x.len), 0);
	assert_int_equal(extents_edit_put(e, &hole), 0);
	assert_int_equal(extents_edit_put(e, &hole), 0);
	assert_int_equal(tree_edit_finish(e, &root), 0);
	tree_edit_free(e);

	extent_model_put(&m, &x);
	for (int i = 0; i < 3; i++)
		extent_model_put(&m, &hole);
	extent_model_put(&m, &x);
	for (int i = 0; i < 2; i++)
		extent_model_put(&m, &hole);
	assert_int_equal(m.count, 4);
	assert_extents_are(s, &root, &m);
}

static void kept_and_skipped_stretches_end_where_extents_end(void **state)
{
	struct nodestore *s = *state;
	struct tree_root base = build_chunks(s, 5000), root;
	struct extent_rec x = a_chunk(1);
	struct tree_edit *e = edit_of(s, TREE_EXTENTS, &base);

	assert_int_equal(extents_edit_skip(e, x.len + 1), -EINVAL);
	assert_int_equal(tree_edit_finish(e, &root), -EINVAL);
	tree_edit_free(e);

	e = edit_of(s, TREE_EXTENTS, &base);
	assert_int_equal(extents_edit_keep(e, x.len + 1), 0);
	assert_int_equal(extents_edit_put(e, &x), -EINVAL);
	tree_edit_free(e);

	e = edit_of(s, TREE_EXTENTS, &base);
	assert_int_equal(extents_edit_keep(e, x.len - 1), 0);
	assert_int_equal(tree_edit_finish(e, &root), -EINVAL);
	tree_edit_free(e);

	e = edit_of(s, TREE_EXTENTS, &base);
	assert_int_equal(extents_edit_keep(e, base.sum.bytes), 0);
	assert_int_equal(extents_edit_skip(e, 1), -EINVAL);
	tree_edit_free(e);

	e = edit_of(s, TREE_EXTENTS, &base);
	assert_int_equal(extents_edit_keep(e, base.sum.bytes + 1), -EINVAL);
	tree_edit_free(e);
}

/* Every node of these levels has the same child many times over. */
static struct tree_root tower(struct nodestore *s, unsigned levels, uint32_t width)
{
	struct extent_rec x = a_chunk(1);
	struct tree_root root = { .sum = { .items = 1, .bytes = x.len, .data = x.len } };
	_cleanup_buf_ struct buf b = { 0 };

	for (unsigned level = 0; level < levels; level++) {
		struct child_rec c = { .id = root.id, .sum = root.sum };

		buf_clear(&b);
		node_canon_begin(&b, TREE_EXTENTS, (uint8_t)level);
		root.sum = (struct tree_sum){ 0 };
		for (uint32_t i = 0; i < width; i++) {
			if (level == 0)
				extent_put(&b, &x);
			else
				child_put(&b, TREE_EXTENTS, &c);
			root.sum = tree_sum_add(root.sum,
						level == 0 ? (struct tree_sum){ .items = 1,
										.bytes = x.len,
										.data = x.len }
							   : c.sum);
		}
		node_canon_end(&b, width);
		root.id = nodestore_add(s, buf_span(&b), (struct span){ 0 });
	}
	return root;
}

static void a_tree_of_more_paths_than_atoms_is_edited_as_any_other(void **state)
{
	struct nodestore *s = *state;
	struct tree_root base = tower(s, TREE_LEVELS, 2000), root;
	struct extent_rec x = a_chunk(2);
	struct tree_edit *e = edit_of(s, TREE_EXTENTS, &base);

	assert_int_equal(base.sum.bytes, UINT64_MAX);
	nodestore_count_anew(s);
	assert_int_equal(extents_edit_keep(e, 1000 * x.len), 0);
	assert_int_equal(extents_edit_put(e, &x), 0);
	assert_int_equal(extents_edit_skip(e, 1ull << 62), 0);
	assert_int_equal(extents_edit_keep(e, 5000 * x.len), 0);
	assert_int_equal(tree_edit_finish(e, &root), 0);
	tree_edit_free(e);
	assert_int_equal(root.sum.bytes, 6001 * x.len);
	assert_true(s->gets < 50 && s->puts < 50);

	nodestore_count_anew(s);
	e = edit_of(s, TREE_EXTENTS, &base);
	assert_int_equal(extents_edit_keep(e, 1ull << 62), 0);
	assert_int_equal(tree_edit_finish(e, &root), 0);
	tree_edit_free(e);
	assert_int_equal(root.sum.bytes, 1ull << 62);
	assert_true(s->gets < 50 && s->puts < 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, nodestore_set_up, nodestore_tear_down)
		T(any_edits_of_extents_give_the_tree_of_a_bulk_build),
		T(splices_at_the_edges_of_nodes_give_the_tree_of_a_bulk_build),
		T(another_hole_in_a_holes_place_touches_a_handful_of_nodes),
		T(one_edit_of_a_big_file_touches_a_handful_of_nodes),
		T(holes_that_meet_become_one),
		T(kept_and_skipped_stretches_end_where_extents_end),
		T(a_tree_of_more_paths_than_atoms_is_edited_as_any_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
