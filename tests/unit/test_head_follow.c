/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Clean heads that follow their branch to commits of another mount.
 */
#include "followstand.h"
#include "head/moving.h"

static void a_new_file_has_a_number_apart_from_the_one_that_was_moved_away(void **state)
{
	struct headstand s = stand_make(), o;
	struct vnode *moved;
	struct oid id;
	uint64_t ino;

	make_text(&s, s.root, "log", "the first");
	stand_commit(&s, NULL);
	o = other_mount(&s);
	assert_ok(view_rename(s.root, span_str("log"), s.root, span_str("log.1"), 0, &s.acc));
	id = stand_commit(&s, NULL);
	assert_follows(&o, &id);
	make_text(&o, o.root, "log", "the second");
	id = stand_commit(&o, NULL);

	moved = at(&s, "log.1");
	assert_follows(&s, &id);
	ino = ino_of(&s, "log");
	assert_int_not_equal(ino, moved->ino);
	assert_text(&s, "log.1", "the first");
	assert_text(&s, "log", "the second");
	vnode_unref(s.vnodes, moved);

	assert_ok(view_unlink(s.root, span_str("log.1"), &s.acc));
	assert_int_equal(ino_of(&s, "log"), ino);
	remount(&s);
	assert_int_equal(ino_of(&s, "log"), ino);
	assert_text(&s, "log", "the second");
	leave(&o);
	stand_remove(&s);
}

static void who_still_knows_what_is_gone_does_no_harm_to_what_came_after(void **state)
{
	struct headstand s = stand_make(), o;
	struct vnode *d, *f, *g;
	struct stat st;
	struct oid id;

	make_dir(&s, "d");
	d = at(&s, "d");
	make_text(&s, d, "f", "of before");
	make_text(&s, s.root, "g", "of before");
	f = at(&s, "d/f");
	g = at(&s, "g");
	stand_commit(&s, NULL);
	o = other_mount(&s);
	assert_ok(head_remove_tree(o.root, span_str("d"), &o.acc));
	assert_ok(view_unlink(o.root, span_str("g"), &o.acc));
	id = stand_commit(&o, NULL);
	leave(&o);

	assert_follows(&s, &id);
	make_dir(&s, "d");
	{
		struct vnode *again = at(&s, "d");

		make_text(&s, again, "f", "of after");
		vnode_unref(s.vnodes, again);
	}
	make_text(&s, s.root, "g", "of after");
	assert_ok(view_getattr(g, &s.acc, &st));
	assert_int_equal(st.st_nlink, 0);
	assert_ok(view_getattr(f, &s.acc, &st));
	assert_int_equal(st.st_nlink, 0);
	vnode_unref(s.vnodes, f);
	vnode_unref(s.vnodes, d);
	vnode_unref(s.vnodes, g);
	assert_text(&s, "d/f", "of after");
	assert_text(&s, "g", "of after");
	stand_commit(&s, NULL);
	assert_text(&s, "d/f", "of after");
	remount(&s);
	assert_text(&s, "d/f", "of after");
	assert_text(&s, "g", "of after");
	stand_remove(&s);
}

static void a_linked_file_stays_while_it_has_a_name(void **state)
{
	struct headstand s = stand_make(), o;
	struct vnode *v;
	struct stat st;
	struct oid id;

	make_text(&s, s.root, "a", "of both");
	v = at(&s, "a");
	assert_ok(view_link(v, s.root, span_str("b"), &s.acc, &st));
	stand_commit(&s, NULL);
	o = other_mount(&s);
	assert_ok(view_unlink(o.root, span_str("a"), &o.acc));
	id = stand_commit(&o, NULL);
	assert_follows(&s, &id);
	assert_ok(view_getattr(v, &s.acc, &st));
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(ino_of(&s, "b"), v->ino);

	assert_ok(view_unlink(o.root, span_str("b"), &o.acc));
	id = stand_commit(&o, NULL);
	assert_follows(&s, &id);
	assert_ok(view_getattr(v, &s.acc, &st));
	assert_int_equal(st.st_nlink, 0);
	vnode_unref(s.vnodes, v);
	leave(&o);
	stand_remove(&s);
}

