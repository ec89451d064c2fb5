/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What transfer/transfer.h promises of local directories.
 */
#include <sys/mount.h>

#include "nosync.h"
#include "transferstand.h"

enum {
	SOME = 300, /* small files of a tree */
	STOPS = 25,
};

static void a_tree_comes_back_as_it_was(void **state)
{
	struct transferstand *s = *state;
	_cleanup_free_ char *src = place_of(s, "src"), *out = place_of(s, "out");
	struct prng r = { 1 };
	struct oid id;

	localtree_make(&r, src, SOME);
	id = import_new(s, src, "");
	assert_ok(export_to(s, &id, "", out));
	assert_int_equal(s->skipped, 0);
	assert_same_trees(src, out);
}

static void the_same_again_makes_no_commit(void **state)
{
	struct transferstand *s = *state;
	_cleanup_free_ char *src = place_of(s, "src"), *file = place_of(s, "src/of 256 bytes");
	struct prng r = { 2 };
	struct oid first, id;
	bool is_new = true;

	localtree_make(&r, src, SOME);
	first = import_new(s, src, "");
	assert_ok(import_with(s, (struct import_request){ .src = src, .path = "" }, &id, &is_new));
	assert_false(is_new);
	assert_true(oid_equal(&id, &first));
	assert_ok(chmod(file, 0600));
	id = import_new(s, src, "");
	assert_false(oid_equal(&id, &first));
}

static void a_name_is_given_to_what_is_there_already(void **state)
{
	struct transferstand *s = *state;
	_cleanup_free_ char *src = place_of(s, "src"), *file = place_of(s, "src/f");
	struct import_request q = { .src = src, .path = "", .name = "first" };
	struct oid first, id;
	bool is_new = true;

	localtree_write(file, "x", 1);
	first = import_new(s, src, "");
	assert_ok(import_with(s, q, &id, &is_new));
	assert_false(is_new);
	assert_true(oid_equal(&id, &first));
	localtree_write(file, "y", 1);
	assert_int_equal(import_with(s, q, &id, &is_new), -EEXIST);
	q.name = "no/name";
	assert_int_equal(import_with(s, q, &id, &is_new), -EINVAL);
	id = tip_of(s);
	assert_true(oid_equal(&id, &first));
}

