/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The `format` object.
 */
#include "base/hash.h"
#include "base/oid.h"
#include "check.h"
#include "format/storeformat.h"

enum {
	VERSION_AT = 4
};

static const struct format_rec sample = {
	.store_id = { { 1, 2, 3 } },
	.compat = 1ull << 63,
	.ro_compat = 2,
	.incompat = 3,
	.created = -1700000000,
	.hash = OID_HASH_NAME,
	.id_key = "some key",
};

static void a_format_gives_back_what_was_written(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct format_rec back;

	assert_ok(format_write(&sample, &b));
	assert_ok(format_read(buf_span(&b), &back));
	assert_true(id128_equal(&back.store_id, &sample.store_id));
	assert_int_equal(back.compat, sample.compat);
	assert_int_equal(back.ro_compat, sample.ro_compat);
	assert_int_equal(back.incompat, sample.incompat);
	assert_int_equal(back.created, sample.created);
	assert_string_equal(back.hash, sample.hash);
	assert_string_equal(back.id_key, sample.id_key);
}

static int read_any(struct span bytes)
{
	struct format_rec f;

	return format_read(bytes, &f);
}

static void no_change_to_a_format_passes(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };

	assert_ok(format_write(&sample, &b));
	assert_no_flip_passes(buf_span(&b), VERSION_AT, read_any);
	assert_no_beginning_passes(buf_span(&b), read_any);
}

static void a_newer_format_is_told_from_a_damaged_one_whatever_follows(void **state)
{
	static const uint8_t newer[] = { 'p', 'f', 's', 'F', 2, 0, 0, 0, 'n', 'e', 'w' };
	static const uint8_t oldest[] = { 'p', 'f', 's', 'F', 0, 0, 0, 0 };

	assert_int_equal(read_any(span_of(newer, sizeof(newer))), -ENOTSUP);
	assert_int_equal(read_any(span_of(oldest, sizeof(oldest))), -EBADMSG);
}

static void a_hash_with_too_long_a_name_is_refused(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	size_t hash_at = 8 + 16 + 4 * 8;

	assert_ok(format_write(&sample, &b));
	assert_int_equal(b.data[hash_at], strlen(OID_HASH_NAME));
	b.data[hash_at] = sizeof(sample.hash);
	b.len -= 8;
	buf_put_u64(&b, xxh64(b.data, b.len, 0));
	assert_int_equal(read_any(buf_span(&b)), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_format_gives_back_what_was_written),
		cmocka_unit_test(no_change_to_a_format_passes),
		cmocka_unit_test(a_newer_format_is_told_from_a_damaged_one_whatever_follows),
		cmocka_unit_test(a_hash_with_too_long_a_name_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
