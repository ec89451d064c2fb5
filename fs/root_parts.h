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
#include "realm.h"
#include "root.h"

enum {
	ROOT_REPO_BIT = 1, /* of a node's number: R/commits; else R */
	ROOT_FIRST = 8, /* number of the first repo's node; they are even */
};

#define ROOT_RUN_BIT (1ull << 39)

#define ROOT_TIMEOUT 1.0 /* seconds */

struct realm {
	struct hnode by_number; /* in the root's table, with all that is not gone */
	struct list link; /* in realm_list */
	struct root *root; /* borrowed */
	uint32_t number;
	struct realm *parent; /* where its run was begun: not gone before this one is */
	struct run *run; /* a reference; NULL: realm 0 */
	/* Guarded by the root's lock. */
	uint64_t pins; /* the kernel's look-ups of its nodes above the views */
	unsigned holds, children;
	/* Since the run has ended: when the kernel is told the next time, and the pause after. */
	int64_t look_at, pause_ns;
	bool is_shrunk; /* the ender's, as the next */
	size_t left; /* files that nobody used at the last look */
	/* What is being noted holds off the seal. */
	atomic_bool is_sealed, is_ended;
	atomic_uint noting;
};

/* A repo that the kernel knows in a realm, or somebody works on. Of another repo under the same
 * name it is another one. */
struct root_repo {
	struct hnode by_number;
	struct hnode by_name;
	uint64_t number;
	uint32_t realm;
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
	bool is_private; /* of a run's realm */
	bool is_retired; /* the path leads elsewhere: it is in alias_list alone */
	struct view *view; /* a reference */
	uint64_t root_id; /* of a private one: its root's vnode, as it was last told */
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
	struct list run_files; /* likewise */
	struct realm *plain; /* realm 0; owned; always there */
	struct htab realms; /* by number, with realm 0 */
	struct list realm_list; /* the others */
	uint32_t next_realm;
	/* What ends realms (realm_end.c). */
	pthread_cond_t wake;
	bool is_ending, has_ended_one, has_ender;
	pthread_t ender;
};

static inline uint64_t repo_node(const struct root_repo *r)
{
	return ROOT_NODES | (uint64_t)r->realm << ROOT_REALM_SHIFT | r->number;
}

static inline uint64_t commits_node(const struct root_repo *r)
{
	return repo_node(r) | ROOT_REPO_BIT;
}

/* Is it R or R/commits? */
static inline bool is_repo(uint64_t node)
{
	return root_local(node) >= ROOT_FIRST && !(node & ROOT_RUN_BIT);
}

static inline bool is_commits(uint64_t node)
{
	return is_repo(node) && node & ROOT_REPO_BIT;
}

/* Is it a run's directory, or a file in it? */
static inline bool is_run(uint64_t node)
{
	return node != ROOT_TOP && node & ROOT_RUN_BIT;
}

/* A repo with its record, for one operation. */
struct repo_ref {
	struct root *root;
	struct root_repo *repo; /* a reference */
	struct realm *realm; /* held */
	struct repo_rec rec;
};
void repo_ref_release(struct repo_ref *r);
#define _cleanup_repo_ref_ _cleanup_(repo_ref_release)

/* Under the lock: by number, or NULL. */
struct realm *realm_find(struct root *r, uint32_t number);
/* The kernel is told of a node of the root's once more, whose realm is held. */
void root_pin(struct root *r, uint64_t node);
/* Answers with such a node; counts it. */
int reply_node(struct call *c, uint64_t node, const struct stat *st, double timeout);
int realms_init(struct root *r);
void realms_free(struct root *r);

/* The same above the views: the listing of /pfs (@repo "") or of a repo, a name in it. */
/* Before and after, so that it is known if it changes meanwhile. 0, or errors of refs. */
int realm_saw_top_list(struct realm *k, const char *repo, struct access *acc);
void realm_saw_top_name(struct realm *k, const char *repo, const char *name, bool is_there);
/* The name in a repo led to the commit with that id. */
void realm_saw_commit_name(struct realm *k, const char *repo, const char *name, const char *id);
/* The run has seen what its log does not tell of. */
void realm_saw_more(struct realm *k);
/* A view that a path in the realm leads to is the realm's from now on; its root is the top "R/B" or
 * "R/ID". */
void realm_own_view(struct realm *k, struct view *view);
void realm_place_root(struct realm *k, struct vnode *root, const char *top);

/* All nodes between the realm's top and its files, those first that are in others, for
 * notify_forget(): how many are in *@ret, which is to be freed. */
size_t realm_names(struct realm *k, struct vnode_stale **ret);
/* Of run @of in realm @in. */
uint64_t run_dir_node(const struct realm *in, const struct realm *of);

/* The nodes of .pfs/run (root_runs.c), as the operations of root.h: in the directory itself, and in
 * a run's. */
int runs_lookup(struct call *c, struct realm *k);
int run_lookup(struct call *c);
int run_getattr(struct call *c);
int run_setattr(struct call *c);
/* Names in the directory: -ESTALE, or what @add returns. */
int runs_list(struct root *r, uint64_t node, int (*add)(const char *name, void *ctx), void *ctx);
bool run_is_dir(uint64_t node);
uint64_t run_ino(struct root *r, uint64_t node);
void run_files_free(struct root *r);

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
/* Under the lock: is there a vnode of a view in the realm? */
bool aliases_are_visited(struct root *r, const struct realm *k);
/* Nothing leads to its views any more. */
void aliases_drop(struct root *r, uint32_t realm);
void root_dirs_free(struct root *r);

/* Answers a look-up with a node of the root's, or with the root of a view. */
int reply_own(struct call *c, struct realm *k, enum root_own own);
int reply_repo(struct call *c, struct repo_ref *repo, bool commits);
int reply_view_root(struct call *c, struct vnode *root, struct access *acc);

/* "B@N": the branch and N; without '@' the branch is NULL. */
struct commit_name {
	char branch[OBJECT_NAME_MAX + 1]; /* empty: none is named */
	const char *name; /* borrows the text */
};
/* 0 or -EINVAL. */
int commit_name_parse(const char *text, struct commit_name *ret);
