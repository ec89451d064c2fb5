/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What only a directory can do wrong: names, modes, users, what is not ours. What happens to
 * writers that die is in test_backend_crash.c, the order of syncs in test_backend_sync.c.
 */
#include <sys/file.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"
#include "filestand.h"

static mode_t mode_of(const struct stand *s, const char *path)
{
	struct stat st;

	assert_ok(fstatat(s->dir.fd, path, &st, AT_SYMLINK_NOFOLLOW));
	return st.st_mode & 07777;
}

static void an_object_is_a_file_at_its_keys_path(void **state)
{
	struct stand *s = *state;
	_cleanup_buf_ struct buf b = { 0 };

	put(s->backend, "heads/0123/main", "hello");
	assert_ok(read_file(s->dir.fd, "heads/0123/main", 100, &b));
	assert_true(span_equal(buf_span(&b), span_str("hello")));
	assert_int_equal(temporaries(s), 0);
}

static void the_roots_mode_and_no_umask_says_who_may_use_the_store(void **state)
{
	struct stand *s = *state;
	mode_t before;
	struct etag tag;

	backend_free(s->backend);
	assert_ok(fchmod(s->dir.fd, 03770));
	s->backend = open_at(s->dir.path);
	before = umask(077);
	put(s->backend, "packs/ab/x", "hello");
	assert_ok(s->backend->ops->swap(s->backend, "heads/r/m", NULL, span_str("1"), NULL, &tag));
	umask(before);
	assert_int_equal(mode_of(s, "packs"), 02770);
	assert_int_equal(mode_of(s, "packs/ab"), 02770);
	assert_int_equal(mode_of(s, "tmp"), 02770);
	assert_int_equal(mode_of(s, "packs/ab/x"), 0440);
	assert_int_equal(mode_of(s, "heads/r/m"), 0440);
	assert_int_equal(mode_of(s, "tmp/lock"), 0440);
}

static void what_was_left_to_fewer_becomes_as_the_root_says(void **state)
{
	struct stand *s = *state;

	backend_free(s->backend);
	assert_ok(fchmod(s->dir.fd, 02770));
	/* as by a writer with a umask that died before it could say more */
	assert_ok(mkdirat(s->dir.fd, "packs", 0700));
	if (mkdirat(s->dir.fd, "tmp", 0700) < 0)
		assert_ok(fchmodat(s->dir.fd, "tmp", 0700, 0));
	s->backend = open_at(s->dir.path);
	put(s->backend, "packs/ab/x", "hello");
	assert_int_equal(mode_of(s, "packs"), 02770);
	assert_int_equal(mode_of(s, "tmp"), 02770);
}

static void a_directory_is_made_only_when_asked_for(void **state)
{
	struct backend_options opts = { 0 };
	struct stand *s = *state;
	_cleanup_free_ char *path = strf("%s/a/b/c", s->dir.path);
	_cleanup_free_ char *file = strf("%s/file", s->dir.path);
	_cleanup_free_ char *url = strf("file://%s/a/b/c", s->dir.path);
	bool was_quiet = log_set_quiet(true);
	struct backend *b;

	assert_int_equal(backend_open(path, &opts, &b), -ENOENT);
	opts.create = opts.read_only = true;
	assert_int_equal(backend_open(path, &opts, &b), -ENOENT);
	opts.read_only = false;
	assert_ok(backend_open(path, &opts, &b));
	put(b, "format", "x");
	assert_string_equal(b->url, url);
	backend_free(b);
	opts.create = false;
	assert_ok(backend_open(url, &opts, &b));
	assert_text(b, "format", "x");
	backend_free(b);
	put(s->backend, "file", "x");
	assert_int_equal(backend_open(file, &opts, &b), -ENOTDIR);
	log_set_quiet(was_quiet);
}

static void a_directory_that_is_made_is_its_owners_however_it_is_written(void **state)
{
	static const char *const paths[] = { "a/b", "c/d/", "e/f//" };
	struct stand *s = *state;
	mode_t before = umask(0);

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		_cleanup_free_ char *path = strf("%s/%s", s->dir.path, paths[i]);

		backend_free(open_at(path));
		assert_int_equal(mode_of(s, paths[i]), 0700);
	}
	umask(before);
}

static void a_url_of_another_kind_is_refused(void **state)
{
	static const char *const bad[] = { "",		 "s3://No_Bucket", "file://host/dir",
					   "file://dir", "file://",	   "http://x" };
	bool was_quiet = log_set_quiet(true);
	struct backend *b;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		complaint_clear();
		assert_int_equal(backend_open(bad[i], &writable, &b), -EINVAL);
		assert_true(strlen(complaint()) > 0);
	}
	log_set_quiet(was_quiet);
}

