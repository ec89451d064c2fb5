/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The editor of trees: whatever the way to it, a tree is what a bulk build of its entries gives,
 * and what was not changed is not touched.
 */
#include <openssl/sha.h>

#include "check.h"
#include "golden.h"
#include "treemodel.h"

static void put_all(struct dir_model *m, struct prng *rnd, enum key_style style, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct named name = random_named(rnd, style, i);

		dir_model_put(m, &name);
	}
}

/*
 * A batch of changes as a model of its own: what it puts (value UINT32_MAX: removes). They gather
 * around a place, or lie anywhere.
 */
static void random_batch(struct prng *rnd, enum key_style style, size_t space,
			 struct dir_model *ret)
{
	static const size_t sizes[] = { 1, 1, 2, 10, 300 };
	size_t n = sizes[prng_below(rnd, ARRAY_SIZE(sizes))];
	size_t from = prng_below(rnd, 2) ? prng_below(rnd, space) : 0;
	unsigned removals = (unsigned)prng_below(rnd, 11);

	for (size_t i = 0; i < n; i++) {
		size_t number = from > 0 ? from + i : prng_below(rnd, space);
		struct named name = random_named(rnd, style, number);

		if (prng_below(rnd, 10) < removals)
			name.value = UINT32_MAX;
		dir_model_put(ret, &name);
	}
}

static struct tree_root apply(struct nodestore *s, const struct tree_root *base,
			      const struct dir_model *batch, struct dir_model *m)
{
	_cleanup_(tree_edit_freep) struct tree_edit *e = edit_of(s, TREE_DIR, base);
	struct tree_root root;

	for (size_t i = 0; i < batch->count; i++) {
		const struct named *n = &batch->names[i];
		struct dirent_rec d = named_dirent(n);

		if (n->value == UINT32_MAX) {
			assert_int_equal(dir_edit_remove(e, d.name), 0);
			dir_model_remove(m, d.name);
		} else {
			assert_int_equal(dir_edit_put(e, &d), 0);
			dir_model_put(m, n);
		}
	}
	assert_int_equal(tree_edit_finish(e, &root), 0);
	return root;
}

static void any_edits_give_the_tree_of_a_bulk_build(void **state)
{
	static const size_t counts[] = { 0, 1, 100, 1000, 4000 };
	struct prng rnd = { 11 };

	for (size_t i = 0; i < KEY_STYLES * ARRAY_SIZE(counts); i++) {
		enum key_style style = i % KEY_STYLES;
		size_t n = counts[i / KEY_STYLES];
		_cleanup_(nodestore_release) struct nodestore s;
		_cleanup_(dir_model_release) struct dir_model m = { 0 };
		struct tree_root root;

		nodestore_init(&s);
		put_all(&m, &rnd, style, n);
		root = dir_build(&s, &m);
		for (int round = 0; round < 15; round++) {
			_cleanup_(dir_model_release) struct dir_model batch = { 0 };

			random_batch(&rnd, style, n + n / 10 + 10, &batch);
			root = apply(&s, &root, &batch, &m);
			assert_dir_is(&s, &root, &m);
		}
	}
}

static void taking_all_away_piece_by_piece_leaves_nothing(void **state)
{
	struct nodestore *s = *state;
	struct prng rnd = { 12 };

	for (enum key_style style = 0; style < KEY_STYLES; style++) {
		_cleanup_(dir_model_release) struct dir_model m = { 0 };
		struct tree_root root;

		put_all(&m, &rnd, style, 3000);
		root = dir_build(s, &m);
		while (m.count > 0) {
			_cleanup_(dir_model_release) struct dir_model batch = { 0 };
			size_t n = 1 + prng_below(&rnd, MIN(m.count, (size_t)400));
			size_t at = prng_below(&rnd, 3) ? prng_below(&rnd, m.count - n + 1) : 0;

			for (size_t i = 0; i < n; i++) {
				struct named gone = m.names[at + i];

				gone.value = UINT32_MAX;
				dir_model_put(&batch, &gone);
			}
			root = apply(s, &root, &batch, &m);
			assert_dir_is(s, &root, &m);
		}
		assert_true(oid_is_null(&root.id));
	}
}

