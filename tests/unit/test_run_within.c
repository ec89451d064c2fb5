/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Runs in runs: what the outer one sees of what the inner one has made, and where that ends up.
 */
#include <fcntl.h>

#include "runstand.h"

static void end_as(struct runstand *s, struct run *run, int exit, const char *status)
{
	json_t *a = runstand_end(s, run, exit);

	assert_string_equal(status_in(a), status);
	json_decref(a);
}

static struct runstand make(void)
{
	struct runstand s = runstand_make();

	make_text(&s.h, s.h.root, "in", "1");
	stand_commit(&s.h, NULL);
	return s;
}

static void the_next_one_reads_what_the_first_one_has_made(void **state)
{
	struct runstand s = make();
	struct run *outer = runstand_begin(&s, ""), *a, *b;

	a = runstand_begin_in(&s, outer, "");
	runstand_write(&s, a, "main", "x", "by a");
	assert_in_run(&s, outer, "x", NULL);
	end_as(&s, a, 0, "ok");
	assert_in_run(&s, outer, "x", "by a");
	assert_on_branch(&s, "main", "x", NULL);
	b = runstand_begin_in(&s, outer, "");
	assert_in_run(&s, b, "x", "by a");
	runstand_write(&s, b, "main", "x", "by b");
	runstand_write(&s, b, "main", "y", "by b");
	end_as(&s, b, 0, "ok");
	end_as(&s, outer, 0, "ok");
	assert_on_branch(&s, "main", "x", "by b");
	assert_on_branch(&s, "main", "y", "by b");
	assert_on_branch(&s, "main", "in", "1");
	run_unref(a);
	run_unref(b);
	run_unref(outer);
	runstand_remove(&s);
}

static void it_is_merged_with_what_the_outer_one_has_written_meanwhile(void **state)
{
	struct runstand s = make();
	struct run *outer = runstand_begin(&s, ""), *a, *b;

	runstand_write(&s, outer, "main", "own", "before");
	a = runstand_begin_in(&s, outer, "");
	b = runstand_begin_in(&s, outer, "");
	runstand_write(&s, outer, "main", "own", "after!");
	runstand_write(&s, a, "main", "a", "by a");
	runstand_write(&s, b, "main", "b", "by b");
	end_as(&s, b, 0, "ok");
	end_as(&s, a, 0, "ok");
	assert_in_run(&s, outer, "own", "after!");
	assert_in_run(&s, outer, "a", "by a");
	assert_in_run(&s, outer, "b", "by b");
	end_as(&s, outer, 0, "ok");
	assert_on_branch(&s, "main", "own", "after!");
	assert_on_branch(&s, "main", "a", "by a");
	run_unref(a);
	run_unref(b);
	run_unref(outer);
	runstand_remove(&s);
}

/* Writes a number to a file of one branch, then to one of the other, and so on. */
struct counting {
	struct runstand *s;
	struct vnode *files[2];
	atomic_bool stop;
};

static void *count(void *arg)
{
	struct counting *c = arg;
	struct access acc;

	access_init(&acc, c->s->h.store->reader, true);
	for (unsigned n = 1; !c->stop; n++) {
		char text[8];

		snprintf(text, sizeof(text), "%06u", n % 1000000);
		for (int i = 0; i < 2; i++)
			assert_ok(view_write(c->files[i], 0, span_str(text), false, false, &acc));
	}
	access_release(&acc);
	return NULL;
}

static int number_in(struct runstand *s, struct run *run, const char *branch)
{
	struct vnode *root = runstand_root(s, run, branch);
	_cleanup_free_ char *text = text_below(s, root, "n");

	vnode_unref(s->h.vnodes, root);
	assert_non_null(text);
	return atoi(text);
}

static void it_sees_one_state_of_all_that_the_outer_one_has(void **state)
{
	static const char *const branches[] = { "main", "other" };
	struct runstand s = make();
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	const struct oid base = view_commit(s.h.head);
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct counting c = { .s = &s };
	struct run *outer;
	pthread_t t;

	assert_ok(refs_repo(s.h.store->refs, "r", &w, &rec));
	assert_ok(refs_create_branch(s.h.store->refs, &rec.id, "other", &base, NULL));
	outer = runstand_begin(&s, "");
	for (int i = 0; i < 2; i++) {
		struct vnode *root = runstand_root(&s, outer, branches[i]);

		c.files[i] = stand_create(&s.h, root, "n", S_IFREG | 0644);
		vnode_unref(s.h.vnodes, root);
		put_text(&s.h, c.files[i], "000000");
		assert_ok(view_open(c.files[i], O_RDWR, &s.h.acc));
	}
	assert_ok(pthread_create(&t, NULL, count, &c));
	for (int i = 0; i < 20; i++) {
		struct run *a = runstand_begin_in(&s, outer, "");
		int behind = number_in(&s, a, "main") - number_in(&s, a, "other");

		assert_true(behind == 0 || behind == 1);
		end_as(&s, a, 0, "ok");
		run_unref(a);
	}
	c.stop = true;
	pthread_join(t, NULL);
	for (int i = 0; i < 2; i++) {
		view_close(c.files[i], O_RDWR);
		vnode_unref(s.h.vnodes, c.files[i]);
	}
	end_as(&s, outer, 0, "ok");
	run_unref(outer);
	runstand_remove(&s);
}

