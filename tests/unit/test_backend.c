/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What every backend promises of objects; of listings, see test_backend_list.c.
 */
#include "anybackend.h"
#include "base/thread.h"
#include "sample.h"

static void assert_holds(struct backend *b, const char *key, struct span data)
{
	_cleanup_buf_ struct buf all = { 0 };
	struct etag tag;

	assert_ok(b->ops->get_all(b, key, data.len, NULL, NULL, &all, &tag));
	assert_true(span_equal(buf_span(&all), data));
}

static void assert_missing(struct backend *b, const char *key)
{
	_cleanup_buf_ struct buf all = { 0 };
	struct etag tag;
	uint64_t size;
	char byte;
	size_t n;

	assert_int_equal(b->ops->get(b, key, 0, 1, &byte, NULL, &n), -ENOENT);
	assert_int_equal(b->ops->get_all(b, key, 100, NULL, NULL, &all, &tag), -ENOENT);
	assert_int_equal(b->ops->head(b, key, NULL, &size), -ENOENT);
}

static void an_object_reads_as_it_was_put(void **state)
{
	static const size_t sizes[] = { 0, 1, 511, 4096, 4097, 9 << 20 };
	struct backend *b = backend_of(state);
	uint8_t *data = malloc(9 << 20), *back = malloc(9 << 20);
	struct prng p = { 1 };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t size;
		size_t n;

		prng_fill(&p, data, sizes[i]);
		assert_ok(b->ops->put(b, "packs/ab/x", span_of(data, sizes[i]), NULL));
		assert_ok(b->ops->head(b, "packs/ab/x", NULL, &size));
		assert_int_equal(size, sizes[i]);
		assert_ok(b->ops->get(b, "packs/ab/x", 0, 9 << 20, back, NULL, &n));
		assert_int_equal(n, sizes[i]);
		assert_memory_equal(back, data, n);
		assert_holds(b, "packs/ab/x", span_of(data, sizes[i]));
	}
	free(data);
	free(back);
}

static void a_range_ends_with_its_object(void **state)
{
	struct backend *b = backend_of(state);
	static const char digits[] = "0123456789";
	static const struct {
		uint64_t off;
		size_t len, expected;
	} ranges[] = {
		{ 0, 3, 3 },  { 2, 3, 3 },  { 7, 3, 3 },	  { 8, 3, 2 },
		{ 10, 3, 0 }, { 11, 3, 0 }, { UINT64_MAX, 3, 0 }, { 5, 0, 0 },
	};

	put(b, "format", digits);
	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
		char back[4] = "";
		size_t n;

		assert_ok(b->ops->get(b, "format", ranges[i].off, ranges[i].len, back, NULL, &n));
		assert_int_equal(n, ranges[i].expected);
		if (n > 0)
			assert_memory_equal(back, &digits[ranges[i].off], n);
	}
}

static void what_was_not_put_is_missing(void **state)
{
	struct backend *b = backend_of(state);

	assert_missing(b, "heads/a/b");
	put(b, "heads/a/c", "x");
	assert_missing(b, "heads/a/b");
	assert_missing(b, "heads/a");
	assert_missing(b, "heads");
	assert_missing(b, "heads/a/c/d");
}

static void what_was_deleted_is_missing(void **state)
{
	struct backend *b = backend_of(state);

	put(b, "index/00-a", "x");
	put(b, "index/00-b", "y");
	assert_ok(b->ops->remove(b, "index/00-a", NULL));
	assert_missing(b, "index/00-a");
	assert_holds(b, "index/00-b", span_str("y"));
	assert_ok(b->ops->remove(b, "index/00-a", NULL));
	assert_ok(b->ops->remove(b, "never/was", NULL));
}

static void a_whole_object_is_read_up_to_a_limit(void **state)
{
	struct backend *b = backend_of(state);
	_cleanup_buf_ struct buf all = { 0 };
	struct etag tag;

	put(b, "format", "12345");
	buf_put(&all, "former", 6);
	assert_int_equal(b->ops->get_all(b, "format", 4, NULL, NULL, &all, &tag), -EFBIG);
	assert_true(span_equal(buf_span(&all), span_str("former")));
	assert_ok(b->ops->get_all(b, "format", 5, NULL, NULL, &all, &tag));
	assert_true(span_equal(buf_span(&all), span_str("12345")));
	assert_true(strlen(tag.s) > 0);
}

