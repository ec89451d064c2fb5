/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a local file is apart from its content: owner, mode, times, extended attributes and ACLs, to
 * an inode and back.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "base/buf.h"
#include "format/inode.h"

/* All but content, tree and xattrs, which are left empty. */
struct inode inode_of_stat(const struct stat *st);

/* Does an xattr mean something away from where it was found? */
bool xattr_travels(const char *name);

/* The xattrs of @fd (O_PATH is enough) that travel and may be read, as a list (format/xattr.h);
 * empty where there are none to be had. 0, -E2BIG, -ENOMEM, -EIO, ... */
int xattrs_of_file(int fd, struct buf *ret);

/* A file that was just made, or a directory that is complete. */
struct attributed {
	int fd;
	bool is_path; /* the descriptor is O_PATH: of what cannot be opened */
	bool may_inherit; /* it lies where a default ACL may have befallen it */
	const struct inode *ino;
	struct span xattrs; /* the list */
};

/*
 * Gives it what its inode says, times last. Owners, and the attributes only root may set, as far as
 * the user may; a file that does not get its owner is no longer setuid or setgid. 0 or -errno;
 * *@ret_lost: 0, or why an xattr was left out that should have been there.
 */
int attributes_set(const struct attributed *a, int *ret_lost);
