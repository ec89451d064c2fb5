/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A head's last commit on its way to the branch, while other mounts do what they like with the
 * branch, the commit and its name.
 */
#include <sys/wait.h>

#include "backend/fault.h"
#include "followstand.h"
#include "head/pin.h"
#include "hurry.h"
#include "merge/join.h"

static struct id128 repo_of(struct headstand *s)
{
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };

	assert_ok(refs_repo(s->store->refs, "r", &w, &rec));
	return rec.id;
}

/* Where a branch or name points to; null: there is none. */
static struct oid target_of(struct headstand *s, enum ref_kind kind, const char *name)
{
	struct refs_wait w = { .may_wait = true, .fresh = true, .deadline = DEADLINE_NEVER };
	struct id128 repo = repo_of(s);
	_cleanup_ref_ struct ref ref = { 0 };
	struct etag tag;
	int r = refs_get(s->store->refs, &repo, kind, name, &w, &ref, &tag);

	if (r == -ENOENT)
		return (struct oid){ 0 };
	assert_ok(r);
	return ref.target;
}

static void assert_branch_at(struct headstand *s, const char *branch, const struct oid *want)
{
	struct oid id = target_of(s, REF_BRANCH, branch);

	assert_true(oid_equal(&id, want));
}

static void change_text(struct headstand *s, const char *path, const char *text)
{
	struct vnode *v = at(s, path);

	put_text(s, v, text);
	vnode_unref(s->vnodes, v);
}

static struct commit_result commit_head(struct headstand *s)
{
	const struct commit_request req = { 0 };
	struct commit_result res;

	assert_ok(head_commit(s->head, &req, &s->acc, &res));
	return res;
}

/* From here on it is about another branch. */
static void go_to(struct headstand *s, const char *branch)
{
	vnode_unref(s->vnodes, s->root);
	view_unref(s->head);
	assert_ok(heads_get(s->heads, "r", branch, &s->acc, &s->head));
	assert_ok(view_root(s->head, &s->root));
}

/* Both have changed `f`, on the branch `try`: @s has diverged. */
static void diverge(struct headstand *s, struct headstand *o)
{
	struct id128 repo;
	struct oid id;

	make_text(s, s->root, "f", "base");
	id = stand_commit(s, NULL);
	*o = other_mount(s);
	repo = repo_of(o);
	assert_ok(refs_create_branch(o->store->refs, &repo, "try", &id, NULL));
	go_to(o, "try");
	go_to(s, "try");
	change_text(o, "f", "other's");
	assert_int_equal(commit_head(o).standing, HEAD_ON_BRANCH);
	change_text(s, "f", "ours");
	make_text(s, s->root, "new", "ours");
	assert_int_equal(commit_head(s).standing, HEAD_DIVERGED);
}

static void end(struct headstand *s, struct headstand *o)
{
	leave(o);
	stand_remove(s);
}

static void what_was_merged_elsewhere_is_not_taken_back(void **state)
{
	struct headstand s = stand_make(), o;
	struct joined x;
	struct commit_result res;
	struct vnode *root, *v;
	struct stat st;

	diverge(&s, &o);
	{
		struct joining j = {
			.store = o.store,
			.repo = repo_of(&o),
			.repo_name = "r",
			.branch = "try",
			.commit = view_commit(s.head),
			.prefer = MERGE_PREFER_THEIRS,
			.deadline = DEADLINE_NEVER,
		};

		assert_ok(join_branch(&j, &x));
	}
	assert_follows(&o, &x.tip);
	assert_ok(view_unlink(o.root, span_str("new"), &o.acc));
	assert_int_equal(commit_head(&o).standing, HEAD_ON_BRANCH);
	make_text(&s, s.root, "more", "ours");
	res = commit_head(&s);
	assert_int_equal(res.standing, HEAD_ON_BRANCH);
	root = stand_commit_root(&s, &res.tip);
	assert_int_equal(view_lookup(root, span_str("new"), &s.acc, &v, &st), -ENOENT);
	assert_ok(view_lookup(root, span_str("more"), &s.acc, &v, &st));
	vnode_unref(s.vnodes, v);
	vnode_unref(s.vnodes, root);
	end(&s, &o);
}

