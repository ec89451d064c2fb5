/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table's sync points, and the background thread that empties memory into LMDB.
 *
 * A sync point
 *	begin()		what is freed from now on waits for the next one
 *	S := the last batch applied
 *	sync_data()	all that batches up to S refer to is durable, as it was written before them
 *	journal		older files, a marker for S, the file it is in
 *	synced()	what was freed before begin() was freed by a batch up to S
 * One thread at a time does this, with no lock held; who comes meanwhile waits and is served by
 * the next, whatever their number.
 *
 * A checkpoint
 *	memory is frozen, a new table takes what comes; S := the last batch in the frozen one
 *	a sync point for S, unless there has been one
 *	the frozen records go to LMDB, in transactions of bounded size; the last one also says S
 *	the frozen table goes, the journal's files up to S are free
 * Between two of its transactions LMDB has some of the records and says the former S. That does no
 * harm: while this process lives the frozen table hides them, and when it dies the journal, from
 * the former S on, is replayed to a state not older than the frozen one, which hides them as well;
 * they are durable in the journal, or they would not be here. A checkpoint that fails for want of
 * space is begun anew, with the same frozen table.
 *
 * A dropped layer is hidden at once. What LMDB has of it, after a checkpoint has noted there that
 * the layer is dropped, is deleted in small transactions between checkpoints; the note goes with
 * the last of them, so that this too goes on after a crash.
 */
#include "base/log.h"
#include "state/table_core.h"

enum {
	RETRY_MS = 200, /* after a failure for want of space or memory */
};

/* Sync points */

static void set_durable(struct table *t, uint64_t seq)
{
	WITH_LOCK(&t->sync_lock);
	t->durable = MAX(t->durable, seq);
	pthread_cond_broadcast(&t->sync_done);
}

/* By whoever has set is_syncing. */
static int sync_point(struct table *t)
{
	const struct table_hooks *h = &t->hooks;
	uint64_t seq;
	int r = 0;

	if (h->begin)
		h->begin(h->ctx);
	seq = t->applied;
	if (seq > t->durable) {
		if (h->sync_data)
			r = h->sync_data(h->ctx);
		if (r < 0) {
			table_break(t, r, "staged data cannot be made durable");
			return -EIO;
		}
		r = journal_sync(t->journal, seq);
		if (r == -ENOSPC || r == -ENOMEM)
			return r;
		if (r < 0) {
			table_break(t, r, "the journal cannot be made durable");
			return -EIO;
		}
		t->sync_count++;
		set_durable(t, seq);
	}
	if (h->synced)
		h->synced(h->ctx);
	return 0;
}

int table_sync(struct table *t)
{
	uint64_t wanted = t->applied;
	int r;

	t->is_in_use = true;
	pthread_mutex_lock(&t->sync_lock);
	while (t->is_syncing && t->durable < wanted)
		pthread_cond_wait(&t->sync_done, &t->sync_lock);
	if (t->is_broken || t->is_syncing) {
		pthread_mutex_unlock(&t->sync_lock);
		return t->is_broken ? -EIO : 0;
	}
	t->is_syncing = true;
	pthread_mutex_unlock(&t->sync_lock);

	r = sync_point(t);

	pthread_mutex_lock(&t->sync_lock);
	t->is_syncing = false;
	pthread_cond_broadcast(&t->sync_done);
	pthread_mutex_unlock(&t->sync_lock);
	return r;
}

/* Checkpoints: all of it in the background thread, which alone changes `frozen` and `stored` */

/* Failures for want of space or memory may pass; the others are for good. */
static int settle(struct table *t, int r)
{
	if (r == 0 || r == -ENOSPC || r == -ENOMEM)
		return r;
	table_break(t, r, "the LMDB environment cannot be written");
	return -EIO;
}

static void freeze(struct table *t)
{
	WITH_LOCK(&t->apply_lock);
	WITH_WRLOCK(&t->lock);
	t->frozen = t->active;
	t->active = TAKE_PTR(t->spare);
	t->frozen_drops = t->active_drops;
	t->active_drops = (struct layerset){ 0 };
	t->frozen_seq = t->applied;
	table_count_memory(t);
}

static const struct memrec *first_of_layer(const struct memtable *m, uint32_t layer)
{
	uint32_t be = htobe32(layer);

	return memtable_seek(m, span_of(&be, sizeof(be)), false);
}

