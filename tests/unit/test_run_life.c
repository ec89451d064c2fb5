/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Runs from their pins to their publication: what they see, what others see of them, and when.
 */
#include "runstand.h"

static void end_well(struct runstand *s, struct run *run)
{
	json_t *a = runstand_end(s, run, 0);

	assert_string_equal(status_in(a), "ok");
	json_decref(a);
	run_unref(run);
}

static void what_a_run_has_made_is_one_commit_on_the_branch(void **state)
{
	struct runstand s = runstand_make();
	struct run *run;
	struct oid before, tip, head;

	make_text(&s.h, s.h.root, "in", "1");
	before = stand_commit(&s.h, NULL);
	run = runstand_begin(&s, "");
	runstand_write(&s, run, "main", "out", "made");
	assert_on_branch(&s, "main", "out", NULL);
	end_well(&s, run);
	assert_on_branch(&s, "main", "out", "made");
	assert_on_branch(&s, "main", "in", "1");
	assert_ok(tip_of_branch(&s, "main", &tip));
	{
		struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
		_cleanup_repo_rec_ struct repo_rec rec = { 0 };
		_cleanup_loaded_ struct loaded c = { 0 };

		assert_ok(refs_repo(s.h.store->refs, "r", &w, &rec));
		assert_ok(refs_load_commit(s.h.store->refs, &rec.id, &tip, &w, &c));
		assert_int_equal(c.commit.parent_count, 1);
		assert_true(oid_equal(&c.commit.parents[0], &before));
	}
	/* The mount's own head has it at once. */
	head = view_commit(s.h.head);
	assert_true(oid_equal(&head, &tip));
	assert_text(&s.h, "out", "made");
	runstand_remove(&s);
}

static void a_run_sees_one_state_of_the_world(void **state)
{
	struct runstand s = runstand_make();
	struct vnode *root, *in;
	struct run *run;
	char *got;

	make_text(&s.h, s.h.root, "in", "then");
	run = runstand_begin(&s, "");
	in = at(&s.h, "in");
	put_text(&s.h, in, "late");
	vnode_unref(s.h.vnodes, in);
	make_text(&s.h, s.h.root, "new", "late");
	commit_main(&s);
	root = runstand_root(&s, run, "main");
	got = text_below(&s, root, "in");
	assert_string_equal(got, "then");
	free(got);
	assert_null(text_below(&s, root, "new"));
	vnode_unref(s.h.vnodes, root);
	end_well(&s, run);
	runstand_remove(&s);
}

static void what_was_uncommitted_is_seen_and_stays_uncommitted(void **state)
{
	struct runstand s = runstand_make();
	struct head_status st;
	struct run *run;
	struct oid before;

	make_text(&s.h, s.h.root, "committed", "1");
	before = stand_commit(&s.h, NULL);
	make_text(&s.h, s.h.root, "untidy", "mine");
	run = runstand_begin(&s, "");
	{
		struct vnode *root = runstand_root(&s, run, "main");
		_cleanup_free_ char *got = text_below(&s, root, "untidy");

		assert_string_equal(got, "mine");
		vnode_unref(s.h.vnodes, root);
	}
	runstand_write(&s, run, "main", "out", "made");
	end_well(&s, run);
	assert_on_branch(&s, "main", "out", "made");
	assert_on_branch(&s, "main", "untidy", NULL);
	/* The head has both. */
	assert_text(&s.h, "out", "made");
	assert_text(&s.h, "untidy", "mine");
	assert_ok(head_status(s.h.head, &st));
	assert_true(st.is_dirty);
	assert_false(oid_equal(&st.base, &before));
	head_status_release(&st);
	commit_main(&s);
	assert_on_branch(&s, "main", "untidy", "mine");
	assert_on_branch(&s, "main", "out", "made");
	runstand_remove(&s);
}

static bool is_dirty(struct runstand *s)
{
	struct head_status st;
	bool is;

	assert_ok(head_status(s->h.head, &st));
	is = st.is_dirty;
	head_status_release(&st);
	return is;
}

/* `g` is on the branch and in the head, made by a run. */
static void make_g(struct runstand *s, const char *text)
{
	struct run *run = runstand_begin(s, "");

	runstand_write(s, run, "main", "g", text);
	end_well(s, run);
}

