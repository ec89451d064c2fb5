/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What transfer/push.h promises: above all that what another store has of a history is whole at any
 * moment, whatever call fails.
 */
#include "backend/fault.h"
#include "base/thread.h"
#include "format/gcstate.h"
#include "format/key.h"
#include "nosync.h"
#include "transfer/push.h"
#include "transferstand.h"

enum {
	SOME = 40, /* small files of a tree */
	CALLS_MAX = 400, /* of one kind in a push */
};

/* A store that things are pushed to, behind a layer of faults. */
struct other {
	struct store *store;
	struct backend *faults; /* borrowed */
	char *url; /* owned */
};

static struct backend *last_layer;

static struct backend *add_faults(struct backend *inner)
{
	assert_ok(fault_backend_new(inner, &last_layer));
	return last_layer;
}

/* Opens it for a machine that knows nothing of it. */
static void other_open(struct transferstand *s, struct other *x)
{
	static unsigned machines;
	_cleanup_free_ char *state = strf("%s/machine %u", s->scratch.path, machines++);
	struct store_options o = { .threads = 2, .state_dir = state, .layer = add_faults };

	assert_ok(store_open(x->url, &o, &x->store));
	x->faults = last_layer;
}

static struct other other_new(struct transferstand *s)
{
	static unsigned stores;
	struct other x = { .url = strf("%s/other %u", s->scratch.path, stores++) };

	assert_ok(store_init(x.url, false));
	other_open(s, &x);
	return x;
}

static void other_reopen(struct transferstand *s, struct other *x)
{
	store_free(x->store);
	other_open(s, x);
}

static void other_free(struct other *x)
{
	store_free(x->store);
	free(x->url);
}
#define _cleanup_other_ _cleanup_(other_free)

static struct push_result last_result;

static int push_between(struct store *from, struct store *to)
{
	struct push_request q = { .from = from, .to = to, .repo = "r" };
	struct transfer_options o = { .threads = 2 };

	return transfer_push(&q, &o, &last_result);
}

/* Where a branch is; null: nowhere. */
static struct oid branch_of(struct store *s, const struct id128 *repo, const char *branch)
{
	struct refs_wait w = { .may_wait = true, .fresh = true, .deadline = DEADLINE_NEVER };
	_cleanup_ref_ struct ref ref = { 0 };
	struct etag tag;

	if (refs_get(s->refs, repo, REF_BRANCH, branch, &w, &ref, &tag) < 0)
		return (struct oid){ 0 };
	return ref.target;
}

/* Every commit of the other store can be read with all that came before it, to the last byte: for
 * all of it can be pushed on. */
static void assert_whole(struct transferstand *s, struct other *x)
{
	_cleanup_other_ struct other third = other_new(s);
	struct refs_wait w = { .may_wait = true, .fresh = true, .deadline = DEADLINE_NEVER };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	int r;

	other_reopen(s, x);
	r = refs_repo(x->store->refs, "r", &w, &rec);
	if (r == -ENOENT)
		return;
	assert_ok(r);
	assert_ok(push_between(x->store, third.store));
}

static void assert_same_tip(struct transferstand *s, struct other *x)
{
	struct oid here = tip_of(s), there = branch_of(x->store, &s->repo, "main");

	assert_true(oid_equal(&here, &there));
}

/* The object of a commit, and the commit, which borrows it. */
static void load(struct transferstand *s, const struct oid *id, struct buf *object,
		 struct commit *ret)
{
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };

	assert_ok(refs_commit(s->store->refs, &s->repo, id, &w, object));
	assert_ok(commit_read(buf_span(object), id, ret));
}

/* A commit with two parents and the files of the second, which the branch moves to. */
static struct oid merge(struct transferstand *s, const char *branch, const struct oid *first,
			const struct oid *second)
{
	struct backend *b = s->store->backend;
	_cleanup_buf_ struct buf one = { 0 }, two = { 0 }, object = { 0 };
	_cleanup_commit_ struct commit x = { 0 }, c = { 0 };
	struct oid id, now;

	load(s, first, &one, &x);
	load(s, second, &two, &c);
	c.generation = MAX(x.generation, c.generation) + 1;
	c.parent_count = 2;
	c.parents[0] = *first;
	c.parents[1] = *second;
	c.nonce = id128_random();
	assert_ok(commit_write(&c, &object, &id));
	assert_ok(b->ops->put(b, commit_key(&s->repo, &id).s, buf_span(&object), NULL));
	refs_note_commit(s->store->refs, &s->repo, &id, buf_span(&object));
	assert_ok(refs_move_branch(s->store->refs, &s->repo, branch, NULL, first, &id, NULL, &now));
	return id;
}

static struct oid import_to(struct transferstand *s, const char *src, const char *branch)
{
	struct oid id;
	bool is_new;

