/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Many machines commit to one branch over a bad network, and die at any point: publication is
 * linearisable.
 *
 * Machines that were killed are begun anew. The test's own process is the network that delivers
 * late, a reader that checks what can be checked at any time, and in the end, when the weather is
 * good and all have joined the branch, the judge (publication.h).
 *
 * PFS_LONG=1 makes it longer. With PFS_TEST_S3 the same happens in a bucket.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "backend/fault.h"
#include "base/log.h"
#include "base/random.h"
#include "nosync.h"
#include "publication.h"

static void world_make(struct world *w, const char *url)
{
	struct repo_rec rec = { .chunk = { 4096, 16384, 65536 },
				.root_mode = 0755,
				.default_branch = "main" };
	struct backend_options o = { .create = true };
	_cleanup_repo_rec_ struct repo_rec got = { 0 };
	_cleanup_free_ char *path = NULL;
	struct store_options so = { .threads = 1 };
	struct store *store;

	*w = (struct world){ .dir = scratch_make() };
	path = strf("%s/history", w->dir.path);
	w->history = history_map(path);
	snprintf(w->history->url, URL_LEN, "%s%s", url ?: w->dir.path, url ? "" : "/store");
	w->reader = (struct headstand){
		.url = w->history->url,
		.state = strf("%s/reader", w->dir.path),
		.disk_bytes = 1 << 30,
	};
	so.state_dir = w->reader.state;
	assert_ok(store_init(w->history->url, false));
	assert_ok(store_open(w->history->url, &so, &store));
	assert_ok(refs_create_repo(store->refs, "r", &rec, NULL));
	store_free(store);
	stand_open(&w->reader);
	assert_ok(refs_repo(w->reader.store->refs, "r", &FRESH, &got));
	w->repo = got.id;
	assert_ok(backend_open(w->history->url, &o, &w->network));
}

static void world_remove(struct world *w)
{
	stand_close(&w->reader);
	free(w->reader.state);
	backend_free(w->network);
	munmap(w->history, sizeof(*w->history));
	scratch_remove(&w->dir);
}

static void start(struct world *w, unsigned i)
{
	char number[8];

	snprintf(number, sizeof(number), "%u", i);
	w->pids[i] = fork();
	assert_true(w->pids[i] >= 0);
	if (w->pids[i] > 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* with a test that fails */
	execl("/proc/self/exe", "test_publication", w->dir.path, number, NULL);
	_exit(127);
}

/* A machine that was killed is begun anew; one that ended well is at the end of its work. */
static void look_after(struct world *w, unsigned i)
{
	int status;

	if (w->pids[i] == 0 || waitpid(w->pids[i], &status, WNOHANG) == 0)
		return;
	w->pids[i] = 0;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
		w->kills++;
		start(w, i);
		return;
	}
	if (status != 0)
		fail_msg("machine %u ended with %#x at its operation %u", i, status,
			 w->history->machine[i].next);
	w->running--;
}

static void report(struct world *w, int64_t began)
{
	unsigned tries = 0, diverged = 0, taken = 0;

	for (unsigned m = 0; m < w->history->machines; m++) {
		diverged += w->history->machine[m].diverged;
		for (unsigned k = 0; k < w->history->ops; k++) {
			tries += w->history->machine[m].ops[k].tries;
			taken += w->history->machine[m].ops[k].told == TAKEN;
		}
	}
	print_message("  seed %llu: %u commits in %u tries, %u kills, %u diverged, %u names taken, "
		      "%u late (%u landed), %.1f s\n",
		      (unsigned long long)w->history->seed, w->history->machines * w->history->ops,
		      tries, w->kills, diverged, taken, w->history->mailbox.delivered,
		      w->history->mailbox.landed, (double)(now_ns() - began) / 1e9);
}

static void live(uint64_t seed, unsigned ops, const char *url)
{
	unsigned followed[MACHINES] = { 0 };
	int64_t began = now_ns();
	struct world w;

	world_make(&w, url);
	w.history->seed = seed;
	w.history->machines = w.running = MACHINES;
	w.history->ops = ops;
	for (unsigned i = 0; i < MACHINES; i++)
		start(&w, i);
	while (w.running > 0) {
		for (unsigned i = 0; i < MACHINES; i++)
			look_after(&w, i);
		mailbox_deliver(&w.history->mailbox, w.network, false);
		read_along(&w);
		follow_along(&w, followed);
		usleep(20000);
	}
	judge(&w);
	/* What comes ten minutes late changes nothing. */
	mailbox_deliver(&w.history->mailbox, w.network, true);
	read_along(&w);
	judge(&w);
	report(&w, began);
	world_remove(&w);
}

