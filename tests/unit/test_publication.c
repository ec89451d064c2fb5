/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Many machines commit to one branch over a bad network, and die at any point: publication is
 * linearisable.
 *
 * Each machine is a process with a state directory of its own, begun anew when it was killed. What
 * each asked for and was told is written down in a file that all map; the test's own process is the
 * network that delivers late, a reader that checks what can be checked at any time, and in the end,
 * when the weather is good and all have joined the branch, the judge:
 *
 *  - every acknowledged commit is in the branch's history, and nothing is twice
 *  - a name leads to the one commit that was acknowledged under it
 *  - the branch only grows; its tip has each group of files of one commit whole, and all files
 *  - what is reached is there
 *
 * PFS_LONG=1 makes it longer. With PFS_TEST_S3 the same happens in a bucket.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "backend/fault.h"
#include "base/htab.h"
#include "base/log.h"
#include "base/random.h"
#include "headstand.h"
#include "nosync.h"
#include "prng.h"
#include "weather.h"

enum {
	MACHINES = 8,
	OPS_MAX = 400, /* a machine */
	NAME_MAX_LEN = 32,
	PATIENCE_MAX_MS = 300, /* how long one who is in a hurry waits at most */
	TRIES_MAX = 12, /* of one commit before the weather gets better, and after */
	LOST_MAX_MS = 400, /* how long a machine lives at most, when it is to die */
	SHARED_EVERY = 4, /* so many operations have one name that all want */
	URL_LEN = 256,
};

/* One operation of a machine, ending in a commit. */
enum kind {
	OWN_FILES, /* a group of its own, and one new file */
	SAME_NAME, /* the same, under a name that others want, too */
	SAME_FILE, /* one that others write, too */
	NO_CHANGE,
};

enum told {
	ASKED = 1, /* and nothing was heard yet */
	DONE,
	TAKEN, /* the name is another's */
};

struct operation {
	atomic_int told;
	enum kind kind;
	bool is_new;
	char name[NAME_MAX_LEN]; /* "": none */
	struct oid id; /* when it is done */
	atomic_bool is_on_branch; /* as was said then */
	unsigned tries;
};

enum phase {
	CHANGING,
	COMMITTING,
};

struct machine {
	atomic_uint next; /* operation */
	atomic_int phase;
	atomic_uint starts;
	atomic_uint diverged;
	struct operation ops[OPS_MAX];
};

struct history {
	char url[URL_LEN];
	uint64_t seed;
	unsigned machines, ops;
	struct machine machine[MACHINES];
	struct mailbox mailbox;
};

/* Helpers for files of a head. */

static int read_text(struct headstand *s, struct vnode *root, const char *path, char ret[32])
{
	struct vnode *v;
	struct stat st;
	int64_t n;
	int r = view_walk(root, span_str(path), &s->acc, &v, &st);

	if (r < 0)
		return r;
	assert_ok(view_open(v, O_RDONLY, &s->acc));
	n = view_read(v, 0, 31, ret, &s->acc);
	assert_true(n >= 0);
	ret[n] = '\0';
	view_close(v, O_RDONLY);
	vnode_unref(s->vnodes, v);
	return 0;
}

static struct vnode *directory(struct headstand *s, const char *name)
{
	struct vnode *v;
	struct stat st;
	int r = view_walk(s->root, span_str(name), &s->acc, &v, &st);

	if (r == -ENOENT)
		return stand_create(s, s->root, name, S_IFDIR | 0755);
	assert_ok(r);
	return v;
}

/* Texts of one file are all of the same length. */
static void write_text(struct headstand *s, struct vnode *dir, const char *name, const char *text)
{
	struct vnode *v;
	struct stat st;
	int r = view_walk(dir, span_str(name), &s->acc, &v, &st);

	if (r == -ENOENT)
		v = stand_create(s, dir, name, S_IFREG | 0644);
	else
		assert_ok(r);
	assert_ok(view_open(v, O_RDWR, &s->acc));
	assert_ok(view_write(v, 0, span_str(text), false, false, &s->acc));
	view_close(v, O_RDWR);
	vnode_unref(s->vnodes, v);
}

static void text_of(unsigned machine, unsigned op, char ret[32])
{
	snprintf(ret, 32, "%03u.%05u", machine, op);
}

/* A machine */

static const char *const group[] = { "a", "b", "c" };

struct worker {
	struct history *history;
	struct machine *machine;
	unsigned number;
	struct headstand stand;
	struct prng prng; /* another with each start */
};

