/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The tree of a run's record: what was seen of the pinned commits and of nothing else, and the
 * run's own files; and how it is read again.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "treestand.h"

static void what_was_looked_for_is_there_as_the_commit_has_it(void **state)
{
	struct stand *s = *state;
	struct oid p = some_commit(s);
	struct run_branch b = branch(s, &p, NULL);
	struct tree_root t;

	saw(s, "d/a", SEEN_PRESENT);
	saw(s, "d/none", SEEN_ABSENT);
	saw(s, "f", SEEN_PRESENT);
	t = store_tree(s, &b);
	assert_string_equal(part_of(s, &t, "looked"), " dir\nr dir\nr/main dir\nr/main/d dir 750\n"
						      "r/main/d/a file one\nr/main/d/none -\n"
						      "r/main/f file three\n");
	assert_string_equal(part_of(s, &t, "read"), "");
	assert_string_equal(part_of(s, &t, "written"), "");
}

static void what_was_read_is_there_and_no_directory_without_it(void **state)
{
	struct stand *s = *state;
	struct oid p = some_commit(s);
	struct run_branch b = branch(s, &p, NULL);
	struct tree_root t;

	seen_mark(s->seen, saw(s, "e", SEEN_PRESENT), SEEN_READ);
	seen_mark(s->seen, saw(s, "d/b", SEEN_PRESENT), SEEN_READ);
	saw(s, "d/a", SEEN_PRESENT);
	t = store_tree(s, &b);
	assert_string_equal(part_of(s, &t, "read"), " dir\nr dir\nr/main dir\nr/main/d dir\n"
						    "r/main/d/b file two\nr/main/e file\n");
	assert_int_equal(t.sum.files, 5);
}

/* Whatever was noted of them: the commit says what was the commit's. */
static void what_lives_on_unread_is_kept(void **state)
{
	struct stand *s = *state;
	struct oid p = some_commit(s);
	struct run_branch b = branch(s, &p, NULL);
	struct tree_root t;

	saw(s, "d/a", SEEN_PRESENT | SEEN_KEPT);
	saw(s, "f", SEEN_PRESENT | SEEN_READ | SEEN_KEPT);
	t = store_tree(s, &b);
	assert_string_equal(part_of(s, &t, "kept"), " dir\nr dir\nr/main dir\nr/main/d dir\n"
						    "r/main/d/a file one\n");
	assert_string_equal(part_of(s, &t, "read"),
			    " dir\nr dir\nr/main dir\nr/main/f file three\n");
}

static void what_the_run_made_itself_is_left_out(void **state)
{
	struct stand *s = *state;
	struct oid p = some_commit(s);
	struct run_branch b = branch(s, &p, NULL);
	struct tree_root t;

	/* Created after it was looked for; made in a directory of its own; removed. */
	seen_mark(s->seen, saw(s, "new", SEEN_ABSENT), SEEN_PRESENT);
	seen_mark(s->seen, saw(s, "own/x", SEEN_PRESENT), SEEN_READ);
	saw(s, "own/y", SEEN_ABSENT);
	seen_mark(s->seen, saw(s, "f", SEEN_PRESENT), SEEN_ABSENT);
	/* A file that became a directory. */
	saw(s, "e/x", SEEN_PRESENT);
	saw(s, "d/a", SEEN_ABSENT);
	t = store_tree(s, &b);
	assert_string_equal(part_of(s, &t, "looked"), " dir\nr dir\nr/main dir\nr/main/d dir 750\n"
						      "r/main/e file\nr/main/f file three\n"
						      "r/main/new -\n");
	assert_string_equal(part_of(s, &t, "read"), "");
}

static void a_directory_that_was_only_seen_gone_is_left_out(void **state)
{
	struct stand *s = *state;
	struct oid p = some_commit(s);
	struct run_branch b = branch(s, &p, NULL);
	struct tree_root t;

	saw(s, "d", SEEN_ABSENT);
	saw(s, "f", SEEN_PRESENT);
	t = store_tree(s, &b);
	assert_string_equal(part_of(s, &t, "looked"),
			    " dir\nr dir\nr/main dir\nr/main/f file three\n");
}

static unsigned count_packs(struct stand *s)
{
	struct backend *b = s->head.store->backend;
	unsigned n = 0;

	assert_ok(b->ops->list(b, "packs/", NULL, count_key, &n, NULL));
	return n;
}

