/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A large directory of a commit is renamed in a head, with hard links that cross its edge.
 * PFS_LONG=1: with a million files.
 */
#include "base/deadline.h"
#include "headmodel.h"
#include "headstand.h"

enum {
	LINKS = 50, /* that cross the edge */
};

static unsigned files = 20000;

static struct vnode *lookup(struct headstand *s, struct vnode *dir, const char *name,
			    struct stat *st)
{
	struct vnode *v;

	assert_ok(view_lookup(dir, span_str(name), &s->acc, &v, st));
	return v;
}

static void write_text(struct headstand *s, struct vnode *v, const char *text)
{
	assert_ok(view_open(v, O_WRONLY, &s->acc));
	assert_ok(view_write(v, 0, span_str(text), false, false, &s->acc));
	view_close(v, O_WRONLY);
}

static void assert_text(struct headstand *s, struct vnode *v, const char *want)
{
	char got[64] = { 0 };

	assert_ok(view_open(v, O_RDONLY, &s->acc));
	assert_int_equal(view_read(v, 0, sizeof(got) - 1, got, &s->acc), strlen(want));
	view_close(v, O_RDONLY);
	assert_string_equal(got, want);
}

/* d/<n> with its own number in it; the first LINKS of them have another name, d's neighbour. */
static void fill(struct headstand *s)
{
	struct vnode *d = stand_create(s, s->root, "d", S_IFDIR | 0755);
	char name[32];
	struct stat st;

	for (unsigned i = 0; i < files; i++) {
		struct vnode *v;

		snprintf(name, sizeof(name), "f%07u", i);
		v = stand_create(s, d, name, S_IFREG | 0644);
		if (i < LINKS) {
			write_text(s, v, name);
			snprintf(name, sizeof(name), "outside%u", i);
			assert_ok(view_link(v, s->root, span_str(name), &s->acc, &st));
		}
		vnode_unref(s->vnodes, v);
	}
	vnode_unref(s->vnodes, d);
}

static void check(struct headstand *s, struct vnode *root, const char *dir, const uint64_t *inos)
{
	char name[32], text[64];
	struct stat st, inside;
	struct vnode *d = lookup(s, root, dir, &st);

	for (unsigned i = 0; i < LINKS; i++) {
		struct vnode *a, *b;

		snprintf(name, sizeof(name), "outside%u", i);
		a = lookup(s, root, name, &st);
		snprintf(name, sizeof(name), "f%07u", i);
		b = lookup(s, d, name, &inside);
		assert_int_equal(st.st_nlink, 2);
		assert_int_equal(inside.st_nlink, 2);
		assert_int_equal(st.st_ino, inside.st_ino);
		if (inos)
			assert_int_equal(st.st_ino, inos[i]);
		snprintf(text, sizeof(text), i % 2 ? "f%07u" : "written%u", i);
		assert_text(s, a, text);
		assert_text(s, b, text);
		vnode_unref(s->vnodes, a);
		vnode_unref(s->vnodes, b);
	}
	vnode_unref(s->vnodes, d);
}

static int count_one(const struct dir_item *e, void *ctx)
{
	++*(unsigned *)ctx;
	return 0;
}

static unsigned count(struct headstand *s, struct vnode *root, const char *name)
{
	struct dir_handle *d;
	unsigned n = 0;
	struct stat st;
	struct vnode *v = lookup(s, root, name, &st);

	assert_ok(view_opendir(v, &s->acc, &d));
	assert_ok(view_readdir(d, 0, false, &s->acc, count_one, &n));
	view_closedir(d);
	vnode_unref(s->vnodes, v);
	return n;
}

static void a_renamed_directory_keeps_links_that_cross_its_edge(void **state)
{
	struct headstand s = stand_make();
	uint64_t inos[LINKS];
	int64_t start, took;
	char name[32];
	struct stat st;
	struct oid id;
	struct vnode *root;

	fill(&s);
	stand_commit(&s, NULL);
	for (unsigned i = 0; i < LINKS; i++) {
		snprintf(name, sizeof(name), "outside%u", i);
		vnode_unref(s.vnodes, lookup(&s, s.root, name, &st));
		inos[i] = st.st_ino;
	}
	start = now_ns();
	assert_ok(view_rename(s.root, span_str("d"), s.root, span_str("e"), 0, &s.acc));
	took = now_ns() - start;
	/* No figure of a benchmark: far below what touching each file would take. */
	assert_true(took < 100 * 1000 * 1000);
	for (unsigned i = 0; i < LINKS; i += 2) {
		char text[32];
		struct vnode *v;

		snprintf(name, sizeof(name), "outside%u", i);
		snprintf(text, sizeof(text), "written%u", i);
		v = lookup(&s, s.root, name, &st);
		/* As long as what was there, or longer. */
		write_text(&s, v, text);
		{
			struct setattr cut = { .what = SETATTR_SIZE, .size = strlen(text) };

			assert_ok(view_setattr(v, &cut, &s.acc, &st));
		}
		vnode_unref(s.vnodes, v);
	}
	check(&s, s.root, "e", inos);
	stand_close(&s);
	stand_open(&s);
	check(&s, s.root, "e", NULL);
	id = stand_commit(&s, NULL);
	check(&s, s.root, "e", NULL);
	root = stand_commit_root(&s, &id);
	check(&s, root, "e", NULL);
	assert_int_equal(count(&s, root, "e"), files);
	vnode_unref(s.vnodes, root);
	stand_close(&s);
	stand_open(&s);
	check(&s, s.root, "e", NULL);
	assert_int_equal(count(&s, s.root, "e"), files);
	assert_int_equal(view_lookup(s.root, span_str("d"), &s.acc, &root, &st), -ENOENT);
	stand_remove(&s);
}

static void the_last_name_outside_keeps_the_file(void **state)
{
	struct headstand s = stand_make();
	struct stat st;
	struct vnode *v;

	fill(&s);
	stand_commit(&s, NULL);
	assert_ok(head_remove_tree(s.root, span_str("d"), &s.acc));
	for (int remounted = 0; remounted < 2; remounted++) {
		v = lookup(&s, s.root, "outside3", &st);
		assert_int_equal(st.st_nlink, 1);
		assert_text(&s, v, "f0000003");
		vnode_unref(s.vnodes, v);
		stand_close(&s);
		stand_open(&s);
	}
	{
		struct oid id = stand_commit(&s, NULL);
		struct vnode *root = stand_commit_root(&s, &id);

		v = lookup(&s, root, "outside3", &st);
		assert_int_equal(st.st_nlink, 1);
		assert_text(&s, v, "f0000003");
		vnode_unref(s.vnodes, v);
		vnode_unref(s.vnodes, root);
	}
	stand_remove(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_renamed_directory_keeps_links_that_cross_its_edge),
		cmocka_unit_test(the_last_name_outside_keeps_the_file),
	};

	if (getenv("PFS_LONG"))
		files = 1000000;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
