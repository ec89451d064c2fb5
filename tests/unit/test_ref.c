/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Branches and names give back what was written, tell the living from the dead by their size, and
 * are refused when damaged or against the rules.
 */
#include "base/hash.h"
#include "check.h"
#include "format/ref.h"
#include "sample.h"

enum {
	VERSION_AT = 4,
	KIND_AT = 8,
	STATE_AT = 9,
};

static struct oid commit_make(struct prng *p, size_t message, struct buf *out)
{
	_cleanup_free_ uint8_t *text = malloc(message + 1);
	struct commit c = {
		.repo = sample_id128(p),
		.generation = 1,
		.root = { .type = FT_DIR, .mode = 0755 },
		.nonce = sample_id128(p),
		.message = span_of(text, message),
	};
	struct oid id;

	prng_fill(p, text, message);
	assert_ok(commit_write(&c, out, &id));
	return id;
}

static void text_make(struct prng *p, char *to, size_t max)
{
	size_t n = prng_below(p, max + 1);

	memset(to, 'w', n);
	to[n] = '\0';
}

static void ref_make(struct prng *p, uint8_t kind, uint8_t state, struct ref *r)
{
	*r = (struct ref){
		.kind = kind,
		.state = state,
		.seq = prng_u64(p),
		.nonce = sample_id128(p),
		.time = { -1, 999999999 },
		.target = sample_oid(p),
	};
	text_make(p, r->writer, 255);
	if (kind == REF_BRANCH) {
		r->branch = sample_id128(p);
		if (state == REF_TOMBSTONE)
			text_make(p, r->renamed_to, OBJECT_NAME_MAX);
	}
	if (state == REF_LIVE && prng_below(p, 2))
		r->target = commit_make(p, prng_below(p, 3000), &r->commit);
}

static void assert_refs_equal(const struct ref *a, const struct ref *b)
{
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->state, b->state);
	assert_int_equal(a->seq, b->seq);
	assert_true(id128_equal(&a->nonce, &b->nonce));
	assert_true(id128_equal(&a->branch, &b->branch));
	assert_string_equal(a->writer, b->writer);
	assert_int_equal(a->time.sec, b->time.sec);
	assert_int_equal(a->time.nsec, b->time.nsec);
	assert_true(oid_equal(&a->target, &b->target));
	assert_string_equal(a->renamed_to, b->renamed_to);
	assert_true(span_equal(buf_span(&a->commit), buf_span(&b->commit)));
}

static void a_ref_gives_back_what_was_written(void **state)
{
	struct prng p = { 1 };

	for (int round = 0; round < 400; round++) {
		_cleanup_ref_ struct ref r = { 0 }, back = { 0 }, copy = { 0 };
		_cleanup_buf_ struct buf b = { 0 }, again = { 0 };

		ref_make(&p, round % 2 ? REF_BRANCH : REF_NAME,
			 round % 4 < 2 ? REF_LIVE : REF_TOMBSTONE, &r);
		assert_ok(ref_write(&r, &b));
		assert_ok(ref_read(buf_span(&b), &back));
		assert_refs_equal(&back, &r);
		assert_ok(ref_copy(&back, &copy));
		ref_release(&back);
		assert_refs_equal(&copy, &r);
		assert_ok(ref_write(&copy, &again));
		assert_true(span_equal(buf_span(&b), buf_span(&again)));
		assert_int_equal(ref_size_is_live(b.len), r.state == REF_LIVE);
		assert_true(r.state == REF_TOMBSTONE ? b.len == REF_TOMBSTONE_SIZE
						     : b.len >= REF_LIVE_MIN);
	}
}

static void the_longest_tombstone_is_no_longer_than_any_other(void **state)
{
	_cleanup_ref_ struct ref r = { .kind = REF_BRANCH, .state = REF_TOMBSTONE };
	_cleanup_buf_ struct buf b = { 0 };

	memset(r.branch.b, 1, sizeof(r.branch.b));
	memset(r.writer, 'w', sizeof(r.writer) - 1);
	memset(r.renamed_to, 'n', OBJECT_NAME_MAX);
	assert_ok(ref_write(&r, &b));
	assert_int_equal(b.len, REF_TOMBSTONE_SIZE);
}

