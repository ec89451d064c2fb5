/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A server that nobody has met is asked before it is relied upon; a single writer does without its
 * conditions, and stops when he is not alone.
 */
#include "backend/fault.h"
#include "backend/guard.h"
#include "base/log.h"
#include "careless.h"
#include "check.h"

struct stand {
	struct backend *server; /* as others reach it; owned by the guard */
	struct backend *guard;
	unsigned proved;
};

static void note_proved(void *ctx)
{
	((struct stand *)ctx)->proved++;
}

static void guard(struct stand *s, bool single_writer)
{
	const struct guard_options o = {
		.single_writer = single_writer,
		.key = "format",
		.key_max = 100,
		.proved = note_proved,
		.ctx = s,
	};

	assert_ok(s->server->ops->put(s->server, "format", span_str("as it is"), NULL));
	assert_ok(guard_backend_new(s->server, &o, &s->guard));
}

static struct stand stand_new(enum careless how)
{
	return (struct stand){ .server = careless_new(how) };
}

static int swap(struct backend *b, const char *key, const struct etag *tag, const char *text,
		struct etag *ret)
{
	return b->ops->swap(b, key, tag, span_str(text), NULL, ret);
}

static void assert_is(struct backend *b, const char *key, const char *text)
{
	_cleanup_buf_ struct buf now = { 0 };
	struct etag tag;

	assert_ok(b->ops->get_all(b, key, 100, NULL, NULL, &now, &tag));
	assert_true(span_equal(buf_span(&now), span_str(text)));
}

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

static void a_server_is_asked_once_before_the_first_change(void **state)
{
	struct stand s = { 0 };
	struct fault_counts counts;
	struct etag tag;
	uint64_t size;

	assert_ok(memory_backend_new(&s.server));
	assert_ok(fault_backend_new(s.server, &s.server));
	guard(&s, false);
	fault_backend_reset_counts(s.server);
	assert_ok(s.guard->ops->head(s.guard, "format", NULL, &size));
	assert_ok(s.guard->ops->put(s.guard, "packs/x", span_str("x"), NULL));
	assert_int_equal(s.proved, 0);
	assert_ok(swap(s.guard, "heads/a", NULL, "1", &tag));
	assert_ok(swap(s.guard, "heads/a", &tag, "2", &tag));
	assert_int_equal(s.proved, 1);
	fault_backend_counts(s.server, &counts);
	assert_int_equal(counts.calls[FAULT_SWAP], 2 + 2);
	assert_int_equal(counts.calls[FAULT_GET_ALL], 1);
	backend_free(s.guard);
}

static void what_a_server_cannot_be_trusted_with_is_not_tried(void **state)
{
	static const enum careless cases[] = { CARELESS_CREATE, CARELESS_MATCH, CARELESS_BOTH };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct stand s = stand_new(cases[i]);
		struct etag tag;
		uint64_t size;

		guard(&s, false);
		for (int n = 0; n < 2; n++)
			assert_int_equal(swap(s.guard, "heads/a", NULL, "1", &tag), -EOPNOTSUPP);
		assert_int_equal(s.guard->ops->head(s.guard, "heads/a", NULL, &size), -ENOENT);
		assert_is(s.guard, "format", "as it is");
		assert_int_equal(s.proved, 0);
		backend_free(s.guard);
	}
}

static void a_server_that_did_not_answer_is_asked_again(void **state)
{
	const struct fault f = {
		.op = FAULT_GET_ALL, .kind = FAULT_FAIL, .times = 1, .error = -ETIME
	};
	struct stand s = { 0 };
	struct etag tag;

	assert_ok(memory_backend_new(&s.server));
	assert_ok(fault_backend_new(s.server, &s.server));
	guard(&s, false);
	assert_ok(fault_backend_add(s.server, &f));
	assert_int_equal(swap(s.guard, "heads/a", NULL, "1", &tag), -ETIME);
	assert_int_equal(s.proved, 0);
	assert_ok(swap(s.guard, "heads/a", NULL, "1", &tag));
	assert_int_equal(s.proved, 1);
	backend_free(s.guard);
}

static void a_single_writer_swaps_as_if_conditions_were_kept(void **state)
{
	static const enum careless cases[] = { CARELESS_NOT,	     CARELESS_CREATE,
					       CARELESS_MATCH,	     CARELESS_BOTH,
					       CARELESS_UNKNOWN,     CARELESS_LIAR,
					       CARELESS_MATCH_ABSENT };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct stand s = stand_new(cases[i]);
		struct etag first, second, ignored;

		guard(&s, true);
		assert_ok(swap(s.guard, "heads/a", NULL, "1", &first));
		assert_int_equal(swap(s.guard, "heads/a", NULL, "no", &ignored), -ESTALE);
		assert_ok(swap(s.guard, "heads/a", &first, "2", &second));
		assert_int_equal(swap(s.guard, "heads/a", &first, "no", &ignored), -ESTALE);
		assert_int_equal(swap(s.guard, "heads/b", &first, "no", &ignored), -ESTALE);
		assert_ok(swap(s.guard, "heads/a", &second, "3", &second));
		assert_is(s.guard, "heads/a", "3");
		backend_free(s.guard);
	}
}