static void of_two_that_write_one_file_the_second_is_kept_apart(void **state)
{
	struct runstand s = make();
	struct run *outer = runstand_begin(&s, ""), *a, *b;
	_cleanup_free_ char *kept = NULL;

	a = runstand_begin_in(&s, outer, "");
	b = runstand_begin_in(&s, outer, "");
	runstand_write(&s, a, "main", "f", "by a");
	runstand_write(&s, b, "main", "f", "by b");
	runstand_write(&s, b, "main", "g", "by b");
	end_as(&s, a, 0, "ok");
	end_as(&s, b, 0, "unpublished");
	assert_in_run(&s, outer, "f", "by a");
	assert_in_run(&s, outer, "g", NULL);
	kept = kept_branch(b);
	assert_on_branch(&s, kept, "f", "by b");
	assert_on_branch(&s, kept, "g", "by b");
	end_as(&s, outer, 0, "ok");
	assert_on_branch(&s, "main", "f", "by a");
	run_unref(a);
	run_unref(b);
	run_unref(outer);
	runstand_remove(&s);
}

static void what_an_inner_one_that_fails_has_made_is_not_seen(void **state)
{
	struct runstand s = make();
	struct run *outer = runstand_begin(&s, ""), *a = runstand_begin_in(&s, outer, "");
	_cleanup_free_ char *kept = kept_branch(a);

	runstand_write(&s, a, "main", "x", "half");
	end_as(&s, a, 1, "failed");
	assert_in_run(&s, outer, "x", NULL);
	assert_on_branch(&s, kept, "x", "half");
	end_as(&s, outer, 0, "ok");
	assert_on_branch(&s, "main", "x", NULL);
	run_unref(a);
	run_unref(outer);
	runstand_remove(&s);
}

static void with_an_outer_one_that_fails_it_is_kept(void **state)
{
	struct runstand s = make();
	struct run *outer = runstand_begin(&s, ""), *a = runstand_begin_in(&s, outer, "");
	_cleanup_free_ char *kept = kept_branch(outer);

	runstand_write(&s, a, "main", "x", "whole");
	end_as(&s, a, 0, "ok");
	end_as(&s, outer, 1, "failed");
	assert_on_branch(&s, kept, "x", "whole");
	assert_on_branch(&s, "main", "x", NULL);
	run_unref(a);
	run_unref(outer);
	runstand_remove(&s);
}

static void one_that_outlives_the_outer_one_is_kept_apart(void **state)
{
	struct runstand s = make();
	struct run *outer = runstand_begin(&s, ""), *a = runstand_begin_in(&s, outer, "");
	_cleanup_free_ char *kept = kept_branch(a);

	runstand_write(&s, a, "main", "x", "late");
	end_as(&s, outer, 0, "ok");
	end_as(&s, a, 0, "unpublished");
	assert_on_branch(&s, kept, "x", "late");
	assert_on_branch(&s, "main", "x", NULL);
	run_unref(a);
	run_unref(outer);
	runstand_remove(&s);
}

static void a_file_that_the_outer_one_writes_all_the_while_is_no_hindrance(void **state)
{
	struct runstand s = make();
	struct run *outer = runstand_begin(&s, ""), *a;
	struct vnode *root = runstand_root(&s, outer, "main");
	struct vnode *log = stand_create(&s.h, root, "log", S_IFREG | 0644);

	assert_ok(view_open(log, O_WRONLY, &s.h.acc));
	assert_ok(view_write(log, 0, span_str("begun"), false, false, &s.h.acc));
	a = runstand_begin_in(&s, outer, "");
	runstand_write(&s, a, "main", "x", "by a");
	end_as(&s, a, 0, "ok");
	assert_ok(view_write(log, 5, span_str(" ended"), false, false, &s.h.acc));
	view_close(log, O_WRONLY);
	assert_in_run(&s, outer, "x", "by a");
	assert_in_run(&s, outer, "log", "begun ended");
	vnode_unref(s.h.vnodes, log);
	vnode_unref(s.h.vnodes, root);
	end_as(&s, outer, 0, "ok");
	assert_on_branch(&s, "main", "log", "begun ended");
	run_unref(a);
	run_unref(outer);
	runstand_remove(&s);
}