/* A tree of three levels, whose middle ones have been ended by their size. */
static struct tree_root build_tall(struct nodestore *s, struct dir_model *m, size_t *ret_edge)
{
	struct prng rnd = { 13 };
	struct tree_root root;

	put_all(m, &rnd, KEYS_TALL, 14000);
	root = dir_build(s, m);
	assert_int_equal(tree_edges(s, TREE_DIR, &root, 1, ret_edge, 1), 1);
	return root;
}

static void assert_root_is_bulk(struct nodestore *s, const struct tree_root *root,
				const struct dir_model *m)
{
	struct tree_root bulk = dir_build(s, m);

	assert_memory_equal(root->id.b, bulk.id.b, OID_SIZE);
	assert_true(tree_sum_equal(&root->sum, &bulk.sum));
}

static void a_root_is_never_an_only_child(void **state)
{
	struct nodestore *s = *state;
	_cleanup_(dir_model_release) struct dir_model m = { 0 };
	size_t edge;

	build_tall(s, &m, &edge);
	/* All before the last node of level 1 goes, which has so many entries. */
	for (size_t left = 1; left < m.count - edge; left *= 3) {
		struct dir_model base = { m.names, edge + left, m.cap };
		struct dir_model rest = { m.names + edge, left, left };
		struct tree_root whole = dir_build(s, &base), root;
		_cleanup_(tree_edit_freep) struct tree_edit *e = edit_of(s, TREE_DIR, &whole);

		for (size_t i = 0; i < edge; i++)
			assert_int_equal(dir_edit_remove(e, named_key(&m.names[i])), 0);
		assert_int_equal(tree_edit_finish(e, &root), 0);
		assert_dir_is(s, &root, &rest);
	}
}

/* Changes the names on one side of an edge between nodes, or on both. */
static void change_at_edge(struct nodestore *s, const struct tree_root *base,
			   const struct dir_model *m, size_t edge)
{
	for (size_t from = edge - 1; from <= edge; from++) {
		for (size_t to = MAX(from + 1, edge); to <= edge + 1; to++) {
			for (int what = 0; what < 3; what++) {
				_cleanup_(dir_model_release) struct dir_model batch = { 0 };
				_cleanup_(dir_model_release) struct dir_model result = { 0 };
				struct tree_root root;

				dir_model_copy(m, &result);
				for (size_t i = from; i < to; i++) {
					struct named n = m->names[i];

					/* Gone, a small one, a large one. */
					n.value = what == 0 ? UINT32_MAX : n.value ^ 2;
					n.shape = what == 1 ? SHAPE_LINKED : SHAPE_MIB_OF_XATTRS;
					dir_model_put(&batch, &n);
				}
				root = apply(s, base, &batch, &result);
				assert_root_is_bulk(s, &root, &result);
			}
		}
	}
}

/* Puts a name between the two sides, too short to be likely to end anything. */
static void insert_at_edge(struct nodestore *s, const struct tree_root *base,
			   const struct dir_model *m, size_t edge)
{
	_cleanup_(dir_model_release) struct dir_model batch = { 0 }, result = { 0 };
	struct named n = m->names[edge - 1];
	struct tree_root root;

	n.len = 7;
	n.name[6] = '~'; /* behind the number; the others go on with '.' */
	dir_model_copy(m, &result);
	dir_model_put(&batch, &n);
	root = apply(s, base, &batch, &result);
	assert_int_equal(result.count, m->count + 1);
	assert_root_is_bulk(s, &root, &result);
}

static void edits_at_the_edges_of_nodes_give_the_tree_of_a_bulk_build(void **state)
{
	static const enum key_style styles[] = { KEYS_PLAIN, KEYS_NEVER_VARIED, KEYS_ALWAYS };
	struct nodestore *s = *state;
	_cleanup_(dir_model_release) struct dir_model tall = { 0 };
	struct prng rnd = { 16 };
	struct tree_root root;
	size_t edges[6], n;

	for (size_t k = 0; k < ARRAY_SIZE(styles); k++) {
		_cleanup_(dir_model_release) struct dir_model m = { 0 };

		put_all(&m, &rnd, styles[k], 5000);
		root = dir_build(s, &m);
		n = tree_edges(s, TREE_DIR, &root, 0, edges, ARRAY_SIZE(edges));
		assert_true(n > 2);
		while (n-- > 0) {
			change_at_edge(s, &root, &m, edges[n]);
			insert_at_edge(s, &root, &m, edges[n]);
		}
	}
	root = build_tall(s, &tall, edges);
	change_at_edge(s, &root, &tall, edges[0]);
	insert_at_edge(s, &root, &tall, edges[0]);
}

