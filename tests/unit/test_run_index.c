/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What index/runs.h promises: records in order, and ways up from contents and names to runs.
 */
#include <fcntl.h>
#include <unistd.h>

#include "base/fdio.h"
#include "check.h"
#include "index/runs.h"
#include "scratch.h"

static const struct id128 STORE = { { 1 } };

struct stand {
	struct scratch dir;
	struct index *x;
};

static int set_up(void **state)
{
	struct stand *s = new0(struct stand, 1);

	s->dir = scratch_make();
	assert_ok(index_open(s->dir.fd, &STORE, 1 << 20, &s->x));
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct stand *s = *state;

	index_free(s->x);
	scratch_remove(&s->dir);
	free(s);
	return 0;
}

static struct oid oid(uint8_t n)
{
	return (struct oid){ { n, 1 } };
}

static uint64_t name(const char *s)
{
	return index_run_name(span_str(s));
}

static void put_run(struct stand *s, const char *id, const char *record, uint8_t read,
		    uint8_t written)
{
	struct index_run run = { .record = span_str(record) };

	memcpy(run.id, id, INDEX_RUN_ID);
	if (read)
		run.read = oid(read);
	if (written)
		run.written = oid(written);
	assert_ok(index_runs_put(s->x, &run, 1));
}

/* Top 1 -- R --> 2 -- B --> inner node 3 -- leaf 4 -- f --> content 5. */
static void put_ways(struct stand *s, enum index_run_tree tree)
{
	const struct index_run_edge edges[] = {
		{ oid(1), oid(2), name("R") }, { oid(2), oid(3), name("B") }, { oid(3), oid(4), 0 },
		{ oid(4), oid(5), name("f") }, { oid(4), { { 0 } }, 0 },
	};

	assert_ok(index_runs_add_edges(s->x, tree, edges, ARRAY_SIZE(edges)));
}

static size_t count(struct stand *s, enum index_run_tree tree, const struct oid *content,
		    const char *const *path, size_t n)
{
	_cleanup_run_ids_ struct index_run_ids ids = { 0 };
	uint64_t names[8];
	struct index_run_query q = { tree, content, names, n, 100 };

	for (size_t i = 0; i < n; i++)
		names[i] = name(path[i]);
	assert_ok(index_runs_having(s->x, &q, &ids));
	return ids.count;
}

#define FIRST  "20260101-000000-0001"
#define SECOND "20260102-000000-0002"

static void a_content_leads_to_the_runs_that_have_it_in_that_tree(void **state)
{
	struct stand *s = *state;
	const struct oid five = oid(5), six = oid(6);

	put_ways(s, INDEX_RUN_READ);
	put_run(s, FIRST, "a", 1, 0);
	put_run(s, SECOND, "b", 1, 0);
	assert_int_equal(count(s, INDEX_RUN_READ, &five, NULL, 0), 2);
	assert_int_equal(count(s, INDEX_RUN_WRITTEN, &five, NULL, 0), 0);
	assert_int_equal(count(s, INDEX_RUN_READ, &six, NULL, 0), 0);
}

static void a_path_leads_only_to_runs_that_have_all_of_it(void **state)
{
	struct stand *s = *state;
	const char *const file[] = { "f", "B", "R" }, *const other[] = { "f", "C", "R" };
	const char *const dir[] = { "B", "R" }, *const longer[] = { "f", "B", "R", "X" };
	const struct oid five = oid(5), four = oid(4);

	put_ways(s, INDEX_RUN_WRITTEN);
	put_run(s, FIRST, "a", 0, 1);
	assert_int_equal(count(s, INDEX_RUN_WRITTEN, NULL, file, 3), 1);
	assert_int_equal(count(s, INDEX_RUN_WRITTEN, &five, file, 3), 1);
	assert_int_equal(count(s, INDEX_RUN_WRITTEN, &four, file, 3), 0);
	assert_int_equal(count(s, INDEX_RUN_WRITTEN, NULL, dir, 2), 1);
	assert_int_equal(count(s, INDEX_RUN_WRITTEN, NULL, other, 3), 0);
	assert_int_equal(count(s, INDEX_RUN_WRITTEN, NULL, file, 2), 0);
	assert_int_equal(count(s, INDEX_RUN_WRITTEN, NULL, longer, 4), 0);
	assert_int_equal(count(s, INDEX_RUN_READ, NULL, file, 3), 0);
}

static void a_node_is_known_only_when_all_below_it_was_told(void **state)
{
	struct stand *s = *state;
	const struct oid three = oid(3), four = oid(4);

	put_ways(s, INDEX_RUN_READ);
	assert_int_equal(index_runs_knows(s->x, INDEX_RUN_READ, &four), 1);
	assert_int_equal(index_runs_knows(s->x, INDEX_RUN_READ, &three), 0);
	assert_int_equal(index_runs_knows(s->x, INDEX_RUN_WRITTEN, &four), 0);
}

static void records_come_in_order_from_both_ends(void **state)
{
	struct stand *s = *state;
	_cleanup_run_batch_ struct index_run_batch b = { 0 };
	_cleanup_buf_ struct buf record = { 0 };

	put_run(s, SECOND, "second", 0, 0);
	put_run(s, FIRST, "first", 0, 0);
	assert_ok(index_run_batch_new(1, &b));
	assert_int_equal(index_runs_next(s->x, NULL, false, &b), 1);
	assert_memory_equal(b.ids[0], FIRST, INDEX_RUN_ID);
	assert_memory_equal(b.records.data, "first", b.len[0]);
	assert_int_equal(index_runs_next(s->x, FIRST, false, &b), 1);
	assert_memory_equal(b.ids[0], SECOND, INDEX_RUN_ID);
	assert_int_equal(index_runs_next(s->x, SECOND, false, &b), 0);
	assert_int_equal(index_runs_next(s->x, NULL, true, &b), 1);
	assert_memory_equal(b.ids[0], SECOND, INDEX_RUN_ID);
	assert_int_equal(index_runs_next(s->x, SECOND, true, &b), 1);
	assert_memory_equal(b.ids[0], FIRST, INDEX_RUN_ID);
	assert_int_equal(index_runs_next(s->x, FIRST, true, &b), 0);
	/* From beyond the last one, which is not there itself. */
	assert_int_equal(index_runs_next(s->x, "20990101-000000-0000", true, &b), 1);
	assert_memory_equal(b.ids[0], SECOND, INDEX_RUN_ID);
	put_run(s, FIRST, "replaced", 0, 0);
	assert_ok(index_runs_get(s->x, FIRST, &record));
	assert_memory_equal(record.data, "replaced", record.len);
	assert_int_equal(index_runs_get(s->x, "20990101-000000-0000", &record), -ENOENT);
}

/* Ways that lead in a circle, as only damage could make them, end all the same. */
static void a_circle_ends(void **state)
{
	struct stand *s = *state;
	const struct index_run_edge edges[] = { { oid(1), oid(2), name("x") },
						{ oid(2), oid(1), name("x") } };
	const struct oid one = oid(1);

	assert_ok(index_runs_add_edges(s->x, INDEX_RUN_READ, edges, 2));
	put_run(s, FIRST, "a", 1, 0);
	assert_int_equal(count(s, INDEX_RUN_READ, &one, NULL, 0), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_content_leads_to_the_runs_that_have_it_in_that_tree),
		TEST(a_path_leads_only_to_runs_that_have_all_of_it),
		TEST(a_node_is_known_only_when_all_below_it_was_told),
		TEST(records_come_in_order_from_both_ends),
		TEST(a_circle_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
