/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Nodes and chunks: from memory, else the disk, else the backend.
 *
 *	memory.c	what is in memory
 *	stretch.c	what packs are received in
 *	window.c load.c	packs and frames, as they come
 *	fetch.c		where an object lies
 *	ahead.c		chunks that will be wanted
 *	arrival.c	what came with what was wanted
 *	spill.c		what goes to the disk
 *	content.c	files' contents
 */
#include "object/reader.h"

#include "object/cache.h"
#include "object/reader_parts.h"

enum {
	PREFETCHES_PER_THREAD = 4,
	PREFETCH_MS = 30000,
	DISK_WHOLE_MAX = 128 << 10, /* chunks up to here come into memory whole from the disk */
};

#define WINDOWS_MIN MiB
#define WINDOWS_MAX (16 * MiB)

static void count_fetch(uint64_t bytes, void *ctx)
{
	struct reader *r = ctx;

	r->counts.fetches++;
	r->counts.fetched_bytes += bytes;
}

int reader_new(const struct reader_options *o, struct reader **ret)
{
	_cleanup_(reader_freep) struct reader *r = new0(struct reader, 1);
	struct load_watch watch = { .fetched = count_fetch, .arrived = reader_arrived, .ctx = r };
	uint64_t windows = MAX(o->node_bytes / 4, WINDOWS_MIN);
	int e;

	if (!r)
		return -ENOMEM;
	r->options = *o;
	pthread_mutex_init(&r->lock, NULL);
	cond_init(&r->landed);
	list_init(&r->verdict_order);
	e = stretches_new(&r->stretches);
	if (e == 0)
		e = memory_new(o->node_bytes, o->chunk_bytes, &r->memory);
	if (e == 0)
		e = loader_new(o->backend, r->stretches, MIN(windows, WINDOWS_MAX), &watch,
			       &r->loader);
	if (e == 0)
		e = pool_new("fetch", o->fetch_threads, &r->pool);
	if (e == 0)
		e = pool_new("ahead", o->fetch_threads, &r->runs);
	if (e < 0)
		return e;
	*ret = TAKE_PTR(r);
	return 0;
}

void reader_free(struct reader *r)
{
	if (!r)
		return;
	r->is_ending = true;
	pool_free(r->runs); /* they leave work to the other */
	pool_free(r->pool);
	loader_free(r->loader);
	memory_free(r->memory);
	stretches_free(r->stretches);
	verdicts_release(r);
	htab_release(&r->flights);
	pthread_cond_destroy(&r->landed);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* Fetches for an access; one that may not wait gets only what is kept of packs. */
static int fetch(struct reader *r, const struct wanted *w, struct access *acc, struct load **ret,
		 const struct load_item **ret_item)
{
	bool at_once = acc && !acc->may_wait;
	int e;

	e = reader_fetch(r, w, at_once, false, access_deadline(acc), ret, ret_item);
	return e == -EAGAIN && acc ? access_want(acc, w) : e;
}

/* An object as the disk has it; malloc'ed. */
static int read_disk(struct reader *r, const struct wanted *w, uint8_t **ret, uint32_t *ret_len)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	uint32_t len;
	int e;

	if (!r->options.cache)
		return -ENOENT;
	e = cache_len(r->options.cache, w->kind, w->id, &len);
	if (e < 0)
		return e;
	bytes = malloc(MAX(len, 1u));
	if (!bytes)
		return -ENOMEM;
	e = cache_read(r->options.cache, w->kind, w->id, 0, len, bytes);
	if (e < 0)
		return e;
	r->counts.disk_hits++;
	*ret = TAKE_PTR(bytes);
	*ret_len = len;
	return 0;
}

static struct node *node_from_disk(struct reader *r, const struct wanted *w)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	struct node *n;
	uint32_t len;

	if (read_disk(r, w, &bytes, &len) < 0 || node_parse(w->id, span_of(bytes, len), &n) < 0)
		return NULL;
	memory_add_node(r->memory, n);
	return n;
}

int reader_node(struct reader *r, const struct oid *id, const struct loc *hint, struct access *acc,
		struct node **ret)
{
	struct wanted w = { .kind = OID_NODE, .id = id, .hint = hint };
	_cleanup_(load_unrefp) struct load *l = NULL;
	const struct load_item *item;
	struct node *n;
	int e;

	n = memory_node(r->memory, id) ?: access_node(acc, id);
	if (n) {
		r->counts.node_hits++;
		*ret = n;
		return 0;
	}
	if (acc && acc->is_at_hand)
		return access_want(acc, &w);
	r->counts.node_misses++;
	n = node_from_disk(r, &w);
	if (n) {
		*ret = n;
		return 0;
	}
	e = fetch(r, &w, acc, &l, &item);
	if (e < 0)
		return e;
	*ret = node_ref(item->node);
	return 0;
}

/* A parcel of one chunk, put into the memory. Takes @bytes. */
static int blob_of(struct reader *r, const struct oid *id, uint8_t *bytes, uint32_t len,
		   struct blob **ret)
{
	struct stretch s = { .data = bytes, .size = len };
	_cleanup_(parcel_unrefp) struct parcel *p = parcel_new(&s, 1);

	if (!p)
		return -ENOMEM;
	*ret = blob_ref(parcel_add(p, id, bytes, len));
	memory_add_parcel(r->memory, p);
	return 0;
}

static int chunk_from_disk(struct reader *r, const struct wanted *w, struct blob **ret)
{
	uint8_t *bytes;
	uint32_t len;
	int e;

	e = read_disk(r, w, &bytes, &len);
	return e < 0 ? e : blob_of(r, w->id, bytes, len, ret);
}

