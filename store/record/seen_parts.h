/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inside seen.h: the log's records, which seen.c writes and seen_walk.c sorts.
 *
 *	log	"pfsseen1", then records, each a multiple of 8 bytes:
 *	record	u32 place, u8 what, u8 length of the name, u16 checksum, name, zeroes up to 8
 *
 * A record with a name is a place, whose number is where it lies, in units of 8 bytes; @place is
 * the one that it is in. One without a name notes more of @place. The first record is /pfs: it has
 * neither name nor place.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "record/seen.h"

#define SEEN_MAGIC "pfsseen1"

enum {
	SEEN_UNIT = 8, /* bytes, of places' numbers */
	SEEN_HEAD = 8, /* bytes of a record before its name */
	SEEN_ROOT = 1, /* /pfs */
	SEEN_ALL = 63,
	SEEN_PIECE = 64 << 10, /* written at once */
	SEEN_NAME_MAX = 255,
};

struct seen_record {
	seen_place place;
	uint8_t what;
	struct span name; /* borrowed */
};

/* A record as bytes, at @to, which has room: their count. */
size_t seen_record_put(uint8_t *to, const struct seen_record *r);

/* The record that lies @at in a log: its length, or 0, it is none. */
size_t seen_record_get(struct span log, uint64_t at, struct seen_record *ret);

/* The name of the place @p, which has one. */
struct span seen_record_name(struct span log, seen_place p);

/* What has been logged lately, by hashes: open addressing in buckets of a cache line, where the new
 * take the place of the old. */
struct seen_slot {
	uint64_t hash; /* 0: none */
	seen_place place;
	uint32_t what;
};

struct seen {
	int dirfd, fd; /* owned */
	char *name; /* owned */
	pthread_mutex_t lock;
	struct seen_slot *slots; /* guarded by lock, as all below; owned */
	size_t slot_count, used;
	unsigned victim;
	uint64_t written; /* bytes of the file */
	size_t waiting; /* bytes in piece */
	uint64_t places;
	atomic_int error;
	uint8_t piece[SEEN_PIECE];
};

/* With the lock held: writes what waits. 0 or the first error. */
int seen_flush(struct seen *s);
