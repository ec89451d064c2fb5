/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The layer that makes faults makes those it was told to make, and no others.
 */
#include "backend/fault.h"
#include "base/thread.h"
#include "check.h"

static int make(void **state)
{
	struct backend *inner, *b;

	assert_ok(memory_backend_new(&inner));
	assert_ok(fault_backend_new(inner, &b));
	assert_ok(b->ops->put(b, "a/1", span_str("0123456789"), NULL));
	assert_ok(b->ops->put(b, "b/1", span_str("0123456789"), NULL));
	fault_backend_reset_counts(b);
	*state = b;
	return 0;
}

static int drop(void **state)
{
	backend_free(*state);
	return 0;
}

/* What a read of the first 20 bytes gives: the count, or an error. */
static int read_into(struct backend *b, const char *key, char text[21])
{
	size_t n = 0;
	int r;

	memset(text, 0, 21);
	r = b->ops->get(b, key, 0, 20, text, NULL, &n);
	return r < 0 ? r : (int)n;
}

static void the_calls_that_are_meant_fail_and_no_others(void **state)
{
	static const struct fault f = {
		.op = FAULT_GET, .kind = FAULT_FAIL, .nth = 3, .times = 2, .error = -EIO
	};
	static const int expected[] = { 10, 10, -EIO, -EIO, 10, 10 };
	struct backend *b = *state;
	char text[21];
	uint64_t size;

	assert_ok(fault_backend_add(b, &f));
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		assert_int_equal(read_into(b, "a/1", text), expected[i]);
		/* another kind of call is neither befallen nor counted */
		assert_ok(b->ops->head(b, "a/1", NULL, &size));
	}
}

static void a_fault_without_an_end_befalls_every_call_until_it_is_cleared(void **state)
{
	static const struct fault f = { .op = FAULT_GET, .kind = FAULT_FAIL, .error = -EACCES };
	struct backend *b = *state;
	char text[21];

	assert_ok(fault_backend_add(b, &f));
	for (int i = 0; i < 5; i++)
		assert_int_equal(read_into(b, "a/1", text), -EACCES);
	fault_backend_clear(b);
	assert_int_equal(read_into(b, "a/1", text), 10);
}

static void a_fault_befalls_only_the_keys_it_is_meant_for(void **state)
{
	static const struct fault f = {
		.op = FAULT_GET, .kind = FAULT_FAIL, .prefix = "b/", .error = -EIO
	};
	struct backend *b = *state;
	char text[21];

	assert_ok(fault_backend_add(b, &f));
	assert_int_equal(read_into(b, "a/1", text), 10);
	assert_int_equal(read_into(b, "b/1", text), -EIO);
}

static void of_several_faults_each_counts_by_itself(void **state)
{
	static const struct fault faults[] = {
		{ .op = FAULT_GET, .kind = FAULT_FAIL, .nth = 1, .times = 1, .error = -EIO },
		{ .op = FAULT_GET, .kind = FAULT_FAIL, .nth = 2, .times = 1, .error = -EACCES },
		{ .op = FAULT_GET, .kind = FAULT_FAIL, .nth = 2, .times = 2, .error = -ENOMEM },
	};
	static const int expected[] = { -EIO, -EACCES, -ENOMEM, 10 };
	struct backend *b = *state;
	char text[21];

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		assert_ok(fault_backend_add(b, &faults[i]));
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		assert_int_equal(read_into(b, "a/1", text), expected[i]);
}

static void what_is_read_can_be_cut_short_without_an_error(void **state)
{
	static const struct fault faults[] = {
		{ .op = FAULT_GET, .kind = FAULT_CUT, .at = 4 },
		{ .op = FAULT_GET_ALL, .kind = FAULT_CUT, .at = 0 },
	};
	struct backend *b = *state;
	_cleanup_buf_ struct buf all = { 0 };
	struct etag tag;
	char text[21];

	assert_ok(fault_backend_add(b, &faults[0]));
	assert_ok(fault_backend_add(b, &faults[1]));
	assert_int_equal(read_into(b, "a/1", text), 4);
	assert_ok(b->ops->get_all(b, "a/1", 100, NULL, NULL, &all, &tag));
	assert_int_equal(all.len, 0);
}

