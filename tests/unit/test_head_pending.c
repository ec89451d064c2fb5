/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A head's last commit between its storing and its acknowledgement: its name, refused or not told
 * of, and what a process that ends there leaves.
 */
#include <stdlib.h>
#include <sys/syscall.h>

#include "backend/fault.h"
#include "base/thread.h"
#include "format/key.h"
#include "headstand.h"

/* While it is set, it is always the same time: what is undone leaves no trace. */
static atomic_bool does_time_stand;

int clock_gettime(clockid_t clock, struct timespec *ret)
{
	if (clock != CLOCK_REALTIME || !does_time_stand)
		return (int)syscall(SYS_clock_gettime, clock, ret);
	*ret = (struct timespec){ .tv_sec = 1700000000 };
	return 0;
}

/* Two layers, so that what is held in one can go on while the other holds. */
static struct backend *faults, *removals;

static struct backend *under_faults(struct backend *inner)
{
	assert_ok(fault_backend_new(inner, &removals));
	assert_ok(fault_backend_new(removals, &faults));
	return faults;
}

static struct headstand stand_under_faults(void)
{
	struct headstand s = stand_make();

	stand_close(&s);
	s.layer = under_faults;
	stand_open(&s);
	return s;
}

/* One more mount of the same store, with a state directory of this name. */
static struct headstand other_mount(struct headstand *s, const char *name)
{
	struct headstand o = *s;

	o.layer = NULL;
	o.state = strf("%s/%s", s->scratch.path, name);
	stand_open(&o);
	return o;
}

static void leave(struct headstand *o)
{
	stand_close(o);
	free(o->state);
}

static void make_file(struct headstand *s, const char *name)
{
	vnode_unref(s->vnodes, stand_create(s, s->root, name, S_IFREG | 0644));
}

static bool has_file(struct headstand *s, const char *name)
{
	struct vnode *v;
	struct stat st;
	int r = view_walk(s->root, span_str(name), &s->acc, &v, &st);

	if (r == 0)
		vnode_unref(s->vnodes, v);
	assert_true(r == 0 || r == -ENOENT);
	return r == 0;
}

static const struct refs_wait FRESH = { true, true, { INT64_MAX, NULL } };

static struct oid named(struct headstand *s, const char *name)
{
	_cleanup_repo_rec_ struct repo_rec repo = { 0 };
	_cleanup_ref_ struct ref ref = { 0 };

	assert_ok(refs_repo(s->store->refs, "r", &FRESH, &repo));
	assert_ok(refs_get(s->store->refs, &repo.id, REF_NAME, name, &FRESH, &ref, NULL));
	return ref.target;
}

static int count_key(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	++*(unsigned *)ctx;
	return 0;
}

static unsigned commits_stored(struct headstand *s)
{
	unsigned n = 0;

	assert_ok(s->store->backend->ops->list(s->store->backend, "commits/", NULL, count_key, &n,
					       NULL));
	return n;
}

/* Its name cannot be made, for now. */
static void commit_unnamed(struct headstand *s, const char *name)
{
	struct fault f = {
		.op = FAULT_SWAP, .kind = FAULT_FAIL, .prefix = "names/", .error = -EACCES
	};
	struct commit_request req = { .name = name };
	struct commit_result res;

	assert_ok(fault_backend_add(faults, &f));
	assert_int_equal(head_commit(s->head, &req, &s->acc, &res), -EACCES);
	fault_backend_clear(faults);
}

static void who_was_not_told_of_a_name_gets_it_though_the_head_has_gone_on(void **state)
{
	struct headstand s = stand_under_faults(), o = other_mount(&s, "other");
	struct commit_request req = { .name = "n" };
	struct commit_result res;
	struct oid id;

	make_file(&o, "theirs");
	make_file(&s, "ours");
	commit_unnamed(&s, "n");
	stand_commit(&o, NULL);
	/* What a mount does by itself. */
	assert_false(head_rejoin(s.head, &s.acc));
	assert_true(has_file(&s, "theirs"));
	id = named(&o, "n");
	assert_ok(head_commit(s.head, &req, &s.acc, &res));
	assert_memory_equal(&res.id, &id, sizeof(id));
	assert_int_equal(res.standing, HEAD_ON_BRANCH);
	/* Now he was told: another one by that name is another one, also to the next process. */
	assert_int_equal(head_commit(s.head, &req, &s.acc, &res), -EEXIST);
	stand_close(&s);
	stand_open(&s);
	assert_int_equal(head_commit(s.head, &req, &s.acc, &res), -EEXIST);
	leave(&o);
	stand_remove(&s);
}

