/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A run that is run again: it sees what the former one saw, and what it makes is kept apart.
 */
#include "runstand.h"

/* A former run, which has ended: its id. */
static struct run_id former(struct runstand *s)
{
	struct run *run = runstand_begin(s, "");
	struct run_id id = *run_id(run);

	assert_in_run(s, run, "in", "then");
	runstand_write(s, run, "main", "out", "made");
	json_decref(runstand_end(s, run, 0));
	run_unref(run);
	return id;
}

static struct run *again(struct runstand *s, const struct run_id *of)
{
	_cleanup_free_ char *fields = strf("'rerun': '%s'", of->s);

	return runstand_begin(s, fields);
}

/* What the run's own branch has as "out". */
static void assert_kept(struct runstand *s, const char *id, const char *want)
{
	_cleanup_free_ char *branch = strf("rerun-%s", id);

	assert_on_branch(s, branch, "out", want);
	assert_on_branch(s, "main", "out", "made");
}

static void it_sees_what_was_seen_then_and_is_never_published(void **state)
{
	struct runstand s = runstand_make();
	struct run_id id;
	struct vnode *in;
	struct run *run;
	json_t *a;

	make_text(&s.h, s.h.root, "in", "then");
	id = former(&s);
	in = at(&s.h, "in");
	put_text(&s.h, in, "late");
	vnode_unref(s.h.vnodes, in);
	commit_main(&s);
	run = again(&s, &id);
	assert_in_run(&s, run, "in", "then");
	assert_in_run(&s, run, "out", NULL);
	runstand_write(&s, run, "main", "out", "otherwise");
	a = runstand_end(&s, run, 0);
	assert_string_equal(status_in(a), "ok");
	json_decref(a);
	assert_kept(&s, run_id(run)->s, "otherwise");
	run_unref(run);
	runstand_remove(&s);
}

static void beside_a_branch_of_somebody_elses_it_is_still_named_as_a_rerun(void **state)
{
	struct runstand s = runstand_make();
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	_cleanup_free_ char *name = NULL, *second = NULL;
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct run_id id;
	struct run *run;
	struct oid base;

	make_text(&s.h, s.h.root, "in", "then");
	base = stand_commit(&s.h, NULL);
	id = former(&s);
	run = again(&s, &id);
	name = strf("rerun-%s", run_id(run)->s);
	second = strf("%s-2", name);
	assert_ok(refs_repo(s.h.store->refs, "r", &w, &rec));
	assert_ok(refs_create_branch(s.h.store->refs, &rec.id, name, &base, NULL));
	runstand_write(&s, run, "main", "out", "otherwise");
	json_decref(runstand_end(&s, run, 0));
	assert_on_branch(&s, name, "out", NULL);
	assert_on_branch(&s, second, "out", "otherwise");
	run_unref(run);
	runstand_remove(&s);
}

static void one_that_was_killed_is_kept_apart_as_well(void **state)
{
	struct runstand s = runstand_make();
	struct run_id id, killed;
	struct run *run;

	make_text(&s.h, s.h.root, "in", "then");
	id = former(&s);
	run = again(&s, &id);
	killed = *run_id(run);
	runstand_write(&s, run, "main", "out", "half");
	run_unref(run);
	runstand_remount(&s);
	for (int i = 0; i < 1000; i++) {
		_cleanup_free_ char *branch = strf("rerun-%s", killed.s);
		struct oid tip;

		if (tip_of_branch(&s, branch, &tip) == 0)
			break;
		usleep(10000);
	}
	assert_kept(&s, killed.s, "half");
	runstand_remove(&s);
}

static void in_an_update_its_own_former_work_is_taken_back(void **state)
{
	struct runstand s = runstand_make();
	_cleanup_free_ char *fields = NULL;
	struct run_id id;
	struct run *run;

	make_text(&s.h, s.h.root, "in", "then");
	id = former(&s);
	make_text(&s.h, s.h.root, "mine", "uncommitted");
	fields = strf("'update': '%s'", id.s);
	run = runstand_begin(&s, fields);
	assert_in_run(&s, run, "in", "then");
	assert_in_run(&s, run, "mine", "uncommitted");
	assert_in_run(&s, run, "out", NULL);
	runstand_write(&s, run, "main", "out", "anew");
	json_decref(runstand_end(&s, run, 0));
	run_unref(run);
	assert_on_branch(&s, "main", "out", "anew");
	assert_on_branch(&s, "main", "mine", NULL);
	/* The head has it, and what was not committed. */
	assert_text(&s.h, "out", "anew");
	assert_text(&s.h, "mine", "uncommitted");
	runstand_remove(&s);
}

static void in_an_update_others_work_stays(void **state)
{
	struct runstand s = runstand_make();
	_cleanup_free_ char *fields = NULL;
	struct run_id id;
	struct vnode *out;
	struct run *run;

	make_text(&s.h, s.h.root, "in", "then");
	id = former(&s);
	out = at(&s.h, "out");
	put_text(&s.h, out, "by hand");
	vnode_unref(s.h.vnodes, out);
	fields = strf("'update': '%s'", id.s);
	run = runstand_begin(&s, fields);
	assert_in_run(&s, run, "out", "by hand");
	json_decref(runstand_end(&s, run, 0));
	run_unref(run);
	assert_text(&s.h, "out", "by hand");
	assert_on_branch(&s, "main", "out", "made");
	runstand_remove(&s);
}

static void assert_refused(struct runstand *s, struct run *in, const char *of, int want)
{
	json_t *q = json_pack("{s:[s], s:s}", "argv", "true", "rerun", of);
	struct run *run;

	assert_int_equal(run_begin(s->runs, q, 0, 0, in, &s->h.acc, &run), want);
	json_decref(q);
}

static void what_has_not_ended_or_is_not_known_is_refused(void **state)
{
	struct runstand s = runstand_make();
	struct run *run = runstand_begin(&s, "");

	assert_refused(&s, NULL, run_id(run)->s, -EBUSY);
	assert_refused(&s, run, run_id(run)->s, -EBUSY);
	assert_refused(&s, NULL, "20200101-000000-0000", -ENOENT);
	assert_refused(&s, NULL, "../../etc/passwd", -EINVAL);
	json_decref(runstand_end(&s, run, 0));
	run_unref(run);
	runstand_remove(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_sees_what_was_seen_then_and_is_never_published),
		cmocka_unit_test(beside_a_branch_of_somebody_elses_it_is_still_named_as_a_rerun),
		cmocka_unit_test(one_that_was_killed_is_kept_apart_as_well),
		cmocka_unit_test(in_an_update_its_own_former_work_is_taken_back),
		cmocka_unit_test(in_an_update_others_work_stays),
		cmocka_unit_test(what_has_not_ended_or_is_not_known_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
