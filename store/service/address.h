/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a path of a request leads to: "REPO[/REV[/PATH]]", with "commits/REV" for REV as well, and
 * slashes before and behind for nothing.
 */
#pragma once

#include "head/head.h"
#include "service/permit.h"

struct address {
	char repo[OBJECT_NAME_MAX + 1];
	char rev[2 * OBJECT_NAME_MAX + 2]; /* as it was written; empty: the repo alone */
	struct buf path; /* below the revision, no slashes around it; empty: its root */
	struct repo_rec rec;
	bool is_branch;
	struct oid commit; /* the branch's last or the commit itself; null: unborn */
};

void address_release(struct address *p);
#define _cleanup_address_ _cleanup_(address_release)

/* A vnode held, with what it takes to give it back. */
struct held {
	struct vnode_table *table;
	struct vnode *vnode;
};
void held_release(struct held *h);
#define _cleanup_held_ _cleanup_(held_release)

/* The repo called @name, freshly looked at if the store can be asked. 0, -ENOENT, said. */
int address_repo(struct request *q, const char *name, struct repo_rec *ret);

/* What @rev means in a repo, likewise. */
int address_resolve(struct request *q, const char *repo, const struct repo_rec *rec,
		    const char *rev, struct resolved *ret);

/* A field's path, to what the caller may read; with nothing but the repo, its default branch is
 * meant, and @ret's rev stays empty. */
int address_find(struct request *q, const char *field, struct address *ret);
int address_of(struct request *q, struct span path, struct address *ret);

/* The branch an address is at: its own, or the default one. */
const char *address_branch(const struct address *p);

/* The head of a branch, or the view of a commit. Where nothing is mounted a branch is seen as its
 * last commit; -ENOENT while it has none. */
int address_view(struct request *q, const struct address *p, struct view **ret);
/* The same as the caller sees it: in a run what that has of the branch. */
int address_callers_view(struct request *q, const struct address *p, struct view **ret);
/* The view of the commit there, even of a branch's. */
int address_commit_view(struct request *q, const struct address *p, struct view **ret);
int address_view_of(struct request *q, const struct address *p, const struct oid *commit,
		    struct view **ret);

/* From a view's root to @path below it, as far as the caller may search. -ENOENT, -ENOTDIR,
 * -EACCES, without a sentence. */
int address_walk(struct request *q, struct view *v, struct span path, struct held *ret,
		 struct stat *ret_st);

/* The same from any directory on. */
int address_walk_from(struct request *q, struct vnode *dir, struct span path, struct held *ret,
		      struct stat *ret_st);

/* From a view's root, with a sentence that names the address. */
int address_open(struct request *q, const struct address *p, struct view *v, struct held *ret,
		 struct stat *ret_st);
