/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a run has published comes to the mount's own head, also where that could not take it in at
 * the run's end: it had a file of the run's open for writing, or was written to all the time.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "runstand.h"

enum {
	PATIENCE_MS = 60 * 1000,
};

static struct runstand make(void)
{
	struct runstand s = runstand_make();

	make_text(&s.h, s.h.root, "f", "before");
	make_text(&s.h, s.h.root, "log", "0");
	stand_commit(&s.h, NULL);
	return s;
}

static struct vnode *open_to_write(struct runstand *s, const char *path)
{
	struct vnode *v = at(&s->h, path);

	assert_ok(view_open(v, O_RDWR, &s->h.acc));
	return v;
}

static void close_written(struct runstand *s, struct vnode *v)
{
	view_close(v, O_RDWR);
	vnode_unref(s->h.vnodes, v);
}

static void change(struct runstand *s, const char *path, const char *text)
{
	struct vnode *v = at(&s->h, path);

	put_text(&s->h, v, text);
	vnode_unref(s->h.vnodes, v);
}

static void remove_file(struct runstand *s, const char *name)
{
	assert_ok(view_unlink(s->h.root, span_str(name), &s->h.acc));
}

/* Has the mount's head that under @path? @want NULL: nothing. */
static bool shows(struct runstand *s, const char *path, const char *want)
{
	_cleanup_free_ char *got = text_below(s, s->h.root, path);

	return got && want ? strcmp(got, want) == 0 : got == want;
}

static void wait_until_shown(struct runstand *s, const char *path, const char *want)
{
	struct deadline dl = deadline_in_ms(PATIENCE_MS);

	while (!shows(s, path, want)) {
		assert_ok(deadline_check(&dl));
		usleep(2000);
	}
}

static void end_well(struct runstand *s, struct run *run)
{
	json_t *a = runstand_end(s, run, 0);

	assert_string_equal(status_in(a), "ok");
	json_decref(a);
}

static struct run_id forget(struct run *run)
{
	const struct run_id id = *run_id(run);

	run_forgotten(run);
	run_unref(run);
	return id;
}

/* A run that writes these, each with `made`, has ended well, and nobody has its view. */
static struct run_id run_that_makes(struct runstand *s, const char *a, const char *b)
{
	struct run *run = runstand_begin(s, "");

	runstand_write(s, run, "main", a, "made");
	if (b)
		runstand_write(s, run, "main", b, "made");
	end_well(s, run);
	return forget(run);
}

static bool is_dirty(struct runstand *s)
{
	struct head_activity a;

	head_activity(s->h.head, &a);
	return a.is_dirty;
}

static void it_comes_when_the_file_is_closed(void **state)
{
	struct runstand s = make();
	struct vnode *v = open_to_write(&s, "log");
	struct run_id id = run_that_makes(&s, "log", "out");

	assert_on_branch(&s, "main", "out", "made");
	assert_true(shows(&s, "out", NULL));
	assert_true(shows(&s, "log", "0"));
	close_written(&s, v);
	wait_until_shown(&s, "out", "made");
	assert_true(shows(&s, "log", "made"));
	assert_false(is_dirty(&s));
	wait_until_gone(&s, &id);
	runstand_remove(&s);
}

static void so_it_does_where_something_is_uncommitted(void **state)
{
	struct runstand s = make();
	struct vnode *v;
	struct run_id id;

	make_text(&s.h, s.h.root, "notes", "mine");
	v = open_to_write(&s, "log");
	id = run_that_makes(&s, "log", "out");
	assert_true(shows(&s, "out", NULL));
	change(&s, "notes", "more");
	close_written(&s, v);
	wait_until_shown(&s, "out", "made");
	assert_true(shows(&s, "log", "made"));
	assert_true(shows(&s, "notes", "more"));
	assert_true(is_dirty(&s));
	wait_until_gone(&s, &id);
	assert_on_branch(&s, "main", "notes", NULL);
	runstand_remove(&s);
}

/* Somebody who writes to a file of the head all the time. */
struct writer {
	struct runstand *s;
	struct vnode *v;
	atomic_bool is_over;
	pthread_t thread;
};

static void *go_on_writing(void *arg)
{
	struct writer *w = arg;
	struct access acc;
	unsigned n = 0;

	access_init(&acc, w->s->h.store->reader, true);
	acc.deadline = DEADLINE_NEVER;
	while (!w->is_over) {
		char text[16];

		snprintf(text, sizeof(text), "%u", n++);
		if (view_write(w->v, 0, span_str(text), false, false, &acc) < 0)
			break;
	}
	access_release(&acc);
	return NULL;
}

