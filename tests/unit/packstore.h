/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Packs made frame by frame, for tests of what reads them.
 */
#pragma once

#include "backend/backend.h"
#include "check.h"
#include "format/key.h"
#include "format/pack.h"

enum {
	MADE_ITEMS_MAX = 200000
};

/* A pack that is being made. */
struct made_pack {
	struct id128 name;
	struct buf bytes; /* the whole object when it is stored */
	struct codec *codec;
	struct pack_entry *entries;
	size_t count;
	/* The frame that is being filled. */
	struct buf raw;
	struct frame_item items[FRAME_ITEMS_MAX];
	uint16_t item_count;
};

static inline struct made_pack *made_pack_new(const struct id128 *name)
{
	struct made_pack *p = calloc(1, sizeof(*p));

	p->name = *name;
	p->entries = calloc(MADE_ITEMS_MAX, sizeof(p->entries[0]));
	assert_ok(codec_new(1, &p->codec));
	pack_header_put(&p->bytes, name);
	return p;
}

static inline void made_pack_free(struct made_pack *p)
{
	codec_free(p->codec);
	buf_release(&p->bytes);
	buf_release(&p->raw);
	free(p->entries);
	free(p);
}

/* Ends the frame. */
static inline void made_pack_cut(struct made_pack *p)
{
	uint32_t at = (uint32_t)p->bytes.len;

	if (p->item_count == 0)
		return;
	assert_ok(frame_encode(p->codec, p->items, p->item_count, buf_span(&p->raw), &p->bytes));
	for (uint16_t i = 0; i < p->item_count; i++) {
		struct pack_entry *e = &p->entries[p->count - p->item_count + i];

		e->offset = at;
		e->frame_len = (uint32_t)(p->bytes.len - at);
	}
	buf_clear(&p->raw);
	p->item_count = 0;
}

/* Adds an item; a frame is ended when it would be over the target. Returns its ordinal. */
static inline size_t made_pack_add(struct made_pack *p, uint8_t kind, const struct oid *id,
				   struct span data)
{
	if (p->item_count == FRAME_ITEMS_MAX ||
	    (p->item_count > 0 && p->raw.len + data.len > FRAME_TARGET))
		made_pack_cut(p);
	assert_true(p->count < MADE_ITEMS_MAX);
	p->items[p->item_count] = (struct frame_item){ kind, (uint32_t)data.len, *id };
	p->entries[p->count] = (struct pack_entry){
		.id = *id,
		.item = p->item_count++,
		.kind = kind,
		.len = (uint32_t)data.len,
	};
	buf_put(&p->raw, data.data, data.len);
	return p->count++;
}

static inline struct oid made_pack_add_chunk(struct made_pack *p, struct span data)
{
	struct oid id = oid_of(OID_CHUNK, data.data, data.len);

	made_pack_add(p, OID_CHUNK, &id, data);
	return id;
}

/* Where an item lies, once its frame is cut. */
static inline _unused_ struct loc made_pack_loc(const struct made_pack *p, size_t i)
{
	return (struct loc){
		.pack = p->name,
		.offset = p->entries[i].offset,
		.frame_len = p->entries[i].frame_len,
		.item = p->entries[i].item,
		.state = LOC_AT,
	};
}

/* Ends the pack and puts it into @b. Ordinals of items stay what they were. */
static inline void made_pack_store(struct made_pack *p, struct backend *b)
{
	struct pack_entry *sorted = calloc(p->count + 1, sizeof(sorted[0]));

	made_pack_cut(p);
	memcpy(sorted, p->entries, p->count * sizeof(sorted[0]));
	pack_footer_put(&p->bytes, sorted, p->count, p->bytes.len, &p->name);
	free(sorted);
	assert_false(buf_failed(&p->bytes));
	assert_ok(b->ops->put(b, pack_key(&p->name).s, buf_span(&p->bytes), NULL));
}
