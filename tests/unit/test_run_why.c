/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What `pfs runs`, `why` and `uses` promise, asked of a store in which a corpus was made into
 * features, and those into models and a table.
 */
#include <fcntl.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/fdio.h"
#include "base/text.h"
#include "catalog/catalog.h"
#include "check.h"
#include "head/view.h"
#include "madestore.h"
#include "object/reader.h"
#include "record/archive.h"
#include "scratch.h"
#include "service/service.h"

enum {
	T0 = 1768000000, /* 2026-01-09T23:06:40Z */
};

struct stand {
	struct scratch dir;
	char *url, *state;
	struct store *store;
	struct vnode_table *vnodes;
	struct service service;
	struct service_caller who;
	json_t *lines, *last; /* owned */
	struct run_id features, model[2], table;
};

static void open_store(struct stand *s)
{
	struct store_options o = { .threads = 1, .state_dir = s->state };

	assert_ok(store_open(s->url, &o, &s->store));
	assert_ok(vnode_table_new(view_vnodes(), &s->vnodes));
	s->service = (struct service){ .store = s->store, .vnodes = s->vnodes };
}

static void close_store(struct stand *s)
{
	vnode_table_free(s->vnodes);
	store_free(s->store);
}

static int set_up(void **state)
{
	struct stand *s = new0(struct stand, 1);

	s->dir = scratch_make();
	s->url = strf("%s/store", s->dir.path);
	s->state = strf("%s/state", s->dir.path);
	s->who.is_owner = true;
	assert_ok(store_init(s->url, false));
	open_store(s);
	made_repo(s->store, "data");
	made_repo(s->store, "out");
	made_commit(s->store, "data", (struct made_file[MADE_FILES_MAX]){ { "corpus", "one" } }, T0,
		    NULL);
	s->features = made_run(s->store,
			       &(struct made_run){ .name = "features",
						   .started = T0 + 100,
						   .params = "{\"ngrams\": 2}",
						   .read = { { "data/main/corpus", "one" } },
						   .written = { { "out/main/features", "f1" } } });
	for (int i = 0; i < 2; i++)
		s->model[i] = made_run(
			s->store,
			&(struct made_run){ .name = "model",
					    .started = T0 + 200 + 100 * i,
					    .params = i ? "{\"lr\": 0.5}" : "{\"lr\": 0.1}",
					    .metrics = i ? "{\"acc\": 0.8}" : "{\"acc\": 0.7}",
					    .read = { { "out/main/features", "f1" } },
					    .written = { { i ? "out/main/m1" : "out/main/m0",
							   i ? "b1" : "b0" } } });
	s->table = made_run(
		s->store,
		&(struct made_run){ .started = T0 + 400,
				    .read = { { "out/main/m0", "b0" }, { "out/main/m1", "b1" } },
				    .written = { { "out/main/table", "t" } } });
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct stand *s = *state;

	close_store(s);
	json_decref(s->lines);
	json_decref(s->last);
	scratch_remove(&s->dir);
	free(s->url);
	free(s->state);
	free(s);
	return 0;
}

static int take(const char *line, size_t len, void *ctx)
{
	struct stand *s = ctx;
	json_t *j = json_loadb(line, len, 0, NULL);

	assert_non_null(j);
	if (json_object_get(j, "learned"))
		json_decref(j);
	else if (json_object_get(j, "ok") || json_object_get(j, "error"))
		s->last = j;
	else
		json_array_append_new(s->lines, j);
	return 0;
}

static int _printf_(2, 3) ask(struct stand *s, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	assert_true(vasprintf(&text, fmt, ap) > 0);
	va_end(ap);
	json_decref(s->lines);
	json_decref(s->last);
	s->lines = json_array();
	s->last = NULL;
	assert_ok(service_run(&s->service, &s->who, text, strlen(text), take, s));
	return -(int)json_integer_value(
		json_object_get(json_object_get(s->last, "error"), "errno"));
}

