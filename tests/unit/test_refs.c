/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is known of refs is no older than it may be, a store that hangs holds nobody up who has an
 * old answer, and paths' second parts mean what they should. How refs change is test_refs_change.c.
 */
#include "meddler.h"
#include "refs_world.h"

static void a_new_repo_has_an_unborn_default_branch(void **state)
{
	struct world *w = *state;
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	_cleanup_ref_ struct ref ref = { 0 };
	struct etag tag;
	struct text t = { "" };

	assert_ok(refs_repo(w->here.refs, "repo", &FRESH, &rec));
	assert_string_equal(rec.default_branch, "main");
	assert_string_equal(rec.writer, "ann@lab");
	assert_int_equal(rec.seq, 1);
	assert_true(rec.created.sec > 0);
	assert_ok(refs_get(w->here.refs, &rec.id, REF_BRANCH, "main", &FRESH, &ref, &tag));
	assert_true(oid_is_null(&ref.target));
	assert_true(tag.s[0] != '\0');
	assert_ok(refs_list_repos(w->here.refs, &FRESH, text_add, &t));
	assert_string_equal(t.s, "repo ");
	assert_listed(w->here.refs, &rec.id, REF_BRANCH, &FRESH, "main ");
	assert_listed(w->here.refs, &rec.id, REF_NAME, &FRESH, "");
}

static void what_is_not_there_is_not_found(void **state)
{
	struct world *w = *state;
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	_cleanup_ref_ struct ref ref = { 0 };
	_cleanup_buf_ struct buf b = { 0 };
	struct refs *r = w->here.refs;
	struct oid id = sample_oid(&w->random);

	assert_int_equal(refs_repo(r, "other", &FRESH, &rec), -ENOENT);
	assert_int_equal(refs_repo(r, "../repo", &FRESH, &rec), -ENOENT);
	assert_int_equal(refs_get(r, &w->repo, REF_BRANCH, "x", &FRESH, &ref, NULL), -ENOENT);
	assert_int_equal(refs_get(r, &w->repo, REF_NAME, "main", &FRESH, &ref, NULL), -ENOENT);
	assert_int_equal(refs_get(r, &w->repo, REF_NAME, "", &FRESH, &ref, NULL), -ENOENT);
	assert_int_equal(refs_commit(r, &w->repo, &id, &FRESH, &b), -ENOENT);
}

static void own_changes_are_known_at_once(void **state)
{
	struct world *w = *state;
	struct oid c = commit_make(w, NULL, NULL);
	struct refs *r = w->here.refs;
	struct oid now;

	assert_listed(r, &w->repo, REF_BRANCH, &FRESH, "main ");
	assert_listed(r, &w->repo, REF_NAME, &FRESH, "");
	assert_ok(refs_move_branch(r, &w->repo, "main", NULL, &(struct oid){ 0 }, &c, NULL, &now));
	assert_ok(refs_create_branch(r, &w->repo, "b", &c, NULL));
	assert_ok(refs_create_branch(r, &w->repo, "z", &c, NULL));
	assert_ok(refs_create_name(r, &w->repo, "n", &c, NULL));
	assert_ok(refs_remove_branch(r, &w->repo, "z", NULL));
	/* From here on the store does not answer. */
	fault_add(w, (struct fault){ .op = FAULT_LIST, .kind = FAULT_FAIL, .error = -EIO });
	fault_add(w, (struct fault){ .op = FAULT_GET_ALL, .kind = FAULT_FAIL, .error = -EIO });
	assert_listed(r, &w->repo, REF_BRANCH, &KNOWN, "b main ");
	assert_listed(r, &w->repo, REF_NAME, &KNOWN, "n ");
}

/* Makes a branch, and moves another, while a look's answer is on its way. */
struct busy {
	struct world *world;
	struct refs *refs;
	struct oid first, second;
	int results[3];
	atomic_bool is_done;
};

static void change_meanwhile(const char *key, void *ctx)
{
	struct busy *b = ctx;
	struct oid now;

	b->results[0] = refs_create_branch(b->refs, &b->world->repo, "b", &b->first, NULL);
	b->results[1] = refs_remove_branch(b->refs, &b->world->repo, "z", NULL);
	b->results[2] = refs_move_branch(b->refs, &b->world->repo, "main", NULL, &b->first,
					 &b->second, NULL, &now);
	b->is_done = true;
}

