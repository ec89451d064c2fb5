/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a head leaves behind when it moves to another mount's commit: open files, directories that
 * are gone, and whatever else somebody still has.
 */
#include <stdio.h>

#include "followstand.h"

enum {
	BIG = 300 * 1000, /* several chunks */
};

/* A follower with one file f, and the other mount. */
struct pair {
	struct headstand s, o;
};

static struct pair pair_make(const char *text)
{
	struct pair p = { .s = stand_make() };

	make_text(&p.s, p.s.root, "f", text);
	stand_commit(&p.s, NULL);
	p.o = other_mount(&p.s);
	return p;
}

static void pair_remove(struct pair *p)
{
	leave(&p->o);
	stand_remove(&p->s);
}

/* The other mount commits what it has, and the head follows. */
static struct oid follow(struct pair *p)
{
	struct oid id = stand_commit(&p->o, NULL);

	assert_follows(&p->s, &id);
	return id;
}

/* To where @ahead is. */
static void catch_up(struct headstand *behind, struct headstand *ahead)
{
	struct oid id = view_commit(ahead->head);

	assert_follows(behind, &id);
}

/* The follower commits what it has, and the other mount's head follows. */
static void share(struct pair *p)
{
	stand_commit(&p->s, NULL);
	catch_up(&p->o, &p->s);
}

static void change(struct pair *p, const char *path, const char *text)
{
	struct vnode *v = at(&p->o, path);
	struct setattr empty = { .what = SETATTR_SIZE };
	struct stat st;

	assert_ok(view_setattr(v, &empty, &p->o.acc, &st));
	put_text(&p->o, v, text);
	vnode_unref(p->o.vnodes, v);
}

static void assert_reads(struct headstand *s, struct vnode *v, const char *want)
{
	char got[64] = { 0 };

	assert_ok(view_open(v, O_RDONLY, &s->acc));
	assert_int_equal(view_read(v, 0, sizeof(got) - 1, got, &s->acc), strlen(want));
	view_close(v, O_RDONLY);
	assert_string_equal(got, want);
}

static struct stat stat_of(struct headstand *s, struct vnode *v)
{
	struct stat st;

	assert_ok(view_getattr(v, &s->acc, &st));
	return st;
}

static void an_open_file_goes_on_being_what_it_was(void **state)
{
	struct pair p = pair_make("the first");
	struct vnode *v = at(&p.s, "f"), *w;
	struct stat was = stat_of(&p.s, v), is;

	assert_ok(view_open(v, O_RDONLY, &p.s.acc));
	change(&p, "f", "something longer");
	follow(&p);
	assert_reads(&p.s, v, "the first");
	is = stat_of(&p.s, v);
	assert_int_equal(is.st_size, was.st_size);
	assert_int_equal(is.st_ino, was.st_ino);
	assert_memory_equal(&is.st_mtim, &was.st_mtim, sizeof(was.st_mtim));
	assert_int_equal(is.st_nlink, 0);

	w = at(&p.s, "f");
	assert_int_not_equal(vnode_id(w), vnode_id(v));
	assert_int_not_equal(w->ino, v->ino);
	assert_text(&p.s, "f", "something longer");
	change(&p, "f", "the third");
	follow(&p);
	assert_reads(&p.s, v, "the first");
	assert_text(&p.s, "f", "the third");
	assert_int_equal(stat_of(&p.s, w).st_size, strlen("something longer"));
	view_close(v, O_RDONLY);
	vnode_unref(p.s.vnodes, v);
	vnode_unref(p.s.vnodes, w);
	pair_remove(&p);
}

static void put_big(struct headstand *s, struct vnode *v, uint8_t seed)
{
	uint8_t *bytes = malloc(BIG);

	assert_non_null(bytes);
	for (size_t i = 0; i < BIG; i++)
		bytes[i] = (uint8_t)(seed + i * i / 251);
	assert_ok(view_open(v, O_WRONLY, &s->acc));
	assert_ok(view_write(v, 0, span_of(bytes, BIG), false, false, &s->acc));
	view_close(v, O_WRONLY);
	free(bytes);
}

static uint8_t *read_big(struct headstand *s, struct vnode *v)
{
	uint8_t *bytes = malloc(BIG);

	assert_non_null(bytes);
	assert_int_equal(view_read(v, 0, BIG, bytes, &s->acc), BIG);
	return bytes;
}

