/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Branches and names (FORMAT.md, section 10.2), as bytes. The structure owns what it holds, since
 * refs outlive the bytes they came from.
 */
#pragma once

#include "format/commit.h"

enum ref_state {
	REF_LIVE = 1,
	REF_TOMBSTONE = 2,
};

enum ref_kind {
	REF_BRANCH = 1,
	REF_NAME = 2,
};

struct ref {
	uint8_t kind, state;
	uint64_t seq;
	struct id128 nonce;
	struct id128 branch; /* identity, kept by rename; null for names */
	char writer[256];
	struct inode_time time;
	struct oid target; /* null: unborn */
	char renamed_to[OBJECT_NAME_MAX + 1];
	struct buf commit; /* the target's object, or empty; owned */
};

void ref_release(struct ref *r);
#define _cleanup_ref_ _cleanup_(ref_release)
int ref_copy(const struct ref *r, struct ref *ret);

/* In place of what @ret held; a tombstone is written without its commit. 0, -EINVAL (a rule or a
 * limit broken), -ENOMEM. */
int ref_write(const struct ref *r, struct buf *ret);

/* 0, -EBADMSG, -ENOTSUP (newer), -ENOMEM. A commit that travels along is checked against target. */
int ref_read(struct span object, struct ref *ret);

/* A live ref or repo record is larger than any tombstone: a listing's size is enough. */
static inline bool ref_size_is_live(uint64_t size)
{
	return size > REF_TOMBSTONE_SIZE;
}

/*
 * What makes that so, for refs and repos' records alike. ref_seal() pads @b and appends its
 * checksum; -EINVAL when it is too long. ref_padding_check() reads what is left of an @object_size
 * long object of that state. 0 or -EBADMSG.
 */
int ref_seal(struct buf *b, uint8_t state);
int ref_padding_check(struct cursor *c, uint8_t state, size_t object_size);
