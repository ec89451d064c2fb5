/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is above the views:
 *
 *	/pfs			repos			mkdir: a repo
 *	/pfs/.pfs		control, stats, run	not listed
 *	/pfs/.pfs/run		runs			realm.h
 *	/pfs/R			branches, names		mkdir: a branch; rename: of a branch
 *	/pfs/R/commits		names, unnamed commits	mkdir: a commit; rmdir: takes a name away
 *
 * All this is answered from what is last known of the refs, and the kernel keeps it for a second.
 * Each run's realm has it once more, with nodes of its own, and nothing of it can be changed there.
 * Nodeids here have the high bit set, but for the root's, which is 1:
 *
 *	63	62 ... 40	39	38 ... 0
 *	1	realm		0	enum root_own, or a repo's number
 *	1	realm		1	a run's realm * 8 + which file of the run's directory
 *
 * A commit is a view of its own under each path that leads to it (R/N, commits/N, an id, a prefix):
 * the kernel moves a directory that appears twice.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "call.h"

struct root;

int root_new(struct fs *fs, struct root **ret);

/* Lets go of all views; no request may come any more. */
void root_free(struct root *r);
DEFINE_CLEANUP(struct root *, root_free)

#define ROOT_NODES (1ull << 63)
#define ROOT_TOP   1ull

/* What every realm has, by its number in that. */
enum root_own {
	ROOT_OWN_PFS_DIR = 1,
	ROOT_OWN_CONTROL,
	ROOT_OWN_STATS,
	ROOT_OWN_RUNS, /* .pfs/run */
	ROOT_OWN_TOP, /* of realm 0 it is ROOT_TOP */
};

enum {
	ROOT_REALM_SHIFT = 40,
	ROOT_REALM_MAX = (1 << 23) - 1,
};

/* Is the node one of those? */
static inline bool root_has(uint64_t node)
{
	return node == ROOT_TOP || node & ROOT_NODES;
}

static inline uint32_t root_realm(uint64_t node)
{
	return node == ROOT_TOP ? 0 : (uint32_t)(node >> ROOT_REALM_SHIFT) & ROOT_REALM_MAX;
}

/* What it is in its realm: one of enum root_own, or something else. */
static inline uint64_t root_local(uint64_t node)
{
	return node == ROOT_TOP ? ROOT_OWN_TOP : node & ((1ull << ROOT_REALM_SHIFT) - 1);
}

static inline uint64_t root_own_node(uint32_t realm, enum root_own own)
{
	if (realm == 0 && own == ROOT_OWN_TOP)
		return ROOT_TOP;
	return ROOT_NODES | (uint64_t)realm << ROOT_REALM_SHIFT | own;
}

/* Operations on nodes of the root's: as struct op's run(). */
int root_lookup(struct call *c, struct access *acc);
int root_getattr(struct call *c, struct access *acc);
int root_setattr(struct call *c, struct access *acc);
int root_getxattr(struct call *c, struct access *acc);
int root_mkdir(struct call *c, struct access *acc);
int root_rmdir(struct call *c, struct access *acc);
int root_rename(struct call *c, struct access *acc);
int root_opendir(struct call *c, struct access *acc);
int root_readdir(struct call *c, struct access *acc);

void root_closedir(struct root *r, uint64_t handle);
void root_forget(struct root *r, uint64_t node, uint64_t n);

/* The node that a view's root directory is in, for "..": 0 if that is not known. */
uint64_t root_parent(struct root *r, const struct view *view);

/* The mount's own head of a branch that the kernel may know something of, with a reference, or
 * NULL. */
struct view *root_head(struct root *r, const struct id128 *repo, const char *branch);

/* All of those, each with a reference: how many are in *@ret, which is to be freed. */
struct root_head {
	struct view *view;
	struct id128 repo;
	char branch[OBJECT_NAME_MAX + 1];
};
size_t root_heads(struct root *r, struct root_head **ret);

/* The st_ino of a node of the root's: the same in every realm. */
uint64_t root_node_ino(struct root *r, uint64_t node);