static void runs_that_see_the_same_share_their_tree(void **state)
{
	struct stand *s = *state;
	struct oid p = some_commit(s);
	struct run_branch b = branch(s, &p, NULL);
	struct tree_root t, again;
	unsigned packs;

	seen_mark(s->seen, saw(s, "d/a", SEEN_PRESENT), SEEN_READ);
	seen_mark(s->seen, saw(s, "f", SEEN_PRESENT), SEEN_READ);
	t = store_tree(s, &b);
	packs = count_packs(s);
	/* In another order, by another process. */
	seen_free(s->seen);
	assert_ok(seen_open(s->head.scratch.fd, "other", &s->seen));
	stand_close(&s->head);
	stand_open(&s->head);
	seen_mark(s->seen, saw(s, "f", SEEN_PRESENT), SEEN_READ);
	seen_mark(s->seen, saw(s, "d/a", SEEN_PRESENT), SEEN_READ);
	again = store_tree(s, &b);
	assert_true(oid_equal(&t.id, &again.id));
	assert_int_equal(count_packs(s), packs);
}

static void listings_and_whole_trees_say_what_they_were(void **state)
{
	struct stand *s = *state;
	struct oid p = some_commit(s);
	struct run_branch b = branch(s, &p, NULL);
	struct node *leaf = NULL;
	struct listing_id id, want;
	struct digest *d;
	struct tree_root t;
	struct inode ino;
	struct span value;

	seen_mark(s->seen, saw(s, "d", SEEN_PRESENT), SEEN_LISTED);
	seen_mark(s->seen, saw(s, "d", SEEN_PRESENT), SEEN_TREE);
	seen_mark(s->seen, seen_top(s->seen, ""), SEEN_LISTED);
	seen_mark(s->seen, seen_top(s->seen, "r"), SEEN_LISTED);
	t = store_tree(s, &b);
	assert_string_equal(
		part_of(s, &t, "looked"),
		" dir listed\nr dir listed\nr/main dir\nr/main/d dir 750 listed whole\n");

	/* As the document says it. */
	assert_ok(digest_new(&d));
	digest_put(d, "\1a\0\1b\0", 6);
	digest_end(d, want.b);
	assert_ok(run_tree_find(&t, "looked", span_str("r/main/d"), &s->head.acc, &leaf, &ino));
	assert_ok(xattr_get(ino.xattrs.list, span_str(RUN_TREE_LISTING), &value));
	assert_int_equal(value.len, sizeof(want.b));
	assert_memory_equal(value.data, want.b, value.len);
	node_unref(leaf);
	digest_put(d, "\2r\0", 3);
	digest_end(d, want.b);
	assert_ok(listing_of_repos(
		s->head.store->refs,
		&(struct refs_wait){ .may_wait = true, .deadline = DEADLINE_NEVER }, &id));
	assert_memory_equal(&id, &want, sizeof(id));
	digest_free(d);
}

static int cancel(struct span path, const struct inode *ino, void *ctx)
{
	atomic_bool *cancelled = ctx;

	assert_false(*cancelled);
	*cancelled = true;
	return 0;
}

static void a_walk_through_what_is_in_memory_ends_when_its_caller_goes(void **state)
{
	struct stand *s = *state;
	struct oid p = some_commit(s);
	struct run_branch b = branch(s, &p, NULL);
	atomic_bool cancelled = false;
	struct tree_root t;

	seen_mark(s->seen, saw(s, "d", SEEN_PRESENT), SEEN_LISTED);
	t = store_tree(s, &b);
	part_of(s, &t, "looked");
	s->head.acc.deadline.cancelled = &cancelled;
	assert_int_equal(run_tree_walk(&t, "looked", &s->head.acc, cancel, &cancelled), -ECANCELED);
	s->head.acc.deadline.cancelled = NULL;
}

static void a_hard_link_is_what_it_leads_to(void **state)
{
	struct stand *s = *state;
	struct run_branch b;
	struct tree_root t;
	struct oid p;

	make(s, "", "x", S_IFREG | 0644, "linked");
	add_name(s, "x", "y");
	p = stand_commit(&s->head, NULL);
	b = branch(s, &p, NULL);
	seen_mark(s->seen, saw(s, "y", SEEN_PRESENT), SEEN_READ);
	t = store_tree(s, &b);
	assert_string_equal(part_of(s, &t, "read"),
			    " dir\nr dir\nr/main dir\nr/main/y file linked\n");
	assert_false(t.sum.has_links);
}

