/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The entries of leaves: names in directories, records of hard-linked files, extents of large
 * files (FORMAT.md, section 8).
 *
 * A decoded entry borrows all its spans from the node it was read from.
 */
#pragma once

#include "format/inode.h"

/* A name in a directory. */
struct dirent_rec {
	struct span name;
	bool has_link;
	struct id128
		link; /* with has_link: the inode is in the links tree, only type is set here */
	struct inode inode;
};

/* A file with several names, or one that had. */
struct link_rec {
	struct id128 link;
	uint32_t nlink;
	struct inode inode;
};

struct extent_rec {
	bool is_hole;
	uint64_t len;
	struct oid id; /* of the chunk */
	struct loc loc; /* hint */
};

/* The child of an inner node. */
struct child_rec {
	struct span key; /* first key below; empty in extents trees */
	struct oid id;
	struct tree_sum sum;
	struct loc loc; /* hint */
};

/* What travels beside an entry and is neither hashed nor measured. */
struct entry_hint {
	struct loc loc; /* content, root or child */
	struct loc xattr_loc;
	struct span inlined; /* borrowed */
};

void dirent_put(struct buf *b, const struct dirent_rec *e);
void link_put(struct buf *b, const struct link_rec *l);
void extent_put(struct buf *b, const struct extent_rec *x);

/* 0 or -EBADMSG; hints are left empty. */
int dirent_read(struct cursor *c, struct dirent_rec *ret);
int link_read(struct cursor *c, struct link_rec *ret);
int extent_read(struct cursor *c, struct extent_rec *ret);

/* Fills the hints of a decoded entry in, or takes them out of one. */
void inode_hint_set(struct inode *ino, const struct entry_hint *h);
struct entry_hint inode_hint_get(const struct inode *ino);

/* A file's name as users may have it: 1 to 255 bytes, no NUL, no '/', not "." or "..". */
bool file_name_is_valid(struct span name);