static void what_was_removed_here_is_there_again_when_a_run_makes_it(void **state)
{
	struct runstand s = runstand_make();

	make_text(&s.h, s.h.root, "in", "1");
	stand_commit(&s.h, NULL);
	make_g(&s, "made");
	assert_ok(view_unlink(s.h.root, span_str("g"), &s.h.acc));
	make_g(&s, "made");
	assert_text(&s.h, "g", "made");
	assert_on_branch(&s, "main", "g", "made");
	assert_false(is_dirty(&s));
	runstand_remove(&s);
}

static void what_a_run_writes_over_something_uncommitted_is_published(void **state)
{
	struct runstand s = runstand_make();
	struct vnode *g;

	make_text(&s.h, s.h.root, "in", "1");
	stand_commit(&s.h, NULL);
	make_g(&s, "made");
	g = at(&s.h, "g");
	put_text(&s.h, g, "mine");
	vnode_unref(s.h.vnodes, g);
	make_text(&s.h, s.h.root, "notes", "mine");
	make_g(&s, "anew");
	assert_on_branch(&s, "main", "g", "anew");
	assert_on_branch(&s, "main", "notes", NULL);
	assert_text(&s.h, "g", "anew");
	assert_text(&s.h, "notes", "mine");
	assert_true(is_dirty(&s));
	runstand_remove(&s);
}

static void over_something_uncommitted_it_conflicts_with_what_others_have_published(void **state)
{
	struct runstand s = runstand_make();
	_cleanup_free_ char *kept = NULL;
	struct run *a, *b;
	struct vnode *g;
	json_t *answer;

	make_text(&s.h, s.h.root, "in", "1");
	stand_commit(&s.h, NULL);
	make_g(&s, "made");
	g = at(&s.h, "g");
	put_text(&s.h, g, "mine");
	vnode_unref(s.h.vnodes, g);
	a = runstand_begin(&s, "");
	b = runstand_begin(&s, "");
	runstand_write(&s, a, "main", "g", "by a");
	runstand_write(&s, b, "main", "g", "by b");
	end_well(&s, a);
	answer = runstand_end(&s, b, 0);
	assert_string_equal(status_in(answer), "unpublished");
	json_decref(answer);
	kept = kept_branch(b);
	assert_on_branch(&s, "main", "g", "by a");
	assert_on_branch(&s, kept, "g", "by b");
	run_unref(b);
	runstand_remove(&s);
}

static void a_change_made_here_meanwhile_stays(void **state)
{
	struct runstand s = runstand_make();
	struct run *run;
	struct vnode *g;

	make_text(&s.h, s.h.root, "g", "1");
	stand_commit(&s.h, NULL);
	run = runstand_begin(&s, "");
	runstand_write(&s, run, "main", "g", "made");
	g = at(&s.h, "g");
	put_text(&s.h, g, "mine");
	vnode_unref(s.h.vnodes, g);
	end_well(&s, run);
	assert_on_branch(&s, "main", "g", "made");
	assert_text(&s.h, "g", "mine");
	runstand_remove(&s);
}

static void runs_may_overlap(void **state)
{
	struct runstand s = runstand_make();
	struct run *a, *b;

	make_text(&s.h, s.h.root, "in", "1");
	stand_commit(&s.h, NULL);
	a = runstand_begin(&s, "");
	b = runstand_begin(&s, "");
	runstand_write(&s, a, "main", "a", "by a");
	runstand_write(&s, b, "main", "b", "by b");
	end_well(&s, b);
	end_well(&s, a);
	assert_on_branch(&s, "main", "a", "by a");
	assert_on_branch(&s, "main", "b", "by b");
	runstand_remove(&s);
}

static void of_two_that_write_one_file_the_second_is_kept_apart(void **state)
{
	struct runstand s = runstand_make();
	_cleanup_free_ char *kept = NULL;
	struct run *a, *b;
	json_t *answer;

	make_text(&s.h, s.h.root, "f", "0");
	stand_commit(&s.h, NULL);
	a = runstand_begin(&s, "");
	b = runstand_begin(&s, "");
	runstand_write(&s, a, "main", "f", "a");
	runstand_write(&s, b, "main", "f", "b");
	runstand_write(&s, b, "main", "more", "b");
	end_well(&s, a);
	answer = runstand_end(&s, b, 0);
	assert_string_equal(status_in(answer), "unpublished");
	json_decref(answer);
	kept = kept_branch(b);
	assert_on_branch(&s, "main", "f", "a");
	assert_on_branch(&s, "main", "more", NULL);
	assert_on_branch(&s, kept, "f", "b");
	assert_on_branch(&s, kept, "more", "b");
	run_unref(b);
	runstand_remove(&s);
}