static void a_directory_keeps_its_number_when_another_mount_changes_it(void **state)
{
	struct headstand s = stand_make(), o;
	struct vnode *d;
	struct oid id;

	make_dir(&s, "d");
	stand_commit(&s, NULL);
	assert_ok(view_rename(s.root, span_str("d"), s.root, span_str("e"), 0, &s.acc));
	stand_commit(&s, NULL);
	o = other_mount(&s);
	d = at(&o, "e");
	make_text(&o, d, "f", "made elsewhere");
	vnode_unref(o.vnodes, d);
	id = stand_commit(&o, NULL);
	leave(&o);

	d = at(&s, "e");
	assert_follows(&s, &id);
	assert_int_equal(ino_of(&s, "e"), d->ino);
	make_text(&s, d, "g", "made here");
	vnode_unref(s.vnodes, d);
	assert_text(&s, "e/f", "made elsewhere");
	stand_commit(&s, NULL);
	assert_text(&s, "e/g", "made here");
	stand_remove(&s);
}

static void a_head_is_where_it_followed_to_after_a_restart(void **state)
{
	struct headstand s = stand_make(), o;
	struct oid id, now;

	make_text(&s, s.root, "f", "the first");
	stand_commit(&s, NULL);
	o = other_mount(&s);
	make_text(&o, o.root, "g", "the second");
	id = stand_commit(&o, NULL);
	assert_follows(&s, &id);
	remount(&s);
	now = view_commit(s.head);
	assert_true(oid_equal(&now, &id));
	assert_text(&s, "g", "the second");
	leave(&o);
	stand_remove(&s);
}

static void what_somebody_knew_before_leads_no_head_back(void **state)
{
	struct headstand s = stand_make();
	struct oid first;
	struct vnode *v;

	make_text(&s, s.root, "f", "the first");
	first = stand_commit(&s, NULL);
	v = at(&s, "f");
	put_text(&s, v, "the second");
	vnode_unref(s.vnodes, v);
	stand_commit(&s, NULL);
	assert_int_equal(head_follow(s.head, &first, &s.acc), 0);
	assert_text(&s, "f", "the second");
	stand_remove(&s);
}

static void a_file_open_for_writing_keeps_it_on_its_base(void **state)
{
	struct headstand s = stand_make(), o;
	struct vnode *v;
	struct oid id;

	make_text(&s, s.root, "f", "the first");
	stand_commit(&s, NULL);
	o = other_mount(&s);
	v = at(&o, "f");
	put_text(&o, v, "the second");
	vnode_unref(o.vnodes, v);
	id = stand_commit(&o, NULL);
	leave(&o);

	v = at(&s, "f");
	assert_ok(view_open(v, O_RDONLY, &s.acc));
	assert_ok(view_open(v, O_RDWR, &s.acc));
	assert_ok(view_open(v, O_WRONLY | O_APPEND, &s.acc));
	assert_int_equal(head_follow(s.head, &id, &s.acc), 0);
	view_close(v, O_RDWR);
	assert_int_equal(head_follow(s.head, &id, &s.acc), 0);
	view_close(v, O_WRONLY | O_APPEND);
	assert_follows(&s, &id);
	view_close(v, O_RDONLY);
	vnode_unref(s.vnodes, v);
	assert_text(&s, "f", "the second");
	stand_remove(&s);
}