static void how_a_head_stands_is_not_changed_by_a_pin_of_it(void **state)
{
	struct headstand s = stand_make(), o;
	const struct pin_request plain = { 0 };
	struct commit_result res;
	struct vnode *root, *v;
	struct oid landed, id;
	struct stat st;
	bool is_new;

	diverge(&s, &o);
	landed = view_commit(s.head);
	make_text(&s, s.root, "more", "ours");
	assert_ok(head_pin(s.head, &plain, &s.acc, &id, &is_new));
	assert_true(is_new);
	assert_ok(head_conflicts(s.head, NULL, NULL, &s.acc, &res));
	assert_int_equal(res.standing, HEAD_DIVERGED);
	assert_int_equal(res.conflicts, 1);
	assert_true(oid_equal(&res.id, &landed));
	remount(&s);
	go_to(&s, "try");
	/* What is settled is the commit, and not what the pin has. */
	assert_ok(head_merge(s.head, MERGE_PREFER_OURS, &s.acc, &res));
	assert_int_equal(res.standing, HEAD_ON_BRANCH);
	root = stand_commit_root(&s, &res.tip);
	assert_ok(view_lookup(root, span_str("new"), &s.acc, &v, &st));
	vnode_unref(s.vnodes, v);
	assert_int_equal(view_lookup(root, span_str("more"), &s.acc, &v, &st), -ENOENT);
	vnode_unref(s.vnodes, root);
	assert_text(&s, "more", "ours");
	res = commit_head(&s);
	assert_int_equal(res.standing, HEAD_ON_BRANCH);
	assert_text(&s, "more", "ours");
	end(&s, &o);
}

/* The branch `try` goes, or gets another name; a new one of its name is where main is. */
static struct oid replace_branch(struct headstand *o, const char *new_name)
{
	struct id128 repo = repo_of(o);
	struct oid main = target_of(o, REF_BRANCH, "main");

	if (new_name)
		assert_ok(heads_rename(o->heads, &repo, "try", new_name, NULL));
	else
		assert_ok(heads_remove(o->heads, &repo, "try", NULL));
	assert_ok(refs_create_branch(o->store->refs, &repo, "try", &main, NULL));
	return main;
}

static void it_joins_its_own_branch_whatever_that_is_called(void **state)
{
	struct headstand s = stand_make(), o;
	struct commit_result res;
	struct oid main;

	diverge(&s, &o);
	main = replace_branch(&o, "tried");
	assert_branch_at(&s, "try", &main);
	head_rejoin(s.head, &s.acc);
	assert_ok(head_merge(s.head, MERGE_PREFER_OURS, &s.acc, &res));
	assert_int_equal(res.standing, HEAD_ON_BRANCH);
	assert_branch_at(&s, "try", &main);
	assert_branch_at(&o, "tried", &res.tip);
	end(&s, &o);
}

static void it_joins_no_branch_that_was_made_after_its_own_was_removed(void **state)
{
	struct headstand s = stand_make(), o;
	struct commit_result res;
	struct oid main;

	diverge(&s, &o);
	main = replace_branch(&o, NULL);
	assert_int_equal(head_sync(s.head, &s.acc, &res), -ENOENT);
	/* That is nothing to wait for. */
	assert_false(head_rejoin(s.head, &s.acc));
	assert_int_equal(head_merge(s.head, MERGE_PREFER_OURS, &s.acc, &res), -ENOENT);
	assert_false(head_rejoin(s.head, &s.acc));
	assert_branch_at(&s, "try", &main);
	end(&s, &o);
}

static int commit_meanwhile(struct span path, enum merge_verdict what, void *ctx)
{
	struct headstand *s = ctx;

	make_text(s, s->root, "meanwhile", "ours");
	assert_int_equal(commit_head(s).standing, HEAD_DIVERGED);
	return 0;
}

static void a_commit_does_not_wait_for_who_is_told_of_conflicts(void **state)
{
	struct headstand s = stand_make(), o;
	struct commit_result res;

	diverge(&s, &o);
	assert_ok(head_conflicts(s.head, commit_meanwhile, &s, &s.acc, &res));
	assert_int_equal(res.conflicts, 1);
	end(&s, &o);
}

/* What another mount does to the names while @inner makes one; the end, when a commit goes. */
static struct {
	struct backend_ops ops;
	const struct backend_ops *inner;
	struct headstand *other;
	struct oid commit;
} meddler;

static int take_name_first(struct backend *b, const char *key, const struct etag *tag,
			   struct span data, const struct deadline *dl, struct etag *ret_tag)
{
	struct id128 repo;

	if (strncmp(key, "names/", 6) == 0) {
		repo = repo_of(meddler.other);
		assert_ok(refs_create_name(meddler.other->store->refs, &repo, "N", &meddler.commit,
					   NULL));
	}
	return meddler.inner->swap(b, key, tag, data, dl, ret_tag);
}

static int remove_and_die(struct backend *b, const char *key, const struct deadline *dl)
{
	assert_ok(meddler.inner->remove(b, key, dl));
	_exit(strncmp(key, "commits/", 8) == 0 ? 0 : 1);
}

