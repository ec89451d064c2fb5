/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A head with changes of its own takes in what its branch has got.
 */
#include "followstand.h"
#include "head/pin.h"

static struct oid branch_id(struct headstand *s)
{
	struct refs_wait w = { .may_wait = true, .fresh = true, .deadline = DEADLINE_NEVER };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	_cleanup_ref_ struct ref ref = { 0 };

	assert_ok(refs_repo(s->store->refs, "r", &w, &rec));
	assert_ok(refs_get(s->store->refs, &rec.id, REF_BRANCH, "main", &w, &ref, NULL));
	return ref.target;
}

static bool is_dirty(struct headstand *s)
{
	_cleanup_(head_status_release) struct head_status st = { 0 };

	assert_ok(head_status(s->head, &st));
	return st.is_dirty;
}

static void change(struct headstand *s, const char *path, const char *text)
{
	struct vnode *v = at(s, path);

	put_text(s, v, text);
	vnode_unref(s->vnodes, v);
}

static void assert_committed(struct headstand *s, const struct oid *want)
{
	struct oid id = head_committed(s->head);

	assert_true(oid_equal(&id, want));
}

static struct oid pin(struct headstand *s)
{
	const struct pin_request plain = { 0 };
	struct oid id;
	bool is_new;

	assert_ok(head_pin(s->head, &plain, &s->acc, &id, &is_new));
	return id;
}

/* @s and @o are at a commit that has `mine`, `theirs` and a directory `d`; then @o commits another
 * `theirs`. */
static struct oid begin(struct headstand *s, struct headstand *o)
{
	struct vnode *d;

	*s = stand_make();
	make_text(s, s->root, "mine", "one");
	make_text(s, s->root, "theirs", "one");
	d = stand_create(s, s->root, "d", S_IFDIR | 0755);
	make_text(s, d, "mine", "one");
	make_text(s, d, "theirs", "one");
	vnode_unref(s->vnodes, d);
	stand_commit(s, NULL);
	*o = other_mount(s);
	change(o, "theirs", "two");
	change(o, "d/theirs", "two");
	return stand_commit(o, NULL);
}

static void end(struct headstand *s, struct headstand *o)
{
	leave(o);
	stand_remove(s);
}

static void what_the_branch_got_is_there_and_the_changes_are_still_uncommitted(void **state)
{
	struct headstand s, o;
	struct oid target = begin(&s, &o), id, parent;
	_cleanup_buf_ struct buf object = { 0 };

	change(&s, "mine", "my own");
	make_text(&s, s.root, "new", "my own");
	assert_int_equal(head_advance(s.head, &target, &s.acc), 1);
	assert_text(&s, "mine", "my own");
	assert_text(&s, "new", "my own");
	assert_text(&s, "theirs", "two");
	assert_text(&s, "d/theirs", "two");
	assert_true(is_dirty(&s));
	assert_committed(&s, &target);
	parent = branch_id(&s);
	assert_true(oid_equal(&parent, &target));
	/* Such a head is what one is that had been changed on the new commit. */
	remount(&s);
	assert_committed(&s, &target);
	assert_text(&s, "mine", "my own");
	id = stand_commit(&s, NULL);
	assert_committed(&s, &id);
	assert_false(is_dirty(&s));
	assert_int_equal(head_follow(o.head, &id, &o.acc), 1);
	assert_text(&o, "mine", "my own");
	assert_text(&o, "d/theirs", "two");
	end(&s, &o);
}

static void a_pinned_head_takes_it_in_as_well(void **state)
{
	struct headstand s, o;
	struct oid target = begin(&s, &o);

	change(&s, "mine", "my own");
	pin(&s);
	assert_int_equal(head_advance(s.head, &target, &s.acc), 1);
	change(&s, "d/mine", "my own");
	assert_text(&s, "mine", "my own");
	assert_text(&s, "theirs", "two");
	assert_committed(&s, &target);
	end(&s, &o);
}

static void a_clean_head_just_follows(void **state)
{
	struct headstand s, o;
	struct oid target = begin(&s, &o), base;

	assert_int_equal(head_advance(s.head, &target, &s.acc), 1);
	assert_text(&s, "theirs", "two");
	base = view_commit(s.head);
	assert_true(oid_equal(&base, &target));
	assert_false(is_dirty(&s));
	end(&s, &o);
}

