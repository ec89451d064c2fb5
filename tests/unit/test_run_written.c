/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What differs between a pinned commit and the result, in the tree of a run's record.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "headmodel.h"
#include "treestand.h"

static void what_differs_is_written_as_the_result_has_it(void **state)
{
	struct stand *s = *state;
	struct oid p = some_commit(s), c;
	struct run_branch b;
	struct tree_root t;

	write_over(s, "d/a", "ONE");
	assert_ok(view_unlink(s->head.root, span_str("f"), &s->head.acc));
	make(s, "", "n", S_IFDIR | 0700, NULL);
	make(s, "n", "x", S_IFREG | 0644, "made");
	c = stand_commit(&s->head, NULL);
	b = branch(s, &p, &c);
	t = store_tree(s, &b);
	assert_string_equal(part_of(s, &t, "written"),
			    " dir\nr dir\nr/main dir\nr/main/d dir\nr/main/d/a file ONE\n"
			    "r/main/f -\nr/main/n dir 700\nr/main/n/x file made\n");
	assert_string_equal(part_of(s, &t, "looked"), "");
}

/* No directory differs: only the record that the names lead to does. */
static void every_name_of_a_changed_hard_link_is_written(void **state)
{
	struct stand *s = *state;
	struct run_branch b;
	struct tree_root t;
	struct oid p, c;

	make(s, "", "d", S_IFDIR | 0755, NULL);
	make(s, "d", "x", S_IFREG | 0644, "before");
	make(s, "", "z", S_IFREG | 0644, "same");
	add_name(s, "d/x", "y");
	p = stand_commit(&s->head, NULL);
	write_over(s, "y", "after!");
	c = stand_commit(&s->head, NULL);
	b = branch(s, &p, &c);
	t = store_tree(s, &b);
	assert_string_equal(part_of(s, &t, "written"),
			    " dir\nr dir\nr/main dir\nr/main/d dir\nr/main/d/x file after!\n"
			    "r/main/y file after!\n");
}

/* In a head: a file, and the directories that it lies in. */
static void put_past(struct stand *s, const char *path, const char *text)
{
	struct vnode *at = find(s, ""), *next;
	struct stat st;

	while (*path) {
		size_t len = strcspn(path, "/");
		_cleanup_free_ char *name = strndup(path, len);
		mode_t mode = path[len] ? S_IFDIR | 0755 : S_IFREG | 0644;

		if (view_lookup(at, span_str(name), &s->head.acc, &next, &st) < 0)
			next = stand_create(&s->head, at, name, mode);
		vnode_unref(s->head.vnodes, at);
		at = next;
		path += len + (path[len] == '/');
	}
	put_text(s, at, text);
	vnode_unref(s->head.vnodes, at);
}