static void a_change_survives_a_look_that_began_before_it(void **state)
{
	struct world *w = *state;
	struct meddler m = meddler_over(w->backend);
	struct refs *r = refs_open(&m.base, w->here.index, 3600000, false);
	struct busy busy = { .world = w, .refs = r };
	struct oid now;

	for (int look_at_main = 0; look_at_main < 2; look_at_main++) {
		_cleanup_ref_ struct ref ref = { 0 };
		struct key main = head_key(&w->repo, "main"), heads = head_prefix(&w->repo);
		struct text t = { "" };

		busy.first = commit_make(w, NULL, NULL);
		busy.second = commit_make(w, &busy.first, NULL);
		assert_ok(refs_create_branch(r, &w->repo, "z", &busy.first, NULL));
		assert_listed(r, &w->repo, REF_BRANCH, &FRESH, "main z ");
		now = branch_target(r, &w->repo, "main");
		assert_true(oid_is_null(&now));
		/* What the look finds is new, but not the latest. */
		assert_ok(refs_create_branch(w->here.refs, &w->repo, "o", &busy.first, NULL));
		assert_ok(refs_move_branch(w->here.refs, &w->repo, "main", NULL, &now, &busy.first,
					   NULL, &now));
		m.after_look = change_meanwhile;
		m.prefix = look_at_main ? main.s : heads.s;
		m.ctx = &busy;
		m.left = 1;
		busy.is_done = false;
		if (look_at_main)
			assert_ok(refs_get(r, &w->repo, REF_BRANCH, "main", &FRESH, &ref, NULL));
		else
			assert_ok(refs_list(r, &w->repo, REF_BRANCH, &FRESH, text_add, &t));
		while (!busy.is_done)
			usleep(1000);
		usleep(20000); /* then the look ends */
		for (int i = 0; i < 3; i++)
			assert_ok(busy.results[i]);
		m.after_look = NULL;
		assert_listed(r, &w->repo, REF_BRANCH, &KNOWN,
			      look_at_main ? "b main " : "b main o ");
		ref_release(&ref);
		assert_ok(refs_get(r, &w->repo, REF_BRANCH, "main", &KNOWN, &ref, NULL));
		assert_memory_equal(&ref.target, &busy.second, sizeof(ref.target));

		/* Back to the start, in another repo. */
		repo_make(r, look_at_main ? "r3" : "r2", &w->repo);
	}
	refs_free(r);
}

/* Whether a listing of branches comes to be this, when the refresh time is over and a look ends. */
static bool lists_soon(struct refs *r, const struct id128 *repo, const char *names)
{
	int64_t start = now_ns();

	for (;;) {
		struct text t = { "" };

		assert_ok(refs_list(r, repo, REF_BRANCH, &KNOWN, text_add, &t));
		if (strcmp(t.s, names) == 0)
			return true;
		if (since(start) > PATIENT_MS)
			return false;
		usleep(REFRESH_MS * 1000);
	}
}

static void others_changes_are_seen_within_the_refresh_time(void **state)
{
	struct world *w = *state;
	struct machine m;
	struct oid c = commit_make(w, NULL, NULL);

	machine_open(w->backend, &m);
	assert_listed(m.refs, &w->repo, REF_BRANCH, &KNOWN, "main ");
	assert_false(is_live(m.refs, &w->repo, REF_BRANCH, "b"));
	assert_ok(refs_create_branch(w->here.refs, &w->repo, "b", &c, NULL));
	assert_listed(m.refs, &w->repo, REF_BRANCH, &FRESH, "b main ");
	assert_ok(refs_remove_branch(w->here.refs, &w->repo, "b", NULL));
	assert_true(lists_soon(m.refs, &w->repo, "main "));
	machine_close(&m);
}

