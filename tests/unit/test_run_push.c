/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What catalog/push_runs.h promises: where commits have been pushed, it can be asked which runs
 * made them, whatever call failed before.
 */
#include "backend/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "catalog/catalog.h"
#include "catalog/maker.h"
#include "catalog/push_runs.h"
#include "check.h"
#include "index/index.h"
#include "madestore.h"
#include "object/refs.h"
#include "record/archive.h"
#include "scratch.h"
#include "transfer/report.h"

enum {
	T0 = 1768000000,
	CALLS_MAX = 100, /* of one kind in a push */
};

struct stand {
	struct scratch dir;
	struct store *from, *to;
	struct backend *faults; /* of @to; borrowed */
	unsigned stores;
	struct run_id features, table, other;
	struct id128 out; /* a repo */
};

static struct backend *last_layer;

static struct backend *add_faults(struct backend *inner)
{
	assert_ok(fault_backend_new(inner, &last_layer));
	return last_layer;
}

static struct store *new_store(struct stand *s)
{
	unsigned n = s->stores++;
	_cleanup_free_ char *url = strf("%s/store %u", s->dir.path, n);
	_cleanup_free_ char *state = strf("%s/state %u", s->dir.path, n);
	struct store_options o = { .threads = 2, .state_dir = state, .layer = add_faults };
	struct store *ret;

	assert_ok(store_init(url, false));
	assert_ok(store_open(url, &o, &ret));
	return ret;
}

static void new_target(struct stand *s)
{
	store_free(s->to);
	s->to = new_store(s);
	s->faults = last_layer;
}

static int set_up(void **state)
{
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	struct stand *s = new0(struct stand, 1);
	struct repo_rec rec;

	s->dir = scratch_make();
	s->from = new_store(s);
	made_repo(s->from, "data");
	made_repo(s->from, "out");
	made_repo(s->from, "more");
	s->features = made_run(s->from,
			       &(struct made_run){ .started = T0,
						   .printed = "printed by features",
						   .read = { { "data/main/corpus", "one" } },
						   .written = { { "out/main/features", "f1" } } });
	s->table =
		made_run(s->from, &(struct made_run){ .started = T0 + 100,
						      .read = { { "out/main/features", "f1" } },
						      .written = { { "out/main/table", "t" } } });
	s->other = made_run(s->from, &(struct made_run){ .started = T0 + 200,
							 .written = { { "more/main/x", "y" } } });
	assert_ok(refs_repo(s->from->refs, "out", &w, &rec));
	s->out = rec.id;
	repo_rec_release(&rec);
	new_target(s);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct stand *s = *state;

	store_free(s->from);
	store_free(s->to);
	scratch_remove(&s->dir);
	free(s);
	return 0;
}

static int push(struct stand *s, const struct id128 *repo, struct run_push_result *ret)
{
	struct transfer_options o = { .threads = 2 };
	struct report report = { .o = &o };
	struct push_result stored = { 0 };
	const struct run_push p = {
		.from = s->from, .to = s->to, .repo = repo, .report = &report, .stored = &stored
	};

	*ret = (struct run_push_result){ 0 };
	return run_push(&p, ret);
}

static int status_there(struct stand *s, const struct run_id *id, uint8_t *ret_flags)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct run_row row;

	assert_ok(catalog_look(s->to, &(struct catalog_look){ .is_full = true }, &DEADLINE_NEVER));
	if (catalog_row(s->to, id, &bytes, &row) < 0)
		return -1;
	*ret_flags = row.flags;
	return row.status;
}

/* It is there, with what it read and wrote. */
static void assert_there(struct stand *s, const struct run_id *id)
{
	uint8_t flags;

	assert_int_equal(status_there(s, id, &flags), RUN_OK);
	assert_int_equal(flags, RUN_ROW_TREES);
}

static void assert_not_there(struct stand *s, const struct run_id *id)
{
	uint8_t flags;

	assert_int_equal(status_there(s, id, &flags), -1);
}

static bool has_content(struct store *s, const char *text)
{
	struct oid id = made_id(text);
	struct loc at;

	return index_find(s->index, &id, NULL, NULL, &at) == 0;
}

static void who_made_a_file_is_known_where_its_repos_runs_were_pushed(void **state)
{
	struct stand *s = *state;
	struct run_place place = { span_str("out"), span_str("main"), span_str("table") };
	struct oid id = made_id("t");
	struct run_push_result res;
	struct run_id maker;
	enum run_how how;

	assert_ok(push(s, &s->out, &res));
	assert_int_equal(res.runs, 2);
	assert_there(s, &s->features);
	assert_there(s, &s->table);
	assert_ok(run_maker(s->to, &place, &id, NULL, &maker, &how));
	assert_int_equal(how, RUN_HOW_PLACE);
	assert_string_equal(maker.s, s->table.s);
}