static struct backend *under_meddler(struct backend *inner)
{
	meddler.inner = inner->ops;
	meddler.ops = *inner->ops;
	meddler.ops.swap = take_name_first;
	meddler.ops.remove = remove_and_die;
	inner->ops = &meddler.ops;
	return inner;
}

static _Noreturn void commit_and_die(struct headstand *s)
{
	struct commit_request req = { .name = "N" };
	struct headstand o = other_mount(s);
	struct commit_result res;

	make_text(&o, o.root, "other", "other's");
	meddler.commit = stand_commit(&o, NULL);
	meddler.other = &o;
	s->layer = under_meddler;
	stand_open(s);
	make_text(s, s->root, "f", "ours");
	head_commit(s->head, &req, &s->acc, &res);
	_exit(2);
}

static void a_commit_that_was_withdrawn_is_forgotten_when_its_maker_dies(void **state)
{
	struct headstand s = stand_make();
	struct commit_result res;
	struct id128 repo;
	struct oid id;
	int status;
	pid_t pid;

	stand_close(&s);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		commit_and_die(&s);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	stand_open(&s);
	repo = repo_of(&s);
	/* The name is free again. */
	assert_ok(refs_remove_name(s.store->refs, &repo, "N", NULL));
	res = commit_head(&s);
	assert_int_equal(res.standing, HEAD_ON_BRANCH);
	id = target_of(&s, REF_NAME, "N");
	assert_true(oid_is_null(&id));
	assert_text(&s, "f", "ours");
	assert_text(&s, "other", "other's");
	stand_remove(&s);
}

/* How many commits the store has. */
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

static struct backend *faults;

static struct backend *under_faults(struct backend *inner)
{
	assert_ok(fault_backend_new(inner, &faults));
	return faults;
}

/* Both have committed a file of their own: it takes a merge, whose swap gets @error. */
static void part_with(struct headstand *s, struct headstand *o, enum fault_kind kind, int error)
{
	const struct fault f = {
		.op = FAULT_SWAP, .kind = kind, .prefix = "heads/", .error = error
	};

	*s = stand_make();
	make_text(s, s->root, "f", "base");
	stand_commit(s, NULL);
	stand_close(s);
	s->layer = under_faults;
	stand_open(s);
	s->layer = NULL;
	*o = other_mount(s);
	make_text(o, o->root, "theirs", "t");
	stand_commit(o, NULL);
	make_text(s, s->root, "ours", "o");
	assert_ok(fault_backend_add(faults, &f));
}

static void a_merge_whose_swap_is_refused_is_removed(void **state)
{
	struct headstand s, o;

	part_with(&s, &o, FAULT_FAIL, -EACCES);
	assert_int_equal(commit_head(&s).standing, HEAD_PENDING);
	assert_int_equal(commits_stored(&o), 3);
	assert_true(head_rejoin(s.head, &s.acc));
	assert_int_equal(commits_stored(&o), 3);
	fault_backend_clear(faults);
	assert_false(head_rejoin(s.head, &s.acc));
	assert_int_equal(commits_stored(&o), 4);
	assert_text(&s, "theirs", "t");
	end(&s, &o);
}

static void a_merge_whose_swap_is_not_known_of_is_taken_for_the_next_try(void **state)
{
	struct commit_result res;
	struct headstand s, o;

	part_with(&s, &o, FAULT_FAIL, -EINPROGRESS);
	for (unsigned i = 0; i < 3; i++) {
		is_hurried = true;
		if (i == 0)
			assert_int_equal(commit_head(&s).standing, HEAD_PENDING);
		else
			assert_true(head_rejoin(s.head, &s.acc));
		is_hurried = false;
		assert_int_equal(commits_stored(&o), 4);
	}
	/* The branch goes on without it: then it is of no use to anybody. */
	make_text(&o, o.root, "more", "t");
	commit_head(&o);
	assert_int_equal(commits_stored(&o), 5);
	fault_backend_clear(faults);
	assert_ok(head_sync(s.head, &s.acc, &res));
	assert_int_equal(res.standing, HEAD_ON_BRANCH);
	assert_int_equal(commits_stored(&o), 5);
	assert_text(&s, "more", "t");
	end(&s, &o);
}

