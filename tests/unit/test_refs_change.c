/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A change of a ref that was acknowledged is there, and one that was refused is not, whatever the
 * network does to the calls. Races are test_refs_race.c.
 */
#include "hurry.h"
#include "refs_change.h"

/* What befalls the swaps of a change. */
static const struct {
	const char *what;
	struct fault fault;
} troubles[] = {
	{ "the reply is lost",
	  { .op = FAULT_SWAP, .kind = FAULT_LOSE_REPLY, .error = -EINPROGRESS } },
	{ "the reply is nonsense", { .op = FAULT_SWAP, .kind = FAULT_LOSE_REPLY, .error = -EIO } },
	{ "it looks lost", { .op = FAULT_SWAP, .kind = FAULT_LOSE_REPLY, .error = -ESTALE } },
	{ "it never arrives", { .op = FAULT_SWAP, .kind = FAULT_FAIL, .error = -EINPROGRESS } },
	{ "the store says conflict", { .op = FAULT_SWAP, .kind = FAULT_FAIL, .error = -ESTALE } },
	{ "the store is ill for a moment",
	  { .op = FAULT_SWAP, .kind = FAULT_FAIL, .error = -EIO } },
};

/* Every kind of change; each leaves what the last one found. */
static void change_everything(struct world *w, const struct oid *a, const struct oid *b)
{
	struct repo_rec rec = { .default_branch = "main", .chunk = CHUNK_PARAMS_DEFAULT };
	struct refs *r = w->here.refs;
	int zero = 0;

	assert_ok(refs_create_branch(r, &w->repo, "b", a, NULL));
	assert_ok(move(w, "b", a, b));
	assert_branch_at(w, "b", b);
	assert_ok(refs_rename_branch(r, &w->repo, "b", "c", NULL));
	assert_branch_at(w, "c", b);
	assert_false(is_live(r, &w->repo, REF_BRANCH, "b"));
	assert_ok(refs_remove_branch(r, &w->repo, "c", NULL));
	assert_false(is_live(r, &w->repo, REF_BRANCH, "c"));
	assert_ok(refs_create_name(r, &w->repo, "n", a, NULL));
	assert_true(is_live(r, &w->repo, REF_NAME, "n"));
	assert_ok(refs_remove_name(r, &w->repo, "n", NULL));
	assert_false(is_live(r, &w->repo, REF_NAME, "n"));
	assert_ok(refs_create_repo(r, "r2", &rec, NULL));
	assert_ok(refs_change_repo(r, "r2", set_minimum, &zero, NULL));
	assert_ok(refs_remove_repo(r, "r2", NULL));
	assert_int_equal(refs_repo(r, "r2", &FRESH, &rec), -ENOENT);
}

static void no_trouble_with_a_swap_makes_a_change_fail_or_happen_twice(void **state)
{
	struct world *w = *state;
	struct oid a = commit_make(w, NULL, NULL), b = commit_make(w, &a, NULL);

	for (size_t t = 0; t < ARRAY_SIZE(troubles); t++) {
		/* 12 swaps are made; more when some are tried again. */
		for (uint64_t nth = 1; nth <= 14; nth++) {
			struct fault f = troubles[t].fault;

			f.nth = nth;
			f.times = 1;
			fault_add(w, f);
			change_everything(w, &a, &b);
			fault_backend_clear(w->backend);
		}
	}
}

static void nor_do_failing_looks(void **state)
{
	struct world *w = *state;
	struct oid a = commit_make(w, NULL, NULL), b = commit_make(w, &a, NULL), now;
	struct refs *r = w->here.refs;

	/* The reply is lost, and so are the first tries to read back. */
	assert_ok(refs_create_branch(r, &w->repo, "b", &a, NULL));
	fault_add(w, (struct fault){ .op = FAULT_SWAP,
				     .kind = FAULT_LOSE_REPLY,
				     .error = -EINPROGRESS,
				     .times = 1 });
	fault_add(w, (struct fault){ .op = FAULT_GET_ALL,
				     .kind = FAULT_FAIL,
				     .prefix = "heads/",
				     .error = -EIO,
				     .times = 3 });
	assert_ok(refs_move_branch(r, &w->repo, "b", NULL, &a, &b, NULL, &now));
	assert_branch_at(w, "b", &b);
}

