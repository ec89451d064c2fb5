/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A change of a ref that was acknowledged is there, and one that was refused is not, whatever the
 * network does to the calls and whoever comes in between. Races are test_refs_race.c.
 */
#include <sys/syscall.h>

#include "meddler.h"
#include "refs_world.h"

static const struct oid UNBORN;

/* While it is set, time flies: with each look at a clock a tenth of a second has passed. */
static atomic_bool is_hurried;
static atomic_llong skipped_ns;

int clock_gettime(clockid_t clock, struct timespec *ret)
{
	int r = (int)syscall(SYS_clock_gettime, clock, ret);
	long long ns = ret->tv_nsec;

	if (is_hurried)
		skipped_ns += 100000000;
	ns += skipped_ns;
	ret->tv_sec += ns / 1000000000;
	ret->tv_nsec = ns % 1000000000;
	return r;
}

static int move(struct world *w, const char *branch, const struct oid *from, const struct oid *to)
{
	struct oid now;

	return refs_move_branch(w->here.refs, &w->repo, branch, NULL, from, to, NULL, &now);
}

static void ref_read_back(struct world *w, const char *key, struct ref *ret)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct etag tag;

	assert_ok(w->inner->ops->get_all(w->inner, key, REF_MAX, NULL, NULL, &b, &tag));
	assert_ok(ref_read(buf_span(&b), ret));
}

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

/* What others do in between. */
struct intrusion {
	struct world *world;
	struct machine *by;
	struct oid from, to;
	const char *branch, *other;
	int result;
};

static void somebody_commits(const char *key, void *ctx)
{
	struct intrusion *i = ctx;
	struct oid now, c = commit_make(i->world, &i->from, NULL);

	i->to = c;
	i->result = refs_move_branch(i->by->refs, &i->world->repo, i->branch, NULL, &i->from, &c,
				     NULL, &now);
}