/* A million files; names in order. */
static struct named number_named(unsigned i, uint32_t value)
{
	struct named n = { .shape = SHAPE_FILE, .value = value };

	n.len = (uint8_t)snprintf(n.name, sizeof(n.name), "file%07u", i);
	return n;
}

static struct tree_root build_numbers(struct nodestore *s, unsigned from, unsigned to)
{
	_cleanup_(tree_edit_freep) struct tree_edit *e = edit_of(s, TREE_DIR, NULL);
	struct tree_root root;

	for (unsigned i = from; i < to; i++) {
		struct named n = number_named(2 * i, i);
		struct dirent_rec d = named_dirent(&n);

		assert_int_equal(dir_edit_put(e, &d), 0);
	}
	assert_int_equal(tree_edit_finish(e, &root), 0);
	return root;
}

static void one_edit_of_a_million_names_touches_a_handful_of_nodes(void **state)
{
	enum {
		N = 1000000
	};
	static const unsigned places[] = {
		0, 1, 3, N / 2, N / 3, N - 2, N - 1, N, 2 * N - 2, 2 * N
	};
	struct nodestore *s = *state;
	struct tree_root base = build_numbers(s, 0, N);
	unsigned worst_gets = 0, worst_puts = 0;

	for (size_t i = 0; i < 3 * ARRAY_SIZE(places); i++) {
		_cleanup_(tree_edit_freep) struct tree_edit *e = edit_of(s, TREE_DIR, &base);
		struct named n = number_named(places[i / 3], 7);
		struct dirent_rec d = named_dirent(&n);
		struct tree_root root;

		nodestore_count_anew(s);
		if (i % 3 == 0)
			assert_int_equal(dir_edit_remove(e, d.name), 0);
		else
			assert_int_equal(dir_edit_put(e, &d), 0);
		assert_int_equal(tree_edit_finish(e, &root), 0);
		worst_gets = MAX(worst_gets, s->gets);
		worst_puts = MAX(worst_puts, s->puts);
		assert_int_equal(s->misleading, 0);
	}
	assert_in_range(worst_gets, 1, 8);
	assert_in_range(worst_puts, 1, 6);
}

/* Names that end no node let only sizes end them: a change of no size ripples no further. */
static void a_change_among_names_that_end_no_node_stays_where_it_is(void **state)
{
	struct nodestore *s = *state;
	struct prng rnd = { 14 };
	_cleanup_(dir_model_release) struct dir_model m = { 0 };
	struct tree_root base;

	put_all(&m, &rnd, KEYS_NEVER, 40000);
	base = dir_build(s, &m);
	for (int round = 0; round < 30; round++) {
		_cleanup_(dir_model_release) struct dir_model batch = { 0 };
		struct named *n = &m.names[prng_below(&rnd, m.count)];

		n->value ^= 2;
		dir_model_put(&batch, n);
		nodestore_count_anew(s);
		base = apply(s, &base, &batch, &m);
		assert_true(s->gets <= 8 && s->puts <= 6);
	}
	assert_dir_is(s, &base, &m);
}

static void a_tree_that_is_not_changed_is_not_read(void **state)
{
	struct nodestore *s = *state;
	struct tree_root base = build_numbers(s, 0, 10000), root;
	_cleanup_(tree_edit_freep) struct tree_edit *e = edit_of(s, TREE_DIR, &base);

	nodestore_count_anew(s);
	assert_int_equal(tree_edit_finish(e, &root), 0);
	assert_memory_equal(&root, &base, sizeof(root));
	assert_int_equal(s->gets + s->puts, 0);
}

