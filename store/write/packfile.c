/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Packs being written (write/packfile.h).
 */
#include "write/packfile.h"

#include "format/key.h"

/* One write to a backend; a bucket takes its time for 32 MiB. */
enum {
	PUT_TIMEOUT_MS = 30000
};

/* A pack that gets so large has memory for all of it at once: growing bit by bit is dearer. */
#define GATHERED_SMALL (1 * MiB)
#define GATHERED_MAX   (PACK_GATHERED_TARGET + 3 * MiB) /* with the last frame, mostly */

static int gather(struct packfile *p, struct span data)
{
	struct buf *b = &p->bytes;

	if (b->len + data.len > MAX(b->cap, (size_t)GATHERED_SMALL) && b->len < GATHERED_MAX)
		buf_reserve(b, GATHERED_MAX - b->len);
	buf_put(b, data.data, data.len);
	return buf_failed(b) ? -ENOMEM : 0;
}

static int put(struct packfile *p, struct span data)
{
	struct deadline dl = deadline_in_ms(PUT_TIMEOUT_MS);
	int r;

	if (data.len == 0)
		return 0;
	r = p->put ? p->backend->ops->put_write(p->put, data, &dl) : gather(p, data);
	if (r == 0)
		p->size += data.len;
	return r;
}

int packfile_open(struct backend *b, struct buf *spare, struct packfile *ret)
{
	_cleanup_buf_ struct buf header = { 0 };
	int r = 0;

	*ret = (struct packfile){ .backend = b, .name = id128_random() };
	if (b->is_local) {
		r = b->ops->put_begin(b, pack_key(&ret->name).s, &ret->put);
	} else {
		ret->bytes = *spare;
		*spare = (struct buf){ 0 };
		buf_clear(&ret->bytes);
	}
	if (r == 0) {
		pack_header_put(&header, &ret->name);
		r = buf_failed(&header) ? -ENOMEM : put(ret, buf_span(&header));
	}
	if (r < 0)
		packfile_release(ret);
	return r;
}

int packfile_add(struct packfile *p, const struct frame_item *items, uint16_t n, struct span frame,
		 struct span rest, uint32_t *ret_offset)
{
	uint32_t offset = (uint32_t)p->size;
	int r;

	if (p->count + n > p->cap) {
		size_t cap = MAX(2 * p->cap, p->count + n + 64);
		struct pack_entry *e = reallocarray(p->entries, cap, sizeof(*e));

		if (!e)
			return -ENOMEM;
		p->entries = e;
		p->cap = cap;
	}
	r = put(p, frame);
	if (r == 0)
		r = put(p, rest);
	if (r < 0)
		return r;
	for (uint16_t i = 0; i < n; i++)
		p->entries[p->count++] = (struct pack_entry){
			.id = items[i].id,
			.offset = offset,
			.frame_len = (uint32_t)(frame.len + rest.len),
			.item = i,
			.kind = items[i].kind,
			.len = items[i].len,
		};
	*ret_offset = offset;
	return 0;
}

int packfile_close(struct packfile *p)
{
	struct deadline dl = deadline_in_ms(PUT_TIMEOUT_MS);
	_cleanup_buf_ struct buf footer = { 0 };
	struct backend *b = p->backend;
	int r;

	pack_footer_put(&footer, p->entries, p->count, p->size, &p->name);
	r = buf_failed(&footer) ? -ENOMEM : put(p, buf_span(&footer));
	if (r < 0)
		return r;
	p->backend = NULL;
	if (p->put)
		return b->ops->put_end(TAKE_PTR(p->put), &dl);
	return b->ops->put(b, pack_key(&p->name).s, buf_span(&p->bytes), &dl);
}

void packfile_release(struct packfile *p)
{
	if (p->put)
		p->backend->ops->put_abort(p->put);
	buf_release(&p->bytes);
	free(p->entries);
	*p = (struct packfile){ 0 };
}
