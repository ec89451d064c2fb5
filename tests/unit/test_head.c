/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The head alone, without a kernel: what was done shows, is kept, and is what a commit has.
 * PFS_LONG=1: 10^5 operations of the model.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "headmodel.h"
#include "headstand.h"

static void put_bytes(struct headstand *s, struct vnode *v, uint64_t off, const void *bytes,
		      size_t len)
{
	assert_ok(view_open(v, O_RDWR, &s->acc));
	assert_ok(view_write(v, off, span_of(bytes, len), false, false, &s->acc));
	view_close(v, O_RDWR);
}

static void assert_bytes(struct headstand *s, struct vnode *v, const char *want)
{
	char got[256];
	int64_t n;

	assert_ok(view_open(v, O_RDONLY, &s->acc));
	n = view_read(v, 0, sizeof(got), got, &s->acc);
	view_close(v, O_RDONLY);
	assert_int_equal(n, strlen(want));
	assert_memory_equal(got, want, strlen(want));
}

static struct vnode *at(struct headstand *s, struct vnode *root, const char *path)
{
	struct vnode *v;
	struct stat st;

	assert_ok(view_walk(root, span_str(path), &s->acc, &v, &st));
	return v;
}

static void a_commit_has_what_the_head_had_and_the_head_goes_on(void **state)
{
	struct headstand s = stand_make();
	struct vnode *d = stand_create(&s, s.root, "d", S_IFDIR | 0755),
		     *f = stand_create(&s, d, "f", S_IFREG | 0644);
	struct vnode *old, *v;
	struct oid id;

	put_bytes(&s, f, 0, "one", 3);
	id = stand_commit(&s, "first");
	put_bytes(&s, f, 0, "two", 3);
	assert_bytes(&s, f, "two");
	old = stand_commit_root(&s, &id);
	v = at(&s, old, "d/f");
	assert_bytes(&s, v, "one");
	assert_int_equal(view_open(v, O_RDWR, &s.acc), -EROFS);
	vnode_unref(s.vnodes, v);
	vnode_unref(s.vnodes, old);
	vnode_unref(s.vnodes, f);
	vnode_unref(s.vnodes, d);
	stand_remove(&s);
}

static void a_remount_finds_the_head_as_it_was(void **state)
{
	struct headstand s = stand_make();
	struct vnode *f = stand_create(&s, s.root, "f", S_IFREG | 0644);
	uint64_t ino = f->ino;

	put_bytes(&s, f, 0, "kept", 4);
	vnode_unref(s.vnodes, f);
	stand_close(&s);
	stand_open(&s);
	f = at(&s, s.root, "f");
	assert_bytes(&s, f, "kept");
	assert_true(f->ino == ino);
	vnode_unref(s.vnodes, f);
	stand_remove(&s);
}

static void inode_numbers_outlive_commits_renames_and_remounts(void **state)
{
	struct headstand s = stand_make();
	struct vnode *a = stand_create(&s, s.root, "a", S_IFREG | 0644), *d, *b;
	uint64_t ino = a->ino, dir_ino;

	d = stand_create(&s, s.root, "d", S_IFDIR | 0755);
	dir_ino = d->ino;
	put_bytes(&s, a, 0, "x", 1);
	stand_commit(&s, NULL);
	assert_ok(view_rename(s.root, span_str("a"), d, span_str("b"), 0, &s.acc));
	assert_ok(view_rename(s.root, span_str("d"), s.root, span_str("e"), 0, &s.acc));
	/* A new file of the old name must not get the number. */
	b = stand_create(&s, s.root, "a", S_IFREG | 0644);
	assert_true(b->ino != ino);
	vnode_unref(s.vnodes, b);
	stand_commit(&s, NULL);
	vnode_unref(s.vnodes, a);
	vnode_unref(s.vnodes, d);
	stand_close(&s);
	stand_open(&s);
	d = at(&s, s.root, "e");
	a = at(&s, s.root, "e/b");
	assert_true(a->ino == ino && d->ino == dir_ino);
	vnode_unref(s.vnodes, a);
	vnode_unref(s.vnodes, d);
	stand_remove(&s);
}

