/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Both ends of a stream (capture.h). Byte @n of the stream, behind the head, lies in the ring at
 * (n - CAPTURE_MAX) % CAPTURE_MAX.
 */
#include "capture.h"

#include "record/json_bytes.h"

enum {
	CHARACTER_MAX = 4, /* bytes of one in UTF-8 */
};

void capture_add(struct capture *c, const uint8_t *data, size_t len)
{
	size_t n = c->bytes < CAPTURE_MAX ? MIN(len, (size_t)(CAPTURE_MAX - c->bytes)) : 0;

	memcpy(c->head + MIN(c->bytes, (uint64_t)CAPTURE_MAX), data, n);
	c->bytes += n;
	data += n;
	len -= n;
	if (len > CAPTURE_MAX) {
		c->bytes += len - CAPTURE_MAX;
		data += len - CAPTURE_MAX;
		len = CAPTURE_MAX;
	}
	while (len > 0) {
		size_t at = c->bytes % CAPTURE_MAX;

		n = MIN(len, CAPTURE_MAX - at);
		memcpy(c->tail + at, data, n);
		c->bytes += n;
		data += n;
		len -= n;
	}
}

void capture_skip(struct capture *c, uint64_t n)
{
	c->bytes += n;
}

static bool continues(uint8_t byte)
{
	return (byte & 0xc0) == 0x80;
}

/* Without the character that the end of @s cuts. */
static struct span without_cut_end(struct span s)
{
	size_t n = 0;

	while (n < CHARACTER_MAX - 1 && n < s.len && continues(s.data[s.len - 1 - n]))
		n++;
	if (n < s.len && s.data[s.len - 1 - n] >= 0xc0) {
		uint8_t first = s.data[s.len - 1 - n];
		size_t whole = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;

		if (n + 1 < whole)
			s.len -= n + 1;
	}
	return s;
}

static struct span without_cut_start(struct span s)
{
	for (int i = 0; i < CHARACTER_MAX - 1 && s.len > 0 && continues(s.data[0]); i++) {
		s.data++;
		s.len--;
	}
	return s;
}

/* The last @len bytes of the stream. */
static int tail_of(const struct capture *c, size_t len, struct buf *ret)
{
	uint64_t at = c->bytes - len;

	while (at < c->bytes) {
		bool is_head = at < CAPTURE_MAX;
		size_t from = (size_t)(at % CAPTURE_MAX);
		size_t n = (size_t)MIN(c->bytes - at, (uint64_t)(CAPTURE_MAX - from));

		buf_put(ret, (is_head ? c->head : c->tail) + from, n);
		at += n;
	}
	return buf_failed(ret) ? -ENOMEM : 0;
}

json_t *capture_json(const struct capture *c, size_t max)
{
	_cleanup_buf_ struct buf b = { 0 };
	uint64_t most = MIN(max, (size_t)CAPTURE_MAX);
	struct span head = span_of(c->head, (size_t)MIN(c->bytes, most)), tail;
	json_t *j = json_object();
	size_t len;

	if (head.len < c->bytes)
		head = without_cut_end(head);
	len = (size_t)MIN(c->bytes - head.len, most);
	if (tail_of(c, len, &b) < 0) {
		json_decref(j);
		return NULL;
	}
	tail = buf_span(&b);
	if (head.len + tail.len < c->bytes)
		tail = without_cut_start(tail);
	if (json_object_set_new(j, "bytes", json_integer((json_int_t)c->bytes)) < 0 ||
	    json_object_set_new(j, "head", json_of_bytes(head)) < 0 ||
	    json_object_set_new(j, "tail", json_of_bytes(tail)) < 0) {
		json_decref(j);
		return NULL;
	}
	return j;
}
