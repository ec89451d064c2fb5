/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Lowest common ancestors, of histories as they should be and as somebody may have made them.
 */
#include "merge/bases.h"
#include "refs_world.h"

static bool has(const struct oid *ids, unsigned n, const struct oid *id)
{
	for (unsigned i = 0; i < n; i++)
		if (oid_equal(&ids[i], id))
			return true;
	return false;
}

static void histories_that_criss_cross_have_several(void **state)
{
	struct world *w = *state;
	struct oid root = commit_make(w, NULL, NULL), left = commit_make(w, &root, NULL);
	struct oid right = commit_make(w, &root, NULL), a = commit_make(w, &left, &right);
	struct oid b = commit_make(w, &right, &left), found[MERGE_BASES_MAX];
	unsigned n;

	a = commit_make(w, &a, NULL);
	assert_ok(merge_bases(w->here.refs, &w->repo, &a, &b, &KNOWN, found, &n));
	assert_int_equal(n, 2);
	assert_true(has(found, n, &left) && has(found, n, &right));
}

/* A commit of which nobody asks whether it is younger than its parents. */
static struct oid claim(struct world *w, uint64_t generation, const struct oid *a,
			const struct oid *b)
{
	_cleanup_buf_ struct buf object = { 0 };
	struct oid parents[2] = { *a }, id;

	if (b)
		parents[1] = *b;
	id = commit_object(&w->repo, parents, b ? 2 : 1, generation, &object);
	assert_ok(
		w->inner->ops->put(w->inner, commit_key(&w->repo, &id).s, buf_span(&object), NULL));
	return id;
}

static void a_parent_that_is_younger_is_refused_by_whichever_way_it_is_met(void **state)
{
	struct world *w = *state;
	struct oid root = commit_make(w, NULL, NULL);
	struct oid x = claim(w, 10, &root, NULL), y = claim(w, 10, &root, NULL);
	struct oid child = claim(w, 5, &x, &y);
	/* Both have had their turn when the child comes to them. */
	struct oid up = claim(w, 11, &x, &y), a = claim(w, 12, &up, &child);
	struct oid b = claim(w, 12, &child, NULL);
	struct oid found[MERGE_BASES_MAX];
	unsigned n;

	assert_int_equal(merge_bases(w->here.refs, &w->repo, &a, &b, &KNOWN, found, &n), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(histories_that_criss_cross_have_several,
						world_in_memory, world_close),
		cmocka_unit_test_setup_teardown(
			a_parent_that_is_younger_is_refused_by_whichever_way_it_is_met,
			world_in_memory, world_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
