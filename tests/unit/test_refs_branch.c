/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Branches are made, renamed and removed, whoever comes in between, and keep what they have.
 */
#include "hurry.h"
#include "refs_change.h"

static void branches_and_names_share_one_name_space(void **state)
{
	struct world *w = *state;
	struct oid a = commit_make(w, NULL, NULL), b = commit_make(w, NULL, NULL);
	struct refs *r = w->here.refs;

	assert_ok(refs_create_branch(r, &w->repo, "x", &a, NULL));
	assert_int_equal(refs_create_branch(r, &w->repo, "x", &a, NULL), -EEXIST);
	assert_int_equal(refs_create_name(r, &w->repo, "x", &a, NULL), -EEXIST);
	assert_ok(refs_create_name(r, &w->repo, "y", &a, NULL));
	assert_ok(refs_create_name(r, &w->repo, "y", &a, NULL)); /* it says so already */
	assert_int_equal(refs_create_name_once(r, &w->repo, "y", &a, NULL), -EEXIST);
	assert_int_equal(refs_create_name(r, &w->repo, "y", &b, NULL), -EEXIST);
	assert_int_equal(refs_create_branch(r, &w->repo, "y", &a, NULL), -EEXIST);
	assert_int_equal(refs_rename_branch(r, &w->repo, "x", "y", NULL), -EEXIST);

	assert_ok(refs_remove_name(r, &w->repo, "y", NULL));
	assert_int_equal(refs_remove_name(r, &w->repo, "y", NULL), -ENOENT);
	assert_ok(refs_create_branch(r, &w->repo, "y", &a, NULL));
	assert_ok(refs_remove_branch(r, &w->repo, "y", NULL));
	assert_int_equal(refs_remove_branch(r, &w->repo, "y", NULL), -ENOENT);
	assert_ok(refs_create_name(r, &w->repo, "y", &b, NULL));
}

static void a_change_needs_a_valid_name_a_commit_and_leave_to_write(void **state)
{
	struct world *w = *state;
	struct oid c = commit_make(w, NULL, NULL), gone = sample_oid(&w->random), now;
	struct refs *r = w->here.refs,
		    *reader = refs_open(w->backend, w->here.index, REFRESH_MS, true);
	struct repo_rec rec = { .default_branch = "main", .chunk = CHUNK_PARAMS_DEFAULT };

	assert_int_equal(refs_create_branch(r, &w->repo, "a b", &c, NULL), -EINVAL);
	assert_int_equal(refs_create_name(r, &w->repo, "cafebabe", &c, NULL), -EINVAL);
	assert_int_equal(refs_create_branch(r, &w->repo, "b", &gone, NULL), -ENOENT);
	assert_int_equal(refs_create_name(r, &w->repo, "n", &gone, NULL), -ENOENT);
	assert_int_equal(refs_create_name(r, &w->repo, "n", &UNBORN, NULL), -EINVAL);
	assert_int_equal(refs_rename_branch(r, &w->repo, "none", "b", NULL), -ENOENT);

	assert_int_equal(refs_create_repo(reader, "r2", &rec, NULL), -EROFS);
	assert_int_equal(refs_remove_repo(reader, "repo", NULL), -EROFS);
	assert_int_equal(refs_create_branch(reader, &w->repo, "b", &c, NULL), -EROFS);
	assert_int_equal(refs_create_name(reader, &w->repo, "b", &c, NULL), -EROFS);
	assert_int_equal(refs_move_branch(reader, &w->repo, "main", NULL, &UNBORN, &c, NULL, &now),
			 -EROFS);
	refs_free(reader);
}

static void the_default_branch_stays(void **state)
{
	struct world *w = *state;

	assert_int_equal(refs_remove_branch(w->here.refs, &w->repo, "main", NULL), -EBUSY);
	assert_int_equal(refs_rename_branch(w->here.refs, &w->repo, "main", "m", NULL), -EBUSY);
	/* Also when nothing is known of the repo's name yet. */
	machine_restart(w->backend, &w->here);
	assert_int_equal(refs_remove_branch(w->here.refs, &w->repo, "main", NULL), -EBUSY);
}

static void tombstones_and_live_refs_differ_in_size(void **state)
{
	struct world *w = *state;
	struct oid c = commit_make(w, NULL, NULL);
	struct refs *r = w->here.refs;
	uint64_t size;

	assert_ok(refs_create_branch(r, &w->repo, "b", &c, NULL));
	assert_ok(w->inner->ops->head(w->inner, head_key(&w->repo, "b").s, NULL, &size));
	assert_true(size >= REF_LIVE_MIN);
	assert_ok(refs_remove_branch(r, &w->repo, "b", NULL));
	assert_ok(w->inner->ops->head(w->inner, head_key(&w->repo, "b").s, NULL, &size));
	assert_int_equal(size, REF_TOMBSTONE_SIZE);
	assert_listed(r, &w->repo, REF_BRANCH, &FRESH, "main ");
}

