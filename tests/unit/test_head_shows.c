/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whether a read of a file would show any of its base (head/pin.h).
 */
#include "followstand.h"
#include "head/pin.h"

static bool shows_base(struct headstand *s, const char *path)
{
	struct vnode *v = at(s, path);
	bool shows = view_shows_base(v, &s->acc);

	vnode_unref(s->vnodes, v);
	return shows;
}

static void write_at(struct headstand *s, const char *path, uint64_t off, const char *text)
{
	struct vnode *v = at(s, path);

	assert_ok(view_open(v, O_RDWR, &s->acc));
	assert_ok(view_write(v, off, span_str(text), false, false, &s->acc));
	view_close(v, O_RDWR);
	vnode_unref(s->vnodes, v);
}

static void truncate_at(struct headstand *s, const char *path, uint64_t size)
{
	struct setattr a = { .what = SETATTR_SIZE, .size = size };
	struct vnode *v = at(s, path);
	struct stat st;

	assert_ok(view_setattr(v, &a, &s->acc, &st));
	vnode_unref(s->vnodes, v);
}

static void a_file_shows_its_base_until_all_of_it_was_written(void **state)
{
	struct headstand s = stand_make();

	make_text(&s, s.root, "f", "abcdef");
	make_text(&s, s.root, "g", "abcdef");
	make_text(&s, s.root, "empty", "");
	stand_commit(&s, NULL);
	assert_true(shows_base(&s, "f"));
	assert_true(shows_base(&s, "empty"));
	write_at(&s, "f", 0, "ABC");
	assert_true(shows_base(&s, "f"));
	write_at(&s, "f", 5, "F");
	assert_true(shows_base(&s, "f"));
	write_at(&s, "f", 3, "DE");
	assert_false(shows_base(&s, "f"));
	/* What was cut off does not come back. */
	truncate_at(&s, "g", 3);
	assert_true(shows_base(&s, "g"));
	truncate_at(&s, "g", 0);
	truncate_at(&s, "g", 100);
	assert_false(shows_base(&s, "g"));
	make_text(&s, s.root, "new", "abc");
	assert_false(shows_base(&s, "new"));
	/* Under another name it is the same file. */
	assert_ok(view_rename(s.root, span_str("empty"), s.root, span_str("e"), 0, &s.acc));
	stand_commit(&s, NULL);
	assert_ok(view_rename(s.root, span_str("f"), s.root, span_str("h"), 0, &s.acc));
	assert_true(shows_base(&s, "h"));
	stand_remove(&s);
}

static void a_file_of_many_pieces_is_looked_through_to_its_end(void **state)
{
	struct headstand s = stand_make();
	char *bytes = new0(char, 5000);

	assert_non_null(bytes);
	memset(bytes, 'a', 4999);
	make_text(&s, s.root, "f", bytes);
	stand_commit(&s, NULL);
	/* From the end, so that no piece continues another. */
	for (unsigned off = 4999; off-- > 1;)
		write_at(&s, "f", off, "b");
	assert_true(shows_base(&s, "f"));
	write_at(&s, "f", 0, "b");
	assert_false(shows_base(&s, "f"));
	free(bytes);
	stand_remove(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_shows_its_base_until_all_of_it_was_written),
		cmocka_unit_test(a_file_of_many_pieces_is_looked_through_to_its_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
