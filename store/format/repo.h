/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A repo's record (FORMAT.md, section 10.1), as bytes. The structure owns what it holds, since it
 * outlives the bytes it came from.
 */
#pragma once

#include "chunk/chunker.h"
#include "format/ref.h"

struct repo_setting {
	char *key, *value; /* owned */
};

struct repo_rec {
	uint8_t state; /* enum ref_state */
	uint64_t seq;
	struct id128 nonce;
	struct id128 id;
	char writer[256];
	struct inode_time time;
	char default_branch[OBJECT_NAME_MAX + 1];
	struct chunk_params chunk;
	uint16_t root_mode;
	uint32_t root_uid, root_gid;
	struct inode_time created;
	uint16_t setting_count;
	struct repo_setting *settings; /* owned; ascending by key */
};

void repo_rec_release(struct repo_rec *r);
#define _cleanup_repo_rec_ _cleanup_(repo_rec_release)
int repo_rec_copy(const struct repo_rec *r, struct repo_rec *ret);

/* In place of what @ret held; a tombstone is written without its settings. 0, -EINVAL (a limit or
 * the order broken), -ENOMEM. */
int repo_write(const struct repo_rec *r, struct buf *ret);

/* 0, -EBADMSG, -ENOTSUP (newer), -ENOMEM. */
int repo_read(struct span object, struct repo_rec *ret);
