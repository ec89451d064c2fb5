/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What looks for runs promise (RUNS.md, section 7): what they list and what they find, of a store
 * that only a listing tells about and of one that has stamps; and that what cannot be read of one
 * run keeps no other away.
 */
#include <linux/capability.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "backend/count.h"
#include "backend/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "catalog/catalog.h"
#include "catalog/learner.h"
#include "check.h"
#include "index/runs.h"
#include "madestore.h"
#include "record/archive.h"
#include "scratch.h"

#define HOUR 3600
#define DAY  (24 * HOUR)

struct stand {
	struct scratch dir;
	char *url, *state;
	struct store *store;
	int64_t now;
};

static struct backend *faults; /* of the stand's store; NULL: it has none */

static struct backend *add_faults(struct backend *inner)
{
	assert_ok(fault_backend_new(inner, &faults));
	return faults;
}

static void set_up(struct stand *s, bool has_faults)
{
	struct store_options o = { .threads = 1 };

	s->dir = scratch_make();
	s->url = strf("%s/store", s->dir.path);
	s->state = strf("%s/state", s->dir.path);
	s->now = time(NULL);
	faults = NULL;
	o.state_dir = s->state;
	o.layer = has_faults ? add_faults : NULL;
	assert_ok(store_init(s->url, false));
	assert_ok(store_open(s->url, &o, &s->store));
}

/* Only a listing tells what is new. */
static int set_up_listed(void **state)
{
	*state = new0(struct stand, 1);
	set_up(*state, true);
	return 0;
}

/* A directory, which has stamps. */
static int set_up_stamped(void **state)
{
	*state = new0(struct stand, 1);
	set_up(*state, false);
	return 0;
}

static int tear_down(void **state)
{
	struct stand *s = *state;

	store_free(s->store);
	scratch_remove(&s->dir);
	free(s->url);
	free(s->state);
	free(s);
	return 0;
}

static struct run_id make_run(struct stand *s, int64_t started)
{
	return made_run(s->store, &(struct made_run){ .started = started });
}

static struct run_id begin_run(struct stand *s, int64_t started)
{
	return made_run(s->store, &(struct made_run){ .started = started, .status = "running" });
}

static void end_run(struct stand *s, const struct run_id *id)
{
	json_t *end = json_pack("{s:i, s:s, s:s}", "pfs-run", 1, "id", id->s, "status", "lost");

	assert_ok(archive_end(s->store, id, end, NULL));
	json_decref(end);
}

static void put_object(struct stand *s, const char *key, struct span data)
{
	struct etag tag;

	assert_ok(s->store->backend->ops->swap(s->store->backend, key, NULL, data, NULL, &tag));
}

static int look(struct stand *s)
{
	return catalog_look(s->store, &(struct catalog_look){ 0 }, &DEADLINE_NEVER);
}

/* A status, or -1: nothing is known of the run. */
static int status_of(struct stand *s, const struct run_id *id)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct run_row row;

	return catalog_row(s->store, id, &bytes, &row) == 0 ? row.status : -1;
}

static uint64_t listed_keys(void)
{
	struct fault_counts c;

	fault_backend_counts(faults, &c);
	fault_backend_reset_counts(faults);
	return c.listed;
}

/* As if the last look that went far back were long ago. */
static void forget_wide(struct stand *s)
{
	uint64_t never = 0;

	assert_ok(index_runs_put_state(s->store->index, "wide", span_of(&never, sizeof(never))));
}

static void a_look_lists_from_a_little_before_the_newest_run_on(void **state)
{
	struct stand *s = *state;
	struct run_id id;

	for (int i = 20; i > 0; i--)
		id = make_run(s, s->now - 10 * DAY - i * HOUR);
	assert_ok(look(s));
	listed_keys();
	assert_ok(look(s));
	assert_int_equal(listed_keys(), 2);
	assert_int_equal(status_of(s, &id), RUN_OK);
}

static void a_run_of_a_clock_that_is_a_little_behind_is_found_at_once(void **state)
{
	struct stand *s = *state;
	struct run_id id;

	make_run(s, s->now);
	assert_ok(look(s));
	id = make_run(s, s->now - 10 * 60);
	assert_ok(look(s));
	assert_int_equal(status_of(s, &id), RUN_OK);
}