static void a_commit_whose_name_may_have_been_seen_stays_when_the_name_is_anothers(void **state)
{
	struct headstand s = stand_under_faults(), o = other_mount(&s, "other");
	struct oid id;

	make_file(&s, "ours");
	commit_unnamed(&s, "n");
	make_file(&o, "theirs");
	id = stand_commit(&o, "n");
	stand_commit(&s, "m");
	assert_true(has_file(&s, "ours"));
	assert_int_equal(commits_stored(&o), 4); /* the one refused, theirs, ours, the merge */
	assert_memory_equal(&(struct oid[]){ named(&s, "n") }, &id, sizeof(id));
	leave(&o);
	stand_remove(&s);
}

/* A commit by the name "n", whose calls get stuck. */
struct stuck {
	struct headstand *s;
	pthread_t thread;
	int result;
};

static void *commit_n(void *arg)
{
	struct stuck *x = arg;
	struct commit_request req = { .name = "n" };
	struct commit_result res;
	struct access acc;

	access_init(&acc, x->s->store->reader, true);
	acc.deadline = DEADLINE_NEVER;
	x->result = head_commit(x->s->head, &req, &acc, &res);
	access_release(&acc);
	return NULL;
}

static void hold(struct backend *b, enum fault_op op, const char *prefix)
{
	const struct fault f = {
		.op = op, .kind = FAULT_DELAY, .prefix = prefix, .delay_ms = INT32_MAX
	};

	assert_ok(fault_backend_add(b, &f));
}

static void await_call(struct backend *b, enum fault_op op)
{
	struct fault_counts c;

	do {
		usleep(1000);
		fault_backend_counts(b, &c);
	} while (c.calls[op] == 0);
}

static void who_dies_while_a_refused_commit_goes_can_commit_again(void **state)
{
	struct headstand s = stand_under_faults(), o = other_mount(&s, "other"), after;
	struct stuck x = { .s = &s };
	char *copy;

	make_file(&s, "ours");
	fault_backend_reset_counts(faults);
	hold(faults, FAULT_SWAP, "names/");
	hold(removals, FAULT_REMOVE, "commits/");
	assert_ok(thread_start(&x.thread, "commit", commit_n, &x));
	await_call(faults, FAULT_SWAP);
	make_file(&o, "theirs");
	stand_commit(&o, "n");
	/* What a process that is killed while it removes the object leaves. */
	fault_backend_clear(faults);
	await_call(removals, FAULT_REMOVE);
	copy = strf("cp -a %s %s/after && rm -rf %s/after/index*", s.state, s.scratch.path,
		    s.scratch.path);
	assert_int_equal(system(copy), 0);
	fault_backend_clear(removals);
	pthread_join(x.thread, NULL);
	assert_int_equal(x.result, -EEXIST);

	after = other_mount(&s, "after");
	assert_true(has_file(&after, "ours"));
	stand_commit(&after, "m");
	assert_true(has_file(&after, "ours"));
	assert_true(has_file(&after, "theirs"));
	leave(&after);
	leave(&o);
	free(copy);
	stand_remove(&s);
}

static void who_dies_before_a_named_base_is_landed_on_has_the_name(void **state)
{
	struct headstand s = stand_under_faults(), after;
	struct commit_request req = { .name = "n" };
	struct stuck x = { .s = &s };
	struct commit_result res;
	struct oid id;
	char *copy;

	does_time_stand = true;
	make_file(&s, "f");
	id = stand_commit(&s, NULL);
	/* Something to freeze that comes to nothing. */
	make_file(&s, "g");
	assert_ok(view_unlink(s.root, span_str("g"), &s.acc));
	fault_backend_reset_counts(faults);
	hold(faults, FAULT_SWAP, "names/");
	assert_ok(thread_start(&x.thread, "commit", commit_n, &x));
	await_call(faults, FAULT_SWAP);
	copy = strf("cp -a %s %s/after && rm -rf %s/after/index*", s.state, s.scratch.path,
		    s.scratch.path);
	assert_int_equal(system(copy), 0);
	fault_backend_clear(faults);
	pthread_join(x.thread, NULL);
	assert_ok(x.result);

	after = other_mount(&s, "after");
	assert_ok(head_commit(after.head, &req, &after.acc, &res));
	assert_false(res.is_new);
	assert_memory_equal(&res.id, &id, sizeof(id));
	assert_memory_equal(&(struct oid[]){ named(&after, "n") }, &id, sizeof(id));
	/* Now he was told. */
	assert_int_equal(head_commit(after.head, &req, &after.acc, &res), -EEXIST);
	does_time_stand = false;
	leave(&after);
	free(copy);
	stand_remove(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_was_not_told_of_a_name_gets_it_though_the_head_has_gone_on),
		cmocka_unit_test(
			a_commit_whose_name_may_have_been_seen_stays_when_the_name_is_anothers),
		cmocka_unit_test(who_dies_while_a_refused_commit_goes_can_commit_again),
		cmocka_unit_test(who_dies_before_a_named_base_is_landed_on_has_the_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
