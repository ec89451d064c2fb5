/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A store is made once, where nothing else is; it is opened when this version understands it, and
 * where it cannot be, the sentence says why.
 */
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/log.h"
#include "format/key.h"
#include "index/index.h"
#include "object/cache.h"
#include "object/refs.h"
#include "object/store.h"
#include "scratch.h"

struct world {
	struct scratch dir;
	char store[100], state[100];
	struct store_options options;
};

static int world_setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->dir = scratch_make();
	snprintf(w->store, sizeof(w->store), "%s/store", w->dir.path);
	snprintf(w->state, sizeof(w->state), "%s/var/state", w->dir.path);
	w->options.state_dir = w->state;
	log_set_quiet(true);
	complaint_clear();
	*state = w;
	return 0;
}

static int world_teardown(void **state)
{
	struct world *w = *state;

	scratch_remove(&w->dir);
	free(w);
	log_set_quiet(false);
	return 0;
}

static void assert_complaint(const char *part)
{
	if (!strstr(complaint(), part))
		fail_msg("\"%s\" is not in \"%s\"", part, complaint());
}

static int open_error(struct world *w)
{
	struct store *s;
	int r;

	complaint_clear();
	r = store_open(w->store, &w->options, &s);
	assert_true(r < 0);
	return r;
}

static void a_new_store_opens(void **state)
{
	struct world *w = *state;
	struct store *s;

	assert_ok(store_init(w->store, false));
	assert_ok(store_open(w->store, &w->options, &s));
	assert_false(id128_is_null(&s->format.store_id));
	assert_string_equal(s->format.hash, "sha256");
	assert_true(s->format.created > 0);
	assert_non_null(s->index);
	assert_non_null(s->reader);
	assert_non_null(s->refs);
	assert_non_null(s->pool);
	assert_null(s->cache);
	assert_non_null(strchr(s->writer, '@'));
	assert_true(s->state_fd >= 0);
	store_free(s);
}

static void a_store_is_made_once(void **state)
{
	struct world *w = *state;
	struct store *s;
	struct id128 id;

	assert_ok(store_init(w->store, false));
	assert_ok(store_open(w->store, &w->options, &s));
	id = s->format.store_id;
	store_free(s);
	assert_int_equal(store_init(w->store, false), -EEXIST);
	assert_complaint("is a store already");
	assert_ok(store_open(w->store, &w->options, &s));
	assert_memory_equal(&s->format.store_id, &id, sizeof(id));
	store_free(s);
}

static void nor_where_other_things_are(void **state)
{
	static const char *const names[] = { "photo.jpg", "My Photo.jpg", ".hidden",
					     "a/My Photo.jpg" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct world *w = *state;
		char path[200];
		int fd;

		snprintf(w->store, sizeof(w->store), "%s/other%zu", w->dir.path, i);
		assert_int_equal(mkdir(w->store, 0755), 0);
		snprintf(path, sizeof(path), "%s/a", w->store);
		if (strchr(names[i], '/'))
			assert_int_equal(mkdir(path, 0755), 0);
		snprintf(path, sizeof(path), "%s/%s", w->store, names[i]);
		fd = open(path, O_WRONLY | O_CREAT, 0644);
		assert_ok(write_all(fd, "x", 1));
		close(fd);
		if (store_init(w->store, false) != -ENOTEMPTY)
			fail_msg("a store was made beside %s", names[i]);
		assert_complaint("other things");
	}
}

static void an_empty_directory_will_do(void **state)
{
	struct world *w = *state;

	char path[200];

	assert_int_equal(mkdir(w->store, 0755), 0);
	/* As that of a filesystem of its own. */
	snprintf(path, sizeof(path), "%s/lost+found", w->store);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_ok(store_init(w->store, false));
}

