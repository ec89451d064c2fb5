/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What objects have in common (FORMAT.md, section 1): they begin with magic, version and flags,
 * and the small ones end with a checksum of all before it.
 */
#pragma once

#include "base/buf.h"
#include "base/cursor.h"
#include "format/inode.h"
#include "format/limits.h"

enum {
	ENVELOPE_HEAD_SIZE = 8,
	ENVELOPE_CHECKSUM_SIZE = 8,
};

/* Appends magic (four characters), version and flags. */
void envelope_head_put(struct buf *b, const char *magic);

/* Reads them. 0; -EBADMSG (another magic, or the cursor ran out); -ENOTSUP (a version or flags that
 * this one does not know). */
int envelope_head_read(struct cursor *c, const char *magic);

/* Appends the checksum of all that is in @b. */
void envelope_seal(struct buf *b);

/*
 * Checks both ends of @object and gives what lies between. 0; -EBADMSG; -ENOTSUP: the version is
 * newer (then the checksum, which may lie elsewhere, is not looked at) or flags are set.
 */
int envelope_open(struct span object, const char *magic, struct cursor *ret_body);

/* i64 seconds, u32 nanoseconds; a cursor fails at a billion of them. */
void stamp_put(struct buf *b, struct inode_time t);
struct inode_time stamp_read(struct cursor *c);
bool stamp_is_valid(struct inode_time t);
