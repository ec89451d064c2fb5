/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The breaker: nobody waits for what another has waited for in vain.
 */
#include <pthread.h>
#include <sched.h>

#include "backend/breaker.h"
#include "backend/fault.h"
#include "base/log.h"
#include "check.h"

enum {
	FOREVER_MS = 600000,
	SHORT_MS = 1200, /* as long as it takes to be in vain */
	TEST_MS = 60000,
};

struct stand {
	struct backend *faulty; /* borrowed */
	struct backend *b;
};

static int open_stand(void **state)
{
	struct stand *s = calloc(1, sizeof(*s));
	struct backend *inner;

	assert_ok(memory_backend_new(&inner));
	assert_ok(inner->ops->put(inner, "format", span_str("1"), NULL));
	assert_ok(fault_backend_new(inner, &s->faulty));
	assert_ok(breaker_backend_new(s->faulty, "format", &s->b));
	log_set_level(LOG_LEVEL_ERROR);
	*state = s;
	return 0;
}

static int close_stand(void **state)
{
	struct stand *s = *state;

	backend_free(s->b);
	free(s);
	log_set_level(LOG_LEVEL_INFO);
	return 0;
}

static void hang(struct stand *s, enum fault_op op)
{
	assert_ok(fault_backend_add(
		s->faulty,
		&(struct fault){ .op = op, .kind = FAULT_DELAY, .delay_ms = FOREVER_MS }));
}

static int get(struct stand *s, int64_t ms)
{
	struct deadline dl = deadline_in_ms(ms);
	uint8_t byte;
	size_t n;

	return s->b->ops->get(s->b, "format", 0, 1, &byte, &dl, &n);
}

static uint64_t calls(struct stand *s, enum fault_op op)
{
	struct fault_counts c;

	fault_backend_counts(s->faulty, &c);
	return c.calls[op];
}

static void after_one_call_in_vain_others_do_not_wait(void **state)
{
	struct stand *s = *state;
	struct etag tag;

	hang(s, FAULT_GET);
	hang(s, FAULT_HEAD);
	assert_int_equal(get(s, SHORT_MS), -ETIME);
	assert_false(breaker_is_closed(s->b));
	assert_int_equal(get(s, FOREVER_MS), -EIO);
	assert_int_equal(s->b->ops->swap(s->b, "a", NULL, span_str("1"), NULL, &tag), -EIO);
	/* They have not got through. */
	assert_int_equal(calls(s, FAULT_GET), 1);
	assert_int_equal(calls(s, FAULT_SWAP), 0);
}

static void when_there_is_an_answer_again_all_goes_on(void **state)
{
	struct stand *s = *state;
	struct deadline dl = deadline_in_ms(TEST_MS);

	for (int round = 0; round < 2; round++) {
		hang(s, FAULT_GET);
		hang(s, FAULT_HEAD);
		while (breaker_is_closed(s->b)) {
			assert_ok(deadline_check(&dl));
			get(s, SHORT_MS);
		}
		fault_backend_clear(s->faulty);
		while (get(s, FOREVER_MS) < 0)
			assert_ok(deadline_check(&dl));
		assert_true(breaker_is_closed(s->b));
	}
}

/* Opens it: calls wait in vain while probes are refused, as of a server that is not running. */
static void take_away(struct stand *s)
{
	hang(s, FAULT_GET);
	assert_ok(fault_backend_add(
		s->faulty, &(struct fault){ .op = FAULT_HEAD, .kind = FAULT_FAIL, .error = -EIO }));
	assert_int_equal(get(s, SHORT_MS), -ETIME);
	assert_false(breaker_is_closed(s->b));
}

static void the_first_call_after_an_outage_succeeds(void **state)
{
	struct stand *s = *state;
	struct etag tag;

	take_away(s);
	fault_backend_clear(s->faulty);
	assert_ok(s->b->ops->swap(s->b, "a", NULL, span_str("1"), NULL, &tag));
	assert_true(breaker_is_closed(s->b));
}

static void each_call_in_an_outage_has_a_question_of_its_own(void **state)
{
	struct stand *s = *state;

	take_away(s);
	for (int i = 0; i < 5; i++) {
		uint64_t before = calls(s, FAULT_HEAD);

		assert_int_equal(get(s, FOREVER_MS), -EIO);
		assert_true(calls(s, FAULT_HEAD) > before);
	}
	assert_int_equal(calls(s, FAULT_GET), 1);
}

static void where_questions_hang_nobody_waits_for_them(void **state)
{
	struct stand *s = *state;
	struct deadline dl = deadline_in_ms(TEST_MS);
	uint64_t before;

	hang(s, FAULT_GET);
	hang(s, FAULT_HEAD);
	assert_int_equal(get(s, SHORT_MS), -ETIME);
	assert_int_equal(get(s, FOREVER_MS), -EIO);
	before = calls(s, FAULT_HEAD);
	/* More than there would be time for if each waited. */
	for (int i = 0; i < 1000; i++)
		assert_int_equal(get(s, FOREVER_MS), -EIO);
	assert_ok(deadline_check(&dl));
	assert_true(calls(s, FAULT_HEAD) < before + 20);
}

/* What a confirmation says, and how often it was asked for. */
struct oracle {
	int answers[3];
	atomic_uint asked;
};

