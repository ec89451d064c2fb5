/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The log of what a run has seen: each place comes out once, in order, with all that was noted of
 * it, whatever was logged twice, forgotten meanwhile, or torn.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/deadline.h"
#include "base/text.h"
#include "prng.h"
#include "record/seen.h"
#include "record/seen_parts.h"
#include "scratch.h"

struct stand {
	struct scratch dir;
	struct seen *seen;
	struct buf told; /* what a walk said, a line a place */
};

static int set_up(void **state)
{
	struct stand *s = new0(struct stand, 1);

	s->dir = scratch_make();
	assert_ok(seen_open(s->dir.fd, "seen", &s->seen));
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct stand *s = *state;

	seen_free(s->seen);
	buf_release(&s->told);
	scratch_remove(&s->dir);
	free(s);
	return 0;
}

static void reopen(struct stand *s)
{
	seen_free(s->seen);
	assert_ok(seen_open(s->dir.fd, "seen", &s->seen));
}

static int tell(unsigned depth, struct span name, unsigned what, void *ctx)
{
	struct buf *told = ctx;

	buf_printf(told, "%u %.*s %u\n", depth, (int)name.len, name.data, what);
	return 0;
}

/* What a walk says, as text. */
static const char *walked(struct stand *s)
{
	buf_clear(&s->told);
	assert_ok(seen_walk(s->seen, tell, &s->told));
	buf_put_u8(&s->told, '\0');
	assert_false(buf_failed(&s->told));
	return (const char *)s->told.data;
}

static seen_place name(struct stand *s, seen_place dir, const char *text, enum seen_what what)
{
	return seen_name(s->seen, dir, span_str(text), what);
}

static void parents_come_first_and_names_ascend(void **state)
{
	struct stand *s = *state;
	seen_place top = seen_top(s->seen, "r/main"), dir = name(s, top, "d", SEEN_PRESENT);

	name(s, dir, "z", SEEN_PRESENT);
	name(s, dir, "a", SEEN_ABSENT);
	name(s, top, "b", SEEN_PRESENT);
	name(s, seen_top(s->seen, "r/dev"), "x", SEEN_PRESENT);
	assert_string_equal(walked(s), "0  0\n0 r 0\n0 r/dev 0\n1 x 1\n0 r/main 0\n1 b 1\n1 d 1\n"
				       "2 a 2\n2 z 1\n");
}

/* "R-x" is before "R/B" as text, and not within R. */
static void what_is_in_a_repo_comes_together(void **state)
{
	struct stand *s = *state;

	seen_top(s->seen, "r/b");
	seen_top(s->seen, "r-x/b");
	assert_string_equal(walked(s), "0  0\n0 r 0\n0 r/b 0\n0 r-x 0\n0 r-x/b 0\n");
}

static void a_top_is_what_is_looked_up_in_the_one_above(void **state)
{
	struct stand *s = *state;
	seen_place all = seen_top(s->seen, ""), repo = name(s, all, "r", SEEN_PRESENT);

	assert_int_equal(seen_top(s->seen, "r"), repo);
	assert_int_equal(name(s, repo, "b", SEEN_ABSENT), seen_top(s->seen, "r/b"));
	seen_mark(s->seen, all, SEEN_LISTED);
	assert_string_equal(walked(s), "0  8\n0 r 1\n0 r/b 2\n");
}

static void all_that_was_noted_of_a_place_is_told(void **state)
{
	struct stand *s = *state;
	seen_place f = name(s, seen_top(s->seen, "r/b"), "f", SEEN_ABSENT);

	assert_int_equal(name(s, seen_top(s->seen, "r/b"), "f", SEEN_PRESENT), f);
	seen_mark(s->seen, f, SEEN_READ);
	seen_mark(s->seen, f, SEEN_LISTED);
	seen_mark(s->seen, f, SEEN_TREE);
	seen_mark(s->seen, f, SEEN_KEPT);
	assert_string_equal(walked(s), "0  0\n0 r 0\n0 r/b 0\n1 f 63\n");
}