static void a_byte_can_flip_on_its_way(void **state)
{
	static const struct fault faults[] = {
		{ .op = FAULT_GET, .kind = FAULT_FLIP, .at = 2, .times = 1 },
		{ .op = FAULT_PUT, .kind = FAULT_FLIP, .at = 9, .times = 1 },
		{ .op = FAULT_SWAP, .kind = FAULT_FLIP, .at = 0, .times = 1 },
		{ .op = FAULT_PUT_WRITE, .kind = FAULT_FLIP, .at = 1, .nth = 2, .times = 1 },
	};
	struct backend *b = *state;
	struct backend_put *p;
	struct etag tag;
	char text[21];

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		assert_ok(fault_backend_add(b, &faults[i]));
	assert_int_equal(read_into(b, "a/1", text), 10);
	assert_memory_equal(text,
			    "01\xcd"
			    "3456789",
			    10);
	assert_ok(b->ops->put(b, "a/2", span_str("0123456789"), NULL));
	read_into(b, "a/2", text);
	assert_memory_equal(text, "012345678\xc6", 10);
	assert_ok(b->ops->swap(b, "a/3", NULL, span_str("0"), NULL, &tag));
	read_into(b, "a/3", text);
	assert_memory_equal(text, "\xcf", 1);
	assert_ok(b->ops->put_begin(b, "a/4", &p));
	assert_ok(b->ops->put_write(p, span_str("01"), NULL));
	assert_ok(b->ops->put_write(p, span_str("23"), NULL));
	assert_ok(b->ops->put_end(p, NULL));
	read_into(b, "a/4", text);
	assert_memory_equal(text, "012\xcc", 4);
}

static void a_call_whose_reply_is_lost_has_happened(void **state)
{
	static const struct fault faults[] = {
		{ .op = FAULT_SWAP, .kind = FAULT_LOSE_REPLY, .times = 1, .error = -EINPROGRESS },
		{ .op = FAULT_PUT, .kind = FAULT_LOSE_REPLY, .times = 1, .error = -ETIME },
		{ .op = FAULT_PUT_END, .kind = FAULT_LOSE_REPLY, .times = 1, .error = -ETIME },
		{ .op = FAULT_REMOVE, .kind = FAULT_LOSE_REPLY, .times = 1, .error = -ETIME },
	};
	struct backend *b = *state;
	struct backend_put *p;
	struct etag tag;
	char text[21];

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		assert_ok(fault_backend_add(b, &faults[i]));
	assert_int_equal(b->ops->swap(b, "s", NULL, span_str("x"), NULL, &tag), -EINPROGRESS);
	assert_int_equal(read_into(b, "s", text), 1);
	assert_int_equal(b->ops->put(b, "p", span_str("xy"), NULL), -ETIME);
	assert_int_equal(read_into(b, "p", text), 2);
	assert_ok(b->ops->put_begin(b, "q", &p));
	assert_int_equal(b->ops->put_end(p, NULL), -ETIME);
	assert_int_equal(read_into(b, "q", text), 0);
	assert_int_equal(b->ops->remove(b, "p", NULL), -ETIME);
	assert_int_equal(read_into(b, "p", text), -ENOENT);
}

static void a_call_that_fails_has_not_happened(void **state)
{
	static const struct fault faults[] = {
		{ .op = FAULT_SWAP, .kind = FAULT_FAIL, .error = -EIO },
		{ .op = FAULT_PUT, .kind = FAULT_FAIL, .error = -ENOSPC },
		{ .op = FAULT_PUT_END, .kind = FAULT_FAIL, .error = -ENOSPC },
		{ .op = FAULT_REMOVE, .kind = FAULT_FAIL, .error = -EIO },
	};
	struct backend *b = *state;
	struct backend_put *p;
	struct etag tag;
	char text[21];

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		assert_ok(fault_backend_add(b, &faults[i]));
	assert_int_equal(b->ops->swap(b, "s", NULL, span_str("x"), NULL, &tag), -EIO);
	assert_int_equal(b->ops->put(b, "s", span_str("xy"), NULL), -ENOSPC);
	assert_ok(b->ops->put_begin(b, "s", &p));
	assert_int_equal(b->ops->put_end(p, NULL), -ENOSPC);
	assert_int_equal(read_into(b, "s", text), -ENOENT);
	assert_int_equal(b->ops->remove(b, "a/1", NULL), -EIO);
	assert_int_equal(read_into(b, "a/1", text), 10);
}

