/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The environment of index/env.h.
 *
 * Reading transactions are kept for reuse, reset, since beginning one anew costs as much as the
 * look-up it is for.
 */
#include "index/env.h"

#include <stdio.h>

#include "base/thread.h"

#define MAP_FIRST (64 * MiB)
#define MAP_MAX	  (1ull << 40)

enum {
	READERS_MAX = 1022, /* of all processes together */
	IDLE_MAX = 16,
	GROWTHS_MAX = 64, /* in one write: more means something else is wrong */
};

struct env {
	MDB_env *mdb;
	MDB_dbi dbs[ENV_DBS];
	pthread_rwlock_t map_lock; /* read: a transaction is open; write: the map changes */
	pthread_mutex_t lock; /* taken inside map_lock */
	MDB_txn *idle[IDLE_MAX]; /* guarded by lock: reset, to be renewed */
	unsigned idle_count; /* guarded by lock */
};

static const struct {
	const char *name;
	unsigned flags;
} dbs[ENV_DBS] = {
	[ENV_IDS] = { "ids", MDB_DUPSORT | MDB_DUPFIXED },
	[ENV_PACKS] = { "packs", MDB_INTEGERKEY },
	[ENV_PACK_NUMBERS] = { "pack-numbers", 0 },
	[ENV_OBJECTS] = { "objects", 0 },
	[ENV_CACHED] = { "cached", 0 },
	[ENV_RUNS] = { "runs", 0 },
	[ENV_RUN_IDS] = { "run-ids", 0 },
	[ENV_RUN_PARENTS] = { "run-parents", MDB_DUPSORT | MDB_DUPFIXED },
	[ENV_RUN_NAMES] = { "run-names", MDB_DUPSORT | MDB_DUPFIXED },
	[ENV_RUN_TOPS] = { "run-tops", MDB_DUPSORT | MDB_DUPFIXED },
	[ENV_RUN_STATE] = { "run-state", 0 },
};

int env_errno(int result)
{
	switch (result) {
	case MDB_SUCCESS:
		return 0;
	case MDB_NOTFOUND:
		return -ENOENT;
	case MDB_KEYEXIST:
		return -EEXIST;
	case MDB_MAP_FULL:
		return -ENOSPC;
	case MDB_READERS_FULL:
		return -EBUSY;
	case MDB_BAD_VALSIZE:
		return -EINVAL;
	default:
		return result > 0 ? -result : -EBADMSG;
	}
}

static int open_dbs(struct env *e)
{
	MDB_txn *txn;
	int r;

	r = mdb_txn_begin(e->mdb, NULL, 0, &txn);
	if (r)
		return r;
	for (int i = 0; r == 0 && i < ENV_DBS; i++)
		r = mdb_dbi_open(txn, dbs[i].name, dbs[i].flags | MDB_CREATE, &e->dbs[i]);
	if (r == 0)
		return mdb_txn_commit(txn);
	mdb_txn_abort(txn);
	return r;
}

int env_open(int dirfd, struct env **ret)
{
	_cleanup_(env_freep) struct env *e = NULL;
	char path[64];
	int r, dead;

	e = new0(struct env, 1);
	if (!e)
		return -ENOMEM;
	/* Or those who read all the time would keep the map from growing. */
	rwlock_init_writers_first(&e->map_lock);
	pthread_mutex_init(&e->lock, NULL);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", dirfd);

	r = mdb_env_create(&e->mdb);
	if (r == 0)
		r = mdb_env_set_maxdbs(e->mdb, ENV_DBS);
	if (r == 0)
		r = mdb_env_set_maxreaders(e->mdb, READERS_MAX);
	if (r == 0)
		r = mdb_env_set_mapsize(e->mdb, MAP_FIRST);
	if (r == 0)
		r = mdb_env_open(e->mdb, path, MDB_NOSYNC | MDB_NOTLS, 0600);
	if (r == 0)
		r = mdb_reader_check(e->mdb, &dead);
	if (r == 0)
		r = open_dbs(e);
	if (r)
		return env_errno(r);
	*ret = TAKE_PTR(e);
	return 0;
}

