/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the files of the index share; for store/index/ alone.
 */
#pragma once

#include "base/list.h"
#include "base/thread.h"
#include "index/env.h"
#include "index/index.h"
#include "index/segments.h"

enum {
	SUSPECTS_MAX = 64
};

struct index {
	struct list list; /* of this process's indexes; guarded by index.c's lock, as refs */
	unsigned refs;
	dev_t dev; /* which directory it is */
	ino_t ino;
	struct id128 store;
	int dirfd;
	int users_fd; /* locked shared while the environment is open */
	struct env *env;
	struct segments *segments;
	pthread_mutex_t suspects_lock;
	struct id128 suspects[SUSPECTS_MAX]; /* a ring; guarded by suspects_lock */
	atomic_uint suspect_count; /* noted so far */
	atomic_bool is_broken; /* the environment failed; it is made anew by who opens it next */

	/* One refresh or publication at a time (refresh.c). */
	pthread_mutex_t refresh_lock;
	pthread_cond_t refreshed;
	bool is_refreshing; /* guarded by refresh_lock, as all below */
	uint64_t begun; /* refreshes so far */
	bool last_had_footers; /* of the last of them, as the next */
	int last_result;
	int64_t fetched_at; /* now_ns() of the last look at the store's segments; the refresher's */
	struct buf bad_packs; /* packs whose footers were damaged; the refresher's */
};

/* An error of the environment's: damage is said once, and ends its use. Returns @r. */
int index_env_error(struct index *x, int r);

/* Runs a write, with damage noticed. 0 or -errno. */
int index_write(struct index *x, env_write_fn fn, void *ctx);

/* Begins a look; with 0, env_read_end() is due. -ENOENT when there is nothing to look at. */
int index_look(struct index *x, MDB_txn **ret);

/* The table of packs that no segment covers (packs.c). */
int packs_find(struct index *x, const struct oid *id, index_place_fn fn, void *ctx,
	       struct loc *ret);
int packs_known(struct index *x, const struct id128 *pack);

/* Removes a pack and all it says; in several transactions when it is large. */
int packs_drop(struct index *x, const struct id128 *pack);

/* Every pack's name, in the order they came, without a transaction held. A result other than 0
 * ends it and is returned. */
int packs_walk(struct index *x, int (*fn)(const struct id128 *pack, uint32_t count, void *ctx),
	       void *ctx);

/* A pack's footer and trailer, copied. 0 or -ENOENT. */
int packs_footer(struct index *x, const struct id128 *pack, struct buf *ret);

void packs_count(struct index *x, uint64_t *ret_packs, uint64_t *ret_ids);

/* Removes from the table what segments cover (refresh.c). */
int index_drop_covered(struct index *x);

/* Waits for the turn to change what is known of the store, and ends it; with refresh_lock held. 0,
 * -ETIME, -ECANCELED. */
int index_enter(struct index *x, const struct deadline *dl);
void index_leave(struct index *x);

/* A value of the tables of runs, copied in place of what @ret held: 0, -ENOENT (runs.c). */
int index_runs_value(struct index *x, enum env_db db, MDB_val key, struct buf *ret);

/* Notes whether a run is open, within a transaction: 0 or LMDB's error (runs_keys.c). */
int index_note_open(struct env *e, MDB_txn *txn, const char *id, bool is_open);

/* A run by its key, within a transaction: 0 or LMDB's error. */
int index_put_run_key(struct env *e, MDB_txn *txn, const struct oid *key, const char *id);