static void what_cannot_be_known_in_time_is_said_to_be_unknown(void **state)
{
	struct world *w = *state;
	struct oid a = commit_make(w, NULL, NULL), now;
	struct deadline dl = deadline_in_ms(80);
	struct refs *r = w->here.refs;

	branch_target(r, &w->repo, "main");
	fault_add(w, (struct fault){
			     .op = FAULT_SWAP, .kind = FAULT_LOSE_REPLY, .error = -EINPROGRESS });
	fault_add(w, (struct fault){ .op = FAULT_GET_ALL,
				     .kind = FAULT_DELAY,
				     .prefix = "heads/",
				     .delay_ms = 60000 });
	assert_int_equal(refs_move_branch(r, &w->repo, "main", NULL, &UNBORN, &a, &dl, &now),
			 -EINPROGRESS);
	fault_backend_clear(w->backend);
	/* Asked again, it turns out to have happened. */
	assert_ok(move(w, "main", &UNBORN, &a));
	assert_branch_at(w, "main", &a);
}

static void a_change_that_is_refused_is_no_riddle(void **state)
{
	static const int errors[] = { -ENOSPC, -EACCES, -EROFS, -EOPNOTSUPP };
	struct world *w = *state;
	struct oid a = commit_make(w, NULL, NULL);

	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		int e = errors[i];

		fault_add(w, (struct fault){ .op = FAULT_SWAP, .kind = FAULT_FAIL, .error = e });
		assert_int_equal(move(w, "main", &UNBORN, &a), e);
		assert_int_equal(refs_create_branch(w->here.refs, &w->repo, "b", &a, NULL), e);
		fault_backend_clear(w->backend);
	}
}

static void a_store_that_refuses_what_it_should_take_makes_no_success(void **state)
{
	struct world *w = *state;
	_cleanup_ref_ struct ref there = { 0 };
	struct oid a = commit_make(w, NULL, NULL);

	fault_add(w, (struct fault){ .op = FAULT_SWAP, .kind = FAULT_FAIL, .error = -ESTALE });
	is_hurried = true;
	assert_int_equal(refs_create_branch(w->here.refs, &w->repo, "b", &a, NULL), -EIO);
	/* Something was sent; who asks again will see. */
	assert_int_equal(move(w, "main", &UNBORN, &a), -EINPROGRESS);
	is_hurried = false;
	skipped_ns = 0;
	ref_read_back(w, head_key(&w->repo, "main").s, &there);
	assert_true(oid_is_null(&there.target));
}

static void a_lost_reply_with_a_commit_on_top_is_success(void **state)
{
	struct world *w = *state;
	struct meddler m = meddler_over(w->backend);
	struct oid a = commit_make(w, NULL, NULL), now;
	struct intrusion i = { .world = w, .by = &w->here, .from = a, .branch = "main" };
	struct refs *r = meddled_refs(w, &m);

	branch_target(r, &w->repo, "main");
	fault_add(w, (struct fault){ .op = FAULT_SWAP,
				     .kind = FAULT_LOSE_REPLY,
				     .error = -EINPROGRESS,
				     .times = 1 });
	/* Our swap lands, nobody tells us, and somebody goes on from there. */
	m.after = somebody_commits;
	m.prefix = "heads/";
	m.ctx = &i;
	m.left = 1;
	assert_ok(refs_move_branch(r, &w->repo, "main", NULL, &UNBORN, &a, NULL, &now));
	assert_ok(i.result);
	assert_branch_at(w, "main", &i.to);
	refs_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(no_trouble_with_a_swap_makes_a_change_fail_or_happen_twice),
		BOTH(nor_do_failing_looks),
		BOTH(what_cannot_be_known_in_time_is_said_to_be_unknown),
		BOTH(a_change_that_is_refused_is_no_riddle),
		BOTH(a_store_that_refuses_what_it_should_take_makes_no_success),
		BOTH(a_lost_reply_with_a_commit_on_top_is_success),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
