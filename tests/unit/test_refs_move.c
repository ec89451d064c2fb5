/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A branch moves from where it was believed to be, as the one that is meant, or not at all.
 */
#include "refs_change.h"

static void a_move_finds_a_branch_under_its_new_name(void **state)
{
	struct world *w = *state;
	struct oid a = commit_make(w, NULL, NULL), b = commit_make(w, &a, NULL);
	struct machine m;
	struct oid now;

	machine_open(w->backend, &m);
	assert_ok(refs_create_branch(w->here.refs, &w->repo, "old", &a, NULL));
	branch_target(m.refs, &w->repo, "old");
	assert_ok(refs_rename_branch(w->here.refs, &w->repo, "old", "mid", NULL));
	assert_ok(refs_rename_branch(w->here.refs, &w->repo, "mid", "new", NULL));
	assert_ok(refs_move_branch(m.refs, &w->repo, "old", NULL, &a, &b, NULL, &now));
	assert_branch_at(w, "new", &b);
	/* Another branch that took the old name is another branch. */
	assert_ok(refs_create_branch(w->here.refs, &w->repo, "mid", &a, NULL));
	assert_int_equal(refs_move_branch(m.refs, &w->repo, "old", NULL, &a, &b, NULL, &now),
			 -ENOENT);
	machine_close(&m);
}

static void somebody_makes_the_branch_anew(const char *key, void *ctx)
{
	struct intrusion *i = ctx;

	i->result = refs_remove_branch(i->by->refs, &i->world->repo, i->branch, NULL);
	if (i->result == 0)
		i->result =
			refs_create_branch(i->by->refs, &i->world->repo, i->branch, &i->to, NULL);
}

static void where_a_branch_was_made_anew_nobody_knows_what_was_on_the_old_one(void **state)
{
	struct world *w = *state;
	struct meddler m = meddler_over(w->backend);
	struct oid a = commit_make(w, NULL, NULL), b = commit_make(w, &a, NULL), now;
	struct key key = head_key(&w->repo, "x");

	for (int k = 0; k < 2; k++) {
		struct intrusion i = { .world = w, .by = &w->here, .branch = "x" };
		struct refs *r = meddled_refs(w, &m);

		i.to = k ? a : commit_make(w, &a, NULL);
		assert_ok(refs_create_branch(w->here.refs, &w->repo, "x", &a, NULL));
		fault_add(w, (struct fault){ .op = FAULT_SWAP,
					     .kind = FAULT_LOSE_REPLY,
					     .prefix = key.s,
					     .times = 1,
					     .error = -EINPROGRESS });
		m.after = somebody_makes_the_branch_anew;
		m.prefix = key.s;
		m.ctx = &i;
		m.left = 1;
		/* It was on the one that is gone, where others may have seen it. */
		assert_int_equal(refs_move_branch(r, &w->repo, "x", NULL, &a, &b, NULL, &now),
				 k ? 0 : -EINPROGRESS);
		assert_ok(i.result);
		fault_backend_clear(w->backend);
		assert_ok(refs_remove_branch(w->here.refs, &w->repo, "x", NULL));
		refs_free(r);
	}
}

static void a_branch_moves_from_where_it_was_believed_to_be_and_only_from_there(void **state)
{
	struct world *w = *state;
	struct oid a = commit_make(w, NULL, NULL), b = commit_make(w, &a, NULL),
		   c = commit_make(w, &b, NULL), side = commit_make(w, &a, NULL), now;
	struct refs *r = w->here.refs;

	assert_ok(move(w, "main", &UNBORN, &a));
	assert_ok(move(w, "main", &a, &b));
	assert_int_equal(refs_move_branch(r, &w->repo, "main", NULL, &a, &side, NULL, &now),
			 -ESTALE);
	assert_memory_equal(&now, &b, sizeof(now));
	assert_ok(move(w, "main", &b, &c));
	/* It is there already, or beyond. */
	assert_ok(move(w, "main", &b, &c));
	assert_ok(move(w, "main", &a, &b));
	assert_branch_at(w, "main", &c);
	assert_int_equal(refs_move_branch(r, &w->repo, "none", NULL, &a, &b, NULL, &now), -ENOENT);
}

static struct id128 identity_of(struct world *w, const char *branch)
{
	_cleanup_ref_ struct ref ref = { 0 };

	assert_ok(refs_get(w->here.refs, &w->repo, REF_BRANCH, branch, &FRESH, &ref, NULL));
	return ref.branch;
}