static void no_file_is_taken_from_the_outer_one_that_writes_it(void **state)
{
	struct runstand s = make();
	struct run *outer = runstand_begin(&s, ""), *a;
	struct vnode *root = runstand_root(&s, outer, "main"), *in;
	_cleanup_free_ char *kept = NULL;
	struct stat st;

	assert_ok(view_lookup(root, span_str("in"), &s.h.acc, &in, &st));
	assert_ok(view_open(in, O_RDWR, &s.h.acc));
	a = runstand_begin_in(&s, outer, "");
	runstand_write(&s, a, "main", "in", "2");
	end_as(&s, a, 0, "unpublished");
	assert_ok(view_write(in, 0, span_str("3"), false, false, &s.h.acc));
	view_close(in, O_RDWR);
	assert_in_run(&s, outer, "in", "3");
	kept = kept_branch(a);
	assert_on_branch(&s, kept, "in", "2");
	vnode_unref(s.h.vnodes, in);
	vnode_unref(s.h.vnodes, root);
	run_unref(a);
	run_unref(outer);
	runstand_remove(&s);
}

static void it_may_not_write_what_the_outer_one_may_not(void **state)
{
	struct runstand s = make();
	const struct new_file f = { .mode = S_IFREG | 0644 };
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	const struct oid base = view_commit(s.h.head);
	struct run *outer, *a;
	struct vnode *root, *v;
	struct stat st;

	assert_ok(refs_repo(s.h.store->refs, "r", &w, &rec));
	assert_ok(refs_create_branch(s.h.store->refs, &rec.id, "other", &base, NULL));
	outer = runstand_begin(&s, "'out': ['r/other']");
	a = runstand_begin_in(&s, outer, "");
	root = runstand_root(&s, a, "main");
	assert_int_equal(view_create(root, span_str("x"), &f, &s.h.acc, &v, &st), -EROFS);
	vnode_unref(s.h.vnodes, root);
	runstand_write(&s, a, "other", "x", "by a");
	end_as(&s, a, 0, "ok");
	end_as(&s, outer, 0, "ok");
	assert_on_branch(&s, "other", "x", "by a");
	run_unref(a);
	run_unref(outer);
	runstand_remove(&s);
}

static void what_it_has_seen_the_outer_one_has_seen(void **state)
{
	struct runstand s = make();
	struct run *outer = runstand_begin(&s, ""), *a = runstand_begin_in(&s, outer, "");
	struct seen *seen = run_seen(a);
	seen_place top = seen_top(seen, "r/main"), dir;
	struct seen_stats before, after;

	dir = seen_name(seen, top, span_str("d"), SEEN_PRESENT);
	seen_mark(seen, seen_name(seen, dir, span_str("f"), SEEN_PRESENT), SEEN_READ);
	seen_name(seen, top, span_str("none"), SEEN_ABSENT);
	seen_stats(run_seen(outer), &before);
	end_as(&s, a, 0, "ok");
	seen_stats(run_seen(outer), &after);
	assert_true(after.places >= before.places + 3);
	run_unref(a);
	run_unref(outer);
	runstand_remove(&s);
}

static void killed_together_each_is_lost_and_nothing_is_published(void **state)
{
	struct runstand s = make();
	struct run *outer = runstand_begin(&s, ""), *a, *b;
	_cleanup_free_ char *of_outer = kept_branch(outer), *of_b = NULL;
	struct oid id;

	a = runstand_begin_in(&s, outer, "");
	runstand_write(&s, a, "main", "x", "by a");
	end_as(&s, a, 0, "ok");
	b = runstand_begin_in(&s, outer, "");
	runstand_write(&s, b, "main", "y", "half");
	of_b = kept_branch(b);
	run_unref(a);
	run_unref(b);
	run_unref(outer);
	runstand_remount(&s);
	while (tip_of_branch(&s, of_outer, &id) < 0 || tip_of_branch(&s, of_b, &id) < 0)
		usleep(10 * 1000);
	assert_on_branch(&s, of_outer, "x", "by a");
	assert_on_branch(&s, of_outer, "y", NULL);
	assert_on_branch(&s, of_b, "y", "half");
	assert_on_branch(&s, "main", "x", NULL);
	runstand_remove(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_next_one_reads_what_the_first_one_has_made),
		cmocka_unit_test(it_is_merged_with_what_the_outer_one_has_written_meanwhile),
		cmocka_unit_test(it_sees_one_state_of_all_that_the_outer_one_has),
		cmocka_unit_test(of_two_that_write_one_file_the_second_is_kept_apart),
		cmocka_unit_test(what_an_inner_one_that_fails_has_made_is_not_seen),
		cmocka_unit_test(with_an_outer_one_that_fails_it_is_kept),
		cmocka_unit_test(one_that_outlives_the_outer_one_is_kept_apart),
		cmocka_unit_test(a_file_that_the_outer_one_writes_all_the_while_is_no_hindrance),
		cmocka_unit_test(no_file_is_taken_from_the_outer_one_that_writes_it),
		cmocka_unit_test(it_may_not_write_what_the_outer_one_may_not),
		cmocka_unit_test(what_it_has_seen_the_outer_one_has_seen),
		cmocka_unit_test(killed_together_each_is_lost_and_nothing_is_published),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
