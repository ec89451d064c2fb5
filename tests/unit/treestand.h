/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A head whose commits a run sees and changes, and the tree of its record.
 */
#pragma once

#include "base/deadline.h"
#include "format/commit.h"
#include "format/xattr.h"
#include "headstand.h"
#include "object/reader.h"
#include "record/listing.h"
#include "record/tree_read.h"
#include "record/trees.h"

struct stand {
	struct headstand head;
	struct seen *seen;
	struct buf told;
	struct id128 repo;
};

static inline _unused_ int set_up(void **state)
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

static inline _unused_ int tear_down(void **state)
{
	struct stand *s = *state;

	seen_free(s->seen);
	stand_remove(&s->head);
	buf_release(&s->told);
	free(s);
	return 0;
}

static inline _unused_ struct vnode *find(struct stand *s, const char *path)
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

static inline _unused_ void put_text(struct stand *s, struct vnode *v, const char *text)
{
	assert_ok(view_open(v, O_RDWR, &s->head.acc));
	assert_ok(view_write(v, 0, span_str(text), false, false, &s->head.acc));
	view_close(v, O_RDWR);
}

/* A new file in the directory @dir, with @text in it; a directory as @mode says. */
static inline _unused_ void make(struct stand *s, const char *dir, const char *name, mode_t mode,
				 const char *text)
{
	struct vnode *d = find(s, dir), *v = stand_create(&s->head, d, name, mode);

	if (S_ISREG(mode))
		put_text(s, v, text);
	vnode_unref(s->head.vnodes, v);
	vnode_unref(s->head.vnodes, d);
}

static inline _unused_ void write_over(struct stand *s, const char *path, const char *text)
{
	struct vnode *v = find(s, path);

	put_text(s, v, text);
	vnode_unref(s->head.vnodes, v);
}

static inline _unused_ void add_name(struct stand *s, const char *path, const char *name)
{
	struct vnode *v = find(s, path);
	struct stat st;

	assert_ok(view_link(v, s->head.root, span_str(name), &s->head.acc, &st));
	vnode_unref(s->head.vnodes, v);
}

static inline _unused_ struct run_branch branch(struct stand *s, const struct oid *pinned,
						const struct oid *result)
{
	struct run_branch b = {
		.repo = "r", .branch = "main", .repo_id = s->repo, .pinned = *pinned
	};

	if (result)
		b.result = *result;
	return b;
}

static inline _unused_ struct tree_root store_tree(struct stand *s, const struct run_branch *b)
{
	struct tree_root t;

	assert_ok(run_tree_write(s->head.store, s->seen, b, 1, NULL, 0, &s->head.acc, &t));
	return t;
}

static inline _unused_ int tell(struct span path, const struct inode *ino, void *ctx)
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

static inline _unused_ int count_key(const char *key, uint64_t size, const struct etag *tag,
				     void *ctx)
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
static inline _unused_ seen_place saw(struct stand *s, const char *path, unsigned what)
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
static inline _unused_ struct oid some_commit(struct stand *s)
{
	make(s, "", "d", S_IFDIR | 0750, NULL);
	make(s, "d", "a", S_IFREG | 0644, "one");
	make(s, "d", "b", S_IFREG | 0600, "two");
	make(s, "", "e", S_IFREG | 0644, "");
	make(s, "", "f", S_IFREG | 0644, "three");
	return stand_commit(&s->head, NULL);
}

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
