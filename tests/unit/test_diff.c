/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What differs between two trees.
 */
#include "check.h"
#include "tree/diff.h"
#include "treemodel.h"

static void fill(struct dir_model *m, struct prng *rnd, enum key_style style, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct named name = random_named(rnd, style, prng_below(rnd, 3 * n));

		dir_model_put(m, &name);
	}
}

/* The place is that entry of the model, or there is neither. */
static void assert_place(const struct tree_place *p, const struct named *n)
{
	struct dirent_rec got, want;

	assert_int_equal(p->leaf != NULL, n != NULL);
	if (!n)
		return;
	want = named_dirent(n);
	node_dirent(p->leaf, p->i, &got);
	assert_true(span_equal(got.name, want.name));
	assert_int_equal(got.has_link, want.has_link);
	assert_true(inode_equal(&got.inode, &want.inode));
}

static bool is_same(const struct named *a, const struct named *b)
{
	_cleanup_buf_ struct buf ba = { 0 }, bb = { 0 };
	struct dirent_rec da = named_dirent(a), db = named_dirent(b);

	dirent_put(&ba, &da);
	dirent_put(&bb, &db);
	return span_equal(buf_span(&ba), buf_span(&bb));
}

static void assert_diff_is(struct nodestore *s, const struct dir_model *a,
			   const struct dir_model *b, const struct tree_root *ra,
			   const struct tree_root *rb)
{
	_cleanup_(tree_diff_freep) struct tree_diff *d = NULL;
	struct tree_place pa, pb;
	size_t i = 0, k = 0;

	assert_int_equal(tree_diff_new(TREE_DIR, &s->source, ra, rb, &d), 0);
	while (i < a->count || k < b->count) {
		const struct named *na = i < a->count ? &a->names[i] : NULL;
		const struct named *nb = k < b->count ? &b->names[k] : NULL;
		int order = !na ? 1 : !nb ? -1 : span_cmp(named_key(na), named_key(nb));

		i += order <= 0;
		k += order >= 0;
		if (order == 0 && is_same(na, nb))
			continue;
		assert_int_equal(tree_diff_next(d, &pa, &pb), 1);
		assert_place(&pa, order <= 0 ? na : NULL);
		assert_place(&pb, order >= 0 ? nb : NULL);
	}
	assert_int_equal(tree_diff_next(d, &pa, &pb), 0);
	assert_int_equal(tree_diff_next(d, &pa, &pb), 0);
	assert_int_equal(s->misleading, 0);
}

static void differences_are_those_of_the_entries(void **state)
{
	static const size_t counts[] = { 0, 1, 50, 1500 };
	struct nodestore *s = *state;
	struct prng rnd = { 31 };

	for (size_t i = 0; i < KEY_STYLES * ARRAY_SIZE(counts) * ARRAY_SIZE(counts); i++) {
		enum key_style style = i % KEY_STYLES;
		size_t which = i / KEY_STYLES;
		_cleanup_(dir_model_release) struct dir_model a = { 0 }, b = { 0 };
		struct tree_root ra, rb;

		fill(&a, &rnd, style, counts[which % ARRAY_SIZE(counts)]);
		fill(&b, &rnd, style, counts[which / ARRAY_SIZE(counts)]);
		ra = dir_build(s, &a);
		rb = dir_build(s, &b);
		assert_diff_is(s, &a, &b, &ra, &rb);
	}
}

static void a_few_changes_are_found_wherever_they_are(void **state)
{
	struct nodestore *s = *state;
	struct prng rnd = { 32 };

	for (int round = 0; round < 5 * KEY_STYLES; round++) {
		enum key_style style = round % KEY_STYLES;
		_cleanup_(dir_model_release) struct dir_model a = { 0 }, b = { 0 };
		struct tree_root ra, rb;

		fill(&a, &rnd, style, 2000);
		dir_model_copy(&a, &b);
		for (size_t n = prng_below(&rnd, 10); n > 0; n--) {
			struct named name = random_named(&rnd, style, prng_below(&rnd, 6000));

			if (prng_below(&rnd, 2))
				dir_model_put(&b, &name);
			else
				dir_model_remove(&b,
						 named_key(&b.names[prng_below(&rnd, b.count)]));
		}
		ra = dir_build(s, &a);
		rb = dir_build(s, &b);
		assert_diff_is(s, &a, &b, &ra, &rb);
		assert_diff_is(s, &b, &a, &rb, &ra);
	}
}