static void an_unlinked_file_lives_until_its_last_user_is_gone(void **state)
{
	struct headstand s = stand_make();
	struct vnode *f = stand_create(&s, s.root, "f", S_IFREG | 0644);
	struct heads_stats before, after;
	uint8_t block[4096] = { 1 };

	heads_stats(s.heads, &before);
	assert_ok(view_open(f, O_RDWR, &s.acc));
	assert_ok(view_write(f, 0, span_of(block, sizeof(block)), false, false, &s.acc));
	assert_ok(view_unlink(s.root, span_str("f"), &s.acc));
	stand_commit(&s, NULL);
	assert_ok(view_write(f, 4096, span_of("tail", 4), false, false, &s.acc));
	assert_int_equal(view_read(f, 4094, 100, block, &s.acc), 6);
	assert_memory_equal(block + 2, "tail", 4);
	view_close(f, O_RDWR);
	vnode_unref(s.vnodes, f);
	/* It goes back to the disk in the background, after a sync point. */
	for (unsigned i = 0; i < 1000; i++) {
		assert_ok(view_fsync(s.root));
		heads_stats(s.heads, &after);
		if (after.staged == before.staged)
			break;
		usleep(1000);
	}
	assert_int_equal(after.staged, before.staged);
	stand_remove(&s);
}

static void hard_links_share_their_bytes_through_commits(void **state)
{
	struct headstand s = stand_make();
	struct vnode *f = stand_create(&s, s.root, "a", S_IFREG | 0644), *v;
	struct stat st;

	put_bytes(&s, f, 0, "old", 3);
	assert_ok(view_link(f, s.root, span_str("b"), &s.acc, &st));
	assert_int_equal(st.st_nlink, 2);
	stand_commit(&s, NULL);
	vnode_unref(s.vnodes, f);
	stand_close(&s);
	stand_open(&s);
	v = at(&s, s.root, "b");
	put_bytes(&s, v, 0, "new", 3);
	f = at(&s, s.root, "a");
	assert_true(f == v);
	assert_bytes(&s, f, "new");
	assert_ok(view_unlink(s.root, span_str("a"), &s.acc));
	stand_commit(&s, NULL);
	assert_bytes(&s, v, "new");
	assert_ok(view_getattr(v, &s.acc, &st));
	assert_int_equal(st.st_nlink, 1);
	vnode_unref(s.vnodes, f);
	vnode_unref(s.vnodes, v);
	stand_remove(&s);
}

static void what_has_lost_all_its_names_is_linked_no_more(void **state)
{
	struct headstand s = stand_make();
	struct vnode *f = stand_create(&s, s.root, "a", S_IFREG | 0644);
	struct stat st;

	assert_ok(view_link(f, s.root, span_str("b"), &s.acc, &st));
	assert_ok(view_unlink(s.root, span_str("a"), &s.acc));
	assert_ok(view_unlink(s.root, span_str("b"), &s.acc));
	assert_int_equal(view_link(f, s.root, span_str("c"), &s.acc, &st), -ENOENT);
	stand_commit(&s, NULL);
	vnode_unref(s.vnodes, f);
	stand_remove(&s);
}

static void a_renamed_directory_takes_its_contents_along_by_reference(void **state)
{
	struct headstand s = stand_make();
	struct vnode *d = stand_create(&s, s.root, "d", S_IFDIR | 0755), *f;
	char name[16];

	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		f = stand_create(&s, d, name, S_IFREG | 0644);
		put_bytes(&s, f, 0, name, strlen(name));
		vnode_unref(s.vnodes, f);
	}
	stand_commit(&s, NULL);
	assert_ok(view_rename(s.root, span_str("d"), s.root, span_str("moved"), 0, &s.acc));
	f = at(&s, s.root, "moved/f17");
	assert_bytes(&s, f, "f17");
	put_bytes(&s, f, 3, "!", 1);
	stand_commit(&s, NULL);
	assert_bytes(&s, f, "f17!");
	vnode_unref(s.vnodes, f);
	vnode_unref(s.vnodes, d);
	stand_remove(&s);
}

