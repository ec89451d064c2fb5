/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The objects that change: repos, branches, names, and the store's own `format` (FORMAT.md,
 * sections 3, 10, 11), as bytes. Structures own what they hold, since refs outlive the bytes they
 * came from.
 */
#pragma once

#include "chunk/chunker.h"
#include "format/commit.h"

struct format_rec {
	struct id128 store_id;
	uint64_t compat, ro_compat, incompat;
	int64_t created;
	char hash[16];
	char id_key[64];
};

int format_write(const struct format_rec *f, struct buf *ret);
/* 0, -EBADMSG; -ENOTSUP when the version is newer than FORMAT_VERSION (the checksum of what is
 * known is then not looked at). Feature bits are the caller's to judge. */
int format_read(struct span object, struct format_rec *ret);

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

int ref_write(const struct ref *r, struct buf *ret);
/* 0, -EBADMSG, -ENOTSUP (newer), -ENOMEM. A commit that travels along is checked against target. */
int ref_read(struct span object, struct ref *ret);

struct repo_setting {
	char *key, *value; /* owned */
};

struct repo_rec {
	uint8_t state;
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

int repo_write(const struct repo_rec *r, struct buf *ret);
int repo_read(struct span object, struct repo_rec *ret);

/* A live ref or repo record is larger than any tombstone: a listing's size is enough. */
static inline bool ref_size_is_live(uint64_t size)
{
	return size > REF_TOMBSTONE_SIZE;
}

struct gc_state {
	uint64_t epoch;
	uint8_t phase;
	uint32_t condemned_count;
	struct id128 *condemned; /* owned; ascending */
};
void gc_state_release(struct gc_state *g);
int gc_state_read(struct span object, struct gc_state *ret);
int gc_state_write(const struct gc_state *g, struct buf *ret);

/* Names of repos, branches and commits. */
bool object_name_is_valid(const char *name);

/* Would read as a commit's id or a prefix of one: 8 to 64 hex digits of either case with a letter. */
bool name_reads_as_id(const char *name);
