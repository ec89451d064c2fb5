/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Commits as bytes (FORMAT.md, section 9).
 */
#pragma once

#include "format/inode.h"

struct commit_meta {
	struct span key, value; /* borrowed */
};

/* What begins so is said by pfs, and by no user. */
#define META_OWN "pfs."

/* In a pin's metadata (run/RUNS.md). */
#define META_PIN META_OWN "pin"

struct commit {
	struct id128 repo;
	uint64_t generation;
	uint8_t parent_count;
	struct oid parents[COMMIT_PARENTS_MAX];
	struct inode root; /* of type FT_DIR */
	struct tree_root links; /* sum: items only */
	struct inode_time time;
	struct id128 nonce;
	struct span author, machine, message; /* borrowed */
	uint16_t meta_count;
	struct commit_meta *meta; /* owned by a commit that was read; ascending by key */
};

/* Frees what commit_read() allocated. */
void commit_release(struct commit *c);
#define _cleanup_commit_ _cleanup_(commit_release)

/* Is it a pin? These have keys of their own. */
bool commit_is_pin(const struct commit *c);

/* Writes the object, in place of what @ret held, and computes its id. All locs must be LOC_NONE or
 * LOC_AT. 0, -EINVAL (a limit or an order broken), -ENOMEM. */
int commit_write(const struct commit *c, struct buf *ret, struct oid *ret_id);

/* Reads the object of the commit @id (NULL: any); spans borrow @object. 0, -EBADMSG, -ENOMEM. */
int commit_read(struct span object, const struct oid *id, struct commit *ret);

/* The id of an object that commit_read() accepts; of others it looks at the checksum only. 0 or
 * -EBADMSG. */
int commit_id_of(struct span object, struct oid *ret);
