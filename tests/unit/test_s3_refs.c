/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Refs in a bucket behind a network at its worst: a move that was acknowledged stays, one that was
 * refused never was, and what is known is right, or old, or an error. One machine goes through the
 * proxy, another straight to the server.
 */
#include "refs_world.h"
#include "s3stand.h"

enum {
	ENOUGH_MS = 60000,
	SOON_MS = 1500,
	ROUNDS = 150,
};

static const struct oid UNBORN;

struct both {
	struct s3_stand s3;
	struct world w; /* its machine goes through the proxy, its inner backend does not */
	struct machine there; /* straight */
	struct key head; /* main's */
	struct oid theirs; /* what the other machine made last */
	int result; /* of that */
};

static int open_both(void **state)
{
	struct both *b = new0(struct both, 1);

	s3_stand_begin(&b->s3);
	b->w.random.state = 4711;
	b->w.inner = b->s3.straight;
	b->w.backend = b->s3.b;
	machine_open(b->w.backend, &b->w.here);
	machine_open(b->w.inner, &b->there);
	repo_make(b->w.here.refs, "repo", &b->w.repo);
	b->head = head_key(&b->w.repo, "main");
	*state = b;
	return 0;
}

static int close_both(void **state)
{
	struct both *b = *state;

	machine_close(&b->w.here);
	machine_close(&b->there);
	s3_stand_end(&b->s3);
	free(b);
	return 0;
}

static int move(struct both *b, struct machine *m, const struct oid *from, const struct oid *to,
		int64_t ms, struct oid *ret_now)
{
	struct deadline dl = deadline_in_ms(ms);

	return refs_move_branch(m->refs, &b->w.repo, "main", NULL, from, to, &dl, ret_now);
}

/* Where the server has it. */
static struct oid branch_at(struct both *b)
{
	return branch_target(b->there.refs, &b->w.repo, "main");
}

static void assert_branch_is(struct both *b, const struct oid *id)
{
	struct oid at = branch_at(b);

	assert_memory_equal(&at, id, sizeof(at));
}

/* The other machine commits on top of what there is now. */
static void they_commit(void *ctx)
{
	struct both *b = ctx;
	struct oid from = branch_at(b), now;

	b->theirs = commit_make(&b->w, &from, NULL);
	b->result = move(b, &b->there, &from, &b->theirs, ENOUGH_MS, &now);
}

/* What comes to the head's PUTs. */
static void add_to_put(struct both *b, struct proxy_rule r)
{
	r.method = "PUT";
	r.path = "/heads/";
	proxy_add(&b->s3.proxy, r);
}

static unsigned puts_of_head(struct both *b)
{
	return proxy_count(&b->s3.proxy, "PUT", "/heads/");
}

static void a_move_whose_reply_is_lost_is_known_to_be_done(void **state)
{
	for (enum proxy_at at = AT_DELIVERED; at < AT_END; at++) {
		struct both *b;
		struct oid ours, now;
		unsigned before;

		if (at == AT_BODY) /* it has none */
			continue;
		close_both(state);
		open_both(state);
		b = *state;
		before = puts_of_head(b);
		ours = commit_make(&b->w, NULL, NULL);
		add_to_put(b, (struct proxy_rule){ .fault = PROXY_RESET, .at = at });
		assert_ok(move(b, &b->w.here, &UNBORN, &ours, ENOUGH_MS, &now));
		assert_branch_is(b, &ours);
		assert_int_equal(puts_of_head(b), before + 1);
	}
}

static void a_move_that_did_not_get_there_is_made_again(void **state)
{
	for (enum proxy_at at = AT_REQUEST_LINE; at < AT_DELIVERED; at++) {
		struct both *b;
		struct oid ours, now;

		close_both(state);
		open_both(state);
		b = *state;
		ours = commit_make(&b->w, NULL, NULL);
		add_to_put(b, (struct proxy_rule){ .fault = PROXY_RESET, .at = at, .times = 2 });
		assert_ok(move(b, &b->w.here, &UNBORN, &ours, ENOUGH_MS, &now));
		assert_int_equal(proxy_hits(&b->s3.proxy), 2);
		assert_branch_is(b, &ours);
	}
}

