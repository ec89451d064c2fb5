/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whoever races for a ref: nothing that was acknowledged is lost, of those who cannot both win one
 * does, and all see the same in the end. Threads, each a machine of its own, and processes; with
 * replies that get lost.
 */
#include <fcntl.h>
#include <sys/wait.h>

#include "refs_world.h"

enum {
	THREADS = 8,
	PROCESSES = 4,
	COMMITS = 12, /* each makes */
};

/* One who takes part. */
struct racer {
	struct world *world;
	struct machine machine;
	pthread_t thread;
	unsigned number;
	uint64_t seed;
	void (*run)(struct racer *r);
	struct oid acknowledged[COMMITS];
	unsigned count;
	unsigned in_doubt; /* commits that another branch by that name may have or not */
	int result;
};

static void *racer_main(void *arg)
{
	struct racer *r = arg;

	r->run(r);
	return NULL;
}

static void race(struct world *w, struct racer *all, unsigned n, void (*run)(struct racer *r))
{
	for (unsigned i = 0; i < n; i++) {
		all[i] = (struct racer){ .world = w, .number = i, .seed = 77 + i, .run = run };
		machine_open(w->backend, &all[i].machine);
	}
	for (unsigned i = 0; i < n; i++)
		assert_ok(thread_start(&all[i].thread, "racer", racer_main, &all[i]));
	for (unsigned i = 0; i < n; i++)
		pthread_join(all[i].thread, NULL);
	for (unsigned i = 0; i < n; i++)
		machine_close(&all[i].machine);
}

/* Lets every third swap's reply get lost, and every seventh swap never arrive. */
static void make_network_bad(struct world *w)
{
	for (uint64_t i = 1; i < 400; i++) {
		fault_add(w, (struct fault){ .op = FAULT_SWAP,
					     .kind = i % 7 ? FAULT_LOSE_REPLY : FAULT_FAIL,
					     .nth = 3 * i,
					     .times = 1,
					     .error = -EINPROGRESS });
	}
}

static void make_the_same_branch(struct racer *r)
{
	struct oid unborn = { 0 };

	r->result = refs_create_branch(r->machine.refs, &r->world->repo, "x", &unborn, NULL);
}

static void of_many_who_make_a_branch_one_does(void **state)
{
	struct world *w = *state;
	struct racer all[THREADS];

	for (int round = 0; round < 5; round++) {
		int winners = 0;

		race(w, all, THREADS, make_the_same_branch);
		for (int i = 0; i < THREADS; i++) {
			assert_true(all[i].result == 0 || all[i].result == -EEXIST);
			winners += all[i].result == 0;
		}
		assert_int_equal(winners, 1);
		assert_ok(refs_remove_branch(w->here.refs, &w->repo, "x", NULL));
	}
}

static void make_the_same_repo(struct racer *r)
{
	struct repo_rec rec = { .default_branch = "main", .chunk = CHUNK_PARAMS_DEFAULT };

	r->result = refs_create_repo(r->machine.refs, "x", &rec, NULL);
}

static void of_many_who_make_a_repo_one_does(void **state)
{
	struct world *w = *state;
	struct racer all[THREADS];
	int winners = 0;

	make_network_bad(w);
	race(w, all, THREADS, make_the_same_repo);
	for (int i = 0; i < THREADS; i++) {
		assert_true(all[i].result == 0 || all[i].result == -EEXIST);
		winners += all[i].result == 0;
	}
	assert_int_equal(winners, 1);
}

static void remove_the_same_branch(struct racer *r)
{
	r->result = refs_remove_branch(r->machine.refs, &r->world->repo, "x", NULL);
}

static void of_many_who_remove_a_branch_one_does(void **state)
{
	struct world *w = *state;
	struct oid unborn = { 0 };
	struct racer all[THREADS];
	int winners = 0;

	make_network_bad(w);
	assert_ok(refs_create_branch(w->here.refs, &w->repo, "x", &unborn, NULL));
	race(w, all, THREADS, remove_the_same_branch);
	for (int i = 0; i < THREADS; i++) {
		assert_true(all[i].result == 0 || all[i].result == -ENOENT);
		winners += all[i].result == 0;
	}
	assert_int_equal(winners, 1);
}

/* Half of them want a branch called "x", half a name. */
static void make_a_branch_or_a_name(struct racer *r)
{
	struct oid c = commit_make(r->world, NULL, NULL);

	r->acknowledged[0] = c;
	if (r->number % 2)
		r->result = refs_create_branch(r->machine.refs, &r->world->repo, "x", &c, NULL);
	else
		r->result = refs_create_name(r->machine.refs, &r->world->repo, "x", &c, NULL);
}

