/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Staging: where the bytes of uncommitted files lie.
 *
 * Small pieces share slabs: append-only files of 64 MiB in which space is given out in blocks of
 * 4 KiB, never twice, and never overwritten by another owner; what is freed is punched out, and a
 * slab with nothing left is removed. (A file each would cost more than all else that is done to a
 * small file.) Large files have a staging file of their own, which their owner may overwrite.
 *
 * Freed space is only punched when the table says that a sync point has passed
 * (staging_synced()): until then power loss could bring back records that refer to it.
 *
 * Threads: all functions from any thread; who owns a range coordinates access to it. Reads and
 * writes of data hold no lock of staging's.
 */
#pragma once

#include "base/defs.h"

struct staging;

enum {
	STAGE_BLOCK = 4096,
	STAGE_SLAB_SIZE = 64 << 20,
	STAGE_SMALL_MAX = 1 << 20, /* files up to here lie in slabs */
};

/* What is beyond lies in slabs too: the local filesystem may have smaller files than ours. */
#define STAGE_FILE_END (1ull << 40)

/* A place in a staging file. */
struct stage_place {
	uint32_t file;
	uint64_t pos;
};

/* @dirfd: "stage/" is made below it (duplicated). @budget: bytes on disk at most. Files get numbers
 * from @first_file on, which must be above all that records may still refer to. */
int staging_open(int dirfd, uint64_t budget, uint32_t first_file, struct staging **ret);
void staging_free(struct staging *s);
DEFINE_CLEANUP(struct staging *, staging_free)

/*
 * After a restart, before anything else: every range that a record refers to is said once, then
 * recover_end() gives back files nobody referred to and the gaps of the others: records of before
 * the last sync point may still refer to them, so they go when the next one has passed. recover():
 * 0, or -EBADMSG (logged: there are no such bytes).
 */
int staging_recover(struct staging *s, struct stage_place at, uint64_t len);
int staging_recover_end(struct staging *s);

/* Space for @len bytes in a slab, starting at a block; it belongs to the caller up to the end of
 * its last block. 0, -ENOSPC (the budget, or the disk), -errno. */
int staging_alloc(struct staging *s, uint64_t len, struct stage_place *ret);

/* A staging file for one owner. */
int staging_file_new(struct staging *s, uint32_t *ret_file);

/* Writes all or fails: -ENOSPC, -EIO. In an own file the budget is charged for new blocks. */
int staging_write(struct staging *s, struct stage_place at, const void *data, size_t len);

/* Reads all; holes and what lies beyond the end read as zeroes. 0 or -EIO. */
int staging_read(struct staging *s, struct stage_place at, void *buf, size_t len);

/*
 * Gives a range back. In a slab, blocks are counted: each range that was given out or shared and
 * touches a block holds it once, and a block nobody holds is freed. In an own file, blocks that
 * are only partly in the range stay.
 */
void staging_release(struct staging *s, struct stage_place at, uint64_t len);

/* A range was split, and this part of it will be released on its own. */
void staging_share(struct staging *s, struct stage_place at, uint64_t len);

/* How many bytes from @at on, the end of a range, its owner may still write: the rest of a
 * slab's block that it holds alone. */
uint64_t staging_tail_room(struct staging *s, struct stage_place at);

/* Gives a whole file back, own file or slab, at the next sync point. */
void staging_release_file(struct staging *s, uint32_t file);

/*
 * For the table's hooks: begin, sync_data, synced. What was released before the begin of a sync
 * point is punched some time after that has passed; so is what staging_recover_end() found.
 */
void staging_sync_begin(struct staging *s);
int staging_sync(struct staging *s);
void staging_synced(struct staging *s);

/* Waits until what the sync points so far have let go is on the disk's side again. */
void staging_settle(struct staging *s);

/* No more is appended to the slab that is being filled: what is frozen shares no file with what
 * comes after. */
void staging_cut(struct staging *s);

/* The number that the next file will get. */
uint32_t staging_next_file(struct staging *s);

/* Is there such a file? One with nothing in it is gone after a restart. */
bool staging_has(struct staging *s, uint32_t file);

bool staging_is_slab(const struct staging *s, uint32_t file);

struct staging_stats {
	uint64_t used; /* bytes of blocks given out, freed ones still waiting included */
	uint64_t waiting; /* freed, to be punched at the next sync point */
	uint64_t budget;
	uint64_t files;
};
void staging_stats(struct staging *s, struct staging_stats *ret);
void staging_set_budget(struct staging *s, uint64_t bytes);
