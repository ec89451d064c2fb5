/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Records of the log of what a run has seen, as bytes (seen_parts.h).
 */
#include <endian.h>

#include "base/hash.h"
#include "record/seen_parts.h"

enum {
	WHAT_AT = 4,
	LEN_AT = 5,
	SUM_AT = 6,
};

static size_t size_of(size_t name_len)
{
	return SEEN_HEAD + ALIGN_UP(name_len, (size_t)SEEN_UNIT);
}

/* Of all but the place of the checksum itself. */
static uint16_t checksum(const uint8_t *record, size_t name_len)
{
	uint64_t seed = 0;

	memcpy(&seed, record, SUM_AT);
	return (uint16_t)xxh64(record + SEEN_HEAD, name_len, le64toh(seed));
}

size_t seen_record_put(uint8_t *to, const struct seen_record *r)
{
	size_t size = size_of(r->name.len);
	uint32_t place = htole32(r->place);
	uint16_t sum;

	memset(to + size - SEEN_UNIT, 0, SEEN_UNIT);
	memcpy(to, &place, sizeof(place));
	to[WHAT_AT] = r->what;
	to[LEN_AT] = (uint8_t)r->name.len;
	if (r->name.len > 0)
		memcpy(to + SEEN_HEAD, r->name.data, r->name.len);
	sum = htole16(checksum(to, r->name.len));
	memcpy(to + SUM_AT, &sum, sizeof(sum));
	return size;
}

size_t seen_record_get(struct span log, uint64_t at, struct seen_record *ret)
{
	const uint8_t *from = log.data + at;
	uint32_t place;
	uint16_t sum;

	if (at > log.len || log.len - at < SEEN_HEAD || log.len - at < size_of(from[LEN_AT]))
		return 0;
	memcpy(&sum, from + SUM_AT, sizeof(sum));
	memcpy(&place, from, sizeof(place));
	ret->place = le32toh(place);
	ret->what = from[WHAT_AT];
	ret->name = span_of(from + SEEN_HEAD, from[LEN_AT]);
	if (le16toh(sum) != checksum(from, ret->name.len) || ret->what > SEEN_ALL)
		return 0;
	if (at == SEEN_ROOT * SEEN_UNIT)
		return ret->place == 0 && ret->name.len == 0 ? size_of(0) : 0;
	return ret->place > 0 && ret->place < at / SEEN_UNIT ? size_of(ret->name.len) : 0;
}

struct span seen_record_name(struct span log, seen_place p)
{
	const uint8_t *from = log.data + (uint64_t)p * SEEN_UNIT;

	return span_of(from + SEEN_HEAD, from[LEN_AT]);
}
