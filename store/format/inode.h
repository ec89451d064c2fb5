/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a filesystem object is, apart from its names: the inode of FORMAT.md, section 8.1, in
 * directory entries, link records and commits, and in the uncommitted state of a head.
 */
#pragma once

#include <sys/stat.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "format/limits.h"
#include "format/loc.h"

enum file_type {
	FT_REG = 1,
	FT_DIR = 2,
	FT_LNK = 3,
	FT_FIFO = 4,
	FT_CHR = 5,
	FT_BLK = 6,
	FT_SOCK = 7,
};

/* Of the wire form; a link id takes the place of the inode in a directory's entry. */
enum inode_flag {
	INODE_HAS_LINK = 1,
	INODE_XATTRS_SMALL = 2,
	INODE_XATTRS_LARGE = 4,
};

enum content_kind {
	CONTENT_CHUNK = 0, /* one chunk, no holes; also: empty */
	CONTENT_EXTENTS = 1, /* an extents tree */
};

/* The bytes of a regular file or symlink. The size alone tells whether there are any. */
struct content {
	struct oid id;
	uint64_t size;
	uint64_t data; /* bytes not in holes, for st_blocks */
	uint8_t kind; /* enum content_kind */
	struct loc loc; /* hint: of the chunk or the tree's root */
	struct span inlined; /* hint: the bytes themselves, or empty; borrowed */
};

/* Sums over a tree or subtree; which count for which tree stands in FORMAT.md, section 7.1. */
struct tree_sum {
	uint64_t items; /* entries of the leaves */
	uint64_t subdirs; /* directories: of those, directories */
	uint64_t files; /* directories: all below that are none, recursively */
	uint64_t bytes; /* directories: of those, the sizes; extents: length */
	uint64_t data; /* extents: length without holes */
	bool has_links; /* directories: a link id somewhere below */
};

struct tree_root {
	struct oid id; /* null: empty */
	struct loc loc; /* hint */
	struct tree_sum sum;
};

/* Extended attributes: a list (format/xattr.h) that lies here when it is small. */
struct xattrs {
	struct span list; /* borrowed; empty: none, or large */
	uint32_t large_len; /* not 0: the list is the chunk @large */
	struct oid large;
	struct loc loc; /* hint */
};

struct inode_time {
	int64_t sec;
	uint32_t nsec;
};

struct inode {
	uint8_t type; /* enum file_type */
	uint16_t mode; /* 07777 */
	uint32_t uid, gid;
	struct inode_time mtime, ctime;
	struct xattrs xattrs;
	union {
		struct content content; /* FT_REG, FT_LNK */
		struct tree_root dir; /* FT_DIR */
		struct {
			uint32_t major, minor;
		} dev; /* FT_CHR, FT_BLK */
	};
};

/* The wire form from `flags` on, without the type. Locations and inlined bytes are no part of it.
 */
void inode_put(struct buf *b, const struct inode *ino);

/*
 * Reads what inode_put() wrote, for an object of @type; spans borrow the cursor's bytes. Every
 * limit and every rule is checked. 0 or -EBADMSG.
 */
int inode_read(struct cursor *c, uint8_t type, struct inode *ret);

/* What a directory's tree sums up to, in its inode and in the inner nodes above it. */
void dir_sum_put(struct buf *b, const struct tree_sum *s);
struct tree_sum dir_sum_read(struct cursor *c);

/* Equal in all that is hashed: hints do not count. */
bool inode_equal(const struct inode *a, const struct inode *b);

/* Equal but for mtime and ctime. */
bool inode_equal_but_times(const struct inode *a, const struct inode *b);

/* The extents tree of a content of kind CONTENT_EXTENTS. */
static inline struct tree_root content_root(const struct content *c)
{
	return (struct tree_root){ .id = c->id,
				   .loc = c->loc,
				   .sum = { .bytes = c->size, .data = c->data } };
}

/* S_IFREG and so on, and back (0 for a type there is not). */
mode_t file_type_to_mode(uint8_t type);
uint8_t file_type_of_mode(mode_t mode);

/* What the object counts for in its directory's sum; @has_link when it has a link id. */
struct tree_sum inode_sum(const struct inode *ino, bool has_link);

struct tree_sum tree_sum_add(struct tree_sum a, struct tree_sum b);
bool tree_sum_equal(const struct tree_sum *a, const struct tree_sum *b);

struct inode_time inode_time_of(struct timespec t);
struct timespec inode_time_to(struct inode_time t);