static void what_is_noted_again_is_not_logged_again(void **state)
{
	struct stand *s = *state;
	seen_place top = seen_top(s->seen, "r/b"), f = name(s, top, "f", SEEN_PRESENT);
	struct seen_stats before, after;

	seen_mark(s->seen, f, SEEN_READ);
	seen_stats(s->seen, &before);
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(name(s, top, "f", SEEN_PRESENT), f);
		seen_mark(s->seen, f, SEEN_READ);
		seen_mark(s->seen, 0, SEEN_READ);
		assert_int_equal(seen_top(s->seen, "r/b"), top);
	}
	seen_stats(s->seen, &after);
	assert_int_equal(after.log_bytes, before.log_bytes);
	assert_int_equal(after.places, 3);
}

static void nothing_is_in_no_place(void **state)
{
	struct stand *s = *state;
	seen_place top = seen_top(s->seen, "r/b");

	assert_int_equal(name(s, 0, "f", SEEN_PRESENT), 0);
	assert_int_equal(name(s, top, "", SEEN_PRESENT), 0);
	assert_int_equal(name(s, top, "a/b", SEEN_PRESENT), 0);
	assert_int_equal(name(s, top, "..", SEEN_PRESENT), 0);
	assert_int_equal(seen_top(s->seen, "//x"), 0);
	assert_ok(seen_error(s->seen));
	assert_string_equal(walked(s), "0  0\n0 r 0\n0 r/b 0\n");
}

static void names_are_any_bytes(void **state)
{
	struct stand *s = *state;
	seen_place top = seen_top(s->seen, "r/b");
	char longest[256] = { 0 };

	memset(longest, 'x', 255);
	name(s, top, longest, SEEN_PRESENT);
	name(s, top, "\xff\n", SEEN_PRESENT);
	name(s, top, "\x01", SEEN_PRESENT);
	walked(s);
	assert_non_null(strstr((char *)s->told.data, "1 \x01 1\n1 xxx"));
	assert_non_null(strstr((char *)s->told.data, "xxx 1\n1 \xff\n 1\n"));
}

static int refuse(unsigned depth, struct span name, unsigned what, void *ctx)
{
	return ++*(unsigned *)ctx == 2 ? -EUCLEAN : 0;
}

static void a_walk_ends_when_it_is_told_to(void **state)
{
	struct stand *s = *state;
	unsigned calls = 0;

	seen_top(s->seen, "r/b");
	assert_int_equal(seen_walk(s->seen, refuse, &calls), -EUCLEAN);
	assert_int_equal(calls, 2);
}

/* Places of a log that was written before, and in several pieces, stay what they are. */
static void a_log_goes_on_where_it_ended(void **state)
{
	struct stand *s = *state;
	seen_place top = seen_top(s->seen, "r/b"), f = name(s, top, "f", SEEN_PRESENT);

	reopen(s);
	seen_mark(s->seen, f, SEEN_READ);
	name(s, top, "f", SEEN_ABSENT);
	name(s, top, "g", SEEN_ABSENT);
	assert_string_equal(walked(s), "0  0\n0 r 0\n0 r/b 0\n1 f 7\n1 g 2\n");
	name(s, top, "h", SEEN_ABSENT);
	assert_string_equal(walked(s), "0  0\n0 r 0\n0 r/b 0\n1 f 7\n1 g 2\n1 h 2\n");
}