static void where_both_have_changed_the_same_it_stays_where_it_is(void **state)
{
	struct headstand s, o;
	struct oid target = begin(&s, &o), before = head_committed(s.head);

	change(&s, "theirs", "my own");
	change(&s, "mine", "my own");
	assert_int_equal(head_advance(s.head, &target, &s.acc), 0);
	assert_text(&s, "theirs", "my own");
	assert_text(&s, "mine", "my own");
	assert_text(&s, "d/theirs", "one");
	assert_committed(&s, &before);
	assert_true(is_dirty(&s));
	end(&s, &o);
}

static struct vnode *open_to_write(struct headstand *s, const char *path)
{
	struct vnode *v = at(s, path);

	assert_ok(view_open(v, O_RDWR, &s->acc));
	return v;
}

static void close_written(struct headstand *s, struct vnode *v)
{
	view_close(v, O_RDWR);
	vnode_unref(s->vnodes, v);
}

static void a_file_of_the_branchs_that_is_open_for_writing_keeps_it_where_it_is(void **state)
{
	struct headstand s, o;
	struct oid target = begin(&s, &o);
	struct vnode *v;

	change(&s, "mine", "my own");
	v = open_to_write(&s, "d/theirs");
	assert_int_equal(head_advance(s.head, &target, &s.acc), 0);
	assert_text(&s, "theirs", "one");
	close_written(&s, v);
	assert_int_equal(head_advance(s.head, &target, &s.acc), 1);
	assert_text(&s, "d/theirs", "two");
	assert_text(&s, "mine", "my own");
	end(&s, &o);
}

static void another_file_that_is_open_for_writing_is_written_on(void **state)
{
	struct headstand s, o;
	struct oid target = begin(&s, &o);
	struct vnode *v;

	change(&s, "mine", "my own");
	v = open_to_write(&s, "d/mine");
	assert_int_equal(head_advance(s.head, &target, &s.acc), 1);
	assert_text(&s, "theirs", "two");
	assert_ok(view_write(v, 0, span_str("six"), false, false, &s.acc));
	assert_text(&s, "d/mine", "six");
	close_written(&s, v);
	remount(&s);
	assert_text(&s, "d/mine", "six");
	assert_text(&s, "mine", "my own");
	end(&s, &o);
}

static void a_clean_head_takes_it_in_under_who_writes_as_well(void **state)
{
	struct headstand s, o;
	struct oid target = begin(&s, &o);
	struct vnode *v = open_to_write(&s, "d/mine");

	assert_int_equal(head_follow(s.head, &target, &s.acc), 0);
	assert_int_equal(head_advance(s.head, &target, &s.acc), 1);
	assert_text(&s, "theirs", "two");
	assert_ok(view_write(v, 0, span_str("six"), false, false, &s.acc));
	assert_text(&s, "d/mine", "six");
	close_written(&s, v);
	end(&s, &o);
}

static void a_commit_that_does_not_come_after_its_own_is_not_taken_in(void **state)
{
	struct headstand s, o;
	struct oid target = begin(&s, &o), old = head_committed(s.head), own;

	assert_int_equal(head_advance(s.head, &target, &s.acc), 1);
	change(&s, "mine", "my own");
	own = pin(&s);
	assert_int_equal(head_advance(s.head, &old, &s.acc), 0);
	assert_int_equal(head_advance(s.head, &target, &s.acc), 0);
	/* One that lies beside it. */
	change(&s, "mine", "another");
	stand_commit(&s, NULL);
	change(&s, "mine", "the third");
	assert_int_equal(head_advance(s.head, &own, &s.acc), 0);
	assert_text(&s, "mine", "the third");
	end(&s, &o);
}

static void who_has_a_file_open_goes_on_reading_what_it_was(void **state)
{
	struct headstand s, o;
	struct oid target = begin(&s, &o);
	struct vnode *theirs = at(&s, "theirs"), *mine = at(&s, "mine");
	char got[8] = { 0 };

	change(&s, "mine", "own");
	assert_ok(view_open(theirs, O_RDONLY, &s.acc));
	assert_ok(view_open(mine, O_RDONLY, &s.acc));
	assert_int_equal(head_advance(s.head, &target, &s.acc), 1);
	assert_int_equal(view_read(theirs, 0, sizeof(got), got, &s.acc), 3);
	assert_string_equal(got, "one");
	assert_int_equal(view_read(mine, 0, sizeof(got), got, &s.acc), 3);
	assert_string_equal(got, "own");
	assert_text(&s, "theirs", "two");
	/* What did not change is the same file. */
	assert_int_equal(ino_of(&s, "mine"), mine->ino);
	assert_true(ino_of(&s, "theirs") != theirs->ino);
	view_close(theirs, O_RDONLY);
	view_close(mine, O_RDONLY);
	vnode_unref(s.vnodes, theirs);
	vnode_unref(s.vnodes, mine);
	end(&s, &o);
}