static void a_command_that_fails_moves_no_branch(void **state)
{
	struct runstand s = runstand_make();
	_cleanup_free_ char *kept = NULL;
	struct oid before, after;
	struct run *run;
	json_t *answer;

	make_text(&s.h, s.h.root, "f", "0");
	before = stand_commit(&s.h, NULL);
	run = runstand_begin(&s, "");
	runstand_write(&s, run, "main", "f", "half");
	answer = runstand_end(&s, run, 1);
	assert_string_equal(status_in(answer), "failed");
	json_decref(answer);
	assert_ok(tip_of_branch(&s, "main", &after));
	assert_true(oid_equal(&before, &after));
	kept = kept_branch(run);
	assert_on_branch(&s, kept, "f", "half");
	assert_text(&s.h, "f", "0");
	run_unref(run);
	runstand_remove(&s);
}

static void a_run_that_changes_nothing_makes_no_commit(void **state)
{
	struct runstand s = runstand_make();
	struct oid before, after;
	struct run *run;

	make_text(&s.h, s.h.root, "f", "0");
	before = stand_commit(&s.h, NULL);
	run = runstand_begin(&s, "");
	vnode_unref(s.h.vnodes, runstand_root(&s, run, "main"));
	end_well(&s, run);
	assert_ok(tip_of_branch(&s, "main", &after));
	assert_true(oid_equal(&before, &after));
	runstand_remove(&s);
}

static void only_what_it_was_told_to_may_be_written(void **state)
{
	struct runstand s = runstand_make();
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	const struct new_file f = { .mode = S_IFREG | 0644 };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct vnode *root, *v;
	struct run *run;
	struct stat st;
	struct oid id;

	make_text(&s.h, s.h.root, "f", "0");
	id = stand_commit(&s.h, NULL);
	assert_ok(refs_repo(s.h.store->refs, "r", &w, &rec));
	assert_ok(refs_create_branch(s.h.store->refs, &rec.id, "other", &id, NULL));
	run = runstand_begin(&s, "'out': ['r/other']");
	root = runstand_root(&s, run, "main");
	assert_int_equal(view_create(root, span_str("new"), &f, &s.h.acc, &v, &st), -EROFS);
	vnode_unref(s.h.vnodes, root);
	runstand_write(&s, run, "other", "new", "made");
	end_well(&s, run);
	assert_on_branch(&s, "other", "new", "made");
	runstand_remove(&s);
}

static void a_run_of_a_killed_mount_is_lost_and_its_output_kept(void **state)
{
	struct runstand s = runstand_make();
	_cleanup_free_ char *kept = NULL;
	struct oid before, after, at_kept;
	struct run_id id;
	struct run *run;
	json_t *start = NULL, *end = NULL;

	make_text(&s.h, s.h.root, "f", "0");
	before = stand_commit(&s.h, NULL);
	run = runstand_begin(&s, "");
	runstand_write(&s, run, "main", "f", "half");
	id = *run_id(run);
	kept = kept_branch(run);
	run_unref(run);
	runstand_remount(&s);
	while (tip_of_branch(&s, kept, &at_kept) < 0)
		usleep(10 * 1000);
	assert_on_branch(&s, kept, "f", "half");
	assert_ok(tip_of_branch(&s, "main", &after));
	assert_true(oid_equal(&before, &after));
	while (!end) {
		json_decref(start);
		assert_ok(archive_get(s.h.store, &id, &DEADLINE_NEVER, &start, &end));
	}
	assert_string_equal(status_in(end), "lost");
	json_decref(start);
	json_decref(end);
	runstand_remove(&s);
}

/* A run writes to a branch that it has not pinned at its start; is that kept after a kill, with
 * and without the note of it? */
