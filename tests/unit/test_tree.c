/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading trees: positions, look-up, and what becomes of trees that are not as they say.
 */
#include "check.h"
#include "treemodel.h"

static void fill(struct dir_model *m, enum key_style style, size_t n)
{
	struct prng rnd = { 21 };

	for (size_t i = 0; i < n; i++) {
		struct named name = random_named(&rnd, style, 2 * i);

		dir_model_put(m, &name);
	}
}

static void assert_at(const struct tree_cursor *c, const struct dir_model *m, size_t i)
{
	assert_int_equal(c->is_end, i >= m->count);
	if (!c->is_end)
		assert_true(
			span_equal(node_key(tree_leaf(c), tree_index(c)), named_key(&m->names[i])));
}

static void a_key_is_found_or_the_next_behind_it(void **state)
{
	struct nodestore *s = *state;
	struct prng rnd = { 22 };

	for (enum key_style style = 0; style < KEY_STYLES; style++) {
		_cleanup_(tree_cursor_release) struct tree_cursor c;
		_cleanup_(dir_model_release) struct dir_model m = { 0 };
		struct tree_root root;

		fill(&m, style, 3000);
		root = dir_build(s, &m);
		tree_cursor_init(&c, TREE_DIR, &s->source);
		for (int round = 0; round < 600; round++) {
			struct named n = random_named(&rnd, style, prng_below(&rnd, 6010));
			bool is_there;
			size_t i = dir_model_find(&m, named_key(&n), &is_there);

			assert_int_equal(tree_seek_key(&c, &root, named_key(&n)), 0);
			assert_at(&c, &m, i);
			if (i < m.count) {
				assert_int_equal(tree_next(&c), 0);
				assert_at(&c, &m, i + 1);
			}
		}
		assert_int_equal(tree_seek_key(&c, &root, span_str("\1")), 0);
		assert_at(&c, &m, 0);
		assert_int_equal(tree_seek_key(&c, &root, span_str("\xff")), 0);
		assert_at(&c, &m, m.count);
	}
}

static void an_ordinal_is_a_place(void **state)
{
	struct nodestore *s = *state;
	_cleanup_(tree_cursor_release) struct tree_cursor c;
	_cleanup_(dir_model_release) struct dir_model m = { 0 };
	struct tree_root root;

	fill(&m, KEYS_PLAIN, 3000);
	root = dir_build(s, &m);
	tree_cursor_init(&c, TREE_DIR, &s->source);
	for (size_t i = 0; i <= m.count + 1; i += i < 400 || i > 2990 ? 1 : 11) {
		assert_int_equal(tree_seek_ordinal(&c, &root, i), 0);
		assert_at(&c, &m, i);
	}
	assert_int_equal(tree_seek_ordinal(&c, &root, UINT64_MAX), 0);
	assert_true(c.is_end);
}

static void a_byte_lies_in_its_extent(void **state)
{
	struct nodestore *s = *state;
	_cleanup_(extent_model_release) struct extent_model m = { 0 };
	_cleanup_(tree_cursor_release) struct tree_cursor c;
	struct prng rnd = { 23 };
	struct tree_root root;
	uint64_t start = 0, got;

	for (int i = 0; i < 2000; i++) {
		struct extent_rec x = random_extent(&rnd, IDS_PLAIN);

		extent_model_put(&m, &x);
	}
	root = extents_build(s, &m);
	/* No inode knows the number of extents. */
	root.sum.items = 0;
	tree_cursor_init(&c, TREE_EXTENTS, &s->source);
	for (size_t i = 0; i < m.count; start += m.x[i++].len) {
		uint64_t offs[] = { start, start + m.x[i].len / 2, start + m.x[i].len - 1 };
		struct extent_rec x;

		for (size_t k = 0; k < ARRAY_SIZE(offs); k++) {
			assert_int_equal(tree_seek_byte(&c, &root, offs[k], &got), 0);
			assert_false(c.is_end);
			assert_int_equal(got, start);
			node_extent(tree_leaf(&c), tree_index(&c), &x);
			assert_int_equal(x.len, m.x[i].len);
		}
	}
	for (uint64_t off = root.sum.bytes; off < root.sum.bytes + 3; off++) {
		assert_int_equal(tree_seek_byte(&c, &root, off, &got), 0);
		assert_true(c.is_end);
		assert_int_equal(got, root.sum.bytes);
	}
}

