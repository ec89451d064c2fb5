/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Runs in a run whose process is killed, or whose store fails, at each step in turn, from the
 * beginning of the first to the end of the outer one: each record is true, and what each has made
 * is in the outer one or on a branch of its own, and not in both.
 */
#include "backend/fault.h"
#include "base/log.h"
#include "killstand.h"

static const char *const branches[] = { "main", "other" };

/* As it is written by the step @step. */
static char *name_of(const char *run, long step)
{
	return strf("%s%ld", run, step);
}

static void write_both(struct runstand *s, struct run *run, const char *who, long step)
{
	_cleanup_free_ char *name = name_of(who, step);

	for (size_t i = 0; i < ARRAY_SIZE(branches); i++)
		runstand_write(s, run, branches[i], name, "made");
}

static void end_well(struct runstand *s, struct run *run)
{
	json_t *request = json_pack("{s:i}", "exit", 0), *answer = NULL;

	run_end(run, request, &s->h.acc, &answer);
	json_decref(request);
	json_decref(answer);
	run_forgotten(run);
	run_unref(run);
}

static struct run *begin_told(struct runstand *s, struct run *parent, int told)
{
	struct run *run = runstand_begin_in(s, parent, "");

	say(told, run_id(run)->s);
	return run;
}

/* An outer one and two in it; the outer one writes as well, also to what the first has made. */
static void nest_at(struct runstand *s, long step, int told)
{
	struct run *outer, *a, *b;

	open_stand(s);
	outer = begin_told(s, NULL, told);
	steps_left = step;
	write_both(s, outer, "o", step);
	a = begin_told(s, outer, told);
	write_both(s, a, "a", step);
	b = begin_told(s, outer, told);
	end_well(s, a);
	write_both(s, b, "b", step);
	end_well(s, b);
	end_well(s, outer);
	while (names_left(s) > 0)
		usleep(500);
}

/* The end's record of the n-th run that was told of; NULL: there are not so many. */
static json_t *end_of(struct runstand *s, const char *said, size_t n)
{
	char text[RUN_ID_LEN + 1] = "";
	json_t *start, *end;
	struct run_id id;

	if (strlen(said) < (n + 1) * RUN_ID_LEN)
		return NULL;
	memcpy(text, said + n * RUN_ID_LEN, RUN_ID_LEN);
	assert_ok(run_id_parse(text, &id));
	assert_ok(archive_get(s->h.store, &id, &DEADLINE_NEVER, &start, &end));
	json_decref(start);
	assert_non_null(end);
	return end;
}

static bool has(struct runstand *s, const char *branch, const char *name)
{
	_cleanup_free_ char *text = text_on_branch(s, branch, name);

	return text && strcmp(text, "made") == 0;
}

/* What a lost run left: a file that is made and not written yet is all that there was. */
static bool has_some(struct runstand *s, const char *branch, const char *name)
{
	_cleanup_free_ char *text = text_on_branch(s, branch, name);

	return text && (!*text || strcmp(text, "made") == 0);
}

/* What an inner run has made of a branch is where its record says, and only there. */
static void judge_output(struct runstand *s, const json_t *outer, const json_t *inner,
			 const char *branch, const char *name)
{
	const char *kept = said_of(inner, branch, "kept");
	const char *of_outer = said_of(outer, branch, "kept");
	bool is_published = said_of(inner, branch, "published");

	if (!said_of(inner, branch, "result")) {
		assert_string_not_equal(status_in(inner), "ok");
		return;
	}
	assert_true(is_published == !kept);
	if (kept && strcmp(status_in(inner), "lost") == 0)
		assert_true(has_some(s, kept, name));
	else if (kept)
		assert_true(has(s, kept, name));
	if (of_outer)
		assert_true(has(s, of_outer, name) == is_published);
	assert_true(has(s, branch, name) == (is_published && strcmp(status_in(outer), "ok") == 0));
}

static void judge(struct runstand *s, const char *said, long step)
{
	static const char *const names[] = { "a", "b" };
	json_t *outer = end_of(s, said, 0);

	assert_all_ended(s);
	for (size_t i = 0; i < ARRAY_SIZE(branches); i++) {
		_cleanup_free_ char *own = name_of("o", step);
		bool is_ok = strcmp(status_in(outer), "ok") == 0;

		assert_true(has(s, branches[i], own) == is_ok);
		for (size_t n = 0; n < ARRAY_SIZE(names); n++) {
			_cleanup_free_ char *name = name_of(names[n], step);
			json_t *inner = end_of(s, said, n + 1);

			if (inner)
				judge_output(s, outer, inner, branches[i], name);
			/* An outer one that ended well began both. */
			assert_true(inner || !is_ok);
			json_decref(inner);
		}
	}
	json_decref(outer);
}

static void killed_at_any_step_each_has_its_output_in_one_place(void **state)
{
	struct runstand s = killstand_make();

	kill_at_each_step(&s, nest_at, judge);
	runstand_remove(&s);
}

static struct backend *faults;

static struct backend *with_faults(struct backend *inner)
{
	assert_ok(fault_backend_new(inner, &faults));
	return faults;
}

/* Begins and writes as nest_at() does; @said is told the ids. */
static void nest(struct runstand *s, long n, struct run *runs[3], char *said)
{
	static const char *const names[] = { "o", "a", "b" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		runs[i] = runstand_begin_in(s, i > 0 ? runs[0] : NULL, "");
		write_both(s, runs[i], names[i], n);
		strcat(said, run_id(runs[i])->s);
	}
}

/* Of one kind of request the n-th from the first end on fails, for n = 1, 2, ... until the ends do
 * not make so many. */
static void fail_each(enum fault_op op, enum fault_kind kind)
{
	struct runstand s = killstand_make();
	bool all = false;

	close_stand(&s);
	s.h.layer = with_faults;
	open_stand(&s);
	for (unsigned n = 1; n < STEPS_MAX && !all; n++) {
		const struct fault f = {
			.op = op, .kind = kind, .nth = n, .times = 1, .error = -EIO
		};
		char said[SAID_MAX] = "";
		struct fault_counts c;
		struct run *runs[3];
		bool was;

		nest(&s, n, runs, said);
		fault_backend_reset_counts(faults);
		assert_ok(fault_backend_add(faults, &f));
		was = log_set_quiet(true);
		for (size_t i = 3; i-- > 0;)
			end_well(&s, runs[i]);
		log_set_quiet(was);
		fault_backend_counts(faults, &c);
		fault_backend_clear(faults);
		all = c.calls[op] < n;
		runstand_remount(&s);
		wait_until_all_gone(&s);
		judge(&s, said, n);
	}
	assert_true(all);
	runstand_remove(&s);
}

static void a_store_that_fails_once_loses_nothing_of_any(void **state)
{
	static const enum fault_op ops[] = { FAULT_GET_ALL, FAULT_PUT, FAULT_SWAP };

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		fail_each(ops[i], FAULT_FAIL);
}

static void an_answer_that_is_lost_does_no_harm(void **state)
{
	fail_each(FAULT_SWAP, FAULT_LOSE_REPLY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_any_step_each_has_its_output_in_one_place),
		cmocka_unit_test(a_store_that_fails_once_loses_nothing_of_any),
		cmocka_unit_test(an_answer_that_is_lost_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
