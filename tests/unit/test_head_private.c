/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Heads that no branch belongs to: made on a commit, found by nobody else, kept until discarded.
 */
#include "followstand.h"
#include "head/pin.h"

static struct id128 repo_of(struct headstand *s)
{
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };

	assert_ok(refs_repo(s->store->refs, "r", &w, &rec));
	return rec.id;
}

static struct view *new_private(struct headstand *s, const struct oid *base, const char *label)
{
	struct id128 repo = repo_of(s);
	struct view *v;

	assert_ok(heads_new_private(s->heads, &repo, "r", "main", base, span_str(label), &s->acc,
				    &v));
	return v;
}

/* The stand, with a private head in the place of the branch's. */
static struct headstand inside(const struct headstand *s, struct view *v)
{
	struct headstand in = *s;

	in.head = v;
	access_init(&in.acc, s->store->reader, true);
	in.acc.deadline = DEADLINE_NEVER;
	assert_ok(view_root(v, &in.root));
	return in;
}

/* Lets go of it. */
static void leave_inside(struct headstand *in)
{
	vnode_unref(in->vnodes, in->root);
	view_unref(in->head);
	access_release(&in->acc);
}

static struct oid pin(struct headstand *s)
{
	const struct pin_request plain = { 0 };
	struct oid id;
	bool is_new;

	assert_ok(head_pin(s->head, &plain, &s->acc, &id, &is_new));
	return id;
}

static void change(struct headstand *s, const char *path, const char *text)
{
	struct vnode *v = at(s, path);

	put_text(s, v, text);
	vnode_unref(s->vnodes, v);
}

struct found {
	struct view *head; /* a reference */
	char label[64];
	unsigned count;
};

static int find(struct view *head, struct span label, void *ctx)
{
	struct found *f = ctx;

	f->count++;
	snprintf(f->label, sizeof(f->label), "%.*s", (int)label.len, (const char *)label.data);
	view_unref(f->head);
	f->head = view_ref(head);
	return 0;
}

static unsigned privates(struct headstand *s)
{
	struct found f = { 0 };

	assert_ok(heads_each_private(s->heads, find, &f));
	view_unref(f.head);
	return f.count;
}

static struct oid begin(struct headstand *s)
{
	*s = stand_make();
	make_text(s, s->root, "f", "one");
	return stand_commit(s, NULL);
}

static void what_is_done_in_one_shows_nowhere_else(void **state)
{
	struct headstand s, in;
	struct oid base = begin(&s);

	in = inside(&s, new_private(&s, &base, "x"));
	assert_text(&in, "f", "one");
	change(&in, "f", "two");
	make_text(&in, in.root, "g", "new");
	change(&s, "f", "six");
	assert_text(&in, "f", "two");
	assert_text(&s, "f", "six");
	assert_int_equal(view_unlink(s.root, span_str("g"), &s.acc), -ENOENT);
	leave_inside(&in);
	stand_remove(&s);
}

static int count(struct view *head, void *ctx)
{
	unsigned *n = ctx;

	(*n)++;
	return 0;
}

static void nobody_who_goes_by_branches_finds_one(void **state)
{
	struct headstand s, in;
	struct oid base = begin(&s);
	struct heads_stats before, after;
	struct pinned *p;
	struct view *v;
	unsigned n = 0;
	size_t pinned;

	heads_stats(s.heads, &before);
	in = inside(&s, new_private(&s, &base, "x"));
	change(&in, "f", "two");
	assert_ok(heads_each(s.heads, count, &n));
	assert_int_equal(n, 1);
	assert_ok(heads_get(s.heads, "r", "main", &s.acc, &v));
	assert_ptr_equal(v, s.head);
	view_unref(v);
	assert_ok(heads_pin(s.heads, &(struct pin_request){ 0 }, &s.acc, &p, &pinned));
	assert_int_equal(pinned, 1);
	assert_true(oid_equal(&p[0].commit, &base));
	free(p);
	heads_stats(s.heads, &after);
	assert_int_equal(after.heads, before.heads);
	assert_int_equal(after.dirty, before.dirty);
	assert_true(after.staged > before.staged);
	leave_inside(&in);
	stand_remove(&s);
}

static void its_files_have_the_numbers_that_they_have_in_the_branch(void **state)
{
	struct headstand s, in;
	struct oid base = begin(&s);

	in = inside(&s, new_private(&s, &base, "x"));
	assert_int_equal(in.root->ino, s.root->ino);
	assert_int_equal(ino_of(&in, "f"), ino_of(&s, "f"));
	leave_inside(&in);
	stand_remove(&s);
}

