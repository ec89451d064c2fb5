/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Branches in use are watched: who uses one hears of what others make of it, and what is as it was
 * costs little, however many they are.
 */
#include "refs_world.h"

enum {
	MANY = 100,
	FEW = 16, /* for which a listing of a thousand is worth it, and no more */
	ENOUGH_LISTS = 10,
};

/* What a watcher was told. */
struct told {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	int count;
	char branch[OBJECT_NAME_MAX + 1];
	struct oid target;
	uint8_t state;
};

static void tell(const struct id128 *repo, const char *branch, const struct ref *now, void *ctx)
{
	struct told *t = ctx;

	WITH_LOCK(&t->lock);
	t->count++;
	snprintf(t->branch, sizeof(t->branch), "%s", branch);
	t->target = now->target;
	t->state = now->state;
	pthread_cond_signal(&t->wake);
}

static void told_init(struct told *t)
{
	*t = (struct told){ 0 };
	pthread_mutex_init(&t->lock, NULL);
	cond_init(&t->wake);
}

/* Waits until @n have come; then whether no more do. */
static void assert_told(struct told *t, int n)
{
	struct deadline dl = deadline_in_ms(10000);

	pthread_mutex_lock(&t->lock);
	while (t->count < n && deadline_check(&dl) == 0)
		cond_wait_until(&t->wake, &t->lock, &dl, 100);
	pthread_mutex_unlock(&t->lock);
	usleep(REFRESH_MS * 3000);
	WITH_LOCK(&t->lock);
	assert_int_equal(t->count, n);
}

static void who_uses_a_branch_hears_of_others_moves_and_not_of_own(void **state)
{
	struct world *w = *state;
	struct oid a = commit_make(w, NULL, NULL), b = commit_make(w, &a, NULL),
		   c = commit_make(w, &b, NULL), null = { 0 }, now;
	struct refs *r = w->here.refs;
	struct machine m;
	struct told t;

	told_init(&t);
	machine_open(w->backend, &m);
	refs_watch(r, tell, &t);
	branch_target(r, &w->repo, "main");
	refs_use_branch(r, &w->repo, "main", true);
	assert_told(&t, 0);

	assert_ok(refs_move_branch(m.refs, &w->repo, "main", NULL, &null, &a, NULL, &now));
	assert_told(&t, 1);
	assert_string_equal(t.branch, "main");
	assert_memory_equal(&t.target, &a, sizeof(a));

	assert_ok(refs_move_branch(r, &w->repo, "main", NULL, &a, &b, NULL, &now));
	assert_told(&t, 1);

	refs_use_branch(r, &w->repo, "main", false);
	branch_target(m.refs, &w->repo, "main");
	assert_ok(refs_move_branch(m.refs, &w->repo, "main", NULL, &b, &c, NULL, &now));
	assert_told(&t, 1);
	refs_watch(r, NULL, NULL);
	machine_close(&m);
}

static void a_branch_that_is_removed_by_others_is_told_of_too(void **state)
{
	struct world *w = *state;
	struct oid a = commit_make(w, NULL, NULL);
	struct machine m;
	struct told t;

	told_init(&t);
	machine_open(w->backend, &m);
	assert_ok(refs_create_branch(w->here.refs, &w->repo, "b", &a, NULL));
	refs_watch(w->here.refs, tell, &t);
	refs_use_branch(w->here.refs, &w->repo, "b", true);
	assert_ok(refs_remove_branch(m.refs, &w->repo, "b", NULL));
	assert_told(&t, 1);
	assert_int_equal(t.state, REF_TOMBSTONE);
	refs_watch(w->here.refs, NULL, NULL);
	machine_close(&m);
}

static void watching_costs_conditional_looks_only(void **state)
{
	struct world *w = *state;
	struct fault_counts counts;
	int64_t start = now_ns();

	branch_target(w->here.refs, &w->repo, "main");
	refs_use_branch(w->here.refs, &w->repo, "main", true);
	fault_backend_reset_counts(w->backend);
	do {
		usleep(REFRESH_MS * 1000);
		fault_backend_counts(w->backend, &counts);
	} while (counts.calls[FAULT_GET_ALL] < 10 && since(start) < PATIENT_MS);
	assert_in_range(counts.calls[FAULT_GET_ALL], 10, looks_since(start));
	assert_int_equal(counts.read, 0);
	refs_use_branch(w->here.refs, &w->repo, "main", false);
}

