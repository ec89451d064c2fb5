/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inodes and the entries of leaves, as bytes.
 */
#include "check.h"
#include "format/entry.h"

static const struct oid some_id = { { 1, 2, 3 } };

static struct inode an_inode(uint8_t type)
{
	struct inode ino = {
		.type = type,
		.mode = 0644,
		.uid = 1000,
		.gid = 100,
		.mtime = { 1700000000, 999999999 },
		.ctime = { -1, 0 },
	};

	switch (type) {
	case FT_REG:
		ino.content = (struct content){ .id = some_id, .size = 5, .data = 5 };
		break;
	case FT_LNK:
		ino.content = (struct content){ .id = some_id, .size = 7, .data = 7 };
		break;
	case FT_DIR:
		ino.dir = (struct tree_root){ some_id, LOC_NOWHERE, { 3, 1, 4, 15, 0, true } };
		break;
	case FT_CHR:
	case FT_BLK:
		ino.dev.major = 8;
		ino.dev.minor = 1;
		break;
	}
	return ino;
}

/* Writes, and reads as @type. */
static int write_and_read(const struct inode *ino, uint8_t type, struct buf *b, struct inode *ret)
{
	struct cursor c;
	int r;

	buf_clear(b);
	inode_put(b, ino);
	c = cursor_of(buf_span(b));
	r = inode_read(&c, type, ret);
	return r == 0 && !cursor_at_end(&c) ? -EMSGSIZE : r;
}

static void every_type_of_inode_reads_as_it_was_written(void **state)
{
	for (uint8_t type = FT_REG; type <= FT_SOCK; type++) {
		_cleanup_buf_ struct buf b = { 0 };
		struct inode ino = an_inode(type), got;

		assert_int_equal(write_and_read(&ino, type, &b, &got), 0);
		assert_true(inode_equal(&ino, &got));

		ino.xattrs.list = span_of("\1a\1\0\0\0x", 7);
		assert_int_equal(write_and_read(&ino, type, &b, &got), 0);
		assert_true(inode_equal(&ino, &got));

		ino.xattrs = (struct xattrs){ .large_len = XATTR_LIST_LIMIT, .large = some_id };
		assert_int_equal(write_and_read(&ino, type, &b, &got), 0);
		assert_true(inode_equal(&ino, &got));
	}
}

static void every_inode_cut_short_is_refused(void **state)
{
	for (uint8_t type = FT_REG; type <= FT_SOCK; type++) {
		_cleanup_buf_ struct buf b = { 0 };
		struct inode ino = an_inode(type), got;

		ino.xattrs.list = span_of("\1a\1\0\0\0x", 7);
		inode_put(&b, &ino);
		for (size_t len = 0; len < b.len; len++) {
			struct cursor c = cursor_of(span_of(b.data, len));

			assert_int_equal(inode_read(&c, type, &got), -EBADMSG);
		}
	}
}

/* Every change of a single byte is either refused, or is another inode that is written just so. */
static void no_two_byte_strings_are_the_same_inode(void **state)
{
	unsigned accepted = 0, refused = 0;

	for (uint8_t type = FT_REG; type <= FT_SOCK; type++) {
		_cleanup_buf_ struct buf b = { 0 }, again = { 0 };
		struct inode ino = an_inode(type), got;

		ino.xattrs.list = span_of("\1a\1\0\0\0x", 7);
		inode_put(&b, &ino);
		for (size_t i = 0; i < 256 * b.len; i++) {
			uint8_t was = b.data[i / 256];
			struct cursor c = cursor_of(buf_span(&b));

			b.data[i / 256] = (uint8_t)i;
			if (inode_read(&c, type, &got) < 0 || !cursor_at_end(&c)) {
				refused++;
			} else {
				buf_clear(&again);
				inode_put(&again, &got);
				assert_true(span_equal(buf_span(&again), buf_span(&b)));
				assert_int_equal(inode_equal(&got, &ino), was == (uint8_t)i);
				accepted++;
			}
			b.data[i / 256] = was;
		}
	}
	assert_true(accepted > 10000 && refused > 1000);
}

