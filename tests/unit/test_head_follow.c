/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Clean heads that follow their branch to commits of another mount.
 */
#include <fcntl.h>

#include "headstand.h"

/* One more mount of the same store. */
static struct headstand other_mount(struct headstand *s)
{
	struct headstand o = *s;

	o.state = strf("%s/other", s->scratch.path);
	stand_open(&o);
	return o;
}

static void leave(struct headstand *o)
{
	stand_close(o);
	free(o->state);
}

static struct vnode *at(struct headstand *s, const char *path)
{
	struct vnode *v;
	struct stat st;

	assert_ok(view_walk(s->root, span_str(path), &s->acc, &v, &st));
	return v;
}

static void put_text(struct headstand *s, struct vnode *v, const char *text)
{
	assert_ok(view_open(v, O_RDWR, &s->acc));
	assert_ok(view_write(v, 0, span_str(text), false, false, &s->acc));
	view_close(v);
}

static void make_text(struct headstand *s, struct vnode *dir, const char *name, const char *text)
{
	struct vnode *v = stand_create(s, dir, name, S_IFREG | 0644);

	put_text(s, v, text);
	vnode_unref(s->vnodes, v);
}

static void make_dir(struct headstand *s, const char *name)
{
	vnode_unref(s->vnodes, stand_create(s, s->root, name, S_IFDIR | 0755));
}

static void assert_text(struct headstand *s, const char *path, const char *want)
{
	struct vnode *v = at(s, path);
	char got[64] = { 0 };

	assert_ok(view_open(v, O_RDONLY, &s->acc));
	assert_int_equal(view_read(v, 0, sizeof(got) - 1, got, &s->acc), strlen(want));
	view_close(v);
	vnode_unref(s->vnodes, v);
	assert_string_equal(got, want);
}

static uint64_t ino_of(struct headstand *s, const char *path)
{
	struct vnode *v = at(s, path);
	uint64_t ino = v->ino;

	vnode_unref(s->vnodes, v);
	return ino;
}

static void assert_follows(struct headstand *s, const struct oid *id)
{
	assert_int_equal(head_follow(s->head, id, &s->acc), 1);
}

static void remount(struct headstand *s)
{
	stand_close(s);
	stand_open(s);
}

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
	assert_int_equal(view_getattr(g, &s.acc, &st), -ESTALE);
	assert_int_equal(view_getattr(f, &s.acc, &st), -ESTALE);
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
	assert_int_equal(view_getattr(v, &s.acc, &st), -ESTALE);
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
