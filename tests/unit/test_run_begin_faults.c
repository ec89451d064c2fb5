/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The beginning of a run whose process is killed, or whose store fails or does not answer, at each
 * step in turn: what the store has of it is ended by the next mount, and nothing is left behind.
 */
#include "backend/fault.h"
#include "base/log.h"
#include "killstand.h"

static int count_record(const struct run_id *id, bool is_end, void *ctx)
{
	++*(unsigned *)ctx;
	return 0;
}

/* How many starts and ends there are. */
static unsigned records(struct runstand *s)
{
	unsigned n = 0;

	assert_ok(archive_list(s->h.store, "", NULL, count_record, &n, &DEADLINE_NEVER));
	return n;
}

/* Something is uncommitted, so that there is something to be pinned. */
static void begin_at(struct runstand *s, long step, int told)
{
	_cleanup_free_ char *name = strf("f%ld", step);

	open_stand(s);
	make_text(&s->h, s->h.root, name, "untidy");
	steps_left = step;
	say(told, run_id(runstand_begin(s, "'out': ['r/other']"))->s);
}

static void is_lost_or_was_never(struct runstand *s, const char *said, long step)
{
	json_t *start, *end;
	struct run_id id;

	assert_all_ended(s);
	if (!*said)
		return;
	assert_ok(run_id_parse(said, &id));
	assert_ok(archive_get(s->h.store, &id, &DEADLINE_NEVER, &start, &end));
	assert_string_equal(status_in(end), "lost");
	json_decref(start);
	json_decref(end);
}

static void killed_at_any_step_it_leaves_no_start_without_an_end(void **state)
{
	struct runstand s = killstand_make();

	kill_at_each_step(&s, begin_at, is_lost_or_was_never);
	runstand_remove(&s);
}

static struct backend *faults;

static struct backend *with_faults(struct backend *inner)
{
	assert_ok(fault_backend_new(inner, &faults));
	return faults;
}

static struct runstand make_faulty(void)
{
	struct runstand s = killstand_make();

	close_stand(&s);
	s.h.layer = with_faults;
	open_stand(&s);
	return s;
}

static void add_fault(enum fault_op op, enum fault_kind kind, int error, unsigned nth,
		      unsigned times)
{
	const struct fault f = {
		.op = op, .kind = kind, .nth = nth, .times = times, .error = error
	};

	assert_ok(fault_backend_add(faults, &f));
}

static int try_begin(struct runstand *s, struct run **ret)
{
	json_t *request = json_pack("{s:[s], s:s}", "argv", "true", "cwd", "/");
	bool was = log_set_quiet(true);
	int r = run_begin(s->runs, request, 0, 0, NULL, &s->h.acc, ret);

	log_set_quiet(was);
	json_decref(request);
	return r;
}

/* The n-th request of one kind fails, for n = 1, 2, ... until a beginning does not make so many. */
static void fail_each(enum fault_op op, enum fault_kind kind, int error)
{
	struct runstand s = make_faulty();
	bool all = false;

	for (unsigned n = 1; n < STEPS_MAX && !all; n++) {
		_cleanup_free_ char *name = strf("f%u", n);
		struct run *run = NULL;
		struct fault_counts c;

		make_text(&s.h, s.h.root, name, "untidy");
		fault_backend_reset_counts(faults);
		add_fault(op, kind, error, n, 1);
		try_begin(&s, &run);
		fault_backend_counts(faults, &c);
		fault_backend_clear(faults);
		all = c.calls[op] < n;
		run_unref(run);
		runstand_remount(&s);
		wait_until_all_gone(&s);
		assert_all_ended(&s);
	}
	assert_true(all);
	runstand_remove(&s);
}

static void a_store_that_fails_once_is_left_with_no_start_without_an_end(void **state)
{
	static const enum fault_op ops[] = { FAULT_GET_ALL, FAULT_PUT, FAULT_SWAP };

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		fail_each(ops[i], FAULT_FAIL, -EIO);
	fail_each(FAULT_SWAP, FAULT_FAIL, -ENOSPC);
	fail_each(FAULT_SWAP, FAULT_LOSE_REPLY, -EINPROGRESS);
}

static void what_is_not_known_to_be_there_is_ended_once_the_store_answers(void **state)
{
	static const enum fault_kind kinds[] = { FAULT_LOSE_REPLY, FAULT_FAIL };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct runstand s = make_faulty();
		struct run *run;

		s.h.acc.deadline = deadline_in_ms(200);
		add_fault(FAULT_SWAP, kinds[i], -EINPROGRESS, 1, 0);
		add_fault(FAULT_GET_ALL, FAULT_FAIL, -EIO, 1, 0);
		assert_int_equal(try_begin(&s, &run), -EINPROGRESS);
		fault_backend_clear(faults);
		wait_until_all_gone(&s);
		assert_int_equal(records(&s), 2);
		assert_all_ended(&s);
		runstand_remove(&s);
	}
}

static void what_is_refused_leaves_nothing(void **state)
{
	struct runstand s = make_faulty();
	struct run *run;

	add_fault(FAULT_SWAP, FAULT_FAIL, -EACCES, 1, 1);
	assert_int_equal(try_begin(&s, &run), -EACCES);
	assert_int_equal(names_left(&s), 0);
	assert_int_equal(records(&s), 0);
	runstand_remove(&s);
}

/* The directory of a run that was killed before its start was there, by its id. */
static void make_begun(struct runstand *s, const char *id, const char *start)
{
	_cleanup_free_ char *dir = strf("%s/runs/.begun-%s", s->h.state, id);
	_cleanup_free_ char *path = strf("%s/start", dir);
	FILE *f;

	assert_ok(mkdir(dir, 0700));
	if (!start)
		return;
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(start, f);
	assert_ok(fclose(f));
}

static void another_runs_id_is_not_ended(void **state)
{
	static const char *const id = "20260115-143052-7f3a";
	struct runstand s = killstand_make();
	struct run_id run;

	assert_ok(run_id_parse(id, &run));
	assert_ok(s.h.store->backend->ops->put(
		s.h.store->backend, run_start_key(&run).s,
		span_str("{\"pfs-run\": 1, \"id\": \"20260115-143052-7f3a\", \"machine\": \"b\"}"),
		NULL));
	make_begun(&s, id,
		   "{\"pfs-run\": 1, \"id\": \"20260115-143052-7f3a\", \"machine\": \"a\"}");
	make_begun(&s, "20260115-143052-7f3b", NULL);
	runstand_remount(&s);
	wait_until_all_gone(&s);
	assert_int_equal(records(&s), 1);
	runstand_remove(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_any_step_it_leaves_no_start_without_an_end),
		cmocka_unit_test(a_store_that_fails_once_is_left_with_no_start_without_an_end),
		cmocka_unit_test(what_is_not_known_to_be_there_is_ended_once_the_store_answers),
		cmocka_unit_test(what_is_refused_leaves_nothing),
		cmocka_unit_test(another_runs_id_is_not_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