static void a_fresh_answer_costs_no_look(void **state)
{
	struct world *w = *state;
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct fault_counts counts;
	int64_t start = now_ns();

	assert_ok(refs_repo(w->here.refs, "repo", &FRESH, &rec));
	fault_backend_reset_counts(w->backend);
	for (int i = 0; i < 100; i++) {
		repo_rec_release(&rec);
		assert_ok(refs_repo(w->here.refs, "repo", &KNOWN, &rec));
	}
	fault_backend_counts(w->backend, &counts);
	assert_in_range(counts.calls[FAULT_GET_ALL], 0, looks_since(start));
}

static void a_store_that_hangs_costs_a_moment_once(void **state)
{
	struct world *w = *state;
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct refs *r = w->here.refs;
	int64_t start;

	assert_ok(refs_repo(r, "repo", &FRESH, &rec));
	assert_listed(r, &w->repo, REF_BRANCH, &FRESH, "main ");
	usleep(REFRESH_MS * 2000);
	fault_add(w, (struct fault){ .op = FAULT_LIST, .kind = FAULT_DELAY, .delay_ms = 60000 });
	fault_add(w, (struct fault){ .op = FAULT_GET_ALL, .kind = FAULT_DELAY, .delay_ms = 60000 });
	start = now_ns();
	assert_listed(r, &w->repo, REF_BRANCH, &KNOWN, "main ");
	assert_in_range(since(start), REFS_PATIENCE_MS - 10, 2000);
	/* Patience is for the look, not for each who asks. */
	start = now_ns();
	for (int i = 0; i < 100; i++)
		assert_listed(r, &w->repo, REF_BRANCH, &KNOWN, "main ");
	assert_in_range(since(start), 0, 50 * REFS_PATIENCE_MS);
	/* What was never known is waited for, until the deadline. */
	start = now_ns();
	assert_int_equal(
		refs_repo(r, "other", &(struct refs_wait){ true, false, deadline_in_ms(60) }, &rec),
		-ETIME);
	assert_in_range(since(start), 50, 3000);
	assert_int_equal(
		refs_repo(r, "repo", &(struct refs_wait){ true, true, deadline_in_ms(60) }, &rec),
		-ETIME);
	fault_backend_clear(w->backend);
}

static void who_must_not_wait_gets_an_answer_or_is_told_to_come_again(void **state)
{
	struct world *w = *state;
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct refs *r = w->here.refs;

	assert_int_equal(refs_repo(r, "other", &AT_ONCE, &rec), -EAGAIN);
	assert_ok(refs_repo(r, "repo", &FRESH, &rec));
	repo_rec_release(&rec);
	usleep(REFRESH_MS * 2000);
	fault_add(w, (struct fault){ .op = FAULT_GET_ALL, .kind = FAULT_DELAY, .delay_ms = 60000 });
	/* Old: whoever may wait should, until patience is spent; then the old answer does. */
	assert_int_equal(refs_repo(r, "repo", &AT_ONCE, &rec), -EAGAIN);
	usleep((REFS_PATIENCE_MS + 10) * 1000);
	assert_ok(refs_repo(r, "repo", &AT_ONCE, &rec));
	fault_backend_clear(w->backend);
}

static void a_caller_who_gives_up_is_let_go(void **state)
{
	struct world *w = *state;
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	atomic_bool cancelled = true;
	struct refs_wait wait = { true, false, { INT64_MAX, &cancelled } };

	fault_add(w, (struct fault){ .op = FAULT_GET_ALL, .kind = FAULT_DELAY, .delay_ms = 60000 });
	assert_int_equal(refs_repo(w->here.refs, "other", &wait, &rec), -ECANCELED);
	fault_backend_clear(w->backend);
}

static void a_failing_store_is_not_asked_over_and_over(void **state)
{
	struct world *w = *state;
	struct fault_counts counts;
	int64_t start = now_ns();

	assert_listed(w->here.refs, &w->repo, REF_BRANCH, &FRESH, "main ");
	usleep(REFRESH_MS * 2000);
	fault_add(w, (struct fault){ .op = FAULT_LIST, .kind = FAULT_FAIL, .error = -EIO });
	fault_backend_reset_counts(w->backend);
	for (int i = 0; i < 200; i++)
		assert_listed(w->here.refs, &w->repo, REF_BRANCH, &KNOWN, "main ");
	fault_backend_counts(w->backend, &counts);
	assert_in_range(counts.calls[FAULT_LIST], 1, looks_since(start));
}

