/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The mount's numbers, from all that count some, as text and as JSON.
 */
#include "stats.h"

#include <inttypes.h>

#include "backend/breaker.h"
#include "backend/count.h"
#include "catalog/catalog.h"
#include "channel.h"
#include "control.h"
#include "files.h"
#include "index/index.h"
#include "lane.h"
#include "mapped.h"
#include "object/cache.h"
#include "object/reader.h"
#include "run/run.h"

static const char *const op_names[FS_OP_COUNT] = {
#define X(id, name) [FS_OP_##id] = #name,
	FS_OPS(X)
#undef X
};

enum number_kind {
	NUMBER_COUNTER,
	NUMBER_GAUGE,
};

struct number {
	const char *name, *help;
	enum number_kind kind;
	uint64_t value;
};

enum {
	NUMBERS_MAX = 128
};

struct numbers {
	struct number n[NUMBERS_MAX];
	size_t count;
};

static void add(struct numbers *all, enum number_kind kind, const char *name, uint64_t value,
		const char *help)
{
	if (all->count < NUMBERS_MAX)
		all->n[all->count++] = (struct number){ name, help, kind, value };
}

static void add_requests(struct fs *fs, struct numbers *all)
{
	const struct stats *s = &fs->stats;

	add(all, NUMBER_COUNTER, "read_bytes", counter_get(&s->read_bytes),
	    "Bytes of files given to the kernel.");
	add(all, NUMBER_COUNTER, "written_bytes", counter_get(&s->written_bytes),
	    "Bytes of files taken from the kernel.");
	add(all, NUMBER_COUNTER, "slow_requests", counter_get(&s->slow),
	    "Requests that had to wait for the store or the disk.");
	add(all, NUMBER_GAUGE, "waiting_requests", lane_length(fs->lane),
	    "Requests that wait for the store or the disk now.");
	add(all, NUMBER_COUNTER, "interrupted_requests", counter_get(&s->interrupted),
	    "Waiting requests given up by their callers.");
	add(all, NUMBER_COUNTER, "notifications", counter_get(&s->notifications),
	    "Times the kernel was told that something is outdated.");
	add(all, NUMBER_COUNTER, "expired_nodes", counter_get(&s->expired),
	    "Files the kernel was asked to forget.");
	add(all, NUMBER_COUNTER, "worker_raises", channel_raises(fs->channel),
	    "Times the workers' priority had to be raised.");
	add(all, NUMBER_GAUGE, "nodes", vnode_count(fs->vnodes),
	    "Files and directories in memory.");
	add(all, NUMBER_GAUGE, "open_files", files_count(fs->files), "Open files and directories.");
	add(all, NUMBER_GAUGE, "conversations", controls_count(fs->controls),
	    "Open control files.");
}

static void add_heads(struct fs *fs, struct numbers *all)
{
	struct heads_stats h;

	heads_stats(fs->heads, &h);
	add(all, NUMBER_GAUGE, "heads", h.heads, "Branches in use.");
	add(all, NUMBER_GAUGE, "dirty_heads", h.dirty, "Branches with uncommitted changes.");
	add(all, NUMBER_GAUGE, "staged_bytes", h.staged, "Disk taken by uncommitted data.");
	add(all, NUMBER_GAUGE, "staged_waiting_bytes", h.waiting,
	    "Of that, freed and waiting for a sync point.");
	add(all, NUMBER_GAUGE, "staged_budget_bytes", h.budget,
	    "Disk that uncommitted data may take.");
	add(all, NUMBER_GAUGE, "journal_bytes", h.journal_bytes, "Journal not yet checkpointed.");
	add(all, NUMBER_GAUGE, "table_memory_bytes", h.memory_bytes,
	    "Memory of changes not yet checkpointed.");
	add(all, NUMBER_COUNTER, "checkpoints", h.checkpoints, "Checkpoints of the journal.");
	add(all, NUMBER_COUNTER, "syncs", h.syncs, "Sync points.");
}

static void add_runs(struct fs *fs, struct numbers *all)
{
	struct catalog_stats s;
	struct runs_stats here = { 0 };

	catalog_stats(fs->store, &s);
	if (fs->runs)
		runs_stats(fs->runs, &here);
	add(all, NUMBER_GAUGE, "runs_going_on", here.going_on, "Runs whose command goes on.");
	add(all, NUMBER_GAUGE, "runs_ending", here.ending,
	    "Runs whose command has ended, and whose record has not.");
	add(all, NUMBER_GAUGE, "runs_ended", here.ended,
	    "Runs that have ended, and whose views are still in use.");
	add(all, NUMBER_GAUGE, "runs_known", s.runs, "Runs of all machines that are known here.");
	add(all, NUMBER_GAUGE, "runs_without_end", s.open, "Of those, the ones without an end.");
	add(all, NUMBER_GAUGE, "runs_looked_seconds", (uint64_t)s.looked,
	    "When it was last looked for new runs, in seconds since 1970.");
}