static void a_renamed_branch_keeps_its_identity_and_leaves_a_trace(void **state)
{
	struct world *w = *state;
	_cleanup_ref_ struct ref before = { 0 }, after = { 0 }, trace = { 0 };
	struct oid c = commit_make(w, NULL, NULL);
	struct refs *r = w->here.refs;

	assert_ok(refs_create_branch(r, &w->repo, "old", &c, NULL));
	assert_ok(refs_get(r, &w->repo, REF_BRANCH, "old", &FRESH, &before, NULL));
	assert_ok(refs_rename_branch(r, &w->repo, "old", "new", NULL));
	assert_ok(refs_get(r, &w->repo, REF_BRANCH, "new", &FRESH, &after, NULL));
	assert_memory_equal(&after.branch, &before.branch, sizeof(after.branch));
	assert_memory_equal(&after.target, &c, sizeof(c));
	assert_false(is_live(r, &w->repo, REF_BRANCH, "old"));
	ref_read_back(w, head_key(&w->repo, "old").s, &trace);
	assert_string_equal(trace.renamed_to, "new");
	assert_listed(r, &w->repo, REF_BRANCH, &KNOWN, "main new ");
	assert_ok(refs_rename_branch(r, &w->repo, "new", "new", NULL));
	assert_true(is_live(r, &w->repo, REF_BRANCH, "new"));
}

static void a_rename_that_died_half_way_is_ended_by_the_next(void **state)
{
	struct world *w = *state;
	struct oid a = commit_make(w, NULL, NULL), b = commit_make(w, &a, NULL);
	struct deadline dl = deadline_in_ms(5000);
	struct refs *r = w->here.refs;

	assert_ok(refs_create_branch(r, &w->repo, "old", &a, NULL));
	/* The second swap, the tombstone, never comes about. */
	fault_add(w,
		  (struct fault){
			  .op = FAULT_SWAP, .kind = FAULT_FAIL, .nth = 2, .error = -EINPROGRESS });
	is_hurried = true;
	assert_int_equal(refs_rename_branch(r, &w->repo, "old", "new", &dl), -EINPROGRESS);
	is_hurried = false;
	fault_backend_clear(w->backend);
	assert_true(is_live(r, &w->repo, REF_BRANCH, "old"));
	assert_true(is_live(r, &w->repo, REF_BRANCH, "new"));
	/* What was published under the old name since is not lost. */
	assert_ok(move(w, "old", &a, &b));
	assert_ok(refs_rename_branch(r, &w->repo, "old", "new", NULL));
	assert_false(is_live(r, &w->repo, REF_BRANCH, "old"));
	assert_branch_at(w, "new", &b);
}

static void a_commit_that_comes_in_the_middle_of_a_rename_is_kept(void **state)
{
	struct world *w = *state;
	struct meddler m = meddler_over(w->backend);
	struct oid a = commit_make(w, NULL, NULL);
	struct intrusion i = { .world = w, .by = &w->here, .from = a, .branch = "old" };
	struct refs *r = meddled_refs(w, &m);
	struct key key;

	assert_ok(refs_create_branch(r, &w->repo, "old", &a, NULL));
	m.before = somebody_commits;
	key = head_key(&w->repo, "old");
	m.prefix = key.s;
	m.ctx = &i;
	m.left = 1; /* right before the tombstone */
	assert_ok(refs_rename_branch(r, &w->repo, "old", "new", NULL));
	assert_ok(i.result);
	assert_branch_at(w, "new", &i.to);
	assert_false(is_live(w->here.refs, &w->repo, REF_BRANCH, "old"));
	refs_free(r);
}

static void somebody_renames(const char *key, void *ctx)
{
	struct intrusion *i = ctx;

	i->result = refs_rename_branch(i->by->refs, &i->world->repo, i->branch, i->other, NULL);
}

static void of_two_renames_to_two_names_one_holds(void **state)
{
	struct world *w = *state;
	struct meddler m = meddler_over(w->backend);
	struct oid a = commit_make(w, NULL, NULL);
	struct intrusion i = { .world = w, .by = &w->here, .branch = "old", .other = "theirs" };
	struct refs *r = meddled_refs(w, &m);
	struct key key;

	assert_ok(refs_create_branch(r, &w->repo, "old", &a, NULL));
	m.before = somebody_renames;
	key = head_key(&w->repo, "old");
	m.prefix = key.s;
	m.ctx = &i;
	m.left = 1;
	assert_int_equal(refs_rename_branch(r, &w->repo, "old", "ours", NULL), -ENOENT);
	assert_ok(i.result);
	assert_listed(w->here.refs, &w->repo, REF_BRANCH, &FRESH, "main theirs ");
	refs_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(branches_and_names_share_one_name_space),
		BOTH(a_change_needs_a_valid_name_a_commit_and_leave_to_write),
		BOTH(the_default_branch_stays),
		BOTH(tombstones_and_live_refs_differ_in_size),
		BOTH(a_renamed_branch_keeps_its_identity_and_leaves_a_trace),
		BOTH(a_rename_that_died_half_way_is_ended_by_the_next),
		BOTH(a_commit_that_comes_in_the_middle_of_a_rename_is_kept),
		BOTH(of_two_renames_to_two_names_one_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