static void a_new_process_starts_without_the_store(void **state)
{
	struct world *w = *state;
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	_cleanup_buf_ struct buf b = { 0 };
	struct oid c = commit_make(w, NULL, NULL), now;
	struct text t = { "" };

	assert_ok(refs_move_branch(w->here.refs, &w->repo, "main", NULL, &(struct oid){ 0 }, &c,
				   NULL, &now));
	assert_listed(w->here.refs, &w->repo, REF_BRANCH, &FRESH, "main ");
	assert_ok(refs_list_repos(w->here.refs, &FRESH, text_add, &t));
	assert_ok(refs_list_commits(w->here.refs, &w->repo, &FRESH, text_add, &t));
	fault_add(w, (struct fault){ .op = FAULT_LIST, .kind = FAULT_DELAY, .delay_ms = 60000 });
	fault_add(w, (struct fault){ .op = FAULT_GET_ALL, .kind = FAULT_DELAY, .delay_ms = 60000 });
	machine_restart(w->backend, &w->here);

	assert_ok(refs_repo(w->here.refs, "repo", &KNOWN, &rec));
	assert_listed(w->here.refs, &rec.id, REF_BRANCH, &KNOWN, "main ");
	t.s[0] = '\0';
	assert_ok(refs_list_repos(w->here.refs, &KNOWN, text_add, &t));
	assert_string_equal(t.s, "repo ");
	t.s[0] = '\0';
	assert_ok(refs_list_commits(w->here.refs, &rec.id, &KNOWN, text_add, &t));
	assert_int_equal(strlen(t.s), 65);
	assert_ok(refs_commit(w->here.refs, &rec.id, &c, &AT_ONCE, &b));
	fault_backend_clear(w->backend);
}

static void a_new_process_knows_what_the_former_one_made(void **state)
{
	struct world *w = *state;
	static const struct oid unborn;

	assert_listed(w->here.refs, &w->repo, REF_BRANCH, &FRESH, "main ");
	assert_ok(refs_create_branch(w->here.refs, &w->repo, "b", &unborn, NULL));
	/* The store says what we know by then. */
	assert_listed(w->here.refs, &w->repo, REF_BRANCH, &FRESH, "b main ");
	fault_add(w, (struct fault){ .op = FAULT_LIST, .kind = FAULT_DELAY, .delay_ms = 60000 });
	machine_restart(w->backend, &w->here);
	assert_listed(w->here.refs, &w->repo, REF_BRANCH, &KNOWN, "b main ");
	fault_backend_clear(w->backend);
}

static void a_listing_kept_by_a_process_that_was_killed_has_what_it_made(void **state)
{
	struct world *w = *state;
	static const struct oid unborn;
	struct refs *next;

	assert_listed(w->here.refs, &w->repo, REF_BRANCH, &FRESH, "main ");
	assert_ok(refs_create_branch(w->here.refs, &w->repo, "b", &unborn, NULL));
	fault_add(w, (struct fault){ .op = FAULT_LIST, .kind = FAULT_FAIL, .error = -EIO });
	next = refs_of(w->backend, w->here.index);
	assert_listed(next, &w->repo, REF_BRANCH, &KNOWN, "b main ");
	refs_free(next);
	fault_backend_clear(w->backend);
	/* So has one that this process has never looked at. */
	next = refs_of(w->backend, w->here.index);
	assert_ok(refs_create_branch(next, &w->repo, "c", &unborn, NULL));
	assert_ok(refs_remove_branch(next, &w->repo, "b", NULL));
	fault_add(w, (struct fault){ .op = FAULT_LIST, .kind = FAULT_FAIL, .error = -EIO });
	assert_listed(next, &w->repo, REF_BRANCH, &KNOWN, "c main ");
	refs_free(next);
	next = refs_of(w->backend, w->here.index);
	assert_listed(next, &w->repo, REF_BRANCH, &KNOWN, "c main ");
	refs_free(next);
	fault_backend_clear(w->backend);
}

