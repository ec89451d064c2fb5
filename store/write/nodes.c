/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The sink of tree nodes.
 *
 * A parent's hint says where its children lie, and children come first. In packs of their own,
 * nodes know their place when they come: their frame will start where the pack ends now. A small
 * commit's one pack ends with its nodes, after data that is still on its way: until then they wait
 * here, their places are tickets, and at the end those are turned into places, in order.
 */
#include "object/reader.h"
#include "write/packer_parts.h"

void packer_resolve(struct packer *p, struct loc *loc)
{
	if (loc->state != LOC_PENDING)
		return;
	*loc = loc->offset < p->nodes.place_count ? p->nodes.places[loc->offset] : LOC_NOWHERE;
}

static struct packfile *file_of(struct packer *p)
{
	return p->nodes.is_apart ? &p->nodes.file : &p->data;
}

static int flush_frame(struct packer *p)
{
	struct node_packer *n = &p->nodes;
	_cleanup_buf_ struct buf frame = { 0 };
	struct loc at;
	int r;

	if (n->item_count == 0)
		return 0;
	packer_adopt(p, n->items, n->item_count, n->raw.data);
	r = frame_encode(p->codec, n->items, n->item_count, buf_span(&n->raw), &frame);
	if (r == 0)
		r = packer_add_frame(p, file_of(p), n->items, n->item_count, buf_span(&frame),
				     (struct span){ 0 }, &at);
	p->stats.nodes += n->item_count;
	buf_clear(&n->raw);
	n->item_count = 0;
	return r;
}

/* Puts a node into the frame that is being filled, whose place is known before it is written. */
static int pack_node(struct packer *p, const struct oid *id, struct span canon,
		     const struct entry_hint *hints, uint32_t count, struct loc *ret)
{
	struct node_packer *n = &p->nodes;
	struct packfile *file = file_of(p);
	_cleanup_buf_ struct buf hint = { 0 };
	struct node *node;
	size_t len;
	int r = 0;

	hint_put(&hint, hints, count);
	if (buf_failed(&hint))
		return -ENOMEM;
	len = 4 + canon.len + hint.len;
	if (n->item_count == FRAME_ITEMS_MAX || (n->item_count && n->raw.len + len > FRAME_TARGET))
		r = flush_frame(p);
	if (r == 0 && !packfile_is_open(file))
		r = packer_open(p, file);
	if (r < 0)
		return r;
	*ret = (struct loc){
		.pack = file->name,
		.offset = (uint32_t)file->size,
		.item = n->item_count,
		.state = LOC_AT,
	};
	n->items[n->item_count++] =
		(struct frame_item){ .kind = OID_NODE, .len = (uint32_t)len, .id = *id };
	buf_put_u32(&n->raw, (uint32_t)canon.len);
	buf_put(&n->raw, canon.data, canon.len);
	buf_put(&n->raw, hint.data, hint.len);
	if (buf_failed(&n->raw))
		return -ENOMEM;
	known_place(&p->known, OID_NODE, id, ret);
	if (node_of_canon(canon, buf_span(&hint), &node) == 0)
		reader_offer_node(p->store->reader, node);
	return 0;
}

static void waiting_free(struct waiting_node *w)
{
	free(w->canon);
	free(w->hints);
}

/* Copies a node, its hints and what those borrow. */
static int waiting_copy(struct waiting_node *w, const struct oid *id, struct span canon,
			const struct entry_hint *hints, uint32_t count)
{
	size_t inlined = 0, base = count * sizeof(*hints);
	uint8_t *bytes;

	for (uint32_t i = 0; i < count; i++)
		inlined += hints[i].inlined.len;
	*w = (struct waiting_node){ .id = *id,
				    .canon_len = (uint32_t)canon.len,
				    .hint_count = count };
	w->canon = malloc(canon.len);
	w->hints = malloc(base + inlined);
	if (!w->canon || !w->hints) {
		waiting_free(w);
		return -ENOMEM;
	}
	memcpy(w->canon, canon.data, canon.len);
	memcpy(w->hints, hints, base);
	bytes = (uint8_t *)w->hints + base;
	for (uint32_t i = 0; i < count; i++) {
		struct span *s = &w->hints[i].inlined;

		if (s->len == 0)
			continue;
		memcpy(bytes, s->data, s->len);
		s->data = bytes;
		bytes += s->len;
	}
	return 0;
}