/* As from a shell's redirection, in the branch's head and not in the result. */
static void what_was_written_past_the_view_lies_between_what_was_not(void **state)
{
	static const char *const past[][RUN_REDIRECTED_MAX] = {
		{ "a", "z" }, { "d/a", "d/z" },	  { "e/x", "e/b/y" },  { "n/w", "n/z" },
		{ "f", "m" }, { "d/m/x", "d-x" }, { "n/x", "gone/x" },
	};
	static const char *const wants[] = {
		"r/main/a file past\nr/main/d dir\nr/main/d/o file OTHER\nr/main/f -\n"
		"r/main/n dir 700\nr/main/n/x file made\nr/main/z file past\n",
		"r/main/d dir\nr/main/d/a file past\nr/main/d/o file OTHER\nr/main/d/z file past\n"
		"r/main/f -\nr/main/n dir 700\nr/main/n/x file made\n",
		"r/main/d dir\nr/main/d/o file OTHER\nr/main/e dir\nr/main/e/b dir\n"
		"r/main/e/b/y file past\nr/main/e/x file past\nr/main/f -\nr/main/n dir 700\n"
		"r/main/n/x file made\n",
		"r/main/d dir\nr/main/d/o file OTHER\nr/main/f -\nr/main/n dir 700\n"
		"r/main/n/w file past\nr/main/n/x file made\nr/main/n/z file past\n",
		"r/main/d dir\nr/main/d/o file OTHER\nr/main/f file past\nr/main/m file past\n"
		"r/main/n dir 700\nr/main/n/x file made\n",
		"r/main/d dir\nr/main/d/m dir\nr/main/d/m/x file past\nr/main/d/o file OTHER\n"
		"r/main/d-x file past\nr/main/f -\nr/main/n dir 700\nr/main/n/x file made\n",
		"r/main/d dir\nr/main/d/o file OTHER\nr/main/f -\nr/main/n dir 700\n"
		"r/main/n/x file made\n",
	};
	struct stand *s = *state;
	struct oid p, c, last;
	struct run_branch b;
	struct tree_root t;

	make(s, "", "d", S_IFDIR | 0755, NULL);
	make(s, "d", "o", S_IFREG | 0644, "other");
	make(s, "", "f", S_IFREG | 0644, "file");
	p = stand_commit(&s->head, NULL);
	write_over(s, "d/o", "OTHER");
	assert_ok(view_unlink(s->head.root, span_str("f"), &s->head.acc));
	make(s, "", "n", S_IFDIR | 0700, NULL);
	make(s, "n", "x", S_IFREG | 0644, "made");
	c = stand_commit(&s->head, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(past); i++) {
		_cleanup_free_ char *want = strf(" dir\nr dir\nr/main dir\n%s", wants[i]);

		for (size_t n = 0; n < RUN_REDIRECTED_MAX; n++)
			if (strncmp(past[i][n], "gone", 4) != 0)
				put_past(s, past[i][n], "past");
		last = stand_commit(&s->head, NULL);
		b = branch(s, &p, &c);
		for (size_t n = 0; n < RUN_REDIRECTED_MAX; n++)
			b.redirected[b.redirected_count++] =
				(struct run_redirected){ span_str(past[i][n]), last };
		t = store_tree(s, &b);
		assert_string_equal(part_of(s, &t, "written"), want);
	}
	/* And where nothing else was written. */
	b = branch(s, &p, NULL);
	b.redirected[b.redirected_count++] = (struct run_redirected){ span_str("d/a"), last };
	t = store_tree(s, &b);
	assert_string_equal(part_of(s, &t, "written"),
			    " dir\nr dir\nr/main dir\nr/main/d dir\nr/main/d/a file past\n");
}

/*
 * A property: the pinned commit, with what was written laid over it, is the result.
 */

/* Everything of a commit, by its path: a line each with all that an inode says. */
struct flat {
	struct buf paths[2000], inodes[2000];
	unsigned count;
};

static void flat_add(struct flat *f, struct span path, const struct inode *ino)
{
	struct inode copy = *ino;
	unsigned i = 0;

	while (i < f->count && !span_equal(buf_span(&f->paths[i]), path))
		i++;
	assert_true(i < ARRAY_SIZE(f->paths));
	if (i == f->count) {
		f->count++;
		buf_put(&f->paths[i], path.data, path.len);
	}
	buf_clear(&f->inodes[i]);
	buf_put_u8(&f->inodes[i], ino->type);
	if (ino->type == FT_DIR)
		copy.dir = (struct tree_root){ 0 };
	inode_put(&f->inodes[i], &copy);
}

/* Removes @path and all below it. */
static void flat_remove(struct flat *f, struct span path)
{
	for (unsigned i = 0; i < f->count;) {
		struct buf *p = &f->paths[i];

		if (p->len < path.len || memcmp(p->data, path.data, path.len) != 0 ||
		    (p->len > path.len && p->data[path.len] != '/')) {
			i++;
			continue;
		}
		buf_release(p);
		buf_release(&f->inodes[i]);
		f->count--;
		f->paths[i] = f->paths[f->count];
		f->inodes[i] = f->inodes[f->count];
		f->paths[f->count] = f->inodes[f->count] = (struct buf){ 0 };
	}
}

static void flat_free(struct flat *f)
{
	for (unsigned i = 0; i < f->count; i++) {
		buf_release(&f->paths[i]);
		buf_release(&f->inodes[i]);
	}
	free(f);
}