static void a_branch_and_a_name_clash_and_what_was_acknowledged_stays(void **state)
{
	struct world *w = *state;
	struct racer all[THREADS];
	struct refs *r = w->here.refs;

	for (int round = 0; round < 12; round++) {
		int branches = 0, names = 0;

		race(w, all, THREADS, make_a_branch_or_a_name);
		for (int i = 0; i < THREADS; i++) {
			assert_true(all[i].result == 0 || all[i].result == -EEXIST);
			if (all[i].result == 0)
				++*(i % 2 ? &branches : &names);
		}
		assert_in_range(branches, 0, 1);
		assert_in_range(names, 0, 1);
		assert_int_equal(is_live(r, &w->repo, REF_BRANCH, "x"), branches);
		/* One that withdrew said so; one that was there first may stay. */
		assert_int_equal(is_live(r, &w->repo, REF_NAME, "x"), names);
		if (branches)
			assert_ok(refs_remove_branch(r, &w->repo, "x", NULL));
		if (names)
			assert_ok(refs_remove_name(r, &w->repo, "x", NULL));
	}
}

/* Commits to "work", as a writer does: on top of what is there, again if somebody was first. */
static void commit_to_work(struct racer *r)
{
	struct refs *refs = r->machine.refs;

	while (r->count < COMMITS && r->result == 0) {
		_cleanup_ref_ struct ref at = { 0 };
		struct oid c, now;
		int e;

		e = refs_get(refs, &r->world->repo, REF_BRANCH, "work", &KNOWN, &at, NULL);
		if (e == -ENOENT) {
			/* Between two names: the move finds the new one. */
			usleep(1000);
			continue;
		}
		assert_ok(e);
		c = commit_make(r->world, &at.target, NULL);
		for (;;) {
			e = refs_move_branch(refs, &r->world->repo, "work", NULL, &at.target, &c,
					     NULL, &now);
			if (e != -ESTALE)
				break;
			at.target = now;
			c = commit_make(r->world, &now, NULL);
		}
		if (e == 0)
			r->acknowledged[r->count++] = c;
		else if (e == -EINPROGRESS)
			r->in_doubt++;
		else
			r->result = e;
	}
}

static void assert_all_reach(struct world *w, const char *branch, const struct racer *all,
			     unsigned n)
{
	struct oid tip = branch_target(w->here.refs, &w->repo, branch);

	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(all[i].count, COMMITS);
		assert_int_equal(all[i].in_doubt, 0);
		for (unsigned k = 0; k < COMMITS; k++)
			assert_int_equal(refs_is_ancestor(w->here.refs, &w->repo,
							  &all[i].acknowledged[k], &tip, &KNOWN),
					 1);
	}
}

static void every_acknowledged_commit_is_in_the_branch(void **state)
{
	struct world *w = *state;
	struct racer all[THREADS];
	struct oid root = commit_make(w, NULL, NULL);

	assert_ok(refs_create_branch(w->here.refs, &w->repo, "work", &root, NULL));
	make_network_bad(w);
	race(w, all, THREADS, commit_to_work);
	for (int i = 0; i < THREADS; i++)
		assert_ok(all[i].result);
	assert_all_reach(w, "work", all, THREADS);
}

