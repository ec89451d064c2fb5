/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The end of a run whose process is killed, or whose store fails, at each step in turn: the next
 * mount takes it to its end, and what the run has made is on its branches whole, once, or kept.
 */
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "backend/fault.h"
#include "runstand.h"

enum {
	STEPS_MAX = 400,
	SURVIVED = 77,
	WAIT_MS = 120 * 1000,
};

/* The process ends before its n-th step; 0: it does not. A step is what changes a directory: every
 * object and every note is complete before it has its name. */
static atomic_long steps_left;

static void step(void)
{
	if (steps_left && atomic_fetch_sub(&steps_left, 1) == 1)
		_exit(0);
}

int renameat(int from, const char *old, int to, const char *new)
{
	step();
	return (int)syscall(SYS_renameat2, from, old, to, new, 0);
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
	step();
	return (int)syscall(SYS_linkat, from, old, to, new, flags);
}

int unlinkat(int dir, const char *name, int flags)
{
	step();
	return (int)syscall(SYS_unlinkat, dir, name, flags);
}

static void close_stand(struct runstand *s)
{
	runs_free(s->runs);
	stand_close(&s->h);
}

static void open_stand(struct runstand *s)
{
	stand_open(&s->h);
	runstand_open_runs(s);
}

static struct runstand make(void)
{
	struct runstand s = runstand_make();
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct oid base;

	make_text(&s.h, s.h.root, "in", "1");
	base = stand_commit(&s.h, NULL);
	assert_ok(refs_repo(s.h.store->refs, "r", &w, &rec));
	assert_ok(refs_create_branch(s.h.store->refs, &rec.id, "other", &base, NULL));
	return s;
}

static bool is_there(struct runstand *s, const char *id)
{
	_cleanup_free_ char *dir = strf("%s/runs/%s", s->h.state, id);

	return access(dir, F_OK) == 0;
}

static int count_private(struct view *head, struct span label, void *ctx)
{
	++*(unsigned *)ctx;
	return 0;
}

/* Until nothing of it is left in the state directory. */
static void wait_until_gone(struct runstand *s, const char *id)
{
	struct deadline dl = deadline_in_ms(WAIT_MS);
	unsigned privates = 0;

	while (is_there(s, id)) {
		assert_ok(deadline_check(&dl));
		usleep(2000);
	}
	assert_ok(heads_each_private(s->h.heads, count_private, &privates));
	assert_int_equal(privates, 0);
}

/* How many commits of a branch's history the run has made. */
static unsigned commits_of(struct runstand *s, const char *branch, const char *id)
{
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct oid at;
	unsigned n = 0;

	assert_ok(refs_repo(s->h.store->refs, "r", &w, &rec));
	assert_ok(tip_of_branch(s, branch, &at));
	while (!oid_is_null(&at)) {
		_cleanup_loaded_ struct loaded c = { 0 };

		assert_ok(refs_load_commit(s->h.store->refs, &rec.id, &at, &w, &c));
		for (unsigned i = 0; i < c.commit.meta_count; i++)
			n += span_equal(c.commit.meta[i].key, span_str("pfs.run")) &&
			     span_equal(c.commit.meta[i].value, span_str(id));
		at = c.commit.parent_count ? c.commit.parents[0] : (struct oid){ 0 };
	}
	return n;
}

/* What the end's record says of a branch. */
static const char *said_of(const json_t *end, const char *branch, const char *key)
{
	json_t *out;
	size_t i;

	json_array_foreach (json_object_get(end, "outputs"), i, out)
		if (strcmp(json_string_value(json_object_get(out, "branch")), branch) == 0)
			return json_string_value(json_object_get(out, key));
	return NULL;
}

static void assert_kept(struct runstand *s, const json_t *end, const char *branch, const char *name)
{
	const char *kept = said_of(end, branch, "kept");

	assert_null(said_of(end, branch, "published"));
	assert_non_null(kept);
	assert_on_branch(s, kept, name, "made");
	assert_on_branch(s, branch, name, NULL);
}

/* The record is complete and true, and what the run made is where it says. The branches' files
 * have one name, @name. */
static const char *judge(struct runstand *s, const char *id_text, const char *name)
{
	static const char *const branches[] = { "main", "other" };
	json_t *start = NULL, *end = NULL;
	struct run_id id;
	bool is_ok;

	wait_until_gone(s, id_text);
	assert_ok(run_id_parse(id_text, &id));
	assert_ok(archive_get(s->h.store, &id, &DEADLINE_NEVER, &start, &end));
	assert_non_null(end);
	is_ok = strcmp(status_in(end), "ok") == 0;
	assert_true(is_ok || strcmp(status_in(end), "lost") == 0);
	for (size_t i = 0; i < ARRAY_SIZE(branches); i++) {
		if (is_ok) {
			assert_non_null(said_of(end, branches[i], "published"));
			assert_null(said_of(end, branches[i], "kept"));
			assert_on_branch(s, branches[i], name, "made");
			assert_int_equal(commits_of(s, branches[i], id_text), 1);
		} else {
			assert_kept(s, end, branches[i], name);
			assert_int_equal(commits_of(s, branches[i], id_text), 0);
		}
	}
	json_decref(start);
	json_decref(end);
	return is_ok ? "ok" : "lost";
}

