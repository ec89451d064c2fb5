/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The levels of trees that are being written, as far as no editor gets to see it.
 */
#include "check.h"
#include "tree/builder.h"
#include "treemodel.h"

/* A sink that writes down what it gets. */
struct recorder {
	struct node_sink sink;
	uint32_t counts[64];
	size_t sizes[64];
	unsigned n;
};

static int record(struct node_sink *sink, struct span canon, const struct entry_hint *hints,
		  uint32_t n, struct oid *ret_id, struct loc *ret_loc)
{
	struct recorder *r = container_of(sink, struct recorder, sink);

	r->counts[r->n] = n;
	r->sizes[r->n++] = canon.len - 16;
	*ret_id = oid_of(OID_NODE, canon.data, canon.len);
	*ret_loc = LOC_NOWHERE;
	return 0;
}

/* No entry of today's is so large, but the rule is there. */
static void an_entry_larger_than_a_node_stands_alone(void **state)
{
	static const size_t entries[] = { 100, NODE_MAX + 1, 200, NODE_MAX - 200, 1, NODE_MAX, 5 };
	static const size_t nodes[] = { 100, NODE_MAX + 1, NODE_MAX, 1, NODE_MAX, 5 };
	_cleanup_free_ uint8_t *bytes = calloc(1, NODE_MAX + 1);
	_cleanup_(tree_builder_release) struct tree_builder b;
	struct recorder r = { .sink.put = record };
	struct tree_root root;
	unsigned level;
	bool is_whole;

	tree_builder_init(&b, TREE_DIR, &r.sink);
	for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
		struct tree_item it = { .bytes = span_of(bytes, entries[i]), .sum.items = 1 };
		struct prng rnd = { i };
		struct named n = random_named(&rnd, KEYS_NEVER, i);

		it.key = it.cut_key = named_key(&n);
		assert_int_equal(tree_builder_add(&b, &it), 0);
	}
	assert_int_equal(tree_builder_finish(&b, &root, &level, &is_whole), 0);
	assert_int_equal(level, 1);
	assert_int_equal(r.n, ARRAY_SIZE(nodes) + 1);
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++)
		assert_int_equal(r.sizes[i], nodes[i]);
	assert_int_equal(r.counts[2], 2);
	assert_int_equal(r.counts[ARRAY_SIZE(nodes)], ARRAY_SIZE(nodes));
}

static void levels_have_an_end(void **state)
{
	struct tree_level empty = { 0 };
	struct recorder r = { .sink.put = record };
	struct child_rec c = { .key = span_str("a"), .id = { { 1 } }, .sum.items = 1 };
	_cleanup_(tree_builder_release) struct tree_builder b;

	tree_builder_init(&b, TREE_DIR, &r.sink);
	assert_memory_equal(&b.levels[15], &empty, sizeof(empty));
	assert_int_equal(tree_builder_take(&b, TREE_LEVELS - 2, &c), 0);
	assert_int_equal(tree_builder_take(&b, TREE_LEVELS - 1, &c), -EFBIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_entry_larger_than_a_node_stands_alone),
		cmocka_unit_test(levels_have_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