static void keep_late(bool is_noted)
{
	struct runstand s = runstand_make();
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	_cleanup_free_ char *kept = NULL, *note = NULL;
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	json_t *start, *end;
	struct run_id id;
	struct run *run;
	struct oid base;

	make_text(&s.h, s.h.root, "f", "0");
	base = stand_commit(&s.h, NULL);
	run = runstand_begin(&s, "");
	id = *run_id(run);
	assert_ok(refs_repo(s.h.store->refs, "r", &w, &rec));
	assert_ok(refs_create_branch(s.h.store->refs, &rec.id, "late", &base, NULL));
	runstand_write(&s, run, "late", "f", "half");
	kept = kept_branch(run);
	note = strf("%s/runs/%s/late", s.h.state, id.s);
	run_unref(run);
	if (!is_noted)
		assert_ok(unlink(note));
	runstand_remount(&s);
	wait_until_gone(&s, &id);
	assert_on_branch(&s, kept, "f", "half");
	assert_on_branch(&s, "late", "f", "0");
	assert_ok(archive_get(s.h.store, &id, &DEADLINE_NEVER, &start, &end));
	assert_int_equal(json_array_size(json_object_get(end, "outputs")), 1);
	json_decref(start);
	json_decref(end);
	runstand_remove(&s);
}

static void what_it_has_of_a_branch_that_it_pinned_late_is_kept_as_well(void **state)
{
	keep_late(true);
}

static void so_it_is_when_nothing_tells_of_the_branch(void **state)
{
	keep_late(false);
}

static void throw_away_files_are_not_published_wherever_they_are(void **state)
{
	struct runstand s = runstand_make();
	struct vnode *root, *dir;
	struct run *run;
	struct stat st;

	make_text(&s.h, s.h.root, "f", "0");
	dir = stand_create(&s.h, s.h.root, "old", S_IFDIR | 0755);
	vnode_unref(s.h.vnodes, dir);
	stand_commit(&s.h, NULL);
	run = runstand_begin(&s, "");
	root = runstand_root(&s, run, "main");
	dir = stand_create(&s.h, root, "__pycache__", S_IFDIR | 0755);
	make_text(&s.h, dir, "m.pyc", "bytes");
	vnode_unref(s.h.vnodes, dir);
	dir = stand_create(&s.h, root, "new", S_IFDIR | 0755);
	make_text(&s.h, dir, "out", "made");
	make_text(&s.h, dir, "out~", "backup");
	vnode_unref(s.h.vnodes, dir);
	assert_ok(view_lookup(root, span_str("old"), &s.h.acc, &dir, &st));
	make_text(&s.h, dir, "out", "made");
	make_text(&s.h, dir, "out~", "backup");
	vnode_unref(s.h.vnodes, dir);
	vnode_unref(s.h.vnodes, root);
	runstand_write(&s, run, "main", "notes~", "backup");
	runstand_write(&s, run, "main", "out", "made");
	end_well(&s, run);
	assert_on_branch(&s, "main", "out", "made");
	assert_on_branch(&s, "main", "__pycache__/m.pyc", NULL);
	assert_on_branch(&s, "main", "notes~", NULL);
	assert_on_branch(&s, "main", "new/out", "made");
	assert_on_branch(&s, "main", "new/out~", NULL);
	assert_on_branch(&s, "main", "old/out", "made");
	assert_on_branch(&s, "main", "old/out~", NULL);
	runstand_remove(&s);
}

/* The run makes a directory with that file in it. */
static void write_below(struct runstand *s, struct vnode *in, const char *dir, const char *name)
{
	struct vnode *d = stand_create(&s->h, in, dir, S_IFDIR | 0755);

	make_text(&s->h, d, name, "bytes");
	vnode_unref(s->h.vnodes, d);
}