static void a_commit_is_seen_by_its_id(void **state)
{
	struct stand *s = *state;
	struct oid p = some_commit(s), none = { 0 };
	struct run_branch b = branch(s, &none, NULL);
	char hex[OID_HEX];
	_cleanup_free_ char *top = strf("r/%s", oid_hex(&p, hex)), *want = NULL;
	seen_place f = seen_name(s->seen, seen_top(s->seen, top), span_str("f"), SEEN_PRESENT);
	struct tree_root t;

	seen_mark(s->seen, f, SEEN_READ);
	t = store_tree(s, &b);
	want = strf(" dir\nr dir\n%s dir\n%s/f file three\n", top, top);
	assert_string_equal(part_of(s, &t, "read"), want);
	/* Also in a repo of which the run has no branch. */
	assert_ok(run_tree_write(s->head.store, s->seen, NULL, 0, NULL, 0, &s->head.acc, &t));
	assert_string_equal(part_of(s, &t, "read"), want);
}

static void names_of_repos_and_branches_can_be_absent(void **state)
{
	struct stand *s = *state;
	struct oid p = some_commit(s);
	struct run_branch b = branch(s, &p, NULL);
	seen_place all = seen_top(s->seen, ""), r = seen_top(s->seen, "r");
	struct tree_root t;

	seen_name(s->seen, all, span_str("nowhere"), SEEN_ABSENT);
	seen_name(s->seen, all, span_str("r"), SEEN_PRESENT);
	seen_name(s->seen, r, span_str("other"), SEEN_ABSENT);
	seen_name(s->seen, r, span_str("own"), SEEN_PRESENT);
	seen_mark(s->seen, seen_name(s->seen, r, span_str("made"), SEEN_ABSENT), SEEN_PRESENT);
	seen_name(s->seen, seen_top(s->seen, "r/own"), span_str("x"), SEEN_PRESENT);
	seen_name(s->seen, r, span_str("main"), SEEN_PRESENT);
	t = store_tree(s, &b);
	assert_string_equal(part_of(s, &t, "looked"),
			    " dir\nnowhere -\nr dir\nr/made -\nr/main dir\nr/other -\n");
}

/* The ids that a name of the repo led to, as "looked" has them; NULL: nothing is noted. */
static int commits_of_name(struct stand *s, const struct tree_root *t, const char *name,
			   struct buf *ret)
{
	_cleanup_buf_ struct buf xattrs = { 0 };
	struct node *leaf = NULL;
	struct span value;
	struct inode ino;
	int r;

	assert_ok(run_tree_find(t, RUN_TREE_LOOKED, span_str(name), &s->head.acc, &leaf, &ino));
	assert_ok(xattrs_load(s->head.store->reader, &ino.xattrs, &s->head.acc, &xattrs));
	r = xattr_get(buf_span(&xattrs), span_str(RUN_TREE_COMMIT), &value);
	if (r == 0)
		buf_put(ret, value.data, value.len);
	node_unref(leaf);
	return r;
}

static void what_was_not_there_at_first_is_marked(void **state)
{
	struct stand *s = *state;
	struct oid p = some_commit(s), none = { 0 };
	struct run_branch b = branch(s, &p, NULL);
	seen_place all = seen_top(s->seen, ""), r = seen_top(s->seen, "r");
	static const char *const names[] = { "r", "r/main" };
	struct tree_root t;

	seen_name(s->seen, all, span_str("r"), SEEN_ABSENT);
	seen_name(s->seen, all, span_str("r"), SEEN_PRESENT);
	seen_name(s->seen, r, span_str("main"), SEEN_ABSENT);
	seen_name(s->seen, r, span_str("main"), SEEN_PRESENT);
	t = store_tree(s, &b);
	assert_string_equal(part_of(s, &t, "looked"), " dir\nr dir\nr/main dir\n");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_buf_ struct buf ids = { 0 };

		assert_ok(commits_of_name(s, &t, names[i], &ids));
		assert_true(span_equal(buf_span(&ids), span_of(none.b, OID_SIZE)));
	}
}

static void a_name_is_kept_with_the_commit_that_it_led_to(void **state)
{
	struct stand *s = *state;
	struct oid p = some_commit(s), other = { { 7 } };
	_cleanup_buf_ struct buf one = { 0 }, two = { 0 };
	struct run_branch b = branch(s, &p, NULL);
	seen_place r = seen_top(s->seen, "r"), n, m;
	char hex[OID_HEX];
	struct tree_root t;

	n = seen_name(s->seen, r, span_str("n"), SEEN_PRESENT);
	seen_name(s->seen, n, span_str(oid_hex(&p, hex)), SEEN_PRESENT);
	m = seen_name(s->seen, r, span_str("moved"), SEEN_PRESENT);
	seen_name(s->seen, m, span_str(oid_hex(&p, hex)), SEEN_PRESENT);
	seen_name(s->seen, m, span_str(oid_hex(&other, hex)), SEEN_PRESENT);
	t = store_tree(s, &b);
	assert_ok(commits_of_name(s, &t, "r/n", &one));
	assert_true(span_equal(buf_span(&one), span_of(p.b, OID_SIZE)));
	assert_ok(commits_of_name(s, &t, "r/moved", &two));
	assert_int_equal(two.len, 2 * OID_SIZE);
}