static void refuse(struct inode ino, uint8_t type)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct inode got;

	assert_int_equal(write_and_read(&ino, type, &b, &got), -EBADMSG);
}

static void common_rules_are_held(void **state)
{
	struct inode ino = an_inode(FT_FIFO);

	ino.mode = 010000;
	refuse(ino, FT_FIFO);
	ino = an_inode(FT_FIFO);
	ino.mtime.nsec = 1000000000;
	refuse(ino, FT_FIFO);
	ino = an_inode(FT_FIFO);
	ino.ctime.nsec = UINT32_MAX;
	refuse(ino, FT_FIFO);
	refuse(an_inode(FT_FIFO), 0);
	refuse(an_inode(FT_FIFO), 8);
	refuse(an_inode(FT_FIFO), 255);
}

static void rules_of_regular_files_are_held(void **state)
{
	static const struct {
		uint64_t size, data;
		uint8_t kind;
		bool is_empty_id, is_null_id, is_fine;
	} cases[] = {
		{ 5, 5, CONTENT_CHUNK, .is_fine = true },
		{ 5, 5, 2 },
		{ 5, 4, CONTENT_CHUNK },
		{ 0, 0, CONTENT_CHUNK },
		{ 0, 0, CONTENT_CHUNK, .is_empty_id = true, .is_fine = true },
		{ 5, 5, CONTENT_CHUNK, .is_empty_id = true },
		{ CHUNK_LIMIT, CHUNK_LIMIT, CONTENT_CHUNK, .is_fine = true },
		{ CHUNK_LIMIT + 1, CHUNK_LIMIT + 1, CONTENT_CHUNK },
		{ 0, 0, CONTENT_EXTENTS },
		{ CHUNK_WHOLE_MAX, CHUNK_WHOLE_MAX, CONTENT_EXTENTS },
		{ CHUNK_WHOLE_MAX, CHUNK_WHOLE_MAX - 4096, CONTENT_EXTENTS, .is_fine = true },
		{ CHUNK_WHOLE_MAX + 1, CHUNK_WHOLE_MAX + 1, CONTENT_EXTENTS, .is_fine = true },
		{ 1 << 20, 0, CONTENT_EXTENTS, .is_fine = true },
		{ 1 << 20, (1 << 20) + 1, CONTENT_EXTENTS },
		{ 1 << 20, 1 << 20, CONTENT_EXTENTS, .is_null_id = true },
		{ INT64_MAX, 1, CONTENT_EXTENTS, .is_fine = true },
		{ (uint64_t)INT64_MAX + 1, 1, CONTENT_EXTENTS },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		struct inode ino = an_inode(FT_REG), got;

		ino.content.size = cases[i].size;
		ino.content.data = cases[i].data;
		ino.content.kind = cases[i].kind;
		if (cases[i].is_empty_id)
			ino.content.id = *oid_empty_chunk();
		if (cases[i].is_null_id)
			ino.content.id = (struct oid){ 0 };
		if (write_and_read(&ino, FT_REG, &b, &got) != (cases[i].is_fine ? 0 : -EBADMSG))
			fail_msg("case %zu is taken wrongly", i);
	}
}

static void rules_of_the_other_types_are_held(void **state)
{
	struct inode ino = an_inode(FT_LNK);

	ino.content.size = 0;
	refuse(ino, FT_LNK);
	ino.content.size = SYMLINK_MAX + 1;
	refuse(ino, FT_LNK);

	ino = an_inode(FT_DIR);
	ino.dir.id = (struct oid){ 0 };
	refuse(ino, FT_DIR);
	ino = an_inode(FT_DIR);
	ino.dir.sum = (struct tree_sum){ 0 };
	refuse(ino, FT_DIR);
	ino = an_inode(FT_DIR);
	ino.dir.sum.subdirs = ino.dir.sum.items + 1;
	refuse(ino, FT_DIR);
}

static void an_empty_directory_has_no_tree(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct inode ino = an_inode(FT_DIR), got;

	ino.dir = (struct tree_root){ 0 };
	assert_int_equal(write_and_read(&ino, FT_DIR, &b, &got), 0);
	assert_true(oid_is_null(&got.dir.id));
}

