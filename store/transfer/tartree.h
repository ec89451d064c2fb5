/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a tar stream makes, in memory: its entries come in any order, may come twice, and may leave
 * out directories; a session wants each once, by name.
 *
 * Threads: a tree belongs to one.
 */
#pragma once

#include "base/htab.h"
#include "format/entry.h"

/* A file or directory, apart from its names. */
struct tarfile {
	struct tarfile *next; /* in the tree */
	uint32_t names; /* that it has now */
	bool is_told; /* false: a directory that nothing but its files told of */
	struct inode inode; /* spans point to what is owned here */
	uint8_t *inlined, *list; /* owned: inlined content, small xattrs; NULL: none */
};

/* A name. */
struct tarname {
	struct hnode node;
	struct tarname *up; /* NULL: the root */
	struct tarname *below, *beside; /* the first in it, if it is a directory; the next in @up */
	struct tarfile *file;
	size_t len;
	uint8_t name[];
};

struct tartree {
	struct htab names; /* by directory and name; not the root */
	struct tarname *root; /* owned, as all names and files */
	struct tarfile *files;
};

/* Begins with the root directory. 0 or -ENOMEM. */
int tartree_init(struct tartree *t);
void tartree_release(struct tartree *t);

/*
 * Gives @path (leading and doubled slashes and "." in it do not count) a file: @file, or with NULL
 * a new one. Of two that come under one name the later counts; a directory stays what it is. 0;
 * -EINVAL: ".." in it; -ENAMETOOLONG; -ENOTDIR: above it lies a file; -EISDIR, -EEXIST: a directory
 * is to become a file, a file a directory; -ENOMEM.
 */
int tartree_put(struct tartree *t, struct span path, bool is_dir, struct tarfile *file,
		struct tarfile **ret);

/* What has that name, if it is no directory. 0, -ENOENT, -EISDIR, and as above. */
int tartree_find(struct tartree *t, struct span path, struct tarfile **ret);

/* Copies what @f's inode borrows. 0 or -ENOMEM. */
int tarfile_own(struct tarfile *f);

/* Sorts all directories by name. 0 or -ENOMEM. */
int tartree_sort(struct tartree *t);