static void flatten(struct stand *s, const struct tree_root *dir, const struct tree_root *links,
		    const char *path, struct flat *f)
{
	struct reader_source source = reader_source(s->head.store->reader, &s->head.acc);
	struct tree_cursor c;

	tree_cursor_init(&c, TREE_DIR, &source.base);
	assert_ok(tree_seek_ordinal(&c, dir, 0));
	for (; !c.is_end; assert_ok(tree_next(&c))) {
		struct node *leaf = NULL;
		_cleanup_free_ char *below = NULL;
		struct dirent_rec e;
		struct link_rec rec;

		node_dirent(tree_leaf(&c), tree_index(&c), &e);
		below = strf("%s/%.*s", path, (int)e.name.len, e.name.data);
		if (e.has_link) {
			assert_ok(links_lookup(&source.base, links, &e.link, &leaf, &rec));
			e.inode = rec.inode;
		}
		flat_add(f, span_str(below), &e.inode);
		node_unref(leaf);
		if (e.inode.type == FT_DIR)
			flatten(s, &e.inode.dir, links, below, f);
	}
	tree_cursor_release(&c);
}

static struct flat *flat_of(struct stand *s, const struct oid *id)
{
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	struct flat *f = new0(struct flat, 1);
	struct buf object = { 0 };
	struct commit c;

	assert_ok(refs_commit(s->head.store->refs, &s->repo, id, &w, &object));
	assert_ok(commit_read(buf_span(&object), id, &c));
	flatten(s, &c.root.dir, &c.links, "r/main", f);
	commit_release(&c);
	buf_release(&object);
	return f;
}

struct laying {
	struct flat *over;
	const struct flat *result;
};

/* Directories on the way say nothing of their attributes: those are the result's. */
static int lay(struct span path, const struct inode *ino, void *ctx)
{
	struct laying *l = ctx;
	const char *slash = memchr(path.data ?: (const uint8_t *)"", '/', path.len);

	if (!slash || !memchr(slash + 1, '/', path.len - (size_t)(slash + 1 - (char *)path.data)))
		return 0;
	if (run_tree_is_absent(ino)) {
		flat_remove(l->over, path);
		return 0;
	}
	if (ino->type != FT_DIR)
		flat_remove(l->over, path);
	flat_add(l->over, path, ino);
	for (unsigned i = 0; ino->type == FT_DIR && i < l->result->count; i++) {
		if (!span_equal(buf_span(&l->result->paths[i]), path))
			continue;
		for (unsigned k = 0; k < l->over->count; k++) {
			if (!span_equal(buf_span(&l->over->paths[k]), path))
				continue;
			buf_clear(&l->over->inodes[k]);
			buf_put(&l->over->inodes[k], l->result->inodes[i].data,
				l->result->inodes[i].len);
		}
	}
	return 0;
}

static void assert_same(const struct flat *a, const struct flat *b)
{
	for (unsigned i = 0; i < a->count; i++) {
		unsigned k = 0;

		while (k < b->count && !span_equal(buf_span(&a->paths[i]), buf_span(&b->paths[k])))
			k++;
		if (k == b->count)
			fail_msg("only one has %.*s", (int)a->paths[i].len, a->paths[i].data);
		if (!span_equal(buf_span(&a->inodes[i]), buf_span(&b->inodes[k])))
			fail_msg("%.*s differs", (int)a->paths[i].len, a->paths[i].data);
	}
	assert_int_equal(a->count, b->count);
}

static void pinned_with_what_was_written_is_the_result(void **state)
{
	struct stand *s = *state;
	struct oid before = { 0 };
	struct model m;

	model_init(&m, 11);
	for (unsigned round = 0; round < 25; round++) {
		struct run_branch b;
		struct laying l;
		struct tree_root t;
		struct oid id;

		for (unsigned i = 0; i < 40; i++)
			model_step(&m, s->head.root, s->head.vnodes, &s->head.acc);
		id = stand_commit(&s->head, NULL);
		b = branch(s, &before, &id);
		t = store_tree(s, &b);
		l.over = oid_is_null(&before) ? new0(struct flat, 1) : flat_of(s, &before);
		l.result = flat_of(s, &id);
		assert_ok(run_tree_walk(&t, "written", &s->head.acc, lay, &l));
		assert_same(l.over, l.result);
		assert_same(l.result, l.over);
		flat_free(l.over);
		flat_free((struct flat *)l.result);
		before = id;
	}
	model_release(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(what_differs_is_written_as_the_result_has_it),
		test(every_name_of_a_changed_hard_link_is_written),
		test(what_was_written_past_the_view_lies_between_what_was_not),
		test(pinned_with_what_was_written_is_the_result),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
