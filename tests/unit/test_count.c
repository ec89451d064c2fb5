/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The layer that counts: each request once, by its kind, and what came of it.
 */
#include "backend/count.h"
#include "backend/fault.h"
#include "check.h"

struct stand {
	struct backend *faulty; /* below the counts; borrowed */
	struct backend *b;
};

static int open_stand(void **state)
{
	struct stand *s = calloc(1, sizeof(*s));
	struct backend *inner;

	assert_ok(memory_backend_new(&inner));
	assert_ok(fault_backend_new(inner, &s->faulty));
	assert_ok(count_backend_new(s->faulty, &s->b));
	*state = s;
	return 0;
}

static int close_stand(void **state)
{
	struct stand *s = *state;

	backend_free(s->b);
	free(s);
	return 0;
}

static struct backend_counts counts_of(struct stand *s)
{
	struct backend_counts c;

	count_backend_get(s->b, &c);
	return c;
}

static void put(struct stand *s, const char *key, const char *text)
{
	assert_ok(s->b->ops->put(s->b, key, span_str(text), NULL));
}

static void each_kind_is_counted_for_itself(void **state)
{
	struct stand *s = *state;
	const struct backend_ops *ops = s->b->ops;
	_cleanup_buf_ struct buf all = { 0 };
	struct backend_counts c;
	struct etag tag;
	uint64_t size;
	char buf[8];
	size_t n;

	put(s, "a", "12345");
	assert_ok(ops->swap(s->b, "b", NULL, span_str("123"), NULL, &tag));
	assert_ok(ops->get(s->b, "a", 1, 2, buf, NULL, &n));
	assert_ok(ops->get_all(s->b, "b", 10, NULL, NULL, &all, &tag));
	assert_ok(ops->head(s->b, "a", NULL, &size));
	assert_ok(ops->remove(s->b, "a", NULL));
	c = counts_of(s);
	assert_int_equal(c.ops[COUNT_PUT].calls, 1);
	assert_int_equal(c.ops[COUNT_SWAP].calls, 1);
	assert_int_equal(c.ops[COUNT_GET].calls, 2);
	assert_int_equal(c.ops[COUNT_HEAD].calls, 1);
	assert_int_equal(c.ops[COUNT_REMOVE].calls, 1);
	assert_int_equal(c.ops[COUNT_LIST].calls, 0);
	assert_int_equal(c.written_bytes, 8);
	assert_int_equal(c.read_bytes, 5);
}

static void a_put_in_pieces_is_one_request_when_it_ends(void **state)
{
	struct stand *s = *state;
	const struct backend_ops *ops = s->b->ops;
	struct backend_put *p;

	assert_ok(ops->put_begin(s->b, "a", &p));
	assert_ok(ops->put_write(p, span_str("123"), NULL));
	assert_ok(ops->put_write(p, span_str("45"), NULL));
	assert_int_equal(counts_of(s).ops[COUNT_PUT].calls, 0);
	assert_ok(ops->put_end(p, NULL));
	assert_int_equal(counts_of(s).ops[COUNT_PUT].calls, 1);
	assert_int_equal(counts_of(s).written_bytes, 5);

	assert_ok(ops->put_begin(s->b, "b", &p));
	assert_ok(ops->put_write(p, span_str("123"), NULL));
	ops->put_abort(p);
	assert_int_equal(counts_of(s).ops[COUNT_PUT].calls, 1);
}

static int ignore(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	return 0;
}

static void only_what_is_no_answer_is_an_error(void **state)
{
	struct stand *s = *state;
	const struct backend_ops *ops = s->b->ops;
	struct etag tag;
	uint64_t size;

	assert_int_equal(ops->head(s->b, "none", NULL, &size), -ENOENT);
	put(s, "a", "1");
	assert_int_equal(ops->swap(s->b, "a", NULL, span_str("2"), NULL, &tag), -ESTALE);
	assert_int_equal(counts_of(s).ops[COUNT_HEAD].errors, 0);
	assert_int_equal(counts_of(s).ops[COUNT_SWAP].errors, 0);

	assert_ok(fault_backend_add(s->faulty, &(struct fault){ .op = FAULT_LIST, .error = -EIO }));
	assert_int_equal(ops->list(s->b, "", NULL, ignore, NULL, NULL), -EIO);
	assert_int_equal(counts_of(s).ops[COUNT_LIST].calls, 1);
	assert_int_equal(counts_of(s).ops[COUNT_LIST].errors, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_kind_is_counted_for_itself, open_stand,
						close_stand),
		cmocka_unit_test_setup_teardown(a_put_in_pieces_is_one_request_when_it_ends,
						open_stand, close_stand),
		cmocka_unit_test_setup_teardown(only_what_is_no_answer_is_an_error, open_stand,
						close_stand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
