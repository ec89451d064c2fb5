/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The journal of a table: what has been promised but is not yet in LMDB, as numbered records in
 * preallocated files. It knows nothing of what is in a record.
 *
 * Records are numbered from 1 without a gap, over files and restarts. A marker, itself a record,
 * says up to which number everything is durable that records refer to.
 *
 * Threads: all functions from any thread, but journal_sync() from one at a time.
 */
#pragma once

#include "base/defs.h"

struct journal;

enum {
	JOURNAL_RECORD_MAX = 64 << 20,
	JOURNAL_FILE_MIN = 64 << 10,
	JOURNAL_FILE_MAX = 8 << 20,
	JOURNAL_BYTES_KEPT = 64 << 20, /* in files that wait for being used again, at most */
};

struct journal_options {
	int dirfd; /* a directory for the journal alone; duplicated */
	uint64_t position; /* records up to here are elsewhere, durably */
	uint32_t file_size; /* of new files */
	/* Called for each record above @position that counts, in order; an error ends it. */
	int (*replay)(void *ctx, struct span record);
	void *ctx;
};

/*
 * Opens or makes one and replays it. After another boot what lies above the last marker does not
 * count and is void from then on; in the same boot everything does that is whole. On disk only
 * files that hold nothing that counts are removed. 0; -EBADMSG (another version, or durable records
 * are missing: logged); the error of replay(); -errno.
 */
int journal_open(const struct journal_options *o, struct journal **ret);
void journal_free(struct journal *j);
DEFINE_CLEANUP(struct journal *, journal_free)

/*
 * Appends a record and gives its number: when it returns, kill -9 cannot undo it. 0; -ENOSPC or
 * -ENOMEM (no file is left; nothing was done); -EIO.
 */
int journal_append(struct journal *j, struct span record, uint64_t *ret_seq);

/*
 * Makes all records written so far durable, then a marker for those up to @covers, all of whose
 * data the caller has made durable. 0; -ENOSPC or -ENOMEM (no marker could be written: nothing else
 * is wrong); -EIO, after which the journal must not be written any more.
 */
int journal_sync(struct journal *j, uint64_t covers);

/* Sees to files in reserve: in the background, since it fills them with zeroes and syncs. 0 or
 * -errno: the next append may find none. */
int journal_prepare(struct journal *j);
bool journal_wants_files(struct journal *j);

/* Records up to @position are elsewhere, durably: their files may be used again. */
void journal_release(struct journal *j, uint64_t position);

/* The number of the last record; of the last that is known to be durable. */
uint64_t journal_last(struct journal *j);
uint64_t journal_durable(struct journal *j);

/* Bytes of records that have not been released, as far as whole files go. */
uint64_t journal_bytes(struct journal *j);
