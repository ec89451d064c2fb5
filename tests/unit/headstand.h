/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A store in a directory of the test's own, its state directory, and a head of it.
 */
#pragma once

#include "base/text.h"
#include "head/head.h"
#include "object/refs.h"
#include "object/store.h"
#include "scratch.h"

struct headstand {
	struct scratch scratch;
	char *url, *state; /* owned */
	struct store *store;
	struct vnode_table *vnodes;
	struct heads *heads;
	struct access acc;
	struct view *head; /* of r/main; a reference */
	struct vnode *root;
	uint64_t disk_bytes;
	void (*outdated)(struct view *head, const struct outdated *what, void *ctx);
	struct backend *(*layer)(struct backend *inner); /* over the backend, from the next
							  * opening on */
};

static inline void stand_open(struct headstand *s)
{
	struct store_options so = {
		.state_dir = s->state, .memory_bytes = 32 << 20, .threads = 2, .layer = s->layer
	};
	struct heads_options ho = { .disk_bytes = s->disk_bytes, .outdated = s->outdated };

	assert_ok(store_open(s->url, &so, &s->store));
	assert_ok(vnode_table_new(view_vnodes(), &s->vnodes));
	ho.store = s->store;
	ho.vnodes = s->vnodes;
	assert_ok(heads_open(&ho, &s->heads));
	access_init(&s->acc, s->store->reader, true);
	s->acc.deadline = DEADLINE_NEVER;
	assert_ok(heads_get(s->heads, "r", "main", &s->acc, &s->head));
	assert_ok(view_root(s->head, &s->root));
}

static inline void stand_close(struct headstand *s)
{
	vnode_unref(s->vnodes, s->root);
	view_unref(s->head);
	access_release(&s->acc);
	heads_free(s->heads);
	vnode_table_free(s->vnodes);
	store_free(s->store);
}

static inline struct headstand stand_make(void)
{
	struct headstand s = { .scratch = scratch_make(), .disk_bytes = 1 << 30 };
	struct repo_rec rec = { .chunk = { 4096, 16384, 65536 },
				.root_mode = 0755,
				.default_branch = "main" };
	struct store_options so = { .threads = 1 };
	struct store *store;

	s.url = strf("%s/store", s.scratch.path);
	s.state = strf("%s/state", s.scratch.path);
	so.state_dir = s.state;
	assert_ok(store_init(s.url, false));
	assert_ok(store_open(s.url, &so, &store));
	assert_ok(refs_create_repo(store->refs, "r", &rec, NULL));
	store_free(store);
	stand_open(&s);
	return s;
}

static inline void stand_remove(struct headstand *s)
{
	stand_close(s);
	free(s->url);
	free(s->state);
	scratch_remove(&s->scratch);
}

static inline _unused_ struct oid stand_commit(struct headstand *s, const char *name)
{
	struct commit_request req = { .name = name };
	struct commit_result res;

	assert_ok(head_commit(s->head, &req, &s->acc, &res));
	return res.id;
}

/* The view of a commit, and its root. */
static inline _unused_ struct vnode *stand_commit_root(struct headstand *s, const struct oid *id)
{
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	struct buf object = { 0 };
	struct repo_rec rec;
	struct vnode *root;
	struct view *v;

	assert_ok(refs_repo(s->store->refs, "r", &w, &rec));
	assert_ok(refs_commit(s->store->refs, &rec.id, id, &w, &object));
	assert_ok(view_of_commit(s->store, s->vnodes, "r", buf_span(&object), &v));
	assert_ok(view_root(v, &root));
	view_unref(v);
	buf_release(&object);
	repo_rec_release(&rec);
	return root;
}

/* A new file or directory, as @mode says. */
static inline _unused_ struct vnode *stand_create(struct headstand *s, struct vnode *dir,
						  const char *name, mode_t mode)
{
	struct new_file f = { .mode = mode };
	struct vnode *v;
	struct stat st;

	assert_ok(view_create(dir, span_str(name), &f, &s->acc, &v, &st));
	return v;
}