static void an_object_that_did_not_change_is_not_read_again(void **state)
{
	struct backend *b = backend_of(state);
	_cleanup_buf_ struct buf all = { 0 };
	struct etag first, second;

	put(b, "heads/r/main", "one");
	assert_ok(b->ops->get_all(b, "heads/r/main", 100, NULL, NULL, &all, &first));
	assert_int_equal(b->ops->get_all(b, "heads/r/main", 100, &first, NULL, &all, &second),
			 -EALREADY);
	put(b, "heads/r/main", "two");
	assert_ok(b->ops->get_all(b, "heads/r/main", 100, &first, NULL, &all, &second));
	assert_true(span_equal(buf_span(&all), span_str("two")));
	assert_string_not_equal(first.s, second.s);
}

static void an_object_in_pieces_is_seen_when_it_is_whole(void **state)
{
	struct backend *b = backend_of(state);
	_cleanup_buf_ struct buf data = { 0 };
	struct backend_put *p;
	struct prng prng = { 2 };

	for (int i = 0; i < 40; i++) {
		size_t n = prng_below(&prng, 300000);

		prng_fill(&prng, buf_extend(&data, n), n);
	}
	assert_ok(b->ops->put_begin(b, "packs/cd/y", &p));
	for (size_t at = 0; at < data.len;) {
		size_t n = MIN(1 + prng_below(&prng, 500000), data.len - at);

		assert_ok(b->ops->put_write(p, span_of(data.data + at, n), NULL));
		assert_missing(b, "packs/cd/y");
		at += n;
	}
	assert_ok(b->ops->put_end(p, NULL));
	assert_holds(b, "packs/cd/y", buf_span(&data));
}

static void an_aborted_put_leaves_nothing(void **state)
{
	struct backend *b = backend_of(state);
	struct backend_put *p;

	assert_ok(b->ops->put_begin(b, "packs/cd/y", &p));
	assert_ok(b->ops->put_write(p, span_str("some"), NULL));
	b->ops->put_abort(p);
	assert_missing(b, "packs/cd/y");
}

static void several_puts_can_be_open_at_once(void **state)
{
	struct backend *b = backend_of(state);
	struct backend_put *p[3];

	for (size_t i = 0; i < 3; i++)
		assert_ok(b->ops->put_begin(b, "packs/cd/y", &p[i]));
	assert_ok(b->ops->put_write(p[0], span_str("first"), NULL));
	assert_ok(b->ops->put_write(p[1], span_str("second"), NULL));
	assert_ok(b->ops->put_end(p[1], NULL));
	assert_holds(b, "packs/cd/y", span_str("second"));
	b->ops->put_abort(p[2]);
	assert_ok(b->ops->put_end(p[0], NULL));
	assert_holds(b, "packs/cd/y", span_str("first"));
}

static void a_swap_creates_only_what_is_not_there(void **state)
{
	struct backend *b = backend_of(state);
	struct etag tag, seen;
	_cleanup_buf_ struct buf all = { 0 };

	assert_ok(b->ops->swap(b, "heads/r/main", NULL, span_str("one"), NULL, &tag));
	assert_int_equal(b->ops->swap(b, "heads/r/main", NULL, span_str("two"), NULL, &seen),
			 -ESTALE);
	/* nor the same bytes: somebody else's success is not ours */
	assert_int_equal(b->ops->swap(b, "heads/r/main", NULL, span_str("one"), NULL, &seen),
			 -ESTALE);
	assert_ok(b->ops->get_all(b, "heads/r/main", 100, NULL, NULL, &all, &seen));
	assert_string_equal(seen.s, tag.s);
	assert_true(span_equal(buf_span(&all), span_str("one")));
}