void env_free(struct env *e)
{
	if (!e)
		return;
	for (unsigned i = 0; i < e->idle_count; i++)
		mdb_txn_abort(e->idle[i]);
	if (e->mdb)
		mdb_env_close(e->mdb);
	pthread_mutex_destroy(&e->lock);
	pthread_rwlock_destroy(&e->map_lock);
	free(e);
}

MDB_dbi env_db(const struct env *e, enum env_db db)
{
	return e->dbs[db];
}

/* Takes over a map that another process made larger. */
static int map_adopt(struct env *e)
{
	WITH_WRLOCK(&e->map_lock);
	return mdb_env_set_mapsize(e->mdb, 0);
}

/* Makes the map larger than @former, unless another thread has done so. */
static int map_grow(struct env *e, size_t former)
{
	MDB_envinfo info;
	int r;

	WITH_WRLOCK(&e->map_lock);
	r = mdb_env_info(e->mdb, &info);
	if (r || info.me_mapsize > former)
		return r;
	if (former >= MAP_MAX)
		return MDB_MAP_FULL;
	return mdb_env_set_mapsize(e->mdb, former * 2);
}

static MDB_txn *take_idle(struct env *e)
{
	WITH_LOCK(&e->lock);
	return e->idle_count > 0 ? e->idle[--e->idle_count] : NULL;
}

static int begin_under_lock(struct env *e, MDB_txn **ret)
{
	MDB_txn *txn = take_idle(e);
	int r;

	if (!txn)
		return mdb_txn_begin(e->mdb, NULL, MDB_RDONLY, ret);
	r = mdb_txn_renew(txn);
	if (r)
		mdb_txn_abort(txn);
	else
		*ret = txn;
	return r;
}

int env_read_begin(struct env *e, MDB_txn **ret)
{
	int r;

	for (int i = 0; i < GROWTHS_MAX; i++) {
		pthread_rwlock_rdlock(&e->map_lock);
		r = begin_under_lock(e, ret);
		if (r == 0)
			return 0; /* the lock is env_read_end()'s to release */
		pthread_rwlock_unlock(&e->map_lock);
		if (r != MDB_MAP_RESIZED)
			break;
		r = map_adopt(e);
		if (r)
			break;
	}
	return env_errno(r);
}

static bool give_idle(struct env *e, MDB_txn *txn)
{
	WITH_LOCK(&e->lock);
	if (e->idle_count == IDLE_MAX)
		return false;
	e->idle[e->idle_count++] = txn;
	return true;
}

void env_read_end(struct env *e, MDB_txn *txn)
{
	mdb_txn_reset(txn);
	if (!give_idle(e, txn))
		mdb_txn_abort(txn);
	pthread_rwlock_unlock(&e->map_lock);
}

/* One attempt; says how large the map was. */
static int attempt(struct env *e, env_write_fn fn, void *ctx, size_t *ret_map)
{
	MDB_envinfo info;
	MDB_txn *txn;
	int r;

	WITH_RDLOCK(&e->map_lock);
	r = mdb_env_info(e->mdb, &info);
	if (r)
		return r;
	*ret_map = info.me_mapsize;
	r = mdb_txn_begin(e->mdb, NULL, 0, &txn);
	if (r)
		return r;
	r = fn(e, txn, ctx);
	if (r) {
		mdb_txn_abort(txn);
		return r;
	}
	return mdb_txn_commit(txn);
}

int env_write(struct env *e, env_write_fn fn, void *ctx)
{
	size_t map = 0;
	int r;

	for (int i = 0; i < GROWTHS_MAX; i++) {
		r = attempt(e, fn, ctx, &map);
		if (r == MDB_MAP_RESIZED)
			r = map_adopt(e);
		else if (r == MDB_MAP_FULL)
			r = map_grow(e, map);
		else
			break;
		if (r)
			break;
	}
	return env_errno(r);
}
