/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What was found out of a server is noted for its store alone, and not for ever.
 */
#include <fcntl.h>
#include <inttypes.h>

#include "base/deadline.h"
#include "base/fdio.h"
#include "base/text.h"
#include "object/trust.h"
#include "scratch.h"

#define URL "s3://lab/pfs?endpoint=http://minio:9000"

static int set_up(void **state)
{
	struct scratch *s = new0(struct scratch, 1);

	*s = scratch_make();
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	scratch_remove(*state);
	free(*state);
	return 0;
}

static int open_scratch(void **state)
{
	int fd = open(((struct scratch *)*state)->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void a_note_holds_for_its_own_url(void **state)
{
	_cleanup_close_ int fd = open_scratch(state);

	assert_false(trust_is_noted(fd, URL));
	trust_note(fd, URL);
	assert_true(trust_is_noted(fd, URL));
	assert_false(trust_is_noted(fd, URL "1"));
	assert_false(trust_is_noted(fd, "s3://lab/pfs?endpoint=http://minio:900"));
	assert_false(trust_is_noted(fd, "s3://lab/pfs"));
}

static void an_old_note_and_one_from_the_future_do_not_hold(void **state)
{
	static const int64_t ages_s[] = { 31 * 24 * 3600, -3600 };
	_cleanup_close_ int fd = open_scratch(state);

	for (size_t i = 0; i < ARRAY_SIZE(ages_s); i++) {
		_cleanup_free_ char *line = strf("probed %" PRId64 " " URL "\n",
						 (int64_t)now_wall().tv_sec - ages_s[i]);

		assert_ok(write_file_atomic(fd, TRUST_FILE, span_str(line), 0600));
		assert_false(trust_is_noted(fd, URL));
	}
}

static void a_note_that_makes_no_sense_does_not_hold(void **state)
{
	static const char *const notes[] = { "", "probed", "probed x " URL "\n", "probed 1",
					     "probed " URL "\n" };
	_cleanup_close_ int fd = open_scratch(state);

	for (size_t i = 0; i < ARRAY_SIZE(notes); i++) {
		assert_ok(write_file_atomic(fd, TRUST_FILE, span_str(notes[i]), 0600));
		assert_false(trust_is_noted(fd, URL));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_note_holds_for_its_own_url, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_old_note_and_one_from_the_future_do_not_hold,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_note_that_makes_no_sense_does_not_hold, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
