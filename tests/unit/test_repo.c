/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Repos' records give back what was written and are refused when damaged or against the rules.
 */
#include "base/hash.h"
#include "check.h"
#include "format/repo.h"
#include "sample.h"

enum {
	VERSION_AT = 4
};

static void settings_make(struct repo_rec *r, uint16_t n)
{
	r->settings = calloc(n + 1u, sizeof(r->settings[0]));
	r->setting_count = n;
	for (uint16_t i = 0; i < n; i++) {
		char key[16], value[32];

		snprintf(key, sizeof(key), "key%05u", i);
		snprintf(value, sizeof(value), "value %u", i * i);
		r->settings[i].key = strdup(key);
		r->settings[i].value = strdup(value);
	}
}

static void repo_make(struct prng *p, uint8_t state, uint16_t settings, struct repo_rec *r)
{
	*r = (struct repo_rec){
		.state = state,
		.seq = prng_u64(p),
		.nonce = sample_id128(p),
		.id = sample_id128(p),
		.writer = "me@here",
		.time = { 1700000000, 5 },
		.default_branch = "main",
		.chunk = CHUNK_PARAMS_DEFAULT,
		.root_mode = 02775,
		.root_uid = 1000,
		.root_gid = 100,
		.created = { -7, 999999999 },
	};
	settings_make(r, settings);
}

static void assert_repos_equal(const struct repo_rec *a, const struct repo_rec *b)
{
	assert_int_equal(a->state, b->state);
	assert_int_equal(a->seq, b->seq);
	assert_true(id128_equal(&a->nonce, &b->nonce));
	assert_true(id128_equal(&a->id, &b->id));
	assert_string_equal(a->writer, b->writer);
	assert_int_equal(a->time.sec, b->time.sec);
	assert_int_equal(a->time.nsec, b->time.nsec);
	assert_string_equal(a->default_branch, b->default_branch);
	assert_int_equal(a->chunk.min, b->chunk.min);
	assert_int_equal(a->chunk.avg, b->chunk.avg);
	assert_int_equal(a->chunk.max, b->chunk.max);
	assert_int_equal(a->root_mode, b->root_mode);
	assert_int_equal(a->root_uid, b->root_uid);
	assert_int_equal(a->root_gid, b->root_gid);
	assert_int_equal(a->created.sec, b->created.sec);
	assert_int_equal(a->created.nsec, b->created.nsec);
	assert_int_equal(a->setting_count, b->setting_count);
	for (uint16_t i = 0; i < a->setting_count; i++) {
		assert_string_equal(a->settings[i].key, b->settings[i].key);
		assert_string_equal(a->settings[i].value, b->settings[i].value);
	}
}

static void a_repo_gives_back_what_was_written(void **state)
{
	static const uint16_t settings[] = { 0, 1, 3, 40, REPO_SETTINGS_MAX };
	struct prng p = { 1 };

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		_cleanup_repo_rec_ struct repo_rec r = { 0 }, back = { 0 }, copy = { 0 };
		_cleanup_buf_ struct buf b = { 0 }, again = { 0 };

		repo_make(&p, REF_LIVE, settings[i], &r);
		assert_ok(repo_write(&r, &b));
		assert_ok(repo_read(buf_span(&b), &back));
		assert_repos_equal(&back, &r);
		assert_ok(repo_rec_copy(&back, &copy));
		repo_rec_release(&back);
		assert_repos_equal(&copy, &r);
		assert_ok(repo_write(&copy, &again));
		assert_true(span_equal(buf_span(&b), buf_span(&again)));
		assert_true(ref_size_is_live(b.len));
		assert_true(b.len >= REF_LIVE_MIN);
	}
}

static void a_tombstone_is_written_without_its_settings_and_has_their_size(void **state)
{
	_cleanup_repo_rec_ struct repo_rec r = { 0 }, back = { 0 };
	_cleanup_buf_ struct buf b = { 0 };
	struct prng p = { 2 };

	repo_make(&p, REF_TOMBSTONE, 100, &r);
	memset(r.writer, 'w', sizeof(r.writer) - 1);
	memset(r.default_branch, 'b', OBJECT_NAME_MAX);
	r.default_branch[0] = 'x';
	assert_ok(repo_write(&r, &b));
	assert_int_equal(b.len, REF_TOMBSTONE_SIZE);
	assert_ok(repo_read(buf_span(&b), &back));
	assert_int_equal(back.setting_count, 0);
	assert_string_equal(back.default_branch, r.default_branch);
}

