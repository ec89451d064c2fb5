/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Batches: filling them, and what a worker does with one.
 */
#include "base/hash.h"
#include "write/packer_parts.h"

static pthread_key_t codec_key;
static pthread_once_t codec_once = PTHREAD_ONCE_INIT;

static void codec_key_init(void)
{
	if (pthread_key_create(&codec_key, (void (*)(void *))codec_free) != 0)
		abort();
}

/* A codec for each worker, which outlives packers as the worker does. */
static struct codec *thread_codec(void)
{
	struct codec *c;

	pthread_once(&codec_once, codec_key_init);
	c = pthread_getspecific(codec_key);
	if (!c && codec_new(PACK_LEVEL, &c) == 0)
		pthread_setspecific(codec_key, c);
	return c;
}

struct parcel *parcel_of(struct batch *b)
{
	return container_of(b, struct parcel, batch);
}

void parcel_free(struct parcel *x)
{
	if (!x)
		return;
	buf_release(&x->batch.bytes);
	buf_release(&x->frame);
	free(x->batch.chunks);
	free(x->items);
	free(x->chunk_of);
	free(x);
}

static size_t footprint(const struct parcel *x)
{
	return x->batch.bytes.cap + x->frame.cap;
}

int packer_batch(struct packer *p, struct batch **ret)
{
	struct parcel *x = list_first(&p->spare, struct parcel, link);

	if (x) {
		list_remove(&x->link);
		p->spare_bytes -= footprint(x);
	} else {
		x = new0(struct parcel, 1);
		if (!x)
			return -ENOMEM;
		x->packer = p;
		list_init(&x->link);
	}
	x->batch.refs = 1;
	x->batch.ticket = 0;
	x->batch.count = 0;
	x->item_count = 0;
	x->error = 0;
	x->is_encoded = x->is_placed = false;
	*ret = &x->batch;
	return 0;
}

bool batch_has_room(const struct batch *b, uint32_t len)
{
	return b->count == 0 || (b->bytes.len + len <= FRAME_TARGET && b->count < FRAME_ITEMS_MAX);
}

uint8_t *batch_add(struct batch *b, uint32_t len)
{
	uint32_t at = (uint32_t)b->bytes.len;
	uint8_t *p;

	if (b->count == b->cap) {
		uint32_t cap = MAX(2 * b->cap, 16u);
		struct batch_chunk *c = reallocarray(b->chunks, cap, sizeof(*c));

		if (!c)
			return NULL;
		b->chunks = c;
		b->cap = cap;
	}
	p = buf_extend(&b->bytes, len);
	if (p)
		b->chunks[b->count++] = (struct batch_chunk){ .at = at, .len = len };
	return p;
}

struct batch *batch_ref(struct batch *b)
{
	b->refs++;
	return b;
}

void packer_batch_unref(struct packer *p, struct batch *b)
{
	struct parcel *x;

	if (!b || --b->refs > 0)
		return;
	x = parcel_of(b);
	buf_clear(&b->bytes);
	buf_clear(&x->frame);
	/* Touching fresh memory costs more than hashing it. */
	if (p->spare_bytes + footprint(x) > SPARE_MAX) {
		parcel_free(x);
		return;
	}
	p->spare_bytes += footprint(x);
	list_prepend(&p->spare, &x->link);
}

static int room_for_items(struct parcel *x, uint32_t n)
{
	free(x->items);
	free(x->chunk_of);
	x->items = new0(struct frame_item, n);
	x->chunk_of = new0(uint32_t, n);
	return x->items && x->chunk_of ? 0 : -ENOMEM;
}

/* Ids, and which chunks are ours to store: their bytes are moved together. */
static int claim_chunks(struct parcel *x)
{
	struct batch *b = &x->batch;
	size_t kept = 0;
	int r;

	r = room_for_items(x, b->count);
	for (uint32_t i = 0; r == 0 && i < b->count; i++) {
		struct batch_chunk *c = &b->chunks[i];
		uint8_t *bytes = b->bytes.data + c->at;

		c->id = oid_of(OID_CHUNK, bytes, c->len);
		c->checksum = xxh64(bytes, c->len, 0);
		r = known_claim(&x->packer->known, OID_CHUNK, &c->id, &c->loc);
		if (r <= 0)
			continue;
		r = 0;
		if (kept < c->at)
			memmove(b->bytes.data + kept, bytes, c->len);
		kept += c->len;
		x->chunk_of[x->item_count] = i;
		x->items[x->item_count++] =
			(struct frame_item){ .kind = OID_CHUNK, .len = c->len, .id = c->id };
	}
	b->bytes.len = kept;
	return r;
}

void parcel_encode(struct job *j)
{
	struct parcel *x = container_of(j, struct parcel, job);
	struct packer *p = x->packer;
	struct codec *codec = thread_codec();
	int r = codec ? claim_chunks(x) : -ENOMEM;

	if (r == 0)
		packer_adopt(p, x->items, x->item_count, x->batch.bytes.data);
	if (r == 0 && x->item_count > 0)
		r = frame_encode_head(codec, x->items, x->item_count, buf_span(&x->batch.bytes),
				      &x->frame, &x->rest);
	pthread_mutex_lock(&p->lock);
	x->error = r;
	x->is_encoded = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
}