/* That there is no branch of that name was known to the former process alone. */
static void a_new_process_finds_a_name_that_was_known_without_the_store(void **state)
{
	struct world *w = *state;
	struct oid c = commit_make(w, NULL, NULL);
	struct resolved to;

	assert_ok(refs_create_name(w->here.refs, &w->repo, "n", &c, NULL));
	fault_add(w, (struct fault){ .op = FAULT_GET_ALL, .kind = FAULT_FAIL, .error = -EIO });
	machine_restart(w->backend, &w->here);
	assert_ok(refs_resolve(w->here.refs, &w->repo, "n", &KNOWN, &to));
	assert_true(oid_equal(&to.commit, &c) && !to.is_branch);
	assert_int_equal(refs_resolve(w->here.refs, &w->repo, "n", &FRESH, &to), -EIO);
	assert_int_equal(refs_resolve(w->here.refs, &w->repo, "m", &KNOWN, &to), -EIO);
	fault_backend_clear(w->backend);
	/* A store that hangs is not waited for. */
	fault_add(w, (struct fault){ .op = FAULT_GET_ALL, .kind = FAULT_DELAY, .delay_ms = 60000 });
	machine_restart(w->backend, &w->here);
	assert_ok(refs_resolve(w->here.refs, &w->repo, "n", &KNOWN, &to));
	assert_true(oid_equal(&to.commit, &c) && !to.is_branch);
	fault_backend_clear(w->backend);
}

static int count_names(const char *name, void *ctx)
{
	unsigned *n = ctx;

	(*n)++;
	return 0;
}

static void a_long_listing_is_kept_at_the_end_and_never_without_what_was_made(void **state)
{
	struct world *w = *state;
	static const uint8_t live[REF_LIVE_MIN] = "not to be read";
	struct oid c = commit_make(w, NULL, NULL);
	struct refs *next;
	unsigned n = 0;
	int r;

	for (unsigned i = 0; i < 1000; i++) {
		char name[OBJECT_NAME_MAX + 1];

		snprintf(name, sizeof(name), "%0*u", OBJECT_NAME_MAX, i);
		assert_ok(w->inner->ops->put(w->inner, name_key(&w->repo, name).s,
					     span_of(live, sizeof(live)), NULL));
	}
	assert_ok(refs_list(w->here.refs, &w->repo, REF_NAME, &FRESH, count_names, &n));
	assert_int_equal(n, 1000);
	assert_ok(refs_create_name(w->here.refs, &w->repo, "new", &c, NULL));
	fault_add(w, (struct fault){ .op = FAULT_LIST, .kind = FAULT_FAIL, .error = -EIO });
	next = refs_of(w->backend, w->here.index);
	n = 0;
	r = refs_list(next, &w->repo, REF_NAME, &KNOWN, count_names, &n);
	/* The look may have been about to keep it. */
	assert_true(r == -EIO || (r == 0 && n == 1001));
	refs_free(next);
	machine_restart(w->backend, &w->here);
	n = 0;
	assert_ok(refs_list(w->here.refs, &w->repo, REF_NAME, &KNOWN, count_names, &n));
	assert_int_equal(n, 1001);
	fault_backend_clear(w->backend);
}

static void a_commit_that_came_with_its_branch_is_not_fetched(void **state)
{
	struct world *w = *state;
	_cleanup_buf_ struct buf b = { 0 };
	struct oid c = commit_make(w, NULL, NULL), now;
	struct fault_counts counts;
	struct machine m;

	assert_ok(refs_move_branch(w->here.refs, &w->repo, "main", NULL, &(struct oid){ 0 }, &c,
				   NULL, &now));
	machine_open(w->backend, &m);
	branch_target(m.refs, &w->repo, "main");
	fault_backend_reset_counts(w->backend);
	assert_ok(refs_commit(m.refs, &w->repo, &c, &KNOWN, &b));
	fault_backend_counts(w->backend, &counts);
	assert_int_equal(counts.calls[FAULT_GET_ALL], 0);
	machine_close(&m);
}