static void a_run_of_a_clock_that_is_far_behind_is_found_by_a_look_that_goes_far_back(void **state)
{
	struct stand *s = *state;
	struct run_id id;

	make_run(s, s->now);
	assert_ok(look(s));
	id = make_run(s, s->now - DAY);
	assert_ok(look(s));
	assert_int_equal(status_of(s, &id), -1);
	forget_wide(s);
	assert_ok(look(s));
	assert_int_equal(status_of(s, &id), RUN_OK);
}

static void a_run_of_a_clock_that_jumped_by_a_year_is_found_by_who_asks_for_it(void **state)
{
	struct stand *s = *state;
	struct run_id id, found;

	make_run(s, s->now);
	assert_ok(look(s));
	id = make_run(s, s->now - 365 * DAY);
	assert_ok(look(s));
	assert_int_equal(status_of(s, &id), -1);
	assert_ok(catalog_find(s->store, id.s, &DEADLINE_NEVER, &found));
	assert_string_equal(found.s, id.s);
}

static void a_run_from_the_future_hides_no_other(void **state)
{
	struct stand *s = *state;
	struct run_id future = make_run(s, s->now + 3650ll * DAY), id;

	assert_ok(look(s));
	assert_int_equal(status_of(s, &future), RUN_OK);
	id = make_run(s, s->now);
	assert_ok(look(s));
	assert_int_equal(status_of(s, &id), RUN_OK);
}

static void the_end_of_a_run_that_began_long_ago_is_found(void **state)
{
	struct stand *s = *state;
	struct run_id id = begin_run(s, s->now - 5 * DAY);

	make_run(s, s->now);
	assert_ok(look(s));
	assert_ok(look(s));
	assert_int_equal(status_of(s, &id), RUN_RUNNING);
	end_run(s, &id);
	assert_ok(look(s));
	assert_int_equal(status_of(s, &id), RUN_LOST);
}

static void a_sweep_finds_all_and_says_so_at_its_end(void **state)
{
	struct stand *s = *state;
	struct catalog_sweep w = { 0 };
	struct run_id id;
	int r;

	make_run(s, s->now);
	assert_ok(look(s));
	id = make_run(s, s->now - 365 * DAY);
	while ((r = catalog_sweep(s->store, &w, &DEADLINE_NEVER)) > 0)
		;
	assert_ok(r);
	assert_int_equal(status_of(s, &id), RUN_OK);
	assert_false(catalog_wants_sweep(s->store));
}

static void what_is_told_is_learned_without_a_listing(void **state)
{
	struct stand *s = *state;
	struct run_id id;

	assert_ok(look(s));
	id = make_run(s, s->now - 365 * DAY);
	listed_keys();
	assert_ok(catalog_learn(s->store, &id, 1, &DEADLINE_NEVER));
	assert_int_equal(status_of(s, &id), RUN_OK);
	assert_int_equal(listed_keys(), 0);
}

static void a_run_that_has_ended_here_is_learned_in_the_background(void **state)
{
	struct stand *s = *state;
	struct learner *l;
	struct run_id id = make_run(s, s->now);

	assert_ok(learner_new(s->store, &l));
	learner_tell(l, &id);
	while (status_of(s, &id) < 0)
		usleep(1000);
	learner_free(l);
	assert_int_equal(status_of(s, &id), RUN_OK);
}

