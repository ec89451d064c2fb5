/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Commits give back what was written, have ids that depend on what they say and not on hints, and
 * are refused when damaged or against the rules.
 */
#include <endian.h>

#include "base/hash.h"
#include "check.h"
#include "format/commit.h"
#include "sample.h"

enum {
	META_MAX = 8,
	CANON_LEN_AT = 8,
	CANON_AT = 16,
	GENERATION_AT = CANON_AT + 16,
	PARENTS_AT = GENERATION_AT + 8,
};

/* A commit and what its spans borrow. */
struct sample {
	struct commit commit;
	struct commit_meta meta[META_MAX];
	char text[META_MAX + 3][40];
};

static struct span sample_words(struct prng *p, char text[40])
{
	size_t n = prng_below(p, 40);

	sample_text(p, text, n);
	return span_of(text, n);
}

static struct loc sample_loc(struct prng *p)
{
	return prng_below(p, 2) ? (struct loc){ sample_id128(p), 32, 700, 3, LOC_AT } : LOC_NOWHERE;
}

static void sample_make(struct prng *p, struct sample *s)
{
	struct commit *c = &s->commit;

	*s = (struct sample){ 0 };
	c->repo = sample_id128(p);
	c->parent_count = (uint8_t)prng_below(p, COMMIT_PARENTS_MAX + 1);
	c->generation = c->parent_count ? 2 + prng_below(p, 1000) : 1;
	for (uint8_t i = 0; i < c->parent_count; i++)
		c->parents[i] = sample_oid(p);
	c->root.type = FT_DIR;
	c->root.mode = 0755;
	c->root.uid = 1000;
	c->root.mtime = (struct inode_time){ -5, 999999999 };
	c->root.dir.id = sample_oid(p);
	c->root.dir.sum = (struct tree_sum){ .items = 3, .subdirs = 1, .files = 7, .bytes = 99 };
	c->root.dir.loc = sample_loc(p);
	if (prng_below(p, 2)) {
		c->links.id = sample_oid(p);
		c->links.sum.items = 1 + prng_below(p, 50);
		c->links.loc = sample_loc(p);
	}
	c->time = (struct inode_time){ (int64_t)prng_u64(p), (uint32_t)prng_below(p, 1000000000) };
	c->nonce = sample_id128(p);
	c->author = sample_words(p, s->text[0]);
	c->machine = sample_words(p, s->text[1]);
	c->message = sample_words(p, s->text[2]);
	c->meta_count = (uint16_t)prng_below(p, META_MAX + 1);
	c->meta = s->meta;
	for (uint16_t i = 0; i < c->meta_count; i++) {
		snprintf(s->text[3 + i], sizeof(s->text[0]), "key.%c", 'a' + i);
		s->meta[i].key = span_str(s->text[3 + i]);
		s->meta[i].value = span_of(s->text[2], prng_below(p, 40));
	}
}

static void assert_locs_equal(const struct loc *a, const struct loc *b)
{
	assert_int_equal(a->state, b->state);
	if (a->state == LOC_NONE)
		return;
	assert_true(id128_equal(&a->pack, &b->pack));
	assert_int_equal(a->offset, b->offset);
	assert_int_equal(a->frame_len, b->frame_len);
	assert_int_equal(a->item, b->item);
}

static void assert_commits_equal(const struct commit *a, const struct commit *b)
{
	assert_true(id128_equal(&a->repo, &b->repo));
	assert_int_equal(a->generation, b->generation);
	assert_int_equal(a->parent_count, b->parent_count);
	assert_memory_equal(a->parents, b->parents, a->parent_count * sizeof(a->parents[0]));
	assert_true(inode_equal(&a->root, &b->root));
	assert_locs_equal(&a->root.dir.loc, &b->root.dir.loc);
	assert_true(oid_equal(&a->links.id, &b->links.id));
	assert_int_equal(a->links.sum.items, b->links.sum.items);
	assert_locs_equal(&a->links.loc, &b->links.loc);
	assert_int_equal(a->time.sec, b->time.sec);
	assert_int_equal(a->time.nsec, b->time.nsec);
	assert_true(id128_equal(&a->nonce, &b->nonce));
	assert_true(span_equal(a->author, b->author));
	assert_true(span_equal(a->machine, b->machine));
	assert_true(span_equal(a->message, b->message));
	assert_int_equal(a->meta_count, b->meta_count);
	for (uint16_t i = 0; i < a->meta_count; i++) {
		assert_true(span_equal(a->meta[i].key, b->meta[i].key));
		assert_true(span_equal(a->meta[i].value, b->meta[i].value));
	}
}