static void nothing_of_nothing_is_the_empty_tree(void **state)
{
	struct nodestore *s = *state;

	for (enum tree_kind kind = TREE_DIR; kind <= TREE_EXTENTS; kind++) {
		_cleanup_(tree_edit_freep) struct tree_edit *e = edit_of(s, kind, NULL);
		static const struct tree_sum nothing;
		struct tree_root root;

		if (kind == TREE_DIR)
			assert_int_equal(dir_edit_remove(e, span_str("a")), 0);
		assert_int_equal(tree_edit_finish(e, &root), 0);
		assert_true(oid_is_null(&root.id));
		assert_true(tree_sum_equal(&root.sum, &nothing));
	}
}

static void keys_must_come_in_order(void **state)
{
	static const struct {
		const char *first, *second;
		int r;
	} cases[] = {
		{ "a", "b", 0 },       { "a", "aa", 0 },       { "a", "a", -EINVAL },
		{ "b", "a", -EINVAL }, { "aa", "a", -EINVAL },
	};
	struct nodestore *s = *state;

	for (size_t i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		_cleanup_(tree_edit_freep) struct tree_edit *e = edit_of(s, TREE_DIR, NULL);
		struct dirent_rec d = { .name = span_str(cases[i / 2].first),
					.inode.type = FT_FIFO };
		int r = cases[i / 2].r;
		struct tree_root root;

		assert_int_equal(dir_edit_put(e, &d), 0);
		d.name = span_str(cases[i / 2].second);
		assert_int_equal(i % 2 ? dir_edit_put(e, &d) : dir_edit_remove(e, d.name), r);
		/* After an error there is no result. */
		assert_int_equal(tree_edit_finish(e, &root), r);
	}
}

static void what_nobody_could_read_is_not_written(void **state)
{
	struct nodestore *s = *state;
	static const uint8_t huge[70000];
	char long_name[FILE_NAME_MAX + 1];
	const struct oid id = { { 1 } };
	struct dirent_rec fifo = { .name = span_str("a"), .inode.type = FT_FIFO };
	struct dirent_rec bad[10];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = fifo;
	memset(long_name, 'n', sizeof(long_name));
	bad[0].name = span_str("");
	bad[1].name = span_str("..");
	bad[2].name = span_of(long_name, sizeof(long_name));
	bad[3].inode.mode = 010000;
	bad[4].inode.mtime.nsec = 1000000000;
	bad[5].inode.type = 0;
	/* Lengths that do not fit their field. */
	bad[6].inode = (struct inode){ .type = FT_LNK,
				       .content = { .id = id, .size = 65537, .data = 65537 } };
	bad[7].inode.xattrs.list = span_of(long_name, 5);
	bad[9].inode.xattrs.list = span_of(huge, sizeof(huge));
	bad[8] = (struct dirent_rec){ .name = fifo.name, .has_link = true, .inode.type = FT_DIR };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_(tree_edit_freep) struct tree_edit *e = edit_of(s, TREE_DIR, NULL);

		assert_int_equal(dir_edit_put(e, &bad[i]), -EINVAL);
	}
	for (size_t i = 0; i < 3; i++) {
		_cleanup_(tree_edit_freep) struct tree_edit *e = edit_of(s, TREE_EXTENTS, NULL);
		const struct extent_rec x[] = { { .len = 0, .id = id },
						{ .is_hole = true },
						{ .len = CHUNK_LIMIT + 1, .id = id } };

		assert_int_equal(extents_edit_put(e, &x[i]), -EINVAL);
	}
	assert_int_equal(s->puts, 0);
}

static void content_that_is_too_long_does_not_travel_inline(void **state)
{
	struct nodestore *s = *state;
	static const uint8_t bytes[INLINE_MAX + 1];

	for (size_t len = INLINE_MAX; len <= INLINE_MAX + 1; len++) {
		_cleanup_(tree_edit_freep) struct tree_edit *e = edit_of(s, TREE_DIR, NULL);
		_cleanup_(node_unrefp) struct node *leaf = NULL;
		struct dirent_rec d = { .name = span_str("a"),
					.inode = { .type = FT_REG,
						   .content = { .id = { { 1 } },
								.size = len,
								.data = len,
								.inlined = { bytes, len } } } };
		struct tree_root root;

		assert_int_equal(dir_edit_put(e, &d), 0);
		assert_int_equal(tree_edit_finish(e, &root), 0);
		assert_int_equal(dir_lookup(&s->source, &root, d.name, &leaf, &d), 0);
		assert_int_equal(d.inode.content.size, len);
		assert_int_equal(d.inode.content.inlined.len, len > INLINE_MAX ? 0 : len);
	}
}