/* An error of the disk, say. */
static void a_record_that_cannot_be_read_keeps_no_other_away_and_is_tried_again(void **state)
{
	struct stand *s = *state;
	struct run_id bad = make_run(s, s->now - 5 * DAY), good[300];
	struct key key = run_start_key(&bad);
	const struct fault f = {
		.op = FAULT_GET_ALL, .kind = FAULT_FAIL, .prefix = key.s, .error = -EIO
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		good[i] = begin_run(s, s->now - 4 * DAY + (int64_t)i);
	assert_ok(fault_backend_add(faults, &f));
	assert_ok(look(s));
	assert_int_equal(status_of(s, &bad), RUN_DAMAGED);
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_int_equal(status_of(s, &good[i]), RUN_RUNNING);
	fault_backend_clear(faults);
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		end_run(s, &good[i]);
	assert_ok(look(s));
	assert_ok(look(s));
	assert_int_equal(status_of(s, &bad), RUN_OK);
}

static void a_look_that_is_interrupted_keeps_what_it_has_learned(void **state)
{
	struct stand *s = *state;
	struct run_id first = make_run(s, s->now - 2 * HOUR), last = make_run(s, s->now);
	struct key key = run_start_key(&last);
	const struct fault f = {
		.op = FAULT_GET_ALL, .kind = FAULT_FAIL, .prefix = key.s, .error = -ETIME
	};

	assert_ok(fault_backend_add(faults, &f));
	assert_int_equal(look(s), -ETIME);
	assert_int_equal(status_of(s, &first), RUN_OK);
	assert_int_equal(status_of(s, &last), -1);
	fault_backend_clear(faults);
	assert_ok(look(s));
	assert_int_equal(status_of(s, &last), RUN_OK);
}

static void a_record_that_is_huge_is_damaged(void **state)
{
	struct stand *s = *state;
	_cleanup_buf_ struct buf b = { 0 };
	struct run_id id = run_id_new(s->now * 1000000000, 0), good = make_run(s, s->now + 1);

	buf_printf(&b, "{\"pfs-run\": 1, \"id\": \"%s\", \"name\": \"", id.s);
	while (b.len <= RUN_RECORD_MAX)
		buf_put(&b, "xxxxxxxxxxxxxxxx", 16);
	buf_printf(&b, "\"}");
	put_object(s, run_start_key(&id).s, buf_span(&b));
	assert_ok(look(s));
	assert_int_equal(status_of(s, &id), RUN_DAMAGED);
	assert_int_equal(status_of(s, &good), RUN_OK);
}

static void an_end_that_is_another_runs_makes_the_record_a_damaged_one(void **state)
{
	struct stand *s = *state;
	struct run_id id = begin_run(s, s->now), other = make_run(s, s->now + 1);
	_cleanup_free_ char *end =
		strf("{\"pfs-run\": 1, \"id\": \"%s\", \"status\": \"ok\"}", other.s);

	put_object(s, run_end_key(&id).s, span_str(end));
	assert_ok(look(s));
	assert_int_equal(status_of(s, &id), RUN_DAMAGED);
	assert_int_equal(status_of(s, &other), RUN_OK);
}

static uint64_t lists(struct stand *s)
{
	struct backend_counts c;

	count_backend_get(s->store->counted, &c);
	return c.ops[COUNT_LIST].calls;
}

/* Changes of just now cannot be told apart by the times of files. */
static void wait_for_stamps(struct stand *s, const struct run_id *id)
{
	char month[RUN_MONTH_LEN + 1];
	uint64_t all = 0, one = 0;

	snprintf(month, sizeof(month), "%.6s/", id->s);
	while (!all || !one) {
		assert_ok(archive_stamp(s->store, "", &all));
		assert_ok(archive_stamp(s->store, month, &one));
		usleep(50000);
	}
}

static void of_a_directory_nothing_is_listed_unless_it_has_changed(void **state)
{
	struct stand *s = *state;
	struct run_id id = make_run(s, s->now - 40 * DAY), late;
	uint64_t before;

	wait_for_stamps(s, &id);
	/* The first meets the month, the second keeps what it was. */
	assert_ok(look(s));
	assert_ok(look(s));
	before = lists(s);
	assert_ok(look(s));
	assert_int_equal(lists(s), before);
	/* However far behind the clock is. */
	late = make_run(s, s->now - 365 * DAY);
	assert_ok(look(s));
	assert_int_equal(status_of(s, &late), RUN_OK);
}

static void of_a_directory_what_changes_right_after_a_look_is_found_by_the_next(void **state)
{
	struct stand *s = *state;

	for (int i = 0; i < 50; i++) {
		struct run_id id = make_run(s, s->now + i);

		assert_ok(look(s));
		assert_int_equal(status_of(s, &id), RUN_OK);
	}
}

/* Root reads whatever it likes, unless it has let go of that. */
static void set_reads_all(bool on)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct c[2];
	const uint32_t all = 1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH;

	assert_ok((int)syscall(SYS_capget, &h, c));
	c[0].effective = on ? c[0].effective | (c[0].permitted & all) : c[0].effective & ~all;
	assert_ok((int)syscall(SYS_capset, &h, c));
}

