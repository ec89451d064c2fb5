/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a run has made and nobody gets on a branch: it lies on branches of the run's own, and takes
 * nothing from who has committed there, or has a branch of that name.
 */
#include <fcntl.h>

#include "runstand.h"

static struct runstand make(void)
{
	struct runstand s = runstand_make();

	make_text(&s.h, s.h.root, "in", "1");
	stand_commit(&s.h, NULL);
	return s;
}

/* Somebody writes a file on a branch, and commits it. */
static void commit_on(struct runstand *s, const char *branch, const char *name, const char *text)
{
	const struct commit_request req = { 0 };
	struct commit_result res;
	struct vnode *root, *v;
	struct view *head;
	struct stat st;

	assert_ok(heads_get(s->h.heads, "r", branch, &s->h.acc, &head));
	assert_ok(view_root(head, &root));
	if (view_lookup(root, span_str(name), &s->h.acc, &v, &st) < 0)
		v = stand_create(&s->h, root, name, S_IFREG | 0644);
	put_text(&s->h, v, text);
	assert_ok(head_commit(head, &req, &s->h.acc, &res));
	vnode_unref(s->h.vnodes, v);
	vnode_unref(s->h.vnodes, root);
	view_unref(head);
}

/* A run that has failed and left `out` on its branch. */
static struct run *fail_with_out(struct runstand *s)
{
	struct run *run = runstand_begin(s, "");

	runstand_write(s, run, "main", "out", "made");
	json_decref(runstand_end(s, run, 1));
	return run;
}

static void forget(struct runstand *s, struct run *run)
{
	const struct run_id id = *run_id(run);

	run_forgotten(run);
	run_unref(run);
	wait_until_gone(s, &id);
}

static void what_is_written_later_goes_on_top_of_what_somebody_has_committed_there(void **state)
{
	struct runstand s = make();
	struct run *run = fail_with_out(&s);
	_cleanup_free_ char *kept = kept_branch(run);

	commit_on(&s, kept, "out", "mine");
	commit_on(&s, kept, "note", "mine");
	runstand_write(&s, run, "main", "late", "after");
	forget(&s, run);
	assert_on_branch(&s, kept, "out", "mine");
	assert_on_branch(&s, kept, "note", "mine");
	assert_on_branch(&s, kept, "late", "after");
	runstand_remove(&s);
}

static void where_both_have_changed_the_same_it_lies_on_another_branch(void **state)
{
	struct runstand s = make();
	struct run *run = fail_with_out(&s);
	_cleanup_free_ char *kept = kept_branch(run), *second = strf("%s-2", kept);

	commit_on(&s, kept, "out", "mine");
	runstand_write(&s, run, "main", "out", "late");
	forget(&s, run);
	assert_on_branch(&s, kept, "out", "mine");
	assert_on_branch(&s, second, "out", "late");
	runstand_remove(&s);
}

static void a_branch_of_somebody_elses_is_left_as_it_is(void **state)
{
	struct runstand s = make();
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	const struct oid base = view_commit(s.h.head);
	struct run *run = runstand_begin(&s, "");
	_cleanup_free_ char *name = kept_branch(run), *second = strf("%s-2", name);
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	json_t *answer, *out;
	struct oid tip;

	assert_ok(refs_repo(s.h.store->refs, "r", &w, &rec));
	assert_ok(refs_create_branch(s.h.store->refs, &rec.id, name, &base, NULL));
	runstand_write(&s, run, "main", "out", "made");
	answer = runstand_end(&s, run, 1);
	out = json_array_get(json_object_get(answer, "outputs"), 0);
	assert_string_equal(json_string_value(json_object_get(out, "kept")), second);
	json_decref(answer);
	assert_ok(tip_of_branch(&s, name, &tip));
	assert_true(oid_equal(&tip, &base));
	runstand_write(&s, run, "main", "late", "after");
	forget(&s, run);
	assert_on_branch(&s, second, "out", "made");
	assert_on_branch(&s, second, "late", "after");
	assert_ok(tip_of_branch(&s, name, &tip));
	assert_true(oid_equal(&tip, &base));
	runstand_remove(&s);
}

static void on_a_branch_that_was_removed_all_of_it_is_there_again(void **state)
{
	struct runstand s = make();
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	struct run *run = fail_with_out(&s);
	_cleanup_free_ char *kept = kept_branch(run);
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };

	assert_ok(refs_repo(s.h.store->refs, "r", &w, &rec));
	assert_ok(heads_remove(s.h.heads, &rec.id, kept, &DEADLINE_NEVER));
	runstand_write(&s, run, "main", "late", "after");
	forget(&s, run);
	assert_on_branch(&s, kept, "out", "made");
	assert_on_branch(&s, kept, "late", "after");
	runstand_remove(&s);
}

static void what_finds_no_free_branch_stays_until_there_is_one(void **state)
{
	struct runstand s = make();
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	const struct oid base = view_commit(s.h.head);
	struct run *run = runstand_begin(&s, "");
	_cleanup_free_ char *name = kept_branch(run);
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	json_t *request = json_pack("{s:i}", "exit", 1), *answer = NULL;
	const struct run_id id = *run_id(run);

	assert_ok(refs_repo(s.h.store->refs, "r", &w, &rec));
	assert_ok(refs_create_branch(s.h.store->refs, &rec.id, name, &base, NULL));
	for (unsigned n = 2; n <= 100; n++) {
		_cleanup_free_ char *other = strf("%s-%u", name, n);

		assert_ok(refs_create_branch(s.h.store->refs, &rec.id, other, &base, NULL));
	}
	runstand_write(&s, run, "main", "out", "made");
	assert_true(run_end(run, request, &s.h.acc, &answer) < 0);
	json_decref(request);
	json_decref(answer);
	run_forgotten(run);
	run_unref(run);
	runstand_remount(&s);
	assert_ok(heads_remove(s.h.heads, &rec.id, name, &DEADLINE_NEVER));
	wait_until_gone(&s, &id);
	assert_on_branch(&s, name, "out", "made");
	runstand_remove(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			what_is_written_later_goes_on_top_of_what_somebody_has_committed_there),
		cmocka_unit_test(where_both_have_changed_the_same_it_lies_on_another_branch),
		cmocka_unit_test(a_branch_of_somebody_elses_is_left_as_it_is),
		cmocka_unit_test(on_a_branch_that_was_removed_all_of_it_is_there_again),
		cmocka_unit_test(what_finds_no_free_branch_stays_until_there_is_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