static void a_large_file_is_read_on_where_it_was_begun(void **state)
{
	struct pair p = pair_make("");
	struct vnode *v = at(&p.s, "f"), *w;
	uint8_t *before, *after;

	put_big(&p.s, v, 1);
	stand_commit(&p.s, NULL);
	assert_ok(view_open(v, O_RDONLY, &p.s.acc));
	before = read_big(&p.s, v);
	catch_up(&p.o, &p.s);
	w = at(&p.o, "f");
	put_big(&p.o, w, 2);
	vnode_unref(p.o.vnodes, w);
	follow(&p);
	after = read_big(&p.s, v);
	assert_memory_equal(before, after, BIG);
	free(before);
	free(after);
	view_close(v, O_RDONLY);
	vnode_unref(p.s.vnodes, v);
	pair_remove(&p);
}

static void what_is_not_changed_is_the_same_node(void **state)
{
	struct pair p = pair_make("the same");
	struct vnode *v = at(&p.s, "f"), *w;

	make_text(&p.o, p.o.root, "g", "another");
	follow(&p);
	w = at(&p.s, "f");
	assert_ptr_equal(w, v);
	assert_reads(&p.s, v, "the same");
	vnode_unref(p.s.vnodes, v);
	vnode_unref(p.s.vnodes, w);
	pair_remove(&p);
}

static void other_attributes_make_no_other_file(void **state)
{
	struct pair p = pair_make("the same");
	struct vnode *v = at(&p.s, "f"), *o = at(&p.o, "f"), *w;
	struct setattr s = { .what = SETATTR_MODE, .mode = 0600 };
	struct stat st;

	assert_ok(view_setattr(o, &s, &p.o.acc, &st));
	assert_ok(view_setxattr(o, span_str("user.x"), span_str("y"), 0, false, &p.o.acc));
	vnode_unref(p.o.vnodes, o);
	follow(&p);
	w = at(&p.s, "f");
	assert_ptr_equal(w, v);
	st = stat_of(&p.s, v);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_nlink, 1);
	vnode_unref(p.s.vnodes, v);
	vnode_unref(p.s.vnodes, w);
	pair_remove(&p);
}

static void nothing_is_changed_through_what_was_left_behind(void **state)
{
	struct pair p = pair_make("the first");
	struct vnode *v = at(&p.s, "f");
	struct setattr s = { .what = SETATTR_MODE, .mode = 0600 }, size = { .what = SETATTR_SIZE };
	struct stat st;
	struct oid id, again;

	change(&p, "f", "the second");
	id = follow(&p);
	assert_int_equal(view_open(v, O_RDWR, &p.s.acc), -ESTALE);
	assert_int_equal(view_setattr(v, &s, &p.s.acc, &st), -ESTALE);
	assert_int_equal(view_setattr(v, &size, &p.s.acc, &st), -ESTALE);
	assert_int_equal(view_setxattr(v, span_str("user.x"), span_str("y"), 0, false, &p.s.acc),
			 -ESTALE);
	assert_int_equal(view_link(v, p.s.root, span_str("g"), &p.s.acc, &st), -ESTALE);
	assert_reads(&p.s, v, "the first");
	assert_text(&p.s, "f", "the second");
	vnode_unref(p.s.vnodes, v);
	/* And the head is as clean as it was. */
	again = stand_commit(&p.s, NULL);
	assert_true(oid_equal(&id, &again));
	pair_remove(&p);
}

static void it_says_of_which_commit_it_is(void **state)
{
	struct pair p = pair_make("the first");
	struct vnode *v = at(&p.s, "f");
	struct oid was = view_commit(p.s.head);
	_cleanup_buf_ struct buf said = { 0 };
	char hex[OID_HEX];

	change(&p, "f", "the second");
	follow(&p);
	assert_ok(view_getxattr(v, span_str("user.pfs.commit"), &p.s.acc, &said));
	oid_hex(&was, hex);
	assert_true(span_equal(buf_span(&said), span_str(hex)));
	vnode_unref(p.s.vnodes, v);
	pair_remove(&p);
}

static void attributes_and_targets_are_those_of_before(void **state)
{
	struct pair p = pair_make("");
	struct new_file link = { .mode = S_IFLNK | 0777, .link = span_str("old target") };
	struct vnode *l, *f = at(&p.s, "f");
	_cleanup_buf_ struct buf got = { 0 };
	struct stat st;

	assert_ok(view_create(p.s.root, span_str("l"), &link, &p.s.acc, &l, &st));
	assert_ok(view_setxattr(f, span_str("user.x"), span_str("old"), 0, false, &p.s.acc));
	share(&p);
	change(&p, "f", "the second");
	assert_ok(view_unlink(p.o.root, span_str("l"), &p.o.acc));
	follow(&p);
	assert_ok(view_readlink(l, &p.s.acc, &got));
	assert_true(span_equal(buf_span(&got), span_str("old target")));
	assert_ok(view_getxattr(f, span_str("user.x"), &p.s.acc, &got));
	assert_true(span_equal(buf_span(&got), span_str("old")));
	assert_ok(view_listxattr(f, &p.s.acc, &got));
	assert_int_equal(got.len, sizeof("user.x"));
	vnode_unref(p.s.vnodes, f);
	vnode_unref(p.s.vnodes, l);
	pair_remove(&p);
}

