/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A name leads to one commit, or to nothing, and who was refused it knows what may have been.
 */
#include "hurry.h"
#include "refs_change.h"

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
		BOTH(a_name_withdraws_when_a_branch_has_come),
		BOTH(a_name_that_was_to_be_withdrawn_is_out_of_reach_once_it_is_acknowledged),
		BOTH(who_is_refused_a_name_learns_whether_it_may_have_been_his),
		BOTH(a_name_that_is_known_to_be_free_is_made_with_one_look),
		BOTH(of_two_who_claim_a_name_for_one_commit_one_has_it),
		BOTH(a_name_that_was_taken_since_is_not_taken_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