/* From the disk or the backend. */
static int obtain_chunk(struct reader *r, const struct wanted *w, struct access *acc,
			struct blob **ret)
{
	_cleanup_(load_unrefp) struct load *l = NULL;
	const struct load_item *item;
	int e;

	if (oid_equal(w->id, oid_empty_chunk()))
		return blob_of(r, w->id, NULL, 0, ret);
	if (chunk_from_disk(r, w, ret) == 0)
		return 0;
	e = fetch(r, w, acc, &l, &item);
	if (e < 0)
		return e;
	*ret = blob_ref(item->blob);
	return 0;
}

/* What needs no wait. */
static struct blob *chunk_at_hand(struct reader *r, const struct oid *id, const struct access *acc)
{
	struct blob *b = memory_chunk(r->memory, id) ?: access_blob(acc, id);

	if (b)
		r->counts.chunk_hits++;
	return b;
}

int reader_chunk(struct reader *r, const struct oid *id, const struct loc *hint, struct access *acc,
		 struct blob **ret)
{
	struct wanted w = { .kind = OID_CHUNK, .id = id, .hint = hint };
	struct blob *b = chunk_at_hand(r, id, acc);

	if (b) {
		*ret = b;
		return 0;
	}
	if (acc && acc->is_at_hand)
		return access_want(acc, &w);
	r->counts.chunk_misses++;
	return obtain_chunk(r, &w, acc, ret);
}

/* A part of a large chunk, straight from the disk. */
static int read_part(struct reader *r, const struct oid *id, uint32_t off, uint32_t len, void *buf)
{
	struct cache *c = r->options.cache;
	uint32_t whole;
	int e;

	if (!c || cache_len(c, OID_CHUNK, id, &whole) < 0 || whole <= DISK_WHOLE_MAX)
		return -ENOENT;
	if (off > whole || len > whole - off)
		return -EBADMSG;
	e = cache_read(c, OID_CHUNK, id, off, len, buf);
	if (e == 0)
		r->counts.disk_hits++;
	return e;
}

int reader_read(struct reader *r, const struct oid *id, const struct loc *hint, uint32_t off,
		uint32_t len, void *buf, struct access *acc)
{
	struct wanted w = { .kind = OID_CHUNK, .id = id, .hint = hint };
	_cleanup_(blob_unrefp) struct blob *b = chunk_at_hand(r, id, acc);
	int e;

	if (!b) {
		if (acc && acc->is_at_hand)
			return access_want(acc, &w);
		r->counts.chunk_misses++;
		e = read_part(r, id, off, len, buf);
		if (e != -ENOENT)
			return e;
		e = obtain_chunk(r, &w, acc, &b);
		if (e < 0)
			return e;
	}
	if (off > b->len || len > b->len - off)
		return -EBADMSG;
	if (len > 0)
		memcpy(buf, b->data + off, len);
	return 0;
}

struct prefetch {
	struct job job;
	struct reader *reader;
	struct oid id;
	struct loc hint;
};

static void prefetch(struct job *j)
{
	struct prefetch *p = container_of(j, struct prefetch, job);
	struct reader *r = p->reader;
	struct wanted w = { .kind = OID_CHUNK, .id = &p->id, .hint = &p->hint };
	struct deadline dl = deadline_in_ms(PREFETCH_MS);
	_cleanup_(blob_unrefp) struct blob *b = memory_chunk(r->memory, &p->id);
	const struct load_item *item;
	struct load *l;

	dl.cancelled = &r->is_ending;
	if (!b && !r->is_ending && reader_fetch(r, &w, false, true, &dl, &l, &item) == 0)
		load_unref(l);
	pthread_mutex_lock(&r->lock);
	r->prefetches--;
	pthread_mutex_unlock(&r->lock);
	free(p);
}

/* Is there room for one more? */
static bool prefetch_enter(struct reader *r)
{
	WITH_LOCK(&r->lock);
	if (r->prefetches >= pool_threads(r->pool) * PREFETCHES_PER_THREAD)
		return false;
	r->prefetches++;
	return true;
}

void reader_prefetch(struct reader *r, const struct oid *id, const struct loc *hint)
{
	_cleanup_(blob_unrefp) struct blob *b = memory_chunk(r->memory, id);
	struct prefetch *p;
	uint32_t len;

	if (b || (r->options.cache && cache_len(r->options.cache, OID_CHUNK, id, &len) == 0))
		return;
	p = new0(struct prefetch, 1);
	if (!p)
		return;
	if (!prefetch_enter(r)) {
		free(p);
		return;
	}
	p->job.run = prefetch;
	p->reader = r;
	p->id = *id;
	p->hint = hint ? *hint : LOC_NOWHERE;
	pool_submit(r->pool, &p->job);
}

void reader_offer_node(struct reader *r, struct node *n)
{
	memory_add_node(r->memory, n);
	node_unref(n);
}

void reader_stats(struct reader *r, struct reader_stats *ret)
{
	*ret = (struct reader_stats){
		.node_hits = r->counts.node_hits,
		.node_misses = r->counts.node_misses,
		.chunk_hits = r->counts.chunk_hits,
		.chunk_misses = r->counts.chunk_misses,
		.disk_hits = r->counts.disk_hits,
		.fetches = r->counts.fetches,
		.fetched_bytes = r->counts.fetched_bytes,
		.refetches_by_index = r->counts.refetches_by_index,
		.bad = r->counts.bad,
	};
	memory_used(r->memory, &ret->node_memory, &ret->chunk_memory);
}