static void a_damaged_ref_is_refused_and_the_old_one_stays_known(void **state)
{
	struct world *w = *state;
	_cleanup_ref_ struct ref ref = { 0 };
	struct refs *r = w->here.refs;

	log_set_level(LOG_LEVEL_WARNING - 2);
	assert_ok(refs_get(r, &w->repo, REF_BRANCH, "main", &FRESH, &ref, NULL));
	fault_add(w, (struct fault){ .op = FAULT_GET_ALL, .kind = FAULT_FLIP, .at = 30 });
	/* Another tag, so that it is read at all. */
	{
		struct machine m;
		struct oid c = commit_make(w, NULL, NULL), now;

		machine_open(w->inner, &m);
		assert_ok(refs_move_branch(m.refs, &w->repo, "main", NULL, &(struct oid){ 0 }, &c,
					   NULL, &now));
		machine_close(&m);
	}
	ref_release(&ref);
	assert_int_equal(refs_get(r, &w->repo, REF_BRANCH, "main", &FRESH, &ref, NULL), -EBADMSG);
	ref_release(&ref);
	assert_ok(refs_get(r, &w->repo, REF_BRANCH, "main", &KNOWN, &ref, NULL));
	assert_true(oid_is_null(&ref.target));
}

static void assert_resolves(struct world *w, const char *text, bool is_branch,
			    const struct oid *commit)
{
	struct resolved r = { 0 };

	if (refs_resolve(w->here.refs, &w->repo, text, &FRESH, &r) != 0)
		fail_msg("%s does not resolve", text);
	assert_int_equal(r.is_branch, is_branch);
	assert_memory_equal(&r.commit, commit, sizeof(*commit));
}

static int resolve_error(struct world *w, const char *text)
{
	struct resolved r;

	return refs_resolve(w->here.refs, &w->repo, text, &FRESH, &r);
}

static void a_branch_comes_before_a_name_and_a_name_before_an_id(void **state)
{
	struct world *w = *state;
	struct refs *r = w->here.refs;
	struct oid a = commit_make(w, NULL, NULL), b = commit_make(w, &a, NULL);
	char hex[OID_HEX], upper[OID_HEX];

	assert_ok(refs_create_branch(r, &w->repo, "work", &a, NULL));
	assert_ok(refs_create_name(r, &w->repo, "v1.0", &b, NULL));
	assert_ok(refs_create_name(r, &w->repo, "20260115", &b, NULL));
	assert_resolves(w, "work", true, &a);
	assert_resolves(w, "main", true, &(struct oid){ 0 });
	assert_resolves(w, "v1.0", false, &b);
	assert_resolves(w, "main@v1.0", false, &b);
	assert_resolves(w, "20260115", false, &b);
	assert_resolves(w, oid_hex(&a, hex), false, &a);
	for (int i = 0; i < OID_HEX; i++)
		upper[i] = (char)(hex[i] >= 'a' ? hex[i] - 32 : hex[i]);
	assert_resolves(w, upper, false, &a);
	assert_int_equal(resolve_error(w, "no-such"), -ENOENT);
	assert_int_equal(resolve_error(w, "main@work"), -ENOENT);
	assert_int_equal(resolve_error(w, "main@"), -ENOENT);
	assert_int_equal(resolve_error(w, "@v1.0"), -ENOENT);
	assert_int_equal(resolve_error(w, "a@b@c"), -ENOENT);
	assert_int_equal(resolve_error(w, ""), -ENOENT);
	assert_int_equal(resolve_error(w, "commits"), -ENOENT);
	oid_hex(&a, hex);
	hex[0] = hex[0] == 'a' ? 'b' : 'a';
	assert_int_equal(resolve_error(w, hex), -ENOENT);
}

/* Stores something under an id of our choice, as far as listings can tell. */
static void commit_fake(struct world *w, const char *hex64)
{
	struct oid id;

	assert_ok(oid_parse(span_str(hex64), &id));
	assert_ok(w->inner->ops->put(w->inner, commit_key(&w->repo, &id).s, span_str("x"), NULL));
}

