/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Records of runs in a store: each once, whatever becomes of replies.
 */
#include "base/log.h"
#include "record/archive.h"
#include "storestand.h"

static json_t *start_of(const char *name)
{
	return json_pack("{s:i, s:s, s:s}", "pfs-run", 1, "name", name, "started",
			 "2026-01-15T14:30:52.000000001Z");
}

static json_t *end_of(const struct run_id *id, const char *status)
{
	return json_pack("{s:i, s:s, s:s}", "pfs-run", 1, "id", id->s, "status", status);
}

static struct run_id begin(struct storestand *s, const char *name)
{
	json_t *start = start_of(name);
	struct run_id id;

	assert_ok(archive_begin(&s->store, start, NULL, NULL, NULL, &id));
	assert_string_equal(json_string_value(json_object_get(start, "id")), id.s);
	json_decref(start);
	return id;
}

static int end(struct storestand *s, const struct run_id *id, const char *status)
{
	json_t *j = end_of(id, status);
	int r = archive_end(&s->store, id, j, NULL);

	json_decref(j);
	return r;
}

static void add_fault(struct storestand *s, enum fault_op op, enum fault_kind kind, int error,
		      uint64_t times)
{
	const struct fault f = {
		.op = op, .kind = kind, .prefix = RUN_PREFIX, .times = times, .error = error
	};

	assert_ok(fault_backend_add(s->store.backend, &f));
}

static int count(const struct run_id *id, bool is_end, void *ctx)
{
	++*(unsigned *)ctx;
	return 0;
}

static unsigned records(struct storestand *s)
{
	unsigned n = 0;

	assert_ok(archive_list(&s->store, "", NULL, count, &n, NULL));
	return n;
}

static void a_run_begins_and_ends(void **state)
{
	struct storestand *s = *state;
	struct run_id id = begin(s, "a");
	json_t *start, *done;

	assert_memory_equal(id.s, "20260115-143052-", 16);
	assert_ok(archive_get(&s->store, &id, NULL, &start, &done));
	assert_string_equal(json_string_value(json_object_get(start, "name")), "a");
	assert_null(done);
	json_decref(start);
	assert_ok(end(s, &id, "ok"));
	assert_ok(archive_get(&s->store, &id, NULL, &start, &done));
	assert_string_equal(json_string_value(json_object_get(done, "status")), "ok");
	json_decref(start);
	json_decref(done);
}

static void an_end_is_stored_once(void **state)
{
	struct storestand *s = *state;
	struct run_id id = begin(s, "a"), other = begin(s, "b");
	json_t *j = end_of(&id, "ok");
	bool was = log_set_quiet(true);

	assert_ok(end(s, &id, "ok"));
	assert_ok(end(s, &id, "ok"));
	assert_int_equal(end(s, &id, "failed"), -EEXIST);
	assert_int_equal(archive_end(&s->store, &other, j, NULL), -EINVAL);
	log_set_quiet(was);
	json_decref(j);
}

/* Half of what the second has are. */
static void an_id_that_is_taken_is_not_taken_again(void **state)
{
	struct storestand *s = *state;
	struct run_id id = { "20260115-143052-0000" };
	unsigned left = 0;

	for (unsigned i = 0; i < 0x10000; i++) {
		snprintf(id.s + 16, 5, "%04x", i);
		if (i % 2 == 0)
			left++;
		else
			assert_ok(s->store.backend->ops->put(s->store.backend, run_start_key(&id).s,
							     span_str("{}"), NULL));
	}
	for (unsigned n = 0; n < 20; n++) {
		json_t *start, *done;
		char name[8];

		snprintf(name, sizeof(name), "a%u", n);
		id = begin(s, name);
		assert_ok(archive_get(&s->store, &id, NULL, &start, &done));
		json_decref(start);
	}
	assert_int_equal(records(s), 0x10000 - left + 20);
}

static void a_lost_reply_makes_no_second_record(void **state)
{
	struct storestand *s = *state;
	struct run_id id;

	add_fault(s, FAULT_SWAP, FAULT_LOSE_REPLY, -EINPROGRESS, 1);
	id = begin(s, "a");
	assert_int_equal(records(s), 1);
	add_fault(s, FAULT_SWAP, FAULT_LOSE_REPLY, -EINPROGRESS, 1);
	assert_ok(end(s, &id, "ok"));
	assert_int_equal(records(s), 2);
}

static void what_did_not_arrive_is_sent_again(void **state)
{
	struct storestand *s = *state;
	struct run_id id;

	add_fault(s, FAULT_SWAP, FAULT_FAIL, -EINPROGRESS, 2);
	add_fault(s, FAULT_GET_ALL, FAULT_FAIL, -EIO, 1);
	id = begin(s, "a");
	add_fault(s, FAULT_SWAP, FAULT_FAIL, -EIO, 2);
	assert_ok(end(s, &id, "ok"));
	assert_int_equal(records(s), 2);
}

