/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How often all threads together may repeat requests.
 */
#include "check.h"
#include "s3/budget.h"

static const int64_t SECOND = 1000000000;

/* Takes all there is at @now; how many that was. */
static unsigned take_all(struct budget *b, int64_t now)
{
	unsigned n = 0;

	while (budget_take(b, now) == 0 && n < 1000)
		n++;
	return n;
}

static void a_full_budget_has_its_burst(void **state)
{
	struct budget b = { 0 };

	assert_int_equal(take_all(&b, 5 * SECOND), BUDGET_BURST);
}

static void it_fills_with_time_and_no_higher_than_full(void **state)
{
	struct budget b = { 0 };
	int64_t now = 5 * SECOND;

	take_all(&b, now);
	now += SECOND;
	assert_int_equal(take_all(&b, now), BUDGET_PER_S);
	now += 1000 * SECOND;
	assert_int_equal(take_all(&b, now), BUDGET_BURST);
}

static void it_says_when_to_ask_again(void **state)
{
	struct budget b = { 0 };
	int64_t now = 5 * SECOND, wait;

	take_all(&b, now);
	wait = budget_take(&b, now);
	assert_int_equal(wait, SECOND / BUDGET_PER_S);
	assert_true(budget_take(&b, now + wait - 1) > 0);
	assert_int_equal(budget_take(&b, now + wait), 0);
}

static void what_goes_well_fills_it(void **state)
{
	struct budget b = { 0 };
	int64_t now = 5 * SECOND;

	take_all(&b, now);
	for (int i = 0; i < 3; i++)
		budget_earn(&b, now);
	assert_int_equal(take_all(&b, now), 3);
	for (int i = 0; i < 1000; i++)
		budget_earn(&b, now);
	assert_int_equal(take_all(&b, now), BUDGET_BURST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_budget_has_its_burst),
		cmocka_unit_test(it_fills_with_time_and_no_higher_than_full),
		cmocka_unit_test(it_says_when_to_ask_again),
		cmocka_unit_test(what_goes_well_fills_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
