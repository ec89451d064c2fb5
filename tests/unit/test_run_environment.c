/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a command depends on outside of pfs: digests that are computed once, lists of packages, and
 * both ends of what it prints.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/text.h"
#include "capture.h"
#include "check.h"
#include "run_digest.h"
#include "run_environment.h"
#include "run_packages.h"

static char top[] = "/tmp/pfs-test-environment-XXXXXX";

static int make_top(void **state)
{
	char *cache;

	if (!mkdtemp(top))
		return -1;
	cache = strf("%s/cache", top);
	setenv("XDG_CACHE_HOME", cache, 1);
	setenv("HOME", top, 1);
	unsetenv("PYTHONPATH");
	unsetenv("PYTHONUSERBASE");
	unsetenv("CONDA_PREFIX");
	free(cache);
	return 0;
}

static int remove_top(void **state)
{
	return remove_tree(AT_FDCWD, top);
}

/* A file below the top, an hour old; its path is freed by the caller. */
static char *make(const char *name, const char *text)
{
	struct timespec old[2] = { { .tv_sec = time(NULL) - 3600 },
				   { .tv_sec = time(NULL) - 3600 } };
	char *path = strf("%s/%s", top, name), *dir = strdup(path);

	*strrchr(dir, '/') = '\0';
	mkdir_parents(dir, 0700);
	assert_int_equal(write_file_atomic(AT_FDCWD, path, span_str(text), 0700), 0);
	assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
	free(dir);
	return path;
}