/* A look while that month's directory is closed to it. */
static int look_without(struct stand *s, const char *month)
{
	int r;

	assert_ok(chmod(month, 0));
	set_reads_all(false);
	complaint_clear();
	r = look(s);
	set_reads_all(true);
	assert_ok(chmod(month, 0700));
	return r;
}

static void a_month_that_cannot_be_read_any_more_keeps_no_other_away(void **state)
{
	struct stand *s = *state;
	const int64_t days[] = { 70, 35, 0 };
	struct run_id late[ARRAY_SIZE(days)];
	_cleanup_free_ char *month = NULL;
	bool was_quiet = log_set_quiet(true);

	for (size_t i = 0; i < ARRAY_SIZE(days); i++)
		make_run(s, s->now - days[i] * DAY);
	assert_ok(look(s));
	for (size_t i = 0; i < ARRAY_SIZE(days); i++)
		late[i] = make_run(s, s->now - days[i] * DAY + 1);
	month = strf("%s/runs/%.6s", s->url, late[1].s);
	assert_int_equal(look_without(s, month), -EACCES);
	assert_non_null(strstr(complaint(), month));
	assert_int_equal(status_of(s, &late[0]), RUN_OK);
	assert_int_equal(status_of(s, &late[1]), -1);
	assert_int_equal(status_of(s, &late[2]), RUN_OK);
	assert_ok(look(s));
	assert_int_equal(status_of(s, &late[1]), RUN_OK);
	log_set_quiet(was_quiet);
}

static void a_month_that_cannot_be_read_keeps_no_other_away(void **state)
{
	struct stand *s = *state;
	struct run_id before = make_run(s, s->now - 70 * DAY), in = make_run(s, s->now - 35 * DAY),
		      behind = make_run(s, s->now);
	_cleanup_free_ char *month = strf("%s/runs/%.6s", s->url, in.s);
	bool was_quiet = log_set_quiet(true);

	assert_int_equal(look_without(s, month), -EACCES);
	assert_non_null(strstr(complaint(), month));
	assert_int_equal(status_of(s, &before), RUN_OK);
	assert_int_equal(status_of(s, &behind), RUN_OK);
	assert_int_equal(status_of(s, &in), -1);
	assert_ok(look(s));
	assert_int_equal(status_of(s, &in), RUN_OK);
	log_set_quiet(was_quiet);
}

#define LISTED(f)  cmocka_unit_test_setup_teardown(f, set_up_listed, tear_down)
#define STAMPED(f) cmocka_unit_test_setup_teardown(f, set_up_stamped, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LISTED(a_look_lists_from_a_little_before_the_newest_run_on),
		LISTED(a_run_of_a_clock_that_is_a_little_behind_is_found_at_once),
		LISTED(a_run_of_a_clock_that_is_far_behind_is_found_by_a_look_that_goes_far_back),
		LISTED(a_run_of_a_clock_that_jumped_by_a_year_is_found_by_who_asks_for_it),
		LISTED(a_run_from_the_future_hides_no_other),
		STAMPED(a_run_from_the_future_hides_no_other),
		LISTED(the_end_of_a_run_that_began_long_ago_is_found),
		STAMPED(the_end_of_a_run_that_began_long_ago_is_found),
		LISTED(a_sweep_finds_all_and_says_so_at_its_end),
		STAMPED(a_sweep_finds_all_and_says_so_at_its_end),
		LISTED(what_is_told_is_learned_without_a_listing),
		STAMPED(a_run_that_has_ended_here_is_learned_in_the_background),
		LISTED(a_record_that_cannot_be_read_keeps_no_other_away_and_is_tried_again),
		LISTED(a_look_that_is_interrupted_keeps_what_it_has_learned),
		LISTED(a_record_that_is_huge_is_damaged),
		LISTED(an_end_that_is_another_runs_makes_the_record_a_damaged_one),
		STAMPED(of_a_directory_nothing_is_listed_unless_it_has_changed),
		STAMPED(of_a_directory_what_changes_right_after_a_look_is_found_by_the_next),
		STAMPED(a_month_that_cannot_be_read_keeps_no_other_away),
		STAMPED(a_month_that_cannot_be_read_any_more_keeps_no_other_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
