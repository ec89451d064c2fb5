/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The packer's own thread: placing what workers have encoded, opening and closing packs.
 */
#include "write/packer.h"

#include "base/log.h"
#include "format/key.h"
#include "index/index.h"
#include "write/packer_parts.h"

enum {
	GC_TIMEOUT_MS = 10000,
	WAIT_MS = 1000,
};

static int read_gc(struct packer *p, struct gc_state *ret)
{
	struct backend *b = p->store->backend;
	struct deadline dl = deadline_in_ms(GC_TIMEOUT_MS);
	_cleanup_buf_ struct buf raw = { 0 };
	struct etag tag;
	int r;

	*ret = (struct gc_state){ 0 };
	r = b->ops->get_all(b, GC_STATE_KEY, GC_STATE_MAX, NULL, &dl, &raw, &tag);
	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = gc_state_read(buf_span(&raw), ret);
	return r < 0 ? log_errno(r, "%s: gc/state cannot be read", b->url) : 0;
}

int packer_new(const struct packer_options *o, struct packer **ret)
{
	_cleanup_(packer_freep) struct packer *p = new0(struct packer, 1);
	struct gc_state gc;
	int r;

	if (!p)
		return -ENOMEM;
	p->store = o->store;
	p->cancelled = o->cancelled;
	p->next_ticket = 1;
	list_init(&p->queue);
	list_init(&p->closings);
	list_init(&p->spare);
	pthread_mutex_init(&p->lock, NULL);
	cond_init(&p->wake);
	nodes_init(p, o->is_large);
	r = known_init(&p->known, o->store->index, &(struct gc_state){ 0 });
	if (r == 0)
		r = read_gc(p, &gc);
	if (r < 0)
		return r;
	p->known.gc = gc;
	r = codec_new(PACK_LEVEL, &p->codec);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(p);
	return 0;
}

static bool is_cancelled(const struct packer *p)
{
	return p->cancelled && *p->cancelled;
}

/* Waits for a worker to do something. */
static int wait_for_worker(struct packer *p)
{
	cond_wait_until(&p->wake, &p->lock, NULL, WAIT_MS);
	return is_cancelled(p) ? -ECANCELED : 0;
}