static void a_reader_changes_nothing(void **state)
{
	static const struct backend_options opts = { .read_only = true };
	struct stand *s = *state;
	struct backend *b = s->backend;
	struct backend_put *p;
	struct etag tag;

	put(b, "format", "x");
	assert_ok(remove_tree(s->dir.fd, "tmp"));
	backend_free(b);
	assert_ok(backend_open(s->dir.path, &opts, &s->backend));
	b = s->backend;
	assert_int_equal(b->ops->put(b, "a", span_str("x"), NULL), -EROFS);
	assert_int_equal(b->ops->put_begin(b, "a", &p), -EROFS);
	assert_int_equal(b->ops->swap(b, "a", NULL, span_str("x"), NULL, &tag), -EROFS);
	assert_int_equal(b->ops->remove(b, "format", NULL), -EROFS);
	assert_text(b, "format", "x");
	assert_int_equal(faccessat(s->dir.fd, "tmp", F_OK, 0), -1);
	assert_int_equal(faccessat(s->dir.fd, "a", F_OK, 0), -1);
}

static void who_may_not_write_is_told_so_when_the_store_is_opened(void **state)
{
	static const struct backend_options reader = { .read_only = true };
	struct stand *s = *state;
	struct backend *b = NULL;
	bool was_quiet;
	char text[64];
	int w, r, g;

	if (geteuid() != 0)
		skip();
	assert_ok(fchmod(s->dir.fd, 0755));
	backend_free(s->backend);
	s->backend = open_at(s->dir.path);
	put(s->backend, "format", "x");

	was_quiet = log_set_quiet(true);
	assert_ok(seteuid(65534));
	w = backend_open(s->dir.path, &writable, &b);
	r = backend_open(s->dir.path, &reader, &b);
	g = r == 0 ? get_text(b, "format", text) : r;
	assert_ok(seteuid(0));
	log_set_quiet(was_quiet);
	assert_int_equal(w, -EACCES);
	assert_ok(r);
	assert_ok(g);
	assert_string_equal(text, "x");
	backend_free(b);
}

static int count(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	++*(unsigned *)ctx;
	return 0;
}

static void what_is_no_object_of_ours_is_neither_read_nor_listed(void **state)
{
	struct stand *s = *state;
	struct backend *b = s->backend;
	unsigned n = 0;
	char text[64];
	uint64_t size;

	put(b, "a/real", "x");
	assert_ok(symlinkat("real", s->dir.fd, "a/link"));
	assert_ok(mkfifoat(s->dir.fd, "a/fifo", 0600));
	assert_ok(mkdirat(s->dir.fd, "a/lost+found", 0700));
	assert_ok(mknodat(s->dir.fd, "a/back~", S_IFREG | 0600, 0));
	assert_ok(mknodat(s->dir.fd, "a/lost+found/x", S_IFREG | 0600, 0));
	assert_ok(mkdirat(s->dir.fd, "empty", 0700));
	assert_int_equal(get_text(b, "a/link", text), -ENOENT);
	assert_int_equal(get_text(b, "a/fifo", text), -ENOENT);
	assert_int_equal(get_text(b, "a", text), -ENOENT);
	assert_int_equal(b->ops->head(b, "a/link", NULL, &size), -ENOENT);
	assert_ok(b->ops->list(b, "", NULL, count, &n, NULL));
	assert_int_equal(n, 1);
}

static void a_key_below_an_object_is_refused_and_harms_nothing(void **state)
{
	struct stand *s = *state;
	struct backend *b = s->backend;
	struct etag tag;

	put(b, "a", "x");
	put(b, "b/c", "x");
	assert_int_equal(b->ops->put(b, "a/b", span_str("y"), NULL), -EINVAL);
	assert_int_equal(b->ops->put(b, "b", span_str("y"), NULL), -EINVAL);
	assert_int_equal(b->ops->swap(b, "a/b", NULL, span_str("y"), NULL, &tag), -EINVAL);
	assert_ok(b->ops->remove(b, "b", NULL));
	assert_ok(b->ops->remove(b, "a/b", NULL));
	assert_text(b, "a", "x");
	assert_text(b, "b/c", "x");
	assert_int_equal(temporaries(s), 0);
}

static void a_root_that_was_moved_is_noticed(void **state)
{
	struct stand *s = *state;
	_cleanup_free_ char *store = strf("%s/store", s->dir.path);
	_cleanup_free_ char *moved = strf("%s/moved", s->dir.path);
	struct backend *b = open_at(store);
	bool was_quiet = log_set_quiet(true);
	struct backend_put *p;
	struct etag tag;
	unsigned n = 0;
	char text[64];

	put(b, "there", "x");
	assert_ok(b->ops->put_begin(b, "late", &p));
	assert_ok(rename(store, moved));
	for (int i = 0; i < 2; i++) {
		assert_int_equal(b->ops->put(b, "a", span_str("x"), NULL), -EIO);
		assert_int_equal(b->ops->swap(b, "a", NULL, span_str("x"), NULL, &tag), -EIO);
		assert_int_equal(b->ops->remove(b, "there", NULL), -EIO);
		assert_int_equal(b->ops->list(b, "", NULL, count, &n, NULL), -EIO);
		assert_int_equal(get_text(b, "a", text), -EIO);
		assert_text(b, "there", "x");
		/* the second time with another directory in its place */
		if (i == 0)
			assert_ok(mkdir(store, 0700));
	}
	assert_int_equal(b->ops->put_end(p, NULL), -EIO);
	assert_ok(rmdir(store));
	assert_ok(rename(moved, store));
	put(b, "a", "y");
	assert_text(b, "a", "y");
	assert_int_equal(get_text(b, "late", text), -ENOENT);
	backend_free(b);
	log_set_quiet(was_quiet);
}