static void an_empty_tree_is_all_end(void **state)
{
	struct nodestore *s = *state;
	_cleanup_(tree_cursor_release) struct tree_cursor c;
	struct tree_root root = { 0 };
	struct dirent_rec d;
	struct link_rec l;
	struct node *leaf;
	uint64_t start = 1;

	tree_cursor_init(&c, TREE_DIR, &s->source);
	assert_int_equal(tree_seek_key(&c, &root, span_str("a")), 0);
	assert_true(c.is_end);
	assert_int_equal(tree_seek_ordinal(&c, &root, 0), 0);
	assert_true(c.is_end);
	assert_int_equal(tree_seek_byte(&c, &root, 0, &start), 0);
	assert_true(c.is_end);
	assert_int_equal(start, 0);
	assert_int_equal(dir_lookup(&s->source, &root, span_str("a"), &leaf, &d), -ENOENT);
	assert_int_equal(links_lookup(&s->source, &root, &(struct id128){ 0 }, &leaf, &l), -ENOENT);
	assert_int_equal(s->gets, 0);
}

static void names_are_looked_up(void **state)
{
	struct nodestore *s = *state;
	_cleanup_(dir_model_release) struct dir_model m = { 0 };
	struct prng rnd = { 24 };
	struct tree_root root;

	fill(&m, KEYS_NEVER_VARIED, 3000);
	root = dir_build(s, &m);
	for (int round = 0; round < 1500; round++) {
		struct named n = random_named(&rnd, KEYS_NEVER_VARIED, prng_below(&rnd, 6010));
		_cleanup_(node_unrefp) struct node *leaf = NULL;
		struct dirent_rec got;
		bool is_there;
		size_t i = dir_model_find(&m, named_key(&n), &is_there);
		int r = dir_lookup(&s->source, &root, named_key(&n), &leaf, &got);

		assert_int_equal(r, is_there ? 0 : -ENOENT);
		if (is_there) {
			struct dirent_rec want = named_dirent(&m.names[i]);

			assert_true(span_equal(got.name, want.name));
			assert_true(inode_equal(&got.inode, &want.inode));
		}
	}
	assert_int_equal(s->misleading, 0);
}

static void links_are_looked_up(void **state)
{
	struct nodestore *s = *state;
	_cleanup_(tree_edit_freep) struct tree_edit *e = NULL;
	struct link_rec l = { .inode.type = FT_FIFO }, got;
	struct tree_root root;
	struct node *none;

	assert_int_equal(tree_edit_new(TREE_LINKS, &s->source, &s->sink, NULL, &e), 0);
	for (unsigned i = 0; i < 2000; i++) {
		l.link.b[3] = (uint8_t)(i >> 8);
		l.link.b[4] = (uint8_t)i;
		l.nlink = i + 1;
		assert_int_equal(links_edit_put(e, &l), 0);
	}
	assert_int_equal(tree_edit_finish(e, &root), 0);
	for (unsigned i = 0; i < 2000; i++) {
		_cleanup_(node_unrefp) struct node *leaf = NULL;

		l.link.b[3] = (uint8_t)(i >> 8);
		l.link.b[4] = (uint8_t)i;
		assert_int_equal(links_lookup(&s->source, &root, &l.link, &leaf, &got), 0);
		assert_int_equal(got.nlink, i + 1);
	}
	l.link.b[15] = 1;
	assert_int_equal(links_lookup(&s->source, &root, &l.link, &none, &got), -ENOENT);
}

static void a_missing_node_is_not_a_missing_name(void **state)
{
	struct nodestore *s = *state;
	_cleanup_(tree_cursor_release) struct tree_cursor c;
	_cleanup_(dir_model_release) struct dir_model m = { 0 };
	struct dirent_rec d;
	struct tree_root root;
	struct node *leaf;

	fill(&m, KEYS_PLAIN, 1000);
	root = dir_build(s, &m);
	tree_cursor_init(&c, TREE_DIR, &s->source);
	for (int call = 1; call <= 2; call++) {
		static const int errors[][2] = { { -ENOENT, -EIO }, { -EAGAIN, -EAGAIN } };

		for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
			s->error = errors[i][0];
			s->fail_in = call;
			assert_int_equal(
				dir_lookup(&s->source, &root, span_str("nobody"), &leaf, &d),
				errors[i][1]);
			s->fail_in = call;
			assert_int_equal(tree_seek_ordinal(&c, &root, 0), errors[i][1]);
			assert_true(c.is_end);
			s->fail_in = call;
			assert_int_equal(tree_seek_key(&c, &root, span_str("0")), errors[i][1]);
			assert_true(c.is_end);
		}
	}
	/* The next leaf is not at hand. */
	assert_int_equal(tree_seek_ordinal(&c, &root, 0), 0);
	assert_int_equal(tree_seek_ordinal(&c, &root, tree_leaf(&c)->count - 1), 0);
	s->fail_in = 1;
	assert_int_equal(tree_next(&c), -EAGAIN);
	assert_true(c.is_end);
}

