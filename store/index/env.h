/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The index's LMDB environment: opening, transactions, and a map that grows.
 *
 * It is not synced: what survives the process is consistent, what survives power loss is not, and
 * index.c sees to it that the latter is never opened. The map starts small and doubles. It may only
 * be changed while this process has no transaction open, so every transaction holds a read-lock,
 * and whoever grows the map the write-lock; another process's growth is met in the same way.
 *
 * Threads: all functions from any thread; one transaction a thread.
 */
#pragma once

#include <lmdb.h>

#include "base/defs.h"

enum env_db {
	ENV_IDS, /* oid -> which pack's record, which entry of it; several an id */
	ENV_PACKS, /* number -> a pack's footer and trailer */
	ENV_PACK_NUMBERS, /* a pack's name -> its number */
	ENV_OBJECTS, /* key -> tag, object */
	ENV_CACHED, /* kind, oid -> place */
	ENV_RUNS, /* a run's id -> its record; these and the next are runs.h's */
	ENV_RUN_IDS, /* tree, oid -> number */
	ENV_RUN_PARENTS, /* number -> parent's number, name; several */
	ENV_RUN_NAMES, /* tree, a name's hash -> numbers */
	ENV_RUN_TOPS, /* number -> runs */
	ENV_RUN_STATE, /* a word -> what the catalog keeps under it */
	ENV_DBS, /* how many there are */
};

#define ENV_DATA_NAME "data.mdb"
#define ENV_LOCK_NAME "lock.mdb"

struct env;

/* Opens or makes the environment in @dirfd (borrowed). It must not be open in this process. */
int env_open(int dirfd, struct env **ret);
void env_free(struct env *e);
DEFINE_CLEANUP(struct env *, env_free)

MDB_dbi env_db(const struct env *e, enum env_db db);

/* A transaction to read in; what is read is borrowed until env_read_end(). 0 or -errno. */
int env_read_begin(struct env *e, MDB_txn **ret);
void env_read_end(struct env *e, MDB_txn *txn);

/*
 * Runs @fn in a write transaction, from its start once more when the map had to grow. @fn returns
 * LMDB's result: anything but 0 aborts. 0 or -errno.
 */
typedef int (*env_write_fn)(struct env *e, MDB_txn *txn, void *ctx);
int env_write(struct env *e, env_write_fn fn, void *ctx);

/* LMDB's results as ours: -ENOENT (no such key), -ENOSPC, -EBADMSG (damaged), -ENOMEM, ... */
int env_errno(int result);

static inline MDB_val env_val(const void *data, size_t len)
{
	return (MDB_val){ .mv_size = len, .mv_data = (void *)data };
}

static inline struct span env_span(const MDB_val *v)
{
	return (struct span){ v->mv_data, v->mv_size };
}
