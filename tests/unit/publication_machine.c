/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A machine of the world of publication.h: does what is planned for it, one operation after the
 * other, in bad weather and with little patience, and writes down what it asked for and was told.
 *
 *	CHANGING --files written--> COMMITTING --told--> CHANGING, the next operation
 *
 * Killed while it commits, it asks for the same again: it must find what it has asked for.
 */
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "base/log.h"
#include "prng.h"
#include "publication.h"

enum {
	PATIENCE_MAX_MS = 300, /* how long one who is in a hurry waits at most */
	TRIES_MAX = 12, /* of one commit before the weather gets better, and after */
	LOST_MAX_MS = 400, /* how long a machine lives at most, when it is to die */
	SHARED_EVERY = 4, /* so many operations have one name that all want */
};

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

static void change_files(struct worker *w, unsigned k, enum kind kind)
{
	struct headstand *s = &w->stand;
	char text[TEXT_SIZE], name[32];
	struct vnode *dir;

	text_of(w->number, k, text);
	if (kind == SAME_FILE)
		write_text(s, s->root, "common", text);
	if (kind != OWN_FILES && kind != SAME_NAME)
		return;
	snprintf(name, sizeof(name), "m%u", w->number);
	dir = directory(s, name);
	for (unsigned i = 0; i < GROUP; i++)
		write_text(s, dir, group_names[i], text);
	snprintf(name, sizeof(name), "log.%u", k);
	write_text(s, dir, name, text);
	vnode_unref(s->vnodes, dir);
}

/* Whatever was done before is seen, whatever has befallen us. */
static void assert_own_files(struct worker *w, unsigned ops)
{
	for (unsigned k = ops > 5 ? ops - 5 : 0; k < ops; k++) {
		char path[64], text[TEXT_SIZE], got[TEXT_SIZE];

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
	char message[TEXT_SIZE];
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

int be_a_machine(const char *dir, unsigned number)
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