/* A node made by hand of files that have nothing but a name, or of children. */
struct draft {
	struct tree_root root;
	char first[8];
};

static struct draft leaf_of(struct nodestore *s, const char *names)
{
	struct draft d = { 0 };
	_cleanup_buf_ struct buf b = { 0 };

	node_canon_begin(&b, TREE_DIR, 0);
	for (const char *n = names; *n; n++) {
		struct dirent_rec e = { .name = span_of(n, 1), .inode.type = FT_FIFO };

		dirent_put(&b, &e);
		d.root.sum = tree_sum_add(d.root.sum, inode_sum(&e.inode, false));
	}
	node_canon_end(&b, (uint32_t)strlen(names));
	d.root.id = nodestore_add(s, buf_span(&b), (struct span){ 0 });
	d.first[0] = names[0];
	return d;
}

static struct draft parent_of(struct nodestore *s, uint8_t level, const struct draft *children,
			      uint32_t n)
{
	struct draft d = { 0 };
	_cleanup_buf_ struct buf b = { 0 };

	node_canon_begin(&b, TREE_DIR, level);
	for (uint32_t i = 0; i < n; i++) {
		struct child_rec c = { .key = span_str(children[i].first),
				       .id = children[i].root.id,
				       .sum = children[i].root.sum };

		child_put(&b, TREE_DIR, &c);
		d.root.sum = tree_sum_add(d.root.sum, c.sum);
	}
	node_canon_end(&b, n);
	d.root.id = nodestore_add(s, buf_span(&b), (struct span){ 0 });
	d.first[0] = children[0].first[0];
	return d;
}

/* What a walk over all entries ends with; how many there were before. */
static int walk(struct nodestore *s, const struct tree_root *root, unsigned *ret_count)
{
	_cleanup_(tree_cursor_release) struct tree_cursor c;
	int r;

	*ret_count = 0;
	tree_cursor_init(&c, TREE_DIR, &s->source);
	for (r = tree_seek_ordinal(&c, root, 0); r == 0 && !c.is_end; r = tree_next(&c))
		++*ret_count;
	assert_true(c.is_end);
	return r;
}

static void a_sound_tree_made_by_hand_is_walked(void **state)
{
	struct nodestore *s = *state;
	struct draft leaves[] = { leaf_of(s, "abc"), leaf_of(s, "def") };
	struct draft mid[] = { parent_of(s, 1, leaves, 2), leaf_of(s, "xyz") };
	unsigned n;

	mid[1] = parent_of(s, 1, &mid[1], 1);
	mid[0] = parent_of(s, 2, mid, 2);
	assert_int_equal(walk(s, &mid[0].root, &n), 0);
	assert_int_equal(n, 9);
}

static void a_child_that_is_not_as_its_parent_says_ends_the_walk(void **state)
{
	struct nodestore *s = *state;
	struct draft good[] = { leaf_of(s, "abc"), leaf_of(s, "def") }, bad[2], root;
	unsigned n;

	for (int what = 0; what < 6; what++) {
		memcpy(bad, good, sizeof(bad));
		switch (what) {
		case 0:
			bad[1].root.sum.items++;
			break;
		case 1:
			bad[1].root.sum.has_links = true;
			break;
		case 2: /* another first key */
			bad[1].first[0] = 'e';
			break;
		case 3: /* a leaf where a node of level 1 should be */
			break;
		case 4: /* no such node */
			bad[1].root.id.b[0] ^= 1;
			break;
		case 5: /* it goes on behind what follows it */
			bad[0] = leaf_of(s, "abe");
			break;
		}
		root = parent_of(s, what == 3 ? 2 : 1, bad, 2);
		assert_int_equal(walk(s, &root.root, &n), what == 4 ? -EIO : -EBADMSG);
		assert_int_equal(n, what == 3 || what == 5 ? 0 : 3);
	}
}