static void rules_of_xattrs_are_held(void **state)
{
	static const uint8_t flags_refused[] = { INODE_HAS_LINK,
						 INODE_XATTRS_SMALL | INODE_XATTRS_LARGE, 8, 0x80 };
	struct inode ino = an_inode(FT_FIFO);
	_cleanup_buf_ struct buf b = { 0 };
	enum {
		LEN = XATTR_INLINE_MAX + 1,
		VALUE_LEN = LEN - 6
	};
	uint8_t list[LEN] = { 1, 'a', VALUE_LEN & 0xff, VALUE_LEN >> 8 };

	ino.xattrs.list = span_of("\1a\1\0\0\0", 6);
	refuse(ino, FT_FIFO);
	ino.xattrs.list = span_of(list, sizeof(list));
	refuse(ino, FT_FIFO);
	ino.xattrs = (struct xattrs){ .large_len = XATTR_INLINE_MAX, .large = some_id };
	refuse(ino, FT_FIFO);
	ino.xattrs.large_len = XATTR_LIST_LIMIT + 1;
	refuse(ino, FT_FIFO);

	for (size_t i = 0; i < ARRAY_SIZE(flags_refused); i++) {
		struct inode got, plain = an_inode(FT_FIFO);
		struct cursor c;

		buf_clear(&b);
		inode_put(&b, &plain);
		buf_put(&b, list, sizeof(list));
		b.data[0] = flags_refused[i];
		c = cursor_of(buf_span(&b));
		assert_int_equal(inode_read(&c, FT_FIFO, &got), -EBADMSG);
	}
}

static void hints_and_times_do_not_count_where_they_should_not(void **state)
{
	struct inode a = an_inode(FT_REG), b = an_inode(FT_REG);

	b.content.loc = (struct loc){ .state = LOC_AT, .offset = 7 };
	b.content.inlined = span_str("hello");
	assert_true(inode_equal(&a, &b));
	b.ctime.sec++;
	assert_false(inode_equal(&a, &b));
	assert_true(inode_equal_but_times(&a, &b));
	b.mode = 0600;
	assert_false(inode_equal_but_times(&a, &b));

	a = b = an_inode(FT_DIR);
	b.dir.sum.bytes++;
	assert_false(inode_equal(&a, &b));
	a = b = an_inode(FT_CHR);
	b.dev.minor++;
	assert_false(inode_equal(&a, &b));
	a = b = an_inode(FT_SOCK);
	b.xattrs = (struct xattrs){ .large_len = 2000, .large = some_id };
	assert_false(inode_equal(&a, &b));
	assert_true(inode_equal(&b, &b));
}

static void types_and_modes_say_the_same(void **state)
{
	for (uint8_t type = FT_REG; type <= FT_SOCK; type++) {
		assert_int_not_equal(file_type_to_mode(type), 0);
		assert_int_equal(file_type_of_mode(file_type_to_mode(type) | 0755), type);
	}
	assert_int_equal(file_type_to_mode(0), 0);
	assert_int_equal(file_type_to_mode(8), 0);
	assert_int_equal(file_type_of_mode(0755), 0);
}

static void sums_count_what_the_format_says(void **state)
{
	struct inode reg = an_inode(FT_REG), dir = an_inode(FT_DIR), lnk = an_inode(FT_LNK);
	struct tree_sum s = inode_sum(&reg, false);
	struct tree_sum full = { .items = UINT64_MAX, .bytes = UINT64_MAX - 1 };

	assert_true(tree_sum_equal(&s, &(struct tree_sum){ .items = 1, .files = 1, .bytes = 5 }));
	s = inode_sum(&reg, true);
	assert_true(tree_sum_equal(
		&s, &(struct tree_sum){ .items = 1, .files = 1, .has_links = true }));
	s = inode_sum(&lnk, false);
	assert_true(tree_sum_equal(&s, &(struct tree_sum){ .items = 1, .files = 1 }));
	s = inode_sum(&dir, false);
	assert_true(tree_sum_equal(&s, &(struct tree_sum){ 1, 1, 4, 15, 0, true }));

	s = tree_sum_add(full, inode_sum(&reg, false));
	assert_true(tree_sum_equal(
		&s, &(struct tree_sum){ .items = UINT64_MAX, .files = 1, .bytes = UINT64_MAX }));
}