/* Refs that go by way of a meddler. */
static struct refs *meddled_refs(struct world *w, struct meddler *m)
{
	return refs_of(&m->base, w->here.index);
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

static int set_minimum(struct repo_rec *rec, void *ctx)
{
	rec->chunk.min = 4096;
	return *(int *)ctx;
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

static void somebody_makes_a_branch(const char *key, void *ctx)
{
	struct intrusion *i = ctx;

	i->result = refs_create_branch(i->by->refs, &i->world->repo, i->branch, &UNBORN, NULL);
}

static void a_name_withdraws_when_a_branch_has_come(void **state)
{
	struct world *w = *state;
	struct meddler m = meddler_over(w->backend);
	struct oid a = commit_make(w, NULL, NULL);
	struct intrusion i = { .world = w, .by = &w->here, .branch = "x" };
	struct refs *r = meddled_refs(w, &m);
	struct key key;

	/* Both have looked and seen nothing; both write. */
	m.before = somebody_makes_a_branch;
	key = name_key(&w->repo, "x");
	m.prefix = key.s;
	m.ctx = &i;
	m.left = 1;
	assert_int_equal(refs_create_name(r, &w->repo, "x", &a, NULL), -EEXIST);
	assert_ok(i.result);
	assert_true(is_live(w->here.refs, &w->repo, REF_BRANCH, "x"));
	assert_false(is_live(w->here.refs, &w->repo, REF_NAME, "x"));
	assert_listed(r, &w->repo, REF_NAME, &FRESH, "");
	refs_free(r);
}

/* A name that stands beside a branch that has come meanwhile, and is still to be withdrawn. */
static void leave_a_name_unwithdrawn(struct world *w, const struct oid *a)
{
	struct meddler m = meddler_over(w->backend);
	struct intrusion i = { .world = w, .by = &w->here, .branch = "x" };
	struct refs *r = meddled_refs(w, &m);
	struct deadline dl = deadline_in_ms(5000);
	struct key key = name_key(&w->repo, "x");

	fault_add(w, (struct fault){ .op = FAULT_SWAP,
				     .kind = FAULT_FAIL,
				     .prefix = key.s,
				     .nth = 2,
				     .error = -EINPROGRESS });
	m.before = somebody_makes_a_branch;
	m.prefix = key.s;
	m.ctx = &i;
	m.left = 1;
	is_hurried = true;
	assert_int_equal(refs_create_name(r, &w->repo, "x", a, &dl), -EINPROGRESS);
	is_hurried = false;
	assert_ok(i.result);
	fault_backend_clear(w->backend);
	refs_free(r);
}

static void a_name_that_was_to_be_withdrawn_is_out_of_reach_once_it_is_acknowledged(void **state)
{
	struct world *w = *state;
	struct oid a = commit_make(w, NULL, NULL), b = commit_make(w, NULL, NULL);
	struct key key = name_key(&w->repo, "x");
	_cleanup_buf_ struct buf then = { 0 };
	struct etag tag, fresh;

	leave_a_name_unwithdrawn(w, &a);
	assert_ok(w->inner->ops->get_all(w->inner, key.s, REF_MAX, NULL, NULL, &then, &tag));
	assert_int_equal(refs_create_name(w->here.refs, &w->repo, "x", &b, NULL), -EEXIST);
	assert_ok(refs_create_name(w->here.refs, &w->repo, "x", &a, NULL));
	/* The withdrawal arrives at last. */
	assert_int_equal(w->inner->ops->swap(w->inner, key.s, &tag, buf_span(&then), NULL, &fresh),
			 -ESTALE);
	assert_true(is_live(w->here.refs, &w->repo, REF_NAME, "x"));
}

static void somebody_takes_the_name(const char *key, void *ctx)
{
	struct intrusion *i = ctx;

	i->result = refs_create_name(i->by->refs, &i->world->repo, "x", &i->to, NULL);
}

static void somebody_removes_the_name_and_takes_it(const char *key, void *ctx)
{
	struct intrusion *i = ctx;

	i->result = refs_remove_name(i->by->refs, &i->world->repo, "x", NULL);
	if (i->result == 0)
		somebody_takes_the_name(key, ctx);
}

static void who_is_refused_a_name_learns_whether_it_may_have_been_his(void **state)
{
	static const struct {
		void (*before)(const char *key, void *ctx);
		void (*after)(const char *key, void *ctx);
		bool may_be_known;
	} cases[] = {
		{ .before = somebody_takes_the_name },
		{ .before = somebody_makes_a_branch, .may_be_known = true },
		{ .after = somebody_removes_the_name_and_takes_it, .may_be_known = true },
	};
	struct world *w = *state;
	struct oid a = commit_make(w, NULL, NULL), b = commit_make(w, NULL, NULL);
	struct key key = name_key(&w->repo, "x");
	bool may_be_known;

	for (size_t c = 0; c < ARRAY_SIZE(cases); c++) {
		struct meddler m = meddler_over(w->backend);
		struct intrusion i = { .world = w, .by = &w->here, .branch = "x", .to = b };
		struct refs *r = meddled_refs(w, &m);

		m.before = cases[c].before;
		m.after = cases[c].after;
		m.prefix = key.s;
		m.ctx = &i;
		m.left = 1;
		fault_add(w, (struct fault){ .op = FAULT_SWAP,
					     .kind = FAULT_LOSE_REPLY,
					     .prefix = key.s,
					     .nth = cases[c].before ? 2 : 1,
					     .times = 1,
					     .error = -EINPROGRESS });
		assert_int_equal(refs_claim_name(r, &w->repo, "x", &a, NULL, &may_be_known),
				 -EEXIST);
		assert_ok(i.result);
		assert_int_equal(may_be_known, cases[c].may_be_known);
		fault_backend_clear(w->backend);
		if (is_live(w->here.refs, &w->repo, REF_BRANCH, "x"))
			assert_ok(refs_remove_branch(w->here.refs, &w->repo, "x", NULL));
		else
			assert_ok(refs_remove_name(w->here.refs, &w->repo, "x", NULL));
		refs_free(r);
	}
	assert_ok(refs_create_name(w->here.refs, &w->repo, "x", &b, NULL));
	assert_int_equal(refs_claim_name(w->here.refs, &w->repo, "x", &a, NULL, &may_be_known),
			 -EEXIST);
	assert_false(may_be_known);
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

static void a_name_that_is_known_to_be_free_is_made_with_one_look(void **state)
{
	struct world *w = *state;
	struct refs *r = refs_open(w->backend, w->here.index, 1000000, false);
	struct oid id = commit_make(w, NULL, NULL);
	_cleanup_buf_ struct buf object = { 0 };
	struct fault_counts c;
	struct resolved to;

	assert_ok(refs_commit(r, &w->repo, &id, &KNOWN, &object));
	assert_int_equal(refs_resolve(r, &w->repo, "new", &FRESH, &to), -ENOENT);
	fault_backend_reset_counts(w->backend);
	assert_ok(refs_create_name(r, &w->repo, "new", &id, NULL));
	fault_backend_counts(w->backend, &c);
	assert_int_equal(c.calls[FAULT_SWAP], 1);
	assert_int_equal(c.calls[FAULT_GET_ALL], 1);
	refs_free(r);
}

static void of_two_who_claim_a_name_for_one_commit_one_has_it(void **state)
{
	struct world *w = *state;
	struct refs *r = refs_open(w->backend, w->here.index, 1000000, false);
	struct oid id = commit_make(w, NULL, NULL);
	struct resolved to;

	assert_int_equal(refs_resolve(r, &w->repo, "a", &FRESH, &to), -ENOENT);
	assert_ok(refs_create_name_once(w->here.refs, &w->repo, "a", &id, NULL));
	assert_int_equal(refs_create_name_once(r, &w->repo, "a", &id, NULL), -EEXIST);
	refs_free(r);
}

static void a_name_that_was_taken_since_is_not_taken_over(void **state)
{
	struct world *w = *state;
	struct refs *r = refs_open(w->backend, w->here.index, 1000000, false);
	struct oid ours = commit_make(w, NULL, NULL), theirs = commit_make(w, NULL, NULL);
	struct resolved to;

	/* As a name, and as a branch. */
	assert_int_equal(refs_resolve(r, &w->repo, "a", &FRESH, &to), -ENOENT);
	assert_int_equal(refs_resolve(r, &w->repo, "b", &FRESH, &to), -ENOENT);
	assert_ok(refs_create_name(w->here.refs, &w->repo, "a", &theirs, NULL));
	assert_ok(refs_create_branch(w->here.refs, &w->repo, "b", &theirs, NULL));
	assert_int_equal(refs_create_name(r, &w->repo, "a", &ours, NULL), -EEXIST);
	assert_int_equal(refs_create_name(r, &w->repo, "b", &ours, NULL), -EEXIST);
	assert_ok(refs_resolve(w->here.refs, &w->repo, "a", &FRESH, &to));
	assert_true(oid_equal(&to.commit, &theirs));
	assert_ok(refs_resolve(w->here.refs, &w->repo, "b", &FRESH, &to));
	assert_true(to.is_branch);
	refs_free(r);
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
		BOTH(branches_and_names_share_one_name_space),
		BOTH(a_change_needs_a_valid_name_a_commit_and_leave_to_write),
		BOTH(the_default_branch_stays),
		BOTH(tombstones_and_live_refs_differ_in_size),
		BOTH(a_renamed_branch_keeps_its_identity_and_leaves_a_trace),
		BOTH(a_move_finds_a_branch_under_its_new_name),
		BOTH(a_rename_that_died_half_way_is_ended_by_the_next),
		BOTH(a_commit_that_comes_in_the_middle_of_a_rename_is_kept),
		BOTH(of_two_renames_to_two_names_one_holds),
		BOTH(a_name_withdraws_when_a_branch_has_come),
		BOTH(a_name_that_was_to_be_withdrawn_is_out_of_reach_once_it_is_acknowledged),
		BOTH(who_is_refused_a_name_learns_whether_it_may_have_been_his),
		BOTH(a_branch_moves_from_where_it_was_believed_to_be_and_only_from_there),
		BOTH(where_a_branch_was_made_anew_nobody_knows_what_was_on_the_old_one),
		BOTH(only_the_branch_that_is_meant_is_moved),
		BOTH(a_branch_made_anew_between_the_look_and_the_swap_is_not_moved),
		BOTH(of_a_branch_that_goes_meanwhile_it_is_known_whether_it_was_moved),
		BOTH(no_trouble_with_a_swap_makes_a_change_fail_or_happen_twice),
		BOTH(nor_do_failing_looks),
		BOTH(what_cannot_be_known_in_time_is_said_to_be_unknown),
		BOTH(a_change_that_is_refused_is_no_riddle),
		BOTH(a_store_that_refuses_what_it_should_take_makes_no_success),
		BOTH(a_lost_reply_with_a_commit_on_top_is_success),
		BOTH(a_name_that_is_known_to_be_free_is_made_with_one_look),
		BOTH(of_two_who_claim_a_name_for_one_commit_one_has_it),
		BOTH(a_name_that_was_taken_since_is_not_taken_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