/* Its parent cannot see it, but the parent's parent says what comes next. */
static void keys_ascend_over_the_whole_tree(void **state)
{
	struct nodestore *s = *state;
	struct draft left[] = { leaf_of(s, "ab"), leaf_of(s, "cx") };
	struct draft right[] = { leaf_of(s, "de"), leaf_of(s, "fg") };
	struct draft mid[] = { parent_of(s, 1, left, 2), parent_of(s, 1, right, 2) };
	struct draft root = parent_of(s, 2, mid, 2);
	unsigned n;

	assert_int_equal(walk(s, &root.root, &n), -EBADMSG);
	assert_int_equal(n, 2);
}

static void a_root_that_is_not_as_said_is_refused(void **state)
{
	struct nodestore *s = *state;
	struct draft leaves[] = { leaf_of(s, "abc"), leaf_of(s, "def") };
	struct draft root = parent_of(s, 1, leaves, 2), lonely = parent_of(s, 1, leaves, 1);
	_cleanup_(tree_cursor_release) struct tree_cursor c;
	unsigned n;

	assert_int_equal(walk(s, &root.root, &n), 0);
	root.root.sum.files++;
	assert_int_equal(walk(s, &root.root, &n), -EBADMSG);
	assert_int_equal(n, 0);
	assert_int_equal(walk(s, &lonely.root, &n), -EBADMSG);

	tree_cursor_init(&c, TREE_LINKS, &s->source);
	assert_int_equal(tree_seek_ordinal(&c, &leaves[0].root, 0), -EBADMSG);
}

/* Ten nodes of a thousand equal entries each make 10^30 ways through. */
static void a_tree_of_more_paths_than_atoms_is_read_as_any_other(void **state)
{
	struct nodestore *s = *state;
	struct extent_rec x = { .len = 65536, .id = { { 1 } } };
	struct tree_sum each = { .items = 1, .bytes = x.len, .data = x.len };
	struct tree_root root = { 0 };
	_cleanup_(tree_cursor_release) struct tree_cursor c;
	_cleanup_buf_ struct buf b = { 0 };
	uint64_t start;

	for (uint8_t level = 0; level < TREE_LEVELS; level++) {
		struct child_rec child = { .id = root.id, .sum = each };

		buf_clear(&b);
		node_canon_begin(&b, TREE_EXTENTS, level);
		root.sum = (struct tree_sum){ 0 };
		for (int i = 0; i < 1000; i++) {
			if (level == 0)
				extent_put(&b, &x);
			else
				child_put(&b, TREE_EXTENTS, &child);
			root.sum = tree_sum_add(root.sum, each);
		}
		node_canon_end(&b, 1000);
		root.id = nodestore_add(s, buf_span(&b), (struct span){ 0 });
		each = root.sum;
	}
	assert_int_equal(root.sum.bytes, UINT64_MAX);

	tree_cursor_init(&c, TREE_EXTENTS, &s->source);
	for (unsigned bit = 0; bit < 64; bit += 3) {
		uint64_t off = UINT64_MAX >> bit;

		nodestore_count_anew(s);
		assert_int_equal(tree_seek_byte(&c, &root, off, &start), 0);
		assert_int_equal(s->gets, bit == 0 ? 1 : TREE_LEVELS);
		if (bit > 0)
			assert_int_equal(start, off / x.len * x.len);
		for (int i = 0; i < 2000 && bit > 0; i++)
			assert_int_equal(tree_next(&c), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, nodestore_set_up, nodestore_tear_down)
		T(a_key_is_found_or_the_next_behind_it),
		T(an_ordinal_is_a_place),
		T(a_byte_lies_in_its_extent),
		T(an_empty_tree_is_all_end),
		T(names_are_looked_up),
		T(links_are_looked_up),
		T(a_missing_node_is_not_a_missing_name),
		T(a_sound_tree_made_by_hand_is_walked),
		T(a_child_that_is_not_as_its_parent_says_ends_the_walk),
		T(keys_ascend_over_the_whole_tree),
		T(a_root_that_is_not_as_said_is_refused),
		T(a_tree_of_more_paths_than_atoms_is_read_as_any_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
