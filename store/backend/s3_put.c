/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Putting objects into a bucket: with one request up to ONE_MAX bytes, in parts above.
 *
 *	held --more than ONE_MAX--> begun --full parts--> sent --end--> completed
 *	  '--end--> put whole          '-----failed, aborted-----> dropped at the server
 *
 * Invariants
 *  - a put in pieces holds at most ONE_MAX bytes and what one write brings
 *  - nothing shows under the key before the one PUT, or the completion
 *  - an upload that was begun is completed or dropped, as far as the server can be reached; what a
 *    lost reply to its beginning leaves has no parts, and servers clear that up by themselves
 *
 * Threads: a put is its owner's; the rest from any thread.
 */
#include <stdio.h>

#include "backend/held_put.h"
#include "backend/s3_parts.h"
#include "base/log.h"
#include "s3/sign.h"
#include "s3/xml.h"

#define ONE_MAX	  (64 * MiB)
#define PART_SIZE (32 * MiB) /* of all but the last; servers allow 10,000 */

enum {
	REPLY_MAX = 1 << 20, /* XML, and the blanks that a server at work sends before it */
	ABORT_TIMEOUT_MS = 5000,
};

/* An upload in parts. */
struct upload {
	struct backend *backend; /* borrowed */
	const char *key; /* borrowed */
	char *id; /* owned; NULL: none begun */
	unsigned parts; /* sent */
	uint64_t size; /* of them */
	struct buf list; /* of them, in XML */
};

struct s3_put {
	struct held_put held; /* first; what is not sent yet */
	struct upload upload;
};

static void upload_release(struct upload *u)
{
	free(u->id);
	buf_release(&u->list);
}

/* "NAME=ID" for the query, with @before in front. */
static int upload_query(const struct upload *u, const char *before, struct buf *ret)
{
	buf_printf(ret, "%suploadId=", before);
	s3_query_encode(ret, u->id);
	buf_put_u8(ret, 0);
	return buf_failed(ret) ? -ENOMEM : 0;
}

static int upload_begin(struct upload *u, const struct deadline *dl)
{
	_cleanup_http_reply_ struct http_reply reply = { 0 };
	_cleanup_buf_ struct buf xml = { 0 };
	struct s3_request q = {
		.method = "POST",
		.key = u->key,
		.query = "uploads=",
		.has_body = true,
		.max = REPLY_MAX,
		.out = &xml,
	};
	int r = s3_ask(u->backend, &q, dl, &reply);

	if (r < 0)
		return r;
	r = s3_upload_id_parse(buf_span(&xml), &u->id);
	return r == -EBADMSG ? s3_nonsense(u->backend, u->key) : r;
}

static int upload_part(struct upload *u, struct span data, const struct deadline *dl)
{
	_cleanup_http_reply_ struct http_reply reply = { 0 };
	_cleanup_buf_ struct buf query = { 0 };
	struct s3_request q = { .method = "PUT", .key = u->key, .body = data, .has_body = true };
	struct etag tag;
	char number[32];
	int r = u->id ? 0 : upload_begin(u, dl);

	if (r < 0)
		return r;
	snprintf(number, sizeof(number), "partNumber=%u&", u->parts + 1);
	r = upload_query(u, number, &query);
	if (r < 0)
		return r;
	q.query = (const char *)query.data;
	r = s3_ask(u->backend, &q, dl, &reply);
	if (r == 0)
		r = s3_take_tag(u->backend, u->key, &reply, &tag);
	if (r < 0)
		return r == -ENOENT ? s3_nonsense(u->backend, u->key) : r;
	u->parts++;
	u->size += data.len;
	buf_printf(&u->list, "<Part><PartNumber>%u</PartNumber><ETag>", u->parts);
	s3_xml_escape(&u->list, tag.s);
	buf_printf(&u->list, "</ETag></Part>");
	return buf_failed(&u->list) ? -ENOMEM : 0;
}

/* The server knows of no such upload: was it completed, and the reply lost? */
static int upload_is_done(struct upload *u, const struct deadline *dl)
{
	uint64_t size;
	int r = s3_head(u->backend, u->key, dl, &size);

	if (r == 0 && size == u->size)
		return 0;
	return r == 0 || r == -ENOENT
		       ? log_fail(-EIO, "%s: the upload of %s was dropped by the server",
				  u->backend->url, u->key)
		       : r;
}

