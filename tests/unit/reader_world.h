/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A store with packs in it and a reader over it, for tests.
 */
#pragma once

#include "backend/fault.h"
#include "base/log.h"
#include "base/thread.h"
#include "index/index.h"
#include "object/access.h"
#include "object/cache.h"
#include "object/reader.h"
#include "packstore.h"
#include "sample.h"
#include "scratch.h"

static const struct id128 WORLD_STORE = { { 3 } };

struct world {
	struct scratch dir;
	int index_fd, cache_fd;
	struct backend *inner; /* behind the faults, which own it */
	struct backend *backend;
	struct index *index;
	struct cache *cache; /* NULL: none */
	struct reader *reader;
	struct prng random;
	struct made_pack *pack;
};

static inline void reader_start(struct world *w, uint64_t node_bytes, uint64_t chunk_bytes)
{
	struct reader_options o = {
		.backend = w->backend,
		.index = w->index,
		.cache = w->cache,
		.node_bytes = node_bytes,
		.chunk_bytes = chunk_bytes,
		.fetch_threads = 2,
	};

	reader_free(w->reader);
	w->reader = NULL;
	assert_ok(reader_new(&o, &w->reader));
}

/* Nothing in memory any more, and no verdicts. */
static inline void reader_restart(struct world *w)
{
	reader_start(w, 8 * MiB, 32 * MiB);
	fault_backend_reset_counts(w->backend);
}

static inline int world_open(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct id128 name;

	w->random.state = 31337;
	w->dir = scratch_make();
	w->index_fd = scratch_dir(&w->dir, "index");
	w->cache_fd = scratch_dir(&w->dir, "cache");
	assert_ok(memory_backend_new(&w->inner));
	assert_ok(fault_backend_new(w->inner, &w->backend));
	assert_ok(index_open(w->index_fd, &WORLD_STORE, GiB, &w->index));
	reader_restart(w);
	name = sample_id128(&w->random);
	w->pack = made_pack_new(&name);
	*state = w;
	return 0;
}

static inline int world_close(void **state)
{
	struct world *w = *state;

	made_pack_free(w->pack);
	reader_free(w->reader);
	cache_free(w->cache);
	index_free(w->index);
	backend_free(w->backend);
	close(w->index_fd);
	close(w->cache_fd);
	scratch_remove(&w->dir);
	free(w);
	log_set_level(LOG_LEVEL_INFO);
	return 0;
}

static inline struct fault_counts counts_of(struct world *w)
{
	struct fault_counts c;

	fault_backend_counts(w->backend, &c);
	return c;
}

static inline struct reader_stats stats_of(struct world *w)
{
	struct reader_stats s;

	reader_stats(w->reader, &s);
	return s;
}

static inline _unused_ void fault_add(struct world *w, struct fault f)
{
	assert_ok(fault_backend_add(w->backend, &f));
}

/* A chunk that can be made again from its number. */
static inline void chunk_fill(uint64_t n, uint8_t *buf, uint32_t len)
{
	struct prng p = { n * 7919 + 13 };

	/* every other one compresses */
	if (n % 2)
		prng_fill(&p, buf, len);
	else
		sample_text(&p, buf, len);
	for (uint32_t i = 0; i < len && i < 8; i++)
		buf[i] = (uint8_t)(n >> 8 * i);
}

static inline struct oid chunk_add(struct world *w, uint64_t n, uint32_t len)
{
	_cleanup_free_ uint8_t *buf = malloc(len);

	chunk_fill(n, buf, len);
	return made_pack_add_chunk(w->pack, span_of(buf, len));
}

/* Reads the whole chunk @n and holds it against what it should be. */
static inline int chunk_read(struct world *w, uint64_t n, uint32_t len, const struct oid *id,
			     const struct loc *hint, struct access *acc)
{
	_cleanup_free_ uint8_t *want = malloc(len), *got = malloc(len);
	int r = reader_read(w->reader, id, hint, 0, len, got, acc);

	if (r < 0)
		return r;
	chunk_fill(n, want, len);
	assert_memory_equal(got, want, len);
	return 0;
}

/* A directory's leaf with one name in it; its bytes as an item of a frame. */
static inline struct oid node_item(uint64_t n, struct buf *item)
{
	_cleanup_buf_ struct buf canon = { 0 };
	char name[32];
	struct dirent_rec d = {
		.inode = { .type = FT_REG, .mode = 0644, .mtime = { (int64_t)n, 0 } },
	};

	snprintf(name, sizeof(name), "name-%llu", (unsigned long long)n);
	d.name = span_str(name);
	d.inode.content.id = *oid_empty_chunk();
	node_canon_begin(&canon, TREE_DIR, 0);
	dirent_put(&canon, &d);
	node_canon_end(&canon, 1);
	buf_put_u32(item, (uint32_t)canon.len);
	buf_put(item, canon.data, canon.len);
	assert_false(buf_failed(item));
	return oid_of(OID_NODE, canon.data, canon.len);
}

static inline struct oid node_add(struct world *w, uint64_t n)
{
	_cleanup_buf_ struct buf item = { 0 };
	struct oid id = node_item(n, &item);

	made_pack_add(w->pack, OID_NODE, &id, buf_span(&item));
	return id;
}

static inline void pack_store(struct world *w)
{
	made_pack_store(w->pack, w->inner);
}

/* The index learns of the pack. */
static inline void pack_tell_index(struct world *w)
{
	assert_ok(index_add_pack(w->index, &w->pack->name, w->pack->entries, w->pack->count));
}

/* A pack of its own for what comes next; the former one must be stored. */
static inline _unused_ void pack_next(struct world *w)
{
	struct id128 name = sample_id128(&w->random);

	made_pack_free(w->pack);
	w->pack = made_pack_new(&name);
}

static inline _unused_ void wait_for_spill(struct world *w, const struct oid *id)
{
	struct deadline dl = deadline_in_ms(5000);
	uint32_t len;

	while (cache_len(w->cache, OID_CHUNK, id, &len) < 0 && deadline_check(&dl) == 0)
		usleep(1000);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)