static struct mailbox *the_mailbox;
static uint64_t the_seed;
static struct backend *the_weather;

static struct backend *under_weather(struct backend *inner)
{
	assert_ok(weather_backend_new(inner, the_mailbox, the_seed, &the_weather));
	return the_weather;
}

static void weather_is(bool good)
{
	static const struct weather calm, bad = { .fail = 20,
						  .lose_reply = 40,
						  .late = 30,
						  .twice = 30,
						  .delay = 60,
						  .outage = 12,
						  .kill = 6 };

	weather_set(the_weather, good ? &calm : &bad);
}

/* What an operation is depends on nothing but its place. */
static void plan(struct worker *w, unsigned k, struct operation *op)
{
	struct prng p = { w->history->seed * 1000003 + w->number * 1009 + k };
	uint64_t dice = prng_below(&p, 12);

	op->kind = dice < 7 ? OWN_FILES : dice < 9 ? SAME_FILE : dice < 10 ? NO_CHANGE : SAME_NAME;
	if (op->kind == SAME_NAME)
		snprintf(op->name, sizeof(op->name), "all-%u", k / SHARED_EVERY);
	else if (prng_below(&p, 2))
		snprintf(op->name, sizeof(op->name), "n%u-%u", w->number, k);
}

static void change_files(struct worker *w, unsigned k, enum kind kind)
{
	struct headstand *s = &w->stand;
	char text[32], name[32];
	struct vnode *dir;

	text_of(w->number, k, text);
	if (kind == SAME_FILE)
		write_text(s, s->root, "common", text);
	if (kind != OWN_FILES && kind != SAME_NAME)
		return;
	snprintf(name, sizeof(name), "m%u", w->number);
	dir = directory(s, name);
	for (unsigned i = 0; i < ARRAY_SIZE(group); i++)
		write_text(s, dir, group[i], text);
	snprintf(name, sizeof(name), "log.%u", k);
	write_text(s, dir, name, text);
	vnode_unref(s->vnodes, dir);
}

/* Whatever was done before is seen, whatever has befallen us. */
static void assert_own_files(struct worker *w, unsigned ops)
{
	for (unsigned k = ops > 5 ? ops - 5 : 0; k < ops; k++) {
		char path[64], text[32], got[32];

		if (w->machine->ops[k].kind != OWN_FILES && w->machine->ops[k].kind != SAME_NAME)
			continue;
		snprintf(path, sizeof(path), "m%u/log.%u", w->number, k);
		text_of(w->number, k, text);
		assert_ok(read_text(&w->stand, w->stand.root, path, got));
		assert_string_equal(got, text);
	}
}

/* As a mount's own thread does. */
static void try_again(struct worker *w)
{
	if (prng_below(&w->prng, 2))
		head_rejoin(w->stand.head, &w->stand.acc);
}

/* Where nothing had changed the name is the base's, and is not on record: if we were killed before
 * we heard of it, it is taken when we ask again, and by ourselves. */
static bool is_of_our_past(struct worker *w, const char *name)
{
	struct headstand *s = &w->stand;
	struct refs_wait wait = { .may_wait = true, .fresh = true, .deadline = DEADLINE_NEVER };
	_cleanup_repo_rec_ struct repo_rec repo = { 0 };
	_cleanup_ref_ struct ref ref = { 0 };
	struct oid base = view_commit(s->head);

	weather_is(true);
	assert_ok(refs_repo(s->store->refs, "r", &wait, &repo));
	assert_ok(refs_get(s->store->refs, &repo.id, REF_NAME, name, &wait, &ref, NULL));
	return refs_is_ancestor(s->store->refs, &repo.id, &ref.target, &base, &wait) == 1;
}

static void note_told(struct worker *w, struct operation *op, int r, const struct commit_result *x)
{
	if (r == -EEXIST) {
		if (op->kind != SAME_NAME &&
		    (op->kind != NO_CHANGE || !is_of_our_past(w, op->name)))
			fail_msg("machine %u was refused its own name %s", w->number, op->name);
		op->told = TAKEN;
		return;
	}
	op->id = x->id;
	op->is_new = x->is_new;
	op->is_on_branch = r == 0 && x->standing == HEAD_ON_BRANCH;
	op->told = DONE;
}

