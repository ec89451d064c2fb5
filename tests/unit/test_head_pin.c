/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Pins of a head: what they hold, and that a pinned head is to whoever asks what it would be without.
 */
#include <fcntl.h>

#include "head/pin.h"
#include "headstand.h"

static const struct pin_request plain;

static void put(struct headstand *s, struct vnode *root, const char *name, const char *text)
{
	struct vnode *v;
	struct stat st;

	if (view_lookup(root, span_str(name), &s->acc, &v, &st) < 0)
		v = stand_create(s, root, name, S_IFREG | 0644);
	assert_ok(view_open(v, O_RDWR, &s->acc));
	assert_ok(view_write(v, 0, span_str(text), false, false, &s->acc));
	view_close(v, O_RDWR);
	vnode_unref(s->vnodes, v);
}

/* What @name is in a commit. */
static void assert_has(struct headstand *s, const struct oid *id, const char *name,
		       const char *text)
{
	struct vnode *root = stand_commit_root(s, id), *v;
	char bytes[64] = "";
	struct stat st;

	assert_ok(view_lookup(root, span_str(name), &s->acc, &v, &st));
	assert_ok(view_open(v, O_RDONLY, &s->acc));
	assert_int_equal(view_read(v, 0, sizeof(bytes), bytes, &s->acc), strlen(text));
	assert_string_equal(bytes, text);
	view_close(v, O_RDONLY);
	vnode_unref(s->vnodes, v);
	vnode_unref(s->vnodes, root);
}

static struct oid pin(struct headstand *s, bool want_new)
{
	struct oid id;
	bool is_new;

	assert_ok(head_pin(s->head, &plain, &s->acc, &id, &is_new));
	assert_int_equal(is_new, want_new);
	return id;
}

static struct commit load_commit(struct headstand *s, const struct oid *id, struct buf *object)
{
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct commit c;

	assert_ok(refs_repo(s->store->refs, "r", &w, &rec));
	assert_ok(refs_commit(s->store->refs, &rec.id, id, &w, object));
	assert_ok(commit_read(buf_span(object), id, &c));
	return c;
}

/* @id's only parent is @want; null: it has none. */
static void assert_parent(struct headstand *s, const struct oid *id, const struct oid *want)
{
	_cleanup_buf_ struct buf object = { 0 };
	struct commit c = load_commit(s, id, &object);

	assert_int_equal(c.parent_count, !oid_is_null(want));
	if (c.parent_count)
		assert_true(oid_equal(&c.parents[0], want));
	commit_release(&c);
}

static struct oid tip(struct headstand *s)
{
	_cleanup_(head_status_release) struct head_status st = { 0 };

	assert_ok(head_status(s->head, &st));
	return st.tip;
}

static bool is_dirty(struct headstand *s)
{
	_cleanup_(head_status_release) struct head_status st = { 0 };

	assert_ok(head_status(s->head, &st));
	return st.is_dirty;
}

static void a_pin_is_a_commit_of_what_is_there_and_moves_no_branch(void **state)
{
	struct headstand s = stand_make();
	struct oid base, p;

	put(&s, s.root, "a", "one");
	base = stand_commit(&s, NULL);
	put(&s, s.root, "a", "two");
	p = pin(&s, true);
	assert_has(&s, &p, "a", "two");
	assert_parent(&s, &p, &base);
	base = tip(&s);
	assert_has(&s, &base, "a", "one");
	assert_true(is_dirty(&s));
	stand_remove(&s);
}

static void a_pin_says_that_it_is_one(void **state)
{
	struct headstand s = stand_make();
	const struct commit_meta meta = { span_str("pfs.run"), span_str("20260101-000000-aaaa") };
	const struct pin_request req = { .message = "why", .meta = &meta, .meta_count = 1 };
	_cleanup_buf_ struct buf object = { 0 };
	struct commit c;
	struct oid id;
	bool is_new;

	put(&s, s.root, "a", "one");
	assert_ok(head_pin(s.head, &req, &s.acc, &id, &is_new));
	c = load_commit(&s, &id, &object);
	assert_true(span_equal(c.message, span_str("why")));
	assert_int_equal(c.meta_count, 3);
	assert_true(span_equal(c.meta[0].key, span_str("pfs.branch")));
	assert_true(span_equal(c.meta[1].key, span_str("pfs.pin")));
	assert_true(span_equal(c.meta[1].value, span_str("1")));
	assert_true(span_equal(c.meta[2].key, span_str("pfs.run")));
	commit_release(&c);
	stand_remove(&s);
}