static void a_move_whose_reply_is_lost_is_done_also_with_anothers_commit_on_top(void **state)
{
	static const struct proxy_rule faults[] = {
		{ .fault = PROXY_RESET, .at = AT_DELIVERED },
		{ .fault = PROXY_CLOSE, .at = AT_STATUS },
		{ .fault = PROXY_ANSWER_AFTER, .text = "HTTP/1.1 503 X\r\n\r\n" },
		{ .fault = PROXY_ANSWER_AFTER, .text = "HTTP/1.1 504 X\r\n\r\n" },
		/* a proxy that asked twice */
		{ .fault = PROXY_ANSWER_AFTER,
		  .text = "HTTP/1.1 412 X\r\n\r\n<Error><Code>PreconditionFailed</Code></Error>" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		struct proxy_rule r = faults[i];
		struct oid ours, now;
		struct both *b;
		unsigned before;

		close_both(state);
		open_both(state);
		b = *state;
		before = puts_of_head(b);
		ours = commit_make(&b->w, NULL, NULL);
		r.meanwhile = they_commit;
		r.ctx = b;
		add_to_put(b, r);
		assert_ok(move(b, &b->w.here, &UNBORN, &ours, ENOUGH_MS, &now));
		assert_ok(b->result);
		assert_branch_is(b, &b->theirs);
		assert_int_equal(puts_of_head(b), before + 1);
	}
}

static void a_move_that_another_was_before_is_refused(void **state)
{
	struct both *b = *state;
	struct oid ours = commit_make(&b->w, NULL, NULL), now;

	/* it does not get there, and they do */
	add_to_put(b, (struct proxy_rule){ .fault = PROXY_RESET,
					   .at = AT_REQUEST_BODY,
					   .times = 1,
					   .meanwhile = they_commit,
					   .ctx = b });
	assert_int_equal(move(b, &b->w.here, &UNBORN, &ours, ENOUGH_MS, &now), -ESTALE);
	assert_ok(b->result);
	assert_memory_equal(&now, &b->theirs, sizeof(now));
	assert_branch_is(b, &b->theirs);
}

static void a_move_delivered_late_after_it_was_made_again_changes_nothing(void **state)
{
	struct both *b = *state;
	struct oid ours = commit_make(&b->w, NULL, NULL), now;

	add_to_put(b, (struct proxy_rule){ .fault = PROXY_HOLD, .times = 1 });
	assert_ok(move(b, &b->w.here, &UNBORN, &ours, ENOUGH_MS, &now));
	assert_branch_is(b, &ours);
	they_commit(b);
	assert_ok(b->result);
	assert_int_equal(proxy_deliver(&b->s3.proxy), 412);
	assert_branch_is(b, &b->theirs);
}

static void a_move_delivered_after_its_deadline_is_found(void **state)
{
	struct both *b = *state;
	struct oid ours = commit_make(&b->w, NULL, NULL), now;

	add_to_put(b, (struct proxy_rule){ .fault = PROXY_HOLD, .times = 1 });
	proxy_add(&b->s3.proxy, (struct proxy_rule){ .path = "/heads/",
						     .fault = PROXY_RESET,
						     .at = AT_REQUEST_LINE });
	assert_int_equal(move(b, &b->w.here, &UNBORN, &ours, SOON_MS, &now), -EINPROGRESS);
	assert_branch_is(b, &UNBORN);
	assert_int_equal(proxy_deliver(&b->s3.proxy), 200);
	assert_branch_is(b, &ours);
	/* who made it comes back, and makes it again */
	proxy_clear(&b->s3.proxy);
	machine_restart(b->w.backend, &b->w.here);
	assert_ok(move(b, &b->w.here, &UNBORN, &ours, ENOUGH_MS, &now));
	assert_branch_is(b, &ours);
}

static void a_move_delivered_after_others_came_changes_nothing(void **state)
{
	struct both *b = *state;
	struct oid ours = commit_make(&b->w, NULL, NULL), now;

	add_to_put(b, (struct proxy_rule){ .fault = PROXY_HOLD, .times = 1 });
	proxy_add(&b->s3.proxy, (struct proxy_rule){ .path = "/heads/",
						     .fault = PROXY_RESET,
						     .at = AT_REQUEST_LINE });
	assert_int_equal(move(b, &b->w.here, &UNBORN, &ours, SOON_MS, &now), -EINPROGRESS);
	they_commit(b);
	assert_ok(b->result);
	assert_int_equal(proxy_deliver(&b->s3.proxy), 412);
	assert_branch_is(b, &b->theirs);
	proxy_clear(&b->s3.proxy);
	assert_int_equal(move(b, &b->w.here, &UNBORN, &ours, ENOUGH_MS, &now), -ESTALE);
	assert_memory_equal(&now, &b->theirs, sizeof(now));
}

/* What the server says of the branch now, to who knows nothing. */
static void keep_answer(struct both *b)
{
	struct machine stranger;

	machine_open(b->w.backend, &stranger);
	proxy_clear(&b->s3.proxy);
	proxy_add(&b->s3.proxy,
		  (struct proxy_rule){
			  .method = "GET", .path = "/heads/", .fault = PROXY_KEEP, .times = 1 });
	branch_target(stranger.refs, &b->w.repo, "main");
	assert_int_equal(proxy_hits(&b->s3.proxy), 1);
	proxy_clear(&b->s3.proxy);
	machine_close(&stranger);
}

static void an_old_answer_makes_nobody_overwrite(void **state)
{
	struct both *b = *state;
	struct oid first = commit_make(&b->w, NULL, NULL), ours, now;

	assert_ok(move(b, &b->w.here, &UNBORN, &first, ENOUGH_MS, &now));
	keep_answer(b);
	they_commit(b);
	assert_ok(b->result);
	/* with tag and all, to who asks what there is */
	proxy_add(&b->s3.proxy,
		  (struct proxy_rule){
			  .method = "GET", .path = "/heads/", .fault = PROXY_REPLAY, .times = 3 });
	ours = commit_make(&b->w, &first, NULL);
	assert_int_equal(move(b, &b->w.here, &first, &ours, ENOUGH_MS, &now), -ESTALE);
	assert_memory_equal(&now, &b->theirs, sizeof(now));
	assert_branch_is(b, &b->theirs);
}

static void what_was_altered_on_the_way_is_not_believed(void **state)
{
	static const struct proxy_rule lies[] = {
		{ .fault = PROXY_FLIP, .n = 0 },
		{ .fault = PROXY_FLIP, .n = 20 },
		{ .fault = PROXY_FLIP, .n = 60 },
		{ .fault = PROXY_FLIP, .n = 200 },
		{ .fault = PROXY_FLIP, .n = 1000 },
		{ .fault = PROXY_LENGTH, .n = -1 },
		{ .fault = PROXY_LENGTH, .n = -500 },
		{ .fault = PROXY_ANSWER, .text = "HTTP/1.1 200 OK\r\nETag: \"x\"\r\n\r\n" },
		{ .fault = PROXY_ANSWER, .text = "HTTP/1.1 200 OK\r\nETag: \"x\"\r\n\r\n<html>" },
		{ .fault = PROXY_ANSWER, .text = "HTTP/1.1 206 OK\r\nETag: \"x\"\r\n\r\n<html>" },
		{ .fault = PROXY_HEADER, .text = "ETag: " },
		{ .fault = PROXY_HEADER, .text = "ETag: a b" },
	};
	struct both *b = *state;
	struct oid ours = commit_make(&b->w, NULL, NULL), now;

	assert_ok(move(b, &b->w.here, &UNBORN, &ours, ENOUGH_MS, &now));
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		_cleanup_ref_ struct ref ref = { 0 };
		struct proxy_rule lie = lies[i];
		struct refs_wait w = FRESH;
		struct machine stranger;
		int r;

		machine_open(b->w.backend, &stranger);
		w.deadline = deadline_in_ms(SOON_MS);
		lie.method = "GET";
		lie.path = "/heads/";
		proxy_clear(&b->s3.proxy);
		proxy_add(&b->s3.proxy, lie);
		r = refs_get(stranger.refs, &b->w.repo, REF_BRANCH, "main", &w, &ref, NULL);
		if (r == 0 || r == -ENOENT)
			fail_msg("lie %zu: %d", i, r);
		assert_true(proxy_hits(&b->s3.proxy) > 0);
		proxy_clear(&b->s3.proxy);
		machine_close(&stranger);
	}
}

