/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The ordered map in memory.
 */
#include "check.h"
#include "state/memtable.h"
#include "tablemodel.h"

static int make(void **state)
{
	struct memtable *m;

	assert_ok(memtable_new(&m));
	*state = m;
	return 0;
}

static int drop(void **state)
{
	memtable_free(*state);
	return 0;
}

static void put(struct memtable *m, const char *key, const char *value)
{
	assert_ok(memtable_reserve(m, 1, strlen(key) + strlen(value)));
	memtable_put(m, span_str(key), span_str(value));
}

static void assert_value(const struct memtable *m, const char *key, const char *value)
{
	const struct memrec *r = memtable_get(m, span_str(key));

	assert_non_null(r);
	assert_false(r->is_deleted);
	assert_true(span_equal(memrec_value(r), span_str(value)));
}

static void assert_key(const struct memrec *r, const char *key)
{
	if (!key) {
		assert_null(r);
		return;
	}
	assert_non_null(r);
	assert_true(span_equal(memrec_key(r), span_str(key)));
}

static void a_value_of_the_same_length_is_replaced_where_it_lies(void **state)
{
	struct memtable *m = *state;
	const uint8_t *at;
	size_t bytes;

	put(m, "key", "one");
	at = memtable_get(m, span_str("key"))->value;
	bytes = memtable_bytes(m);
	put(m, "key", "two");
	assert_value(m, "key", "two");
	assert_ptr_equal(memtable_get(m, span_str("key"))->value, at);
	assert_int_equal(memtable_bytes(m), bytes);
	put(m, "key", "a good deal longer");
	assert_value(m, "key", "a good deal longer");
	put(m, "key", "");
	assert_value(m, "key", "");
	assert_int_equal(memtable_count(m), 1);
}

static void a_deleted_key_is_known_to_be_deleted_and_a_removed_one_is_not_known(void **state)
{
	struct memtable *m = *state;

	put(m, "a", "1");
	put(m, "b", "2");
	assert_ok(memtable_reserve(m, 1, 1));
	memtable_delete(m, span_str("a"));
	assert_true(memtable_get(m, span_str("a"))->is_deleted);
	memtable_delete(m, span_str("b"));
	memtable_remove(m, span_str("b"));
	assert_null(memtable_get(m, span_str("b")));
	memtable_remove(m, span_str("never there"));
	put(m, "a", "again");
	assert_value(m, "a", "again");
}

static void neighbours_are_found_on_either_side(void **state)
{
	struct memtable *m = *state;

	assert_key(memtable_seek(m, span_str(""), false), NULL);
	assert_key(memtable_seek_back(m, span_str("z"), false), NULL);
	put(m, "b", "");
	put(m, "d", "");
	put(m, "da", "");
	assert_key(memtable_seek(m, span_str(""), false), "b");
	assert_key(memtable_seek(m, span_str("d"), false), "d");
	assert_key(memtable_seek(m, span_str("d"), true), "da");
	assert_key(memtable_seek(m, span_str("da"), true), NULL);
	assert_key(memtable_seek_back(m, span_str("c"), false), "b");
	assert_key(memtable_seek_back(m, span_str("d"), false), "d");
	assert_key(memtable_seek_back(m, span_str("d"), true), "b");
	assert_key(memtable_seek_back(m, span_str("b"), true), NULL);
	assert_key(memrec_next(memtable_get(m, span_str("d"))), "da");
}

static void what_begins_alike_is_removed_together(void **state)
{
	struct memtable *m = *state;

	put(m, "ab", "");
	put(m, "b", "");
	put(m, "ba", "");
	put(m, "bz", "");
	put(m, "c", "");
	memtable_remove_prefix(m, span_str("b"));
	assert_int_equal(memtable_count(m), 2);
	assert_null(memtable_get(m, span_str("ba")));
	assert_key(memtable_seek(m, span_str("ab"), true), "c");
	assert_key(memtable_seek_back(m, span_str("c"), true), "ab");
}