static void a_file_without_a_name_keeps_it_nowhere(void **state)
{
	struct headstand s = stand_make(), o;
	struct head_status status;
	struct vnode *v, *w;
	struct oid id, again;

	make_text(&s, s.root, "f", "the first");
	make_text(&s, s.root, "g", "another");
	stand_commit(&s, NULL);
	v = at(&s, "f");
	assert_ok(view_open(v, O_RDONLY, &s.acc));
	assert_ok(view_unlink(s.root, span_str("f"), &s.acc));
	id = stand_commit(&s, NULL);
	/* There is nothing to commit, whoever has it open. */
	again = stand_commit(&s, NULL);
	assert_true(oid_equal(&id, &again));
	assert_ok(head_status(s.head, &status));
	assert_false(status.is_dirty);
	assert_int_equal(status.changed, 0);
	head_status_release(&status);
	o = other_mount(&s);
	make_text(&o, o.root, "f", "the second");
	id = stand_commit(&o, NULL);

	assert_follows(&s, &id);
	w = at(&s, "f");
	assert_int_not_equal(w->ino, v->ino);
	assert_text(&s, "f", "the second");
	put_text(&s, w, "the third!");
	vnode_unref(s.vnodes, w);
	{
		char got[16] = { 0 };

		assert_int_equal(view_read(v, 0, sizeof(got), got, &s.acc), 9);
		assert_string_equal(got, "the first");
	}
	view_close(v, O_RDONLY);
	vnode_unref(s.vnodes, v);
	assert_text(&s, "f", "the third!");
	stand_commit(&s, NULL);
	remount(&s);
	assert_text(&s, "f", "the third!");
	leave(&o);
	stand_remove(&s);
}

static void a_file_without_a_name_keeps_it_nowhere_when_it_has_gone(void **state)
{
	struct headstand s = stand_make(), o;
	struct vnode *v;
	struct oid id;

	make_text(&s, s.root, "f", "the first");
	stand_commit(&s, NULL);
	v = at(&s, "f");
	assert_ok(view_unlink(s.root, span_str("f"), &s.acc));
	stand_commit(&s, NULL);
	o = other_mount(&s);
	vnode_unref(s.vnodes, v);
	make_text(&o, o.root, "f", "the second");
	id = stand_commit(&o, NULL);
	assert_follows(&s, &id);
	assert_text(&s, "f", "the second");
	leave(&o);
	stand_remove(&s);
}

/* What came up between the comparison of the commits and the exchange. */
static void a_head_that_had_one_is_where_it_went_after_a_restart(void **state)
{
	struct headstand s = stand_make(), o;
	struct new_file f = { .mode = S_IFREG | 0600 };
	struct vnode *v;
	struct stat st;
	struct oid id, now;

	make_text(&s, s.root, "f", "the first");
	stand_commit(&s, NULL);
	assert_ok(view_tmpfile(s.root, &f, &s.acc, &v, &st));
	o = other_mount(&s);
	make_text(&o, o.root, "g", "the second");
	id = stand_commit(&o, NULL);
	assert_follows(&s, &id);
	make_text(&s, s.root, "h", "the third");
	vnode_unref(s.vnodes, v);
	remount(&s);
	now = view_commit(s.head);
	assert_true(oid_equal(&now, &id));
	assert_text(&s, "g", "the second");
	assert_text(&s, "h", "the third");
	leave(&o);
	stand_remove(&s);
}