static void a_swap_replaces_only_what_did_not_change(void **state)
{
	struct backend *b = backend_of(state);
	struct etag one, two, none;

	assert_ok(b->ops->swap(b, "heads/r/main", NULL, span_str("one"), NULL, &one));
	assert_ok(b->ops->swap(b, "heads/r/main", &one, span_str("two"), NULL, &two));
	assert_string_not_equal(one.s, two.s);
	assert_int_equal(b->ops->swap(b, "heads/r/main", &one, span_str("lost"), NULL, &none),
			 -ESTALE);
	assert_holds(b, "heads/r/main", span_str("two"));
	assert_int_equal(b->ops->swap(b, "heads/r/other", &one, span_str("lost"), NULL, &none),
			 -ESTALE);
	assert_missing(b, "heads/r/other");
	assert_ok(b->ops->swap(b, "heads/r/main", &two, span_str("three"), NULL, &none));
	assert_holds(b, "heads/r/main", span_str("three"));
}

static void what_is_no_key_is_refused_everywhere(void **state)
{
	struct backend *b = backend_of(state);
	char long_key[514], long_part[258];
	const char *const bad[] = {
		"",	"/",   "/a",   "a/",	 "a//b", ".",	 "..",	   "a/.",
		"a/..", "./a", "../a", "a/./b",	 "a b",	 "a\nb", "a\\b",   "ä",
		"a:b",	"a+b", "tmp",  "tmp/ab", "a*",	 "~",	 long_key, long_part,
	};

	memset(long_part, 'x', sizeof(long_part) - 1);
	long_part[256] = '\0';
	for (size_t i = 0; i < sizeof(long_key); i++)
		long_key[i] = i % 2 ? '/' : 'x';
	long_key[513] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_buf_ struct buf all = { 0 };
		struct backend_put *p;
		struct etag tag;
		uint64_t size;
		char byte;
		size_t n;

		assert_false(backend_key_is_valid(bad[i]));
		assert_int_equal(b->ops->get(b, bad[i], 0, 1, &byte, NULL, &n), -EINVAL);
		assert_int_equal(b->ops->get_all(b, bad[i], 1, NULL, NULL, &all, &tag), -EINVAL);
		assert_int_equal(b->ops->head(b, bad[i], NULL, &size), -EINVAL);
		assert_int_equal(b->ops->put(b, bad[i], span_str("x"), NULL), -EINVAL);
		assert_int_equal(b->ops->put_begin(b, bad[i], &p), -EINVAL);
		assert_int_equal(b->ops->swap(b, bad[i], NULL, span_str("x"), NULL, &tag), -EINVAL);
		assert_int_equal(b->ops->remove(b, bad[i], NULL), -EINVAL);
	}
	long_key[511] = '\0';
	long_part[255] = '\0';
	put(b, long_part, "x");
	assert_holds(b, long_part, span_str("x"));
	put(b, long_key, "y");
	assert_holds(b, long_key, span_str("y"));
	put(b, "tmpo", "z");
	put(b, ".../a.b-c_D9", "z");
}

static int unexpected(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	fail_msg("%s is listed", key);
	return 0;
}

static void assert_all_end_with(struct backend *b, const struct deadline *dl, int expected)
{
	_cleanup_buf_ struct buf all = { 0 };
	struct backend_put *p;
	struct etag tag;
	uint64_t size;
	char byte;
	size_t n;

	assert_int_equal(b->ops->get(b, "there", 0, 1, &byte, dl, &n), expected);
	assert_int_equal(b->ops->get_all(b, "there", 1, NULL, dl, &all, &tag), expected);
	assert_int_equal(b->ops->head(b, "there", dl, &size), expected);
	assert_int_equal(b->ops->put(b, "not", span_str("x"), dl), expected);
	assert_int_equal(b->ops->swap(b, "not", NULL, span_str("x"), dl, &tag), expected);
	assert_int_equal(b->ops->remove(b, "there", dl), expected);
	assert_int_equal(b->ops->list(b, "", NULL, unexpected, NULL, dl), expected);
	assert_ok(b->ops->put_begin(b, "not", &p));
	assert_int_equal(b->ops->put_write(p, span_str("x"), dl), expected);
	b->ops->put_abort(p);
	assert_ok(b->ops->put_begin(b, "not", &p));
	assert_int_equal(b->ops->put_end(p, dl), expected);
	assert_missing(b, "not");
	assert_holds(b, "there", span_str("x"));
}

