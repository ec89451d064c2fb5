/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A head's last commit on its way to the branch, while other mounts do what they like with the
 * branch, the commit and its name.
 */
#include <sys/wait.h>

#include "followstand.h"
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
	heads_rejoin(s.heads, &s.acc);
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
	assert_false(heads_rejoin(s.heads, &s.acc));
	assert_int_equal(head_merge(s.head, MERGE_PREFER_OURS, &s.acc, &res), -ENOENT);
	assert_false(heads_rejoin(s.heads, &s.acc));
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_merged_elsewhere_is_not_taken_back),
		cmocka_unit_test(it_joins_its_own_branch_whatever_that_is_called),
		cmocka_unit_test(it_joins_no_branch_that_was_made_after_its_own_was_removed),
		cmocka_unit_test(a_commit_does_not_wait_for_who_is_told_of_conflicts),
		cmocka_unit_test(a_commit_that_was_withdrawn_is_forgotten_when_its_maker_dies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