static void names_that_no_file_can_have_are_refused(void **state)
{
	static const char *const bad[] = { "", ".", "..", "/", "a/b", "/a" };
	static const char *const good[] = { "a", "...", ".a", "..a", "\xff\x01", " " };
	char longest[FILE_NAME_MAX + 1];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(file_name_is_valid(span_str(bad[i])));
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(file_name_is_valid(span_str(good[i])));
	assert_false(file_name_is_valid(span_of("a\0b", 3)));
	memset(longest, 'n', sizeof(longest));
	assert_true(file_name_is_valid(span_of(longest, FILE_NAME_MAX)));
	assert_false(file_name_is_valid(span_of(longest, FILE_NAME_MAX + 1)));
}

static int read_dirent(const struct buf *b, struct dirent_rec *ret)
{
	struct cursor c = cursor_of(buf_span(b));

	return dirent_read(&c, ret) < 0 || !cursor_at_end(&c) ? -EBADMSG : 0;
}

static void a_name_reads_as_it_was_written(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct dirent_rec d = { .name = span_str("name"), .inode = an_inode(FT_DIR) }, got;

	dirent_put(&b, &d);
	assert_int_equal(read_dirent(&b, &got), 0);
	assert_true(span_equal(got.name, d.name) && inode_equal(&got.inode, &d.inode));
	assert_false(got.has_link);

	buf_clear(&b);
	d = (struct dirent_rec){
		.name = span_str("n"), .has_link = true, .link = { { 9 } }, .inode.type = FT_REG
	};
	dirent_put(&b, &d);
	assert_int_equal(read_dirent(&b, &got), 0);
	assert_true(got.has_link && id128_equal(&got.link, &d.link));
	assert_int_equal(got.inode.type, FT_REG);
}

static void a_linked_name_has_a_type_and_a_link_and_no_more(void **state)
{
	struct dirent_rec d = { .name = span_str("n"), .has_link = true, .inode.type = FT_REG },
			  got;
	_cleanup_buf_ struct buf b = { 0 };
	enum {
		TYPE_AT = 2,
		FLAGS_AT = 3
	};

	dirent_put(&b, &d);
	assert_int_equal(read_dirent(&b, &got), 0);
	b.data[TYPE_AT] = FT_DIR;
	assert_int_equal(read_dirent(&b, &got), -EBADMSG);
	b.data[TYPE_AT] = 8;
	assert_int_equal(read_dirent(&b, &got), -EBADMSG);
	b.data[TYPE_AT] = FT_SOCK;
	b.data[FLAGS_AT] = INODE_HAS_LINK | INODE_XATTRS_SMALL;
	assert_int_equal(read_dirent(&b, &got), -EBADMSG);
	b.data[FLAGS_AT] = INODE_HAS_LINK;
	b.len--;
	assert_int_equal(read_dirent(&b, &got), -EBADMSG);
}

static void link_records_keep_their_rules(void **state)
{
	struct link_rec l = { .link = { { 7 } }, .nlink = 2, .inode = an_inode(FT_REG) }, got;
	_cleanup_buf_ struct buf b = { 0 };
	struct cursor c;

	link_put(&b, &l);
	c = cursor_of(buf_span(&b));
	assert_int_equal(link_read(&c, &got), 0);
	assert_true(cursor_at_end(&c) && id128_equal(&got.link, &l.link));
	assert_int_equal(got.nlink, 2);
	assert_true(inode_equal(&got.inode, &l.inode));

	buf_clear(&b);
	l.nlink = 0;
	link_put(&b, &l);
	c = cursor_of(buf_span(&b));
	assert_int_equal(link_read(&c, &got), -EBADMSG);

	buf_clear(&b);
	l.nlink = 1;
	l.inode = an_inode(FT_DIR);
	link_put(&b, &l);
	c = cursor_of(buf_span(&b));
	assert_int_equal(link_read(&c, &got), -EBADMSG);
}