static void prefixes_of_eight_digits_with_a_letter_name_commits(void **state)
{
	struct world *w = *state;
	struct oid one, other;

#define TAIL "0000000000000000000000000000000000000000000000000000"
	commit_fake(w, "12345678a000" TAIL);
	commit_fake(w, "12345678b000" TAIL);
	commit_fake(w, "c0ffee000000" TAIL);
	assert_ok(oid_parse(span_str("12345678a000" TAIL), &one));
	assert_ok(oid_parse(span_str("c0ffee000000" TAIL), &other));
	assert_resolves(w, "c0ffee00", false, &other);
	assert_resolves(w, "C0FFEE00", false, &other);
	assert_resolves(w, "12345678a", false, &one);
	assert_int_equal(resolve_error(w, "c0ffee0"), -ENOENT); /* seven: a name there is not */
	assert_int_equal(resolve_error(w, "c0ffee01"), -ENOENT);
	/* Eight decimal digits are a name. */
	assert_int_equal(resolve_error(w, "12345678"), -ENOENT);
	commit_fake(w, "12345678a111" TAIL);
	assert_int_equal(resolve_error(w, "12345678a"), -ENOTUNIQ);
	assert_resolves(w, "12345678a0", false, &one);
#undef TAIL
}

static void a_short_id_is_long_enough_to_be_found_by(void **state)
{
	struct world *w = *state;
	struct oid a, b;
	struct text t = { "" };

#define TAIL "00000000000000000000000000000000000000000000"
	commit_fake(w, "abcd0000000000000001" TAIL);
	commit_fake(w, "abcd0000000000000002" TAIL);
	commit_fake(w, "99999999999999999f00" TAIL);
	assert_ok(refs_list_commits(w->here.refs, &w->repo, &FRESH, text_add, &t));
	assert_ok(oid_parse(span_str("abcd0000000000000001" TAIL), &a));
	assert_int_equal(refs_short_id(w->here.refs, &w->repo, &a), 20);
	assert_ok(oid_parse(span_str("99999999999999999f00" TAIL), &b));
	assert_int_equal(refs_short_id(w->here.refs, &w->repo, &b), 18);
	assert_ok(oid_parse(span_str("eeeeeeeeeeeeeeeeeeee" TAIL), &b));
	assert_int_equal(refs_short_id(w->here.refs, &w->repo, &b), 12);
	/* One that is not listed yet, next to one that is. */
	assert_ok(oid_parse(span_str("abcd0000000000000003" TAIL), &b));
	assert_int_equal(refs_short_id(w->here.refs, &w->repo, &b), 20);
#undef TAIL
}

static void a_commit_of_ours_is_known_at_once(void **state)
{
	struct world *w = *state;
	_cleanup_buf_ struct buf object = { 0 }, got = { 0 };
	struct refs *r = w->here.refs;
	char hex[OID_HEX], prefix[13];
	struct resolved res;
	struct text t = { "" };
	struct oid id;

	assert_ok(refs_list_commits(r, &w->repo, &FRESH, text_add, &t));
	assert_string_equal(t.s, "");
	do {
		id = commit_object(&w->repo, NULL, 0, 1, &object);
		oid_hex(&id, hex);
		snprintf(prefix, sizeof(prefix), "%.12s", hex);
	} while (!name_reads_as_id(prefix));
	assert_int_equal(refs_resolve(r, &w->repo, prefix, &FRESH, &res), -ENOENT);
	refs_note_commit(r, &w->repo, &id, buf_span(&object));
	fault_add(w, (struct fault){ .op = FAULT_LIST, .kind = FAULT_FAIL, .error = -EIO });
	fault_add(w, (struct fault){ .op = FAULT_GET_ALL, .kind = FAULT_FAIL, .error = -EIO });
	assert_ok(refs_commit(r, &w->repo, &id, &AT_ONCE, &got));
	assert_true(span_equal(buf_span(&got), buf_span(&object)));
	assert_ok(refs_list_commits(r, &w->repo, &KNOWN, text_add, &t));
	assert_memory_equal(t.s, hex, 64);
	assert_ok(refs_resolve(r, &w->repo, prefix, &KNOWN, &res));
}

