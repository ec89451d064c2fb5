/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The tree of a run's record: what was seen of the pinned commits and of nothing else, what differs
 * between each of them and the result, and the run's own files; and how it is read again.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/deadline.h"
#include "format/commit.h"
#include "format/xattr.h"
#include "headmodel.h"
#include "headstand.h"
#include "object/reader.h"
#include "run/listing.h"
#include "run/tree_read.h"
#include "run/trees.h"

struct stand {
	struct headstand head;
	struct seen *seen;
	struct buf told;
	struct id128 repo;
};

static int set_up(void **state)
{
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	struct stand *s = new0(struct stand, 1);
	struct repo_rec rec;

	s->head = stand_make();
	assert_ok(seen_open(s->head.scratch.fd, "seen", &s->seen));
	assert_ok(refs_repo(s->head.store->refs, "r", &w, &rec));
	s->repo = rec.id;
	repo_rec_release(&rec);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct stand *s = *state;

	seen_free(s->seen);
	stand_remove(&s->head);
	buf_release(&s->told);
	free(s);
	return 0;
}

static struct vnode *find(struct stand *s, const char *path)
{
	struct vnode *v = s->head.root;

	vnode_ref(s->head.vnodes, v);
	while (*path) {
		size_t len = strcspn(path, "/");
		struct vnode *next;
		struct stat st;

		assert_ok(view_lookup(v, span_of(path, len), &s->head.acc, &next, &st));
		vnode_unref(s->head.vnodes, v);
		v = next;
		path += len + (path[len] == '/');
	}
	return v;
}

static void put_text(struct stand *s, struct vnode *v, const char *text)
{
	assert_ok(view_open(v, O_RDWR, &s->head.acc));
	assert_ok(view_write(v, 0, span_str(text), false, false, &s->head.acc));
	view_close(v, O_RDWR);
}

/* A new file in the directory @dir, with @text in it; a directory as @mode says. */
static void make(struct stand *s, const char *dir, const char *name, mode_t mode, const char *text)
{
	struct vnode *d = find(s, dir), *v = stand_create(&s->head, d, name, mode);

	if (S_ISREG(mode))
		put_text(s, v, text);
	vnode_unref(s->head.vnodes, v);
	vnode_unref(s->head.vnodes, d);
}

static void write_over(struct stand *s, const char *path, const char *text)
{
	struct vnode *v = find(s, path);

	put_text(s, v, text);
	vnode_unref(s->head.vnodes, v);
}

static void add_name(struct stand *s, const char *path, const char *name)
{
	struct vnode *v = find(s, path);
	struct stat st;

	assert_ok(view_link(v, s->head.root, span_str(name), &s->head.acc, &st));
	vnode_unref(s->head.vnodes, v);
}

static struct run_branch branch(struct stand *s, const struct oid *pinned, const struct oid *result)
{
	struct run_branch b = {
		.repo = "r", .branch = "main", .repo_id = s->repo, .pinned = *pinned
	};

	if (result)
		b.result = *result;
	return b;
}

static struct tree_root store_tree(struct stand *s, const struct run_branch *b)
{
	struct tree_root t;

	assert_ok(run_tree_write(s->head.store, s->seen, b, 1, NULL, 0, &s->head.acc, &t));
	return t;
}

static int tell(struct span path, const struct inode *ino, void *ctx)
{
	struct stand *s = ctx;
	_cleanup_buf_ struct buf text = { 0 };
	struct span value;
	bool is_absent = run_tree_is_absent(ino);

	buf_printf(&s->told, "%.*s %s", (int)path.len, path.data,
		   is_absent		 ? "-"
		   : ino->type == FT_DIR ? "dir"
		   : ino->type == FT_LNK ? "link"
					 : "file");
	if (ino->type == FT_REG && ino->content.size > 0 && ino->content.size < 100) {
		uint8_t bytes[100] = { 0 };

		assert_int_equal(content_read(s->head.store->reader, &ino->content, 0,
					      sizeof(bytes), bytes, &s->head.acc),
				 ino->content.size);
		buf_printf(&s->told, " %s", (char *)bytes);
	}
	if (ino->type == FT_DIR && ino->mode != 0755)
		buf_printf(&s->told, " %o", ino->mode);
	if (xattr_get(ino->xattrs.list, span_str(RUN_TREE_LISTING), &value) == 0)
		buf_printf(&s->told, " listed");
	if (xattr_get(ino->xattrs.list, span_str(RUN_TREE_TREE), &value) == 0)
		buf_printf(&s->told, " whole");
	buf_put_u8(&s->told, '\n');
	return 0;
}

static int count_key(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	++*(unsigned *)ctx;
	return 0;
}

/* A part as text; "" when there is none. */
static const char *part_of(struct stand *s, const struct tree_root *t, const char *part)
{
	buf_clear(&s->told);
	assert_ok(run_tree_walk(t, part, &s->head.acc, tell, s));
	buf_put_u8(&s->told, '\0');
	return (const char *)s->told.data;
}

/* A look-up that begins at the top of r/main. */
static seen_place saw(struct stand *s, const char *path, unsigned what)
{
	seen_place p = seen_top(s->seen, "r/main");

	while (*path) {
		size_t len = strcspn(path, "/");
		bool is_last = !path[len];

		p = seen_name(s->seen, p, span_of(path, len), is_last ? what : SEEN_PRESENT);
		assert_true(p > 0);
		path += len + !is_last;
	}
	return p;
}

/* The commit that most tests begin with. */
static struct oid some_commit(struct stand *s)
{
	make(s, "", "d", S_IFDIR | 0750, NULL);
	make(s, "d", "a", S_IFREG | 0644, "one");
	make(s, "d", "b", S_IFREG | 0600, "two");
	make(s, "", "e", S_IFREG | 0644, "");
	make(s, "", "f", S_IFREG | 0644, "three");
	return stand_commit(&s->head, NULL);
}

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

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(what_was_looked_for_is_there_as_the_commit_has_it),
		test(what_was_read_is_there_and_no_directory_without_it),
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
		test(what_differs_is_written_as_the_result_has_it),
		test(every_name_of_a_changed_hard_link_is_written),
		test(the_runs_own_files_are_kept_whole),
		test(a_record_says_where_the_tree_is),
		test(nothing_seen_is_a_tree_too),
		test(one_entry_is_found_by_its_path),
		test(what_is_below_can_be_passed_over),
		test(a_missing_commit_is_an_error_and_nothing_is_left_out),
		test(pinned_with_what_was_written_is_the_result),
		test(many_files_come_out_as_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