static void a_branchs_bytes_are_not_taken_for_a_names(void **state)
{
	struct both *b = *state;
	struct oid ours = commit_make(&b->w, NULL, NULL), now;
	_cleanup_ref_ struct ref ref = { 0 };
	struct refs_wait w = FRESH;
	struct machine stranger;
	int r;

	assert_ok(move(b, &b->w.here, &UNBORN, &ours, ENOUGH_MS, &now));
	assert_ok(refs_create_name(b->w.here.refs, &b->w.repo, "n", &ours, NULL));
	keep_answer(b);
	machine_open(b->w.backend, &stranger);
	/* a branch's where a name's should be */
	proxy_add(&b->s3.proxy,
		  (struct proxy_rule){ .method = "GET", .path = "/names/", .fault = PROXY_REPLAY });
	w.deadline = deadline_in_ms(SOON_MS);
	r = refs_get(stranger.refs, &b->w.repo, REF_NAME, "n", &w, &ref, NULL);
	assert_true(r < 0 && r != -ENOENT);
	machine_close(&stranger);
}

static void a_name_whose_reply_is_lost_is_made_once(void **state)
{
	struct both *b = *state;
	struct oid ours = commit_make(&b->w, NULL, NULL);
	struct deadline dl = deadline_in_ms(ENOUGH_MS);
	unsigned puts;

	proxy_add(&b->s3.proxy, (struct proxy_rule){ .method = "PUT",
						     .path = "/names/",
						     .fault = PROXY_RESET,
						     .at = AT_DELIVERED });
	assert_ok(refs_create_name(b->w.here.refs, &b->w.repo, "n", &ours, &dl));
	puts = proxy_count(&b->s3.proxy, "PUT", "/names/");
	assert_int_equal(puts, 1);
	assert_true(is_live(b->there.refs, &b->w.repo, REF_NAME, "n"));
	/* again, by who did not hear of it */
	proxy_clear(&b->s3.proxy);
	machine_restart(b->w.backend, &b->w.here);
	assert_ok(refs_create_name(b->w.here.refs, &b->w.repo, "n", &ours, &dl));
}