static void nothing_changed_is_no_commit(void **state)
{
	struct headstand s = stand_make();
	struct vnode *f = stand_create(&s, s.root, "f", S_IFREG | 0644);
	struct commit_request req = { .name = "again" };
	struct oid a = stand_commit(&s, "one");
	struct commit_result res;

	assert_ok(head_commit(s.head, &req, &s.acc, &res));
	assert_false(res.is_new);
	assert_true(oid_equal(&a, &res.id));
	req.name = "one";
	assert_int_equal(head_commit(s.head, &req, &s.acc, &res), -EEXIST);
	vnode_unref(s.vnodes, f);
	stand_remove(&s);
}

/* The first piece fills up the block of what is before it, the second lies elsewhere; what was
 * there reaches under both. */
static void a_write_in_two_pieces_covers_what_was_there(void **state)
{
	static uint8_t bytes[10000];
	struct headstand s = stand_make();
	struct vnode *v = stand_create(&s, s.root, "f", S_IFREG | 0644);
	static uint8_t got[20000];

	memset(bytes, 1, sizeof(bytes));
	assert_ok(view_open(v, O_RDWR, &s.acc));
	put_bytes(&s, v, 0, bytes, 100);
	put_bytes(&s, v, 3000, bytes, 3000);
	memset(bytes, 2, sizeof(bytes));
	put_bytes(&s, v, 100, bytes, 10000);
	assert_int_equal(view_read(v, 0, sizeof(got), got, &s.acc), 10100);
	for (unsigned i = 0; i < 10100; i++)
		assert_int_equal(got[i], i < 100 ? 1 : 2);
	view_close(v, O_RDWR);
	vnode_unref(s.vnodes, v);
	stand_remove(&s);
}

static struct view *open_branch(struct headstand *s, const char *branch, struct vnode **ret_root)
{
	struct view *v;

	assert_ok(heads_get(s->heads, "r", branch, &s->acc, &v));
	assert_ok(view_root(v, ret_root));
	return v;
}

/* Has a new file of that name in the branch, or finds it there and no other. */
static void with_file(struct headstand *s, const char *branch, const char *name, bool is_made)
{
	struct vnode *root, *f;
	struct view *v = open_branch(s, branch, &root);
	struct stat st;

	if (is_made)
		f = stand_create(s, root, name, S_IFREG | 0644);
	else
		f = at(s, root, name);
	assert_ok(view_getattr(root, &s->acc, &st));
	vnode_unref(s->vnodes, f);
	vnode_unref(s->vnodes, root);
	view_unref(v);
}

static struct id128 repo_of(struct headstand *s)
{
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };

	assert_ok(refs_repo(s->store->refs, "r", &w, &rec));
	return rec.id;
}

static void a_head_that_was_renamed_has_its_record_for_itself_after_a_kill(void **state)
{
	struct headstand s = stand_make();
	struct id128 repo = repo_of(&s);
	struct vnode *root;
	struct oid id;
	pid_t pid;

	id = stand_commit(&s, NULL);
	assert_ok(refs_create_branch(s.store->refs, &repo, "one", &id, NULL));
	assert_ok(refs_create_branch(s.store->refs, &repo, "two", &id, NULL));
	stand_close(&s);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		stand_open(&s);
		open_branch(&s, "one", &root);
		assert_ok(heads_rename(s.heads, &repo, "one", "three", NULL));
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	stand_open(&s);
	with_file(&s, "two", "in-two", true);
	with_file(&s, "three", "in-three", true);
	stand_close(&s);
	stand_open(&s);
	with_file(&s, "two", "in-two", false);
	with_file(&s, "three", "in-three", false);
	stand_remove(&s);
}