	assert_ok(import_with(s,
			      (struct import_request){ .src = src, .branch = branch, .path = "" },
			      &id, &is_new));
	return id;
}

/* main and side, which have been merged into each other twice, crosswise. */
static void make_history(struct transferstand *s)
{
	_cleanup_free_ char *src = place_of(s, "src"), *f = place_of(s, "src/f");
	_cleanup_free_ char *large = place_of(s, "src/large");
	_cleanup_free_ uint8_t *bytes = malloc(3 * MiB);
	struct prng r = { 1 };
	struct oid base, a, b, x, y;

	localtree_make(&r, src, SOME);
	prng_fill(&r, bytes, 3 * MiB);
	localtree_write(large, bytes, 3 * MiB);
	base = import_new(s, src, "");
	assert_ok(refs_create_branch(s->store->refs, &s->repo, "side", &base, NULL));
	localtree_write(f, "of main", 7);
	a = import_to(s, src, "main");
	localtree_write(f, "of side", 7);
	bytes[1 * MiB]++;
	localtree_write(large, bytes, 3 * MiB);
	b = import_to(s, src, "side");
	x = merge(s, "main", &a, &b);
	y = merge(s, "side", &b, &a);
	merge(s, "main", &x, &y);
	merge(s, "side", &y, &x);
	assert_ok(refs_create_name(s->store->refs, &s->repo, "named", &a, NULL));
}

static void histories_that_cross_come_over_with_their_ids(void **state)
{
	struct transferstand *s = *state;
	_cleanup_other_ struct other x = other_new(s);
	struct oid here, there;

	make_history(s);
	assert_ok(push_between(s->store, x.store));
	assert_int_equal(last_result.commits, 7);
	assert_same_tip(s, &x);
	here = branch_of(s->store, &s->repo, "side");
	there = branch_of(x.store, &s->repo, "side");
	assert_true(oid_equal(&here, &there));
	assert_whole(s, &x);
	assert_ok(push_between(s->store, x.store));
	assert_int_equal(last_result.commits, 0);
}

/* Lets the @nth call of a kind fail. Was there one? */
static bool fails_at(struct transferstand *s, enum fault_op op, enum fault_kind kind, uint64_t nth)
{
	_cleanup_other_ struct other x = other_new(s);
	struct fault fault = { .op = op,
			       .kind = kind,
			       .nth = nth,
			       .times = 1,
			       .error = op == FAULT_SWAP && kind == FAULT_LOSE_REPLY ? -EINPROGRESS
										     : -EIO };
	struct fault_counts before, after;

	fault_backend_counts(x.faults, &before);
	assert_ok(fault_backend_add(x.faults, &fault));
	/* Some errors are got over, as a lost reply that was looked into. */
	push_between(s->store, x.store);
	fault_backend_counts(x.faults, &after);
	assert_whole(s, &x);
	assert_ok(push_between(s->store, x.store));
	assert_same_tip(s, &x);
	assert_whole(s, &x);
	return after.calls[op] - before.calls[op] >= nth;
}

static void whatever_call_fails_what_is_there_is_whole_and_the_next_push_completes_it(void **state)
{
	static const struct {
		enum fault_op op;
		enum fault_kind kind;
	} kinds[] = {
		{ FAULT_PUT, FAULT_FAIL },	 { FAULT_PUT, FAULT_LOSE_REPLY },
		{ FAULT_PUT_BEGIN, FAULT_FAIL }, { FAULT_PUT_WRITE, FAULT_FAIL },
		{ FAULT_PUT_END, FAULT_FAIL },	 { FAULT_PUT_END, FAULT_LOSE_REPLY },
		{ FAULT_SWAP, FAULT_FAIL },	 { FAULT_SWAP, FAULT_LOSE_REPLY },
		{ FAULT_GET_ALL, FAULT_FAIL },	 { FAULT_LIST, FAULT_FAIL },
	};
	struct transferstand *s = *state;

	make_history(s);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		uint64_t n = 1;

		while (fails_at(s, kinds[i].op, kinds[i].kind, n)) {
			n++;
			assert_true(n < CALLS_MAX);
		}
		assert_true(n > 1); /* there was one to fail */
	}
}

static void what_is_damaged_on_the_way_in_is_found_when_it_is_read(void **state)
{
	struct transferstand *s = *state;
	_cleanup_other_ struct other x = other_new(s), third = other_new(s);
	struct fault flip = { .op = FAULT_PUT_WRITE, .kind = FAULT_FLIP, .at = 5000 };

	make_history(s);
	assert_ok(fault_backend_add(x.faults, &flip));
	assert_ok(push_between(s->store, x.store));
	other_reopen(s, &x);
	assert_int_equal(push_between(x.store, third.store), -EBADMSG);
}

