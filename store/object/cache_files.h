/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The files of the disk cache; for the files of cache.h alone.
 *
 *	NNNNNNNN	data; NNNNNNNN a number that grows
 *	NNNNNNNN.tab	what is in it; written when nothing more will be ("sealed")
 *	identity	random; the index keeps a copy: without it the tables are read into it
 *	lock		held by the process whose cache it is
 */
#pragma once

#include "base/htab.h"
#include "base/list.h"
#include "base/thread.h"
#include "index/index.h"
#include "object/cache.h"

enum {
	/* Objects from here on are trusted once their checksum was right; smaller ones are
	 * checked each time. At most one such object begins in so many bytes. */
	CACHE_LARGE = 64 << 10,
};

/* A data file. */
struct cache_file {
	struct hnode hash; /* the number */
	struct list list; /* oldest first; guarded by the cache's lock, as all below */
	uint32_t number;
	unsigned refs; /* one is the list's */
	unsigned writers; /* and those who seal it: it stays */
	bool is_sealed;
	uint64_t end; /* where the next object goes */
	uint64_t size; /* counts against the budget */
	struct index_cached *entries; /* owned; of one that is not sealed */
	size_t entry_count, entry_cap;
	/* For each CACHE_LARGE bytes: the checksum of the large object that begins there, when it
	 * was right (0: not checked); and whether anything that begins there was read. */
	size_t words;
	atomic_uint_fast64_t *checked; /* owned, as the next */
	atomic_uchar *used;
};

struct cache {
	int dirfd; /* owned */
	int lock_fd; /* owned */
	struct index *index; /* borrowed */
	pthread_mutex_t lock;
	pthread_cond_t wake; /* for the worker, or from it */
	struct htab files; /* guarded by lock, as all below */
	struct list order;
	struct cache_file *active; /* being filled; NULL: none */
	uint32_t last_number;
	uint64_t used, budget;
	int64_t paused_until; /* the disk was full */
	bool is_ending;
	bool must_reload; /* the index does not know what is here */
	pthread_t worker;
	bool has_worker;
};

/* Finds what is in the directory. */
int cache_scan(struct cache *c);

struct cache_file *cache_file_new(struct cache *c, uint32_t number, uint64_t span);
struct cache_file *cache_file_find(struct cache *c, uint32_t number);
void cache_file_put(struct cache *c, struct cache_file *f);

/* Takes it out of the books: its last user frees it. */
void cache_file_forget(struct cache *c, struct cache_file *f);

#define CACHE_NAME_SIZE 32
const char *cache_file_name(uint32_t number, char buf[CACHE_NAME_SIZE]);
const char *cache_table_name(uint32_t number, char buf[CACHE_NAME_SIZE]);

int cache_table_write(struct cache *c, uint32_t number, const struct index_cached *e, size_t n);

/* @ret is malloc'ed. 0, -ENOENT, -EBADMSG, -errno. */
int cache_table_read(struct cache *c, uint32_t number, struct index_cached **ret, size_t *ret_n);

/* Nothing more goes into it; with the lock held, which is given up in between. */
void cache_seal(struct cache *c, struct cache_file *f);

/* Reads a whole object and checks it. 0 or -ENOENT. */
int cache_load(struct cache *c, const struct index_place *p, void *buf);

/* Writes objects behind one another at @at, a multiple of what cache_write_align() says for their
 * length together, of which the place is a multiple too (cache_write.c). 0 or -errno. */
int cache_write(struct cache *c, uint32_t number, uint64_t at, const struct cache_item *items,
		size_t n);
uint64_t cache_write_align(uint64_t len);

/* How full a data file gets. */
uint64_t cache_file_target(const struct cache *c);

/* Writes objects behind one another, also what is here already. False: there is no room, or the
 * disk fails. */
bool cache_append(struct cache *c, const struct cache_item *items, size_t n);

/* From now on the index knows what is here. */
int cache_identity_set(struct cache *c);

/* Keeps the budget, and makes the index know what is here (cache_worker.c). */
void *cache_work(void *arg);