/* Branches b00, b01, ..., at @at, in use here. */
static void use(struct world *w, int count, const struct oid *at)
{
	for (int i = 0; i < count; i++) {
		char name[8];

		snprintf(name, sizeof(name), "b%02d", i);
		assert_ok(refs_create_branch(w->here.refs, &w->repo, name, at, NULL));
		refs_use_branch(w->here.refs, &w->repo, name, true);
	}
}

/* Until so many surveys were made since the counts were reset: the counts. */
static struct fault_counts counts_after(struct world *w, unsigned lists)
{
	struct fault_counts c;
	int64_t start = now_ns();

	do {
		usleep(REFRESH_MS * 1000);
		fault_backend_counts(w->backend, &c);
	} while (c.calls[FAULT_LIST] < lists && since(start) < PATIENT_MS);
	return c;
}

static void many_branches_are_watched_with_one_listing(void **state)
{
	struct world *w = *state;
	struct oid a = commit_make(w, NULL, NULL);
	struct fault_counts c;

	use(w, MANY, &a);
	fault_backend_reset_counts(w->backend);
	c = counts_after(w, ENOUGH_LISTS);
	assert_in_range(c.calls[FAULT_LIST], ENOUGH_LISTS, 2 * ENOUGH_LISTS);
	/* A machine that is late looks at some. */
	assert_in_range(c.calls[FAULT_GET_ALL], 0, MANY * ENOUGH_LISTS / 4);
}

static void of_many_branches_the_one_that_moved_is_told_of(void **state)
{
	struct world *w = *state;
	struct oid a = commit_make(w, NULL, NULL), b = commit_make(w, &a, NULL), now;
	struct machine m;
	struct told t;

	told_init(&t);
	machine_open(w->backend, &m);
	refs_watch(w->here.refs, tell, &t);
	use(w, MANY, &a);
	counts_after(w, 2);
	assert_ok(refs_move_branch(m.refs, &w->repo, "b42", NULL, &a, &b, NULL, &now));
	assert_told(&t, 1);
	assert_string_equal(t.branch, "b42");
	assert_memory_equal(&t.target, &b, sizeof(b));
	refs_watch(w->here.refs, NULL, NULL);
	machine_close(&m);
}

/* A store that will not list, and one whose listings have no tags: each branch is looked at. */
static void without_listings_each_branch_is_looked_at(void **state)
{
	struct world *w = *state;
	struct oid a = commit_make(w, NULL, NULL), b = commit_make(w, &a, NULL), now;
	struct machine m;
	struct told t;

	told_init(&t);
	machine_open(w->inner, &m);
	fault_backend_add(
		w->backend,
		&(struct fault){ .op = FAULT_LIST, .kind = FAULT_FAIL, .error = -EACCES });
	refs_watch(w->here.refs, tell, &t);
	use(w, MANY, &a);
	assert_ok(refs_move_branch(m.refs, &w->repo, "b42", NULL, &a, &b, NULL, &now));
	assert_told(&t, 1);
	refs_watch(w->here.refs, NULL, NULL);
	machine_close(&m);
}

static void few_branches_among_very_many_are_looked_at_by_themselves(void **state)
{
	struct world *w = *state;
	struct oid a = commit_make(w, NULL, NULL);
	struct fault_counts c;
	int64_t start;

	/* More than a survey of so few is worth. */
	for (int i = 0; i < 1001; i++) {
		char key[200];

		snprintf(key, sizeof(key), "%s0%03d", head_prefix(&w->repo).s, i);
		assert_ok(w->inner->ops->put(w->inner, key, span_str("x"), NULL));
	}
	use(w, FEW, &a);
	fault_backend_reset_counts(w->backend);
	start = now_ns();
	do {
		usleep(REFRESH_MS * 1000);
		fault_backend_counts(w->backend, &c);
	} while (c.calls[FAULT_GET_ALL] < 10 * FEW && since(start) < PATIENT_MS);
	assert_in_range(c.calls[FAULT_GET_ALL], 10 * FEW, 100000);
	assert_in_range(c.calls[FAULT_LIST], 0, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(who_uses_a_branch_hears_of_others_moves_and_not_of_own),
		BOTH(a_branch_that_is_removed_by_others_is_told_of_too),
		BOTH(watching_costs_conditional_looks_only),
		{ "many_branches_are_watched_with_one_listing",
		  many_branches_are_watched_with_one_listing, world_in_memory, world_close, NULL },
		BOTH(of_many_branches_the_one_that_moved_is_told_of),
		BOTH(without_listings_each_branch_is_looked_at),
		{ "few_branches_among_very_many_are_looked_at_by_themselves",
		  few_branches_among_very_many_are_looked_at_by_themselves, world_in_memory,
		  world_close, NULL },
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