static void a_listing_that_drops_names_forgets_none(void **state)
{
	struct both *b = *state;
	struct oid c = commit_make(&b->w, NULL, NULL);
	struct refs *r = b->w.here.refs;

	/* an old one, without it */
	proxy_add(&b->s3.proxy, (struct proxy_rule){ .path = "list-type=2", .fault = PROXY_KEEP });
	assert_listed(r, &b->w.repo, REF_BRANCH, &FRESH, "main ");
	proxy_clear(&b->s3.proxy);
	assert_ok(refs_create_branch(r, &b->w.repo, "b", &c, NULL));
	assert_listed(r, &b->w.repo, REF_BRANCH, &FRESH, "b main ");
	proxy_add(&b->s3.proxy,
		  (struct proxy_rule){ .path = "list-type=2", .fault = PROXY_REPLAY });
	assert_true(is_live(r, &b->w.repo, REF_BRANCH, "b"));
	assert_listed(r, &b->w.repo, REF_BRANCH, &FRESH, "b main ");
	proxy_clear(&b->s3.proxy);
	assert_listed(r, &b->w.repo, REF_BRANCH, &FRESH, "b main ");
}

/* What befalls a round. */
static struct proxy_rule any_fault(struct prng *p)
{
	static const struct proxy_rule all[] = {
		{ .fault = PROXY_NONE },
		{ .fault = PROXY_RESET },
		{ .fault = PROXY_CLOSE },
		{ .fault = PROXY_ANSWER, .text = "HTTP/1.1 503 X\r\n\r\n" },
		{ .fault = PROXY_ANSWER_AFTER, .text = "HTTP/1.1 500 X\r\n\r\n" },
		{ .fault = PROXY_HOLD },
	};
	struct proxy_rule r = all[prng_below(p, ARRAY_SIZE(all))];