static void links_are_edited_as_names_are(void **state)
{
	struct nodestore *s = *state;
	struct tree_root all, some, again;
	struct link_rec l = { .inode = { .type = FT_FIFO } };
	struct tree_edit *e = edit_of(s, TREE_LINKS, NULL);

	for (unsigned i = 0; i < 10000; i++) {
		l.link.b[0] = (uint8_t)(i >> 8);
		l.link.b[1] = (uint8_t)i;
		l.nlink = 1 + i;
		assert_int_equal(links_edit_put(e, &l), 0);
	}
	assert_int_equal(links_edit_put(e, &l), -EINVAL);
	tree_edit_free(e);

	for (unsigned round = 0; round < 3; round++) {
		struct tree_root *to[] = { &all, &some, &again };

		e = edit_of(s, TREE_LINKS, round == 2 ? &all : NULL);
		for (unsigned i = 0; i < 10000; i++) {
			l.link.b[0] = (uint8_t)(i >> 8);
			l.link.b[1] = (uint8_t)i;
			l.nlink = 1 + i;
			if (round == 0 || (round == 1 && i % 100))
				assert_int_equal(links_edit_put(e, &l), 0);
			else if (round == 2 && i % 100 == 0)
				assert_int_equal(links_edit_remove(e, &l.link), 0);
		}
		assert_int_equal(tree_edit_finish(e, to[round]), 0);
		tree_edit_free(e);
	}
	assert_true(oid_equal(&some.id, &again.id));
	assert_int_equal(again.sum.items, 9900);
}

/* The entries of tests/golden/trees.py. */
static void golden_put(struct tree_edit *e, enum tree_kind kind, unsigned i)
{
	char name[32];
	struct dirent_rec d = { .inode = { .type = FT_REG,
					   .mode = 0644,
					   .uid = 1000,
					   .gid = 100,
					   .mtime = { i, 5 },
					   .ctime = { -1, 999999999 },
					   .content = { .size = i + 1, .data = i + 1 } } };
	struct link_rec l = { .nlink = 1 + i % 3 };
	struct extent_rec x = { .is_hole = i % 7 == 3 };

	switch (kind) {
	case TREE_DIR:
		d.name = span_of(name, (size_t)snprintf(name, sizeof(name), "file%06u", i));
		SHA256(d.name.data, d.name.len, d.inode.content.id.b);
		d.has_link = i % 10 == 3;
		if (d.has_link)
			memcpy(d.link.b, d.inode.content.id.b, sizeof(d.link.b));
		assert_int_equal(dir_edit_put(e, &d), 0);
		break;
	case TREE_LINKS:
		for (int k = 0; k < 8; k++)
			l.link.b[k] = (uint8_t)((uint64_t)i >> (56 - 8 * k));
		l.inode = d.inode;
		memset(l.inode.content.id.b, 7, OID_SIZE);
		assert_int_equal(links_edit_put(e, &l), 0);
		break;
	case TREE_EXTENTS:
		x.len = x.is_hole ? 4096 * (1 + i % 5) : 65536 + i;
		SHA256((uint8_t *)name, (size_t)snprintf(name, sizeof(name), "chunk%u", i), x.id.b);
		assert_int_equal(extents_edit_put(e, &x), 0);
		break;
	}
}