/* From now on LMDB may have records of the layers that the frozen table has. */
static int note_layers(struct table *t)
{
	const struct memrec *rec = first_of_layer(t->frozen, 0);

	while (rec) {
		uint32_t layer = key_layer(memrec_key(rec));

		if (rec->is_deleted) {
			rec = memrec_next(rec);
			continue;
		}
		if (!layerset_has(&t->stored, layer)) {
			WITH_LOCK(&t->apply_lock);
			WITH_WRLOCK(&t->lock);
			if (layerset_add(&t->stored, layer) < 0)
				return -ENOMEM;
		}
		rec = first_of_layer(t->frozen, layer + 1);
	}
	return 0;
}

static bool is_dropped(struct table *t, uint32_t layer)
{
	WITH_RDLOCK(&t->lock);
	return layerset_has(&t->dropped, layer);
}

static int write_record(struct lmdbstore *s, const struct memrec *rec)
{
	if (rec->is_deleted)
		return lmdbstore_delete(s, memrec_key(rec));
	return lmdbstore_put(s, memrec_key(rec), memrec_value(rec));
}

/* The frozen records, but for those of layers that are dropped or that LMDB does not have. Leaves a
 * transaction open. */
static int write_records(struct table *t)
{
	uint32_t layer = TABLE_LAYER_OWN;
	bool is_wanted = false;
	int r = 0;

	for (const struct memrec *rec = first_of_layer(t->frozen, 0); rec && r == 0;
	     rec = memrec_next(rec)) {
		if (key_layer(memrec_key(rec)) != layer) {
			layer = key_layer(memrec_key(rec));
			is_wanted = layerset_has(&t->stored, layer) && !is_dropped(t, layer);
		}
		if (!is_wanted)
			continue;
		r = write_record(t->store, rec);
		if (r == 0 && lmdbstore_is_full(t->store)) {
			r = lmdbstore_commit(t->store);
			if (r == 0)
				r = lmdbstore_begin(t->store);
		}
	}
	return r;
}

static bool has_active_drops(struct table *t)
{
	WITH_RDLOCK(&t->lock);
	return t->active_drops.count > 0;
}

static int write_frozen(struct table *t)
{
	int r;

	r = lmdbstore_begin(t->store);
	if (r == 0)
		r = write_records(t);
	/* A drop that came later has hidden some of them: it may not be lost if they are. */
	if (r == 0 && has_active_drops(t))
		r = table_sync(t);
	for (size_t i = 0; r == 0 && i < t->frozen_drops.count; i++)
		if (layerset_has(&t->stored, t->frozen_drops.layers[i]))
			r = lmdbstore_put_dropped(t->store, t->frozen_drops.layers[i]);
	if (r == 0)
		r = lmdbstore_put_position(t->store, t->frozen_seq);
	if (r == 0)
		r = lmdbstore_commit(t->store);
	if (r < 0)
		lmdbstore_abort(t->store);
	return settle(t, r);
}

/* The frozen table is in LMDB. */
static void thaw(struct table *t)
{
	struct memtable *done = t->frozen;

	pthread_mutex_lock(&t->apply_lock);
	pthread_rwlock_wrlock(&t->lock);
	t->frozen = NULL;
	for (size_t i = 0; i < t->frozen_drops.count; i++) {
		uint32_t layer = t->frozen_drops.layers[i];

		if (layerset_has(&t->stored, layer))
			layerset_add(&t->purging, layer); /* reserved */
		else
			layerset_remove(&t->dropped, layer);
	}
	table_count_memory(t);
	pthread_rwlock_unlock(&t->lock);
	pthread_mutex_unlock(&t->apply_lock);

	layerset_release(&t->frozen_drops);
	memtable_reset(done);
	t->spare = done;
	t->position = t->frozen_seq;
}

/* Writes the frozen table to LMDB. */
static int flush(struct table *t)
{
	int r;

	r = layerset_reserve(&t->purging, t->frozen_drops.count);
	if (r == 0)
		r = note_layers(t);
	if (r == 0)
		r = table_sync(t);
	if (r == 0)
		r = write_frozen(t);
	if (r < 0)
		return r;
	thaw(t);
	journal_release(t->journal, t->position);
	t->is_disk_full = lmdbstore_reserve(t->store) < 0;
	t->checkpoint_count++;
	return 0;
}

static int checkpoint(struct table *t)
{
	int r;

	if (t->is_broken)
		return -EIO;
	/* What a failed one left behind comes first. */
	if (t->frozen) {
		r = flush(t);
		if (r < 0)
			return r;
	}
	if (t->applied == t->position)
		return 0;
	freeze(t);
	return flush(t);
}

