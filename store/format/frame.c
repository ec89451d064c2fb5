/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Frames of format/frame.h, and the only place that knows zstd.
 *
 * A frame that frame_header_read() accepts keeps every limit, so what is allocated for it is
 * bounded by FRAME_RAW_MAX, and its items lie within its payload.
 *
 * Threads: a codec serves one at a time.
 */
#include "format/frame.h"

#include <zstd.h>
#include <zstd_errors.h>

#include "base/hash.h"
#include "format/envelope.h"

enum {
	SAMPLED_MIN = 256 << 10, /* from here on samples are looked at before all is compressed */
	SAMPLES = 4,
	SAMPLE = 4096,
	/* The counts of the 256 values in a sample, squared: 69,616 on average when each is as
	 * likely as any other, and 361 is the standard deviation. */
	NOISE_SQUARES = 72000,
};

struct codec {
	ZSTD_CCtx *compress;
	ZSTD_DCtx *decompress;
};

int codec_new(int level, struct codec **ret)
{
	_cleanup_(codec_freep) struct codec *c = new0(struct codec, 1);

	if (!c)
		return -ENOMEM;
	c->compress = ZSTD_createCCtx();
	c->decompress = ZSTD_createDCtx();
	if (!c->compress || !c->decompress)
		return -ENOMEM;
	if (ZSTD_isError(ZSTD_CCtx_setParameter(c->compress, ZSTD_c_compressionLevel, level)))
		return -EINVAL;
	*ret = TAKE_PTR(c);
	return 0;
}

void codec_free(struct codec *c)
{
	if (!c)
		return;
	ZSTD_freeCCtx(c->compress);
	ZSTD_freeDCtx(c->decompress);
	free(c);
}

static bool item_is_valid(const struct frame_item *it)
{
	return (it->kind == OID_CHUNK && it->len > 0 && it->len <= CHUNK_LIMIT) ||
	       (it->kind == OID_NODE && it->len > 0 && it->len <= FRAME_RAW_MAX);
}

static bool items_fill(const struct frame_item *items, uint16_t n, size_t raw_len)
{
	uint64_t sum = 0;

	if (n == 0 || n > FRAME_ITEMS_MAX || raw_len > FRAME_RAW_MAX)
		return false;
	for (uint16_t i = 0; i < n; i++) {
		if (!item_is_valid(&items[i]))
			return false;
		sum += items[i].len;
	}
	return sum == raw_len;
}

static void header_put(struct buf *out, uint8_t codec, const struct frame_item *items, uint16_t n,
		       uint32_t raw_len, uint32_t stored_len)
{
	size_t start = out->len;

	envelope_head_put(out, FRAME_MAGIC);
	buf_put_u8(out, codec);
	buf_put_u8(out, 0);
	buf_put_u16(out, n);
	buf_put_u32(out, raw_len);
	buf_put_u32(out, stored_len);
	buf_put_u32(out, 0);
	for (uint16_t i = 0; i < n; i++) {
		buf_put_u8(out, items[i].kind);
		buf_put_u32(out, items[i].len);
		buf_put_oid(out, &items[i].id);
	}
	buf_put_u64(out, xxh64(out->data + start, out->len - start, 0));
}

/* Bytes as evenly spread as chance would have it: what is random, encrypted or compressed. */
static bool is_noise(const uint8_t *p)
{
	uint32_t counts[256] = { 0 }, squares = 0;

	for (size_t i = 0; i < SAMPLE; i++)
		counts[p[i]]++;
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		squares += counts[i] * counts[i];
	return squares < NOISE_SQUARES;
}

/* Is it not worth a try? Of a large piece some samples tell, which takes a tenth of the time. */
static bool looks_incompressible(struct span raw)
{
	if (raw.len < SAMPLED_MIN)
		return false;
	for (size_t i = 0; i < SAMPLES; i++)
		if (!is_noise(raw.data + (raw.len - SAMPLE) / (SAMPLES - 1) * i))
			return false;
	return true;
}

int frame_encode_head(struct codec *c, const struct frame_item *items, uint16_t n, struct span raw,
		      struct buf *out, struct span *ret_raw)
{
	bool is_raw = looks_incompressible(raw);
	size_t stored = raw.len;

	if (!items_fill(items, n, raw.len))
		return -EINVAL;
	if (buf_reserve(out, FRAME_HEADER_SIZE(n) + (is_raw ? 0 : raw.len)) < 0)
		return -ENOMEM;

	/* The payload goes where it will stand, and the header before it when the length is known.
	 * Whatever keeps zstd from making it shorter, for want of memory even: raw is right too. */
	if (!is_raw) {
		stored = ZSTD_compress2(c->compress, out->data + out->len + FRAME_HEADER_SIZE(n),
					raw.len - 1, raw.data, raw.len);
		is_raw = ZSTD_isError(stored);
	}
	header_put(out, is_raw ? CODEC_RAW : CODEC_ZSTD, items, n, (uint32_t)raw.len,
		   (uint32_t)(is_raw ? raw.len : stored));
	out->len += is_raw ? 0 : stored;
	*ret_raw = is_raw ? raw : (struct span){ 0 };
	return 0;
}