static void a_repo_against_the_rules_is_not_written(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct prng p = { 3 };
	struct repo_rec r;

#define assert_refused(change)                                 \
	do {                                                   \
		repo_make(&p, REF_LIVE, 2, &r);                \
		assert_ok(repo_write(&r, &b));                 \
		change;                                        \
		assert_int_equal(repo_write(&r, &b), -EINVAL); \
		repo_rec_release(&r);                          \
	} while (0)

	assert_refused(r.state = 0);
	assert_refused(r.state = 3);
	assert_refused(memset(&r.id, 0, sizeof(r.id)));
	assert_refused(r.time.nsec = 1000000000);
	assert_refused(r.created.nsec = UINT32_MAX);
	assert_refused(strcpy(r.default_branch, "commits"));
	assert_refused(r.default_branch[0] = '\0');
	assert_refused(r.chunk.avg++);
	assert_refused(r.root_mode = 010000);
	assert_refused(strcpy(r.settings[0].key, r.settings[1].key));
	assert_refused((free(r.settings[0].value), r.settings[0].value = calloc(1, 65537),
			memset(r.settings[0].value, 'x', 65536)));
	/* each setting is short enough, but not all together */
	assert_refused((free(r.settings[0].value), r.settings[0].value = calloc(1, 65536),
			memset(r.settings[0].value, 'x', 65535)));
#undef assert_refused
	repo_make(&p, REF_LIVE, REPO_SETTINGS_MAX + 1, &r);
	assert_int_equal(repo_write(&r, &b), -EINVAL);
	repo_rec_release(&r);
}

static int read_any(struct span bytes)
{
	_cleanup_repo_rec_ struct repo_rec r = { 0 };

	return repo_read(bytes, &r);
}

static void no_change_to_a_repo_passes(void **state)
{
	struct prng p = { 4 };

	for (uint8_t s = REF_LIVE; s <= REF_TOMBSTONE; s++) {
		_cleanup_repo_rec_ struct repo_rec r = { 0 };
		_cleanup_buf_ struct buf b = { 0 };

		repo_make(&p, s, 3, &r);
		assert_ok(repo_write(&r, &b));
		assert_no_flip_passes(buf_span(&b), VERSION_AT, read_any);
		assert_no_beginning_passes(buf_span(&b), read_any);
	}
}

static void a_repo_against_the_rules_is_refused_though_its_checksum_is_right(void **state)
{
	enum {
		STATE_AT = 8,
		WRITER_AT = STATE_AT + 1 + 8 + 16 + 16,
		DEFAULT_AT = WRITER_AT + 1 + 7 + 12,
		CHUNK_AT = DEFAULT_AT + 1 + 4,
		MODE_AT = CHUNK_AT + 12,
		SETTINGS_AT = MODE_AT + 2 + 8 + 12,
	};
	static const struct {
		size_t at;
		uint8_t value;
	} bad[] = {
		{ STATE_AT, 0 },
		{ STATE_AT, 3 },
		{ STATE_AT, REF_TOMBSTONE }, /* of the wrong size */
		{ WRITER_AT + 1, 0 },
		{ WRITER_AT, 255 },
		{ DEFAULT_AT + 1, '-' },
		{ DEFAULT_AT, 0 },
		{ CHUNK_AT + 4, 1 }, /* avg no power of two */
		{ CHUNK_AT + 11, 1 }, /* max over the limit */
		{ MODE_AT + 1, 0x10 },
		{ SETTINGS_AT, 0 },
		{ SETTINGS_AT, 3 },
		{ SETTINGS_AT + 1, 0xff },
		{ SETTINGS_AT + 3, 'z' }, /* not in order */
		{ SETTINGS_AT + 3, 0 },
	};
	_cleanup_repo_rec_ struct repo_rec r = { 0 };
	_cleanup_buf_ struct buf b = { 0 };
	struct prng p = { 5 };

	repo_make(&p, REF_LIVE, 2, &r);
	assert_ok(repo_write(&r, &b));
	assert_int_equal(b.data[SETTINGS_AT], 2);
	assert_int_equal(b.data[SETTINGS_AT + 3], 'k');
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_buf_ struct buf copy = { 0 };

		buf_put(&copy, b.data, b.len - 8);
		copy.data[bad[i].at] = bad[i].value;
		buf_put_u64(&copy, xxh64(copy.data, copy.len, 0));
		if (read_any(buf_span(&copy)) != -EBADMSG)
			fail_msg("%u at %zu passes", bad[i].value, bad[i].at);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_repo_gives_back_what_was_written),
		cmocka_unit_test(a_tombstone_is_written_without_its_settings_and_has_their_size),
		cmocka_unit_test(a_repo_against_the_rules_is_not_written),
		cmocka_unit_test(no_change_to_a_repo_passes),
		cmocka_unit_test(a_repo_against_the_rules_is_refused_though_its_checksum_is_right),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