static void nor_are_those_in_directories(void **state)
{
	struct runstand s = runstand_make();
	struct vnode *root, *old, *new;
	struct run *run;
	struct stat st;

	write_below(&s, s.h.root, "old", "f");
	make_text(&s.h, s.h.root, "other", "a file");
	stand_commit(&s.h, NULL);
	run = runstand_begin(&s, "");
	root = runstand_root(&s, run, "main");
	assert_ok(view_lookup(root, span_str("old"), &s.h.acc, &old, &st));
	new = stand_create(&s.h, root, "new", S_IFDIR | 0755);
	write_below(&s, old, "__pycache__", "m.pyc");
	write_below(&s, old, "made", "f");
	write_below(&s, new, "__pycache__", "m.pyc");
	write_below(&s, new, "made", "f");
	assert_ok(view_unlink(root, span_str("other"), &s.h.acc));
	write_below(&s, root, "other", "notes~");
	vnode_unref(s.h.vnodes, new);
	vnode_unref(s.h.vnodes, old);
	vnode_unref(s.h.vnodes, root);
	end_well(&s, run);
	assert_on_branch(&s, "main", "old/f", "bytes");
	assert_on_branch(&s, "main", "old/made/f", "bytes");
	assert_on_branch(&s, "main", "new/made/f", "bytes");
	assert_on_branch(&s, "main", "old/__pycache__/m.pyc", NULL);
	assert_on_branch(&s, "main", "new/__pycache__/m.pyc", NULL);
	assert_on_branch(&s, "main", "other/notes~", NULL);
	runstand_remove(&s);
}

static void what_comes_after_the_end_stays_on_a_branch_of_the_runs(void **state)
{
	struct runstand s = runstand_make();
	_cleanup_free_ char *kept = NULL;
	struct run *run;
	struct oid tip;
	json_t *answer;

	make_text(&s.h, s.h.root, "f", "0");
	stand_commit(&s.h, NULL);
	run = runstand_begin(&s, "");
	runstand_write(&s, run, "main", "out", "made");
	answer = runstand_end(&s, run, 0);
	json_decref(answer);
	runstand_write(&s, run, "main", "late", "after");
	kept = kept_branch(run);
	run_forgotten(run);
	run_unref(run);
	while (tip_of_branch(&s, kept, &tip) < 0)
		usleep(10 * 1000);
	assert_on_branch(&s, kept, "late", "after");
	assert_on_branch(&s, "main", "late", NULL);
	assert_on_branch(&s, "main", "out", "made");
	runstand_remove(&s);
}

static void a_listing_that_has_changed_leaves_what_is_known_of_others(void **state)
{
	struct runstand s = runstand_make();
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct run *run;
	struct oid base;

	make_text(&s.h, s.h.root, "in", "1");
	base = stand_commit(&s.h, NULL);
	assert_ok(refs_repo(s.h.store->refs, "r", &w, &rec));
	run = runstand_begin(&s, "");
	assert_ok(run_saw_listing(run, "r", &s.h.acc));
	assert_ok(run_saw_listing(run, "", &s.h.acc));
	assert_ok(refs_create_branch(s.h.store->refs, &rec.id, "other", &base, NULL));
	assert_ok(run_saw_listing(run, "r", &s.h.acc));
	assert_ok(run_saw_listing(run, "", &s.h.acc));
	end_well(&s, run);
	runstand_remove(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_run_has_made_is_one_commit_on_the_branch),
		cmocka_unit_test(a_run_sees_one_state_of_the_world),
		cmocka_unit_test(what_was_uncommitted_is_seen_and_stays_uncommitted),
		cmocka_unit_test(what_was_removed_here_is_there_again_when_a_run_makes_it),
		cmocka_unit_test(what_a_run_writes_over_something_uncommitted_is_published),
		cmocka_unit_test(
			over_something_uncommitted_it_conflicts_with_what_others_have_published),
		cmocka_unit_test(a_change_made_here_meanwhile_stays),
		cmocka_unit_test(runs_may_overlap),
		cmocka_unit_test(of_two_that_write_one_file_the_second_is_kept_apart),
		cmocka_unit_test(a_command_that_fails_moves_no_branch),
		cmocka_unit_test(a_run_that_changes_nothing_makes_no_commit),
		cmocka_unit_test(only_what_it_was_told_to_may_be_written),
		cmocka_unit_test(a_run_of_a_killed_mount_is_lost_and_its_output_kept),
		cmocka_unit_test(what_it_has_of_a_branch_that_it_pinned_late_is_kept_as_well),
		cmocka_unit_test(so_it_is_when_nothing_tells_of_the_branch),
		cmocka_unit_test(nor_are_those_in_directories),
		cmocka_unit_test(throw_away_files_are_not_published_wherever_they_are),
		cmocka_unit_test(what_comes_after_the_end_stays_on_a_branch_of_the_runs),
		cmocka_unit_test(a_listing_that_has_changed_leaves_what_is_known_of_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