static const char *text_of(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key)) ?: "";
}

static const json_t *line(struct stand *s, size_t i)
{
	return json_array_get(s->lines, i);
}

static const char *run_at(struct stand *s, size_t i)
{
	const json_t *run = json_object_get(line(s, i), "run");

	return json_is_object(run) ? text_of(run, "id") : text_of(line(s, i), "id");
}

static void assert_runs(struct stand *s, const char *request, const struct run_id *const *want,
			size_t n)
{
	assert_ok(ask(s, "%s", request));
	if (json_array_size(s->lines) != n)
		fail_msg("%s: %zu runs, not %zu", request, json_array_size(s->lines), n);
	for (size_t i = 0; i < n; i++)
		assert_string_equal(run_at(s, i), want[i]->s);
}

static void runs_are_listed_by_what_is_said_of_them(void **state)
{
	struct stand *s = *state;
	const struct run_id *all[] = { &s->features, &s->model[0], &s->model[1], &s->table };
	const struct run_id *models[] = { &s->model[1], &s->model[0] };

	assert_runs(s, "{\"verb\": \"runs\"}", all, 4);
	assert_runs(s, "{\"verb\": \"runs\", \"limit\": 1}", all + 3, 1);
	assert_runs(s, "{\"verb\": \"runs\", \"where\": \"lr > 0.2\"}", models, 1);
	assert_runs(s, "{\"verb\": \"runs\", \"where\": \"name=model\", \"sort\": \"-acc\"}",
		    models, 2);
	assert_runs(s, "{\"verb\": \"runs\", \"sort\": \"acc\", \"limit\": 2}",
		    (const struct run_id *[]){ &s->model[0], &s->model[1] }, 2);
	assert_runs(s, "{\"verb\": \"runs\", \"path\": \"out/main/table\"}", all + 3, 1);
	assert_runs(s, "{\"verb\": \"runs\", \"path\": \"out\"}", all, 4);
	assert_runs(s, "{\"verb\": \"runs\", \"path\": \"data/main\"}", all, 0);
	assert_int_equal(ask(s, "{\"verb\": \"runs\", \"where\": \"lr >\"}"), -EINVAL);
}

static void a_run_is_found_by_id_beginning_or_name(void **state)
{
	struct stand *s = *state;

	assert_ok(ask(s, "{\"verb\": \"run-show\", \"run\": \"%s\"}", s->table.s));
	assert_string_equal(run_at(s, 0), s->table.s);
	assert_string_equal(text_of(json_object_get(line(s, 0), "start"), "id"), s->table.s);
	assert_ok(ask(s, "{\"verb\": \"run-show\", \"run\": \"%.15s\"}", s->features.s));
	assert_string_equal(run_at(s, 0), s->features.s);
	assert_ok(ask(s, "{\"verb\": \"run-show\", \"run\": \"model\"}"));
	assert_string_equal(run_at(s, 0), s->model[1].s);
	assert_int_equal(ask(s, "{\"verb\": \"run-show\", \"run\": \"2026\"}"), -ENOTUNIQ);
	assert_int_equal(ask(s, "{\"verb\": \"run-show\", \"run\": \"nobody\"}"), -ENOENT);
}

/* "what key/path;" of each difference. */
static char *differences(struct stand *s)
{
	struct buf b = { 0 };

	for (size_t i = 1; i < json_array_size(s->lines); i++)
		buf_printf(&b, "%s %s%s;", text_of(line(s, i), "what"), text_of(line(s, i), "key"),
			   text_of(line(s, i), "path"));
	buf_put_u8(&b, 0);
	return (char *)b.data;
}

