/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Plans of updates: what counts as stale, and in which order what is to be run.
 */
#include "base/text.h"
#include "catalog/catalog.h"
#include "check.h"
#include "lineage/plan.h"
#include "madestore.h"
#include "scratch.h"

enum {
	T0 = 1768000000, /* 2026-01-09T23:06:40Z */
	ANN = 1000, /* whose all runs are */
};

struct stand {
	struct scratch dir;
	char *url, *state;
	struct store *store;
	struct buf told;
	json_t *lines; /* owned */
	int64_t now;
};

static int set_up(void **state)
{
	struct stand *s = new0(struct stand, 1);
	struct store_options o = { .threads = 1 };

	s->dir = scratch_make();
	s->url = strf("%s/store", s->dir.path);
	s->state = strf("%s/state", s->dir.path);
	s->now = T0;
	o.state_dir = s->state;
	assert_ok(store_init(s->url, false));
	assert_ok(store_open(s->url, &o, &s->store));
	made_repo(s->store, "r");
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct stand *s = *state;

	store_free(s->store);
	json_decref(s->lines);
	buf_release(&s->told);
	scratch_remove(&s->dir);
	free(s->url);
	free(s->state);
	free(s);
	return 0;
}

/* Somebody changes a file of r/main; NULL: removes it. */
static void put(struct stand *s, const char *name, const char *text)
{
	made_commit(s->store, "r", (struct made_file[MADE_FILES_MAX]){ { name, text } },
		    s->now += 100, NULL);
}

/* A run; its files are of r/main. */
static void run(struct stand *s, struct made_run r)
{
	r.started = s->now += 100;
	r.command = r.command ?: r.name;
	made_run(s->store, &r);
}

static int take(json_t *line, void *ctx)
{
	struct stand *s = ctx;
	json_t *row = json_object_get(line, "run"), *skip = json_object_get(line, "skip");

	buf_printf(&s->told, "%s%s:%s%s", s->told.len > 0 ? " " : "",
		   json_string_value(json_object_get(row, "name")),
		   json_string_value(json_object_get(line, "state")), skip ? "!" : "");
	json_array_append_new(s->lines, line);
	return 0;
}

/* "NAME:STATE" of each step, "!" behind what is not to be run. */
static const char *plan_as(struct stand *s, const char *path, uid_t uid, bool force)
{
	struct run_place place = { span_str("r"), span_str("main"), span_str(path) };
	const struct catalog_look look = { .is_full = true };
	_cleanup_(run_tips_freep) struct run_tips *tips = NULL;
	_cleanup_(run_plan_freep) struct run_plan *p = NULL;
	struct refs_wait w = { .may_wait = true, .fresh = true, .deadline = DEADLINE_NEVER };
	struct access acc;
	struct run_planning how = {
		.rd = { s->store, &acc }, .uid = uid, .force = force, .emit = take, .ctx = s
	};

	access_init(&acc, s->store->reader, true);
	json_decref(s->lines);
	s->lines = json_array();
	buf_clear(&s->told);
	assert_ok(catalog_look(s->store, &look, &acc.deadline));
	assert_ok(run_tips_new(&how.rd, &w, &tips));
	how.tips = tips;
	assert_ok(run_plan_new(&how, &p));
	assert_ok(run_plan_add(p, &place));
	assert_ok(run_plan_tell(p));
	access_release(&acc);
	buf_put_u8(&s->told, 0);
	return (const char *)s->told.data;
}

static const char *plan(struct stand *s, const char *path)
{
	return plan_as(s, path, ANN, false);
}

/* a -> b -> c */
static void make_chain(struct stand *s)
{
	put(s, "a", "a1");
	run(s, (struct made_run){ .name = "first",
				  .read = { { "r/main/a", "a1" } },
				  .written = { { "r/main/b", "b1" } } });
	run(s, (struct made_run){ .name = "second",
				  .read = { { "r/main/b", "b1" } },
				  .written = { { "r/main/c", "c1" } } });
}

static void nothing_is_stale_while_all_is_as_it_was(void **state)
{
	struct stand *s = *state;

	make_chain(s);
	assert_string_equal(plan(s, ""), "");
	put(s, "a", "a2");
	put(s, "a", "a1");
	assert_string_equal(plan(s, ""), "");
}

static void what_is_made_from_something_stale_comes_behind_it(void **state)
{
	struct stand *s = *state;
	json_t *line;

	make_chain(s);
	put(s, "a", "a2");
	assert_string_equal(plan(s, ""), "first:stale second:depends");
	line = json_array_get(s->lines, 1);
	assert_int_equal(json_array_size(json_object_get(line, "after")), 1);
	assert_string_equal(plan(s, "c"), "first:stale second:depends");
	assert_string_equal(plan(s, "b"), "first:stale");
	assert_string_equal(plan(s, "a"), "");
}

static void the_order_is_that_of_dependence_and_not_of_time(void **state)
{
	struct stand *s = *state;

	make_chain(s);
	put(s, "a", "a2");
	/* By another command: the run that counts is younger than the one that reads what it makes.
	 */
	run(s, (struct made_run){ .name = "anew",
				  .read = { { "r/main/a", "a2" } },
				  .written = { { "r/main/b", "b2" } } });
	put(s, "a", "a3");
	assert_string_equal(plan(s, ""), "anew:stale second:stale");
}