static void a_commit_gives_back_what_was_written(void **state)
{
	struct prng p = { 1 };

	for (int round = 0; round < 500; round++) {
		_cleanup_commit_ struct commit back = { 0 };
		_cleanup_buf_ struct buf b = { 0 }, again = { 0 };
		struct oid id, id_again;
		struct sample s;

		sample_make(&p, &s);
		assert_ok(commit_write(&s.commit, &b, &id));
		assert_ok(commit_read(buf_span(&b), &id, &back));
		assert_commits_equal(&back, &s.commit);
		assert_ok(commit_id_of(buf_span(&b), &id_again));
		assert_true(oid_equal(&id, &id_again));
		assert_ok(commit_write(&back, &again, &id_again));
		assert_true(span_equal(buf_span(&b), buf_span(&again)));
	}
}

static void an_id_depends_on_everything_but_hints(void **state)
{
	_cleanup_buf_ struct buf a = { 0 }, b = { 0 };
	struct prng p = { 2 };
	struct oid id, other;
	struct sample s;

	sample_make(&p, &s);
	s.commit.root.dir.loc = LOC_NOWHERE;
	assert_ok(commit_write(&s.commit, &a, &id));
	s.commit.root.dir.loc = (struct loc){ sample_id128(&p), 32, 700, 3, LOC_AT };
	assert_ok(commit_write(&s.commit, &b, &other));
	assert_true(oid_equal(&id, &other));
	assert_false(span_equal(buf_span(&a), buf_span(&b)));
	s.commit.nonce.b[0] ^= 1;
	assert_ok(commit_write(&s.commit, &b, &other));
	assert_false(oid_equal(&id, &other));
}

static void a_commit_is_refused_under_another_id(void **state)
{
	_cleanup_commit_ struct commit back = { 0 };
	_cleanup_buf_ struct buf b = { 0 };
	struct prng p = { 3 };
	struct sample s;
	struct oid id;

	sample_make(&p, &s);
	assert_ok(commit_write(&s.commit, &b, &id));
	id.b[31] ^= 1;
	assert_int_equal(commit_read(buf_span(&b), &id, &back), -EBADMSG);
}

static void a_commit_against_the_rules_is_not_written(void **state)
{
	static uint8_t long_text[COMMIT_MESSAGE_MAX + 1];
	_cleanup_buf_ struct buf b = { 0 };
	struct prng p = { 4 };
	struct oid id;
	struct sample s;

#define assert_refused(change)                                                \
	do {                                                                  \
		do {                                                          \
			sample_make(&p, &s);                                  \
		} while (s.commit.meta_count < 2 || !s.commit.parent_count || \
			 !s.commit.links.sum.items);                          \
		assert_ok(commit_write(&s.commit, &b, &id));                  \
		change;                                                       \
		assert_int_equal(commit_write(&s.commit, &b, &id), -EINVAL);  \
	} while (0)

	assert_refused(s.commit.generation = 0);
	assert_refused(s.commit.parent_count = 0);
	assert_refused(s.commit.parent_count = COMMIT_PARENTS_MAX + 1);
	assert_refused(s.commit.root.type = FT_REG);
	assert_refused(s.commit.links.sum.items = 0);
	assert_refused(s.commit.time.nsec = 1000000000);
	assert_refused(s.commit.author = span_of(long_text, 256));
	assert_refused(s.commit.machine = span_of(long_text, 256));
	assert_refused(s.commit.message = span_of(long_text, COMMIT_MESSAGE_MAX + 1));
	assert_refused(s.meta[0].key = s.meta[1].key);
	assert_refused(s.meta[0].key = span_of(long_text, 256));
	assert_refused(s.meta[0].value = span_of(long_text, COMMIT_META_MAX));
	assert_refused(s.commit.root.dir.loc.state = LOC_PENDING);
#undef assert_refused
}

static void the_largest_commit_can_be_read(void **state)
{
	static uint8_t text[COMMIT_MESSAGE_MAX];
	_cleanup_commit_ struct commit back = { 0 };
	_cleanup_buf_ struct buf b = { 0 };
	struct prng p = { 5 };
	struct sample s;
	struct oid id;

	sample_make(&p, &s);
	s.commit.message = span_of(text, sizeof(text));
	s.commit.meta_count = 1;
	s.meta[0] = (struct commit_meta){ span_of(text, 1), span_of(text, COMMIT_META_MAX - 6) };
	assert_ok(commit_write(&s.commit, &b, &id));
	assert_ok(commit_read(buf_span(&b), &id, &back));
	assert_commits_equal(&back, &s.commit);
	s.meta[0].value.len++;
	assert_int_equal(commit_write(&s.commit, &b, &id), -EINVAL);
}

static int read_any(struct span bytes)
{
	_cleanup_commit_ struct commit c = { 0 };

	return commit_read(bytes, NULL, &c);
}