static void each_pin_has_what_it_was_made_on_for_a_parent(void **state)
{
	struct headstand s, in;
	struct oid base = begin(&s), p, q, committed;
	_cleanup_buf_ struct buf object = { 0 };
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	struct id128 repo = repo_of(&s);
	struct commit c;

	in = inside(&s, new_private(&s, &base, "x"));
	p = pin(&in);
	assert_true(oid_equal(&p, &base));
	change(&in, "f", "two");
	p = pin(&in);
	make_text(&in, in.root, "g", "new");
	q = pin(&in);
	assert_false(oid_equal(&p, &q));
	committed = head_committed(in.head);
	assert_true(oid_equal(&committed, &base));
	assert_ok(refs_commit(s.store->refs, &repo, &q, &w, &object));
	assert_ok(commit_read(buf_span(&object), &q, &c));
	assert_int_equal(c.parent_count, 1);
	assert_true(oid_equal(&c.parents[0], &base));
	commit_release(&c);
	leave_inside(&in);
	stand_remove(&s);
}

static void one_on_nothing_is_as_an_unborn_branch(void **state)
{
	struct headstand s = stand_make(), in;
	const struct oid none = { 0 };
	struct found f = { 0 };
	struct stat a, b;
	struct oid p;

	in = inside(&s, new_private(&s, &none, "x"));
	assert_ok(view_getattr(s.root, &s.acc, &a));
	assert_ok(view_getattr(in.root, &s.acc, &b));
	assert_int_equal(a.st_mode, b.st_mode);
	p = pin(&in);
	assert_true(oid_is_null(&p));
	make_text(&in, in.root, "g", "new");
	leave_inside(&in);
	remount(&s);
	assert_ok(heads_each_private(s.heads, find, &f));
	assert_int_equal(f.count, 1);
	in = inside(&s, f.head);
	p = pin(&in);
	assert_false(oid_is_null(&p));
	assert_text(&in, "g", "new");
	leave_inside(&in);
	stand_remove(&s);
}

static void it_is_kept_over_a_restart_with_what_it_is_for(void **state)
{
	struct headstand s, in;
	struct oid base = begin(&s), committed, p, q;
	struct found f = { 0 };

	in = inside(&s, new_private(&s, &base, "20260101-000000-aaaa r/main"));
	change(&in, "f", "two");
	p = pin(&in);
	make_text(&in, in.root, "g", "new");
	leave_inside(&in);
	remount(&s);
	assert_ok(heads_each_private(s.heads, find, &f));
	assert_int_equal(f.count, 1);
	assert_string_equal(f.label, "20260101-000000-aaaa r/main");
	in = inside(&s, f.head);
	assert_text(&in, "f", "two");
	assert_text(&in, "g", "new");
	assert_text(&s, "f", "one");
	assert_int_equal(ino_of(&in, "f"), ino_of(&s, "f"));
	committed = head_committed(in.head);
	assert_true(oid_equal(&committed, &base));
	q = pin(&in);
	assert_false(oid_equal(&p, &q));
	leave_inside(&in);
	stand_remove(&s);
}

/* What was given back goes back to the disk in the background, after a sync point. */
static void assert_nothing_staged(struct headstand *s)
{
	struct heads_stats now = { 0 };

	for (unsigned i = 0; i < 10000; i++) {
		assert_ok(view_fsync(s->root));
		heads_stats(s->heads, &now);
		if (now.staged == 0)
			break;
		usleep(1000);
	}
	assert_int_equal(now.staged, 0);
}

static void a_discarded_one_gives_back_all_it_had(void **state)
{
	struct headstand s, in;
	struct oid base = begin(&s);
	char *bytes = new0(char, 3 << 20);
	struct vnode *v;

	assert_non_null(bytes);
	in = inside(&s, new_private(&s, &base, "x"));
	change(&in, "f", "two");
	v = stand_create(&in, in.root, "large", S_IFREG | 0644);
	assert_ok(view_open(v, O_RDWR, &in.acc));
	assert_ok(view_write(v, 0, span_of(bytes, 3 << 20), false, false, &in.acc));
	view_close(v, O_RDWR);
	vnode_unref(s.vnodes, v);
	assert_int_equal(privates(&s), 1);
	assert_ok(head_discard(in.head));
	assert_int_equal(privates(&s), 0);
	assert_nothing_staged(&s);
	leave_inside(&in);
	remount(&s);
	assert_int_equal(privates(&s), 0);
	assert_nothing_staged(&s);
	assert_text(&s, "f", "one");
	free(bytes);
	stand_remove(&s);
}