static int wait_node(struct packer *p, const struct oid *id, struct span canon,
		     const struct entry_hint *hints, uint32_t count, struct loc *ret)
{
	struct node_packer *n = &p->nodes;
	int r;

	if (n->waiting_count == n->waiting_cap) {
		size_t cap = MAX(2 * n->waiting_cap, (size_t)32);
		struct waiting_node *w = reallocarray(n->waiting, cap, sizeof(*w));

		if (!w)
			return -ENOMEM;
		n->waiting = w;
		n->waiting_cap = cap;
	}
	r = waiting_copy(&n->waiting[n->waiting_count], id, canon, hints, count);
	if (r < 0)
		return r;
	*ret = (struct loc){ .state = LOC_PENDING, .offset = (uint32_t)n->waiting_count };
	known_place(&p->known, OID_NODE, id, ret);
	n->waiting_count++;
	n->waiting_bytes += canon.len;
	return n->waiting_bytes > NODES_WAITING_MAX ? nodes_part(p) : 0;
}

static void resolve_hints(struct packer *p, struct entry_hint *hints, uint32_t count)
{
	/* Only nodes are ever pending. */
	for (uint32_t i = 0; i < count; i++)
		packer_resolve(p, &hints[i].loc);
}

/* Puts those that waited where nodes go now, children before parents as they came. */
static int pack_waiting(struct packer *p)
{
	struct node_packer *n = &p->nodes;
	int r = 0;

	if (n->waiting_count == 0)
		return 0;
	n->places = new0(struct loc, n->waiting_count);
	if (!n->places)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < n->waiting_count; i++) {
		struct waiting_node *w = &n->waiting[i];

		resolve_hints(p, w->hints, w->hint_count);
		r = pack_node(p, &w->id, span_of(w->canon, w->canon_len), w->hints, w->hint_count,
			      &n->places[i]);
		n->place_count = i + 1;
	}
	for (size_t i = 0; i < n->waiting_count; i++)
		waiting_free(&n->waiting[i]);
	n->waiting_count = n->waiting_bytes = 0;
	return r;
}

int nodes_part(struct packer *p)
{
	if (p->nodes.is_apart)
		return 0;
	p->nodes.is_apart = true;
	return pack_waiting(p);
}

int nodes_finish(struct packer *p)
{
	int r = pack_waiting(p);

	if (r == 0)
		r = flush_frame(p);
	if (r == 0 && packfile_is_open(&p->nodes.file))
		r = packer_close(p, &p->nodes.file);
	return r;
}

static int put_node(struct node_sink *s, struct span canon, const struct entry_hint *hints,
		    uint32_t count, struct oid *ret_id, struct loc *ret_loc)
{
	struct packer *p = container_of(s, struct packer, nodes.sink);
	_cleanup_free_ struct entry_hint *resolved = NULL;
	struct oid id = oid_of(OID_NODE, canon.data, canon.len);
	int r;

	if (p->error)
		return p->error;
	*ret_id = id;
	r = known_claim(&p->known, OID_NODE, &id, ret_loc);
	if (r <= 0)
		return r;
	if (!p->nodes.is_apart)
		return wait_node(p, &id, canon, hints, count, ret_loc);
	resolved = malloc(count * sizeof(*resolved));
	if (!resolved)
		return -ENOMEM;
	memcpy(resolved, hints, count * sizeof(*resolved));
	resolve_hints(p, resolved, count);
	return pack_node(p, &id, canon, resolved, count, ret_loc);
}

void nodes_init(struct packer *p, bool is_apart)
{
	p->nodes.sink.put = put_node;
	p->nodes.is_apart = is_apart;
}

void nodes_release(struct packer *p)
{
	struct node_packer *n = &p->nodes;

	for (size_t i = 0; i < n->waiting_count; i++)
		waiting_free(&n->waiting[i]);
	free(n->waiting);
	free(n->places);
	buf_release(&n->raw);
	packfile_release(&n->file);
}

struct node_sink *packer_sink(struct packer *p)
{
	return &p->nodes.sink;
}