static void ancestors_are_told_from_others(void **state)
{
	struct world *w = *state;
	struct refs *r = w->here.refs;
	struct oid root = commit_make(w, NULL, NULL), null = { 0 };
	struct oid left = commit_make(w, &root, NULL), right = commit_make(w, &root, NULL);
	struct oid merge = commit_make(w, &left, &right), alone = commit_make(w, NULL, NULL);
	struct oid gone = sample_oid(&w->random);

	assert_int_equal(refs_is_ancestor(r, &w->repo, &root, &merge, &KNOWN), 1);
	assert_int_equal(refs_is_ancestor(r, &w->repo, &right, &merge, &KNOWN), 1);
	assert_int_equal(refs_is_ancestor(r, &w->repo, &merge, &merge, &KNOWN), 1);
	assert_int_equal(refs_is_ancestor(r, &w->repo, &null, &merge, &KNOWN), 1);
	assert_int_equal(refs_is_ancestor(r, &w->repo, &left, &right, &KNOWN), 0);
	assert_int_equal(refs_is_ancestor(r, &w->repo, &merge, &left, &KNOWN), 0);
	assert_int_equal(refs_is_ancestor(r, &w->repo, &alone, &merge, &KNOWN), 0);
	assert_int_equal(refs_is_ancestor(r, &w->repo, &root, &null, &KNOWN), 0);
	assert_int_equal(refs_is_ancestor(r, &w->repo, &gone, &merge, &KNOWN), -ENOENT);
}

static void a_criss_cross_history_is_walked_once(void **state)
{
	struct world *w = *state;
	struct oid a = commit_make(w, NULL, NULL), b = commit_make(w, NULL, NULL);
	struct oid alone = commit_make(w, NULL, NULL);

	/* 2^40 paths lead back. */
	for (int i = 0; i < 40; i++) {
		struct oid c = commit_make(w, &a, &b), d = commit_make(w, &b, &a);

		a = c;
		b = d;
	}
	assert_int_equal(refs_is_ancestor(w->here.refs, &w->repo, &alone, &a, &KNOWN), 0);
}

static void a_branch_is_resolved_with_one_request(void **state)
{
	struct world *w = *state;
	struct fault_counts c;
	struct resolved to;

	machine_restart(w->backend, &w->here);
	index_object_forget(w->here.index, head_key(&w->repo, "main").s);
	fault_backend_reset_counts(w->backend);
	assert_ok(refs_resolve(w->here.refs, &w->repo, "main", &KNOWN, &to));
	assert_true(to.is_branch);
	fault_backend_counts(w->backend, &c);
	assert_int_equal(c.calls[FAULT_GET_ALL], 1);
	assert_int_equal(c.calls[FAULT_LIST], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(a_new_repo_has_an_unborn_default_branch),
		BOTH(what_is_not_there_is_not_found),
		BOTH(own_changes_are_known_at_once),
		BOTH(a_change_survives_a_look_that_began_before_it),
		BOTH(others_changes_are_seen_within_the_refresh_time),
		BOTH(a_fresh_answer_costs_no_look),
		BOTH(a_store_that_hangs_costs_a_moment_once),
		BOTH(who_must_not_wait_gets_an_answer_or_is_told_to_come_again),
		BOTH(a_caller_who_gives_up_is_let_go),
		BOTH(a_failing_store_is_not_asked_over_and_over),
		BOTH(a_new_process_starts_without_the_store),
		BOTH(a_new_process_knows_what_the_former_one_made),
		BOTH(a_listing_kept_by_a_process_that_was_killed_has_what_it_made),
		BOTH(a_new_process_finds_a_name_that_was_known_without_the_store),
		BOTH(a_long_listing_is_kept_at_the_end_and_never_without_what_was_made),
		BOTH(a_commit_that_came_with_its_branch_is_not_fetched),
		BOTH(a_damaged_ref_is_refused_and_the_old_one_stays_known),
		BOTH(a_branch_comes_before_a_name_and_a_name_before_an_id),
		BOTH(prefixes_of_eight_digits_with_a_letter_name_commits),
		BOTH(a_short_id_is_long_enough_to_be_found_by),
		BOTH(a_commit_of_ours_is_known_at_once),
		BOTH(ancestors_are_told_from_others),
		BOTH(a_criss_cross_history_is_walked_once),
		BOTH(a_branch_is_resolved_with_one_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