static void two_runs_are_compared_with_what_they_read(void **state)
{
	struct stand *s = *state;
	_cleanup_free_ char *got = NULL, *none = NULL;

	assert_ok(ask(s, "{\"verb\": \"run-diff\", \"a\": \"features\", \"b\": \"%s\"}",
		      s->model[0].s));
	got = differences(s);
	assert_string_equal(got, "param ngrams;param lr;metric acc;pinned data/main;"
				 "pinned out/main;input data/main/corpus;input "
				 "out/main/features;");
	assert_ok(ask(s, "{\"verb\": \"run-diff\", \"a\": \"features\", \"b\": \"features\"}"));
	none = differences(s);
	assert_string_equal(none, "");
}

static void a_file_comes_from_a_run_and_what_that_read_down_to_raw_data(void **state)
{
	struct stand *s = *state;
	const json_t *input;

	assert_ok(ask(s, "{\"verb\": \"why\", \"path\": \"out/main/table\"}"));
	assert_string_equal(text_of(line(s, 0), "how"), "place");
	assert_string_equal(text_of(line(s, 0), "run"), s->table.s);
	assert_string_equal(
		text_of(json_object_get(json_object_get(line(s, 0), "commit"), "meta"), "pfs.run"),
		s->table.s);
	assert_int_equal(json_array_size(s->lines), 5);
	assert_string_equal(run_at(s, 1), s->table.s);
	assert_string_equal(run_at(s, 2), s->model[0].s);
	assert_string_equal(run_at(s, 3), s->model[1].s);
	assert_string_equal(run_at(s, 4), s->features.s);
	input = json_array_get(json_object_get(line(s, 4), "inputs"), 0);
	assert_string_equal(text_of(input, "path"), "data/main/corpus");
	assert_null(json_object_get(input, "run"));
}

static void a_copy_is_known_by_its_content(void **state)
{
	struct stand *s = *state;

	made_commit(s->store, "data", (struct made_file[MADE_FILES_MAX]){ { "copy", "f1" } },
		    T0 + 1000, NULL);
	assert_ok(ask(s, "{\"verb\": \"why\", \"path\": \"data/main/copy\"}"));
	assert_string_equal(text_of(line(s, 0), "how"), "content");
	assert_string_equal(text_of(line(s, 0), "run"), s->features.s);
	assert_int_equal(json_array_size(s->lines), 2);
}

static void what_was_changed_by_hand_is_no_runs_though_a_run_made_the_same_before(void **state)
{
	struct stand *s = *state;

	made_commit(s->store, "out", (struct made_file[MADE_FILES_MAX]){ { "features", "mine" } },
		    T0 + 1000, NULL);
	assert_ok(ask(s, "{\"verb\": \"why\", \"path\": \"out/main/features\"}"));
	assert_string_equal(text_of(line(s, 0), "how"), "none");
	assert_int_equal(json_array_size(s->lines), 1);
	made_commit(s->store, "out", (struct made_file[MADE_FILES_MAX]){ { "features", "f1" } },
		    T0 + 1100, NULL);
	assert_ok(ask(s, "{\"verb\": \"why\", \"path\": \"out/main/features\"}"));
	assert_string_equal(text_of(line(s, 0), "how"), "content");
}

static void of_a_directory_the_runs_that_made_its_files_are_told(void **state)
{
	struct stand *s = *state;
	size_t n;

	made_commit(s->store, "out", (struct made_file[MADE_FILES_MAX]){ { "raw", "raw" } },
		    T0 + 1000, NULL);
	assert_ok(ask(s, "{\"verb\": \"why\", \"path\": \"out/main\"}"));
	n = json_array_size(s->lines);
	assert_int_equal(n, 6);
	assert_string_equal(run_at(s, 1), s->features.s);
	assert_int_equal(json_integer_value(json_object_get(line(s, n - 1), "others")), 1);
}