static void commit_op(struct worker *w, unsigned k, struct operation *op)
{
	struct headstand *s = &w->stand;
	char message[32];
	struct commit_request req = { .name = op->name[0] ? op->name : NULL, .message = message };
	struct commit_result res = { 0 };
	int r = -EIO;

	text_of(w->number, k, message);
	for (unsigned i = 0; r < 0 && r != -EEXIST; i++) {
		if (i == 2 * TRIES_MAX)
			fail_msg("machine %u, %s: %d in good weather", w->number, message, r);
		op->tries++;
		weather_is(i >= TRIES_MAX);
		/* Often it ends before it is known what came of it. */
		if (i < TRIES_MAX && prng_below(&w->prng, 2))
			s->acc.deadline = deadline_in_ms(1 + prng_below(&w->prng, PATIENCE_MAX_MS));
		if (i > 0)
			try_again(w);
		r = head_commit(s->head, &req, &s->acc, &res);
		s->acc.deadline = DEADLINE_NEVER;
	}
	note_told(w, op, r, &res);
	if (res.standing == HEAD_DIVERGED)
		w->machine->diverged++;
}

/* What has diverged is settled, sometimes. */
static void settle(struct worker *w)
{
	struct commit_result res;

	weather_is(false);
	if (prng_below(&w->prng, 3) == 0) {
		head_merge(w->stand.head,
			   prng_below(&w->prng, 2) ? MERGE_PREFER_OURS : MERGE_PREFER_THEIRS,
			   &w->stand.acc, &res);
	} else if (prng_below(&w->prng, 3) == 0) {
		head_sync(w->stand.head, &w->stand.acc, &res);
	}
	weather_is(true);
}

static void run_op(struct worker *w)
{
	struct machine *m = w->machine;
	unsigned k = m->next;
	struct operation *op = &m->ops[k];

	plan(w, k, op);
	/* Who asks again must find what he has asked for: nothing is changed meanwhile. */
	if (m->phase == CHANGING) {
		change_files(w, k, op->kind);
		op->told = ASKED;
		m->phase = COMMITTING;
	} else {
		try_again(w);
	}
	commit_op(w, k, op);
	m->phase = CHANGING;
	m->next = k + 1;
	settle(w);
	assert_own_files(w, m->next);
}

/* In good weather all that is left comes onto the branch. */
static void join_in_the_end(struct worker *w)
{
	struct commit_request req = { .message = "the rest" };
	struct commit_result res;

	weather_is(true);
	assert_ok(head_commit(w->stand.head, &req, &w->stand.acc, &res));
	if (res.standing != HEAD_ON_BRANCH)
		assert_ok(head_merge(w->stand.head, MERGE_PREFER_OURS, &w->stand.acc, &res));
	assert_int_equal(res.standing, HEAD_ON_BRANCH);
}

/* The process may end at any moment from now on. */
static void die_some_time(struct prng *p)
{
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL };
	struct itimerspec at = { .it_value.tv_nsec =
					 1 + (long)prng_below(p, LOST_MAX_MS * 1000000ul) };
	timer_t t;

	if (prng_below(p, 2))
		return;
	assert_ok(timer_create(CLOCK_MONOTONIC, &ev, &t));
	assert_ok(timer_settime(t, 0, &at, NULL));
}

