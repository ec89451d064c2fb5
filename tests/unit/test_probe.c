/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A probe finds out each server that does not keep its word, says which, leaves nothing behind, and
 * believes the others.
 */
#include "backend/fault.h"
#include "backend/probe.h"
#include "base/log.h"
#include "careless.h"
#include "check.h"

static int set_up(void **state)
{
	log_set_quiet(true);
	complaint_clear();
	return 0;
}

static int tear_down(void **state)
{
	log_set_quiet(false);
	return 0;
}

static int count(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	(*(unsigned *)ctx)++;
	return 0;
}

static unsigned objects(struct backend *b)
{
	unsigned n = 0;

	assert_ok(b->ops->list(b, "", NULL, count, &n, NULL));
	return n;
}

/* What comes of a probe of a server that does this wrong. */
static int probe(enum careless how, bool single_writer, bool *ret_kept)
{
	struct backend *b = careless_new(how);
	int r;

	complaint_clear();
	*ret_kept = false;
	r = backend_probe(b, single_writer, NULL, ret_kept);
	if (how != CARELESS_REMOVE) {
		careless_set(b, CARELESS_NOT);
		assert_int_equal(objects(b), 0);
	}
	backend_free(b);
	return r;
}

static void a_server_that_keeps_conditions_is_believed(void **state)
{
	bool kept;

	assert_ok(probe(CARELESS_NOT, false, &kept));
	assert_true(kept);
	assert_ok(probe(CARELESS_NOT, true, &kept));
	assert_true(kept);
}

static void a_server_that_ignores_a_condition_is_for_a_single_writer_only(void **state)
{
	static const struct {
		enum careless how;
		const char *said;
	} cases[] = {
		{ CARELESS_CREATE, "ignores If-None-Match: * of a PUT" },
		{ CARELESS_MATCH, "ignores If-Match of a PUT" },
		{ CARELESS_MATCH_ABSENT, "ignores If-Match of a PUT where nothing is" },
		{ CARELESS_BOTH, "ignores If-None-Match: *" },
		{ CARELESS_UNKNOWN, "does not take a PUT with If-None-Match" },
		{ CARELESS_LIAR, "does it all the same" },
		{ CARELESS_RACE, "at once" },
		{ CARELESS_TORN, "are lost" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool kept;

		assert_int_equal(probe(cases[i].how, false, &kept), -EOPNOTSUPP);
		if (!strstr(complaint(), cases[i].said) || !strstr(complaint(), "--single-writer"))
			fail_msg("%zu: \"%s\"", i, complaint());
		assert_ok(probe(cases[i].how, true, &kept));
		assert_false(kept);
	}
}

static void a_server_that_gets_reads_or_listings_wrong_holds_no_store(void **state)
{
	static const struct {
		enum careless how;
		const char *said;
	} cases[] = {
		{ CARELESS_TAG, "ETag" },     { CARELESS_STALE, "replaced" },
		{ CARELESS_RANGE, "Range" },  { CARELESS_UNCHANGED, "has not changed" },
		{ CARELESS_LIST, "listing" }, { CARELESS_REMOVE, "removed" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool kept;

		assert_int_equal(probe(cases[i].how, false, &kept), -EOPNOTSUPP);
		if (!strstr(complaint(), cases[i].said))
			fail_msg("%zu: \"%s\"", i, complaint());
		assert_int_equal(probe(cases[i].how, true, &kept), -EOPNOTSUPP);
	}
}

/* A probe of a server that is good, behind a fault. */
static int probe_with(const struct fault *f, bool *ret_kept)
{
	struct backend *b;
	int r;

	assert_ok(memory_backend_new(&b));
	assert_ok(fault_backend_new(b, &b));
	assert_ok(fault_backend_add(b, f));
	complaint_clear();
	r = backend_probe(b, false, NULL, ret_kept);
	fault_backend_clear(b);
	backend_free(b);
	return r;
}

static void a_right_that_is_missing_is_named(void **state)
{
	static const struct {
		enum fault_op op;
		const char *said;
	} cases[] = {
		{ FAULT_SWAP, "s3:PutObject" },	   { FAULT_PUT, "s3:PutObject" },
		{ FAULT_GET_ALL, "s3:GetObject" }, { FAULT_GET, "s3:GetObject" },
		{ FAULT_LIST, "s3:ListBucket" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fault f = { .op = cases[i].op, .kind = FAULT_FAIL, .error = -EACCES };
		bool kept;

		assert_int_equal(probe_with(&f, &kept), -EACCES);
		if (!strstr(complaint(), cases[i].said))
			fail_msg("%zu: \"%s\"", i, complaint());
	}
}

static void without_the_right_to_remove_a_probe_goes_on(void **state)
{
	struct fault f = { .op = FAULT_REMOVE, .kind = FAULT_FAIL, .error = -EACCES };
	bool kept = false;

	assert_ok(probe_with(&f, &kept));
	assert_true(kept);
}

static void lost_replies_are_not_held_against_a_server(void **state)
{
	/* 1 to 5: the story; then races, 8 swaps each */
	for (uint64_t nth = 1; nth < 30; nth++) {
		struct fault f = {
			.op = FAULT_SWAP,
			.kind = FAULT_LOSE_REPLY,
			.nth = nth,
			.times = 1,
			.error = -EINPROGRESS,
		};
		bool kept = false;

		assert_ok(probe_with(&f, &kept));
		assert_true(kept);
	}
}

static void a_server_that_never_answers_is_not_judged(void **state)
{
	struct fault f = { .op = FAULT_SWAP, .kind = FAULT_FAIL, .error = -ETIME };
	bool kept = false;

	assert_int_equal(probe_with(&f, &kept), -ETIME);
	assert_false(kept);
}

static void the_small_check_finds_out_who_ignores_conditions_and_changes_nothing(void **state)
{
	static const struct {
		enum careless how;
		int result;
	} cases[] = {
		{ CARELESS_NOT, 0 },
		{ CARELESS_CREATE, -EOPNOTSUPP },
		{ CARELESS_MATCH, -EOPNOTSUPP },
		{ CARELESS_BOTH, -EOPNOTSUPP },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct backend *b = careless_new(cases[i].how);
		_cleanup_buf_ struct buf now = { 0 };
		struct etag tag;

		assert_ok(b->ops->put(b, "format", span_str("as it is"), NULL));
		assert_int_equal(backend_check_conditions(b, "format", 100, NULL), cases[i].result);
		assert_ok(b->ops->get_all(b, "format", 100, NULL, NULL, &now, &tag));
		assert_true(span_equal(buf_span(&now), span_str("as it is")));
		assert_int_equal(objects(b), 1);
		backend_free(b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_server_that_keeps_conditions_is_believed),
		cmocka_unit_test(a_server_that_ignores_a_condition_is_for_a_single_writer_only),
		cmocka_unit_test(a_server_that_gets_reads_or_listings_wrong_holds_no_store),
		cmocka_unit_test(a_right_that_is_missing_is_named),
		cmocka_unit_test(without_the_right_to_remove_a_probe_goes_on),
		cmocka_unit_test(lost_replies_are_not_held_against_a_server),
		cmocka_unit_test(a_server_that_never_answers_is_not_judged),
		cmocka_unit_test(
			the_small_check_finds_out_who_ignores_conditions_and_changes_nothing),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