static void what_is_no_store_is_said_to_be_none(void **state)
{
	struct world *w = *state;
	int fd;

	assert_int_equal(open_error(w), -ENOENT);
	assert_int_equal(mkdir(w->store, 0755), 0);
	assert_int_equal(open_error(w), -ENOENT);
	assert_complaint("is not a store");
	assert_complaint("pfs init");
	fd = scratch_dir(&w->dir, "store");
	assert_ok(write_file_atomic(fd, "format", span_str("ext4, of course"), 0644));
	close(fd);
	assert_int_equal(open_error(w), -EBADMSG);
	assert_complaint("not a store");
}

/* Puts another `format` in the place of the store's. */
static void set_format(struct world *w, const struct format_rec *f)
{
	_cleanup_buf_ struct buf b = { 0 };
	int fd = scratch_dir(&w->dir, "store");

	assert_ok(format_write(f, &b));
	unlinkat(fd, "format", 0);
	assert_ok(write_file_atomic(fd, "format", buf_span(&b), 0644));
	close(fd);
}

static void a_version_that_is_not_understood_is_not_touched(void **state)
{
	struct world *w = *state;
	struct format_rec f = { .store_id = { { 1 } }, .hash = OID_HASH_NAME };
	_cleanup_buf_ struct buf b = { 0 };
	struct store *s;
	int fd;

	assert_ok(store_init(w->store, false));
	f.incompat = 4;
	set_format(w, &f);
	assert_int_equal(open_error(w), -ENOTSUP);
	assert_complaint("features (0x4)");
	w->options.read_only = true;
	assert_int_equal(open_error(w), -ENOTSUP);

	f.incompat = 0;
	f.ro_compat = 8;
	set_format(w, &f);
	w->options.read_only = false;
	assert_int_equal(open_error(w), -EROFS);
	assert_complaint("read-only");
	w->options.read_only = true;
	assert_ok(store_open(w->store, &w->options, &s));
	assert_true(s->read_only);
	store_free(s);

	f.ro_compat = 0;
	f.compat = ~0ull;
	set_format(w, &f);
	w->options.read_only = false;
	assert_ok(store_open(w->store, &w->options, &s));
	store_free(s);

	strcpy(f.hash, "md5");
	set_format(w, &f);
	assert_int_equal(open_error(w), -ENOTSUP);
	assert_complaint("md5");
	strcpy(f.hash, OID_HASH_NAME);
	strcpy(f.id_key, "key1");
	set_format(w, &f);
	assert_int_equal(open_error(w), -ENOTSUP);

	/* A version that is to come. */
	assert_ok(format_write(&f, &b));
	b.data[4] = 9;
	fd = scratch_dir(&w->dir, "store");
	assert_ok(write_file_atomic(fd, "format", buf_span(&b), 0644));
	close(fd);
	assert_int_equal(open_error(w), -ENOTSUP);
	assert_complaint("newer version");
}

static void a_read_only_store_refuses_changes(void **state)
{
	struct world *w = *state;
	struct repo_rec rec = { .default_branch = "main", .chunk = CHUNK_PARAMS_DEFAULT };
	struct store *s;

	assert_ok(store_init(w->store, false));
	w->options.read_only = true;
	assert_ok(store_open(w->store, &w->options, &s));
	assert_int_equal(refs_create_repo(s->refs, "r", &rec, NULL), -EROFS);
	store_free(s);
}

