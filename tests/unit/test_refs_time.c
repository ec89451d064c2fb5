/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A branch at a time is the commit that it was at then.
 */
#include "check.h"
#include "refs_world.h"

/* A commit of that many seconds after 1970 behind up to two others. */
static struct oid commit_at(struct world *w, int64_t sec, uint64_t generation, const struct oid *a,
			    const struct oid *b)
{
	_cleanup_buf_ struct buf object = { 0 };
	struct commit c = {
		.repo = w->repo,
		.generation = generation,
		.root = { .type = FT_DIR, .mode = 0755 },
		.time = { .sec = sec },
		.nonce = id128_random(),
	};
	struct oid id;

	if (a)
		c.parents[c.parent_count++] = *a;
	if (b)
		c.parents[c.parent_count++] = *b;
	assert_ok(commit_write(&c, &object, &id));
	assert_ok(
		w->inner->ops->put(w->inner, commit_key(&w->repo, &id).s, buf_span(&object), NULL));
	return id;
}

static void move(struct world *w, const struct oid *to)
{
	struct oid from = branch_target(w->here.refs, &w->repo, "main"), now;

	assert_ok(refs_move_branch(w->here.refs, &w->repo, "main", NULL, &from, to, NULL, &now));
}

static int resolve(struct world *w, const char *text, struct oid *ret)
{
	struct resolved r = { 0 };
	int e = refs_resolve(w->here.refs, &w->repo, text, &FRESH, &r);

	*ret = r.commit;
	assert_false(e == 0 && r.is_branch);
	return e;
}

static void assert_then(struct world *w, const char *text, const struct oid *commit)
{
	struct oid id;

	if (resolve(w, text, &id) != 0)
		fail_msg("%s does not resolve", text);
	assert_memory_equal(&id, commit, sizeof(id));
}

static int error(struct world *w, const char *text)
{
	struct oid id;

	return resolve(w, text, &id);
}

/* 1970-01-01 00:01:40, 00:03:20, 00:05:00. */
static void three_commits(struct world *w, struct oid *ret)
{
	ret[0] = commit_at(w, 100, 1, NULL, NULL);
	ret[1] = commit_at(w, 200, 2, &ret[0], NULL);
	ret[2] = commit_at(w, 300, 3, &ret[1], NULL);
	move(w, &ret[2]);
}

static void the_last_commit_not_younger_is_what_the_branch_was(void **state)
{
	struct world *w = *state;
	struct oid c[3];

	three_commits(w, c);
	assert_then(w, "main@{now}", &c[2]);
	assert_then(w, "main@{1970-01-01T00:05Z}", &c[2]);
	assert_then(w, "main@{1970-01-01T00:04:59Z}", &c[1]);
	assert_then(w, "main@{1970-01-01 00:03:20Z}", &c[1]);
	assert_then(w, "main@{1970-01-01T00:01:40Z}", &c[0]);
	assert_int_equal(error(w, "main@{1970-01-01T00:01:39.9Z}"), -ENOENT);
}

static void a_merge_leads_back_along_the_branch_and_not_along_what_came_into_it(void **state)
{
	struct world *w = *state;
	struct oid c[3], side, merge;

	three_commits(w, c);
	side = commit_at(w, 350, 2, &c[0], NULL);
	merge = commit_at(w, 400, 4, &c[2], &side);
	move(w, &merge);
	assert_then(w, "main@{1970-01-01T00:06:40Z}", &merge);
	assert_then(w, "main@{1970-01-01T00:06:39Z}", &c[2]);
}

static void a_commit_of_a_fast_clock_does_not_hide_what_was_before_it(void **state)
{
	struct world *w = *state;
	struct oid c[3], fast, after;

	three_commits(w, c);
	fast = commit_at(w, 4000000000, 4, &c[2], NULL);
	after = commit_at(w, 500, 5, &fast, NULL);
	move(w, &fast);
	assert_then(w, "main@{now}", &c[2]);
	move(w, &after);
	assert_then(w, "main@{now}", &after);
	assert_then(w, "main@{1970-01-01T00:08:19Z}", &c[2]);
}

static void a_branch_without_a_commit_was_nothing(void **state)
{
	struct world *w = *state;

	assert_int_equal(error(w, "main@{now}"), -ENOENT);
	assert_int_equal(error(w, "none@{now}"), -ENOENT);
}

static void only_a_branch_has_been_something_else(void **state)
{
	struct world *w = *state;
	char text[OID_HEX + 16], hex[OID_HEX];
	struct oid c[3];

	three_commits(w, c);
	assert_ok(refs_create_name(w->here.refs, &w->repo, "first", &c[0], NULL));
	assert_int_equal(error(w, "first@{now}"), -ENOENT);
	snprintf(text, sizeof(text), "%s@{now}", oid_hex(&c[0], hex));
	assert_int_equal(error(w, text), -ENOENT);
}

static void what_is_no_time_is_said_to_be_none(void **state)
{
	struct world *w = *state;
	char text[300];
	struct oid c[3];

	three_commits(w, c);
	assert_int_equal(error(w, "main@{}"), -EINVAL);
	assert_int_equal(error(w, "main@{soon}"), -EINVAL);
	memset(text, '1', sizeof(text));
	memcpy(text, "main@{", 6);
	memcpy(text + sizeof(text) - 2, "}", 2);
	assert_int_equal(error(w, text), -EINVAL);
	assert_int_equal(error(w, "@{now}"), -ENOENT);
	assert_int_equal(error(w, "main@{now"), -ENOENT);
	assert_int_equal(error(w, "a/b@{now}"), -ENOENT);
}

static void who_may_not_wait_is_told_so(void **state)
{
	struct world *w = *state;
	struct resolved r;
	struct machine m;
	struct oid c[3];

	three_commits(w, c);
	machine_open(w->backend, &m);
	assert_int_equal(refs_resolve(m.refs, &w->repo, "main@{now}", &AT_ONCE, &r), -EAGAIN);
	machine_close(&m);
}

#define test(fn) cmocka_unit_test_setup_teardown(fn, world_in_memory, world_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(the_last_commit_not_younger_is_what_the_branch_was),
		test(a_merge_leads_back_along_the_branch_and_not_along_what_came_into_it),
		test(a_commit_of_a_fast_clock_does_not_hide_what_was_before_it),
		test(a_branch_without_a_commit_was_nothing),
		test(only_a_branch_has_been_something_else),
		test(what_is_no_time_is_said_to_be_none),
		test(who_may_not_wait_is_told_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