static void only_the_branch_that_is_meant_is_moved(void **state)
{
	struct world *w = *state;
	struct oid a = commit_make(w, NULL, NULL), b = commit_make(w, &a, NULL), now;
	struct refs *r = w->here.refs;
	struct id128 former, later;

	assert_ok(refs_create_branch(r, &w->repo, "b", &a, NULL));
	former = identity_of(w, "b");
	assert_ok(refs_remove_branch(r, &w->repo, "b", NULL));
	assert_int_equal(refs_move_branch(r, &w->repo, "b", &former, &a, &b, NULL, &now), -ENOENT);
	assert_ok(refs_create_branch(r, &w->repo, "b", &a, NULL));
	assert_int_equal(refs_move_branch(r, &w->repo, "b", &former, &a, &b, NULL, &now), -ENOENT);
	assert_branch_at(w, "b", &a);
	later = identity_of(w, "b");
	assert_ok(refs_rename_branch(r, &w->repo, "b", "c", NULL));
	/* By its former name it is found; who had that one before is not. */
	assert_int_equal(refs_move_branch(r, &w->repo, "b", &former, &a, &b, NULL, &now), -ENOENT);
	assert_ok(refs_move_branch(r, &w->repo, "b", &later, &a, &b, NULL, &now));
	assert_branch_at(w, "c", &b);
}

static void somebody_makes_it_anew(const char *key, void *ctx)
{
	struct intrusion *i = ctx;
	struct refs *r = i->by->refs;

	i->result = refs_remove_branch(r, &i->world->repo, i->branch, NULL)
			    ?: refs_create_branch(r, &i->world->repo, i->branch, &i->from, NULL);
}

static void a_branch_made_anew_between_the_look_and_the_swap_is_not_moved(void **state)
{
	struct world *w = *state;
	struct meddler m = meddler_over(w->backend);
	struct oid a = commit_make(w, NULL, NULL), b = commit_make(w, &a, NULL), now;
	struct intrusion in = { .world = w, .by = &w->here, .from = a, .branch = "b" };
	struct refs *r = meddled_refs(w, &m);
	struct id128 identity;

	assert_ok(refs_create_branch(r, &w->repo, "b", &a, NULL));
	identity = identity_of(w, "b");
	m.before = somebody_makes_it_anew;
	m.ctx = &in;
	m.prefix = "heads/";
	m.left = 1;
	/* Whether the former had it for a moment cannot be seen any more. */
	assert_int_equal(refs_move_branch(r, &w->repo, "b", &identity, &a, &b, NULL, &now),
			 -EINPROGRESS);
	assert_ok(in.result);
	assert_branch_at(w, "b", &a);
	assert_int_equal(refs_move_branch(r, &w->repo, "b", &identity, &a, &b, NULL, &now),
			 -ENOENT);
	assert_branch_at(w, "b", &a);
	refs_free(r);
}

static void somebody_removes_it(const char *key, void *ctx)
{
	struct intrusion *i = ctx;

	i->result = refs_remove_branch(i->by->refs, &i->world->repo, i->branch, NULL);
}

static void of_a_branch_that_goes_meanwhile_it_is_known_whether_it_was_moved(void **state)
{
	struct world *w = *state;
	struct meddler m = meddler_over(w->backend);
	struct oid a = commit_make(w, NULL, NULL), b = commit_make(w, &a, NULL), now;
	struct intrusion in = { .world = w, .by = &w->here, .branch = "b" };
	struct refs *r = meddled_refs(w, &m);

	m.ctx = &in;
	m.prefix = "heads/";
	for (int is_after = 0; is_after < 2; is_after++) {
		assert_ok(refs_create_branch(r, &w->repo, "b", &a, NULL));
		m.before = is_after ? NULL : somebody_removes_it;
		m.after = is_after ? somebody_removes_it : NULL;
		m.left = 1;
		/* With the reply lost, it is the tombstone that says so. */
		if (is_after)
			fault_add(w, (struct fault){ .op = FAULT_SWAP,
						     .kind = FAULT_LOSE_REPLY,
						     .error = -EINPROGRESS,
						     .times = 1 });
		assert_int_equal(refs_move_branch(r, &w->repo, "b", NULL, &a, &b, NULL, &now),
				 is_after ? -EINPROGRESS : -ENOENT);
		assert_ok(in.result);
	}
	refs_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(a_move_finds_a_branch_under_its_new_name),
		BOTH(where_a_branch_was_made_anew_nobody_knows_what_was_on_the_old_one),
		BOTH(a_branch_moves_from_where_it_was_believed_to_be_and_only_from_there),
		BOTH(only_the_branch_that_is_meant_is_moved),
		BOTH(a_branch_made_anew_between_the_look_and_the_swap_is_not_moved),
		BOTH(of_a_branch_that_goes_meanwhile_it_is_known_whether_it_was_moved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