/* Cut anywhere, and with any byte of its last record another one, it ends early and goes on. */
static void a_torn_end_is_cut_off_and_nothing_before_it(void **state)
{
	struct stand *s = *state;
	seen_place top = seen_top(s->seen, "r/b");
	_cleanup_buf_ struct buf whole = { 0 };
	size_t kept;

	name(s, top, "first", SEEN_PRESENT);
	walked(s);
	kept = s->seen->written;
	name(s, top, "second", SEEN_PRESENT);
	walked(s);
	assert_ok(read_file(s->dir.fd, "seen", 1 << 20, &whole));
	for (size_t i = kept; i < whole.len + 8; i++) {
		size_t cut = MIN(i, whole.len);

		if (i >= whole.len) /* the name */
			whole.data[whole.len - 16 + (i - whole.len)] ^= 4;
		assert_ok(write_file_atomic(s->dir.fd, "seen", span_of(whole.data, cut), 0600));
		reopen(s);
		if (i >= whole.len)
			whole.data[whole.len - 16 + (i - whole.len)] ^= 4;
		assert_string_equal(walked(s), "0  0\n0 r 0\n0 r/b 0\n1 first 1\n");
		name(s, top, "third", SEEN_ABSENT);
		assert_string_equal(walked(s), "0  0\n0 r 0\n0 r/b 0\n1 first 1\n1 third 2\n");
	}
}

static void what_is_no_log_is_begun_anew(void **state)
{
	static const uint8_t zeroes[4096];
	struct stand *s = *state;

	assert_ok(write_file_atomic(s->dir.fd, "seen", span_of(zeroes, sizeof(zeroes)), 0600));
	reopen(s);
	name(s, seen_top(s->seen, "r/b"), "f", SEEN_PRESENT);
	assert_string_equal(walked(s), "0  0\n0 r 0\n0 r/b 0\n1 f 1\n");
}

/* Records whose checksums are right, and that no log has: a first one that is not /pfs, places that
 * come later, and what there is no flag for. */
static void records_that_cannot_be_are_cut_off(void **state)
{
	static const struct {
		struct seen_record first, second;
		uint64_t kept;
	} cases[] = {
		{ { .place = 7 }, { 0 }, 16 },
		{ { .place = 1, .name = { (const uint8_t *)"x", 1 } }, { 0 }, 16 },
		{ { 0 }, { .place = 2 }, 16 },
		{ { 0 }, { .place = 0 }, 16 },
		{ { 0 }, { .place = UINT32_MAX }, 16 },
		{ { 0 }, { .place = 1, .what = 64 }, 16 },
		{ { 0 }, { .place = 1, .what = 63 }, 24 },
	};
	struct stand *s = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t log[64] = SEEN_MAGIC;
		size_t len = SEEN_UNIT;
		struct seen_stats st;

		len += seen_record_put(log + len, &cases[i].first);
		len += seen_record_put(log + len, &cases[i].second);
		assert_ok(write_file_atomic(s->dir.fd, "seen", span_of(log, len), 0600));
		reopen(s);
		seen_stats(s->seen, &st);
		assert_int_equal(st.log_bytes, cases[i].kept);
		assert_string_equal(walked(s), cases[i].kept == 24 ? "0  63\n" : "0  0\n");
	}
}

/* Zeroes behind a log, as power loss leaves them, are no records. */
static void zeroes_at_the_end_are_cut_off(void **state)
{
	struct stand *s = *state;
	seen_place top = seen_top(s->seen, "r/b");
	struct seen_stats st;

	walked(s);
	seen_stats(s->seen, &st);
	assert_ok(ftruncate(s->seen->fd, (off_t)st.log_bytes + 4096));
	reopen(s);
	name(s, top, "f", SEEN_PRESENT);
	assert_string_equal(walked(s), "0  0\n0 r 0\n0 r/b 0\n1 f 1\n");
}

static void a_full_disk_is_said_and_keeps_what_was_there(void **state)
{
	struct stand *s = *state;
	struct rlimit old, low = { 0 };
	seen_place top = seen_top(s->seen, "r/b");
	char text[16];

	name(s, top, "f", SEEN_PRESENT);
	walked(s);
	assert_ok(getrlimit(RLIMIT_FSIZE, &old));
	low = (struct rlimit){ .rlim_cur = 4096, .rlim_max = old.rlim_max };
	signal(SIGXFSZ, SIG_IGN);
	assert_ok(setrlimit(RLIMIT_FSIZE, &low));
	for (unsigned i = 0; i < 10000 && seen_error(s->seen) == 0; i++) {
		snprintf(text, sizeof(text), "%u", i);
		name(s, top, text, SEEN_PRESENT);
	}
	assert_ok(setrlimit(RLIMIT_FSIZE, &old));
	assert_int_equal(seen_error(s->seen), -EFBIG);
	assert_int_equal(name(s, top, "more", SEEN_PRESENT), 0);
	seen_mark(s->seen, top, SEEN_LISTED);
	assert_non_null(strstr(walked(s), "1 f 1\n"));
}