static int write_and_read_extent(struct extent_rec x)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct extent_rec got;
	struct cursor c;

	extent_put(&b, &x);
	c = cursor_of(buf_span(&b));
	if (extent_read(&c, &got) < 0)
		return -EBADMSG;
	assert_true(cursor_at_end(&c) && got.is_hole == x.is_hole && got.len == x.len);
	assert_true(x.is_hole || oid_equal(&got.id, &x.id));
	return 0;
}

static void extents_keep_their_rules(void **state)
{
	struct extent_rec got;
	struct cursor c = cursor_of(span_of("\2\1\0\0\0\0\0\0\0", 9));

	assert_int_equal(write_and_read_extent((struct extent_rec){ true, 1 }), 0);
	assert_int_equal(write_and_read_extent((struct extent_rec){ true, UINT64_MAX }), 0);
	assert_int_equal(write_and_read_extent((struct extent_rec){ true, 0 }), -EBADMSG);
	assert_int_equal(write_and_read_extent((struct extent_rec){ false, CHUNK_LIMIT, some_id }),
			 0);
	assert_int_equal(
		write_and_read_extent((struct extent_rec){ false, CHUNK_LIMIT + 1, some_id }),
		-EBADMSG);
	assert_int_equal(write_and_read_extent((struct extent_rec){ false, 0, some_id }), -EBADMSG);
	assert_int_equal(extent_read(&c, &got), -EBADMSG);
}

static void hints_go_to_where_they_belong_and_come_back(void **state)
{
	struct entry_hint h = { .loc = { .state = LOC_AT, .offset = 1 },
				.xattr_loc = { .state = LOC_AT, .offset = 2 },
				.inlined = span_str("hello") },
			  got;
	struct inode ino = an_inode(FT_REG);

	inode_hint_set(&ino, &h);
	assert_int_equal(ino.content.loc.offset, 1);
	assert_true(span_equal(ino.content.inlined, h.inlined));
	assert_int_equal(ino.xattrs.loc.state, LOC_NONE);

	ino.xattrs.large_len = 2000;
	inode_hint_set(&ino, &h);
	got = inode_hint_get(&ino);
	assert_int_equal(got.loc.offset, 1);
	assert_int_equal(got.xattr_loc.offset, 2);
	assert_true(span_equal(got.inlined, h.inlined));

	ino = an_inode(FT_DIR);
	inode_hint_set(&ino, &h);
	assert_int_equal(inode_hint_get(&ino).loc.offset, 1);
	assert_int_equal(inode_hint_get(&ino).inlined.len, 0);
}

static void inlined_bytes_of_another_length_are_no_content(void **state)
{
	struct entry_hint h = { .inlined = span_str("hell") };
	struct inode ino = an_inode(FT_REG);

	inode_hint_set(&ino, &h);
	assert_int_equal(ino.content.inlined.len, 0);

	h.inlined = span_str("hello");
	ino.content.kind = CONTENT_EXTENTS;
	inode_hint_set(&ino, &h);
	assert_int_equal(ino.content.inlined.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_of_inode_reads_as_it_was_written),
		cmocka_unit_test(every_inode_cut_short_is_refused),
		cmocka_unit_test(no_two_byte_strings_are_the_same_inode),
		cmocka_unit_test(common_rules_are_held),
		cmocka_unit_test(rules_of_regular_files_are_held),
		cmocka_unit_test(rules_of_the_other_types_are_held),
		cmocka_unit_test(an_empty_directory_has_no_tree),
		cmocka_unit_test(rules_of_xattrs_are_held),
		cmocka_unit_test(hints_and_times_do_not_count_where_they_should_not),
		cmocka_unit_test(types_and_modes_say_the_same),
		cmocka_unit_test(sums_count_what_the_format_says),
		cmocka_unit_test(names_that_no_file_can_have_are_refused),
		cmocka_unit_test(a_name_reads_as_it_was_written),
		cmocka_unit_test(a_linked_name_has_a_type_and_a_link_and_no_more),
		cmocka_unit_test(link_records_keep_their_rules),
		cmocka_unit_test(extents_keep_their_rules),
		cmocka_unit_test(hints_go_to_where_they_belong_and_come_back),
		cmocka_unit_test(inlined_bytes_of_another_length_are_no_content),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