static void trees_have_the_roots_they_always_had(void **state)
{
	static const char *const kinds[] = { "dir", "links", "extents" };
	struct nodestore *s = *state;
	_cleanup_free_ char *line = NULL;
	FILE *f = golden_open("trees.txt");
	size_t cap = 0, lines = 0;

	assert_non_null(f);
	for (; golden_line(f, &line, &cap); lines++) {
		char kind[16], root_hex[OID_HEX], hex[OID_HEX];
		unsigned n, level, k;
		unsigned long long sums[5] = { 0 };
		struct tree_root root;
		struct tree_edit *e;

		assert_true(sscanf(line, "%15s %u %u %64s %llu %llu %llu %llu %llu", kind, &n,
				   &level, root_hex, &sums[0], &sums[1], &sums[2], &sums[3],
				   &sums[4]) >= 5);
		for (k = 0; strcmp(kinds[k], kind) != 0; k++)
			;
		e = edit_of(s, (enum tree_kind)(k + 1), NULL);
		for (unsigned i = 0; i < n; i++)
			golden_put(e, (enum tree_kind)(k + 1), i);
		assert_int_equal(tree_edit_finish(e, &root), 0);
		tree_edit_free(e);
		assert_string_equal(oid_hex(&root.id, hex), root_hex);
		assert_int_equal(root.sum.items, sums[0]);
		assert_int_equal(k == 2 ? root.sum.bytes : root.sum.subdirs, sums[1]);
		assert_int_equal(k == 2 ? root.sum.data : root.sum.files, sums[2]);
		assert_int_equal(k == 2 ? 0 : root.sum.bytes, sums[3]);
		assert_int_equal(root.sum.has_links, sums[4]);
	}
	assert_int_equal(lines, 12);
	fclose(f);
}

/* Some work that reads and writes many nodes; the error it ends with, or 0. */
static int edit_here_and_there(struct nodestore *s, const struct tree_root *base)
{
	_cleanup_(tree_edit_freep) struct tree_edit *e = edit_of(s, TREE_DIR, base);
	struct tree_root root;
	int r = 0;

	for (unsigned i = 1; i < 40000 && r == 0; i += 5000) {
		struct named n = number_named(i, i);
		struct dirent_rec d = named_dirent(&n);

		r = i % 3 ? dir_edit_put(e, &d) : dir_edit_remove(e, d.name);
	}
	if (r < 0)
		assert_int_equal(dir_edit_remove(e, span_str("z")), r);
	return tree_edit_finish(e, &root);
}

static void an_error_below_is_the_error_of_the_edit(void **state)
{
	struct nodestore *s = *state;
	struct tree_root base = build_numbers(s, 0, 20000);
	unsigned calls;

	nodestore_count_anew(s);
	assert_int_equal(edit_here_and_there(s, &base), 0);
	calls = s->gets + s->puts;
	assert_true(calls > 15);
	for (unsigned i = 1; i <= calls; i++) {
		s->fail_in = (int)i;
		s->error = i % 2 ? -ENOSPC : -ETIME;
		assert_int_equal(edit_here_and_there(s, &base), s->error);
	}
	/* A node that is missing is damage, not a name that is not there. */
	s->fail_in = 1;
	s->error = -ENOENT;
	assert_int_equal(edit_here_and_there(s, &base), -EIO);
}

static void an_edit_of_a_damaged_tree_ends_with_an_error(void **state)
{
	struct nodestore *s = *state;
	struct tree_root base = build_numbers(s, 0, 20000), damaged = base;

	damaged.sum.bytes++;
	assert_int_equal(edit_here_and_there(s, &damaged), -EBADMSG);
	nodestore_forget(s, &base.id);
	assert_int_equal(edit_here_and_there(s, &base), -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, nodestore_set_up, nodestore_tear_down)
		T(any_edits_give_the_tree_of_a_bulk_build),
		T(taking_all_away_piece_by_piece_leaves_nothing),
		T(a_root_is_never_an_only_child),
		T(edits_at_the_edges_of_nodes_give_the_tree_of_a_bulk_build),
		T(one_edit_of_a_million_names_touches_a_handful_of_nodes),
		T(a_change_among_names_that_end_no_node_stays_where_it_is),
		T(a_tree_that_is_not_changed_is_not_read),
		T(nothing_of_nothing_is_the_empty_tree),
		T(keys_must_come_in_order),
		T(what_nobody_could_read_is_not_written),
		T(content_that_is_too_long_does_not_travel_inline),
		T(links_are_edited_as_names_are),
		T(trees_have_the_roots_they_always_had),
		T(an_error_below_is_the_error_of_the_edit),
		T(an_edit_of_a_damaged_tree_ends_with_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