static void after_its_deadline_a_call_does_nothing(void **state)
{
	struct backend *b = backend_of(state);
	const struct deadline past = { .at_ns = 1 };

	put(b, "there", "x");
	assert_all_end_with(b, &past, -ETIME);
}

static void a_call_nobody_wants_does_nothing(void **state)
{
	struct backend *b = backend_of(state);
	const atomic_bool yes = true;
	const struct deadline cancelled = { .at_ns = INT64_MAX, .cancelled = &yes };

	put(b, "there", "x");
	assert_all_end_with(b, &cancelled, -ECANCELED);
}

enum {
	RACERS = 4,
	ROUNDS = 50
};

struct race {
	struct backend *backend;
	atomic_uint wins;
};

static void *increment(void *arg)
{
	struct race *race = arg;
	struct backend *b = race->backend;

	for (int i = 0; i < ROUNDS;) {
		_cleanup_buf_ struct buf now = { 0 };
		char next[32];
		struct etag tag, fresh;
		int r;

		if (b->ops->get_all(b, "counter", 100, NULL, NULL, &now, &tag) < 0)
			return (void *)"the counter cannot be read";
		buf_put_u8(&now, '\0');
		snprintf(next, sizeof(next), "%lu", strtoul((char *)now.data, NULL, 10) + 1);
		r = b->ops->swap(b, "counter", &tag, span_str(next), NULL, &fresh);
		if (r == 0)
			i++;
		else if (r != -ESTALE)
			return (void *)"the counter cannot be swapped";
	}
	return NULL;
}

static void *create(void *arg)
{
	struct race *race = arg;
	struct backend *b = race->backend;

	for (int i = 0; i < ROUNDS; i++) {
		char key[32];
		struct etag tag;
		int r;

		snprintf(key, sizeof(key), "race/%d", i);
		r = b->ops->swap(b, key, NULL, span_str(key), NULL, &tag);
		if (r == 0)
			race->wins++;
		else if (r != -ESTALE)
			return (void *)"cannot be created";
	}
	return NULL;
}

static void run_racers(struct race *race, void *(*fn)(void *))
{
	pthread_t threads[RACERS];

	for (int i = 0; i < RACERS; i++)
		assert_ok(thread_start(&threads[i], "racer", fn, race));
	for (int i = 0; i < RACERS; i++) {
		void *complaint;

		pthread_join(threads[i], &complaint);
		if (complaint)
			fail_msg("%s", (char *)complaint);
	}
}

static void of_racing_swaps_none_is_lost(void **state)
{
	struct race race = { .backend = backend_of(state) };
	char sum[32];

	put(race.backend, "counter", "0");
	run_racers(&race, increment);
	snprintf(sum, sizeof(sum), "%d", RACERS * ROUNDS);
	assert_holds(race.backend, "counter", span_str(sum));
}

static void of_racing_creators_one_wins(void **state)
{
	struct race race = { .backend = backend_of(state) };

	run_racers(&race, create);
	assert_int_equal(race.wins, ROUNDS);
}

#define TESTS(make)                                                                  \
	{                                                                            \
		TEST(an_object_reads_as_it_was_put, make),                           \
			TEST(a_range_ends_with_its_object, make),                    \
			TEST(what_was_not_put_is_missing, make),                     \
			TEST(what_was_deleted_is_missing, make),                     \
			TEST(a_whole_object_is_read_up_to_a_limit, make),            \
			TEST(an_object_that_did_not_change_is_not_read_again, make), \
			TEST(an_object_in_pieces_is_seen_when_it_is_whole, make),    \
			TEST(an_aborted_put_leaves_nothing, make),                   \
			TEST(several_puts_can_be_open_at_once, make),                \
			TEST(a_swap_creates_only_what_is_not_there, make),           \
			TEST(a_swap_replaces_only_what_did_not_change, make),        \
			TEST(what_is_no_key_is_refused_everywhere, make),            \
			TEST(after_its_deadline_a_call_does_nothing, make),          \
			TEST(a_call_nobody_wants_does_nothing, make),                \
			TEST(of_racing_swaps_none_is_lost, make),                    \
			TEST(of_racing_creators_one_wins, make),                     \
	}

int main(void)
{
	return RUN_WITH_EACH_KIND(TESTS);
}