static void several_may_share_a_state_directory_and_one_has_the_cache(void **state)
{
	struct world *w = *state;
	struct store *a, *b;
	pid_t child;
	int status;

	assert_ok(store_init(w->store, false));
	w->options.cache_bytes = 1 << 20;
	assert_ok(store_open(w->store, &w->options, &a));
	assert_non_null(a->cache);
	assert_ok(store_open(w->store, &w->options, &b));
	assert_null(b->cache);
	assert_ptr_equal(a->index, b->index);
	store_free(b);
	store_free(a);

	child = fork();
	if (child == 0) {
		assert_ok(store_open(w->store, &w->options, &b));
		_exit(b->cache ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_ok(store_open(w->store, &w->options, &a));
	assert_non_null(a->cache);
	store_free(a);
}

static void another_store_may_use_the_same_state_directory_later(void **state)
{
	struct world *w = *state;
	struct pack_entry e = { .offset = 32, .frame_len = 100, .kind = OID_CHUNK, .len = 5 };
	struct id128 pack = { { 1 } };
	struct store *s;

	assert_ok(store_init(w->store, false));
	assert_ok(store_open(w->store, &w->options, &s));
	assert_ok(index_add_pack(s->index, &pack, &e, 1));
	store_free(s);
	assert_ok(remove_tree(w->dir.fd, "store"));
	assert_ok(store_init(w->store, false));
	assert_ok(store_open(w->store, &w->options, &s));
	assert_false(index_knows_pack(s->index, &pack));
	store_free(s);
}

/* Runs @fn as somebody who is not root, with a home. */
static int as_a_user(struct world *w, int (*fn)(struct world *w))
{
	char home[200];
	pid_t child;
	int status;

	snprintf(home, sizeof(home), "%s/home", w->dir.path);
	mkdir(home, 0777);
	chmod(home, 0777);
	chmod(w->dir.path, 0755);
	child = fork();
	if (child == 0) {
		if (geteuid() == 0 && setuid(65534) < 0)
			_exit(100);
		unsetenv("XDG_CACHE_HOME");
		setenv("HOME", home, 1);
		_exit(fn(w));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int open_at_home(struct world *w)
{
	char path[300], hex[ID128_HEX];
	struct store *s;

	w->options.state_dir = NULL;
	w->options.read_only = true;
	if (store_open(w->store, &w->options, &s) < 0)
		return 1;
	snprintf(path, sizeof(path), "%s/.cache/pfs/%s/index", getenv("HOME"),
		 id128_hex(&s->format.store_id, hex));
	if (access(path, F_OK) < 0)
		return 2;
	store_free(s);
	return access(path, F_OK) < 0 ? 3 : 0;
}

static int open_without_home(struct world *w)
{
	_cleanup_free_ char *dir = NULL;
	struct store *s;

	w->options.state_dir = NULL;
	w->options.read_only = true;
	setenv("HOME", "/proc/none", 1);
	if (store_open(w->store, &w->options, &s) < 0 || !s->temporary)
		return 1;
	dir = strdup(s->temporary);
	if (access(dir, F_OK) < 0)
		return 2;
	store_free(s);
	return access(dir, F_OK) == 0 ? 3 : 0;
}

static int open_closed_door(struct world *w)
{
	struct store *s;
	int r;

	w->options.state_dir = NULL;
	r = store_open(w->store, &w->options, &s);
	return r == -EACCES ? 0 : 1;
}

static void a_user_has_his_caches_at_home(void **state)
{
	struct world *w = *state;

	assert_ok(mkdir(w->store, 0755));
	assert_ok(store_init(w->store, false));
	assert_int_equal(as_a_user(w, open_at_home), 0);
}

static void who_has_no_home_needs_none(void **state)
{
	struct world *w = *state;

	assert_ok(mkdir(w->store, 0755));
	assert_ok(store_init(w->store, false));
	assert_int_equal(as_a_user(w, open_without_home), 0);
}

static void who_may_not_read_a_store_is_told_so(void **state)
{
	struct world *w = *state;

	if (geteuid() != 0)
		skip();
	assert_ok(store_init(w->store, false));
	assert_int_equal(chmod(w->store, 0700), 0);
	assert_int_equal(as_a_user(w, open_closed_door), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_new_store_opens),
		TEST(a_store_is_made_once),
		TEST(nor_where_other_things_are),
		TEST(an_empty_directory_will_do),
		TEST(what_is_no_store_is_said_to_be_none),
		TEST(a_version_that_is_not_understood_is_not_touched),
		TEST(a_read_only_store_refuses_changes),
		TEST(several_may_share_a_state_directory_and_one_has_the_cache),
		TEST(another_store_may_use_the_same_state_directory_later),
		TEST(a_user_has_his_caches_at_home),
		TEST(who_has_no_home_needs_none),
		TEST(who_may_not_read_a_store_is_told_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
