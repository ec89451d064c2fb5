/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Repos are made, changed and removed once, whoever comes in between.
 */
#include "refs_change.h"

static void a_repo_is_made_once(void **state)
{
	struct world *w = *state;
	struct repo_rec rec = { .default_branch = "main", .chunk = CHUNK_PARAMS_DEFAULT };
	struct refs *r = w->here.refs;

	assert_int_equal(refs_create_repo(r, "repo", &rec, NULL), -EEXIST);
	assert_int_equal(refs_create_repo(r, "commits", &rec, NULL), -EINVAL);
	assert_int_equal(refs_create_repo(r, "a/b", &rec, NULL), -EINVAL);
	assert_int_equal(refs_create_repo(r, "deadbeef", &rec, NULL), -EINVAL);
	strcpy(rec.default_branch, ".x");
	assert_int_equal(refs_create_repo(r, "other", &rec, NULL), -EINVAL);
}

static void a_repo_of_another_store_is_made_under_its_own_id(void **state)
{
	struct world *w = *state;
	struct repo_rec rec = {
		.default_branch = "trunk",
		.chunk = CHUNK_PARAMS_DEFAULT,
		.id = id128_random(),
		.created = { .sec = 17 },
	};
	struct refs *r = w->here.refs;
	static const struct oid unborn;
	_cleanup_repo_rec_ struct repo_rec made = { 0 };

	/* As far as an earlier try got. */
	assert_ok(refs_create_branch(r, &rec.id, "trunk", &unborn, NULL));
	assert_ok(refs_create_repo(r, "guest", &rec, NULL));
	assert_ok(refs_repo(r, "guest", &FRESH, &made));
	assert_true(id128_equal(&made.id, &rec.id));
	assert_int_equal(made.created.sec, 17);
	assert_int_equal(refs_create_repo(r, "guest", &rec, NULL), -EEXIST);
}

static void an_empty_repo_can_be_removed_and_made_again(void **state)
{
	struct world *w = *state;
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct refs *r = w->here.refs;
	struct text t = { "" };
	struct id128 again;

	assert_ok(refs_create_branch(r, &w->repo, "b", &UNBORN, NULL));
	assert_ok(refs_remove_repo(r, "repo", NULL));
	assert_int_equal(refs_repo(r, "repo", &FRESH, &rec), -ENOENT);
	assert_int_equal(refs_remove_repo(r, "repo", NULL), -ENOENT);
	assert_ok(refs_list_repos(r, &FRESH, text_add, &t));
	assert_string_equal(t.s, "");
	assert_false(is_live(r, &w->repo, REF_BRANCH, "main"));

	repo_make(r, "repo", &again);
	assert_false(id128_equal(&again, &w->repo));
	assert_ok(refs_repo(r, "repo", &FRESH, &rec));
	assert_int_equal(rec.seq, 3);
}

static void a_repo_with_commits_or_names_is_not_removed(void **state)
{
	struct world *w = *state;
	struct oid c = commit_make(w, NULL, NULL);

	assert_int_equal(refs_remove_repo(w->here.refs, "repo", NULL), -ENOTEMPTY);
	assert_true(is_live(w->here.refs, &w->repo, REF_BRANCH, "main"));
	assert_ok(move(w, "main", &UNBORN, &c));
	assert_int_equal(refs_remove_repo(w->here.refs, "repo", NULL), -ENOTEMPTY);
}

static void a_commit_that_comes_while_the_repo_goes_keeps_it(void **state)
{
	struct world *w = *state;
	struct meddler m = meddler_over(w->backend);
	struct intrusion i = { .world = w, .by = &w->here, .branch = "main" };
	struct refs *r = meddled_refs(w, &m);
	struct key key;

	assert_ok(refs_create_branch(r, &w->repo, "aaa", &UNBORN, NULL));
	m.before = somebody_commits;
	key = head_key(&w->repo, "aaa");
	m.prefix = key.s;
	m.ctx = &i;
	m.left = 1;
	/* "aaa" is turned into a tombstone before "main" is looked at. */
	assert_int_equal(refs_remove_repo(r, "repo", NULL), -ENOTEMPTY);
	assert_ok(i.result);
	assert_branch_at(w, "main", &i.to);
	assert_true(is_live(w->here.refs, &w->repo, REF_BRANCH, "aaa"));
	refs_free(r);
}