static int say(struct backend *inner, const struct deadline *dl, void *ctx)
{
	struct oracle *o = ctx;

	return o->answers[MIN(o->asked++, 2u)];
}

static void nobody_gets_through_to_what_is_not_confirmed(void **state)
{
	struct oracle o = { .answers = { -EIO, -ETIME, 0 } };
	struct stand *s = *state;
	struct deadline dl = deadline_in_ms(TEST_MS);
	int r;

	assert_ok(breaker_open_unconfirmed(s->b, say, &o));
	while ((r = get(s, FOREVER_MS)) == -EIO)
		assert_ok(deadline_check(&dl));
	assert_ok(r);
	assert_int_equal(o.asked, 3);
	assert_int_equal(calls(s, FAULT_GET), 1);
	assert_true(breaker_is_closed(s->b));
}

static void what_is_something_else_is_refused_until_it_is_the_store_again(void **state)
{
	struct oracle o = { .answers = { -EBADMSG, -ENOENT, 0 } };
	struct stand *s = *state;
	struct deadline dl = deadline_in_ms(TEST_MS);
	int r;

	assert_ok(breaker_open_unconfirmed(s->b, say, &o));
	while ((r = get(s, FOREVER_MS)) == -EIO) {
		assert_int_equal(calls(s, FAULT_GET), 0);
		assert_ok(deadline_check(&dl));
	}
	assert_ok(r);
	assert_int_equal(o.asked, 3);
	assert_true(breaker_is_closed(s->b));
}

static void one_that_is_open_already_may_still_come_to_need_a_confirmation(void **state)
{
	struct oracle o = { .answers = { -EIO, -EIO, 0 } };
	struct stand *s = *state;
	struct deadline dl = deadline_in_ms(TEST_MS);
	uint64_t before;
	int r;

	take_away(s);
	before = calls(s, FAULT_GET);
	assert_ok(breaker_open_unconfirmed(s->b, say, &o));
	fault_backend_clear(s->faulty);
	while ((r = get(s, FOREVER_MS)) == -EIO)
		assert_ok(deadline_check(&dl));
	assert_ok(r);
	assert_int_equal(o.asked, 3);
	assert_int_equal(calls(s, FAULT_GET), before + 1);
}

static void a_probe_that_is_refused_is_answered(void **state)
{
	struct stand *s = *state;
	struct deadline dl = deadline_in_ms(TEST_MS);

	hang(s, FAULT_GET);
	assert_ok(fault_backend_add(
		s->faulty,
		&(struct fault){ .op = FAULT_HEAD, .kind = FAULT_FAIL, .error = -EACCES }));
	assert_int_equal(get(s, SHORT_MS), -ETIME);
	while (!breaker_is_closed(s->b))
		assert_ok(deadline_check(&dl));
}

/* One who is answered all the time. */
struct chatter {
	struct stand *stand;
	pthread_t thread;
	atomic_bool is_over;
};

static void *chat(void *arg)
{
	struct chatter *c = arg;
	uint64_t size;

	while (!c->is_over) {
		c->stand->b->ops->head(c->stand->b, "format", NULL, &size);
		sched_yield();
	}
	return NULL;
}

static void what_one_object_does_is_not_the_others_fault(void **state)
{
	struct stand *s = *state;
	struct chatter c = { .stand = s };
	uint8_t byte;
	size_t n;

	assert_int_equal(pthread_create(&c.thread, NULL, chat, &c), 0);
	hang(s, FAULT_GET_ALL);
	for (int i = 0; i < 2; i++) {
		struct deadline dl = deadline_in_ms(SHORT_MS);
		_cleanup_buf_ struct buf all = { 0 };
		struct etag tag;

		assert_int_equal(s->b->ops->get_all(s->b, "format", 9, NULL, &dl, &all, &tag),
				 -ETIME);
	}
	assert_int_equal(calls(s, FAULT_GET_ALL), 2);
	assert_ok(s->b->ops->get(s->b, "format", 0, 1, &byte, NULL, &n));
	c.is_over = true;
	pthread_join(c.thread, NULL);
}

static void errors_that_come_at_once_are_passed_on(void **state)
{
	struct stand *s = *state;
	uint64_t size;

	assert_ok(fault_backend_add(
		s->faulty,
		&(struct fault){ .op = FAULT_GET, .kind = FAULT_FAIL, .error = -EACCES }));
	for (int i = 0; i < 100; i++) {
		assert_int_equal(get(s, FOREVER_MS), -EACCES);
		assert_int_equal(s->b->ops->head(s->b, "none", NULL, &size), -ENOENT);
	}
	assert_true(breaker_is_closed(s->b));
	assert_int_equal(calls(s, FAULT_GET), 100);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_stand, close_stand)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(after_one_call_in_vain_others_do_not_wait),
		TEST(when_there_is_an_answer_again_all_goes_on),
		TEST(the_first_call_after_an_outage_succeeds),
		TEST(each_call_in_an_outage_has_a_question_of_its_own),
		TEST(where_questions_hang_nobody_waits_for_them),
		TEST(nobody_gets_through_to_what_is_not_confirmed),
		TEST(what_is_something_else_is_refused_until_it_is_the_store_again),
		TEST(one_that_is_open_already_may_still_come_to_need_a_confirmation),
		TEST(a_probe_that_is_refused_is_answered),
		TEST(what_one_object_does_is_not_the_others_fault),
		TEST(errors_that_come_at_once_are_passed_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