static void no_change_to_a_commit_passes(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct prng p = { 6 };
	struct sample s;
	struct oid id;

	sample_make(&p, &s);
	assert_ok(commit_write(&s.commit, &b, &id));
	assert_no_flip_passes(buf_span(&b), SIZE_MAX, read_any);
	assert_no_beginning_passes(buf_span(&b), read_any);
}

static void reseal(struct buf *b)
{
	b->len -= 8;
	buf_put_u64(b, xxh64(b->data, b->len, 0));
}

static void hints_that_do_not_parse_are_none(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	_cleanup_commit_ struct commit back = { 0 };
	struct prng p = { 7 };
	struct sample s;
	uint32_t canon_len;
	struct oid id;

	sample_make(&p, &s);
	s.commit.root.dir.loc = (struct loc){ sample_id128(&p), 32, 700, 3, LOC_AT };
	assert_ok(commit_write(&s.commit, &b, &id));
	memcpy(&canon_len, b.data + CANON_LEN_AT, sizeof(canon_len));
	b.data[CANON_AT + le32toh(canon_len)] = 0xee; /* the hints' version */
	reseal(&b);
	assert_ok(commit_read(buf_span(&b), &id, &back));
	assert_int_equal(back.root.dir.loc.state, LOC_NONE);
	assert_int_equal(back.links.loc.state, LOC_NONE);
	assert_true(inode_equal(&back.root, &s.commit.root));
}

static void a_commit_against_the_rules_is_refused_though_its_checksum_is_right(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} bad[] = {
		{ 4, 0 }, /* version */
		{ 4, 2 },
		{ 6, 1 }, /* flags */
		{ CANON_LEN_AT, 0 },
		{ CANON_LEN_AT + 3, 0xff },
		{ CANON_LEN_AT + 7, 0xff }, /* hint_len */
		{ GENERATION_AT, 0 },
		{ PARENTS_AT, 0 },
		{ PARENTS_AT, 3 },
		{ PARENTS_AT, 17 },
		{ PARENTS_AT, 255 },
	};
	_cleanup_buf_ struct buf b = { 0 };
	struct prng p = { 8 };
	struct sample s;
	struct oid id;

	sample_make(&p, &s);
	s.commit.parent_count = 2;
	s.commit.generation = 9;
	s.commit.meta_count = 0;
	assert_ok(commit_write(&s.commit, &b, &id));
	reseal(&b);
	assert_ok(read_any(buf_span(&b)));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint8_t was = b.data[bad[i].at];

		b.data[bad[i].at] = bad[i].value;
		reseal(&b);
		if (read_any(buf_span(&b)) != -EBADMSG)
			fail_msg("%u at %zu passes", bad[i].value, bad[i].at);
		b.data[bad[i].at] = was;
	}
}

static void metadata_must_be_there_in_order_and_once(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct prng p = { 9 };
	struct sample s;
	struct oid id;
	size_t last_key, count_at;

	sample_make(&p, &s);
	s.commit.root.dir.loc = s.commit.links.loc = LOC_NOWHERE;
	s.commit.meta_count = 2;
	s.meta[0] = (struct commit_meta){ span_str("a"), span_str("") };
	s.meta[1] = (struct commit_meta){ span_str("b"), span_str("") };
	assert_ok(commit_write(&s.commit, &b, &id));
	last_key = b.len - 8 - 4 - 1;
	count_at = b.len - 8 - 2 * 6 - 2;
	assert_int_equal(b.data[last_key], 'b');
	assert_int_equal(b.data[count_at], 2);
	b.data[last_key] = 'a';
	reseal(&b);
	assert_int_equal(read_any(buf_span(&b)), -EBADMSG);
	b.data[last_key] = 'c';
	reseal(&b);
	assert_ok(read_any(buf_span(&b)));
	b.data[count_at] = 1;
	reseal(&b);
	assert_int_equal(read_any(buf_span(&b)), -EBADMSG);
	b.data[count_at] = b.data[count_at + 1] = 0xff;
	reseal(&b);
	assert_int_equal(read_any(buf_span(&b)), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_commit_gives_back_what_was_written),
		cmocka_unit_test(an_id_depends_on_everything_but_hints),
		cmocka_unit_test(a_commit_is_refused_under_another_id),
		cmocka_unit_test(a_commit_against_the_rules_is_not_written),
		cmocka_unit_test(the_largest_commit_can_be_read),
		cmocka_unit_test(no_change_to_a_commit_passes),
		cmocka_unit_test(hints_that_do_not_parse_are_none),
		cmocka_unit_test(
			a_commit_against_the_rules_is_refused_though_its_checksum_is_right),
		cmocka_unit_test(metadata_must_be_there_in_order_and_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