static void what_was_made_from_a_file_is_told_through_all_runs(void **state)
{
	struct stand *s = *state;
	const struct run_id *all[] = { &s->features, &s->model[0], &s->model[1], &s->table };

	assert_ok(ask(s, "{\"verb\": \"uses\", \"path\": \"data/main/corpus\"}"));
	assert_int_equal(json_array_size(s->lines), 5);
	for (size_t i = 0; i < 4; i++)
		assert_string_equal(run_at(s, 1 + i), all[i]->s);
	assert_ok(ask(s, "{\"verb\": \"uses\", \"path\": \"out/main/table\"}"));
	assert_int_equal(json_array_size(s->lines), 1);
}

static void what_was_made_from_a_former_version_is_stale_until_it_is_made_again(void **state)
{
	struct stand *s = *state;

	assert_ok(ask(s, "{\"verb\": \"uses\", \"path\": \"data/main/corpus\", \"stale\": true}"));
	assert_int_equal(json_array_size(s->lines), 1);
	made_commit(s->store, "data", (struct made_file[MADE_FILES_MAX]){ { "corpus", "two" } },
		    T0 + 1000, NULL);
	assert_ok(ask(s, "{\"verb\": \"uses\", \"path\": \"data/main/corpus\", \"stale\": true}"));
	assert_int_equal(json_array_size(s->lines), 5);
	assert_string_equal(
		text_of(json_array_get(json_object_get(line(s, 1), "stale"), 0), "path"),
		"data/main/corpus");
	assert_string_equal(text_of(json_array_get(json_object_get(line(s, 4), "stale"), 0), "run"),
			    s->model[0].s);
	made_run(s->store, &(struct made_run){ .started = T0 + 2000,
					       .read = { { "data/main/corpus", "two" } },
					       .written = { { "out/main/features", "f2" } } });
	/* The features are good again; what was made of the former ones is not. */
	assert_ok(ask(s, "{\"verb\": \"uses\", \"path\": \"data/main/corpus\", \"stale\": true}"));
	assert_int_equal(json_array_size(s->lines), 4);
	assert_string_equal(run_at(s, 1), s->model[0].s);
}

static void what_is_made_again_as_it_was_is_not_stale(void **state)
{
	struct stand *s = *state;

	made_commit(s->store, "data", (struct made_file[MADE_FILES_MAX]){ { "corpus", "two" } },
		    T0 + 1000, NULL);
	made_run(s->store, &(struct made_run){ .started = T0 + 2000,
					       .read = { { "data/main/corpus", "two" } },
					       .written = { { "out/main/features", "f1" } } });
	assert_ok(ask(s, "{\"verb\": \"uses\", \"path\": \"data/main/corpus\", \"stale\": true}"));
	assert_int_equal(json_array_size(s->lines), 1);
}

static void what_was_made_from_a_branch_is_of_all_in_it(void **state)
{
	struct stand *s = *state;

	assert_ok(ask(s, "{\"verb\": \"uses\", \"path\": \"data/main\"}"));
	assert_int_equal(json_array_size(s->lines), 5);
	assert_string_equal(run_at(s, 1), s->features.s);
}

static void another_user_sees_ids_alone(void **state)
{
	struct stand *s = *state;

	s->who = (struct service_caller){ .uid = 2000, .gid = 2000 };
	assert_ok(ask(s, "{\"verb\": \"runs\"}"));
	assert_int_equal(json_array_size(s->lines), 0);
	assert_int_equal(ask(s, "{\"verb\": \"run-show\", \"run\": \"model\"}"), -EACCES);
	s->who.uid = 1000;
	assert_ok(ask(s, "{\"verb\": \"runs\"}"));
	assert_int_equal(json_array_size(s->lines), 4);
}

static int64_t depth_at(struct stand *s, size_t i)
{
	return json_integer_value(json_object_get(line(s, i), "depth"));
}