static void an_unknown_merge_that_arrived_after_all_stays(void **state)
{
	struct headstand s, o;
	struct oid tip;

	part_with(&s, &o, FAULT_LOSE_REPLY, -EINPROGRESS);
	assert_ok(fault_backend_add(faults, &(struct fault){ .op = FAULT_GET_ALL,
							     .kind = FAULT_FAIL,
							     .prefix = "heads/",
							     .nth = 2,
							     .error = -EIO }));
	is_hurried = true;
	assert_int_equal(commit_head(&s).standing, HEAD_PENDING);
	is_hurried = false;
	fault_backend_clear(faults);
	tip = target_of(&o, REF_BRANCH, "main");
	assert_false(head_rejoin(s.head, &s.acc));
	assert_branch_at(&o, "main", &tip);
	assert_int_equal(commits_stored(&o), 4);
	assert_text(&s, "theirs", "t");
	end(&s, &o);
}

static int make_anew_first(struct backend *b, const char *key, const struct etag *tag,
			   struct span data, const struct deadline *dl, struct etag *ret_tag)
{
	struct headstand *o = meddler.other;
	struct id128 repo;

	if (o && strncmp(key, "heads/", 6) == 0) {
		meddler.other = NULL;
		repo = repo_of(o);
		assert_ok(refs_remove_branch(o->store->refs, &repo, "try", NULL));
		assert_ok(refs_create_branch(o->store->refs, &repo, "try", &meddler.commit, NULL));
	}
	return meddler.inner->swap(b, key, tag, data, dl, ret_tag);
}

static struct backend *under_remaker(struct backend *inner)
{
	meddler.inner = inner->ops;
	meddler.ops = *inner->ops;
	meddler.ops.swap = make_anew_first;
	inner->ops = &meddler.ops;
	return inner;
}

static void a_branch_made_anew_right_before_the_swap_is_not_joined(void **state)
{
	struct headstand s = stand_make(), o;
	struct id128 repo;

	make_text(&s, s.root, "f", "base");
	meddler.commit = stand_commit(&s, NULL);
	o = other_mount(&s);
	repo = repo_of(&o);
	assert_ok(refs_create_branch(o.store->refs, &repo, "try", &meddler.commit, NULL));
	stand_close(&s);
	s.layer = under_remaker;
	stand_open(&s);
	go_to(&s, "try");
	change_text(&s, "f", "ours");
	meddler.other = &o;
	assert_int_equal(commit_head(&s).standing, HEAD_PENDING);
	assert_null(meddler.other);
	assert_branch_at(&o, "try", &meddler.commit);
	assert_false(head_rejoin(s.head, &s.acc));
	assert_branch_at(&o, "try", &meddler.commit);
	end(&s, &o);
}

enum {
	MANY = MERGE_BASES_MAX + 1,
};

static void join_to(struct headstand *s, const char *branch, const struct oid *commit)
{
	struct joined x;
	struct joining j = {
		.store = s->store,
		.repo = repo_of(s),
		.repo_name = "r",
		.branch = branch,
		.commit = *commit,
		.deadline = DEADLINE_NEVER,
	};

	assert_ok(join_branch(&j, &x));
}

static void with_too_many_bases_what_differs_conflicts_and_can_be_settled(void **state)
{
	struct headstand s = stand_make();
	struct joining j = { .branch = "y", .repo_name = "r", .deadline = DEADLINE_NEVER };
	struct joined x;
	struct id128 repo = repo_of(&s);
	char name[MANY][16];
	struct vnode *root;
	struct oid id;

	make_text(&s, s.root, "f", "base");
	make_text(&s, s.root, "gone", "base");
	make_text(&s, s.root, "same", "base");
	id = stand_commit(&s, NULL);
	assert_ok(refs_create_branch(s.store->refs, &repo, "x", &id, NULL));
	assert_ok(refs_create_branch(s.store->refs, &repo, "y", &id, NULL));
	for (unsigned i = 0; i < MANY; i++) {
		struct oid tip;

		snprintf(name[i], sizeof(name[i]), "b%u", i);
		assert_ok(refs_create_branch(s.store->refs, &repo, name[i], &id, NULL));
		go_to(&s, name[i]);
		make_text(&s, s.root, name[i], "added");
		tip = commit_head(&s).id;
		join_to(&s, "x", &tip);
		join_to(&s, "y", &tip);
	}
	go_to(&s, "x");
	change_text(&s, "f", "ours");
	assert_ok(view_unlink(s.root, span_str("gone"), &s.acc));
	j.commit = commit_head(&s).id;
	j.store = s.store;
	j.repo = repo;
	assert_int_equal(join_branch(&j, &x), -ESTALE);
	/* The two names; all else is the same. */
	assert_int_equal(x.conflicts, 2);
	j.prefer = MERGE_PREFER_OURS;
	assert_ok(join_branch(&j, &x));
	root = stand_commit_root(&s, &x.tip);
	vnode_unref(s.vnodes, s.root);
	s.root = root;
	assert_text(&s, "f", "ours");
	assert_text(&s, "same", "base");
	assert_text(&s, name[MANY - 1], "added");
	{
		struct vnode *v;
		struct stat st;

		assert_int_equal(view_lookup(s.root, span_str("gone"), &s.acc, &v, &st), -ENOENT);
	}
	stand_remove(&s);
}

