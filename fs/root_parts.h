/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the files of root.h share.
 */
#pragma once

#include "base/htab.h"
#include "base/list.h"
#include "base/thread.h"
#include "format/repo.h"
#include "object/refs.h"
#include "root.h"

enum {
	ROOT_REPO_BIT = 1, /* of a node's number: R/commits; else R */
	ROOT_FIRST = 8, /* number of the first repo's node; they are even */
};

#define ROOT_TIMEOUT 1.0 /* seconds */

/* A repo that the kernel knows, or somebody works on. Of another repo under the same name it is
 * another one. */
struct root_repo {
	struct hnode by_number;
	struct hnode by_name;
	uint64_t number;
	struct id128 id;
	char name[OBJECT_NAME_MAX + 1];
	uint64_t pins[2]; /* of R and of R/commits; guarded by the root's lock, as refs */
	unsigned refs;
};

/* A view under a path: R/TEXT or R/commits/TEXT. */
struct alias {
	struct hnode node;
	struct list link; /* in alias_list */
	struct id128 repo;
	uint64_t parent; /* nodeid */
	struct oid commit; /* null: a branch */
	struct view *view; /* a reference */
	char text[2 * OBJECT_NAME_MAX + 2]; /* or an id */
};

struct root {
	struct fs *fs; /* borrowed */
	pthread_mutex_t lock;
	struct htab by_number, by_name; /* repos; guarded by lock, as all below */
	uint64_t next_number;
	struct htab aliases;
	struct list alias_list; /* the same */
	size_t sweep_at; /* so many aliases are too many */
	struct timespec started;
	struct list dirs; /* open ones */
};

static inline uint64_t repo_node(const struct root_repo *r)
{
	return ROOT_NODES | r->number;
}

static inline uint64_t commits_node(const struct root_repo *r)
{
	return ROOT_NODES | r->number | ROOT_REPO_BIT;
}

static inline bool is_commits(uint64_t node)
{
	return node & ROOT_REPO_BIT;
}

/* A repo with its record, for one operation. */
struct repo_ref {
	struct root *root;
	struct root_repo *repo; /* a reference */
	struct repo_rec rec;
};
void repo_ref_release(struct repo_ref *r);
#define _cleanup_repo_ref_ _cleanup_(repo_ref_release)

/* The repo of a node: 0; -ENOTDIR (the node is no repo's); -ESTALE (it is gone, or another has its
 * name); errors of refs_repo(). */
int repo_of_node(struct call *c, uint64_t node, struct access *acc, struct repo_ref *ret);
/* The repo of a name: as refs_repo(). */
int repo_of_name(struct call *c, const char *name, struct access *acc, struct repo_ref *ret);

struct refs_wait refs_wait_of(const struct access *acc);

/* The view that R/@text or R/commits/@text (@parent) leads to, and its root. -ENOENT, -ENOTUNIQ, or
 * as refs_resolve(). */
int alias_resolve(struct call *c, const struct repo_ref *repo, uint64_t parent, const char *text,
		  struct access *acc, struct vnode **ret);
/* The path does not lead there any more. */
void alias_forget(struct root *r, uint64_t parent, const char *text);
void aliases_free(struct root *r);
void root_dirs_free(struct root *r);

/* Answers a look-up with a node of the root's, or with the root of a view. */
int reply_repo(struct call *c, struct repo_ref *repo, bool commits);
int reply_view_root(struct call *c, struct vnode *root, struct access *acc);

/* "B@N": the branch and N; without '@' the branch is NULL. */
struct commit_name {
	char branch[OBJECT_NAME_MAX + 1]; /* empty: none is named */
	const char *name; /* borrows the text */
};
/* 0 or -EINVAL. */
int commit_name_parse(const char *text, struct commit_name *ret);