static void what_is_not_in_the_source_is_gone_unless_it_is_kept(void **state)
{
	struct transferstand *s = *state;
	_cleanup_free_ char *a = place_of(s, "a"), *b = place_of(s, "b"), *out = place_of(s, "out");
	_cleanup_free_ char *both = place_of(s, "both");
	_cleanup_free_ char *a1 = place_of(s, "a/d/one"), *b2 = place_of(s, "b/d/two");
	_cleanup_free_ char *ax = place_of(s, "a/x/y"), *bx = place_of(s, "b/x");
	_cleanup_free_ char *c1 = place_of(s, "both/d/one"), *c2 = place_of(s, "both/d/two");
	_cleanup_free_ char *cx = place_of(s, "both/x"), *gone = place_of(s, "gone");
	struct import_request q = { .path = "", .keep = true };
	struct timespec t[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	struct oid id;
	bool is_new;

	localtree_write(a1, "1", 1);
	localtree_write(ax, "dir", 3);
	localtree_write(b2, "2", 1);
	localtree_write(bx, "file", 4);
	localtree_write(c1, "1", 1);
	localtree_write(c2, "2", 1);
	localtree_write(cx, "file", 4);
	/* Times are the last one's. */
	for (size_t i = 0; i < 3; i++) {
		const char *const tops[] = { a, b, both };
		static const char *const names[] = { "d/one", "d/two", "x", "d", "" };

		for (size_t k = 0; k < ARRAY_SIZE(names); k++) {
			_cleanup_free_ char *path = strf("%s/%s", tops[i], names[k]);

			utimensat(AT_FDCWD, path, t, 0);
		}
	}
	import_new(s, a, "");
	q.src = b;
	assert_ok(import_with(s, q, &id, &is_new));
	assert_ok(export_to(s, &id, "", out));
	assert_same_trees(both, out);
	id = import_new(s, b, "");
	assert_ok(export_to(s, &id, "", gone));
	assert_same_trees(b, gone);
}

static void an_import_below_a_path_leaves_the_rest(void **state)
{
	struct transferstand *s = *state;
	_cleanup_free_ char *src = place_of(s, "src"), *other = place_of(s, "other");
	_cleanup_free_ char *file = place_of(s, "other/f"), *out = place_of(s, "out");
	_cleanup_free_ char *sub = place_of(s, "sub"), *deep = place_of(s, "src/deep/new");
	struct prng r = { 3 };
	struct oid id;
	bool is_new;

	localtree_make(&r, src, 20);
	localtree_write(file, "other", 5);
	import_new(s, src, "");
	id = import_new(s, other, "deep/new");
	assert_ok(export_to(s, &id, "deep/new", sub));
	assert_same_trees(other, sub);
	assert_ok(export_to(s, &id, "deep/new/", out));
	assert_same_trees(other, out);
	assert_ok(remove_tree(AT_FDCWD, out));
	/* All the rest is as it was, but for the time of the directory it went to. */
	assert_ok(export_to(s, &id, "", out));
	assert_ok(rename(sub, deep));
	{
		_cleanup_free_ char *want = place_of(s, "src/deep"), *got = place_of(s, "out/deep");
		struct stat st;

		assert_ok(stat(got, &st));
		assert_true(st.st_mtim.tv_sec > time(NULL) - 1000);
		assert_ok(utimensat(AT_FDCWD, want, (struct timespec[]){ st.st_atim, st.st_mtim },
				    0));
	}
	assert_same_trees(src, out);
	assert_int_equal(import_with(s, (struct import_request){ .src = src, .path = "no/where" },
				     &id, &is_new),
			 -ENOENT);
	assert_int_equal(import_with(s, (struct import_request){ .src = src, .path = "symlink/x" },
				     &id, &is_new),
			 -ENOTDIR);
	assert_int_equal(import_with(s, (struct import_request){ .src = src, .path = "deep/.." },
				     &id, &is_new),
			 -EINVAL);
}

static void a_single_file_goes_where_the_path_says(void **state)
{
	struct transferstand *s = *state;
	_cleanup_free_ char *dir = place_of(s, "dir"), *file = place_of(s, "dir/f");
	_cleanup_free_ char *out = place_of(s, "out"), *to = place_of(s, "out/g");
	_cleanup_free_ char *want = place_of(s, "want"), *want_g = place_of(s, "want/g");
	struct stat st;
	struct oid id;
	bool is_new;

	localtree_write(file, "content", 7);
	import_new(s, dir, "");
	id = import_new(s, file, "g");
	assert_ok(mkdir(out, 0755));
	assert_ok(export_to(s, &id, "g", to));
	assert_ok(rename(dir, want));
	{
		_cleanup_free_ char *f = place_of(s, "want/f");

		assert_ok(rename(f, want_g));
	}
	assert_ok(stat(want, &st));
	assert_ok(utimensat(AT_FDCWD, out, (struct timespec[]){ st.st_atim, st.st_mtim }, 0));
	assert_same_trees(want, out);
	assert_int_equal(
		import_with(s, (struct import_request){ .src = want_g, .path = "" }, &id, &is_new),
		-ENOTDIR);
	assert_int_equal(export_to(s, &id, "g", out), -EEXIST);
	assert_int_equal(export_to(s, &id, "h", to), -ENOENT);
}

/* What a name's link count is in a fresh export of @path. */
static nlink_t names_of(struct transferstand *s, const struct oid *id, const char *path,
			const char *name)
{
	_cleanup_free_ char *out = place_of(s, "counted"), *file = strf("%s/%s", out, name);
	struct stat st;

	assert_ok(export_to(s, id, path, out));
	assert_ok(lstat(file, &st));
	assert_ok(remove_tree(AT_FDCWD, out));
	return st.st_nlink;
}

static void hard_links_end_where_the_import_does(void **state)
{
	struct transferstand *s = *state;
	_cleanup_free_ char *src = place_of(s, "src"), *a = place_of(s, "src/a");
	_cleanup_free_ char *one = place_of(s, "src/a/one"), *two = place_of(s, "src/a/two");
	_cleanup_free_ char *b = place_of(s, "src/b/three"), *bdir = place_of(s, "src/b");
	struct oid id;

	localtree_write(one, "shared", 6);
	assert_ok(mkdir(bdir, 0755));
	assert_ok(link(one, two));
	assert_ok(link(one, b));
	id = import_new(s, src, "");
	assert_int_equal(names_of(s, &id, "", "b/three"), 3);
	assert_int_equal(names_of(s, &id, "a", "one"), 2);
	/* The two names that are imported are a file of their own from here on. */
	localtree_write(one, "changed", 7);
	id = import_new(s, a, "a");
	assert_int_equal(names_of(s, &id, "", "b/three"), 1);
	assert_int_equal(names_of(s, &id, "", "a/two"), 2);
	/* And with one of them gone it is no link any more, nor again when all are imported. */
	assert_ok(unlink(two));
	id = import_new(s, a, "a");
	assert_int_equal(names_of(s, &id, "", "a/one"), 1);
	id = import_new(s, src, "");
	assert_int_equal(names_of(s, &id, "", "a/one"), 2);
	assert_int_equal(names_of(s, &id, "", "b/three"), 2);
}

/* Takes a file away when the first one is being read. */
static void take_away(const struct transfer_progress *p, void *ctx)
{
	unlink(ctx);
}

static void leave_out(const char *path, int error, void *ctx)
{
}

/* What was to take the place of a linked file's names came to nothing: the file must not go. */
static void a_linked_file_stays_whole_when_what_replaces_it_is_left_out(void **state)
{
	struct transferstand *s = *state;
	_cleanup_free_ char *src = place_of(s, "src"), *more = place_of(s, "more");
	_cleanup_free_ char *x = place_of(s, "src/x"), *y = place_of(s, "src/y");
	_cleanup_free_ char *first = place_of(s, "more/first"), *x2 = place_of(s, "more/x");
	_cleanup_free_ char *y2 = place_of(s, "more/y"), *out = place_of(s, "out");
	struct import_request q = {
		.src = more, .repo = "r", .branch = "main", .path = "", .keep = true
	};
	struct transfer_options o = { .progress = take_away, .skipped = leave_out, .ctx = x2 };
	struct oid id, tip;
	bool is_new;

	localtree_write(x, "shared", 6);
	assert_ok(link(x, y));
	id = import_new(s, src, "");
	localtree_write(first, "1", 1);
	localtree_write(x2, "2", 1);
	localtree_write(y2, "3", 1);
	assert_int_equal(transfer_import(s->store, &q, &o, &id, &is_new), -ESTALE);
	tip = tip_of(s);
	assert_ok(export_to(s, &tip, "", out));
	assert_same_trees(src, out);
}

/* Sets a flag after a while. */
struct stopper {
	pthread_t thread;
	atomic_bool *flag;
	unsigned us;
};

static void *stop_later(void *arg)
{
	struct stopper *x = arg;

	usleep(x->us);
	*x->flag = true;
	return NULL;
}

static void stop_after(struct stopper *x, struct transferstand *s, unsigned us)
{
	*x = (struct stopper){ .flag = &s->cancelled, .us = us };
	assert_ok(pthread_create(&x->thread, NULL, stop_later, x));
}

static void stopper_end(struct stopper *x, struct transferstand *s)
{
	assert_ok(pthread_join(x->thread, NULL));
	s->cancelled = false;
}

static unsigned time_of_export(struct transferstand *s, const struct oid *id)
{
	_cleanup_free_ char *out = place_of(s, "timed");
	int64_t start = now_ns();

	assert_ok(export_to(s, id, "", out));
	start = now_ns() - start;
	assert_ok(remove_tree(AT_FDCWD, out));
	return (unsigned)(start / 1000);
}

static void a_stopped_export_is_completed(void **state)
{
	struct transferstand *s = *state;
	_cleanup_free_ char *src = place_of(s, "src"), *out = place_of(s, "out");
	struct prng r = { 4 };
	unsigned us, stopped = 0;
	struct oid id;

	localtree_make(&r, src, SOME);
	id = import_new(s, src, "");
	us = time_of_export(s, &id);
	for (unsigned i = 0; i < STOPS; i++) {
		struct stopper x;
		int e = -ECANCELED;

		for (unsigned k = 0; k < 3 && e == -ECANCELED; k++) {
			stop_after(&x, s, (unsigned)prng_below(&r, us));
			e = export_to(s, &id, "", out);
			stopper_end(&x, s);
			assert_true(e == 0 || e == -ECANCELED);
			stopped += e == -ECANCELED;
			/* The one that was timed may have been slow. */
			us = e == 0 ? us / 2 + 1 : us;
		}
		assert_ok(export_to(s, &id, "", out));
		assert_int_equal(s->skipped, 0);
		assert_same_trees(src, out);
		assert_ok(remove_tree(AT_FDCWD, out));
	}
	assert_true(stopped > 0);
}

static void a_stopped_import_changes_nothing(void **state)
{
	struct transferstand *s = *state;
	_cleanup_free_ char *src = place_of(s, "src"), *out = place_of(s, "out");
	struct prng r = { 5 };
	int64_t start;
	unsigned us, stopped = 0;
	struct oid id, before;
	bool is_new;

	localtree_make(&r, src, SOME);
	start = now_ns();
	before = import_new(s, src, "again");
	us = (unsigned)((now_ns() - start) / 1000);
	for (unsigned i = 0; i < STOPS; i++) {
		struct stopper x;
		struct oid tip;
		int e;

		stop_after(&x, s, (unsigned)prng_below(&r, us));
		e = import_with(s, (struct import_request){ .src = src, .path = "d" }, &id,
				&is_new);
		stopper_end(&x, s);
		/* Stopped in the branch's swap, it cannot say whether that was done. */
		assert_true(e == 0 || e == -ECANCELED || e == -EINPROGRESS);
		stopped += e == -ECANCELED;
		us = e == 0 ? us / 2 + 1 : us;
		tip = tip_of(s);
		if (e != -EINPROGRESS)
			assert_true(oid_equal(&tip, e == 0 ? &id : &before));
		before = tip;
	}
	assert_true(stopped > 0);
	assert_ok(import_with(s, (struct import_request){ .src = src, .path = "d" }, &id, &is_new));
	assert_ok(export_to(s, &id, "d", out));
	assert_same_trees(src, out);
}

static void an_export_completes_what_differs_and_leaves_the_rest(void **state)
{
	struct transferstand *s = *state;
	_cleanup_free_ char *src = place_of(s, "src"), *out = place_of(s, "out");
	_cleanup_free_ char *changed = place_of(s, "out/of 257 bytes");
	_cleanup_free_ char *same = place_of(s, "out/of 256 bytes");
	_cleanup_free_ char *foreign = place_of(s, "out/foreign");
	struct prng r = { 6 };
	struct stat before, after;
	struct oid id;

	localtree_make(&r, src, 10);
	id = import_new(s, src, "");
	assert_ok(export_to(s, &id, "", out));
	assert_ok(stat(same, &before));
	assert_ok(unlink(changed));
	localtree_write(changed, "shorter", 7);
	localtree_write(foreign, "mine", 4);
	assert_ok(export_to(s, &id, "", out));
	assert_ok(stat(same, &after));
	assert_int_equal(before.st_ino, after.st_ino);
	assert_ok(unlink(foreign));
	assert_ok(export_to(s, &id, "", out));
	assert_same_trees(src, out);
}

static void nothing_in_the_destination_leads_an_export_out_of_it(void **state)
{
	struct transferstand *s = *state;
	_cleanup_free_ char *src = place_of(s, "src"), *out = place_of(s, "out");
	_cleanup_free_ char *f = place_of(s, "src/dir/f"), *g = place_of(s, "src/g");
	_cleanup_free_ char *h = place_of(s, "src/h"), *away = place_of(s, "away");
	_cleanup_free_ char *dir = place_of(s, "out/dir"), *to_g = place_of(s, "out/g");
	_cleanup_free_ char *to_h = place_of(s, "out/h"), *kept = place_of(s, "away/kept");
	_cleanup_free_ char *h_in = place_of(s, "out/h/in");
	struct stat st;
	struct oid id;

	localtree_write(f, "f", 1);
	localtree_write(g, "g", 1);
	localtree_write(h, "h", 1);
	localtree_write(kept, "kept", 4);
	id = import_new(s, src, "");
	assert_ok(mkdir(out, 0755));
	assert_ok(symlink(away, dir));
	assert_ok(symlink(kept, to_g));
	localtree_write(h_in, "x", 1);
	assert_int_equal(export_to(s, &id, "", out), -EREMOTEIO);
	assert_int_equal(s->skipped, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(s->skipped_errors[i], -EEXIST);
	assert_int_equal(localtree_count(away), 2);
	assert_ok(stat(kept, &st));
	assert_int_equal(st.st_size, 4);
	assert_ok(lstat(to_g, &st));
	assert_true(S_ISLNK(st.st_mode));
	assert_ok(stat(to_h, &st));
	assert_true(S_ISDIR(st.st_mode));
}

static void another_filesystem_below_may_be_left_out(void **state)
{
	struct transferstand *s = *state;
	_cleanup_free_ char *src = place_of(s, "src"), *at = place_of(s, "src/at");
	_cleanup_free_ char *f = place_of(s, "src/at/f"), *out = place_of(s, "out");
	struct import_request q = { .src = src, .path = "", .one_file_system = true };
	struct oid id;
	bool is_new;
	int r;

	assert_ok(mkdir(src, 0755));
	assert_ok(mkdir(at, 0755));
	if (mount("none", at, "tmpfs", 0, "") < 0)
		skip();
	localtree_write(f, "x", 1);
	r = import_with(s, q, &id, &is_new);
	if (r == 0)
		r = export_to(s, &id, "", out);
	assert_ok(umount2(at, MNT_DETACH));
	assert_ok(r);
	assert_int_equal(localtree_count(out), 2);
}

static void only_directories_and_files_are_imported(void **state)
{
	struct transferstand *s = *state;
	struct import_request q = { .src = "/dev/null", .path = "x" };
	struct oid id;
	bool is_new;

	assert_int_equal(import_with(s, q, &id, &is_new), -ENOTDIR);
	q.src = "/no/such";
	assert_int_equal(import_with(s, q, &id, &is_new), -ENOENT);
	q.src = s->scratch.path;
	q.branch = "other";
	assert_int_equal(import_with(s, q, &id, &is_new), -ENOENT);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, transferstand_set_up, transferstand_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_tree_comes_back_as_it_was),
		TEST(the_same_again_makes_no_commit),
		TEST(a_name_is_given_to_what_is_there_already),
		TEST(what_is_not_in_the_source_is_gone_unless_it_is_kept),
		TEST(an_import_below_a_path_leaves_the_rest),
		TEST(a_single_file_goes_where_the_path_says),
		TEST(hard_links_end_where_the_import_does),
		TEST(a_linked_file_stays_whole_when_what_replaces_it_is_left_out),
		TEST(a_stopped_export_is_completed),
		TEST(a_stopped_import_changes_nothing),
		TEST(an_export_completes_what_differs_and_leaves_the_rest),
		TEST(nothing_in_the_destination_leads_an_export_out_of_it),
		TEST(another_filesystem_below_may_be_left_out),
		TEST(only_directories_and_files_are_imported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
