/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Any bytes as a frame, and as a pack's footer and trailer. Nothing may crash; the items of a frame
 * that is accepted fill it, and encoded again they are read back the same.
 */
#include "format/pack.h"
#include "sealed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	RAW_MAX = 1 << 20
}; /* more only costs time */

static struct codec *codec;

static void encode_again(const struct frame *f, const uint8_t *raw)
{
	_cleanup_free_ struct frame_item *items = new0(struct frame_item, f->count);
	_cleanup_free_ uint8_t *back = malloc(f->raw_len);
	_cleanup_buf_ struct buf again = { 0 };
	uint32_t sum = 0, at;
	struct frame g;
	size_t need;

	for (uint16_t i = 0; i < f->count; i++) {
		frame_item(f, i, &items[i], &at);
		if (at != sum)
			abort();
		sum += items[i].len;
	}
	if (sum != f->raw_len ||
	    frame_encode(codec, items, f->count, span_of(raw, f->raw_len), &again) < 0 ||
	    frame_header_read(buf_span(&again), &g, &need) < 0 || frame_len(&g) != again.len ||
	    frame_decode(codec, &g, span_of(again.data + g.header_len, g.stored_len), back) < 0 ||
	    memcmp(raw, back, f->raw_len) != 0)
		abort();
}

static void as_frame(const uint8_t *data, size_t size)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	_cleanup_free_ uint8_t *raw = NULL;
	struct frame f;
	size_t need = 0;

	buf_put(&bytes, data, size);
	if (frame_header_read(buf_span(&bytes), &f, &need) == -EBADMSG && size >= 12) {
		size_t header_len = FRAME_HEADER_SIZE(data[10] | data[11] << 8);

		if (header_len > size)
			return;
		seal(bytes.data, header_len - SEAL_SIZE);
	}
	if (frame_header_read(buf_span(&bytes), &f, &need) < 0 || f.raw_len > RAW_MAX ||
	    frame_len(&f) > size)
		return;
	raw = malloc(f.raw_len);
	if (frame_decode(codec, &f, span_of(bytes.data + f.header_len, f.stored_len), raw) == 0)
		encode_again(&f, raw);
}

/* The footer of a pack whose frames are not there. */
static void as_footer(const uint8_t *data, size_t size)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct pack_trailer t;
	uint64_t footer_off;

	if (size < PACK_TRAILER_SIZE)
		return;
	buf_put(&bytes, data, size);
	seal(bytes.data, size - 16);
	memcpy(&footer_off, data + size - PACK_TRAILER_SIZE, sizeof(footer_off));
	if (pack_trailer_read(span_of(bytes.data + size - PACK_TRAILER_SIZE, PACK_TRAILER_SIZE),
			      le64toh(footer_off) + size, &t) < 0 ||
	    pack_footer_check(buf_span(&bytes), &t) < 0)
		return;
	for (uint32_t i = 0; i < t.count; i++) {
		struct pack_entry e;

		pack_footer_entry(buf_span(&bytes), i, &e);
		if (!pack_entry_is_valid(&e) || e.offset + e.frame_len > t.footer_off)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct id128 name;

	if (!codec && codec_new(1, &codec) < 0)
		abort();
	as_frame(data, size);
	as_footer(data, size);
	pack_header_check(span_of(data, size), &name);
	return 0;
}