static void add_store(struct fs *fs, struct numbers *all)
{
	struct resident mem = resident_now();
	struct reader_stats r;
	struct backend_counts b;
	struct index_stats x;

	count_backend_get(fs->store->counted, &b);
	add(all, NUMBER_COUNTER, "store_read_bytes", b.read_bytes, "Bytes read from the store.");
	if (fs->store->breaker)
		add(all, NUMBER_GAUGE, "store_answers", breaker_is_closed(fs->store->breaker),
		    "1, or 0 when the store does not answer.");
	add(all, NUMBER_COUNTER, "store_written_bytes", b.written_bytes,
	    "Bytes written to the store.");
	reader_stats(fs->store->reader, &r);
	index_stats(fs->store->index, &x);
	add(all, NUMBER_COUNTER, "node_hits", r.node_hits, "Tree nodes found in memory.");
	add(all, NUMBER_COUNTER, "node_misses", r.node_misses, "Tree nodes not in memory.");
	add(all, NUMBER_COUNTER, "chunk_hits", r.chunk_hits, "Chunks found in memory.");
	add(all, NUMBER_COUNTER, "chunk_misses", r.chunk_misses, "Chunks not in memory.");
	add(all, NUMBER_COUNTER, "disk_hits", r.disk_hits, "Of those, found in the disk cache.");
	add(all, NUMBER_COUNTER, "fetches", r.fetches, "Reads of packs.");
	add(all, NUMBER_COUNTER, "fetched_bytes", r.fetched_bytes, "Bytes read of packs.");
	add(all, NUMBER_COUNTER, "index_refetches", r.refetches_by_index,
	    "Hints that were wrong, made good by the index.");
	add(all, NUMBER_COUNTER, "bad_objects", r.bad, "Objects that were not what their id says.");
	add(all, NUMBER_GAUGE, "node_memory_bytes", r.node_memory, "Memory of tree nodes.");
	add(all, NUMBER_GAUGE, "chunk_memory_bytes", r.chunk_memory, "Memory of chunks.");
	add(all, NUMBER_GAUGE, "index_ids", x.ids, "Ids in the local index.");
	add(all, NUMBER_GAUGE, "index_packs", x.packs, "Packs in the local index's own table.");
	add(all, NUMBER_GAUGE, "index_segments", x.segments, "Index segments on this machine.");
	if (fs->store->cache)
		add(all, NUMBER_GAUGE, "cached_bytes", cache_used(fs->store->cache),
		    "Disk taken by cached data.");
	add(all, NUMBER_GAUGE, "conditions_unproved", fs->store->trust == TRUST_UNPROVED,
	    "The store's server was not yet asked whether it tells writers apart.");
	add(all, NUMBER_GAUGE, "single_writer", fs->store->trust == TRUST_SINGLE_WRITER,
	    "It does not, or is not asked: this mount is the only one that may write.");
	add(all, NUMBER_GAUGE, "resident_bytes", mem.all, "Memory of the daemon.");
	add(all, NUMBER_GAUGE, "resident_file_bytes", mem.files,
	    "Of that, mapped files and programs.");
}

static void collect(struct fs *fs, struct numbers *ret)
{
	ret->count = 0;
	add_requests(fs, ret);
	add_heads(fs, ret);
	add_runs(fs, ret);
	add_store(fs, ret);
}

static void put_head(struct buf *b, const char *name, const char *help)
{
	buf_printf(b, "# HELP pfs_%s %s\n# TYPE pfs_%s counter\n", name, help, name);
}

static void put_ops(struct buf *b, const char *name, const char *help, const counter *ops)
{
	put_head(b, name, help);
	for (size_t i = 0; i < FS_OP_COUNT; i++)
		buf_printf(b, "pfs_%s{op=\"%s\"} %" PRIu64 "\n", name, op_names[i],
			   counter_get(&ops[i]));
}

static void put_store_ops(struct buf *b, const struct backend_counts *c)
{
	put_head(b, "store_requests_total", "Requests to the store.");
	for (size_t i = 0; i < COUNT_OP_COUNT; i++)
		buf_printf(b, "pfs_store_requests_total{op=\"%s\"} %" PRIu64 "\n",
			   count_op_names[i], c->ops[i].calls);
	put_head(b, "store_request_errors_total", "Requests to the store that failed.");
	for (size_t i = 0; i < COUNT_OP_COUNT; i++)
		buf_printf(b, "pfs_store_request_errors_total{op=\"%s\"} %" PRIu64 "\n",
			   count_op_names[i], c->ops[i].errors);
	put_head(b, "store_request_microseconds_total", "Time that requests to the store took.");
	for (size_t i = 0; i < COUNT_OP_COUNT; i++)
		buf_printf(b, "pfs_store_request_microseconds_total{op=\"%s\"} %" PRIu64 "\n",
			   count_op_names[i], c->ops[i].time_us);
}

int stats_text(struct fs *fs, struct buf *ret)
{
	struct backend_counts store;
	struct numbers all;

	count_backend_get(fs->store->counted, &store);
	put_ops(ret, "requests_total", "Requests of the kernel.", fs->stats.ops);
	put_ops(ret, "request_errors_total", "Requests that failed.", fs->stats.errors);
	put_store_ops(ret, &store);
	collect(fs, &all);
	for (size_t i = 0; i < all.count; i++) {
		const struct number *n = &all.n[i];
		bool is_counter = n->kind == NUMBER_COUNTER;
		const char *suffix = is_counter ? "_total" : "";

		buf_printf(ret, "# HELP pfs_%s%s %s\n# TYPE pfs_%s%s %s\npfs_%s%s %" PRIu64 "\n",
			   n->name, suffix, n->help, n->name, suffix,
			   is_counter ? "counter" : "gauge", n->name, suffix, n->value);
	}
	return buf_failed(ret) ? -ENOMEM : 0;
}

void stats_json(json_t *into, void *ctx)
{
	struct fs *fs = ctx;
	json_t *requests = json_object();
	struct numbers all;

	for (size_t i = 0; requests && i < FS_OP_COUNT; i++)
		json_object_set_new(requests, op_names[i],
				    json_integer((json_int_t)counter_get(&fs->stats.ops[i])));
	json_object_set_new(into, "requests", requests);
	collect(fs, &all);
	for (size_t i = 0; i < all.count; i++)
		json_object_set_new(into, all.n[i].name, json_integer((json_int_t)all.n[i].value));
}
