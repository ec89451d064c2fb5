/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table of table.h: opening and applying.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "base/log.h"
#include "state/table_core.h"

enum {
	JOURNAL_FILES_IN_MEMORY = 4, /* a journal file is that part of the memory table's size */
	APPLY_TRIES = 8, /* how often others may take the room that a checkpoint made */
};

void table_break(struct table *t, int r, const char *what)
{
	if (!atomic_exchange(&t->is_broken, true))
		log_errno(r, "%s; until the next mount the heads are read-only", what);
	WITH_LOCK(&t->work_lock);
	pthread_cond_broadcast(&t->checkpoint_done);
}

/* Applying */

/* Reserves what insert() needs, so that it cannot fail. */
static int reserve(struct table *t, const struct batch_sums *sums)
{
	int r;

	if (sums->drops == 0 && memtable_has_reserve(t->active, sums->records, sums->bytes))
		return 0;
	WITH_WRLOCK(&t->lock);
	r = memtable_reserve(t->active, sums->records, sums->bytes);
	if (r == 0)
		r = layerset_reserve(&t->dropped, sums->drops);
	if (r == 0)
		r = layerset_reserve(&t->active_drops, sums->drops);
	return r;
}

static void drop(struct table *t, uint32_t layer)
{
	uint32_t be = htobe32(layer);

	memtable_remove_prefix(t->active, span_of(&be, sizeof(be)));
	if (!t->frozen && !layerset_has(&t->stored, layer))
		return;
	layerset_add(&t->dropped, layer);
	layerset_add(&t->active_drops, layer);
}

/* A deleted key is only remembered where something below has it. */
static void delete_key(struct table *t, const struct batch_op *op)
{
	if (layerset_has(&t->stored, op->layer) || (t->frozen && memtable_get(t->frozen, op->key)))
		memtable_delete(t->active, op->key);
	else
		memtable_remove(t->active, op->key);
}

/* Locked for writing, reserved. */
static void insert(struct table *t, struct span batch)
{
	struct cursor c = cursor_of(batch);
	struct batch_op op;

	while (batch_next(&c, &op)) {
		if (op.kind == BATCH_DROP)
			drop(t, op.layer);
		else if (op.kind == BATCH_DELETE)
			delete_key(t, &op);
		else
			memtable_put(t->active, op.key, op.value);
	}
	table_count_memory(t);
}

/* Nothing is put into a layer that was dropped: it would come and go with checkpoints. */
static int check_layers(const struct table *t, struct span batch)
{
	struct cursor c = cursor_of(batch);
	struct batch_op op;

	if (t->dropped.count == 0)
		return 0;
	while (batch_next(&c, &op))
		if (op.kind == BATCH_PUT && layerset_has(&t->dropped, op.layer))
			return -EINVAL;
	return 0;
}

/* Once; -ENOSPC: a checkpoint may help. */
static int try_apply(struct table *t, const struct table_batch *b, const struct batch_sums *sums)
{
	struct span batch = buf_span(&b->bytes);
	uint64_t seq;
	int r;

	WITH_LOCK(&t->apply_lock);
	if (t->is_broken)
		return -EIO;
	/* Whoever applies asks for room first; this is for those who do not. */
	if (t->memory > 2 * t->memory_max)
		return -ENOSPC;
	r = check_layers(t, batch);
	if (r == 0)
		r = reserve(t, sums);
	if (r < 0)
		return r;
	r = journal_append(t->journal, batch, &seq);
	if (r == -ENOSPC || r == -ENOMEM)
		return r;
	if (r < 0) {
		table_break(t, r, "the journal cannot be written");
		return -EIO;
	}
	pthread_rwlock_wrlock(&t->lock);
	insert(t, batch);
	pthread_rwlock_unlock(&t->lock);
	t->applied = seq;
	t->applied_count++;
	return 0;
}

static bool wants_background(struct table *t)
{
	return t->memory > t->memory_max / 2 || journal_bytes(t->journal) > TABLE_JOURNAL_MAX ||
	       journal_wants_files(t->journal);
}

int table_apply(struct table *t, const struct table_batch *b)
{
	struct batch_sums sums;
	int r;

	if (buf_failed(&b->bytes))
		return -ENOMEM;
	if (b->count == 0)
		return 0;
	if (b->bytes.len > JOURNAL_RECORD_MAX)
		return -EFBIG;
	if (batch_check(buf_span(&b->bytes), &sums) < 0)
		return -EINVAL;
	t->is_in_use = true;
	if (b->grows && t->is_disk_full && !t->is_broken) {
		t->is_disk_full = lmdbstore_reserve(t->store) < 0;
		if (t->is_disk_full)
			return -ENOSPC;
	}
	r = try_apply(t, b, &sums);
	for (unsigned i = 1; r == -ENOSPC && i < APPLY_TRIES; i++) {
		r = table_wait_checkpoint(t);
		if (r == 0)
			r = try_apply(t, b, &sums);
	}
	if (wants_background(t))
		table_kick(t);
	return r;
}