static const char *const names[] = { "work", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8" };

static void commit_or_rename(struct racer *r)
{
	if (r->number > 0) {
		commit_to_work(r);
		return;
	}
	/* Away and back: the tombstones lead on, and "work" comes to be again. */
	for (int i = 0; i < 6 && r->result == 0; i++) {
		usleep(3000);
		r->result = refs_rename_branch(r->machine.refs, &r->world->repo,
					       i % 2 ? names[1] : names[0],
					       i % 2 ? names[0] : names[1], NULL);
	}
}

/* Where a branch is, or nowhere. */
static struct ref branch_at(struct world *w, const char *name)
{
	struct ref ref = { 0 };
	int e = refs_get(w->here.refs, &w->repo, REF_BRANCH, name, &FRESH, &ref, NULL);

	assert_true(e == 0 || e == -ENOENT);
	buf_release(&ref.commit);
	return ref;
}

static void renames_lose_no_commit(void **state)
{
	enum {
		N = 5
	};
	struct world *w = *state;
	struct refs *refs = w->here.refs;
	struct racer all[N];
	struct oid root = commit_make(w, NULL, NULL);
	struct ref a, b;

	log_set_level(LOG_LEVEL_ERROR - 1);
	assert_ok(refs_create_branch(refs, &w->repo, "work", &root, NULL));
	race(w, all, N, commit_or_rename);
	a = branch_at(w, names[0]);
	b = branch_at(w, names[1]);
	/* When both were committed to while both were there, there are two now. */
	assert_true(all[0].result == 0 || all[0].result == -EBUSY);
	assert_int_equal(a.state == REF_LIVE && b.state == REF_LIVE, all[0].result == -EBUSY);
	assert_false(id128_equal(&a.branch, &b.branch));
	for (int i = 1; i < N; i++) {
		assert_ok(all[i].result);
		/* Only of a branch that became another's is it not known what has been on it. */
		assert_true(all[i].in_doubt == 0 || all[0].result == -EBUSY);
		for (int k = 0; k < COMMITS; k++) {
			const struct oid *c = &all[i].acknowledged[k];

			assert_true(refs_is_ancestor(refs, &w->repo, c, &a.target, &KNOWN) == 1 ||
				    refs_is_ancestor(refs, &w->repo, c, &b.target, &KNOWN) == 1);
		}
	}
}

static void rename_to_own_name(struct racer *r)
{
	r->result = refs_rename_branch(r->machine.refs, &r->world->repo, "work",
				       names[1 + r->number], NULL);
}

static void of_many_who_rename_a_branch_one_does(void **state)
{
	struct world *w = *state;
	struct racer all[THREADS];
	struct oid root = commit_make(w, NULL, NULL);
	char expected[40];

	make_network_bad(w);
	for (int round = 0; round < 5; round++) {
		int winner = -1;

		assert_ok(refs_create_branch(w->here.refs, &w->repo, "work", &root, NULL));
		race(w, all, THREADS, rename_to_own_name);
		for (int i = 0; i < THREADS; i++) {
			assert_true(all[i].result == 0 || all[i].result == -ENOENT);
			if (all[i].result == 0) {
				assert_int_equal(winner, -1);
				winner = i;
			}
		}
		assert_true(winner >= 0);
		snprintf(expected, sizeof(expected), "main %s ", names[1 + winner]);
		assert_listed(w->here.refs, &w->repo, REF_BRANCH, &FRESH, expected);
		assert_ok(refs_remove_branch(w->here.refs, &w->repo, names[1 + winner], NULL));
	}
}

/* As a process of its own on the store in @dir: commits, and writes what was acknowledged to
 * standard output. */
static int commit_as_process(const char *dir)
{
	_cleanup_repo_rec_ struct repo_rec repo = { 0 };
	struct backend_options o = { 0 };
	struct world w = { 0 };
	struct racer r = { .world = &w };

	if (file_backend_open(dir, &o, &w.inner) < 0)
		return 1;
	w.backend = w.inner;
	machine_open(w.backend, &r.machine);
	assert_ok(refs_repo(r.machine.refs, "repo", &FRESH, &repo));
	w.repo = repo.id;
	commit_to_work(&r);
	if (write(STDOUT_FILENO, r.acknowledged, sizeof(r.acknowledged)) != sizeof(r.acknowledged))
		return 2;
	machine_close(&r.machine);
	backend_free(w.backend);
	return r.result == 0 && r.count == COMMITS ? 0 : 3;
}

/* Begins this program anew: of one with threads a fork alone may start none. */
static pid_t process_start(const char *dir, int out)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	dup2(out, STDOUT_FILENO);
	execl("/proc/self/exe", "test_refs_race", dir, NULL);
	_exit(127);
}

static void processes_lose_nothing_either(void **state)
{
	struct world *w = *state;
	struct racer all[PROCESSES] = { 0 };
	struct oid root = commit_make(w, NULL, NULL);
	pid_t pids[PROCESSES];
	int pipes[PROCESSES][2];

	assert_ok(refs_create_branch(w->here.refs, &w->repo, "work", &root, NULL));
	for (unsigned i = 0; i < PROCESSES; i++) {
		assert_int_equal(pipe2(pipes[i], O_CLOEXEC), 0);
		pids[i] = process_start(w->dir.path, pipes[i][1]);
		assert_true(pids[i] > 0);
		close(pipes[i][1]);
	}
	for (unsigned i = 0; i < PROCESSES; i++) {
		int status;

		assert_int_equal(
			read(pipes[i][0], all[i].acknowledged, sizeof(all[i].acknowledged)),
			sizeof(all[i].acknowledged));
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
		close(pipes[i][0]);
		all[i].count = COMMITS;
	}
	assert_all_reach(w, "work", all, PROCESSES);
}

static void a_move_costs_this_much(void **state)
{
	enum {
		MOVES = 200
	};
	struct world *w = *state;
	struct oid at = { 0 }, all[MOVES], now;
	int64_t start;

	for (int i = 0; i < MOVES; i++)
		all[i] = commit_make(w, i ? &all[i - 1] : NULL, NULL);
	start = now_ns();
	for (int i = 0; i < MOVES; i++) {
		assert_ok(refs_move_branch(w->here.refs, &w->repo, "main", NULL, &at, &all[i], NULL,
					   &now));
		at = all[i];
	}
	print_message("  refs_move_branch: %.0f us\n", (double)(now_ns() - start) / 1000 / MOVES);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		BOTH(of_many_who_make_a_branch_one_does),
		BOTH(of_many_who_make_a_repo_one_does),
		BOTH(of_many_who_remove_a_branch_one_does),
		BOTH(a_branch_and_a_name_clash_and_what_was_acknowledged_stays),
		BOTH(every_acknowledged_commit_is_in_the_branch),
		BOTH(renames_lose_no_commit),
		BOTH(of_many_who_rename_a_branch_one_does),
		{ "processes_lose_nothing_either", processes_lose_nothing_either, world_in_files,
		  world_close, NULL },
		BOTH(a_move_costs_this_much),
	};

	if (argc == 2)
		return commit_as_process(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
