/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Clean heads that follow their branch to commits of another mount.
 */
#include "followstand.h"

static void a_new_file_has_a_number_apart_from_the_one_that_was_moved_away(void **state)
{
	struct headstand s = stand_make(), o;
	struct vnode *moved;
	struct oid id;
	uint64_t ino;

	make_text(&s, s.root, "log", "the first");
	stand_commit(&s, NULL);
	o = other_mount(&s);
	assert_ok(view_rename(s.root, span_str("log"), s.root, span_str("log.1"), 0, &s.acc));
	id = stand_commit(&s, NULL);
	assert_follows(&o, &id);
	make_text(&o, o.root, "log", "the second");
	id = stand_commit(&o, NULL);

	moved = at(&s, "log.1");
	assert_follows(&s, &id);
	ino = ino_of(&s, "log");
	assert_int_not_equal(ino, moved->ino);
	assert_text(&s, "log.1", "the first");
	assert_text(&s, "log", "the second");
	vnode_unref(s.vnodes, moved);

	assert_ok(view_unlink(s.root, span_str("log.1"), &s.acc));
	assert_int_equal(ino_of(&s, "log"), ino);
	remount(&s);
	assert_int_equal(ino_of(&s, "log"), ino);
	assert_text(&s, "log", "the second");
	leave(&o);
	stand_remove(&s);
}

static void who_still_knows_what_is_gone_does_no_harm_to_what_came_after(void **state)
{
	struct headstand s = stand_make(), o;
	struct vnode *d, *f, *g;
	struct stat st;
	struct oid id;

	make_dir(&s, "d");
	d = at(&s, "d");
	make_text(&s, d, "f", "of before");
	make_text(&s, s.root, "g", "of before");
	f = at(&s, "d/f");
	g = at(&s, "g");
	stand_commit(&s, NULL);
	o = other_mount(&s);
	assert_ok(head_remove_tree(o.root, span_str("d"), &o.acc));
	assert_ok(view_unlink(o.root, span_str("g"), &o.acc));
	id = stand_commit(&o, NULL);
	leave(&o);

	assert_follows(&s, &id);
	make_dir(&s, "d");
	{
		struct vnode *again = at(&s, "d");

		make_text(&s, again, "f", "of after");
		vnode_unref(s.vnodes, again);
	}
	make_text(&s, s.root, "g", "of after");
	assert_ok(view_getattr(g, &s.acc, &st));
	assert_int_equal(st.st_nlink, 0);
	assert_ok(view_getattr(f, &s.acc, &st));
	assert_int_equal(st.st_nlink, 0);
	vnode_unref(s.vnodes, f);
	vnode_unref(s.vnodes, d);
	vnode_unref(s.vnodes, g);
	assert_text(&s, "d/f", "of after");
	assert_text(&s, "g", "of after");
	stand_commit(&s, NULL);
	assert_text(&s, "d/f", "of after");
	remount(&s);
	assert_text(&s, "d/f", "of after");
	assert_text(&s, "g", "of after");
	stand_remove(&s);
}

static void a_linked_file_stays_while_it_has_a_name(void **state)
{
	struct headstand s = stand_make(), o;
	struct vnode *v;
	struct stat st;
	struct oid id;

	make_text(&s, s.root, "a", "of both");
	v = at(&s, "a");
	assert_ok(view_link(v, s.root, span_str("b"), &s.acc, &st));
	stand_commit(&s, NULL);
	o = other_mount(&s);
	assert_ok(view_unlink(o.root, span_str("a"), &o.acc));
	id = stand_commit(&o, NULL);
	assert_follows(&s, &id);
	assert_ok(view_getattr(v, &s.acc, &st));
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(ino_of(&s, "b"), v->ino);

	assert_ok(view_unlink(o.root, span_str("b"), &o.acc));
	id = stand_commit(&o, NULL);
	assert_follows(&s, &id);
	assert_ok(view_getattr(v, &s.acc, &st));
	assert_int_equal(st.st_nlink, 0);
	vnode_unref(s.vnodes, v);
	leave(&o);
	stand_remove(&s);
}

static void a_directory_keeps_its_number_when_another_mount_changes_it(void **state)
{
	struct headstand s = stand_make(), o;
	struct vnode *d;
	struct oid id;

	make_dir(&s, "d");
	stand_commit(&s, NULL);
	assert_ok(view_rename(s.root, span_str("d"), s.root, span_str("e"), 0, &s.acc));
	stand_commit(&s, NULL);
	o = other_mount(&s);
	d = at(&o, "e");
	make_text(&o, d, "f", "made elsewhere");
	vnode_unref(o.vnodes, d);
	id = stand_commit(&o, NULL);
	leave(&o);

	d = at(&s, "e");
	assert_follows(&s, &id);
	assert_int_equal(ino_of(&s, "e"), d->ino);
	make_text(&s, d, "g", "made here");
	vnode_unref(s.vnodes, d);
	assert_text(&s, "e/f", "made elsewhere");
	stand_commit(&s, NULL);
	assert_text(&s, "e/g", "made here");
	stand_remove(&s);
}

static void what_somebody_knew_before_leads_no_head_back(void **state)
{
	struct headstand s = stand_make();
	struct oid first;
	struct vnode *v;

	make_text(&s, s.root, "f", "the first");
	first = stand_commit(&s, NULL);
	v = at(&s, "f");
	put_text(&s, v, "the second");
	vnode_unref(s.vnodes, v);
	stand_commit(&s, NULL);
	assert_int_equal(head_follow(s.head, &first, &s.acc), 0);
	assert_text(&s, "f", "the second");
	stand_remove(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_file_has_a_number_apart_from_the_one_that_was_moved_away),
		cmocka_unit_test(who_still_knows_what_is_gone_does_no_harm_to_what_came_after),
		cmocka_unit_test(a_linked_file_stays_while_it_has_a_name),
		cmocka_unit_test(a_directory_keeps_its_number_when_another_mount_changes_it),
		cmocka_unit_test(what_somebody_knew_before_leads_no_head_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
