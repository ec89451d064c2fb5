/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The inside of staging: staging_file.c keeps the files and their descriptors, staging.c gives out
 * space, reads and writes, staging_free.c takes space back.
 *
 * A file that is being worked on without the lock is pinned: it is neither closed nor forgotten.
 */
#pragma once

#include "base/htab.h"
#include "base/list.h"
#include "base/thread.h"
#include "state/blockmap.h"
#include "state/staging.h"

enum {
	SLAB_BLOCKS = STAGE_SLAB_SIZE / STAGE_BLOCK,
	STAGE_NAME = 32,
};

struct stage_file {
	struct hnode node; /* by number */
	uint32_t number;
	bool is_slab;
	/* Guarded by the staging's lock, as all below. */
	int fd; /* owned; -1: not open. Stays while it is pinned. */
	unsigned pins;
	bool is_dirty; /* has unsynced writes; in the list of those */
	uint64_t dirty_since; /* the sync that will be the first to see them */
	bool is_gone; /* in no list and table any more: freed with the last pin */
	bool is_being_punched;
	enum block_state whole; /* USED; RELEASED or CUT: it goes as a whole */
	struct blockmap map;
	uint16_t *holders; /* slabs: ranges that touch each block; owned */
	uint32_t end; /* slabs: blocks given out so far */
	uint64_t size; /* found at opening */
	struct list dirty; /* in the list of dirty ones */
	struct list cleaning; /* in the list of those that are being synced to be closed */
	uint64_t cleaning_since; /* its dirty_since then */
	struct list idle; /* open, clean and not pinned: in the list of those, for closing */
	struct list waiting; /* with something released: in the list of those */
};

struct staging {
	int dirfd; /* owned: "stage/" */
	pthread_mutex_t slab_lock; /* rank 39: held while a slab is made */
	pthread_mutex_t lock; /* rank 40; never held across I/O */
	pthread_cond_t punched, cleaned;
	pthread_t giver; /* gives freed space back to the disk, which may take its time */
	bool has_giver;
	pthread_cond_t wanted, given;
	/* Guarded by lock. */
	bool is_giving; /* what is cut is on its way back; nothing is cut meanwhile */
	bool is_ending;
	uint64_t gives; /* so far */
	struct htab files; /* owned */
	uint32_t next_file;
	uint32_t cut_below; /* slabs with smaller numbers are not appended to */
	struct stage_file *slab; /* being filled; NULL: none */
	uint64_t budget;
	uint64_t used, waiting; /* blocks */
	struct list dirty, cleaning, idle, freed;
	unsigned open_count;
	uint64_t syncs; /* begun so far */
	bool is_dir_dirty; /* a new file's name is not durable */
	int sync_error; /* the first; for good */
	bool cannot_punch;
};

char *stage_name(bool is_slab, uint32_t number, char buf[STAGE_NAME]);

/* All of these with the lock held, unless they say otherwise. */

struct stage_file *stage_find(struct staging *s, uint32_t number);

/* Pins a file and makes sure that it is open; may drop the lock meanwhile. 0, -ENOENT (there is no
 * such file, or none any more), -errno. */
int stage_pin(struct staging *s, uint32_t number, struct stage_file **ret);
/* May free the file. */
void stage_unpin(struct staging *s, struct stage_file *f);

void stage_mark_dirty(struct staging *s, struct stage_file *f);
void stage_mark_clean(struct staging *s, struct stage_file *f);

/* Out of all books: freed when nobody has it pinned. Its blocks are not counted any more. */
void stage_forget(struct staging *s, struct stage_file *f);

/* Blocks of a file, with the sums over all files. 0 or -ENOMEM. */
int stage_set_blocks(struct staging *s, struct stage_file *f, uint64_t first, uint64_t count,
		     enum block_state state);

/* Something of the file waits to be freed. */
void stage_wait(struct staging *s, struct stage_file *f);

/* Without the lock: makes the file on disk. */
int stage_create(struct staging *s, bool is_slab, struct stage_file **ret);

/* Without the lock: what is there already, when staging is opened. */
int stage_load(struct staging *s);

/* Without the lock: the thread that gives back. */
int stage_start_giver(struct staging *s);
void stage_end_giver(struct staging *s);

/* When nobody uses it any more. */
void stage_free_all(struct staging *s);