static void a_store_that_does_not_answer_ends_with_the_deadline(void **state)
{
	struct deadline dl = deadline_in_ms(50);
	struct storestand *s = *state;
	json_t *start = start_of("a");
	struct run_id id;
	int r;

	add_fault(s, FAULT_SWAP, FAULT_FAIL, -EINPROGRESS, 0);
	add_fault(s, FAULT_GET_ALL, FAULT_FAIL, -EIO, 0);
	r = archive_begin(&s->store, start, NULL, NULL, &dl, &id);
	assert_int_equal(r, -EINPROGRESS);
	fault_backend_clear(s->store.backend);
	assert_int_equal(records(s), 0);
	json_decref(start);
}

static void a_refusal_is_final(void **state)
{
	struct storestand *s = *state;
	json_t *start = start_of("a");
	bool was = log_set_quiet(true);
	struct run_id id;

	add_fault(s, FAULT_SWAP, FAULT_FAIL, -ENOSPC, 1);
	assert_int_equal(archive_begin(&s->store, start, NULL, NULL, NULL, &id), -ENOSPC);
	s->store.read_only = true;
	assert_int_equal(archive_begin(&s->store, start, NULL, NULL, NULL, &id), -EROFS);
	s->store.read_only = false;
	assert_int_equal(records(s), 0);
	log_set_quiet(was);
	json_decref(start);
}

static void damage_is_told_apart_from_what_there_is_not(void **state)
{
	struct storestand *s = *state;
	struct run_id id = begin(s, "a"), none = { "20260115-143052-none" };
	bool was = log_set_quiet(true);
	json_t *start, *done;

	memcpy(none.s, id.s, sizeof(none.s));
	none.s[0] = '1';
	assert_int_equal(archive_get(&s->store, &none, NULL, &start, &done), -ENOENT);
	assert_ok(s->store.backend->ops->put(s->store.backend, run_end_key(&id).s, span_str("{"),
					     NULL));
	assert_int_equal(archive_get(&s->store, &id, NULL, &start, &done), -EBADMSG);
	assert_non_null(strstr(complaint(), id.s));
	log_set_quiet(was);
}

struct listed {
	char text[400];
	unsigned stop_after;
};

static int note(const struct run_id *id, bool is_end, void *ctx)
{
	struct listed *l = ctx;
	size_t len = strlen(l->text);

	snprintf(l->text + len, sizeof(l->text) - len, "%s%s ", id->s, is_end ? "!" : "");
	return --l->stop_after == 0 ? 7 : 0;
}

static void put_key(struct storestand *s, const char *key)
{
	assert_ok(s->store.backend->ops->put(s->store.backend, key, span_str("x"), NULL));
}

static void a_listing_has_runs_alone_in_order(void **state)
{
	struct storestand *s = *state;
	struct listed l = { .stop_after = 100 }, part = { .stop_after = 100 },
		      cut = { .stop_after = 2 };
	struct run_id id = { "20260115-143052-7f3a" };

	put_key(s, "runs/202601/20260115-143052-7f3a.start");
	put_key(s, "runs/202601/20260115-143052-7f3a.end");
	put_key(s, "runs/202512/20251231-235959-0000.start");
	put_key(s, "runs/202512/20260101-000000-0000.start");
	put_key(s, "runs/202601/notes.txt");
	put_key(s, "runs/readme");
	assert_ok(archive_list(&s->store, "", NULL, note, &l, NULL));
	assert_string_equal(l.text, "20251231-235959-0000 20260115-143052-7f3a! "
				    "20260115-143052-7f3a ");
	assert_ok(archive_list(&s->store, "", run_end_key(&id).s, note, &part, NULL));
	assert_string_equal(part.text, "20260115-143052-7f3a ");
	assert_int_equal(archive_list(&s->store, "", NULL, note, &cut, NULL), 7);
}

#define test(f) cmocka_unit_test_setup_teardown(f, storestand_set_up, storestand_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_run_begins_and_ends),
		cmocka_unit_test_setup_teardown(a_run_begins_and_ends, storestand_set_up_on_disk,
						storestand_tear_down),
		test(an_end_is_stored_once),
		test(an_id_that_is_taken_is_not_taken_again),
		test(a_lost_reply_makes_no_second_record),
		test(what_did_not_arrive_is_sent_again),
		test(a_store_that_does_not_answer_ends_with_the_deadline),
		test(a_refusal_is_final),
		test(damage_is_told_apart_from_what_there_is_not),
		test(a_listing_has_runs_alone_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