static void somebody_removes_the_repo(const char *key, void *ctx)
{
	struct intrusion *i = ctx;

	i->result = refs_remove_repo(i->by->refs, "repo", NULL);
}

static void of_two_who_remove_a_repo_one_does(void **state)
{
	struct world *w = *state;
	struct meddler m = meddler_over(w->backend);
	struct intrusion i = { .world = w, .by = &w->here };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct refs *r = meddled_refs(w, &m);

	m.before = somebody_removes_the_repo;
	m.prefix = "heads/";
	m.ctx = &i;
	m.left = 1;
	assert_int_equal(refs_remove_repo(r, "repo", NULL), -ENOENT);
	assert_ok(i.result);
	assert_int_equal(refs_repo(r, "repo", &FRESH, &rec), -ENOENT);
	assert_false(is_live(r, &w->repo, REF_BRANCH, "main"));
	refs_free(r);
}

static void a_repos_record_changes_as_asked_or_not_at_all(void **state)
{
	struct world *w = *state;
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct refs *r = w->here.refs;
	int answer = -EPERM;

	assert_int_equal(refs_change_repo(r, "repo", set_minimum, &answer, NULL), -EPERM);
	assert_ok(refs_repo(r, "repo", &FRESH, &rec));
	assert_int_equal(rec.seq, 1);
	answer = 0;
	assert_ok(refs_change_repo(r, "repo", set_minimum, &answer, NULL));
	repo_rec_release(&rec);
	assert_ok(refs_repo(r, "repo", &FRESH, &rec));
	assert_int_equal(rec.seq, 2);
	assert_int_equal(rec.chunk.min, 4096);
	assert_int_equal(refs_change_repo(r, "other", set_minimum, &answer, NULL), -ENOENT);
}

static void somebody_changes_the_repo(const char *key, void *ctx)
{
	struct intrusion *i = ctx;
	int answer = 0;

	i->result = refs_change_repo(i->by->refs, "repo", set_minimum, &answer, NULL);
}

static void a_repo_that_stays_keeps_its_branches(void **state)
{
	struct world *w = *state;
	struct meddler m = meddler_over(w->backend);
	struct intrusion i = { .world = w, .by = &w->here };
	struct refs *r = meddled_refs(w, &m);

	m.before = somebody_changes_the_repo;
	m.prefix = "repos/";
	m.ctx = &i;
	m.left = 1;
	assert_int_equal(refs_remove_repo(r, "repo", NULL), -EBUSY);
	assert_ok(i.result);
	assert_true(is_live(r, &w->repo, REF_BRANCH, "main"));
	refs_free(r);
	fault_add(w, (struct fault){ .op = FAULT_SWAP,
				     .kind = FAULT_FAIL,
				     .prefix = "repos/",
				     .error = -ENOSPC });
	assert_int_equal(refs_remove_repo(w->here.refs, "repo", NULL), -ENOSPC);
	assert_true(is_live(w->here.refs, &w->repo, REF_BRANCH, "main"));
}

static void a_damaged_repo_is_not_in_the_way_of_others(void **state)
{
	struct world *w = *state;
	struct refs *r = w->here.refs;
	uint8_t none[1024] = { 0 };

	assert_ok(w->inner->ops->put(w->inner, "repos/a", span_of(none, sizeof(none)), NULL));
	assert_ok(refs_create_branch(r, &w->repo, "b", &UNBORN, NULL));
	log_set_quiet(true);
	assert_ok(refs_rename_branch(r, &w->repo, "b", "c", NULL));
	assert_ok(refs_remove_branch(r, &w->repo, "c", NULL));
	log_set_quiet(false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(a_repo_is_made_once),
		BOTH(a_repo_of_another_store_is_made_under_its_own_id),
		BOTH(an_empty_repo_can_be_removed_and_made_again),
		BOTH(a_repo_with_commits_or_names_is_not_removed),
		BOTH(a_commit_that_comes_while_the_repo_goes_keeps_it),
		BOTH(of_two_who_remove_a_repo_one_does),
		BOTH(a_repos_record_changes_as_asked_or_not_at_all),
		BOTH(a_repo_that_stays_keeps_its_branches),
		BOTH(a_damaged_repo_is_not_in_the_way_of_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