static void a_pin_of_a_clean_head_is_its_last_commit(void **state)
{
	struct headstand s = stand_make();
	struct oid id = pin(&s, false), base;

	assert_true(oid_is_null(&id));
	put(&s, s.root, "a", "one");
	base = stand_commit(&s, NULL);
	id = pin(&s, false);
	assert_true(oid_equal(&id, &base));
	assert_false(is_dirty(&s));
	stand_remove(&s);
}

static void a_pin_with_nothing_new_is_the_last_one(void **state)
{
	struct headstand s = stand_make();
	struct oid p, q;

	put(&s, s.root, "a", "one");
	p = pin(&s, true);
	q = pin(&s, false);
	assert_true(oid_equal(&p, &q));
	stand_close(&s);
	stand_open(&s);
	q = pin(&s, false);
	assert_true(oid_equal(&p, &q));
	put(&s, s.root, "b", "x");
	assert_ok(view_unlink(s.root, span_str("b"), &s.acc));
	q = pin(&s, true); /* the root's times */
	assert_false(oid_equal(&p, &q));
	stand_remove(&s);
}

static void a_later_pin_has_the_same_parent_and_not_the_former_pin(void **state)
{
	struct headstand s = stand_make();
	struct oid base, p, q;

	put(&s, s.root, "a", "one");
	base = stand_commit(&s, NULL);
	put(&s, s.root, "a", "two");
	p = pin(&s, true);
	put(&s, s.root, "b", "three");
	q = pin(&s, true);
	assert_false(oid_equal(&p, &q));
	assert_parent(&s, &q, &base);
	assert_has(&s, &q, "a", "two");
	assert_has(&s, &q, "b", "three");
	stand_remove(&s);
}

static void a_commit_after_pins_has_none_in_its_history(void **state)
{
	struct headstand s = stand_make();
	struct oid base, id, now;

	put(&s, s.root, "a", "one");
	base = stand_commit(&s, NULL);
	put(&s, s.root, "a", "two");
	pin(&s, true);
	/* With nothing over the pin, and with something. */
	id = stand_commit(&s, "named");
	assert_parent(&s, &id, &base);
	assert_has(&s, &id, "a", "two");
	assert_false(is_dirty(&s));
	now = tip(&s);
	assert_true(oid_equal(&now, &id));
	put(&s, s.root, "a", "333");
	pin(&s, true);
	put(&s, s.root, "b", "four");
	base = id;
	id = stand_commit(&s, NULL);
	assert_parent(&s, &id, &base);
	assert_has(&s, &id, "a", "333");
	assert_has(&s, &id, "b", "four");
	stand_remove(&s);
}

static void the_first_commit_after_a_pin_of_an_unborn_branch_has_no_parent(void **state)
{
	struct headstand s = stand_make();
	const struct oid none = { 0 };
	struct oid p, id;

	put(&s, s.root, "a", "one");
	p = pin(&s, true);
	assert_parent(&s, &p, &none);
	id = head_committed(s.head);
	assert_true(oid_is_null(&id));
	id = stand_commit(&s, NULL);
	assert_parent(&s, &id, &none);
	assert_has(&s, &id, "a", "one");
	stand_remove(&s);
}

/* Takes the name away and brings back all that it has changed. */
static void revert(struct headstand *s, const char *name, const struct stat *was)
{
	struct setattr a = { .what = SETATTR_MTIME | SETATTR_CTIME };
	struct stat st;

	assert_ok(view_unlink(s->root, span_str(name), &s->acc));
	a.mtime = was->st_mtim;
	a.ctime = was->st_ctim;
	assert_ok(view_setattr(s->root, &a, &s->acc, &st));
}

static void a_head_goes_back_to_its_commit_when_all_was_reverted(void **state)
{
	struct headstand s = stand_make();
	struct commit_request req = { .name = "v1" };
	struct commit_result res;
	struct oid base, id;
	struct stat was;

	put(&s, s.root, "a", "one");
	base = stand_commit(&s, NULL);
	assert_ok(view_getattr(s.root, &s.acc, &was));
	put(&s, s.root, "b", "two");
	pin(&s, true);
	revert(&s, "b", &was);
	id = pin(&s, true);
	assert_true(oid_equal(&id, &base));
	assert_false(is_dirty(&s));
	/* The same by a commit. */
	put(&s, s.root, "b", "two");
	pin(&s, true);
	revert(&s, "b", &was);
	assert_ok(head_commit(s.head, &req, &s.acc, &res));
	assert_false(res.is_new);
	assert_true(oid_equal(&res.id, &base));
	assert_false(is_dirty(&s));
	stand_remove(&s);
}