int frame_encode(struct codec *c, const struct frame_item *items, uint16_t n, struct span raw,
		 struct buf *out)
{
	size_t before = out->len;
	struct span rest;
	int r;

	r = frame_encode_head(c, items, n, raw, out, &rest);
	if (r < 0)
		return r;
	buf_put(out, rest.data, rest.len);
	if (!buf_failed(out))
		return 0;
	out->len = before;
	return -ENOMEM;
}

static bool fixed_part_is_valid(const struct frame *f, uint8_t cipher, uint32_t reserved)
{
	if (f->count == 0 || f->count > FRAME_ITEMS_MAX || f->raw_len == 0 ||
	    f->raw_len > FRAME_RAW_MAX || cipher != 0 || reserved != 0)
		return false;
	return (f->codec == CODEC_RAW && f->stored_len == f->raw_len) ||
	       (f->codec == CODEC_ZSTD && f->stored_len > 0 && f->stored_len < f->raw_len);
}

static bool items_are_valid(const struct frame *f)
{
	uint64_t sum = 0;

	for (uint16_t i = 0; i < f->count; i++) {
		struct frame_item it;

		frame_item(f, i, &it, NULL);
		if (!item_is_valid(&it))
			return false;
		sum += it.len;
	}
	return sum == f->raw_len;
}

int frame_header_read(struct span bytes, struct frame *ret, size_t *ret_need)
{
	struct cursor c = cursor_of(bytes);
	struct frame f = { 0 };
	uint32_t reserved;
	uint8_t cipher;

	if (bytes.len < FRAME_FIXED_SIZE) {
		*ret_need = FRAME_FIXED_SIZE;
		return -ENODATA;
	}
	if (envelope_head_read(&c, FRAME_MAGIC) < 0)
		return -EBADMSG;
	f.codec = rd_u8(&c);
	cipher = rd_u8(&c);
	f.count = rd_u16(&c);
	f.raw_len = rd_u32(&c);
	f.stored_len = rd_u32(&c);
	reserved = rd_u32(&c);
	if (!fixed_part_is_valid(&f, cipher, reserved))
		return -EBADMSG;

	f.header_len = FRAME_HEADER_SIZE(f.count);
	if (bytes.len < f.header_len) {
		*ret_need = f.header_len;
		return -ENODATA;
	}
	f.items = rd_bytes(&c, (size_t)f.count * FRAME_ITEM_SIZE);
	if (rd_u64(&c) != xxh64(bytes.data, f.header_len - ENVELOPE_CHECKSUM_SIZE, 0) ||
	    !items_are_valid(&f))
		return -EBADMSG;
	*ret = f;
	return 0;
}

void frame_item(const struct frame *f, uint16_t i, struct frame_item *ret, uint32_t *ret_at)
{
	struct cursor c = cursor_of(f->items);

	if (ret_at)
		*ret_at = 0;
	for (uint16_t k = 0; ret_at && k < i; k++) {
		struct frame_item before;

		frame_item(f, k, &before, NULL);
		*ret_at += before.len;
	}
	rd_bytes(&c, (size_t)i * FRAME_ITEM_SIZE);
	ret->kind = rd_u8(&c);
	ret->len = rd_u32(&c);
	ret->id = rd_oid(&c);
}

/*
 * One frame of the current format and nothing else: zstd itself would take several, skippable ones
 * and, where it was built so, those of old versions, whose decoders nobody attacks any more.
 */
static bool is_one_zstd_frame(struct span payload, uint32_t raw_len)
{
	struct cursor c = cursor_of(payload);
	unsigned long long size;

	if (rd_u32(&c) != ZSTD_MAGICNUMBER)
		return false;
	size = ZSTD_getFrameContentSize(payload.data, payload.len);
	return (size == raw_len || size == ZSTD_CONTENTSIZE_UNKNOWN) &&
	       ZSTD_findFrameCompressedSize(payload.data, payload.len) == payload.len;
}

int frame_decode(struct codec *c, const struct frame *f, struct span payload, void *raw)
{
	size_t n;

	if (payload.len != f->stored_len)
		return -EBADMSG;
	if (f->codec == CODEC_RAW) {
		memcpy(raw, payload.data, payload.len);
		return 0;
	}
	if (!is_one_zstd_frame(payload, f->raw_len))
		return -EBADMSG;
	n = ZSTD_decompressDCtx(c->decompress, raw, f->raw_len, payload.data, payload.len);
	if (ZSTD_isError(n) && ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation)
		return -ENOMEM;
	return n == f->raw_len ? 0 : -EBADMSG;
}