static int count(const struct dir_item *e, void *ctx)
{
	(*(unsigned *)ctx)++;
	return 0;
}

static unsigned items(struct headstand *s, struct dir_handle *h)
{
	unsigned n = 0;

	assert_ok(view_readdir(h, 0, false, &s->acc, count, &n));
	return n;
}

static void a_directory_that_is_gone_is_as_a_removed_one(void **state)
{
	struct pair p = pair_make("");
	struct new_file f = { .mode = S_IFREG | 0644 };
	struct dir_handle *before, *after;
	struct vnode *d, *sub, *v;
	struct stat st;

	make_dir(&p.s, "d");
	d = at(&p.s, "d");
	vnode_unref(p.s.vnodes, stand_create(&p.s, d, "sub", S_IFDIR | 0755));
	make_text(&p.s, d, "f", "in it");
	sub = at(&p.s, "d/sub");
	v = at(&p.s, "d/f");
	share(&p);
	assert_ok(view_opendir(d, &p.s.acc, &before));
	assert_int_equal(items(&p.s, before), 2);
	assert_ok(head_remove_tree(p.o.root, span_str("d"), &p.o.acc));
	follow(&p);

	assert_int_equal(stat_of(&p.s, d).st_nlink, 0);
	assert_int_equal(stat_of(&p.s, sub).st_nlink, 0);
	assert_int_equal(view_lookup(d, span_str("f"), &p.s.acc, &v, &st), -ENOENT);
	assert_int_equal(view_lookup(sub, span_str("f"), &p.s.acc, &v, &st), -ENOENT);
	assert_int_equal(view_create(sub, span_str("g"), &f, &p.s.acc, &v, &st), -ENOENT);
	assert_int_equal(view_unlink(d, span_str("f"), &p.s.acc), -ENOENT);
	assert_int_equal(view_rename(d, span_str("f"), p.s.root, span_str("x"), 0, &p.s.acc),
			 -ENOENT);
	assert_int_equal(items(&p.s, before), 0);
	assert_ok(view_opendir(sub, &p.s.acc, &after));
	assert_int_equal(items(&p.s, after), 0);
	view_closedir(before);
	view_closedir(after);
	assert_reads(&p.s, v, "in it");
	vnode_unref(p.s.vnodes, v);
	vnode_unref(p.s.vnodes, sub);
	vnode_unref(p.s.vnodes, d);
	pair_remove(&p);
}

static void a_file_and_a_directory_change_places(void **state)
{
	struct pair p = pair_make("a file");
	struct vnode *f = at(&p.s, "f"), *d, *w;
	struct stat st;

	make_dir(&p.s, "d");
	d = at(&p.s, "d");
	make_text(&p.s, d, "in", "below");
	share(&p);
	assert_ok(view_rename(p.o.root, span_str("f"), p.o.root, span_str("d"), RENAME_EXCHANGE,
			      &p.o.acc));
	follow(&p);
	assert_text(&p.s, "d", "a file");
	assert_text(&p.s, "f/in", "below");
	assert_int_equal(view_lookup(d, span_str("in"), &p.s.acc, &w, &st), -ENOENT);
	assert_reads(&p.s, f, "a file");
	assert_int_not_equal(ino_of(&p.s, "d"), d->ino);
	assert_int_not_equal(ino_of(&p.s, "f"), f->ino);
	vnode_unref(p.s.vnodes, f);
	vnode_unref(p.s.vnodes, d);
	pair_remove(&p);
}

static void two_files_that_were_swapped_are_two_others(void **state)
{
	struct pair p = pair_make("one");
	struct vnode *f = at(&p.s, "f"), *g;

	make_text(&p.s, p.s.root, "g", "two");
	g = at(&p.s, "g");
	share(&p);
	assert_ok(view_rename(p.o.root, span_str("f"), p.o.root, span_str("g"), RENAME_EXCHANGE,
			      &p.o.acc));
	follow(&p);
	assert_reads(&p.s, f, "one");
	assert_reads(&p.s, g, "two");
	assert_text(&p.s, "f", "two");
	assert_text(&p.s, "g", "one");
	assert_int_not_equal(ino_of(&p.s, "f"), f->ino);
	assert_int_not_equal(ino_of(&p.s, "f"), g->ino);
	assert_int_not_equal(ino_of(&p.s, "g"), g->ino);
	assert_int_not_equal(ino_of(&p.s, "g"), f->ino);
	vnode_unref(p.s.vnodes, f);
	vnode_unref(p.s.vnodes, g);
	pair_remove(&p);
}