static struct history *history_map(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *p;

	assert_true(fd >= 0);
	assert_ok(ftruncate(fd, sizeof(struct history)));
	p = mmap(NULL, sizeof(struct history), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	close(fd);
	return p;
}

static int be_a_machine(const char *dir, unsigned number)
{
	char *path = strf("%s/history", dir);
	struct history *h = history_map(path);
	struct worker w = { .history = h, .machine = &h->machine[number], .number = number };
	unsigned start = w.machine->starts++;

	free(path);
	log_set_level(LOG_LEVEL_ERROR - 1);
	the_mailbox = &h->mailbox;
	w.prng.state = the_seed = h->seed + 7919 * number + 104729ul * start;
	w.stand = (struct headstand){
		.url = h->url,
		.state = strf("%s/machine%u", dir, number),
		.disk_bytes = 1 << 30,
		.layer = under_weather,
	};
	die_some_time(&w.prng);
	stand_open(&w.stand);
	assert_own_files(&w, w.machine->next);
	while (w.machine->next < h->ops)
		run_op(&w);
	join_in_the_end(&w);
	stand_close(&w.stand);
	free(w.stand.state);
	return 0;
}

/* The rest of the world */

struct world {
	struct scratch dir;
	struct history *history;
	struct backend *network; /* owned; without any weather */
	struct headstand reader;
	struct id128 repo;
	pid_t pids[MACHINES];
	unsigned running, kills;
	struct oid tip; /* as the reader last saw it */
	unsigned seen[MACHINES]; /* the group's number in it, and one */
};

static const struct refs_wait FRESH = { true, true, { INT64_MAX, NULL } };

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

static struct oid branch_tip(struct world *w)
{
	_cleanup_ref_ struct ref ref = { 0 };

	assert_ok(
		refs_get(w->reader.store->refs, &w->repo, REF_BRANCH, "main", &FRESH, &ref, NULL));
	return ref.target;
}

static bool comes_before(struct world *w, const struct oid *a, const struct oid *b)
{
	int r = refs_is_ancestor(w->reader.store->refs, &w->repo, a, b, &FRESH);

	assert_true(r >= 0);
	return r;
}

/* All of each group is of one commit, and of none older than @seen, which is brought up to date. */
static void check_groups(struct world *w, struct vnode *root, unsigned seen[MACHINES])
{
	for (unsigned m = 0; m < w->history->machines; m++) {
		char path[64], text[32] = "", got[32];
		unsigned machine, op;

		for (unsigned i = 0; i < ARRAY_SIZE(group); i++) {
			int r;

			snprintf(path, sizeof(path), "m%u/%s", m, group[i]);
			r = read_text(&w->reader, root, path, got);
			if (r == -ENOENT && i == 0 && seen[m] == 0)
				goto next;
			assert_ok(r);
			if (i == 0)
				snprintf(text, sizeof(text), "%s", got);
			assert_string_equal(got, text);
		}
		assert_int_equal(sscanf(text, "%u.%u", &machine, &op), 2);
		assert_int_equal(machine, m);
		if (op + 1 < seen[m])
			fail_msg("the branch went back: machine %u from %u to %u", m, seen[m] - 1,
				 op);
		seen[m] = op + 1;
	next:;
	}
}

static void check_name(struct world *w, const struct operation *op)
{
	_cleanup_ref_ struct ref ref = { 0 };
	int r;

	if (!op->name[0])
		return;
	r = refs_get(w->reader.store->refs, &w->repo, REF_NAME, op->name, &FRESH, &ref, NULL);
	if (r < 0 || !oid_equal(&ref.target, &op->id))
		fail_msg("the name %s, which was acknowledged, is lost or another's: %d", op->name,
			 r);
}

/* The last of each machine's operations that are done, as of now; -1: none. */
static void last_done(struct world *w, int ret[MACHINES])
{
	for (unsigned m = 0; m < w->history->machines; m++) {
		const struct machine *x = &w->history->machine[m];

		ret[m] = (int)x->next - 1;
	}
}

/* What holds at any moment. */
static void read_along(struct world *w)
{
	struct vnode *root;
	struct oid tip;
	int done[MACHINES];

	last_done(w, done);
	tip = branch_tip(w);
	if (oid_is_null(&tip))
		return;
	if (!comes_before(w, &w->tip, &tip))
		fail_msg("the branch does not lead on from where it was");
	w->tip = tip;
	for (unsigned m = 0; m < w->history->machines; m++) {
		const struct operation *op;

		if (done[m] < 0)
			continue;
		op = &w->history->machine[m].ops[done[m]];
		if (op->told != DONE)
			continue;
		if (op->is_on_branch && !comes_before(w, &op->id, &tip))
			fail_msg("machine %u: its operation %u was said to be on the branch", m,
				 done[m]);
		check_name(w, op);
	}
	root = stand_commit_root(&w->reader, &tip);
	check_groups(w, root, w->seen);
	vnode_unref(w->reader.vnodes, root);
}

/* A head that nobody changes goes along as well. */
static void follow_along(struct world *w, unsigned seen[MACHINES])
{
	struct commit_result res;

	assert_ok(MIN(head_sync(w->reader.head, &w->reader.acc, &res), 0));
	check_groups(w, w->reader.root, seen);
}

/* The judge */

struct known {
	struct hnode node;
	struct known *next; /* to be looked at */
	struct oid id;
	char message[32];
};

struct walk {
	struct world *world;
	struct htab seen;
	struct known *todo;
	unsigned count;
};

static struct known *find(struct walk *x, const struct oid *id)
{
	htab_for_each (n, &x->seen, oid_hash(id))
		if (oid_equal(&container_of(n, struct known, node)->id, id))
			return container_of(n, struct known, node);
	return NULL;
}

static void walk_add(struct walk *x, const struct oid *id)
{
	struct known *k;

	if (oid_is_null(id) || find(x, id))
		return;
	k = new0(struct known, 1);
	k->id = *id;
	assert_ok(htab_insert(&x->seen, &k->node, oid_hash(id)));
	k->next = x->todo;
	x->todo = k;
	x->count++;
}

/* From what the store has, and nothing else. */
static void walk_all(struct walk *x)
{
	struct backend *b = x->world->network;

	while (x->todo) {
		struct known *k = x->todo;
		_cleanup_buf_ struct buf object = { 0 };
		_cleanup_commit_ struct commit c = { 0 };
		struct etag tag;

		x->todo = k->next;
		assert_ok(b->ops->get_all(b, commit_key(&x->world->repo, &k->id).s, COMMIT_MAX,
					  NULL, NULL, &object, &tag));
		assert_ok(commit_read(buf_span(&object), &k->id, &c));
		snprintf(k->message, sizeof(k->message), "%.*s", (int)c.message.len,
			 (const char *)c.message.data);
		for (uint8_t i = 0; i < c.parent_count; i++)
			walk_add(x, &c.parents[i]);
	}
}

static void known_free(struct hnode *n, void *ctx)
{
	free(container_of(n, struct known, node));
}

static void walk_release(struct walk *x)
{
	htab_walk(&x->seen, known_free, NULL);
	htab_release(&x->seen);
}

struct counting {
	unsigned of[MACHINES][OPS_MAX];
};

static void count_message(struct hnode *n, void *ctx)
{
	const struct known *k = container_of(n, struct known, node);
	struct counting *c = ctx;
	unsigned m, op;

	if (strlen(k->message) == 9 && sscanf(k->message, "%3u.%5u", &m, &op) == 2)
		c->of[m][op]++;
}

static void check_operation(struct world *w, struct walk *x, unsigned m, unsigned k, unsigned count)
{
	const struct operation *op = &w->history->machine[m].ops[k];

	assert_in_range(op->told, DONE, TAKEN);
	if (count > 1)
		fail_msg("machine %u: its operation %u is %u commits", m, k, count);
	if (op->told != DONE)
		return;
	if (!oid_is_null(&op->id) && !find(x, &op->id))
		fail_msg("machine %u: its operation %u was acknowledged, and is lost", m, k);
	if (op->is_new && count == 0)
		fail_msg("machine %u: its operation %u made a commit that is not there", m, k);
	check_name(w, op);
}

static int add_named(const char *name, void *ctx)
{
	struct walk *x = ctx;
	_cleanup_ref_ struct ref ref = { 0 };

	assert_ok(refs_get(x->world->reader.store->refs, &x->world->repo, REF_NAME, name, &FRESH,
			   &ref, NULL));
	walk_add(x, &ref.target);
	return 0;
}

static void check_files(struct world *w, struct vnode *root)
{
	for (unsigned m = 0; m < w->history->machines; m++)
		for (unsigned k = 0; k < w->history->ops; k++) {
			const struct operation *op = &w->history->machine[m].ops[k];
			char path[64], text[32], got[32];

			if (op->kind != OWN_FILES && op->kind != SAME_NAME)
				continue;
			snprintf(path, sizeof(path), "m%u/log.%u", m, k);
			text_of(m, k, text);
			if (read_text(&w->reader, root, path, got) < 0)
				fail_msg("%s is lost", path);
			assert_string_equal(got, text);
		}
}

static void judge(struct world *w)
{
	struct walk x = { .world = w };
	struct counting c = { 0 };
	struct oid tip = branch_tip(w);
	struct vnode *root;

	walk_add(&x, &tip);
	walk_all(&x);
	htab_walk(&x.seen, count_message, &c);
	for (unsigned m = 0; m < w->history->machines; m++)
		for (unsigned k = 0; k < w->history->ops; k++)
			check_operation(w, &x, m, k, c.of[m][k]);
	assert_ok(refs_list(w->reader.store->refs, &w->repo, REF_NAME, &FRESH, add_named, &x));
	walk_all(&x);
	root = stand_commit_root(&w->reader, &tip);
	check_groups(w, root, w->seen);
	check_files(w, root);
	vnode_unref(w->reader.vnodes, root);
	walk_release(&x);
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
	char text[32];
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
		char text[32];

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
		char text[32], got[32];

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
