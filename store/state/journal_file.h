/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The inside of the journal, for journal.c and journal_replay.c: files and what is in them.
 *
 * A file, named by a number of eight digits that means nothing:
 *
 *	header		"pfsJ", version u16 (1), flags u16 (0)
 *			order u64	files in use count up: the order in which they were taken
 *			start u64	the number of the first record
 *			durable u64	known to be durable when the file was taken
 *			boot id128	the boot it was taken in
 *			salt u64	seed of the records' checksums
 *			checksum u64	xxh of all before it
 *	records		checksum u64	xxh of all behind it in the record, seeded with the salt
 *			len u32		of the payload
 *			kind u32	1 a batch, 2 a marker
 *			seq u64		one more than that of the record before
 *			payload		a marker's: u64, the record up to which all is durable
 *
 * Integers are little-endian. What follows the last record is anything: zeroes, or records of the
 * file's former use, under another salt. A file without a valid header was never taken.
 *
 * Which records count is said by the files that were taken last: a file voids what earlier ones
 * have from its start on (whoever took it had decided not to count that).
 */
#pragma once

#include <stdatomic.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/random.h"
#include "base/thread.h"
#include "state/journal.h"

#define JOURNAL_MAGIC "pfsJ"

enum {
	JOURNAL_VERSION = 1,
	JOURNAL_HEADER = 64,
	JOURNAL_RECORD_HEADER = 24,
	JOURNAL_MARKER_LEN = 8,
	JOURNAL_NAME = 16,
};

enum journal_kind {
	JOURNAL_BATCH = 1,
	JOURNAL_MARKER = 2,
};

struct journal_file {
	struct list link; /* in a list of the journal's, or of none */
	uint32_t number; /* its name */
	int fd; /* owned */
	uint64_t size;
	/* From here: what the header says, and 0 for one never taken. */
	uint64_t order, start, durable, salt;
	bool is_this_boot;
	uint64_t pos; /* where the next record goes */
	uint64_t last; /* the number of the last record; start - 1: none */
	bool is_synced; /* a full one: nothing of it is unsynced */
};

struct journal {
	int dirfd; /* owned */
	uint32_t file_size;
	struct id128 boot;
	pthread_mutex_t lock; /* guards all below; rank 30 */
	struct list live; /* files with records that count, in order; owned */
	struct list free; /* files to be used; owned */
	atomic_uint free_count; /* read without lock too */
	struct journal_file *current; /* the last live one; NULL: none was taken yet */
	uint32_t next_number;
	uint64_t last_order;
	uint64_t last, durable; /* numbers of records */
	atomic_uint_fast64_t bytes; /* in live files; read without lock */
	bool is_dir_dirty; /* a new file's name may not be durable */
	struct buf scratch;
};

/* Of a record whose first eight bytes are yet to hold it. */
static inline uint64_t journal_checksum(uint64_t salt, struct span record)
{
	return xxh64(record.data + sizeof(uint64_t), record.len - sizeof(uint64_t), salt);
}

char *journal_file_name(uint32_t number, char buf[JOURNAL_NAME]);
void journal_file_free(struct journal_file *f);
DEFINE_CLEANUP(struct journal_file *, journal_file_free)

/* Reads what is on disk into an otherwise fresh journal: sorts the files into live and free, sets
 * numbers, and calls replay(). */
int journal_replay(struct journal *j, const struct journal_options *o);