/* Opening */

static int replay(void *ctx, struct span batch)
{
	struct table *t = ctx;
	struct batch_sums sums;
	int r;

	r = batch_check(batch, &sums);
	if (r < 0)
		return log_fail(r, "the journal has a record that is none");
	r = reserve(t, &sums);
	if (r < 0)
		return r;
	WITH_WRLOCK(&t->lock);
	insert(t, batch);
	return 0;
}

static void take_set(struct layerset *to, struct layerset *from)
{
	*to = *from;
	*from = (struct layerset){ 0 };
}

static int open_store(struct table *t, int dirfd)
{
	int r = lmdbstore_open(dirfd, t->memory_max, &t->store);

	if (r < 0)
		return r;
	t->position = lmdbstore_position(t->store);
	take_set(&t->stored, lmdbstore_layers(t->store));
	take_set(&t->dropped, lmdbstore_dropped(t->store));
	for (size_t i = 0; i < t->dropped.count && r == 0; i++)
		r = layerset_add(&t->purging, t->dropped.layers[i]);
	t->is_disk_full = lmdbstore_reserve(t->store) < 0;
	return r;
}

static int open_journal(struct table *t, int dirfd)
{
	_cleanup_close_ int fd = -1;
	uint64_t size = t->memory_max / JOURNAL_FILES_IN_MEMORY;
	struct journal_options o = {
		.position = t->position,
		.file_size = (uint32_t)CLAMP(size, JOURNAL_FILE_MIN, JOURNAL_FILE_MAX),
		.replay = replay,
		.ctx = t,
	};
	int r;

	if (mkdirat(dirfd, "journal", 0700) < 0 && errno != EEXIST)
		return -errno;
	/* "journal" and "heads", new or made by a process that had no time to sync. */
	r = fsync_dir(dirfd, ".");
	if (r < 0)
		return r;
	fd = openat(dirfd, "journal", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	o.dirfd = fd;
	r = journal_open(&o, &t->journal);
	if (r < 0)
		return r;
	t->applied = journal_last(t->journal);
	t->durable = journal_durable(t->journal);
	return 0;
}

static int table_new(const struct table_options *o, struct table **ret)
{
	_cleanup_(table_freep) struct table *t = new0(struct table, 1);
	int r;

	if (!t)
		return -ENOMEM;
	t->memory_max = o->memory_bytes ?: TABLE_MEMORY_DEFAULT;
	t->hooks = o->hooks;
	pthread_mutex_init(&t->apply_lock, NULL);
	rwlock_init_writers_first(&t->lock);
	pthread_mutex_init(&t->sync_lock, NULL);
	pthread_cond_init(&t->sync_done, NULL);
	pthread_mutex_init(&t->work_lock, NULL);
	cond_init(&t->work);
	cond_init(&t->checkpoint_done);
	r = memtable_new(&t->active);
	if (r == 0)
		r = memtable_new(&t->spare);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(t);
	return 0;
}

int table_open(const struct table_options *o, struct table **ret)
{
	_cleanup_(table_freep) struct table *t = NULL;
	int r;

	r = table_new(o, &t);
	if (r == 0)
		r = open_store(t, o->dirfd);
	if (r == 0)
		r = open_journal(t, o->dirfd);
	if (r == 0)
		r = table_start_worker(t);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(t);
	return 0;
}

void table_free(struct table *t)
{
	if (!t)
		return;
	table_stop_worker(t);
	if (t->is_in_use)
		table_sync(t); /* a failure has been logged, and the journal stays */
	memtable_free(t->active);
	memtable_free(t->frozen);
	memtable_free(t->spare);
	layerset_release(&t->stored);
	layerset_release(&t->dropped);
	layerset_release(&t->active_drops);
	layerset_release(&t->frozen_drops);
	layerset_release(&t->purging);
	journal_free(t->journal);
	lmdbstore_free(t->store);
	pthread_cond_destroy(&t->checkpoint_done);
	pthread_cond_destroy(&t->work);
	pthread_mutex_destroy(&t->work_lock);
	pthread_cond_destroy(&t->sync_done);
	pthread_mutex_destroy(&t->sync_lock);
	pthread_rwlock_destroy(&t->lock);
	pthread_mutex_destroy(&t->apply_lock);
	free(t);
}

bool table_is_broken(struct table *t)
{
	return t->is_broken;
}

bool table_has_room(struct table *t)
{
	return t->memory < t->memory_max;
}

void table_stats(struct table *t, struct table_stats *ret)
{
	*ret = (struct table_stats){
		.memory_bytes = t->memory,
		.journal_bytes = journal_bytes(t->journal),
		.applied = t->applied_count,
		.checkpoints = t->checkpoint_count,
		.syncs = t->sync_count,
	};
}