	r.at = (enum proxy_at)prng_below(p, AT_END);
	if (r.at == AT_BODY)
		r.at = AT_DELIVERED;
	r.times = 1 + (unsigned)prng_below(p, 2);
	r.skip = (unsigned)prng_below(p, 2);
	return r;
}

static void whatever_happens_what_was_acknowledged_is_there_and_what_was_refused_is_not(
	void **state)
{
	struct both *b = *state;
	struct prng *p = &b->w.random;
	struct oid acknowledged[ROUNDS], refused[ROUNDS], at;
	size_t done = 0, lost = 0;

	for (int i = 0; i < ROUNDS; i++) {
		struct oid from = branch_at(b), ours = commit_make(&b->w, &from, NULL), now;
		struct proxy_rule r = any_fault(p);
		int e;

		if (prng_below(p, 3) == 0) {
			r.meanwhile = they_commit;
			r.ctx = b;
		}
		proxy_clear(&b->s3.proxy);
		add_to_put(b, r);
		e = move(b, &b->w.here, &from, &ours, ENOUGH_MS, &now);
		if (e == 0)
			acknowledged[done++] = ours;
		else if (e == -ESTALE)
			refused[lost++] = ours;
		else
			fail_msg("round %d: %d: %s", i, e, complaint());
		if (prng_below(p, 2) == 0)
			proxy_deliver(&b->s3.proxy);
	}
	proxy_clear(&b->s3.proxy);
	proxy_deliver(&b->s3.proxy);
	at = branch_at(b);
	for (size_t i = 0; i < done; i++)
		assert_int_equal(
			refs_is_ancestor(b->there.refs, &b->w.repo, &acknowledged[i], &at, &FRESH),
			1);
	for (size_t i = 0; i < lost; i++)
		assert_int_equal(
			refs_is_ancestor(b->there.refs, &b->w.repo, &refused[i], &at, &FRESH), 0);
	/* else this was about nothing */
	assert_true(done > ROUNDS / 4 && lost > ROUNDS / 50);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_both, close_both)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_move_whose_reply_is_lost_is_known_to_be_done),
		TEST(a_move_that_did_not_get_there_is_made_again),
		TEST(a_move_whose_reply_is_lost_is_done_also_with_anothers_commit_on_top),
		TEST(a_move_that_another_was_before_is_refused),
		TEST(a_move_delivered_late_after_it_was_made_again_changes_nothing),
		TEST(a_move_delivered_after_its_deadline_is_found),
		TEST(a_move_delivered_after_others_came_changes_nothing),
		TEST(an_old_answer_makes_nobody_overwrite),
		TEST(what_was_altered_on_the_way_is_not_believed),
		TEST(a_branchs_bytes_are_not_taken_for_a_names),
		TEST(a_name_whose_reply_is_lost_is_made_once),
		TEST(a_listing_that_drops_names_forgets_none),
		TEST(whatever_happens_what_was_acknowledged_is_there_and_what_was_refused_is_not),
	};

	if (!s3_stand_is_possible())
		return SKIPPED;
	log_set_quiet(true);
	log_set_level(LOG_LEVEL_ERROR - 1); /* refs has threads of its own */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