static void a_disk_that_was_full_from_the_start_leaves_nothing_seen(void **state)
{
	struct stand *s = *state;
	struct rlimit old, none = { 0 };

	name(s, seen_top(s->seen, "r/b"), "f", SEEN_PRESENT);
	assert_ok(getrlimit(RLIMIT_FSIZE, &old));
	none.rlim_max = old.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	assert_ok(setrlimit(RLIMIT_FSIZE, &none));
	assert_string_equal(walked(s), "0  0\n");
	assert_ok(setrlimit(RLIMIT_FSIZE, &old));
	assert_int_equal(seen_error(s->seen), -EFBIG);
	assert_string_equal(walked(s), "0  0\n");
}

/*
 * A model: what was noted of each of many names in many places, some of them named again and again
 * over a table that is too small for them.
 */
enum {
	DIRS = 500,
	NAMES = 600,
};

struct model {
	uint8_t what[DIRS][NAMES];
	unsigned dir, last;
	uint64_t told;
};

static int hold_against(unsigned depth, struct span name, unsigned what, void *ctx)
{
	struct model *m = ctx;
	unsigned n;

	if (depth == 0)
		return 0;
	n = (unsigned)(name.data[1] - '0') * 100 + (unsigned)(name.data[2] - '0') * 10 +
	    (unsigned)(name.data[3] - '0');
	if (depth == 1) {
		m->dir = n;
		m->last = 0;
		return 0;
	}
	assert_true(n + 1 > m->last);
	m->last = n + 1;
	assert_int_equal(m->what[m->dir][n], what);
	m->told++;
	return 0;
}

static void random_names_come_out_as_a_model_has_them(void **state)
{
	struct model *m = new0(struct model, 1);
	struct stand *s = *state;
	seen_place top = seen_top(s->seen, "r/b"), dirs[DIRS];
	struct prng p = { 7 };
	uint64_t distinct = 0;
	char text[8];

	for (unsigned i = 0; i < 1000000; i++) {
		unsigned d = prng_below(&p, DIRS), n = prng_below(&p, NAMES);
		unsigned what = 1u << prng_below(&p, 5);
		seen_place place;

		/* Slots that are overwritten give a place several numbers. */
		if (i % 1000 == 0)
			memset(s->seen->slots, 0, s->seen->slot_count * sizeof(s->seen->slots[0]));
		snprintf(text, sizeof(text), "d%03u", d);
		dirs[d] = name(s, top, text, SEEN_PRESENT);
		snprintf(text, sizeof(text), "f%03u", n);
		place = name(s, dirs[d], text, what);
		assert_true(place > 0);
		if (i % 3 == 0) {
			seen_mark(s->seen, place, SEEN_READ);
			what |= SEEN_READ;
		}
		distinct += m->what[d][n] == 0;
		m->what[d][n] |= what;
	}
	assert_ok(seen_walk(s->seen, hold_against, m));
	assert_int_equal(m->told, distinct);
	free(m);
}

static int count(unsigned depth, struct span name, unsigned what, void *ctx)
{
	*(uint64_t *)ctx += depth > 0;
	return 0;
}

/* A million: the table stays bounded, and what is sorted does not fit into memory. */
static void many_names_take_bounded_memory(void **state)
{
	struct stand *s = *state;
	seen_place top = seen_top(s->seen, "r/b");
	int64_t begun = now_ns(), logged;
	struct seen_stats st;
	uint64_t told = 0;
	char text[16];

	for (unsigned i = 0; i < 1000000; i++) {
		snprintf(text, sizeof(text), "%u", i * 7919u);
		name(s, top, text, SEEN_PRESENT);
	}
	logged = now_ns();
	assert_ok(seen_walk(s->seen, count, &told));
	print_message("%lld ms to log, %lld ms to sort\n", (long long)(logged - begun) / 1000000,
		      (long long)(now_ns() - logged) / 1000000);
	seen_stats(s->seen, &st);
	assert_int_equal(told, 1000000);
	assert_true(st.memory_bytes <= 17 << 20);
	assert_int_equal(faccessat(s->dir.fd, ".seen-sorted", F_OK, 0), -1);
}

