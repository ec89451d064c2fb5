/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The end of a run whose process is killed, or whose store fails, at each step in turn: the next
 * mount takes it to its end, and what the run has made is on its branches whole, once, or kept.
 */
#include <fcntl.h>

#include "backend/fault.h"
#include "killstand.h"

/* Something is uncommitted in the mount's own head. */
static struct runstand make(void)
{
	struct runstand s = killstand_make();

	make_text(&s.h, s.h.root, "notes", "mine");
	return s;
}

static void assert_kept(struct runstand *s, const json_t *end, const char *branch, const char *name)
{
	const char *kept = said_of(end, branch, "kept");

	assert_null(said_of(end, branch, "published"));
	assert_non_null(kept);
	assert_on_branch(s, kept, name, "made");
	assert_on_branch(s, branch, name, NULL);
}

/* The record is complete and true, and what the run made is where it says. The branches' files
 * have one name, @name. */
static const char *judge(struct runstand *s, const char *id_text, const char *name)
{
	static const char *const branches[] = { "main", "other" };
	json_t *start = NULL, *end = NULL;
	struct run_id id;
	bool is_ok;

	wait_until_all_gone(s);
	assert_ok(run_id_parse(id_text, &id));
	assert_ok(archive_get(s->h.store, &id, &DEADLINE_NEVER, &start, &end));
	assert_non_null(end);
	is_ok = strcmp(status_in(end), "ok") == 0;
	assert_true(is_ok || strcmp(status_in(end), "lost") == 0);
	for (size_t i = 0; i < ARRAY_SIZE(branches); i++) {
		if (is_ok) {
			assert_non_null(said_of(end, branches[i], "published"));
			assert_null(said_of(end, branches[i], "kept"));
			assert_on_branch(s, branches[i], name, "made");
			assert_int_equal(commits_of(s, branches[i], id_text), 1);
		} else {
			assert_kept(s, end, branches[i], name);
			assert_int_equal(commits_of(s, branches[i], id_text), 0);
		}
	}
	/* The mount's own head has it as well, and what it had. */
	if (is_ok)
		assert_text(&s->h, name, "made");
	assert_text(&s->h, "notes", "mine");
	json_decref(start);
	json_decref(end);
	return is_ok ? "ok" : "lost";
}

/* A run that is to write to both branches; without it the second is pinned late. */
static const char *fields = "'out': ['r/main', 'r/other']";

/* Writes to both branches; the caller's run. */
static struct run *begin(struct runstand *s, const char *name)
{
	struct run *run = runstand_begin(s, fields);

	runstand_write(s, run, "main", name, "made");
	runstand_write(s, run, "other", name, "made");
	return run;
}

/* In a process of its own: the run's end, and what comes after it. */
static void end_in_child(struct runstand *s, const char *name, long steps, int told)
{
	json_t *request = json_pack("{s:i}", "exit", 0), *answer = NULL;
	struct run *run;

	open_stand(s);
	run = begin(s, name);
	say(told, run_id(run)->s);
	steps_left = steps;
	if (run_end(run, request, &s->h.acc, &answer) < 0)
		_exit(2);
	run_forgotten(run);
	while (is_there(s, run_id(run)->s))
		usleep(500);
	_exit(SURVIVED);
}

static void end_at(struct runstand *s, long step, int told)
{
	_cleanup_free_ char *name = strf("f%ld", step);

	end_in_child(s, name, step, told);
}

static void is_ended(struct runstand *s, const char *said, long step)
{
	_cleanup_free_ char *name = strf("f%ld", step);

	judge(s, said, name);
}

static void killed_at_any_step_it_is_taken_to_its_end(void **state)
{
	struct runstand s = make();

	kill_at_each_step(&s, end_at, is_ended);
	runstand_remove(&s);
}

static void so_is_what_it_made_of_a_branch_that_it_pinned_late(void **state)
{
	const char *was = fields;

	fields = "";
	killed_at_any_step_it_is_taken_to_its_end(state);
	fields = was;
}

static struct backend *faults;

static struct backend *with_faults(struct backend *inner)
{
	assert_ok(fault_backend_new(inner, &faults));
	return faults;
}

/* Of one kind of request the n-th from the end's beginning fails, for n = 1, 2, ... until the end
 * does not make so many. */
static void fail_each(enum fault_op op, enum fault_kind kind)
{
	struct runstand s = make();
	bool all = false;

	close_stand(&s);
	s.h.layer = with_faults;
	open_stand(&s);
	for (unsigned n = 1; n < STEPS_MAX && !all; n++) {
		const struct fault f = {
			.op = op, .kind = kind, .nth = n, .times = 1, .error = -EIO
		};
		json_t *request = json_pack("{s:i}", "exit", 0), *answer = NULL;
		_cleanup_free_ char *name = strf("f%u", n);
		struct run *run = begin(&s, name);
		struct run_id id = *run_id(run);
		struct fault_counts c;

		fault_backend_reset_counts(faults);
		assert_ok(fault_backend_add(faults, &f));
		run_end(run, request, &s.h.acc, &answer);
		fault_backend_counts(faults, &c);
		fault_backend_clear(faults);
		all = c.calls[op] < n;
		json_decref(request);
		json_decref(answer);
		run_unref(run);
		runstand_remount(&s);
		assert_string_equal(judge(&s, id.s, name), "ok");
	}
	assert_true(all);
	runstand_remove(&s);
}

static void a_store_that_fails_once_loses_nothing(void **state)
{
	static const enum fault_op ops[] = { FAULT_GET,	      FAULT_GET_ALL, FAULT_PUT,
					     FAULT_PUT_BEGIN, FAULT_PUT_END, FAULT_SWAP,
					     FAULT_LIST };

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		fail_each(ops[i], FAULT_FAIL);
}

static void an_answer_that_is_lost_does_no_harm(void **state)
{
	fail_each(FAULT_SWAP, FAULT_LOSE_REPLY);
	fail_each(FAULT_PUT, FAULT_LOSE_REPLY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_any_step_it_is_taken_to_its_end),
		cmocka_unit_test(so_is_what_it_made_of_a_branch_that_it_pinned_late),
		cmocka_unit_test(a_store_that_fails_once_loses_nothing),
		cmocka_unit_test(an_answer_that_is_lost_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