static void what_is_equal_is_not_read(void **state)
{
	struct nodestore *s = *state;
	struct prng rnd = { 33 };
	_cleanup_(dir_model_release) struct dir_model a = { 0 }, b = { 0 };
	struct tree_root ra, rb;

	for (size_t i = 0; i < 50000; i++) {
		struct named name = random_named(&rnd, KEYS_PLAIN, i);

		dir_model_put(&a, &name);
	}
	dir_model_copy(&a, &b);
	ra = dir_build(s, &a);
	nodestore_count_anew(s);
	assert_diff_is(s, &a, &a, &ra, &ra);
	assert_int_equal(s->gets, 0);

	for (size_t at = 0; at < b.count; at += 9999) {
		struct named gone = b.names[at];

		dir_model_remove(&b, named_key(&gone));
		rb = dir_build(s, &b);
		nodestore_count_anew(s);
		assert_diff_is(s, &a, &b, &ra, &rb);
		assert_in_range(s->gets, 1, 10);
		dir_model_put(&b, &gone);
	}
}

static void records_of_links_are_compared_as_names_are(void **state)
{
	struct nodestore *s = *state;
	_cleanup_(tree_diff_freep) struct tree_diff *d = NULL;
	struct tree_root roots[2];
	struct tree_place a, b;
	struct link_rec l;

	for (unsigned k = 0; k < 2; k++) {
		_cleanup_(tree_edit_freep) struct tree_edit *e = NULL;

		assert_int_equal(tree_edit_new(TREE_LINKS, &s->source, &s->sink, NULL, &e), 0);
		for (unsigned i = 0; i < 1000; i++) {
			l = (struct link_rec){ .nlink = 1, .inode.type = FT_FIFO };
			l.link.b[0] = (uint8_t)(i >> 8);
			l.link.b[1] = (uint8_t)i;
			if (k == 1 && i == 700)
				l.nlink = 2;
			assert_int_equal(links_edit_put(e, &l), 0);
		}
		assert_int_equal(tree_edit_finish(e, &roots[k]), 0);
	}
	assert_int_equal(tree_diff_new(TREE_LINKS, &s->source, &roots[0], &roots[1], &d), 0);
	assert_int_equal(tree_diff_next(d, &a, &b), 1);
	node_link(b.leaf, b.i, &l);
	assert_int_equal(l.nlink, 2);
	node_link(a.leaf, a.i, &l);
	assert_int_equal(l.nlink, 1);
	assert_int_equal(l.link.b[0] << 8 | l.link.b[1], 700);
	assert_int_equal(tree_diff_next(d, &a, &b), 0);
}

static int diff_all(struct nodestore *s, const struct tree_root *a, const struct tree_root *b)
{
	_cleanup_(tree_diff_freep) struct tree_diff *d = NULL;
	struct tree_place pa, pb;
	int r;

	r = tree_diff_new(TREE_DIR, &s->source, a, b, &d);
	if (r < 0)
		return r;
	do
		r = tree_diff_next(d, &pa, &pb);
	while (r > 0);
	/* What failed once does not go on as if the rest were equal. */
	assert_int_equal(tree_diff_next(d, &pa, &pb), r);
	return r;
}

static void an_error_below_ends_the_diff(void **state)
{
	struct nodestore *s = *state;
	struct prng rnd = { 34 };
	_cleanup_(dir_model_release) struct dir_model a = { 0 }, b = { 0 };
	struct tree_root ra, rb;
	unsigned gets;

	fill(&a, &rnd, KEYS_PLAIN, 2000);
	fill(&b, &rnd, KEYS_PLAIN, 2000);
	ra = dir_build(s, &a);
	rb = dir_build(s, &b);
	nodestore_count_anew(s);
	assert_int_equal(diff_all(s, &ra, &rb), 0);
	gets = s->gets;
	assert_true(gets > 4);
	for (unsigned i = 1; i <= gets; i++) {
		s->fail_in = (int)i;
		s->error = i % 2 ? -ETIME : -ENOENT;
		assert_int_equal(diff_all(s, &ra, &rb), i % 2 ? -ETIME : -EIO);
	}
	rb.sum.items++;
	assert_int_equal(diff_all(s, &ra, &rb), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, nodestore_set_up, nodestore_tear_down)
		T(differences_are_those_of_the_entries),
		T(a_few_changes_are_found_wherever_they_are),
		T(what_is_equal_is_not_read),
		T(records_of_links_are_compared_as_names_are),
		T(an_error_below_ends_the_diff),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
