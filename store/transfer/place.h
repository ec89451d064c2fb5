/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where in a repo something is or goes: a commit and a path in it.
 *
 * Threads: a place belongs to one.
 */
#pragma once

#include "object/reader.h"
#include "object/refs.h"
#include "write/session.h"

/* A directory on the way down. */
struct place_dir {
	uint8_t name[FILE_NAME_MAX];
	size_t name_len;
	struct inode inode; /* borrows from @leaf, or from the commit */
	struct node *leaf; /* a reference; NULL: the root */
};

struct place {
	struct store *store; /* borrowed */
	struct access access;
	struct reader_source source;
	struct buf object; /* the commit's; empty: an unborn branch */
	struct commit commit;
	struct inode root;
	struct place_dir *dirs; /* those above the path's last name, the root first; owned */
	size_t dir_count;
	/* What the path names; the root if it is empty. */
	uint8_t name[FILE_NAME_MAX];
	size_t name_len;
	bool exists;
	struct dirent_rec entry; /* borrows from @leaf; of the root: its inode alone */
	struct node *leaf; /* a reference */
};

/* Begins a place in a commit. @object is copied. 0, -EBADMSG, -ENOMEM. */
int place_init(struct place *p, struct store *store, struct span object,
	       const atomic_bool *cancelled);
/* The same in an unborn branch of the repo. */
void place_init_unborn(struct place *p, struct store *store, const struct repo_rec *repo,
		       const atomic_bool *cancelled);
void place_release(struct place *p);

/* Goes down @path; its last name need not exist. 0; -ENOENT, -ENOTDIR: something above it is
 * missing, or no directory; -EINVAL: "." or ".." in it; -ENAMETOOLONG; or the reader's errors. */
int place_find(struct place *p, const char *path);

static inline struct span place_name(const struct place *p)
{
	return span_of(p->name, p->name_len);
}

/* The tree of what is there if that is a directory, or NULL. */
const struct tree_root *place_tree(const struct place *p);

/* The inode of what is there, a hard link's from its record; it borrows from *@ret_leaf, a
 * reference of the caller's (or NULL). */
int place_inode(struct place *p, struct node **ret_leaf, struct inode *ret);

/* Opens, and closes again, the directories above the path; one that gets a name more is touched. */
int place_enter(const struct place *p, struct session *s);
int place_leave(const struct place *p, struct session *s);