static void random_steps(uint64_t seed, unsigned steps, unsigned check_every, bool commits,
			 bool remounts)
{
	struct headstand s = stand_make();
	struct prng own = { seed ^ 77 };
	struct model m;

	model_init(&m, seed);
	m.big_files = true;
	for (unsigned i = 0; i < steps; i++) {
		model_step(&m, s.root, s.vnodes, &s.acc);
		if (commits && prng_below(&own, 60) == 0) {
			struct oid id = stand_commit(&s, NULL);
			struct vnode *root = stand_commit_root(&s, &id);

			model_check(m.root, root, s.vnodes, &s.acc);
			vnode_unref(s.vnodes, root);
		}
		if (remounts && prng_below(&own, 150) == 0) {
			stand_close(&s);
			stand_open(&s);
		}
		if (i % check_every == 0)
			model_check(m.root, s.root, s.vnodes, &s.acc);
	}
	model_check(m.root, s.root, s.vnodes, &s.acc);
	model_release(&m);
	stand_remove(&s);
}

static void random_operations_agree_with_a_model(void **state)
{
	random_steps(1, 4000, 100, false, false);
}

static void random_operations_agree_with_commits_between(void **state)
{
	random_steps(2, 4000, 50, true, false);
	random_steps(3, 2000, 50, true, false);
}

static void random_operations_agree_with_remounts_between(void **state)
{
	random_steps(4, 3000, 100, true, true);
	for (uint64_t seed = 100; getenv("PFS_LONG") && seed < 120; seed++)
		random_steps(seed, 5000, 200, true, true);
}

/* Does operations until it is killed; how many have returned stands in shared memory. */
static void work_until_killed(struct headstand *s, struct model *m, atomic_uint *done)
{
	struct prng own = { 99 };

	stand_open(s);
	for (;;) {
		model_step(m, s->root, s->vnodes, &s->acc);
		atomic_fetch_add(done, 1);
		if (prng_below(&own, 100) == 0)
			stand_commit(s, NULL);
	}
}

static void what_returned_survives_a_kill(void **state)
{
	struct headstand s = stand_make();
	atomic_uint *done =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct prng own = { 5 };
	struct model m;

	assert_true(done != MAP_FAILED);
	model_init(&m, 6);
	stand_close(&s);
	for (int round = 0; round < 25; round++) {
		unsigned n;
		pid_t pid;

		*done = 0;
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			work_until_killed(&s, &m, done);
		usleep(20000 + prng_below(&own, 150000));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		n = *done;
		while (n-- > 0)
			model_step(&m, NULL, NULL, NULL);
		stand_open(&s);
		if (!model_matches(m.root, s.root, s.vnodes, &s.acc)) {
			/* The one under way may have been done: then it was done whole. */
			model_step(&m, NULL, NULL, NULL);
			model_check(m.root, s.root, s.vnodes, &s.acc);
		}
		stand_close(&s);
	}
	stand_open(&s);
	munmap(done, 4096);
	model_release(&m);
	stand_remove(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_commit_has_what_the_head_had_and_the_head_goes_on),
		cmocka_unit_test(a_remount_finds_the_head_as_it_was),
		cmocka_unit_test(inode_numbers_outlive_commits_renames_and_remounts),
		cmocka_unit_test(an_unlinked_file_lives_until_its_last_user_is_gone),
		cmocka_unit_test(hard_links_share_their_bytes_through_commits),
		cmocka_unit_test(what_has_lost_all_its_names_is_linked_no_more),
		cmocka_unit_test(a_renamed_directory_takes_its_contents_along_by_reference),
		cmocka_unit_test(nothing_changed_is_no_commit),
		cmocka_unit_test(a_write_in_two_pieces_covers_what_was_there),
		cmocka_unit_test(a_head_that_was_renamed_has_its_record_for_itself_after_a_kill),
		cmocka_unit_test(random_operations_agree_with_a_model),
		cmocka_unit_test(random_operations_agree_with_commits_between),
		cmocka_unit_test(random_operations_agree_with_remounts_between),
		cmocka_unit_test(what_returned_survives_a_kill),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