static void writer_start(struct writer *w, struct runstand *s)
{
	*w = (struct writer){ .s = s, .v = open_to_write(s, "log") };
	assert_int_equal(pthread_create(&w->thread, NULL, go_on_writing, w), 0);
}

static void writer_stop(struct writer *w)
{
	w->is_over = true;
	pthread_join(w->thread, NULL);
	close_written(w->s, w->v);
}

static void it_comes_when_the_head_is_not_written_to_all_the_time_any_more(void **state)
{
	struct runstand s = make();
	struct writer w;
	struct run *run;
	struct run_id id;

	remove_file(&s, "f");
	run = runstand_begin(&s, "");
	runstand_write(&s, run, "main", "f", "before");
	runstand_write(&s, run, "main", "out", "made");
	writer_start(&w, &s);
	usleep(20 * 1000);
	end_well(&s, run);
	id = forget(run);
	writer_stop(&w);
	wait_until_shown(&s, "out", "made");
	assert_true(shows(&s, "f", "before"));
	wait_until_gone(&s, &id);
	commit_main(&s);
	assert_on_branch(&s, "main", "f", "before");
	assert_on_branch(&s, "main", "out", "made");
	runstand_remove(&s);
}

/* `f` was removed, and is made again by a run whose results cannot be taken in: @ret is open. */
static struct run_id make_f_again(struct runstand *s, const char *text, struct vnode **ret)
{
	struct run *run;

	remove_file(s, "f");
	run = runstand_begin(s, "");
	runstand_write(s, run, "main", "f", text);
	runstand_write(s, run, "main", "log", "made");
	*ret = open_to_write(s, "log");
	end_well(s, run);
	assert_true(shows(s, "f", NULL));
	return forget(run);
}

static void what_was_removed_before_is_there_again(void **state)
{
	struct runstand s = make();
	struct vnode *v;
	struct run_id id = make_f_again(&s, "before", &v);

	close_written(&s, v);
	wait_until_shown(&s, "f", "before");
	wait_until_gone(&s, &id);
	assert_false(is_dirty(&s));
	runstand_remove(&s);
}

static void a_commit_made_at_once_does_not_remove_it(void **state)
{
	struct runstand s = make();
	struct vnode *v;
	struct run_id id = make_f_again(&s, "before", &v);

	close_written(&s, v);
	commit_main(&s);
	assert_true(shows(&s, "f", "before"));
	assert_on_branch(&s, "main", "f", "before");
	assert_on_branch(&s, "main", "log", "made");
	wait_until_gone(&s, &id);
	runstand_remove(&s);
}

static void nor_does_one_diverge_where_it_was_made_otherwise(void **state)
{
	struct runstand s = make();
	struct commit_result res;
	struct vnode *v;
	struct run_id id = make_f_again(&s, "made", &v);

	close_written(&s, v);
	make_text(&s.h, s.h.root, "notes", "mine");
	res = commit_main(&s);
	assert_int_equal(res.standing, HEAD_ON_BRANCH);
	assert_on_branch(&s, "main", "f", "made");
	assert_on_branch(&s, "main", "notes", "mine");
	wait_until_gone(&s, &id);
	runstand_remove(&s);
}

static void a_commit_made_while_it_cannot_come_settles_it(void **state)
{
	struct runstand s = make();
	struct commit_result res;
	struct vnode *v;
	struct run_id id;

	v = open_to_write(&s, "log");
	id = run_that_makes(&s, "log", "out");
	make_text(&s.h, s.h.root, "notes", "mine");
	res = commit_main(&s);
	assert_int_equal(res.standing, HEAD_ON_BRANCH);
	wait_until_gone(&s, &id);
	assert_on_branch(&s, "main", "out", "made");
	assert_on_branch(&s, "main", "log", "made");
	assert_on_branch(&s, "main", "notes", "mine");
	close_written(&s, v);
	/* As after any merge, it follows its branch. */
	assert_follows(&s.h, &res.tip);
	assert_true(shows(&s, "out", "made"));
	runstand_remove(&s);
}

static void a_run_that_is_begun_at_once_sees_it(void **state)
{
	struct runstand s = make();
	struct vnode *v;
	struct run *run;

	make_text(&s.h, s.h.root, "notes", "mine");
	v = open_to_write(&s, "log");
	run_that_makes(&s, "log", "out");
	close_written(&s, v);
	run = runstand_begin(&s, "");
	assert_in_run(&s, run, "out", "made");
	assert_in_run(&s, run, "notes", "mine");
	end_well(&s, run);
	forget(run);
	runstand_remove(&s);
}