static void a_digest_is_sha256(void **state)
{
	_cleanup_free_ char *path = make("abc", "abc");
	char hex[DIGEST_HEX];

	assert_int_equal(digest_of_file(path, hex), 0);
	assert_string_equal(hex,
			    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_int_equal(digest_of_file("/nowhere", hex), -ENOENT);
	assert_int_equal(digest_of_file("/dev/null", hex), -EINVAL);
}

static void what_is_remembered_of_a_file_goes_when_it_changes(void **state)
{
	struct stat st = { .st_ino = 7, .st_size = 3, .st_mtim.tv_sec = 1000 };
	_cleanup_buf_ struct buf b = { 0 };

	digest_remember("kind", &st, span_str("value"));
	assert_true(digest_recall("kind", &st, &b));
	assert_true(span_equal(buf_span(&b), span_str("value")));
	assert_false(digest_recall("other", &st, &b));
	st.st_mtim.tv_nsec++;
	assert_false(digest_recall("kind", &st, &b));
}

static void what_has_changed_just_now_is_not_remembered(void **state)
{
	struct stat st = { .st_ino = 8, .st_size = 3, .st_mtim.tv_sec = time(NULL) };
	_cleanup_buf_ struct buf b = { 0 };

	digest_remember("kind", &st, span_str("value"));
	assert_false(digest_recall("kind", &st, &b));
}

static void a_damaged_memory_is_none(void **state)
{
	struct stat st = { .st_ino = 9, .st_size = 3, .st_mtim.tv_sec = 1000 };
	_cleanup_buf_ struct buf b = { 0 };
	_cleanup_free_ char *command =
		strf("for f in %s/cache/pfs/programs/*; do printf x >>$f; done", top);
	FILE *p;

	digest_remember("kind", &st, span_str("value"));
	p = popen(command, "r");
	assert_int_equal(pclose(p), 0);
	assert_false(digest_recall("kind", &st, &b));
}

static void assert_text(const struct package_list *l, const char *expected)
{
	assert_true(l->text.len == strlen(expected));
	assert_memory_equal(l->text.data, expected, l->text.len);
}

static void python_packages_are_those_of_the_virtual_environment(void **state)
{
	_cleanup_free_ char *base = make("usr/bin/python3.9", "");
	_cleanup_free_ char *a = make("usr/lib/python3/dist-packages/six-1.0.egg-info/x", "");
	_cleanup_free_ char *b = make("venv/lib/python3.9/site-packages/numpy-1.2.dist-info/x", "");
	_cleanup_free_ char *c = make("venv/lib/python3.9/site-packages/a_b-2-py3.9.egg-info", "");
	_cleanup_free_ char *d = make("usr/lib/python3.8/site-packages/old-1.dist-info/x", "");
	_cleanup_free_ char *cfg =
		make("venv/pyvenv.cfg", "include-system-site-packages = false\n");
	_cleanup_free_ char *venv = strf("%s/venv/bin/python", top),
			    *bin = strf("%s/venv/bin", top);
	struct package_list l;

	mkdir(bin, 0700);
	assert_int_equal(symlink(base, venv), 0);
	assert_int_equal(packages_of_python(venv, &l), 0);
	assert_text(&l, "a_b 2\nnumpy 1.2\n");
	assert_int_equal(l.count, 2);
	package_list_release(&l);
	assert_int_equal(packages_of_python(base, &l), 0);
	assert_text(&l, "six 1.0\n");
	package_list_release(&l);
	assert_int_equal(packages_of_python("/bin/sh", &l), -ENOENT);
	assert_int_equal(packages_of_python("/nowhere", &l), -ENOENT);
}

static void conda_packages_are_those_of_the_active_environment(void **state)
{
	_cleanup_free_ char *a = make("conda/conda-meta/numpy-base-1.2-py39_0.json", "{}");
	_cleanup_free_ char *b = make("conda/conda-meta/history", "");
	_cleanup_free_ char *prefix = strf("%s/conda", top);
	struct package_list l;

	assert_int_equal(packages_of_conda(NULL, &l), -ENOENT);
	setenv("CONDA_PREFIX", prefix, 1);
	assert_int_equal(packages_of_conda(NULL, &l), 0);
	unsetenv("CONDA_PREFIX");
	assert_text(&l, "numpy-base 1.2 py39_0\n");
	package_list_release(&l);
}

static void a_program_in_a_conda_environment_has_the_packages_of_that(void **state)
{
	_cleanup_free_ char *python = make("envs/a/bin/python3.9", "");
	_cleanup_free_ char *a = make("envs/a/conda-meta/six-1.16.0-pyhd3eb1b0_1.json", "{}");
	_cleanup_free_ char *b = make("envs/b/conda-meta/six-1.0-py39_0.json", "{}");
	_cleanup_free_ char *other = strf("%s/envs/b", top);
	struct package_list l;

	setenv("CONDA_PREFIX", other, 1);
	assert_int_equal(packages_of_conda(python, &l), 0);
	assert_text(&l, "six 1.16.0 pyhd3eb1b0_1\n");
	package_list_release(&l);
	/* One elsewhere uses the active environment. */
	assert_int_equal(packages_of_conda("/bin/sh", &l), 0);
	assert_text(&l, "six 1.0 py39_0\n");
	package_list_release(&l);
	unsetenv("CONDA_PREFIX");
}

static void r_packages_are_those_beside_it_of_the_user_and_of_the_variables(void **state)
{
	_cleanup_free_ char *program = make("opt/bin/Rscript", "");
	_cleanup_free_ char *base = make("opt/lib/R/library/stats/DESCRIPTION",
					 "Package: stats\nVersion: 4.2.2\nPriority: base\n");
	_cleanup_free_ char *site = make("opt/lib/R/site-library/Rcpp/DESCRIPTION",
					 "Package: Rcpp\r\nVersion: 1.0.10\r\n");
	_cleanup_free_ char *users =
		make("home/R/x86_64-pc-linux-gnu-library/4.2/dplyr/DESCRIPTION",
		     "Package: dplyr\nVersion: 1.1.0\n");
	_cleanup_free_ char *said = make("project/renv/DESCRIPTION", "Version: 0.17.3\n");
	_cleanup_free_ char *none = make("project/notes/README", "Version: 9\n");
	_cleanup_free_ char *home = strf("%s/home", top), *project = strf("%s/project", top);
	_cleanup_free_ char *was = strdup(getenv("HOME") ?: "/");
	struct package_list l;

	setenv("HOME", home, 1);
	setenv("R_LIBS_USER", project, 1);
	assert_int_equal(packages_of_r(program, &l), 0);
	unsetenv("R_LIBS_USER");
	setenv("HOME", was, 1);
	buf_put_u8(&l.text, '\0');
	for (const char *const *p = (const char *const[]){ "stats 4.2.2\n", "Rcpp 1.0.10\n",
							   "dplyr 1.1.0\n", "renv 0.17.3\n", NULL };
	     *p; p++)
		assert_non_null(strstr((const char *)l.text.data, *p));
	assert_null(strstr((const char *)l.text.data, "notes"));
	package_list_release(&l);
	assert_int_equal(packages_of_r("/bin/sh", &l), -ENOENT);
}

static json_t *environment_of(const char *name, const char *mount)
{
	json_t *request = json_object(), *e;

	run_environment(request, name, mount);
	e = json_incref(json_object_get(request, "environment"));
	assert_true(json_is_object(json_object_get(request, "packages")));
	json_decref(request);
	return e;
}

static void a_script_names_its_interpreter(void **state)
{
	_cleanup_free_ char *script = make("script", "#!/usr/bin/env -S A=1 sh -e\n");
	json_t *e = environment_of(script, "/nowhere");
	const json_t *x = json_object_get(e, "executable"), *i = json_object_get(e, "interpreter");

	assert_string_equal(json_string_value(json_object_get(x, "path")), script);
	assert_int_equal(json_string_length(json_object_get(x, "sha256")), 64);
	assert_true(strstr(json_string_value(json_object_get(i, "path")), "/sh"));
	json_decref(e);
}

static void an_executable_in_the_mount_is_only_named(void **state)
{
	_cleanup_free_ char *program = make("program", "x");
	json_t *e = environment_of(program, top);

	assert_null(json_object_get(json_object_get(e, "executable"), "sha256"));
	json_decref(e);
}

static void a_command_that_there_is_not_has_no_executable(void **state)
{
	json_t *e = environment_of("no-such-command-anywhere", "/nowhere");

	assert_null(json_object_get(e, "executable"));
	json_decref(e);
}

static void assert_capture(const char *text, size_t len, size_t max, size_t head, size_t tail)
{
	struct capture *c = calloc(1, sizeof(*c));
	json_t *j;

	/* In pieces of odd sizes. */
	for (size_t at = 0, n = 1; at < len; at += n, n = n * 3 % 70001 + 1) {
		n = MIN(n, len - at);
		capture_add(c, (const uint8_t *)text + at, n);
	}
	j = capture_json(c, max);
	assert_int_equal(json_integer_value(json_object_get(j, "bytes")), len);
	assert_int_equal(json_string_length(json_object_get(j, "head")), head);
	assert_int_equal(json_string_length(json_object_get(j, "tail")), tail);
	if (len > 0) {
		assert_memory_equal(json_string_value(json_object_get(j, "head")), text, head);
		assert_memory_equal(json_string_value(json_object_get(j, "tail")),
				    text + len - tail, tail);
	}
	json_decref(j);
	free(c);
}

static void both_ends_of_a_stream_are_kept_and_do_not_overlap(void **state)
{
	size_t n = 300000;
	_cleanup_free_ char *text = malloc(n);

	for (size_t i = 0; i < n; i++)
		text[i] = (char)('a' + i % 26);
	assert_capture(text, 0, CAPTURE_MAX, 0, 0);
	assert_capture(text, 100, CAPTURE_MAX, 100, 0);
	assert_capture(text, CAPTURE_MAX, CAPTURE_MAX, CAPTURE_MAX, 0);
	assert_capture(text, CAPTURE_MAX + 5, CAPTURE_MAX, CAPTURE_MAX, 5);
	assert_capture(text, 2 * CAPTURE_MAX, CAPTURE_MAX, CAPTURE_MAX, CAPTURE_MAX);
	assert_capture(text, n, CAPTURE_MAX, CAPTURE_MAX, CAPTURE_MAX);
	assert_capture(text, n, 1000, 1000, 1000);
	assert_capture(text, 1500, 1000, 1000, 500);
}

static void no_character_is_cut(void **state)
{
	size_t n = 200001;
	_cleanup_free_ char *text = malloc(n);

	/* "a", and then two bytes each. */
	text[0] = 'a';
	for (size_t i = 1; i < n; i += 2)
		memcpy(text + i, "\xc3\xa9", 2);
	assert_capture(text, n, CAPTURE_MAX, CAPTURE_MAX - 1, CAPTURE_MAX);
	assert_capture(text, n, 1001, 1001, 1000);
	/* Where both ends meet, the second has what the first lacks. */
	assert_capture(text, 1501, 1000, 999, 502);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_digest_is_sha256),
		cmocka_unit_test(what_is_remembered_of_a_file_goes_when_it_changes),
		cmocka_unit_test(what_has_changed_just_now_is_not_remembered),
		cmocka_unit_test(a_damaged_memory_is_none),
		cmocka_unit_test(python_packages_are_those_of_the_virtual_environment),
		cmocka_unit_test(conda_packages_are_those_of_the_active_environment),
		cmocka_unit_test(a_program_in_a_conda_environment_has_the_packages_of_that),
		cmocka_unit_test(r_packages_are_those_beside_it_of_the_user_and_of_the_variables),
		cmocka_unit_test(a_script_names_its_interpreter),
		cmocka_unit_test(an_executable_in_the_mount_is_only_named),
		cmocka_unit_test(a_command_that_there_is_not_has_no_executable),
		cmocka_unit_test(both_ends_of_a_stream_are_kept_and_do_not_overlap),
		cmocka_unit_test(no_character_is_cut),
	};

	return cmocka_run_group_tests(tests, make_top, remove_top);
}