static void what_is_looked_up_while_it_moves_is_left_behind_too(void **state)
{
	struct headstand s = stand_make(), o;
	struct vnode *d, *f, *g, *in, *same;
	struct moving m;
	struct base base;
	struct oid id;
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	_cleanup_buf_ struct buf object = { 0 };
	struct head *h = head_of(s.head);
	struct stat st;

	make_dir(&s, "d");
	d = at(&s, "d");
	make_text(&s, d, "in", "old");
	vnode_unref(s.vnodes, d);
	make_text(&s, s.root, "f", "old");
	make_text(&s, s.root, "same", "same");
	d = at(&s, "f");
	assert_ok(view_link(d, s.root, span_str("g"), &s.acc, &st));
	vnode_unref(s.vnodes, d);
	make_text(&s, s.root, "k", "old");
	stand_commit(&s, NULL);
	o = other_mount(&s);
	for (const char *const *p = (const char *const[]){ "d/in", "f", "k", NULL }; *p; p++) {
		d = at(&o, *p);
		put_text(&o, d, "new");
		vnode_unref(o.vnodes, d);
	}
	id = stand_commit(&o, NULL);
	leave(&o);

	assert_ok(refs_commit(s.store->refs, &s.head->repo, &id, &w, &object));
	assert_ok(base_load(&id, buf_span(&object), &base));
	assert_ok(moving_init(&m, h, &s.acc, &base));
	assert_ok(moving_walk(&m));
	assert_false(moving_has_more(&m));
	d = at(&s, "d");
	in = at(&s, "d/in");
	f = at(&s, "k");
	g = at(&s, "g");
	same = at(&s, "same");
	pthread_mutex_lock(&s.head->lock);
	assert_ok(moving_look_again(&m));
	pthread_mutex_unlock(&s.head->lock);
	/* A directory that came up has to be walked over. */
	assert_true(moving_has_more(&m));
	assert_ok(moving_walk(&m));
	pthread_mutex_lock(&s.head->lock);
	assert_ok(moving_look_again(&m));
	assert_false(moving_has_more(&m));
	assert_ok(moving_exchange(&m));
	pthread_mutex_unlock(&s.head->lock);
	moving_release(&m);

	assert_false(d->flags & VNODE_LEFT);
	assert_false(same->flags & VNODE_LEFT);
	assert_true(in->flags & VNODE_LEFT);
	assert_true(f->flags & VNODE_LEFT);
	assert_true(g->flags & VNODE_LEFT);
	assert_text(&s, "d/in", "new");
	assert_text(&s, "f", "new");
	assert_text(&s, "g", "new");
	assert_text(&s, "k", "new");
	for (struct vnode **p = (struct vnode *[]){ d, in, f, g, same, NULL }; *p; p++)
		vnode_unref(s.vnodes, *p);
	stand_remove(&s);
}

enum {
	SAID_MAX = 32,
};

/* What a client was told. */
static struct {
	unsigned count;
	struct said {
		enum outdated_kind kind;
		uint64_t dir, vnode;
		char name[16];
	} said[SAID_MAX];
} told;

static void listen(struct view *head, const struct outdated *x, void *ctx)
{
	struct said *s = &told.said[told.count++];

	assert_in_range(told.count, 0, SAID_MAX);
	*s = (struct said){ x->kind, x->dir, x->vnode, "" };
	snprintf(s->name, sizeof(s->name), "%.*s", (int)x->name.len, (const char *)x->name.data);
}

static unsigned said(enum outdated_kind kind, const struct vnode *dir, const char *name,
		     const struct vnode *v)
{
	unsigned n = 0;

	for (unsigned i = 0; i < told.count; i++) {
		const struct said *s = &told.said[i];

		n += s->kind == kind && s->dir == (dir ? vnode_id(dir) : 0) &&
		     strcmp(s->name, name) == 0 && s->vnode == (v ? vnode_id(v) : 0);
	}
	return n;
}

static void a_client_is_told_of_what_it_may_have_cached_and_of_nothing_else(void **state)
{
	struct headstand s = stand_make(), o;
	static const char *const names[] = { "same", "changed", "gone", "link", "unknown" };
	struct vnode *v[ARRAY_SIZE(names)], *d, *in, *twice, *n;
	struct stat st;
	struct oid id;

	s.outdated = listen;
	remount(&s);
	make_dir(&s, "d");
	d = at(&s, "d");
	make_text(&s, d, "in", "old");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		make_text(&s, s.root, names[i], "old");
	twice = at(&s, "link");
	assert_ok(view_link(twice, d, span_str("too"), &s.acc, &st));
	stand_commit(&s, NULL);
	o = other_mount(&s);
	n = at(&o, "changed");
	put_text(&o, n, "new");
	vnode_unref(o.vnodes, n);
	n = at(&o, "unknown");
	put_text(&o, n, "new");
	vnode_unref(o.vnodes, n);
	n = at(&o, "d/too");
	put_text(&o, n, "new");
	vnode_unref(o.vnodes, n);
	assert_ok(view_unlink(o.root, span_str("gone"), &o.acc));
	make_text(&o, o.root, "new", "new");
	id = stand_commit(&o, NULL);
	leave(&o);

	in = at(&s, "d/in");
	for (size_t i = 0; i + 1 < ARRAY_SIZE(names); i++)
		v[i] = at(&s, names[i]);
	told.count = 0;
	assert_follows(&s, &id);
	assert_int_equal(told.said[0].kind, OUTDATED_BEGIN);
	assert_int_equal(told.said[told.count - 1].kind, OUTDATED_END);
	assert_int_equal(said(OUTDATED_NAME, NULL, "", s.root), 1);
	assert_int_equal(said(OUTDATED_NAME, s.root, "new", NULL), 1);
	assert_int_equal(said(OUTDATED_GONE, s.root, "changed", v[1]), 1);
	assert_int_equal(said(OUTDATED_GONE, s.root, "gone", v[2]), 1);
	assert_int_equal(said(OUTDATED_GONE, s.root, "link", twice), 1);
	assert_int_equal(said(OUTDATED_GONE, d, "too", twice), 1);
	assert_int_equal(told.count, 8);

	for (size_t i = 0; i + 1 < ARRAY_SIZE(names); i++)
		vnode_unref(s.vnodes, v[i]);
	vnode_unref(s.vnodes, in);
	vnode_unref(s.vnodes, d);
	vnode_unref(s.vnodes, twice);
	stand_remove(&s);
}