static void directories_that_were_tidied_away_come_back(void **state)
{
	struct stand *s = *state;
	struct backend *b = s->backend;
	struct etag tag;

	put(b, "packs/ab/x", "x");
	assert_ok(remove_tree(s->dir.fd, "packs"));
	put(b, "packs/ab/y", "y");
	assert_ok(remove_tree(s->dir.fd, "packs"));
	assert_ok(remove_tree(s->dir.fd, "tmp"));
	assert_ok(b->ops->swap(b, "packs/ab/z", NULL, span_str("z"), NULL, &tag));
	assert_text(b, "packs/ab/z", "z");
}

static void a_swap_waits_for_the_lock_no_longer_than_it_may(void **state)
{
	struct stand *s = *state;
	struct backend *b = s->backend;
	struct deadline dl;
	struct etag tag;
	int fd;

	assert_ok(b->ops->swap(b, "a", NULL, span_str("x"), NULL, &tag));
	fd = openat(s->dir.fd, "tmp/lock", O_RDONLY);
	assert_ok(flock(fd, LOCK_EX));
	dl = deadline_in_ms(50);
	assert_int_equal(b->ops->swap(b, "a", &tag, span_str("y"), &dl, &tag), -ETIME);
	assert_text(b, "a", "x");
	/* one that was removed with its holder still alive locks nobody out */
	assert_ok(unlinkat(s->dir.fd, "tmp/lock", 0));
	assert_ok(b->ops->swap(b, "a", &tag, span_str("z"), NULL, &tag));
	assert_text(b, "a", "z");
	close(fd);
	assert_int_equal(temporaries(s), 0);
}

static void *swap_briefly(void *arg)
{
	struct backend *b = arg;
	struct deadline dl = deadline_in_ms(400);
	struct etag tag;

	return (void *)(intptr_t)b->ops->swap(b, "a", NULL, span_str("y"), &dl, &tag);
}

static void who_waited_for_a_lock_that_was_removed_waits_for_its_successor(void **state)
{
	struct stand *s = *state;
	struct timespec t = { .tv_nsec = 50000000 };
	pthread_t waiter;
	int fd, successor;
	void *r;

	put(s->backend, "b", "x");
	fd = openat(s->dir.fd, "tmp/lock", O_RDONLY | O_CREAT, 0600);
	assert_ok(flock(fd, LOCK_EX));
	assert_ok(thread_start(&waiter, "waiter", swap_briefly, s->backend));
	nanosleep(&t, NULL);
	assert_ok(unlinkat(s->dir.fd, "tmp/lock", 0));
	successor = openat(s->dir.fd, "tmp/lock", O_RDONLY | O_CREAT, 0600);
	assert_ok(flock(successor, LOCK_EX));
	close(fd);
	pthread_join(waiter, &r);
	assert_int_equal((int)(intptr_t)r, -ETIME);
	close(successor);
}

static void there_is_as_much_space_as_the_disk_has(void **state)
{
	struct stand *s = *state;
	uint64_t space = s->backend->ops->space(s->backend);

	assert_true(space > 0 && space < UINT64_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_object_is_a_file_at_its_keys_path),
		TEST(the_roots_mode_and_no_umask_says_who_may_use_the_store),
		TEST(what_was_left_to_fewer_becomes_as_the_root_says),
		TEST(a_directory_is_made_only_when_asked_for),
		TEST(a_directory_that_is_made_is_its_owners_however_it_is_written),
		TEST(a_url_of_another_kind_is_refused),
		TEST(a_reader_changes_nothing),
		TEST(who_may_not_write_is_told_so_when_the_store_is_opened),
		TEST(what_is_no_object_of_ours_is_neither_read_nor_listed),
		TEST(a_key_below_an_object_is_refused_and_harms_nothing),
		TEST(a_root_that_was_moved_is_noticed),
		TEST(directories_that_were_tidied_away_come_back),
		TEST(a_swap_waits_for_the_lock_no_longer_than_it_may),
		TEST(who_waited_for_a_lock_that_was_removed_waits_for_its_successor),
		TEST(there_is_as_much_space_as_the_disk_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