/* All that workers have in hand; what it gave does not count. */
static void drain(struct packer *p)
{
	pthread_mutex_lock(&p->lock);
	list_for_each (x, &p->queue, struct parcel, link)
		while (!x->is_encoded)
			pthread_cond_wait(&p->wake, &p->lock);
	list_for_each (c, &p->closings, struct closing, link)
		while (!c->is_done)
			pthread_cond_wait(&p->wake, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

void packer_free(struct packer *p)
{
	if (!p)
		return;
	drain(p);
	list_for_each_safe (x, &p->queue, struct parcel, link) {
		list_remove(&x->link);
		packer_batch_unref(p, &x->batch);
	}
	list_for_each_safe (c, &p->closings, struct closing, link) {
		packfile_release(&c->file);
		free(c);
	}
	list_for_each_safe (x, &p->spare, struct parcel, link)
		parcel_free(x);
	packfile_release(&p->data);
	buf_release(&p->pack_spare);
	nodes_release(p);
	known_release(&p->known);
	codec_free(p->codec);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static void close_run(struct job *j)
{
	struct closing *c = container_of(j, struct closing, job);
	struct packer *p = c->packer;
	int r = packfile_close(&c->file);
	_cleanup_buf_ struct buf memory = c->file.bytes;

	c->file.bytes = (struct buf){ 0 };
	WITH_LOCK(&p->lock);
	c->error = r;
	c->is_done = true;
	p->closing_count--;
	if (p->pack_spare.cap == 0) {
		p->pack_spare = memory;
		memory = (struct buf){ 0 };
	}
	/* With the lock given up the packer and this job may go. */
	pthread_cond_signal(&p->wake);
}

/* What the index knows need not be remembered here, or a large commit would fill the memory. */
static void tell(struct packer *p, struct closing *c)
{
	if (c->is_told ||
	    index_add_pack(p->store->index, &c->file.name, c->file.entries, c->file.count) < 0)
		return;
	c->is_told = true;
	known_forget(&p->known, c->file.entries, c->file.count);
	free(c->file.entries);
	c->file.entries = NULL;
	c->file.count = c->file.cap = 0;
}

/* Closings that are done: errors come out, and of full packs the index is told. */
static int harvest(struct packer *p)
{
	list_for_each (c, &p->closings, struct closing, link) {
		bool is_done;

		pthread_mutex_lock(&p->lock);
		is_done = c->is_done;
		pthread_mutex_unlock(&p->lock);
		if (!is_done)
			continue;
		if (c->error < 0 && !p->error)
			p->error = log_errno(c->error, "%s: a pack cannot be stored",
					     p->store->backend->url);
		if (c->error == 0 && c->is_full)
			tell(p, c);
	}
	return p->error;
}

int packer_close(struct packer *p, struct packfile *file)
{
	struct closing *c;
	int r = 0;

	pthread_mutex_lock(&p->lock);
	while (r == 0 && p->closing_count >= CLOSING_MAX)
		r = wait_for_worker(p);
	pthread_mutex_unlock(&p->lock);
	if (r == 0)
		r = harvest(p);
	if (r < 0)
		return r;
	c = new0(struct closing, 1);
	if (!c)
		return -ENOMEM;
	*c = (struct closing){
		.job.run = close_run,
		.packer = p,
		.file = *file,
		.is_full = packfile_is_full(file),
	};
	*file = (struct packfile){ 0 };
	list_append(&p->closings, &c->link);
	p->stats.packs++;
	pthread_mutex_lock(&p->lock);
	p->closing_count++;
	pthread_mutex_unlock(&p->lock);
	pool_submit(p->store->uploads, &c->job);
	return 0;
}

int packer_open(struct packer *p, struct packfile *file)
{
	_cleanup_buf_ struct buf spare = { 0 };

	pthread_mutex_lock(&p->lock);
	spare = p->pack_spare;
	p->pack_spare = (struct buf){ 0 };
	pthread_mutex_unlock(&p->lock);
	return packfile_open(p->store->backend, &spare, file);
}

int packer_add_frame(struct packer *p, struct packfile *file, const struct frame_item *items,
		     uint16_t n, struct span frame, struct span rest, struct loc *ret)
{
	struct loc at = { .state = LOC_AT };
	int r = 0;

	if (!packfile_is_open(file))
		r = packer_open(p, file);
	if (r == 0)
		r = packfile_add(file, items, n, frame, rest, &at.offset);
	if (r < 0)
		return r;
	at.pack = file->name;
	at.frame_len = (uint32_t)(frame.len + rest.len);
	*ret = at;
	p->stats.stored_bytes += at.frame_len;
	for (uint16_t i = 0; i < n; i++)
		p->stats.raw_bytes += items[i].len;
	return packfile_is_full(file) ? packer_close(p, file) : 0;
}

/* The frame of the first in the queue goes into a pack, and its chunks learn where they are. */
static int place(struct packer *p, struct parcel *x)
{
	struct batch *b = &x->batch;
	struct loc at;
	int r = x->error;

	if (r == 0 && x->item_count > 0) {
		r = packer_add_frame(p, &p->data, x->items, x->item_count, buf_span(&x->frame),
				     x->rest, &at);
		/* With its first pack full, the commit is a large one. */
		if (r == 0 && !packfile_is_open(&p->data))
			r = nodes_part(p);
	}
	for (uint16_t i = 0; r == 0 && i < x->item_count; i++) {
		struct batch_chunk *c = &b->chunks[x->chunk_of[i]];

		at.item = i;
		c->loc = at;
		known_place(&p->known, OID_CHUNK, &c->id, &at);
	}
	p->stats.chunks += x->item_count;
	p->stats.reused += b->count - x->item_count;
	for (uint32_t i = 0; i < b->count; i++)
		p->stats.reused_bytes += b->chunks[i].len;
	for (uint16_t i = 0; i < x->item_count; i++)
		p->stats.reused_bytes -= x->items[i].len;
	x->is_placed = true;
	p->in_flight -= x->in_flight;
	list_remove(&x->link);
	buf_clear(&b->bytes);
	packer_batch_unref(p, b);
	if (r < 0 && !p->error)
		p->error = r;
	return p->error;
}

/* Places what can be placed; with @wait at least one, if there is one. */
static int place_some(struct packer *p, bool wait)
{
	for (;;) {
		struct parcel *x = list_first(&p->queue, struct parcel, link);
		bool is_encoded;
		int r = 0;

		if (!x || p->error)
			return p->error;
		pthread_mutex_lock(&p->lock);
		while (wait && !x->is_encoded && r == 0)
			r = wait_for_worker(p);
		is_encoded = x->is_encoded;
		pthread_mutex_unlock(&p->lock);
		if (r < 0 || !is_encoded)
			return r;
		r = place(p, x);
		if (r < 0)
			return r;
		wait = false;
	}
}

int packer_submit(struct packer *p, struct batch *b)
{
	struct parcel *x = parcel_of(b);
	int r = place_some(p, false);

	while (r == 0 && p->in_flight > IN_FLIGHT_MAX)
		r = place_some(p, true);
	if (r == 0 && is_cancelled(p))
		r = -ECANCELED;
	if (r < 0)
		return r;
	b->ticket = p->next_ticket++;
	batch_ref(b);
	x->in_flight = b->bytes.len;
	p->in_flight += x->in_flight;
	list_append(&p->queue, &x->link);
	x->job.run = parcel_encode;
	pool_submit(p->store->pool, &x->job);
	return 0;
}

/* Chunks that another batch stores have their place when that one has. */
static bool resolve_chunks(struct packer *p, struct batch *b)
{
	for (uint32_t i = 0; i < b->count; i++) {
		struct batch_chunk *c = &b->chunks[i];

		if (c->loc.state == LOC_NONE)
			c->loc = known_where(&p->known, OID_CHUNK, &c->id);
		if (c->loc.state == LOC_NONE)
			return false;
	}
	return true;
}

bool packer_is_placed(struct packer *p, const struct batch *b)
{
	struct parcel *x = parcel_of((struct batch *)b);

	place_some(p, false);
	return p->error || (b->ticket && x->is_placed && resolve_chunks(p, (struct batch *)b));
}

int packer_wait(struct packer *p, struct batch *b)
{
	struct parcel *x = parcel_of(b);
	int r = p->error;

	while (r == 0 && (!x->is_placed || !resolve_chunks(p, b))) {
		if (list_is_empty(&p->queue))
			return log_fail(-EIO, "a chunk that was claimed has not been stored");
		r = place_some(p, true);
	}
	return r;
}

int packer_find(struct packer *p, enum oid_kind kind, const struct oid *id, struct loc *ret)
{
	return known_find(&p->known, (uint8_t)kind, id, ret);
}

int packer_finish(struct packer *p)
{
	int r = p->error;

	while (r == 0 && !list_is_empty(&p->queue))
		r = place_some(p, true);
	if (r == 0)
		r = nodes_finish(p);
	if (r == 0 && packfile_is_open(&p->data))
		r = packer_close(p, &p->data);
	if (r < 0)
		return r;
	drain(p);
	return harvest(p);
}

void packer_tell_index(struct packer *p)
{
	list_for_each (c, &p->closings, struct closing, link)
		if (c->error == 0)
			tell(p, c);
}

/* Will a pack that was relied upon stay? 0, -ERESTART, or the backend's error. */
static int check_reused(struct packer *p, const struct gc_state *gc, const struct id128 *pack)
{
	struct backend *b = p->store->backend;
	struct deadline dl = deadline_in_ms(GC_TIMEOUT_MS);
	uint64_t size;
	int r;

	if (gc_state_condemns(gc, pack))
		return -ERESTART;
	r = b->ops->head(b, pack_key(pack).s, &dl, &size);
	if (r == -ENOENT)
		return -ERESTART;
	return r < 0 ? log_errno(r, "%s: a pack cannot be looked at", b->url) : 0;
}

int packer_recheck(struct packer *p)
{
	_cleanup_gc_state_ struct gc_state now = { 0 };
	_cleanup_free_ struct id128 *packs = NULL;
	size_t count;
	int r = read_gc(p, &now);

	if (r < 0 || now.epoch == p->known.gc.epoch)
		return r;
	r = known_reused(&p->known, &packs, &count);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = check_reused(p, &now, &packs[i]);
	return r;
}

void packer_stats(const struct packer *p, struct packer_stats *ret)
{
	*ret = p->stats;
}