static void what_was_changed_here_since_stays(void **state)
{
	struct runstand s = make();
	struct vnode *v = open_to_write(&s, "log");
	struct run_id id = run_that_makes(&s, "log", "out");

	assert_ok(view_write(v, 0, span_str("mine"), false, false, &s.h.acc));
	close_written(&s, v);
	wait_until_gone(&s, &id);
	assert_true(shows(&s, "log", "mine"));
	assert_on_branch(&s, "main", "log", "made");
	runstand_remove(&s);
}

static void it_comes_after_a_kill_as_well(void **state)
{
	struct runstand s = make();
	struct vnode *v;
	struct run_id id = make_f_again(&s, "made", &v);

	make_text(&s.h, s.h.root, "notes", "mine");
	close_written(&s, v);
	runstand_remount(&s);
	wait_until_shown(&s, "f", "made");
	assert_true(shows(&s, "log", "made"));
	assert_true(shows(&s, "notes", "mine"));
	wait_until_gone(&s, &id);
	runstand_remove(&s);
}

static void it_comes_once(void **state)
{
	struct runstand s = make();
	struct vnode *v;
	struct run *run;

	make_text(&s.h, s.h.root, "notes", "mine");
	run = runstand_begin(&s, "");
	runstand_write(&s, run, "main", "log", "made");
	runstand_write(&s, run, "main", "out", "made");
	v = open_to_write(&s, "log");
	end_well(&s, run);
	close_written(&s, v);
	wait_until_shown(&s, "out", "made");
	remove_file(&s, "out");
	/* Its view is still in use; the next mount has the run as well. */
	run_unref(run);
	runstand_remount(&s);
	usleep(200 * 1000);
	assert_true(shows(&s, "out", NULL));
	commit_main(&s);
	assert_on_branch(&s, "main", "out", NULL);
	assert_on_branch(&s, "main", "log", "made");
	runstand_remove(&s);
}

static void of_several_runs_each_comes(void **state)
{
	struct runstand s = make();
	struct vnode *v;
	struct run *a, *b;
	struct run_id ids[2];

	remove_file(&s, "f");
	a = runstand_begin(&s, "");
	b = runstand_begin(&s, "");
	runstand_write(&s, a, "main", "a", "made");
	runstand_write(&s, b, "main", "b", "made");
	runstand_write(&s, b, "main", "f", "before");
	runstand_write(&s, b, "main", "log", "made");
	v = open_to_write(&s, "log");
	/* The second one to begin is the first to end. */
	end_well(&s, b);
	end_well(&s, a);
	assert_true(shows(&s, "a", NULL));
	ids[0] = forget(a);
	ids[1] = forget(b);
	close_written(&s, v);
	wait_until_shown(&s, "a", "made");
	wait_until_shown(&s, "b", "made");
	wait_until_shown(&s, "f", "before");
	wait_until_gone(&s, &ids[0]);
	wait_until_gone(&s, &ids[1]);
	assert_true(shows(&s, "log", "made"));
	assert_false(is_dirty(&s));
	runstand_remove(&s);
}

static void a_mount_that_ends_does_not_wait_for_it(void **state)
{
	struct runstand s = make();
	struct vnode *v = open_to_write(&s, "log");
	struct deadline dl = deadline_in_ms(10 * 1000);

	run_that_makes(&s, "log", "out");
	runs_stop(s.runs);
	assert_ok(deadline_check(&dl));
	close_written(&s, v);
	runstand_remove(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_comes_when_the_file_is_closed),
		cmocka_unit_test(so_it_does_where_something_is_uncommitted),
		cmocka_unit_test(it_comes_when_the_head_is_not_written_to_all_the_time_any_more),
		cmocka_unit_test(what_was_removed_before_is_there_again),
		cmocka_unit_test(a_commit_made_at_once_does_not_remove_it),
		cmocka_unit_test(nor_does_one_diverge_where_it_was_made_otherwise),
		cmocka_unit_test(a_commit_made_while_it_cannot_come_settles_it),
		cmocka_unit_test(a_run_that_is_begun_at_once_sees_it),
		cmocka_unit_test(what_was_changed_here_since_stays),
		cmocka_unit_test(it_comes_after_a_kill_as_well),
		cmocka_unit_test(it_comes_once),
		cmocka_unit_test(of_several_runs_each_comes),
		cmocka_unit_test(a_mount_that_ends_does_not_wait_for_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