static void runs_of_other_repos_stay_unless_all_are_pushed(void **state)
{
	struct stand *s = *state;
	struct run_id idle = made_run(s->from, &(struct made_run){ .started = T0 + 300 });
	struct run_id going =
		made_run(s->from, &(struct made_run){ .started = T0 + 400, .status = "running" });
	struct run_push_result res;
	uint8_t flags;

	assert_ok(push(s, &s->out, &res));
	assert_not_there(s, &s->other);
	assert_ok(push(s, NULL, &res));
	assert_int_equal(res.runs, 2);
	assert_there(s, &s->other);
	assert_int_equal(status_there(s, &idle, &flags), RUN_OK);
	assert_not_there(s, &going);
}

static void what_is_there_is_not_pushed_again(void **state)
{
	struct stand *s = *state;
	struct run_push_result res;
	struct fault_counts c;

	assert_ok(push(s, &s->out, &res));
	fault_backend_reset_counts(s->faults);
	assert_ok(push(s, &s->out, &res));
	assert_int_equal(res.runs, 0);
	fault_backend_counts(s->faults, &c);
	assert_int_equal(c.written, 0);
}

static void what_a_run_printed_goes_along_and_what_it_read_does_not(void **state)
{
	struct stand *s = *state;
	struct run_push_result res;

	assert_ok(push(s, &s->out, &res));
	assert_true(has_content(s->to, "printed by features"));
	assert_false(has_content(s->to, "one"));
	assert_false(has_content(s->to, "f1"));
}

static void a_push_that_was_stopped_at_any_call_is_completed_by_the_next(void **state)
{
	static const enum fault_op ops[] = { FAULT_SWAP, FAULT_PUT_END, FAULT_LIST };
	struct stand *s = *state;
	bool was_quiet = log_set_quiet(true);

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		int r = -1;

		for (unsigned nth = 1; r < 0; nth++) {
			struct fault f = {
				.op = ops[i], .kind = FAULT_FAIL, .nth = nth, .error = -ENOSPC
			};
			struct run_push_result res;

			assert_true(nth < CALLS_MAX);
			new_target(s);
			assert_ok(fault_backend_add(s->faults, &f));
			r = push(s, &s->out, &res);
			fault_backend_clear(s->faults);
			assert_ok(push(s, &s->out, &res));
			assert_there(s, &s->features);
			assert_there(s, &s->table);
		}
	}
	log_set_quiet(was_quiet);
}

static void another_run_of_the_same_id_is_left_and_counted(void **state)
{
	struct stand *s = *state;
	struct run_push_result res;
	struct run_id id = made_run(
		s->to,
		&(struct made_run){ .started = T0, .command = "another", .status = "running" });
	json_t *start, *end;

	assert_string_equal(id.s, s->features.s);
	assert_ok(push(s, &s->out, &res));
	assert_int_equal(res.clashes, 1);
	assert_int_equal(res.runs, 1);
	assert_there(s, &s->table);
	assert_ok(archive_get(s->to, &id, &DEADLINE_NEVER, &start, &end));
	assert_null(end);
	assert_string_equal(json_string_value(json_array_get(json_object_get(start, "argv"), 0)),
			    "another");
	json_decref(start);
}

static void a_run_whose_trees_are_missing_goes_as_it_is_and_keeps_no_other(void **state)
{
	struct stand *s = *state;
	struct run_id bad =
		made_run(s->from, &(struct made_run){ .started = T0 + 500, .status = "running" });
	struct oid nowhere = { { 1, 2, 3 } };
	char hex[OID_HEX], repo[ID128_HEX];
	json_t *end = json_pack("{s:i, s:s, s:s, s:[{s:s,s:s,s:s,s:s}], s:{s:s,s:s,s:i,s:i,s:i}}",
				"pfs-run", 1, "id", bad.s, "status", "ok", "outputs", "repo", "out",
				"repo_id", id128_hex(&s->out, repo), "branch", "main", "result",
				oid_hex(&nowhere, hex), "tree", "id", hex, "hint", "", "dirs", 1,
				"files", 1, "bytes", 1);
	bool was_quiet = log_set_quiet(true);
	struct run_push_result res;
	uint8_t flags;

	assert_non_null(end);
	assert_ok(archive_end(s->from, &bad, end, NULL));
	json_decref(end);
	assert_ok(push(s, &s->out, &res));
	assert_int_equal(res.runs, 3);
	assert_there(s, &s->table);
	assert_int_equal(status_there(s, &bad, &flags), RUN_OK);
	assert_int_equal(flags, RUN_ROW_NO_TREES);
	log_set_quiet(was_quiet);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(who_made_a_file_is_known_where_its_repos_runs_were_pushed),
		TEST(runs_of_other_repos_stay_unless_all_are_pushed),
		TEST(what_is_there_is_not_pushed_again),
		TEST(what_a_run_printed_goes_along_and_what_it_read_does_not),
		TEST(a_push_that_was_stopped_at_any_call_is_completed_by_the_next),
		TEST(another_run_of_the_same_id_is_left_and_counted),
		TEST(a_run_whose_trees_are_missing_goes_as_it_is_and_keeps_no_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