static void a_tombstone_is_written_without_its_commit(void **state)
{
	_cleanup_ref_ struct ref r = { 0 }, back = { 0 };
	_cleanup_buf_ struct buf b = { 0 };
	struct prng p = { 2 };

	ref_make(&p, REF_BRANCH, REF_LIVE, &r);
	buf_clear(&r.commit);
	r.target = commit_make(&p, 5000, &r.commit);
	r.state = REF_TOMBSTONE;
	assert_ok(ref_write(&r, &b));
	assert_ok(ref_read(buf_span(&b), &back));
	assert_int_equal(back.commit.len, 0);
	assert_true(oid_equal(&back.target, &r.target));
}

static void a_commit_travels_along_up_to_its_limit(void **state)
{
	_cleanup_ref_ struct ref r = { .kind = REF_NAME, .state = REF_LIVE }, back = { 0 };
	_cleanup_buf_ struct buf b = { 0 };
	struct prng p = { 3 };
	size_t rest;

	r.target = commit_make(&p, 0, &r.commit);
	rest = r.commit.len;
	r.target = commit_make(&p, REF_COMMIT_MAX - rest, &r.commit);
	assert_int_equal(r.commit.len, REF_COMMIT_MAX);
	assert_ok(ref_write(&r, &b));
	assert_ok(ref_read(buf_span(&b), &back));
	assert_refs_equal(&r, &back);
	r.target = commit_make(&p, REF_COMMIT_MAX - rest + 1, &r.commit);
	assert_int_equal(ref_write(&r, &b), -EINVAL);
}

static void a_ref_against_the_rules_is_not_written(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct prng p = { 4 };
	struct ref r;

#define assert_refused(kind_, state_, change)                 \
	do {                                                  \
		ref_make(&p, kind_, state_, &r);              \
		assert_ok(ref_write(&r, &b));                 \
		change;                                       \
		assert_int_equal(ref_write(&r, &b), -EINVAL); \
		ref_release(&r);                              \
	} while (0)

	assert_refused(REF_NAME, REF_LIVE, r.kind = 0);
	assert_refused(REF_NAME, REF_LIVE, r.kind = 3);
	assert_refused(REF_NAME, REF_LIVE, r.state = 0);
	assert_refused(REF_NAME, REF_LIVE, r.state = 3);
	assert_refused(REF_NAME, REF_LIVE, r.branch.b[0] = 1);
	assert_refused(REF_BRANCH, REF_LIVE, memset(&r.branch, 0, sizeof(r.branch)));
	assert_refused(REF_NAME, REF_LIVE, memset(&r.target, 0, sizeof(r.target)));
	assert_refused(REF_NAME, REF_LIVE, r.time.nsec = 1000000000);
	assert_refused(REF_BRANCH, REF_LIVE, strcpy(r.renamed_to, "x"));
	assert_refused(REF_NAME, REF_TOMBSTONE, strcpy(r.renamed_to, "x"));
	assert_refused(REF_BRANCH, REF_TOMBSTONE, strcpy(r.renamed_to, "a/b"));
	assert_refused(REF_NAME, REF_LIVE, buf_put_u8(&r.commit, 0));
#undef assert_refused
}

static void an_unborn_branch_has_no_target(void **state)
{
	_cleanup_ref_ struct ref r = { .kind = REF_BRANCH, .state = REF_LIVE }, back = { 0 };
	_cleanup_buf_ struct buf b = { 0 };

	r.branch.b[0] = 1;
	assert_ok(ref_write(&r, &b));
	assert_int_equal(b.len, REF_LIVE_MIN);
	assert_ok(ref_read(buf_span(&b), &back));
	assert_true(oid_is_null(&back.target));
}

static int read_any(struct span bytes)
{
	_cleanup_ref_ struct ref r = { 0 };

	return ref_read(bytes, &r);
}

static void no_change_to_a_ref_passes(void **state)
{
	struct prng p = { 5 };

	for (int i = 0; i < 4; i++) {
		_cleanup_ref_ struct ref r = { 0 };
		_cleanup_buf_ struct buf b = { 0 };

		ref_make(&p, i & 1 ? REF_BRANCH : REF_NAME, i & 2 ? REF_LIVE : REF_TOMBSTONE, &r);
		if (r.state == REF_LIVE)
			r.target = commit_make(&p, 40, &r.commit);
		assert_ok(ref_write(&r, &b));
		assert_no_flip_passes(buf_span(&b), VERSION_AT, read_any);
		assert_no_beginning_passes(buf_span(&b), read_any);
	}
}