/* A row of one parent under another, deeper than any stack. */
static void depth_has_no_bound(void **state)
{
	struct stand *s = *state;
	seen_place p = seen_top(s->seen, "r/b");
	uint64_t told = 0;

	for (unsigned i = 0; i < 200000; i++)
		p = name(s, p, "d", SEEN_PRESENT);
	assert_ok(seen_walk(s->seen, count, &told));
	assert_int_equal(told, 200000);
}

static int add_more(unsigned depth, struct span name, unsigned what, void *ctx)
{
	struct stand *s = ctx;
	seen_place top = seen_top(s->seen, "r/b");
	char text[16];

	if (depth == 0)
		return 0;
	assert_true(name.data[0] == 'f');
	for (unsigned i = 0; i < 5000; i++) {
		snprintf(text, sizeof(text), "%.*s%u", (int)name.len, name.data, i);
		text[0] = 'g';
		seen_name(s->seen, top, span_str(text), SEEN_PRESENT);
	}
	return 0;
}

static void what_is_added_during_a_walk_is_not_told(void **state)
{
	struct stand *s = *state;
	seen_place top = seen_top(s->seen, "r/b");
	uint64_t told = 0;

	name(s, top, "f1", SEEN_PRESENT);
	name(s, top, "f2", SEEN_PRESENT);
	assert_ok(seen_walk(s->seen, add_more, s));
	assert_ok(seen_walk(s->seen, count, &told));
	assert_int_equal(told, 10002);
}

static void *log_names(void *arg)
{
	struct stand *s = arg;
	seen_place top = seen_top(s->seen, "r/b"), dir;
	char text[16];

	for (unsigned i = 0; i < 50000; i++) {
		snprintf(text, sizeof(text), "d%03u", i % 500);
		dir = name(s, top, text, SEEN_PRESENT);
		snprintf(text, sizeof(text), "%u", i / 50);
		seen_mark(s->seen, name(s, dir, text, SEEN_PRESENT), SEEN_READ);
	}
	return NULL;
}

static void several_threads_log_what_one_would(void **state)
{
	struct stand *s = *state;
	pthread_t threads[4];
	_cleanup_free_ char *all = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_ok(pthread_create(&threads[i], NULL, log_names, s));
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_ok(pthread_join(threads[i], NULL));
	all = strdup(walked(s));
	seen_free(s->seen);
	assert_ok(seen_open(s->dir.fd, "other", &s->seen));
	log_names(s);
	assert_string_equal(walked(s), all);
}

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(parents_come_first_and_names_ascend),
		test(what_is_in_a_repo_comes_together),
		test(a_top_is_what_is_looked_up_in_the_one_above),
		test(all_that_was_noted_of_a_place_is_told),
		test(what_is_noted_again_is_not_logged_again),
		test(nothing_is_in_no_place),
		test(names_are_any_bytes),
		test(a_walk_ends_when_it_is_told_to),
		test(a_log_goes_on_where_it_ended),
		test(a_torn_end_is_cut_off_and_nothing_before_it),
		test(what_is_no_log_is_begun_anew),
		test(records_that_cannot_be_are_cut_off),
		test(zeroes_at_the_end_are_cut_off),
		test(a_full_disk_is_said_and_keeps_what_was_there),
		test(a_disk_that_was_full_from_the_start_leaves_nothing_seen),
		test(random_names_come_out_as_a_model_has_them),
		test(many_names_take_bounded_memory),
		test(depth_has_no_bound),
		test(what_is_added_during_a_walk_is_not_told),
		test(several_threads_log_what_one_would),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