static int upload_complete(struct upload *u, const struct deadline *dl)
{
	_cleanup_http_reply_ struct http_reply reply = { 0 };
	_cleanup_buf_ struct buf query = { 0 }, list = { 0 }, xml = { 0 };
	struct s3_request q = {
		.method = "POST",
		.key = u->key,
		.has_body = true,
		.is_completion = true,
		.max = REPLY_MAX,
		.out = &xml,
	};
	int r = upload_query(u, "", &query);

	buf_printf(&list, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/"
			  "2006-03-01/\">");
	buf_put(&list, u->list.data, u->list.len);
	buf_printf(&list, "</CompleteMultipartUpload>");
	if (r < 0 || buf_failed(&list))
		return -ENOMEM;
	q.query = (const char *)query.data;
	q.body = buf_span(&list);
	r = s3_ask(u->backend, &q, dl, &reply);
	return r == -ENOENT ? upload_is_done(u, dl) : r;
}

/* Drops what was sent. That a put failed has been said already. */
static void upload_abort(struct upload *u)
{
	_cleanup_http_reply_ struct http_reply reply = { 0 };
	_cleanup_buf_ struct buf query = { 0 };
	struct s3_request q = { .method = "DELETE", .key = u->key };
	struct deadline dl = deadline_in_ms(ABORT_TIMEOUT_MS);
	bool was_quiet;
	int r;

	if (!u->id || upload_query(u, "", &query) < 0)
		return;
	q.query = (const char *)query.data;
	was_quiet = log_set_quiet(true);
	r = s3_ask(u->backend, &q, &dl, &reply);
	log_set_quiet(was_quiet);
	if (r < 0 && r != -ENOENT)
		log_warning("%s: parts of %s may be left at the server until it drops unfinished "
			    "uploads",
			    u->backend->url, u->key);
}

/* Sends what is in parts, and the rest, which is not empty. */
static int upload_all(struct upload *u, struct span data, const struct deadline *dl)
{
	int r = 0;

	while (r == 0 && data.len > 0) {
		struct span part = span_of(data.data, MIN(data.len, (size_t)PART_SIZE));

		r = upload_part(u, part, dl);
		data = span_of(data.data + part.len, data.len - part.len);
	}
	return r < 0 ? r : upload_complete(u, dl);
}

int s3_put(struct backend *b, const char *key, struct span data, const struct deadline *dl)
{
	struct s3_request q = { .method = "PUT", .key = key, .body = data, .has_body = true };
	_cleanup_http_reply_ struct http_reply reply = { 0 };
	_cleanup_(upload_release) struct upload u = { .backend = b, .key = key };
	int r;

	if (data.len <= ONE_MAX)
		return s3_ask(b, &q, dl, &reply);
	r = upload_all(&u, data, dl);
	if (r < 0)
		upload_abort(&u);
	return r;
}

static struct s3_put *put_of(struct backend_put *put)
{
	return container_of(put, struct s3_put, held.p);
}

static void put_free(struct s3_put *p)
{
	upload_release(&p->upload);
	held_put_release(&p->held);
	free(p);
}

int s3_put_begin(struct backend *b, const char *key, struct backend_put **ret)
{
	int r = s3_check_writable(b);
	struct s3_put *p;

	if (r < 0)
		return r;
	p = new0(struct s3_put, 1);
	if (!p)
		return -ENOMEM;
	r = held_put_init(&p->held, b, key);
	if (r < 0) {
		put_free(p);
		return r;
	}
	p->upload = (struct upload){ .backend = b, .key = p->held.key };
	*ret = &p->held.p;
	return 0;
}

int s3_put_write(struct backend_put *put, struct span data, const struct deadline *dl)
{
	struct s3_put *p = put_of(put);
	struct buf *held = &p->held.data;
	size_t sent = 0;
	int r = held_put_write(put, data, dl);

	if (r < 0 || held->len <= ONE_MAX)
		return r;
	while (r == 0 && held->len - sent > PART_SIZE) {
		r = upload_part(&p->upload, span_of(held->data + sent, PART_SIZE), dl);
		sent += r == 0 ? PART_SIZE : 0;
	}
	held->len -= sent;
	memmove(held->data, held->data + sent, held->len);
	return r;
}

void s3_put_abort(struct backend_put *put)
{
	struct s3_put *p = put_of(put);

	upload_abort(&p->upload);
	put_free(p);
}

int s3_put_end(struct backend_put *put, const struct deadline *dl)
{
	struct s3_put *p = put_of(put);
	struct span rest = buf_span(&p->held.data);
	int r;

	if (p->upload.id)
		r = upload_all(&p->upload, rest, dl);
	else
		r = s3_put(put->backend, p->held.key, rest, dl);
	if (r < 0)
		upload_abort(&p->upload);
	put_free(p);
	return r;
}