static void nobody_changes_a_discarded_one(void **state)
{
	struct headstand s, in;
	struct oid base = begin(&s), id;
	const struct pin_request plain = { 0 };
	struct new_file f = { .mode = S_IFREG | 0600 };
	struct vnode *v;
	struct stat st;
	bool is_new;

	in = inside(&s, new_private(&s, &base, "x"));
	v = stand_create(&in, in.root, "open", S_IFREG | 0644);
	assert_ok(view_open(v, O_RDWR, &in.acc));
	assert_ok(view_unlink(in.root, span_str("open"), &in.acc));
	assert_ok(head_discard(in.head));
	assert_int_equal(head_discard(in.head), -EALREADY);
	assert_int_equal(view_create(in.root, span_str("g"), &f, &in.acc, &v, &st), -ESTALE);
	assert_int_equal(head_pin(in.head, &plain, &in.acc, &id, &is_new), -ESTALE);
	view_close(v, O_RDWR);
	vnode_unref(s.vnodes, v);
	leave_inside(&in);
	stand_remove(&s);
}

static void a_repo_stays_while_something_is_uncommitted_in_one(void **state)
{
	struct headstand s = stand_make(), in;
	struct deadline dl = DEADLINE_NEVER;
	struct id128 repo = repo_of(&s);
	const struct oid none = { 0 };

	in = inside(&s, new_private(&s, &none, "x"));
	make_text(&in, in.root, "g", "new");
	assert_int_equal(heads_remove_repo(s.heads, &repo, "r", &dl), -ENOTEMPTY);
	make_text(&s, s.root, "f", "it is as it was");
	assert_ok(view_unlink(s.root, span_str("f"), &s.acc));
	stand_commit(&s, NULL);
	leave_inside(&in);
	stand_remove(&s);
}

static void in_a_fixed_one_nothing_can_be_changed(void **state)
{
	const struct new_file plain = { .mode = S_IFREG | 0644 };
	const struct setattr cut = { .what = SETATTR_SIZE };
	struct headstand s, in;
	struct oid base = begin(&s);
	struct view *v = new_private(&s, &base, "x");
	struct vnode *f, *new;
	struct stat st;

	head_fix(v);
	in = inside(&s, v);
	assert_ok(view_lookup(in.root, span_str("f"), &in.acc, &f, &st));
	assert_int_equal(view_open(f, O_WRONLY, &in.acc), -EROFS);
	assert_ok(view_open(f, O_RDONLY, &in.acc));
	view_close(f, O_RDONLY);
	assert_int_equal(view_setattr(f, &cut, &in.acc, &st), -EROFS);
	assert_int_equal(view_create(in.root, span_str("new"), &plain, &in.acc, &new, &st), -EROFS);
	assert_int_equal(view_unlink(in.root, span_str("f"), &in.acc), -EROFS);
	vnode_unref(in.vnodes, f);
	leave_inside(&in);
	stand_remove(&s);
}

static void only_a_private_one_can_be_discarded_or_labelled_at_length(void **state)
{
	struct headstand s;
	struct oid base = begin(&s);
	struct id128 repo = repo_of(&s);
	char label[257];
	struct view *v;

	memset(label, 'x', sizeof(label));
	assert_int_equal(head_discard(s.head), -EINVAL);
	assert_int_equal(heads_new_private(s.heads, &repo, "r", "main", &base, span_of(label, 256),
					   &s.acc, &v),
			 -EINVAL);
	assert_ok(heads_new_private(s.heads, &repo, "r", "main", &base, span_of(label, 255), &s.acc,
				    &v));
	view_unref(v);
	assert_int_equal(privates(&s), 1);
	stand_remove(&s);
}

static void a_commit_that_there_is_not_makes_none(void **state)
{
	struct headstand s;
	struct oid base = begin(&s);
	struct id128 repo = repo_of(&s);
	struct view *v;

	base.b[0] ^= 1;
	assert_int_equal(
		heads_new_private(s.heads, &repo, "r", "main", &base, span_str("x"), &s.acc, &v),
		-ENOENT);
	assert_int_equal(privates(&s), 0);
	stand_remove(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_done_in_one_shows_nowhere_else),
		cmocka_unit_test(nobody_who_goes_by_branches_finds_one),
		cmocka_unit_test(its_files_have_the_numbers_that_they_have_in_the_branch),
		cmocka_unit_test(each_pin_has_what_it_was_made_on_for_a_parent),
		cmocka_unit_test(one_on_nothing_is_as_an_unborn_branch),
		cmocka_unit_test(it_is_kept_over_a_restart_with_what_it_is_for),
		cmocka_unit_test(a_discarded_one_gives_back_all_it_had),
		cmocka_unit_test(nobody_changes_a_discarded_one),
		cmocka_unit_test(a_repo_stays_while_something_is_uncommitted_in_one),
		cmocka_unit_test(in_a_fixed_one_nothing_can_be_changed),
		cmocka_unit_test(only_a_private_one_can_be_discarded_or_labelled_at_length),
		cmocka_unit_test(a_commit_that_there_is_not_makes_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