static void after_a_reset_it_is_empty_and_takes_no_more_memory_for_the_same(void **state)
{
	struct memtable *m = *state;
	size_t bytes = 0;

	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 20000; i++) {
			char key[16];

			snprintf(key, sizeof(key), "%u", i * 7919 % 20000);
			put(m, key, "a value of some length");
		}
		assert_int_equal(memtable_count(m), 20000);
		if (bytes > 0)
			assert_in_range(memtable_bytes(m), bytes - bytes / 20, bytes + bytes / 20);
		bytes = memtable_bytes(m);
		memtable_reset(m);
		assert_int_equal(memtable_count(m), 0);
		assert_int_equal(memtable_bytes(m), 0);
		assert_null(memtable_get(m, span_str("7")));
		assert_key(memtable_seek(m, span_str(""), false), NULL);
	}
}

static void reserved_room_is_there_until_it_is_used(void **state)
{
	struct memtable *m = *state;
	_cleanup_free_ uint8_t *large = calloc(1, TABLE_VALUE_MAX);

	assert_non_null(large);
	assert_false(memtable_has_reserve(m, 1, 1));
	assert_ok(memtable_reserve(m, 2, TABLE_VALUE_MAX + 2));
	assert_true(memtable_has_reserve(m, 2, TABLE_VALUE_MAX + 2));
	memtable_put(m, span_str("a"), span_of(large, TABLE_VALUE_MAX));
	memtable_delete(m, span_str("b"));
	assert_int_equal(memtable_get(m, span_str("a"))->value_len, TABLE_VALUE_MAX);
}

static void assert_same(const struct memtable *m, const struct model *want)
{
	const struct memrec *r = memtable_seek(m, span_str(""), false);

	assert_int_equal(memtable_count(m), want->count);
	for (size_t i = 0; i < want->count; i++, r = memrec_next(r)) {
		const struct memrec *back;

		assert_non_null(r);
		assert_true(span_equal(memrec_key(r), buf_span(&want->records[i].key)));
		assert_true(span_equal(memrec_value(r), buf_span(&want->records[i].value)));
		assert_ptr_equal(memtable_get(m, memrec_key(r)), r);
		back = memtable_seek_back(m, memrec_key(r), true);
		assert_true(i == 0 ? !back : memrec_next(back) == r);
	}
	assert_null(r);
}

static void it_is_a_sorted_array_whatever_is_done_to_it(void **state)
{
	struct memtable *m = *state;
	struct model want = { 0 };
	struct prng rnd = { 1 };

	for (unsigned i = 0; i < 100000; i++) {
		uint8_t bytes[TABLE_KEY_MAX], value[64];
		struct span key = random_key(&rnd, 1 + (uint32_t)prng_below(&rnd, 4), bytes);
		size_t len = prng_below(&rnd, sizeof(value));
		uint32_t layer = htobe32(1 + (uint32_t)prng_below(&rnd, 4));

		prng_fill(&rnd, value, len);
		if (prng_below(&rnd, 3) == 0) {
			memtable_remove(m, key);
			tablemodel_delete(&want, key);
		} else {
			if (!memtable_has_reserve(m, 1, key.len + len))
				assert_ok(memtable_reserve(m, 1, key.len + len));
			memtable_put(m, key, span_of(value, len));
			tablemodel_put(&want, key, span_of(value, len));
		}
		if (prng_below(&rnd, 5000) == 0) {
			memtable_remove_prefix(m, span_of(&layer, sizeof(layer)));
			tablemodel_drop(&want, be32toh(layer));
		}
		if (prng_below(&rnd, 20000) == 0) {
			memtable_reset(m);
			tablemodel_release(&want);
		}
		if (i % 1000 == 0)
			assert_same(m, &want);
	}
	assert_same(m, &want);
	tablemodel_release(&want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_value_of_the_same_length_is_replaced_where_it_lies, make, drop),
		cmocka_unit_test_setup_teardown(
			a_deleted_key_is_known_to_be_deleted_and_a_removed_one_is_not_known, make,
			drop),
		cmocka_unit_test_setup_teardown(neighbours_are_found_on_either_side, make, drop),
		cmocka_unit_test_setup_teardown(what_begins_alike_is_removed_together, make, drop),
		cmocka_unit_test_setup_teardown(
			after_a_reset_it_is_empty_and_takes_no_more_memory_for_the_same, make,
			drop),
		cmocka_unit_test_setup_teardown(reserved_room_is_there_until_it_is_used, make,
						drop),
		cmocka_unit_test_setup_teardown(it_is_a_sorted_array_whatever_is_done_to_it, make,
						drop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
