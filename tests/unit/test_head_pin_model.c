/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A head that is pinned at random against the model of one that never is.
 *
 * PFS_LONG=1: many more of them.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "head/diff.h"
#include "head/pin.h"
#include "headmodel.h"
#include "headstand.h"

static struct oid pin(struct headstand *s)
{
	const struct pin_request plain = { 0 };
	struct oid id;
	bool is_new;

	assert_ok(head_pin(s->head, &plain, &s->acc, &id, &is_new));
	return id;
}

static void check_commit(struct headstand *s, const struct model *m, const struct oid *id)
{
	struct vnode *root = stand_commit_root(s, id);

	model_check(m->root, root, s->vnodes, &s->acc);
	vnode_unref(s->vnodes, root);
}

/* Who the last commit's parent is: never a pin. */
static void check_parent(struct headstand *s, const struct oid *id, const struct oid *parent)
{
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	_cleanup_buf_ struct buf object = { 0 };
	struct commit c;

	assert_ok(refs_repo(s->store->refs, "r", &w, &rec));
	assert_ok(refs_commit(s->store->refs, &rec.id, id, &w, &object));
	assert_ok(commit_read(buf_span(&object), id, &c));
	assert_int_equal(c.parent_count, !oid_is_null(parent));
	if (c.parent_count)
		assert_true(oid_equal(&c.parents[0], parent));
	commit_release(&c);
}

static bool is_dirty(struct headstand *s)
{
	_cleanup_(head_status_release) struct head_status st = { 0 };

	assert_ok(head_status(s->head, &st));
	return st.is_dirty;
}

static void random_steps(uint64_t seed, unsigned steps)
{
	struct headstand s = stand_make();
	struct prng own = { seed ^ 1234 };
	struct oid last = { 0 }, id;
	struct model m;

	model_init(&m, seed);
	m.big_files = true;
	for (unsigned i = 0; i < steps; i++) {
		model_step(&m, s.root, s.vnodes, &s.acc);
		if (prng_below(&own, 40) == 0) {
			id = pin(&s);
			check_commit(&s, &m, &id);
		}
		if (prng_below(&own, 120) == 0) {
			id = stand_commit(&s, NULL);
			check_commit(&s, &m, &id);
			if (!oid_equal(&id, &last))
				check_parent(&s, &id, &last);
			assert_false(is_dirty(&s));
			last = id;
		}
		if (prng_below(&own, 150) == 0) {
			stand_close(&s);
			stand_open(&s);
		}
		if (i % 50 == 0)
			model_check(m.root, s.root, s.vnodes, &s.acc);
	}
	model_check(m.root, s.root, s.vnodes, &s.acc);
	model_release(&m);
	stand_remove(&s);
}

static void a_head_with_pins_is_what_one_without_is(void **state)
{
	random_steps(11, 3000);
	random_steps(12, 3000);
	for (uint64_t seed = 200; getenv("PFS_LONG") && seed < 220; seed++)
		random_steps(seed, 5000);
}

struct told {
	char path[128];
	enum diff_what what;
};

struct differences {
	struct told told[2000];
	unsigned count;
};

static int tell(const struct diff_item *d, void *ctx)
{
	struct differences *all = ctx;
	struct told *t = &all->told[all->count++];

	assert_true(all->count < ARRAY_SIZE(all->told));
	snprintf(t->path, sizeof(t->path), "%.*s", (int)d->path.len, (const char *)d->path.data);
	t->what = d->what;
	return 0;
}

/* What differs from the last commit is the same before a pin and after it, but that a file is not
 * told of any more that was written anew with the same bytes. */
static void differences_stay(uint64_t seed)
{
	struct differences *before = new0(struct differences, 1),
			   *after = new0(struct differences, 1);
	struct headstand s = stand_make();
	struct model m;

	assert_non_null(before);
	assert_non_null(after);
	model_init(&m, seed);
	for (unsigned round = 0; round < 10; round++) {
		struct vnode *then;
		struct oid id, now;

		for (unsigned i = 0; i < 60; i++)
			model_step(&m, s.root, s.vnodes, &s.acc);
		id = stand_commit(&s, NULL);
		then = stand_commit_root(&s, &id);
		for (unsigned i = 0; i < 60; i++) {
			model_step(&m, s.root, s.vnodes, &s.acc);
			if (i == 30)
				pin(&s);
		}
		now = head_committed(s.head);
		assert_true(oid_equal(&now, &id));
		before->count = after->count = 0;
		assert_ok(view_diff(then, s.root, &s.acc, tell, before));
		pin(&s);
		assert_ok(view_diff(then, s.root, &s.acc, tell, after));
		for (unsigned i = 0, k = 0; i < before->count; i++) {
			if (k < after->count &&
			    strcmp(before->told[i].path, after->told[k].path) == 0)
				assert_int_equal(before->told[i].what, after->told[k++].what);
			else
				assert_int_equal(before->told[i].what, DIFF_CONTENT);
			if (i + 1 == before->count)
				assert_int_equal(k, after->count);
		}
		vnode_unref(s.vnodes, then);
	}
	model_release(&m);
	stand_remove(&s);
	free(before);
	free(after);
}

static void a_pin_makes_no_difference_to_what_is_uncommitted(void **state)
{
	for (uint64_t seed = 1; seed <= 3; seed++)
		differences_stay(seed);
}

/* Does operations and pins until it is killed; how many have returned stands in shared memory. */
static void work_until_killed(struct headstand *s, struct model *m, atomic_uint *done)
{
	struct prng own = { 99 };

	for (;;) {
		model_step(m, s->root, s->vnodes, &s->acc);
		(*done)++;
		if (prng_below(&own, 5) == 0)
			pin(s);
	}
}

static void a_kill_at_any_time_loses_nothing(void **state)
{
	atomic_uint *done = mmap(NULL, sizeof(*done), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned rounds = getenv("PFS_LONG") ? 200 : 12;
	struct headstand s = stand_make();
	struct prng own = { 5 };
	struct model m;
	struct oid id;

	assert_true(done != MAP_FAILED);
	model_init(&m, 6);
	for (unsigned round = 0; round < rounds; round++) {
		pid_t pid;

		*done = 0;
		stand_close(&s);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			stand_open(&s);
			work_until_killed(&s, &m, done);
		}
		while (*done == 0)
			usleep(100);
		usleep(prng_below(&own, 60000));
		assert_ok(kill(pid, SIGKILL));
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		for (unsigned i = 0; i < *done; i++)
			model_step(&m, NULL, NULL, NULL);
		stand_open(&s);
		/* The one that was under way may be there or not. */
		if (!model_matches(m.root, s.root, s.vnodes, &s.acc)) {
			model_step(&m, NULL, NULL, NULL);
			model_check(m.root, s.root, s.vnodes, &s.acc);
		}
		id = pin(&s);
		check_commit(&s, &m, &id);
	}
	id = stand_commit(&s, NULL);
	check_commit(&s, &m, &id);
	check_parent(&s, &id, &(struct oid){ 0 });
	model_release(&m);
	munmap(done, sizeof(*done));
	stand_remove(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_head_with_pins_is_what_one_without_is),
		cmocka_unit_test(a_pin_makes_no_difference_to_what_is_uncommitted),
		cmocka_unit_test(a_kill_at_any_time_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