/* Writes to both branches; the caller's run. */
static struct run *begin(struct runstand *s, const char *name)
{
	struct run *run = runstand_begin(s, "'out': ['r/main', 'r/other']");

	runstand_write(s, run, "main", name, "made");
	runstand_write(s, run, "other", name, "made");
	return run;
}

/* In a process of its own: the run's end, and what comes after it. */
static void end_in_child(struct runstand *s, const char *name, long steps, int told)
{
	json_t *request = json_pack("{s:i}", "exit", 0), *answer = NULL;
	struct run *run;

	open_stand(s);
	run = begin(s, name);
	if (write(told, run_id(run)->s, RUN_ID_LEN) != RUN_ID_LEN)
		_exit(1);
	steps_left = steps;
	if (run_end(run, request, &s->h.acc, &answer) < 0)
		_exit(2);
	run_forgotten(run);
	while (is_there(s, run_id(run)->s))
		usleep(500);
	_exit(SURVIVED);
}

static void killed_at_any_step_it_is_taken_to_its_end(void **state)
{
	struct runstand s = make();
	int status = 0, fd[2];
	long k;

	close_stand(&s);
	for (k = 1; k < STEPS_MAX && WEXITSTATUS(status) != SURVIVED; k++) {
		_cleanup_free_ char *name = strf("f%ld", k);
		char id[RUN_ID_LEN + 1] = "";
		pid_t pid;

		assert_ok(pipe(fd));
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			end_in_child(&s, name, k, fd[1]);
		assert_int_equal(read(fd[0], id, RUN_ID_LEN), RUN_ID_LEN);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == SURVIVED);
		open_stand(&s);
		judge(&s, id, name);
		close_stand(&s);
		close(fd[0]);
		close(fd[1]);
	}
	/* Each step has had its turn. */
	assert_int_equal(WEXITSTATUS(status), SURVIVED);
	assert_true(k > 10);
	open_stand(&s);
	runstand_remove(&s);
}

static struct backend *faults;

static struct backend *with_faults(struct backend *inner)
{
	assert_ok(fault_backend_new(inner, &faults));
	return faults;
}

/* Of one kind of request the n-th from the end's beginning fails, for n = 1, 2, ... until the end
 * does not make so many. */
static void fail_each(enum fault_op op, enum fault_kind kind)
{
	struct runstand s = make();
	bool all = false;

	close_stand(&s);
	s.h.layer = with_faults;
	open_stand(&s);
	for (unsigned n = 1; n < STEPS_MAX && !all; n++) {
		const struct fault f = {
			.op = op, .kind = kind, .nth = n, .times = 1, .error = -EIO
		};
		json_t *request = json_pack("{s:i}", "exit", 0), *answer = NULL;
		_cleanup_free_ char *name = strf("f%u", n);
		struct run *run = begin(&s, name);
		struct run_id id = *run_id(run);
		struct fault_counts c;

		fault_backend_reset_counts(faults);
		assert_ok(fault_backend_add(faults, &f));
		run_end(run, request, &s.h.acc, &answer);
		fault_backend_counts(faults, &c);
		fault_backend_clear(faults);
		all = c.calls[op] < n;
		json_decref(request);
		json_decref(answer);
		run_unref(run);
		runstand_remount(&s);
		assert_string_equal(judge(&s, id.s, name), "ok");
	}
	assert_true(all);
	runstand_remove(&s);
}

static void a_store_that_fails_once_loses_nothing(void **state)
{
	static const enum fault_op ops[] = { FAULT_GET,	      FAULT_GET_ALL, FAULT_PUT,
					     FAULT_PUT_BEGIN, FAULT_PUT_END, FAULT_SWAP,
					     FAULT_LIST };

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		fail_each(ops[i], FAULT_FAIL);
}

static void an_answer_that_is_lost_does_no_harm(void **state)
{
	fail_each(FAULT_SWAP, FAULT_LOSE_REPLY);
	fail_each(FAULT_PUT, FAULT_LOSE_REPLY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_any_step_it_is_taken_to_its_end),
		cmocka_unit_test(a_store_that_fails_once_loses_nothing),
		cmocka_unit_test(an_answer_that_is_lost_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