static void a_single_writer_stops_when_somebody_else_writes(void **state)
{
	struct stand s = stand_new(CARELESS_BOTH);
	struct backend_put *p;
	struct etag tag;

	guard(&s, true);
	assert_ok(swap(s.guard, "heads/a", NULL, "1", &tag));
	assert_ok(s.server->ops->put(s.server, "heads/a", span_str("another's"), NULL));
	assert_is(s.guard, "heads/a", "another's");
	assert_int_equal(s.guard->ops->put(s.guard, "packs/x", span_str("x"), NULL), -EROFS);
	assert_int_equal(s.guard->ops->put_begin(s.guard, "packs/x", &p), -EROFS);
	assert_int_equal(s.guard->ops->remove(s.guard, "packs/x", NULL), -EROFS);
	assert_int_equal(swap(s.guard, "heads/b", NULL, "2", &tag), -EROFS);
	assert_is(s.guard, "format", "as it is");
	backend_free(s.guard);
}

static void a_single_writer_stops_when_what_it_only_read_is_changed(void **state)
{
	struct stand s = stand_new(CARELESS_BOTH);

	guard(&s, true);
	assert_ok(s.server->ops->put(s.server, "heads/a", span_str("of old"), NULL));
	assert_is(s.guard, "heads/a", "of old");
	assert_ok(s.guard->ops->put(s.guard, "packs/x", span_str("x"), NULL));
	assert_ok(s.server->ops->put(s.server, "heads/a", span_str("of late"), NULL));
	assert_is(s.guard, "heads/a", "of late");
	assert_int_equal(s.guard->ops->put(s.guard, "packs/y", span_str("y"), NULL), -EROFS);
	backend_free(s.guard);
}

static void a_single_writer_stops_when_what_was_only_found_unchanged_is_changed(void **state)
{
	struct stand s = stand_new(CARELESS_BOTH);
	_cleanup_buf_ struct buf b = { 0 };
	struct etag tag;

	guard(&s, true);
	assert_ok(s.server->ops->put(s.server, "heads/a", span_str("of old"), NULL));
	/* Known from another run. */
	assert_ok(s.server->ops->get_all(s.server, "heads/a", 100, NULL, NULL, &b, &tag));
	assert_int_equal(s.guard->ops->get_all(s.guard, "heads/a", 100, &tag, NULL, &b, &tag),
			 -EALREADY);
	assert_ok(s.server->ops->put(s.server, "heads/a", span_str("of late"), NULL));
	assert_is(s.guard, "heads/a", "of late");
	assert_int_equal(s.guard->ops->put(s.guard, "packs/y", span_str("y"), NULL), -EROFS);
	backend_free(s.guard);
}

static void a_single_writers_lost_reply_is_not_somebody_else(void **state)
{
	const struct fault f = {
		.op = FAULT_SWAP, .kind = FAULT_LOSE_REPLY, .times = 1, .error = -EINPROGRESS
	};
	struct stand s = { 0 };
	struct etag tag;

	assert_ok(memory_backend_new(&s.server));
	assert_ok(fault_backend_new(s.server, &s.server));
	guard(&s, true);
	assert_ok(fault_backend_add(s.server, &f));
	assert_int_equal(swap(s.guard, "heads/a", NULL, "1", &tag), -EINPROGRESS);
	assert_is(s.guard, "heads/a", "1");
	assert_ok(s.guard->ops->put(s.guard, "packs/x", span_str("x"), NULL));
	backend_free(s.guard);
}

enum {
	READERS = 4,
	CHANGES = 300,
};

struct reading {
	struct backend *b;
	atomic_bool is_over;
};

static void *read_on(void *arg)
{
	struct reading *x = arg;

	while (!x->is_over) {
		_cleanup_buf_ struct buf now = { 0 };
		struct etag tag;

		x->b->ops->get_all(x->b, "heads/a", 100, NULL, NULL, &now, &tag);
	}
	return NULL;
}

static void readers_beside_a_single_writer_do_not_stop_him(void **state)
{
	struct stand s = stand_new(CARELESS_BOTH);
	struct reading x = { 0 };
	pthread_t threads[READERS];
	struct etag tag;
	char text[20];

	guard(&s, true);
	x.b = s.guard;
	assert_ok(swap(s.guard, "heads/a", NULL, "0", &tag));
	for (int i = 0; i < READERS; i++)
		assert_ok(thread_start(&threads[i], "reader", read_on, &x));
	for (int i = 1; i <= CHANGES; i++) {
		snprintf(text, sizeof(text), "%d", i);
		assert_ok(swap(s.guard, "heads/a", &tag, text, &tag));
	}
	x.is_over = true;
	for (int i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	assert_is(s.guard, "heads/a", text);
	backend_free(s.guard);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_server_is_asked_once_before_the_first_change),
		cmocka_unit_test(what_a_server_cannot_be_trusted_with_is_not_tried),
		cmocka_unit_test(a_server_that_did_not_answer_is_asked_again),
		cmocka_unit_test(a_single_writer_swaps_as_if_conditions_were_kept),
		cmocka_unit_test(a_single_writer_stops_when_somebody_else_writes),
		cmocka_unit_test(a_single_writer_stops_when_what_it_only_read_is_changed),
		cmocka_unit_test(
			a_single_writer_stops_when_what_was_only_found_unchanged_is_changed),
		cmocka_unit_test(a_single_writers_lost_reply_is_not_somebody_else),
		cmocka_unit_test(readers_beside_a_single_writer_do_not_stop_him),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