static void a_name_that_was_taken_away_here_is_not_told(void **state)
{
	struct headstand s = stand_make(), o;
	struct vnode *v, *n;
	struct stat st;
	struct oid id;

	s.outdated = listen;
	remount(&s);
	make_text(&s, s.root, "a", "old");
	v = at(&s, "a");
	assert_ok(view_link(v, s.root, span_str("b"), &s.acc, &st));
	assert_ok(view_link(v, s.root, span_str("c"), &s.acc, &st));
	assert_ok(view_unlink(s.root, span_str("b"), &s.acc));
	assert_ok(view_rename(s.root, span_str("c"), s.root, span_str("d"), 0, &s.acc));
	stand_commit(&s, NULL);
	o = other_mount(&s);
	n = at(&o, "a");
	put_text(&o, n, "new");
	vnode_unref(o.vnodes, n);
	id = stand_commit(&o, NULL);
	leave(&o);

	told.count = 0;
	assert_follows(&s, &id);
	assert_int_equal(said(OUTDATED_GONE, s.root, "a", v), 1);
	assert_int_equal(said(OUTDATED_GONE, s.root, "d", v), 1);
	assert_int_equal(told.count, 5);
	vnode_unref(s.vnodes, v);
	stand_remove(&s);
}

enum {
	MOVES = 40,
	FILES = 12,
	READERS = 3,
};

/* A thread that reads files by their names while the head moves. */
struct reading {
	struct headstand *s;
	pthread_t thread;
	atomic_bool is_over;
	const char *wrong; /* NULL: nothing is */
	unsigned reads;
};

/* "version version ...": of one version, which it returns; 0: it is not. */
static unsigned version_of(const char *text, size_t len)
{
	char want[64];
	unsigned version;

	if (len >= sizeof(want) || sscanf(text, "%u", &version) != 1)
		return 0;
	snprintf(want, sizeof(want), "%u %u %u", version, version, version);
	return strlen(want) == len && memcmp(text, want, len) == 0 ? version : 0;
}

static const char *read_one(struct reading *r, struct access *acc, unsigned i, unsigned *last)
{
	struct headstand *s = r->s;
	char path[16], first[64] = { 0 }, again[64] = { 0 };
	const char *wrong = NULL;
	struct vnode *v;
	struct stat st;
	int64_t n, m;
	unsigned version;

	snprintf(path, sizeof(path), "d%u/f%u", i % 3, i);
	if (view_walk(s->root, span_str(path), acc, &v, &st) < 0)
		return "a file is not found";
	if (view_open(v, O_RDONLY, acc) < 0)
		return "a file cannot be opened";
	n = view_read(v, 0, sizeof(first) - 1, first, acc);
	m = view_read(v, 0, sizeof(again) - 1, again, acc);
	version = n < 0 ? 0 : version_of(first, (size_t)n);
	if (n < 0 || n != m || memcmp(first, again, sizeof(first)) != 0)
		wrong = "an open file has changed";
	else if (!version)
		wrong = "a file is of two commits";
	else if (version < last[i])
		wrong = "a file is older than before";
	else if (n != st.st_size)
		wrong = "a look-up and a read are of two commits";
	last[i] = version;
	view_close(v, O_RDONLY);
	vnode_unref(s->vnodes, v);
	return wrong;
}