static void run_checkpoint(struct table *t)
{
	int r;

	pthread_mutex_lock(&t->work_lock);
	t->begun++;
	pthread_mutex_unlock(&t->work_lock);

	r = checkpoint(t);

	WITH_LOCK(&t->work_lock);
	t->ended = t->begun;
	t->result = r;
	pthread_cond_broadcast(&t->checkpoint_done);
}

/* One step of getting rid of dropped layers. */
static int purge(struct table *t)
{
	uint32_t layer = t->purging.layers[0];
	int r;

	r = lmdbstore_purge(t->store, layer);
	if (r <= 0)
		return settle(t, r);

	layerset_remove(&t->purging, layer);
	WITH_LOCK(&t->apply_lock);
	WITH_WRLOCK(&t->lock);
	layerset_remove(&t->stored, layer);
	layerset_remove(&t->dropped, layer);
	return 0;
}

/* The background thread */

static bool wants_checkpoint(struct table *t)
{
	WITH_LOCK(&t->work_lock);
	if (t->wanted > t->begun)
		return true;
	return t->is_in_use && !t->is_broken &&
	       (t->memory > t->memory_max / 2 || journal_bytes(t->journal) > TABLE_JOURNAL_MAX);
}

/* The most urgent thing that is to be done: 1 if it was, 0 if there is none, or -errno. */
static int work_once(struct table *t)
{
	int r = 0;

	if (wants_checkpoint(t)) {
		run_checkpoint(t);
		return t->result < 0 ? t->result : 1;
	}
	if (t->is_broken)
		return 0;
	if (journal_wants_files(t->journal)) {
		r = journal_prepare(t->journal);
		if (r == 0)
			return 1;
	}
	/* Also where there is no disk for files: this makes room in LMDB. */
	if (t->purging.count > 0) {
		r = purge(t);
		return r < 0 ? r : 1;
	}
	return r;
}

static void *work(void *arg)
{
	struct table *t = arg;
	int r;

	pthread_mutex_lock(&t->work_lock);
	while (!t->is_ending) {
		t->is_kicked = false;
		pthread_mutex_unlock(&t->work_lock);
		r = work_once(t);
		pthread_mutex_lock(&t->work_lock);

		/* After a failure only a request for a checkpoint cuts the pause short. */
		if (r < 0) {
			struct deadline pause = deadline_in_ms(RETRY_MS);

			while (!t->is_ending && t->wanted <= t->begun &&
			       deadline_check(&pause) == 0)
				cond_wait_until(&t->work, &t->work_lock, &pause, RETRY_MS);
			continue;
		}
		while (r == 0 && !t->is_ending && t->wanted <= t->begun && !t->is_kicked)
			pthread_cond_wait(&t->work, &t->work_lock);
	}
	pthread_mutex_unlock(&t->work_lock);
	return NULL;
}

int table_start_worker(struct table *t)
{
	int r = thread_start(&t->worker, "checkpoint", work, t);

	t->has_worker = r == 0;
	return r;
}

void table_stop_worker(struct table *t)
{
	if (!t->has_worker)
		return;
	pthread_mutex_lock(&t->work_lock);
	t->is_ending = true;
	pthread_cond_signal(&t->work);
	pthread_mutex_unlock(&t->work_lock);
	pthread_join(t->worker, NULL);
	t->has_worker = false;
}

void table_kick(struct table *t)
{
	if (atomic_exchange(&t->is_kicked, true))
		return;
	WITH_LOCK(&t->work_lock);
	pthread_cond_signal(&t->work);
}

int table_wait_checkpoint(struct table *t)
{
	uint64_t mine;

	WITH_LOCK(&t->work_lock);
	mine = t->begun + 1;
	t->wanted = MAX(t->wanted, mine);
	pthread_cond_signal(&t->work);
	while (t->ended < mine)
		pthread_cond_wait(&t->checkpoint_done, &t->work_lock);
	return t->result;
}

int table_checkpoint(struct table *t)
{
	return table_wait_checkpoint(t);
}

int table_wait_room(struct table *t, const struct deadline *dl)
{
	enum {
		LOOK_MS = 1000
	};
	int r = 0;

	t->is_in_use = true;
	table_kick(t);
	WITH_LOCK(&t->work_lock);
	/* Where checkpoints fail there is nothing to wait for: applying says what is wrong. */
	while (!table_has_room(t) && !t->is_broken && t->result == 0 && r == 0) {
		cond_wait_until(&t->checkpoint_done, &t->work_lock, dl, LOOK_MS);
		r = deadline_check(dl);
	}
	return r;
}