static void a_pinned_head_follows_nobody_and_its_branch_stays(void **state)
{
	struct headstand s = stand_make();
	struct oid base, other;
	struct id128 repo = { 0 };
	_cleanup_buf_ struct buf object = { 0 };
	struct deadline dl = DEADLINE_NEVER;
	struct commit c;

	put(&s, s.root, "a", "one");
	base = stand_commit(&s, NULL);
	put(&s, s.root, "a", "two");
	other = stand_commit(&s, NULL);
	c = load_commit(&s, &base, &object);
	repo = c.repo;
	commit_release(&c);
	put(&s, s.root, "b", "three");
	pin(&s, true);
	assert_int_equal(head_follow(s.head, &other, &s.acc), 0);
	assert_int_equal(heads_remove(s.heads, &repo, "main", &dl), -ENOTEMPTY);
	assert_int_equal(heads_remove_repo(s.heads, &repo, "r", &dl), -ENOTEMPTY);
	assert_true(is_dirty(&s));
	stand_remove(&s);
}

static void a_pinned_head_is_what_it_was_after_a_restart(void **state)
{
	struct headstand s = stand_make();
	struct oid base, committed, p, q, id;

	put(&s, s.root, "a", "one");
	base = stand_commit(&s, NULL);
	put(&s, s.root, "a", "two");
	p = pin(&s, true);
	stand_close(&s);
	stand_open(&s);
	committed = head_committed(s.head);
	assert_true(oid_equal(&committed, &base));
	q = view_commit(s.head);
	assert_true(oid_equal(&q, &p));
	assert_true(is_dirty(&s));
	id = stand_commit(&s, NULL);
	assert_parent(&s, &id, &base);
	assert_has(&s, &id, "a", "two");
	stand_remove(&s);
}

static void the_commit_that_files_tell_of_is_the_committed_one(void **state)
{
	struct headstand s = stand_make();
	_cleanup_buf_ struct buf text = { 0 };
	char hex[OID_HEX];
	struct oid base;

	put(&s, s.root, "a", "one");
	base = stand_commit(&s, NULL);
	put(&s, s.root, "a", "two");
	pin(&s, true);
	assert_ok(view_getxattr(s.root, span_str("user.pfs.commit"), &s.acc, &text));
	assert_true(span_equal(buf_span(&text), span_str(oid_hex(&base, hex))));
	stand_remove(&s);
}

static void a_head_that_only_has_files_without_a_name_has_nothing_to_pin(void **state)
{
	struct headstand s = stand_make();
	struct new_file f = { .mode = S_IFREG | 0600 };
	struct oid base, id;
	struct vnode *v;
	char bytes[8] = "";
	struct stat st;

	put(&s, s.root, "a", "one");
	base = stand_commit(&s, NULL);
	assert_ok(view_tmpfile(s.root, &f, &s.acc, &v, &st));
	assert_ok(view_open(v, O_RDWR, &s.acc));
	assert_ok(view_write(v, 0, span_str("secret"), false, false, &s.acc));
	id = pin(&s, false);
	assert_true(oid_equal(&id, &base));
	put(&s, s.root, "b", "two");
	pin(&s, true);
	assert_int_equal(view_read(v, 0, sizeof(bytes), bytes, &s.acc), 6);
	assert_string_equal(bytes, "secret");
	view_close(v, O_RDWR);
	vnode_unref(s.vnodes, v);
	stand_remove(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pin_is_a_commit_of_what_is_there_and_moves_no_branch),
		cmocka_unit_test(a_pin_says_that_it_is_one),
		cmocka_unit_test(a_pin_of_a_clean_head_is_its_last_commit),
		cmocka_unit_test(a_pin_with_nothing_new_is_the_last_one),
		cmocka_unit_test(a_later_pin_has_the_same_parent_and_not_the_former_pin),
		cmocka_unit_test(a_commit_after_pins_has_none_in_its_history),
		cmocka_unit_test(the_first_commit_after_a_pin_of_an_unborn_branch_has_no_parent),
		cmocka_unit_test(a_head_goes_back_to_its_commit_when_all_was_reverted),
		cmocka_unit_test(a_pinned_head_follows_nobody_and_its_branch_stays),
		cmocka_unit_test(a_pinned_head_is_what_it_was_after_a_restart),
		cmocka_unit_test(the_commit_that_files_tell_of_is_the_committed_one),
		cmocka_unit_test(a_head_that_only_has_files_without_a_name_has_nothing_to_pin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