static void *keep_reading(void *arg)
{
	struct reading *r = arg;
	unsigned last[FILES] = { 0 };
	struct access acc;

	access_init(&acc, r->s->store->reader, true);
	acc.deadline = DEADLINE_NEVER;
	while (!r->is_over && !r->wrong)
		r->wrong = read_one(r, &acc, r->reads++ % FILES, last);
	access_release(&acc);
	return NULL;
}

static void put_version(struct headstand *o, unsigned i, unsigned version)
{
	struct setattr size = { .what = SETATTR_SIZE };
	char path[16], text[64];
	struct vnode *v;
	struct stat st;

	snprintf(path, sizeof(path), "d%u/f%u", i % 3, i);
	snprintf(text, sizeof(text), "%u %u %u", version, version, version);
	v = at(o, path);
	assert_ok(view_setattr(v, &size, &o->acc, &st));
	put_text(o, v, text);
	vnode_unref(o->vnodes, v);
}

static void readers_see_one_commit_or_the_next_while_it_moves(void **state)
{
	struct headstand s = stand_make(), o;
	struct reading readers[READERS] = { 0 };
	struct vnode *d;
	struct oid id;
	char name[16];

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "d%u", i % 3);
		if (i < 3)
			make_dir(&s, name);
		d = at(&s, name);
		snprintf(name, sizeof(name), "f%u", i);
		make_text(&s, d, name, "1 1 1");
		vnode_unref(s.vnodes, d);
	}
	stand_commit(&s, NULL);
	o = other_mount(&s);
	for (size_t i = 0; i < READERS; i++) {
		readers[i].s = &s;
		assert_ok(pthread_create(&readers[i].thread, NULL, keep_reading, &readers[i]));
	}
	for (unsigned version = 2; version < 2 + MOVES; version++) {
		for (unsigned i = version % 2; i < FILES; i += 2)
			put_version(&o, i, version);
		id = stand_commit(&o, NULL);
		assert_follows(&s, &id);
	}
	for (size_t i = 0; i < READERS; i++) {
		readers[i].is_over = true;
		pthread_join(readers[i].thread, NULL);
		if (readers[i].wrong)
			fail_msg("%s", readers[i].wrong);
	}
	leave(&o);
	stand_remove(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_file_has_a_number_apart_from_the_one_that_was_moved_away),
		cmocka_unit_test(who_still_knows_what_is_gone_does_no_harm_to_what_came_after),
		cmocka_unit_test(a_linked_file_stays_while_it_has_a_name),
		cmocka_unit_test(a_directory_keeps_its_number_when_another_mount_changes_it),
		cmocka_unit_test(a_head_is_where_it_followed_to_after_a_restart),
		cmocka_unit_test(what_somebody_knew_before_leads_no_head_back),
		cmocka_unit_test(a_file_open_for_writing_keeps_it_on_its_base),
		cmocka_unit_test(a_file_without_a_name_keeps_it_nowhere),
		cmocka_unit_test(a_file_without_a_name_keeps_it_nowhere_when_it_has_gone),
		cmocka_unit_test(a_head_that_had_one_is_where_it_went_after_a_restart),
		cmocka_unit_test(what_is_looked_up_while_it_moves_is_left_behind_too),
		cmocka_unit_test(a_client_is_told_of_what_it_may_have_cached_and_of_nothing_else),
		cmocka_unit_test(a_name_that_was_taken_away_here_is_not_told),
		cmocka_unit_test(readers_see_one_commit_or_the_next_while_it_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