/* @o's head gets `name` as the commit has it, and the root the time it has there. */
static void take_over(struct headstand *o, const struct oid *commit, const char *name)
{
	struct setattr a = { .what = SETATTR_MTIME | SETATTR_CTIME };
	struct vnode *from = stand_commit_root(o, commit), *v;
	struct stat st;

	assert_ok(view_getattr(from, &o->acc, &st));
	a.mtime = st.st_mtim;
	a.ctime = st.st_ctim;
	assert_ok(view_walk(from, span_str(name), &o->acc, &v, &st));
	assert_ok(head_graft(v, o->root, span_str(name), &o->acc));
	assert_ok(view_setattr(o->root, &a, &o->acc, &st));
	vnode_unref(o->vnodes, v);
	vnode_unref(o->vnodes, from);
}

static void when_the_branch_got_the_same_nothing_is_uncommitted_any_more(void **state)
{
	struct headstand s, o;
	struct oid target, now;

	begin(&s, &o);
	make_text(&s, s.root, "result", "42");
	now = pin(&s);
	take_over(&o, &now, "result");
	target = stand_commit(&o, NULL);
	assert_int_equal(head_advance(s.head, &target, &s.acc), 1);
	now = view_commit(s.head);
	assert_true(oid_equal(&now, &target));
	assert_false(is_dirty(&s));
	remount(&s);
	assert_false(is_dirty(&s));
	assert_text(&s, "result", "42");
	assert_text(&s, "theirs", "two");
	end(&s, &o);
}

static void a_file_without_a_name_stays_with_who_has_it(void **state)
{
	struct headstand s, o;
	struct oid target = begin(&s, &o);
	struct vnode *v = at(&s, "d/mine"), *d = at(&s, "d");
	char got[8] = { 0 };

	assert_ok(view_open(v, O_RDONLY, &s.acc));
	change(&s, "d/mine", "own");
	assert_ok(view_unlink(d, span_str("mine"), &s.acc));
	assert_int_equal(head_advance(s.head, &target, &s.acc), 1);
	assert_int_equal(view_read(v, 0, sizeof(got), got, &s.acc), 3);
	assert_string_equal(got, "own");
	change(&s, "mine", "after");
	assert_text(&s, "d/theirs", "two");
	view_close(v, O_RDONLY);
	vnode_unref(s.vnodes, v);
	vnode_unref(s.vnodes, d);
	remount(&s);
	assert_text(&s, "mine", "after");
	assert_text(&s, "d/theirs", "two");
	end(&s, &o);
}

static void changes_of_an_unborn_branch_lie_on_its_first_commit(void **state)
{
	struct headstand s = stand_make(), o = other_mount(&s);
	struct oid target;

	make_text(&s, s.root, "mine", "one");
	make_text(&o, o.root, "theirs", "one");
	target = stand_commit(&o, NULL);
	assert_int_equal(head_advance(s.head, &target, &s.acc), 1);
	assert_text(&s, "mine", "one");
	assert_text(&s, "theirs", "one");
	assert_committed(&s, &target);
	end(&s, &o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			what_the_branch_got_is_there_and_the_changes_are_still_uncommitted),
		cmocka_unit_test(a_pinned_head_takes_it_in_as_well),
		cmocka_unit_test(a_clean_head_just_follows),
		cmocka_unit_test(where_both_have_changed_the_same_it_stays_where_it_is),
		cmocka_unit_test(
			a_file_of_the_branchs_that_is_open_for_writing_keeps_it_where_it_is),
		cmocka_unit_test(another_file_that_is_open_for_writing_is_written_on),
		cmocka_unit_test(a_clean_head_takes_it_in_under_who_writes_as_well),
		cmocka_unit_test(a_commit_that_does_not_come_after_its_own_is_not_taken_in),
		cmocka_unit_test(who_has_a_file_open_goes_on_reading_what_it_was),
		cmocka_unit_test(when_the_branch_got_the_same_nothing_is_uncommitted_any_more),
		cmocka_unit_test(a_file_without_a_name_stays_with_who_has_it),
		cmocka_unit_test(changes_of_an_unborn_branch_lie_on_its_first_commit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
