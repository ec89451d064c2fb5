/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Mount options, of fs/options.h.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "check.h"
#include "options.h"

static int setup(void **state)
{
	static struct mount_options o;

	log_set_quiet(true);
	complaint_clear();
	mount_options_init(&o);
	*state = &o;
	return 0;
}

static int teardown(void **state)
{
	mount_options_release(*state);
	return 0;
}

static void sizes_numbers_and_words_are_read(void **state)
{
	struct mount_options *o = *state;

	assert_int_equal(mount_options_parse(o, "memory=1G,disk=512M,refresh=500,threads=3,ro,"
						"placement=off,max_nodes=5000,state=/x"),
			 0);
	assert_int_equal(o->memory_bytes, GiB);
	assert_int_equal(o->disk_bytes, 512 * MiB);
	assert_int_equal(o->refresh_ms, 500);
	assert_int_equal(o->threads, 3);
	assert_int_equal(o->max_nodes, 5000);
	assert_true(o->read_only);
	assert_false(o->placement);
	assert_string_equal(o->state_dir, "/x");
}

static void a_later_option_wins(void **state)
{
	struct mount_options *o = *state;

	assert_int_equal(mount_options_parse(o, "ro,suid,state=/a"), 0);
	assert_int_equal(mount_options_parse(o, "rw,nosuid,state=/b"), 0);
	assert_false(o->read_only);
	assert_false(o->allow_suid);
	assert_string_equal(o->state_dir, "/b");
}

static void what_others_read_is_ignored(void **state)
{
	assert_int_equal(mount_options_parse(*state, "defaults,noatime,_netdev,nofail,auto,,"
						     "x-systemd.requires=net,comment=a b"),
			 0);
	assert_int_equal(mount_options_parse(*state, ""), 0);
}

static void check_refused(struct mount_options *o, const char *text, const char *named)
{
	complaint_clear();
	assert_int_equal(mount_options_parse(o, text), -EINVAL);
	if (!strstr(complaint(), named))
		fail_msg("%s: `%s` does not name %s", text, complaint(), named);
}

static void a_wrong_option_is_named(void **state)
{
	check_refused(*state, "ro,memroy=1G", "`memroy`");
	check_refused(*state, "memory=1X", "memory=1X");
	check_refused(*state, "memory=1K", "memory=1K");
	check_refused(*state, "memory=1K", "at least");
	check_refused(*state, "memory=999999999999999999G", "more than there can be");
	check_refused(*state, "max_nodes=99999999999999999999", "more than there can be");
	check_refused(*state, "threads=1000", "threads=1000");
	check_refused(*state, "refresh=", "refresh=");
	check_refused(*state, "ro=1", "`ro`");
	check_refused(*state, "state", "`state`");
	check_refused(*state, "state=", "`state=`");
	check_refused(*state, "placement=maybe", "`placement`");
}

static void the_state_directory_depends_on_store_and_place(void **state)
{
	struct mount_options *o = *state;
	_cleanup_free_ char *a = NULL, *b = NULL, *c = NULL, *again = NULL;

	setenv("XDG_STATE_HOME", "/tmp/xdg", 1);
	assert_int_equal(mount_options_set_places(o, "s3://bucket", "/a"), 0);
	a = mount_state_dir(o);
	assert_int_equal(mount_options_set_places(o, "s3://bucket", "/b"), 0);
	b = mount_state_dir(o);
	assert_int_equal(mount_options_set_places(o, "s3://other", "/a"), 0);
	c = mount_state_dir(o);
	assert_int_equal(mount_options_set_places(o, "s3://bucket", "/a"), 0);
	again = mount_state_dir(o);
	assert_string_not_equal(a, b);
	assert_string_not_equal(a, c);
	assert_string_equal(a, again);
}

static void a_store_that_is_a_path_becomes_a_url(void **state)
{
	struct mount_options *o = *state;

	assert_int_equal(mount_options_set_places(o, "/no/such/place", "/"), 0);
	assert_string_equal(o->store, "file:///no/such/place");
	assert_string_equal(o->mount_point, "/");
	assert_int_equal(mount_options_set_places(o, "s3://b/p?endpoint=http://x:1", "/"), 0);
	assert_string_equal(o->store, "s3://b/p?endpoint=http://x:1");
}

/* What has no state directory of its own would seem to have lost what is uncommitted. */
static void a_place_is_the_same_however_it_is_written(void **state)
{
	static const char *const stores[] = { "%s/store",	   "%s/store/",
					      "%s//store",	   "%s/./store",
					      "%s/link",	   "file://%s/store",
					      "file://%s/store//", "file://%s/link" };
	static const char *const places[] = { "%s/none", "%s/none/", "%s/./none//", "%s/up/none" };
	struct mount_options *o = *state;
	char dir[] = "/tmp/pfs-options-XXXXXX";
	_cleanup_free_ char *real = NULL, *store = NULL, *link = NULL, *up = NULL;
	_cleanup_free_ char *wanted_store = NULL, *wanted_place = NULL;

	assert_non_null(mkdtemp(dir));
	real = realpath(dir, NULL);
	store = strf("%s/store", dir);
	link = strf("%s/link", dir);
	up = strf("%s/up", dir);
	wanted_store = strf("file://%s/store", real);
	wanted_place = strf("%s/none", real);
	assert_ok(mkdir(store, 0700));
	assert_ok(symlink("store", link));
	assert_ok(symlink(".", up));
	for (size_t i = 0; i < ARRAY_SIZE(stores); i++) {
		_cleanup_free_ char *s = NULL, *p = NULL;

		assert_true(asprintf(&s, stores[i], dir) > 0);
		assert_true(asprintf(&p, places[i % ARRAY_SIZE(places)], dir) > 0);
		assert_ok(mount_options_set_places(o, s, p));
		assert_string_equal(o->store, wanted_store);
		assert_string_equal(o->mount_point, wanted_place);
	}
	assert_ok(unlink(link));
	assert_ok(unlink(up));
	assert_ok(rmdir(store));
	assert_ok(rmdir(dir));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sizes_numbers_and_words_are_read, setup, teardown),
		cmocka_unit_test_setup_teardown(a_later_option_wins, setup, teardown),
		cmocka_unit_test_setup_teardown(what_others_read_is_ignored, setup, teardown),
		cmocka_unit_test_setup_teardown(a_wrong_option_is_named, setup, teardown),
		cmocka_unit_test_setup_teardown(the_state_directory_depends_on_store_and_place,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_store_that_is_a_path_becomes_a_url, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_place_is_the_same_however_it_is_written, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