static void a_name_that_was_not_there_and_is_now_makes_it_stale(void **state)
{
	struct stand *s = *state;

	put(s, "a", "a1");
	run(s, (struct made_run){ .name = "looks",
				  .read = { { "r/main/a", "a1" } },
				  .looked = { { "r/main/conf", NULL }, { "r/main/out", NULL } },
				  .written = { { "r/main/out", "1" } } });
	/* What it has made itself is no reason. */
	assert_string_equal(plan(s, ""), "");
	put(s, "conf", "x");
	assert_string_equal(plan(s, ""), "looks:stale");
	put(s, "conf", NULL);
	assert_string_equal(plan(s, ""), "");
	put(s, "a", NULL);
	assert_string_equal(plan(s, ""), "looks:stale");
}

static void throw_away_files_make_nothing_stale(void **state)
{
	struct stand *s = *state;

	put(s, "a", "a1");
	run(s, (struct made_run){ .name = "looks",
				  .read = { { "r/main/a", "a1" } },
				  .looked = { { "r/main/a.swp", NULL } },
				  .written = { { "r/main/out", "1" } } });
	put(s, "a.swp", "x");
	assert_string_equal(plan(s, ""), "");
}

static void what_it_would_write_over_keeps_it_from_being_run(void **state)
{
	struct stand *s = *state;

	make_chain(s);
	put(s, "a", "a2");
	put(s, "b", "by hand");
	assert_string_equal(plan(s, ""), "first:stale! second:stale");
	assert_string_equal(plan_as(s, "", ANN, true), "first:stale second:stale");
	/* A file that is gone is nobody's work. */
	put(s, "b", NULL);
	assert_string_equal(plan(s, ""), "second:stale");
}

static void another_runs_work_keeps_it_from_being_run_and_its_own_does_not(void **state)
{
	struct stand *s = *state;
	struct made_run both = { .name = "both",
				 .read = { { "r/main/a", "a1" } },
				 .written = { { "r/main/b", "b1" }, { "r/main/c", "c1" } } };

	put(s, "a", "a1");
	run(s, both);
	run(s, (struct made_run){ .name = "alone", .written = { { "r/main/c", "c2" } } });
	put(s, "a", "a2");
	assert_string_equal(plan(s, ""), "both:stale!");
	both.written[0] = (struct made_file){ "r/main/c", "c3" };
	both.written[1] = (struct made_file){ NULL, NULL };
	both.read[0].text = "a2";
	run(s, both);
	/* The later one has made what counts, though not all of it. */
	assert_string_equal(plan(s, ""), "");
}

static void a_circle_is_told_once(void **state)
{
	struct stand *s = *state;

	put(s, "raw", "1");
	put(s, "b", "b0");
	run(s, (struct made_run){ .name = "to-a",
				  .read = { { "r/main/b", "b0" }, { "r/main/raw", "1" } },
				  .written = { { "r/main/a", "a1" } } });
	run(s, (struct made_run){ .name = "to-b",
				  .read = { { "r/main/a", "a1" } },
				  .written = { { "r/main/b", "b1" } } });
	put(s, "raw", "2");
	plan(s, "");
	assert_int_equal(json_array_size(s->lines), 2);
}

static void failed_and_other_users_runs_are_not_run(void **state)
{
	struct stand *s = *state;

	put(s, "a", "a1");
	run(s, (struct made_run){ .name = "bad",
				  .status = "failed",
				  .read = { { "r/main/a", "a1" } },
				  .written = { { "r/main/b", "b1" } } });
	put(s, "a", "a2");
	assert_string_equal(plan_as(s, "", ANN, true), "bad:stale!");
	run(s, (struct made_run){ .name = "good",
				  .read = { { "r/main/a", "a2" } },
				  .written = { { "r/main/b", "b2" } } });
	put(s, "a", "a3");
	assert_string_equal(plan_as(s, "", ANN, true), "good:stale");
	assert_string_equal(plan_as(s, "", 0, true), "good:stale!");
}

static void of_many_steps_each_is_behind_what_it_needs(void **state)
{
	struct stand *s = *state;
	char name[16], paths[30][32], texts[30][8];

	put(s, "f0", "0");
	for (int i = 0; i < 30; i++) {
		/* Each reads what the one before and the one three before have made. */
		int other = i >= 3 ? i - 3 : 0;

		snprintf(paths[i], sizeof(paths[i]), "r/main/f%d", i);
		snprintf(texts[i], sizeof(texts[i]), "%d", i);
		if (i == 0)
			continue;
		snprintf(name, sizeof(name), "s%d", i);
		run(s, (struct made_run){
			       .name = name,
			       .read = { { paths[i - 1], texts[i - 1] },
					 { other < i - 1 ? paths[other] : NULL, texts[other] } },
			       .written = { { paths[i], texts[i] } } });
	}
	put(s, "f0", "other");
	plan(s, "");
	assert_int_equal(json_array_size(s->lines), 29);
	for (size_t i = 0; i < 29; i++) {
		json_t *row = json_object_get(json_array_get(s->lines, i), "run");

		snprintf(name, sizeof(name), "s%zu", i + 1);
		assert_string_equal(json_string_value(json_object_get(row, "name")), name);
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_is_stale_while_all_is_as_it_was),
		TEST(what_is_made_from_something_stale_comes_behind_it),
		TEST(the_order_is_that_of_dependence_and_not_of_time),
		TEST(a_name_that_was_not_there_and_is_now_makes_it_stale),
		TEST(throw_away_files_make_nothing_stale),
		TEST(what_it_would_write_over_keeps_it_from_being_run),
		TEST(another_runs_work_keeps_it_from_being_run_and_its_own_does_not),
		TEST(a_circle_is_told_once),
		TEST(failed_and_other_users_runs_are_not_run),
		TEST(of_many_steps_each_is_behind_what_it_needs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