/* Who is told of the first conflict has enough. */
struct told {
	atomic_bool cancelled;
	unsigned count;
};

static int cancel(struct span path, enum merge_verdict what, void *ctx)
{
	struct told *t = ctx;

	t->count++;
	t->cancelled = true;
	return 0;
}

static void a_search_for_hard_links_ends_when_its_time_is_over(void **state)
{
	struct headstand s = stand_make(), o;
	struct told told = { .count = 0 };
	struct commit_result res;
	struct vnode *v;
	struct stat st;

	make_text(&s, s.root, "f", "base");
	make_text(&s, s.root, "link", "base");
	v = at(&s, "link");
	assert_ok(view_link(v, s.root, span_str("link2"), &s.acc, &st));
	vnode_unref(s.vnodes, v);
	stand_commit(&s, NULL);
	o = other_mount(&s);
	change_text(&o, "f", "theirs");
	change_text(&o, "link", "theirs");
	commit_head(&o);
	change_text(&s, "f", "ours");
	change_text(&s, "link", "ours");
	assert_int_equal(commit_head(&s).standing, HEAD_DIVERGED);
	assert_ok(head_conflicts(s.head, NULL, NULL, &s.acc, &res));
	assert_int_equal(res.conflicts, 3);
	/* `f` comes with the walk; the names of the link are searched for then. */
	s.acc.deadline.cancelled = &told.cancelled;
	assert_int_equal(head_conflicts(s.head, cancel, &told, &s.acc, &res), -ECANCELED);
	assert_int_equal(told.count, 1);
	s.acc.deadline.cancelled = NULL;
	end(&s, &o);
}

static void what_is_uncommitted_in_a_branch_made_anew_elsewhere_has_a_name_of_its_own(void **state)
{
	struct headstand s = stand_make(), o;
	struct id128 repo, identity;
	char hex[ID128_HEX], *name;
	struct oid id;

	make_text(&s, s.root, "f", "base");
	id = stand_commit(&s, NULL);
	o = other_mount(&s);
	repo = repo_of(&o);
	assert_ok(refs_create_branch(o.store->refs, &repo, "try", &id, NULL));
	go_to(&s, "try");
	identity = *head_branch(s.head);
	change_text(&s, "f", "ours");
	assert_ok(refs_remove_branch(o.store->refs, &repo, "try", NULL));
	assert_ok(refs_create_branch(o.store->refs, &repo, "try", &id, NULL));
	target_of(&s, REF_BRANCH, "try"); /* seen */
	go_to(&s, "try");
	assert_text(&s, "f", "base");
	assert_false(id128_equal(head_branch(s.head), &identity));
	id128_hex(&identity, hex);
	name = strf("try.left-%.8s", hex);
	go_to(&s, name);
	assert_text(&s, "f", "ours");
	assert_true(id128_equal(head_branch(s.head), &identity));
	/* The next mount finds it so. */
	remount(&s);
	go_to(&s, name);
	assert_text(&s, "f", "ours");
	free(name);
	end(&s, &o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_merged_elsewhere_is_not_taken_back),
		cmocka_unit_test(how_a_head_stands_is_not_changed_by_a_pin_of_it),
		cmocka_unit_test(it_joins_its_own_branch_whatever_that_is_called),
		cmocka_unit_test(it_joins_no_branch_that_was_made_after_its_own_was_removed),
		cmocka_unit_test(a_commit_does_not_wait_for_who_is_told_of_conflicts),
		cmocka_unit_test(a_commit_that_was_withdrawn_is_forgotten_when_its_maker_dies),
		cmocka_unit_test(a_branch_made_anew_right_before_the_swap_is_not_joined),
		cmocka_unit_test(with_too_many_bases_what_differs_conflicts_and_can_be_settled),
		cmocka_unit_test(a_search_for_hard_links_ends_when_its_time_is_over),
		cmocka_unit_test(a_merge_whose_swap_is_refused_is_removed),
		cmocka_unit_test(a_merge_whose_swap_is_not_known_of_is_taken_for_the_next_try),
		cmocka_unit_test(an_unknown_merge_that_arrived_after_all_stays),
		cmocka_unit_test(
			what_is_uncommitted_in_a_branch_made_anew_elsewhere_has_a_name_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
