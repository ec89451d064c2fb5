/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a heap gives back is in order, whatever went in between.
 */
#include "base/heap.h"
#include "check.h"
#include "prng.h"

enum {
	ITEMS = 500,
};

static bool is_less(const void *a, const void *b)
{
	return *(const uint64_t *)a < *(const uint64_t *)b;
}

static void an_empty_heap_has_no_first(void **state)
{
	struct heap h = { .is_before = is_less };
	uint64_t one = 1;

	assert_null(heap_pop(&h));
	assert_ok(heap_push(&h, &one));
	assert_ptr_equal(heap_pop(&h), &one);
	assert_null(heap_pop(&h));
	heap_release(&h);
}

static void the_first_of_all_that_are_in_it_comes_out(void **state)
{
	struct heap h = { .is_before = is_less };
	struct prng p = { .state = 31 };
	uint64_t values[ITEMS];
	bool is_in[ITEMS] = { 0 };

	/* Two in for one out, many of them equal; then all the rest. */
	for (size_t n = 0, turn = 0; n < ITEMS || h.count > 0; turn++) {
		uint64_t *first;

		if (n < ITEMS && turn % 3 != 2) {
			values[n] = prng_below(&p, ITEMS / 4);
			assert_ok(heap_push(&h, &values[n]));
			is_in[n++] = true;
			continue;
		}
		first = heap_pop(&h);
		assert_non_null(first);
		assert_true(is_in[first - values]);
		is_in[first - values] = false;
		for (size_t i = 0; i < n; i++)
			assert_false(is_in[i] && values[i] < *first);
	}
	for (size_t i = 0; i < ITEMS; i++)
		assert_false(is_in[i]);
	heap_release(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_heap_has_no_first),
		cmocka_unit_test(the_first_of_all_that_are_in_it_comes_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