static void of_an_unborn_branch_all_is_absent(void **state)
{
	struct stand *s = *state;
	struct oid none = { 0 }, result;
	struct run_branch b;
	struct tree_root t;

	saw(s, "new", SEEN_ABSENT);
	seen_mark(s->seen, seen_top(s->seen, "r/main"), SEEN_LISTED);
	make(s, "", "new", S_IFREG | 0644, "made");
	result = stand_commit(&s->head, NULL);
	b = branch(s, &none, &result);
	t = store_tree(s, &b);
	assert_string_equal(part_of(s, &t, "looked"),
			    " dir\nr dir\nr/main dir listed\nr/main/new -\n");
	assert_string_equal(part_of(s, &t, "written"),
			    " dir\nr dir\nr/main dir\nr/main/new file made\n");
}

static void the_runs_own_files_are_kept_whole(void **state)
{
	struct stand *s = *state;
	int fd = openat(s->head.scratch.fd, "out", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	const struct run_extra extra[] = {
		{ .name = "stdout", .fd = fd },
		{ .name = "environment.json", .bytes = span_str("{}"), .fd = -1 },
	};
	struct tree_root t;

	assert_int_equal(write(fd, "said", 4), 4);
	assert_ok(run_tree_write(s->head.store, s->seen, NULL, 0, extra, 2, &s->head.acc, &t));
	close(fd);
	assert_string_equal(part_of(s, &t, "extra"),
			    " dir\nenvironment.json file {}\nstdout file said\n");
}

static void a_record_says_where_the_tree_is(void **state)
{
	struct stand *s = *state;
	struct oid p = some_commit(s);
	struct run_branch b = branch(s, &p, NULL);
	_cleanup_free_ char *before = NULL;
	struct tree_root t, again;
	json_t *j;

	seen_mark(s->seen, saw(s, "d/b", SEEN_PRESENT), SEEN_READ);
	t = store_tree(s, &b);
	before = strdup(part_of(s, &t, "looked"));
	j = run_tree_json(&t);
	assert_non_null(j);
	assert_ok(run_tree_read(j, &again));
	assert_true(oid_equal(&t.id, &again.id));
	assert_true(tree_sum_equal(&t.sum, &again.sum));
	assert_int_equal(again.loc.state, LOC_AT);
	assert_memory_equal(&again.loc.pack, &t.loc.pack, sizeof(t.loc.pack));
	assert_int_equal(again.loc.offset, t.loc.offset);
	stand_close(&s->head);
	stand_open(&s->head);
	assert_string_equal(part_of(s, &again, "looked"), before);

	/* Without its hint it is found all the same; without its id it is none. */
	json_object_set_new(j, "hint", json_string("00"));
	assert_ok(run_tree_read(j, &again));
	assert_int_equal(again.loc.state, LOC_NONE);
	json_object_set_new(j, "dirs", json_integer(-1));
	assert_int_equal(run_tree_read(j, &again), -EBADMSG);
	json_decref(j);
	assert_int_equal(run_tree_read(NULL, &again), -EBADMSG);
}

static void nothing_seen_is_a_tree_too(void **state)
{
	struct stand *s = *state;
	struct tree_root t;

	assert_ok(run_tree_write(s->head.store, s->seen, NULL, 0, NULL, 0, &s->head.acc, &t));
	assert_string_equal(part_of(s, &t, "looked"), "");
	assert_string_equal(part_of(s, &t, "extra"), "");
}

static void one_entry_is_found_by_its_path(void **state)
{
	struct stand *s = *state;
	struct oid p = some_commit(s);
	struct run_branch b = branch(s, &p, NULL);
	struct node *leaf = NULL;
	struct tree_root t;
	struct inode ino;

	saw(s, "d/a", SEEN_PRESENT);
	t = store_tree(s, &b);
	assert_ok(run_tree_find(&t, "looked", span_str("r/main/d/a"), &s->head.acc, &leaf, &ino));
	assert_int_equal(ino.content.size, 3);
	node_unref(leaf);
	assert_int_equal(
		run_tree_find(&t, "looked", span_str("r/main/d/b"), &s->head.acc, &leaf, &ino),
		-ENOENT);
	assert_int_equal(
		run_tree_find(&t, "looked", span_str("r/main/d/a/x"), &s->head.acc, &leaf, &ino),
		-ENOENT);
	assert_int_equal(run_tree_find(&t, "read", span_str(""), &s->head.acc, &leaf, &ino),
			 -ENOENT);
}

static int skip_directories(struct span path, const struct inode *ino, void *ctx)
{
	++*(unsigned *)ctx;
	return path.len > 0 && ino->type == FT_DIR ? RUN_TREE_SKIP : 0;
}

static void what_is_below_can_be_passed_over(void **state)
{
	struct stand *s = *state;
	struct oid p = some_commit(s);
	struct run_branch b = branch(s, &p, NULL);
	unsigned calls = 0;
	struct tree_root t;

	saw(s, "d/a", SEEN_PRESENT);
	t = store_tree(s, &b);
	assert_ok(run_tree_walk(&t, "looked", &s->head.acc, skip_directories, &calls));
	assert_int_equal(calls, 2);
}

static void a_missing_commit_is_an_error_and_nothing_is_left_out(void **state)
{
	struct stand *s = *state;
	struct oid none = { { 7 } };
	struct run_branch b = branch(s, &none, NULL);
	struct tree_root t;

	saw(s, "f", SEEN_PRESENT);
	assert_int_equal(run_tree_write(s->head.store, s->seen, &b, 1, NULL, 0, &s->head.acc, &t),
			 -EBADMSG);
}

static int count_files(struct span path, const struct inode *ino, void *ctx)
{
	*(unsigned *)ctx += ino->type == FT_REG;
	return 0;
}

/* Many names in few directories: nodes of several levels, and a time that is printed. */
static void many_files_come_out_as_many(void **state)
{
	enum {
		DIRS = 20,
		FILES = 1000
	};
	struct stand *s = *state;
	unsigned files = 0;
	struct run_branch b;
	struct tree_root t;
	struct oid p;
	char name[16];
	int64_t begun;

	for (unsigned i = 0; i < DIRS; i++) {
		struct vnode *d;

		snprintf(name, sizeof(name), "d%u", i);
		d = stand_create(&s->head, s->head.root, name, S_IFDIR | 0755);
		for (unsigned k = 0; k < FILES; k++) {
			struct vnode *v;

			snprintf(name, sizeof(name), "f%u", k);
			v = stand_create(&s->head, d, name, S_IFREG | 0644);
			vnode_unref(s->head.vnodes, v);
		}
		vnode_unref(s->head.vnodes, d);
	}
	p = stand_commit(&s->head, NULL);
	begun = now_ns();
	for (unsigned i = 0; i < DIRS; i++) {
		seen_place d;

		snprintf(name, sizeof(name), "d%u", i);
		d = seen_name(s->seen, seen_top(s->seen, "r/main"), span_str(name), SEEN_PRESENT);
		for (unsigned k = 0; k < FILES; k++) {
			snprintf(name, sizeof(name), "f%u", k);
			seen_mark(s->seen, seen_name(s->seen, d, span_str(name), SEEN_PRESENT),
				  SEEN_READ);
		}
	}
	b = branch(s, &p, NULL);
	t = store_tree(s, &b);
	print_message("%lld ms\n", (long long)(now_ns() - begun) / 1000000);
	assert_int_equal(t.sum.files, 2 * DIRS * FILES);
	assert_ok(run_tree_walk(&t, "read", &s->head.acc, count_files, &files));
	assert_int_equal(files, DIRS * FILES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(what_was_looked_for_is_there_as_the_commit_has_it),
		test(what_was_read_is_there_and_no_directory_without_it),
		test(what_lives_on_unread_is_kept),
		test(what_the_run_made_itself_is_left_out),
		test(a_directory_that_was_only_seen_gone_is_left_out),
		test(runs_that_see_the_same_share_their_tree),
		test(listings_and_whole_trees_say_what_they_were),
		test(a_walk_through_what_is_in_memory_ends_when_its_caller_goes),
		test(a_hard_link_is_what_it_leads_to),
		test(a_commit_is_seen_by_its_id),
		test(names_of_repos_and_branches_can_be_absent),
		test(what_was_not_there_at_first_is_marked),
		test(a_name_is_kept_with_the_commit_that_it_led_to),
		test(of_an_unborn_branch_all_is_absent),
		test(the_runs_own_files_are_kept_whole),
		test(a_record_says_where_the_tree_is),
		test(nothing_seen_is_a_tree_too),
		test(one_entry_is_found_by_its_path),
		test(what_is_below_can_be_passed_over),
		test(a_missing_commit_is_an_error_and_nothing_is_left_out),
		test(many_files_come_out_as_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