static int count(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	++*(int *)ctx;
	return 0;
}

static void a_listing_can_lack_its_end(void **state)
{
	static const struct fault f = { .op = FAULT_LIST, .kind = FAULT_CUT, .at = 1, .times = 1 };
	struct backend *b = *state;
	int n = 0;

	assert_ok(fault_backend_add(b, &f));
	assert_ok(b->ops->list(b, "", NULL, count, &n, NULL));
	assert_int_equal(n, 1);
	n = 0;
	assert_ok(b->ops->list(b, "", NULL, count, &n, NULL));
	assert_int_equal(n, 2);
}

static void a_delay_ends_with_the_deadline(void **state)
{
	static const struct fault f = { .op = FAULT_HEAD, .kind = FAULT_DELAY, .delay_ms = 60000 };
	struct deadline dl = deadline_in_ms(30);
	struct backend *b = *state;
	int64_t start = now_ns();
	uint64_t size;

	assert_ok(fault_backend_add(b, &f));
	assert_int_equal(b->ops->head(b, "a/1", &dl, &size), -ETIME);
	assert_in_range((now_ns() - start) / 1000000, 29, 5000);
}

static void a_short_delay_only_delays(void **state)
{
	static const struct fault f = { .op = FAULT_HEAD, .kind = FAULT_DELAY, .delay_ms = 30 };
	struct deadline dl = deadline_in_ms(10000);
	struct backend *b = *state;
	int64_t start = now_ns();
	uint64_t size;

	assert_ok(fault_backend_add(b, &f));
	assert_ok(b->ops->head(b, "a/1", &dl, &size));
	assert_in_range((now_ns() - start) / 1000000, 29, 5000);
}

static void *clear_soon(void *arg)
{
	struct timespec soon = { .tv_nsec = 20000000 };

	nanosleep(&soon, NULL);
	fault_backend_clear(arg);
	return NULL;
}

static void clearing_ends_delays(void **state)
{
	static const struct fault f = { .op = FAULT_HEAD, .kind = FAULT_DELAY, .delay_ms = 60000 };
	struct backend *b = *state;
	int64_t start = now_ns();
	pthread_t other;
	uint64_t size;

	assert_ok(fault_backend_add(b, &f));
	assert_ok(thread_start(&other, "clear", clear_soon, b));
	assert_ok(b->ops->head(b, "a/1", NULL, &size));
	assert_in_range((now_ns() - start) / 1000000, 10, 30000);
	pthread_join(other, NULL);
}

static void calls_and_bytes_are_counted(void **state)
{
	struct backend *b = *state;
	struct fault_counts c;
	struct etag tag;
	char text[21];
	int n = 0;

	read_into(b, "a/1", text);
	read_into(b, "none", text);
	assert_ok(b->ops->put(b, "p", span_str("xy"), NULL));
	assert_ok(b->ops->swap(b, "s", NULL, span_str("xyz"), NULL, &tag));
	assert_ok(b->ops->list(b, "", NULL, count, &n, NULL));
	fault_backend_counts(b, &c);
	assert_int_equal(c.calls[FAULT_GET], 2);
	assert_int_equal(c.calls[FAULT_PUT], 1);
	assert_int_equal(c.calls[FAULT_SWAP], 1);
	assert_int_equal(c.calls[FAULT_LIST], 1);
	assert_int_equal(c.calls[FAULT_REMOVE], 0);
	assert_int_equal(c.read, 10);
	assert_int_equal(c.written, 5);
	assert_int_equal(c.listed, 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_calls_that_are_meant_fail_and_no_others),
		TEST(a_fault_without_an_end_befalls_every_call_until_it_is_cleared),
		TEST(a_fault_befalls_only_the_keys_it_is_meant_for),
		TEST(of_several_faults_each_counts_by_itself),
		TEST(what_is_read_can_be_cut_short_without_an_error),
		TEST(a_byte_can_flip_on_its_way),
		TEST(a_call_whose_reply_is_lost_has_happened),
		TEST(a_call_that_fails_has_not_happened),
		TEST(a_listing_can_lack_its_end),
		TEST(a_delay_ends_with_the_deadline),
		TEST(a_short_delay_only_delays),
		TEST(clearing_ends_delays),
		TEST(calls_and_bytes_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