static void a_hard_linked_file_is_another_by_all_its_names(void **state)
{
	struct pair p = pair_make("of both");
	struct vnode *f = at(&p.s, "f"), *a, *b;
	struct stat st;

	assert_ok(view_link(f, p.s.root, span_str("g"), &p.s.acc, &st));
	vnode_unref(p.s.vnodes, at(&p.s, "g"));
	share(&p);
	change(&p, "g", "another");
	follow(&p);
	assert_reads(&p.s, f, "of both");
	assert_int_equal(stat_of(&p.s, f).st_nlink, 0);
	a = at(&p.s, "f");
	b = at(&p.s, "g");
	assert_ptr_equal(a, b);
	assert_int_not_equal(a->ino, f->ino);
	assert_int_equal(stat_of(&p.s, a).st_nlink, 2);
	assert_text(&p.s, "f", "another");

	assert_ok(view_unlink(p.o.root, span_str("f"), &p.o.acc));
	follow(&p);
	vnode_unref(p.s.vnodes, b);
	b = at(&p.s, "g");
	assert_ptr_equal(a, b);
	assert_int_equal(stat_of(&p.s, a).st_nlink, 1);
	vnode_unref(p.s.vnodes, a);
	vnode_unref(p.s.vnodes, b);
	vnode_unref(p.s.vnodes, f);
	pair_remove(&p);
}

static void a_file_that_got_a_second_name_reads_on(void **state)
{
	struct pair p = pair_make("of one");
	struct vnode *f = at(&p.s, "f"), *o = at(&p.o, "f");
	struct stat st;

	assert_ok(view_link(o, p.o.root, span_str("g"), &p.o.acc, &st));
	vnode_unref(p.o.vnodes, o);
	follow(&p);
	assert_reads(&p.s, f, "of one");
	assert_text(&p.s, "g", "of one");
	assert_int_equal(ino_of(&p.s, "f"), ino_of(&p.s, "g"));
	vnode_unref(p.s.vnodes, f);
	pair_remove(&p);
}

static void nobody_gets_the_number_of_what_is_left_behind(void **state)
{
	struct pair p = pair_make("the first");
	struct vnode *v = at(&p.s, "f");
	uint64_t ino;

	assert_ok(view_unlink(p.o.root, span_str("f"), &p.o.acc));
	follow(&p);
	/* What is made here. */
	make_text(&p.s, p.s.root, "f", "made here");
	ino = ino_of(&p.s, "f");
	assert_int_not_equal(ino, v->ino);
	assert_reads(&p.s, v, "the first");
	share(&p);
	assert_int_equal(ino_of(&p.s, "f"), ino);
	vnode_unref(p.s.vnodes, v);

	/* What is made elsewhere; and its number stays. */
	v = at(&p.s, "f");
	change(&p, "f", "made there");
	follow(&p);
	ino = ino_of(&p.s, "f");
	assert_int_not_equal(ino, v->ino);
	vnode_unref(p.s.vnodes, v);
	assert_int_equal(ino_of(&p.s, "f"), ino);
	remount(&p.s);
	assert_int_equal(ino_of(&p.s, "f"), ino);
	assert_text(&p.s, "f", "made there");
	pair_remove(&p);
}

static void its_end_does_no_harm_to_what_is_there_now(void **state)
{
	struct pair p = pair_make("the first");
	struct vnode *v = at(&p.s, "f");

	change(&p, "f", "the second");
	follow(&p);
	v = (vnode_unref(p.s.vnodes, v), at(&p.s, "f"));
	put_text(&p.s, v, "the third!");
	vnode_unref(p.s.vnodes, v);
	assert_text(&p.s, "f", "the third!");
	stand_commit(&p.s, NULL);
	remount(&p.s);
	assert_text(&p.s, "f", "the third!");
	pair_remove(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_open_file_goes_on_being_what_it_was),
		cmocka_unit_test(a_large_file_is_read_on_where_it_was_begun),
		cmocka_unit_test(what_is_not_changed_is_the_same_node),
		cmocka_unit_test(other_attributes_make_no_other_file),
		cmocka_unit_test(nothing_is_changed_through_what_was_left_behind),
		cmocka_unit_test(it_says_of_which_commit_it_is),
		cmocka_unit_test(attributes_and_targets_are_those_of_before),
		cmocka_unit_test(a_directory_that_is_gone_is_as_a_removed_one),
		cmocka_unit_test(a_file_and_a_directory_change_places),
		cmocka_unit_test(two_files_that_were_swapped_are_two_others),
		cmocka_unit_test(a_hard_linked_file_is_another_by_all_its_names),
		cmocka_unit_test(a_file_that_got_a_second_name_reads_on),
		cmocka_unit_test(nobody_gets_the_number_of_what_is_left_behind),
		cmocka_unit_test(its_end_does_no_harm_to_what_is_there_now),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