static void reseal(struct buf *b)
{
	b->len -= 8;
	buf_put_u64(b, xxh64(b->data, b->len, 0));
}

static void a_newer_ref_is_told_from_a_damaged_one(void **state)
{
	_cleanup_ref_ struct ref r = { 0 };
	_cleanup_buf_ struct buf b = { 0 };
	struct prng p = { 6 };

	ref_make(&p, REF_BRANCH, REF_LIVE, &r);
	assert_ok(ref_write(&r, &b));
	b.data[VERSION_AT] = 2;
	assert_int_equal(read_any(buf_span(&b)), -ENOTSUP);
	b.data[VERSION_AT] = 1;
	b.data[VERSION_AT + 2] = 1; /* a flag */
	assert_int_equal(read_any(buf_span(&b)), -EBADMSG);
	reseal(&b);
	assert_int_equal(read_any(buf_span(&b)), -ENOTSUP);
}

static void a_commit_that_is_not_the_target_is_refused(void **state)
{
	_cleanup_ref_ struct ref r = { .kind = REF_NAME, .state = REF_LIVE };
	_cleanup_buf_ struct buf b = { 0 };
	struct prng p = { 7 };
	size_t target_at;

	r.target = commit_make(&p, 10, &r.commit);
	assert_ok(ref_write(&r, &b));
	target_at = KIND_AT + 2 + 8 + 16 + 16 + 1 + 12;
	assert_memory_equal(b.data + target_at, r.target.b, OID_SIZE);
	b.data[target_at] ^= 1;
	reseal(&b);
	assert_int_equal(read_any(buf_span(&b)), -EBADMSG);
}

static void what_a_ref_is_padded_with_is_checked(void **state)
{
	_cleanup_ref_ struct ref r = { .kind = REF_BRANCH, .state = REF_LIVE };
	_cleanup_buf_ struct buf b = { 0 }, longer = { 0 };

	r.branch.b[0] = 1;
	assert_ok(ref_write(&r, &b));
	b.data[b.len - 9] = 1;
	reseal(&b);
	assert_int_equal(read_any(buf_span(&b)), -EBADMSG);
	b.data[b.len - 9] = 0;
	reseal(&b);
	assert_ok(read_any(buf_span(&b)));
	/* a byte more than needed, and as long as a tombstone */
	buf_put(&longer, b.data, b.len - 8);
	buf_put(&longer, "\0\0\0\0\0\0\0\0\0", 9);
	reseal(&longer);
	assert_int_equal(read_any(buf_span(&longer)), -EBADMSG);
	longer.len = REF_TOMBSTONE_SIZE;
	reseal(&longer);
	assert_int_equal(read_any(buf_span(&longer)), -EBADMSG);
}

static void a_writer_with_a_nul_in_it_is_refused(void **state)
{
	_cleanup_ref_ struct ref r = { .kind = REF_BRANCH, .state = REF_LIVE, .writer = "me" };
	_cleanup_buf_ struct buf b = { 0 };
	size_t writer_at = KIND_AT + 2 + 8 + 16 + 16 + 1;

	r.branch.b[0] = 1;
	assert_ok(ref_write(&r, &b));
	assert_memory_equal(b.data + writer_at, "me", 2);
	b.data[writer_at] = 0;
	reseal(&b);
	assert_int_equal(read_any(buf_span(&b)), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_ref_gives_back_what_was_written),
		cmocka_unit_test(the_longest_tombstone_is_no_longer_than_any_other),
		cmocka_unit_test(a_tombstone_is_written_without_its_commit),
		cmocka_unit_test(a_commit_travels_along_up_to_its_limit),
		cmocka_unit_test(a_ref_against_the_rules_is_not_written),
		cmocka_unit_test(an_unborn_branch_has_no_target),
		cmocka_unit_test(no_change_to_a_ref_passes),
		cmocka_unit_test(a_newer_ref_is_told_from_a_damaged_one),
		cmocka_unit_test(a_commit_that_is_not_the_target_is_refused),
		cmocka_unit_test(what_a_ref_is_padded_with_is_checked),
		cmocka_unit_test(a_writer_with_a_nul_in_it_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