static void runs_in_runs_come_behind_the_outer_one_where_that_is_asked_for(void **state)
{
	struct stand *s = *state;
	const int64_t t = T0 + 1000;
	struct run_id outer = made_run(s->store, &(struct made_run){ .started = t }),
		      other = made_run(s->store, &(struct made_run){ .started = t + 10 }),
		      first = made_run(s->store,
				       &(struct made_run){ .started = t + 20, .parent = outer.s }),
		      second = made_run(s->store,
					&(struct made_run){ .started = t + 30, .parent = outer.s }),
		      within = made_run(s->store,
					&(struct made_run){ .started = t + 40, .parent = first.s });
	const struct run_id *flat[] = { &outer, &other, &first, &second, &within };
	const struct run_id *nested[] = { &outer, &first, &within, &second, &other };
	const int64_t depths[] = { 0, 1, 2, 1, 0 };
	const char *lost = "20200101-000000-0000";

	assert_runs(s, "{\"verb\": \"runs\", \"limit\": 5}", flat, 5);
	assert_string_equal(text_of(line(s, 2), "parent"), outer.s);
	assert_runs(s, "{\"verb\": \"runs\", \"limit\": 5, \"nested\": true}", nested, 5);
	for (size_t i = 0; i < ARRAY_SIZE(depths); i++)
		assert_int_equal(depth_at(s, i), depths[i]);
	/* One whose outer run is not told. */
	assert_runs(s, "{\"verb\": \"runs\", \"limit\": 1, \"nested\": true}", flat + 4, 1);
	assert_int_equal(depth_at(s, 0), 0);
	other = made_run(s->store, &(struct made_run){ .started = t + 50, .parent = lost });
	assert_runs(s, "{\"verb\": \"runs\", \"limit\": 1, \"nested\": true}",
		    (const struct run_id *[]){ &other }, 1);
}

/* As only a record that lies can say. */
static void runs_in_one_another_in_a_circle_are_told_once_each(void **state)
{
	struct stand *s = *state;
	const int64_t t = T0 + 1000;
	struct run_id a = run_id_new(t * 1000000000, 0), b = run_id_new((t + 1) * 1000000000, 0),
		      own = run_id_new((t + 2) * 1000000000, 0);
	const struct run_id *all[] = { &a, &b, &own };

	made_run(s->store, &(struct made_run){ .started = t, .parent = b.s });
	made_run(s->store, &(struct made_run){ .started = t + 1, .parent = a.s });
	made_run(s->store, &(struct made_run){ .started = t + 2, .parent = own.s });
	assert_runs(s, "{\"verb\": \"runs\", \"limit\": 3, \"nested\": true}", all, 3);
}

static void put_object(struct stand *s, const char *key, const char *text)
{
	struct etag tag;

	assert_ok(s->store->backend->ops->swap(s->store->backend, key, NULL, span_str(text), NULL,
					       &tag));
}

static void damaged_and_newer_records_are_told_of_and_keep_nothing_else_away(void **state)
{
	struct stand *s = *state;

	put_object(s, "runs/202601/20260110-000000-0001.start", "{\"pfs-run\": 1, \"id\"");
	put_object(s, "runs/202601/20260110-000000-0002.start", "{\"pfs-run\": 2}");
	put_object(s, "runs/202601/nonsense", "x");
	assert_ok(ask(s, "{\"verb\": \"runs\", \"where\": \"status=damaged\"}"));
	assert_int_equal(json_array_size(s->lines), 1);
	assert_ok(ask(s, "{\"verb\": \"runs\", \"where\": \"status=newer\"}"));
	assert_int_equal(json_array_size(s->lines), 1);
	assert_ok(ask(s, "{\"verb\": \"run-show\", \"run\": \"20260110-000000-0001\"}"));
	assert_true(*text_of(line(s, 0), "problem") != '\0');
	assert_ok(ask(s, "{\"verb\": \"runs\"}"));
	assert_int_equal(json_array_size(s->lines), 6);
}