static void what_was_acknowledged_stays_whatever_befalls_machines_and_network(void **state)
{
	bool is_long = getenv("PFS_LONG");

	for (uint64_t seed = 1; seed <= (is_long ? 30 : 8); seed++)
		live(seed, is_long ? 60 : 24, NULL);
}

static void the_same_holds_in_a_bucket(void **state)
{
	char url[URL_LEN];

	if (!getenv("PFS_TEST_S3"))
		skip();
	snprintf(url, sizeof(url), "s3://pfs-tests/%016llx?endpoint=%s",
		 (unsigned long long)random_u64(), getenv("PFS_TEST_S3"));
	live(1001, getenv("PFS_LONG") ? 50 : 8, url);
}

/* Many at once, in good weather */

enum {
	CROWD = 48,
};

struct one {
	struct headstand stand;
	struct backend *counter;
	pthread_t thread;
	unsigned number;
	int named; /* what came of the commit with a name */
	struct commit_result result; /* of the last one */
};

static pthread_barrier_t together;
static struct backend *the_counter;

static struct backend *under_counter(struct backend *inner)
{
	assert_ok(fault_backend_new(inner, &the_counter));
	return the_counter;
}

static void *commit_with_the_others(void *arg)
{
	struct one *o = arg;
	char text[TEXT_SIZE];
	struct commit_request req = { .name = o->number % 2 ? "wanted" : NULL, .message = text };

	text_of(o->number, 0, text);
	pthread_barrier_wait(&together);
	o->named = head_commit(o->stand.head, &req, &o->stand.acc, &o->result);
	req.name = NULL;
	if (o->named == -EEXIST)
		assert_ok(head_commit(o->stand.head, &req, &o->stand.acc, &o->result));
	return NULL;
}

/* How often the branch was tried; whoever loses a try loses it to somebody who wins. */
static void assert_not_starved(struct one *o)
{
	struct fault_counts c;

	fault_backend_counts(o->counter, &c);
	assert_in_range(c.calls[FAULT_SWAP], 1, CROWD + 1);
}

static void of_many_who_commit_at_once_one_gets_the_name_and_all_get_onto_the_branch(void **state)
{
	static struct one all[CROWD];
	unsigned winners = 0;
	struct world w;
	struct oid tip;

	world_make(&w, NULL);
	pthread_barrier_init(&together, NULL, CROWD);
	for (unsigned i = 0; i < CROWD; i++) {
		struct one *o = &all[i];
		char text[TEXT_SIZE];

		*o = (struct one){ .number = i, .stand = w.reader };
		o->stand.state = strf("%s/one%u", w.dir.path, i);
		o->stand.layer = under_counter;
		stand_open(&o->stand);
		o->counter = the_counter;
		text_of(i, 0, text);
		write_text(&o->stand, o->stand.root, text, text);
	}
	for (unsigned i = 0; i < CROWD; i++)
		assert_ok(thread_start(&all[i].thread, "one", commit_with_the_others, &all[i]));
	for (unsigned i = 0; i < CROWD; i++)
		pthread_join(all[i].thread, NULL);
	tip = branch_tip(&w);
	for (unsigned i = 0; i < CROWD; i++) {
		struct one *o = &all[i];

		assert_int_equal(o->result.standing, HEAD_ON_BRANCH);
		assert_true(comes_before(&w, &o->result.id, &tip));
		assert_true(o->named == 0 || (o->named == -EEXIST && i % 2));
		winners += i % 2 && o->named == 0;
		assert_not_starved(o);
	}
	assert_int_equal(winners, 1);
	for (unsigned i = 0; i < CROWD; i++) {
		struct vnode *root = stand_commit_root(&w.reader, &tip);
		char text[TEXT_SIZE], got[TEXT_SIZE];

		text_of(i, 0, text);
		assert_ok(read_text(&w.reader, root, text, got));
		assert_string_equal(got, text);
		vnode_unref(w.reader.vnodes, root);
		stand_close(&all[i].stand);
		free(all[i].stand.state);
	}
	pthread_barrier_destroy(&together);
	world_remove(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_acknowledged_stays_whatever_befalls_machines_and_network),
		cmocka_unit_test(the_same_holds_in_a_bucket),
		cmocka_unit_test(
			of_many_who_commit_at_once_one_gets_the_name_and_all_get_onto_the_branch),
	};

	if (argc == 3)
		return be_a_machine(argv[1], (unsigned)atoi(argv[2]));
	log_set_level(LOG_LEVEL_ERROR - 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