static void write_gc(struct other *x, uint64_t epoch, struct id128 *condemned, uint32_t count)
{
	struct gc_state g = { .epoch = epoch, .condemned = condemned, .condemned_count = count };
	_cleanup_buf_ struct buf bytes = { 0 };
	_cleanup_free_ char *dir = strf("%s/gc", x->url), *path = strf("%s/gc/state", x->url);
	int fd;

	assert_ok(gc_state_write(&g, &bytes));
	mkdir(dir, 0700);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes.data, bytes.len), (ssize_t)bytes.len);
	close(fd);
}

/* The packs of a store, ascending. */
struct packs {
	struct id128 names[16];
	uint32_t count;
};

static int note_pack(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	struct packs *p = ctx;

	assert_true(p->count < ARRAY_SIZE(p->names));
	return pack_key_parse(key, &p->names[p->count++]);
}

/* Another repo there has all of the content, in packs that are to go. */
static struct packs give_content(struct transferstand *s, struct other *x)
{
	struct repo_rec rec = { .chunk = CHUNK_PARAMS_DEFAULT, .default_branch = "main" };
	_cleanup_free_ char *src = place_of(s, "src");
	struct import_request q = { .src = src, .path = "", .repo = "q", .branch = "main" };
	struct transfer_options o = options_of(s);
	struct packs packs = { 0 };
	struct oid id;
	bool is_new;

	assert_ok(refs_create_repo(x->store->refs, "q", &rec, NULL));
	assert_ok(transfer_import(x->store, &q, &o, &id, &is_new));
	assert_ok(x->store->backend->ops->list(x->store->backend, PACK_PREFIX, NULL, note_pack,
					       &packs, NULL));
	assert_true(packs.count > 0);
	return packs;
}

static void remove_packs(struct other *x, const struct packs *packs)
{
	for (uint32_t i = 0; i < packs->count; i++) {
		_cleanup_free_ char *path = strf("%s/%s", x->url, pack_key(&packs->names[i]).s);

		assert_ok(unlink(path));
	}
}

static void what_the_collector_has_condemned_is_not_relied_upon(void **state)
{
	struct transferstand *s = *state;
	_cleanup_other_ struct other x = other_new(s);
	struct packs packs;

	make_history(s);
	packs = give_content(s, &x);
	write_gc(&x, 1, packs.names, packs.count);
	assert_ok(push_between(s->store, x.store));
	remove_packs(&x, &packs);
	assert_whole(s, &x);
}

struct collector {
	struct other *x;
	struct packs *packs;
};

/* Moves on when a commit's object is being written, which waits for that. */
static void *collect(void *arg)
{
	struct collector *c = arg;
	struct fault_counts now;

	do {
		usleep(1000);
		fault_backend_counts(c->x->faults, &now);
	} while (now.calls[FAULT_PUT] == 0);
	write_gc(c->x, 2, c->packs->names, c->packs->count);
	fault_backend_clear(c->x->faults);
	return NULL;
}

static void a_collector_that_moves_meanwhile_is_heeded(void **state)
{
	struct transferstand *s = *state;
	_cleanup_other_ struct other x = other_new(s);
	struct fault wait = {
		.op = FAULT_PUT, .kind = FAULT_DELAY, .prefix = "commits/", .delay_ms = 100 * 1000
	};
	struct packs packs;
	struct collector c = { &x, &packs };
	pthread_t thread;

	make_history(s);
	packs = give_content(s, &x);
	other_reopen(s, &x);
	assert_ok(fault_backend_add(x.faults, &wait));
	assert_ok(thread_start(&thread, "collector", collect, &c));
	assert_ok(push_between(s->store, x.store));
	pthread_join(thread, NULL);
	remove_packs(&x, &packs);
	assert_whole(s, &x);
}

static void a_push_that_is_given_up_says_so(void **state)
{
	struct transferstand *s = *state;
	_cleanup_other_ struct other x = other_new(s);
	struct push_request q = { .from = s->store, .to = x.store, .repo = "r" };
	struct transfer_options o = options_of(s);

	make_history(s);
	s->cancelled = true;
	assert_int_equal(transfer_push(&q, &o, &last_result), -ECANCELED);
	s->cancelled = false;
	assert_ok(transfer_push(&q, &o, &last_result));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, transferstand_set_up, transferstand_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(histories_that_cross_come_over_with_their_ids),
		TEST(whatever_call_fails_what_is_there_is_whole_and_the_next_push_completes_it),
		TEST(what_is_damaged_on_the_way_in_is_found_when_it_is_read),
		TEST(what_the_collector_has_condemned_is_not_relied_upon),
		TEST(a_collector_that_moves_meanwhile_is_heeded),
		TEST(a_push_that_is_given_up_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