static void a_run_without_an_end_is_running_until_it_has_one(void **state)
{
	struct stand *s = *state;
	struct run_id id = made_run(s->store, &(struct made_run){ .name = "long",
								  .started = T0 - 30 * 86400,
								  .status = "running" });
	json_t *end;

	assert_ok(ask(s, "{\"verb\": \"runs\", \"where\": \"status=running\"}"));
	assert_int_equal(json_array_size(s->lines), 1);
	end = json_pack("{s:i, s:s, s:s, s:s, s:[]}", "pfs-run", 1, "id", id.s, "status", "lost",
			"ended", "2026-01-15T14:31:52.000000000Z", "outputs");
	assert_ok(archive_end(s->store, &id, end, NULL));
	json_decref(end);
	assert_ok(ask(s, "{\"verb\": \"runs\", \"where\": \"status=lost\"}"));
	assert_int_equal(json_array_size(s->lines), 1);
}

static void an_index_that_is_lost_comes_back(void **state)
{
	struct stand *s = *state;

	assert_ok(ask(s, "{\"verb\": \"why\", \"path\": \"out/main/table\"}"));
	close_store(s);
	assert_ok(remove_tree(s->dir.fd, "state"));
	open_store(s);
	assert_ok(ask(s, "{\"verb\": \"why\", \"path\": \"out/main/table\"}"));
	assert_int_equal(json_array_size(s->lines), 5);
}

static void a_run_whose_trees_are_missing_is_told_of_all_the_same(void **state)
{
	struct stand *s = *state;
	struct run_id id = made_run(
		s->store,
		&(struct made_run){ .started = T0 + 5000, .name = "begun", .status = "running" });
	struct oid nowhere = { { 1, 2, 3 } };
	char hex[OID_HEX];
	json_t *end = json_pack(
		"{s:i, s:s, s:s, s:s, s:[], s:{s:s,s:s,s:i,s:i,s:i}}", "pfs-run", 1, "id", id.s,
		"status", "ok", "ended", "2026-01-15T14:31:52.000000000Z", "outputs", "tree", "id",
		oid_hex(&nowhere, hex), "hint", "", "dirs", 1, "files", 1, "bytes", 1);

	assert_non_null(end);
	assert_ok(archive_end(s->store, &id, end, NULL));
	json_decref(end);
	assert_ok(ask(s, "{\"verb\": \"runs\", \"where\": \"name=begun and status=ok\"}"));
	assert_int_equal(json_array_size(s->lines), 1);
	assert_ok(ask(s, "{\"verb\": \"run-show\", \"run\": \"begun\"}"));
	assert_true(*text_of(line(s, 0), "trees") != '\0');
	assert_ok(ask(s, "{\"verb\": \"why\", \"path\": \"out/main/table\"}"));
	assert_int_equal(json_array_size(s->lines), 5);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(runs_are_listed_by_what_is_said_of_them),
		TEST(a_run_is_found_by_id_beginning_or_name),
		TEST(two_runs_are_compared_with_what_they_read),
		TEST(a_file_comes_from_a_run_and_what_that_read_down_to_raw_data),
		TEST(a_copy_is_known_by_its_content),
		TEST(what_was_changed_by_hand_is_no_runs_though_a_run_made_the_same_before),
		TEST(of_a_directory_the_runs_that_made_its_files_are_told),
		TEST(what_was_made_from_a_file_is_told_through_all_runs),
		TEST(what_was_made_from_a_former_version_is_stale_until_it_is_made_again),
		TEST(what_is_made_again_as_it_was_is_not_stale),
		TEST(what_was_made_from_a_branch_is_of_all_in_it),
		TEST(another_user_sees_ids_alone),
		TEST(runs_in_runs_come_behind_the_outer_one_where_that_is_asked_for),
		TEST(runs_in_one_another_in_a_circle_are_told_once_each),
		TEST(damaged_and_newer_records_are_told_of_and_keep_nothing_else_away),
		TEST(a_run_without_an_end_is_running_until_it_has_one),
		TEST(an_index_that_is_lost_comes_back),
		TEST(a_run_whose_trees_are_missing_is_told_of_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
