/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A bucket: each object is one of the bucket's, under the store's prefix; the tag is the server's
 * ETag; swap() is a conditional PUT.
 *
 * A put in pieces is kept in memory and sent whole: packs are not larger than one request may be.
 *
 * Threads: all functions from any thread; nothing here is changed after it is opened.
 */
#include "backend/s3.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/text.h"
#include "format/limits.h"
#include "s3/client.h"
#include "s3/sign.h"
#include "s3/xml.h"

enum {
	LIST_PAGE_MAX = 4 << 20, /* bytes of one answer: 1,000 keys of 1,024 bytes, and XML */
	RANGE_MAX = 64,
	OPEN_TIMEOUT_MS = 10000,
};

struct s3_backend {
	struct backend b; /* first */
	struct s3_client *client; /* owned */
	bool is_read_only;
};

struct s3_put {
	struct backend_put p; /* first */
	char *key; /* owned */
	struct buf data;
};

static struct s3_client *client_of(struct backend *b)
{
	return container_of(b, struct s3_backend, b)->client;
}

static int check_key(const char *key)
{
	return backend_key_is_valid(key) ? 0 : -EINVAL;
}

static int nonsense(struct backend *b, const char *key)
{
	return log_fail(-EIO, "%s: the answer for %s makes no sense", b->url, key);
}

static int check_writable(struct backend *b)
{
	return container_of(b, struct s3_backend, b)->is_read_only ? -EROFS : 0;
}

/* Has the caller time left? Then the request. */
static int ask(struct backend *b, const struct s3_request *q, const struct deadline *dl,
	       struct http_reply *ret)
{
	bool is_write = strcmp(q->method, "PUT") == 0 || strcmp(q->method, "DELETE") == 0;
	int r = q->key ? check_key(q->key) : 0;

	if (r == 0 && is_write)
		r = check_writable(b);
	if (r == 0)
		r = deadline_check(dl);
	return r < 0 ? r : s3_request(client_of(b), q, dl, ret);
}

static int s3_head(struct backend *b, const char *key, const struct deadline *dl,
		   uint64_t *ret_size)
{
	struct s3_request q = { .method = "HEAD", .key = key };
	_cleanup_http_reply_ struct http_reply reply = { 0 };
	int r = ask(b, &q, dl, &reply);

	if (r < 0)
		return r;
	if (!reply.has_length)
		return nonsense(b, key);
	*ret_size = reply.length;
	return 0;
}

/* Of an object that is there nothing is wanted, or nothing is to be had. */
static int get_nothing(struct backend *b, const char *key, const struct deadline *dl,
		       size_t *ret_len)
{
	uint64_t size;
	int r = s3_head(b, key, dl, &size);

	if (r == 0)
		*ret_len = 0;
	return r;
}

static int s3_get(struct backend *b, const char *key, uint64_t off, size_t len, void *buf,
		  const struct deadline *dl, size_t *ret_len)
{
	_cleanup_http_reply_ struct http_reply reply = { 0 };
	struct s3_request q = { .method = "GET", .key = key, .into = buf, .max = len };
	char range[RANGE_MAX];
	int r;

	if (len == 0 || off > INT64_MAX - len)
		return get_nothing(b, key, dl, ret_len);
	snprintf(range, sizeof(range), "bytes=%" PRIu64 "-%" PRIu64, off, off + len - 1);
	q.range = range;
	r = ask(b, &q, dl, &reply);
	/* It ends before that. */
	if (r == -ERANGE) {
		*ret_len = 0;
		return 0;
	}
	if (r < 0)
		return r;
	if (reply.status != 206 || !reply.has_range || reply.range_first != off ||
	    reply.range_last - off + 1 != reply.body_len || reply.body_len > len ||
	    (reply.body_len < len && reply.range_last + 1 != reply.range_total))
		return nonsense(b, key);
	*ret_len = reply.body_len;
	return 0;
}

static int take_tag(struct backend *b, const char *key, const struct http_reply *reply,
		    struct etag *ret)
{
	size_t len = strlen(reply->etag);

	if (len == 0 || len >= sizeof(ret->s))
		return nonsense(b, key);
	memcpy(ret->s, reply->etag, len + 1);
	return 0;
}

static int s3_get_all(struct backend *b, const char *key, size_t max, const struct etag *known,
		      const struct deadline *dl, struct buf *ret, struct etag *ret_tag)
{
	_cleanup_http_reply_ struct http_reply reply = { 0 };
	_cleanup_buf_ struct buf data = { 0 };
	struct s3_request q = {
		.method = "GET",
		.key = key,
		.if_none_match = known ? known->s : NULL,
		.max = max,
		.out = &data,
	};
	int r = ask(b, &q, dl, &reply);

	if (r < 0)
		return r;
	if (reply.status != 200)
		return nonsense(b, key);
	r = take_tag(b, key, &reply, ret_tag);
	return r < 0 ? r : buf_take(&data, ret);
}

static int s3_put(struct backend *b, const char *key, struct span data, const struct deadline *dl)
{
	struct s3_request q = { .method = "PUT", .key = key, .body = data, .has_body = true };
	_cleanup_http_reply_ struct http_reply reply = { 0 };

	return ask(b, &q, dl, &reply);
}

static int s3_put_begin(struct backend *b, const char *key, struct backend_put **ret)
{
	struct s3_put *p;
	int r = check_key(key);

	if (r == 0)
		r = check_writable(b);
	if (r < 0)
		return r;
	p = new0(struct s3_put, 1);
	if (!p)
		return -ENOMEM;
	p->p.backend = b;
	p->key = strdup(key);
	if (!p->key) {
		free(p);
		return -ENOMEM;
	}
	*ret = &p->p;
	return 0;
}

static int s3_put_write(struct backend_put *put, struct span data, const struct deadline *dl)
{
	struct s3_put *p = container_of(put, struct s3_put, p);
	int r = deadline_check(dl);

	if (r < 0)
		return r;
	buf_put(&p->data, data.data, data.len);
	return buf_failed(&p->data) ? -ENOMEM : 0;
}

static void s3_put_abort(struct backend_put *put)
{
	struct s3_put *p = container_of(put, struct s3_put, p);

	buf_release(&p->data);
	free(p->key);
	free(p);
}

static int s3_put_end(struct backend_put *put, const struct deadline *dl)
{
	struct s3_put *p = container_of(put, struct s3_put, p);
	int r = s3_put(put->backend, p->key, buf_span(&p->data), dl);

	s3_put_abort(put);
	return r;
}

static int s3_swap(struct backend *b, const char *key, const struct etag *tag, struct span data,
		   const struct deadline *dl, struct etag *ret_tag)
{
	struct s3_request q = {
		.method = "PUT",
		.key = key,
		.if_match = tag ? tag->s : NULL,
		.if_none_match = tag ? NULL : "*",
		.body = data,
		.has_body = true,
		.once = true,
	};
	_cleanup_http_reply_ struct http_reply reply = { 0 };
	int r = ask(b, &q, dl, &reply);

	/* What should have had the tag is not there at all. */
	if (r == -ENOENT && tag)
		return -ESTALE;
	if (r < 0)
		return r;
	r = take_tag(b, key, &reply, ret_tag);
	return r < 0 ? -EINPROGRESS : 0;
}

struct listing {
	struct backend *backend;
	const char *prefix; /* the store's */
	char last[2 * KEY_MAX + 1]; /* the last key that was seen, as the server has it */
	bool is_over; /* the caller had enough */
	backend_list_fn fn;
	void *ctx;
};

static int list_key(const char *key, uint64_t size, void *ctx)
{
	struct listing *l = ctx;
	size_t len = strlen(l->prefix);
	int r;

	/* One that does not go on would never end. */
	if (strncmp(key, l->prefix, len) != 0 || strlen(key) >= sizeof(l->last) ||
	    strcmp(key, l->last) <= 0)
		return nonsense(l->backend, "a listing");
	snprintf(l->last, sizeof(l->last), "%s", key);
	/* Others may have things there too. */
	if (!backend_key_is_valid(key + len))
		return 0;
	r = l->fn(key + len, size, l->ctx);
	l->is_over = r != 0;
	return r;
}

static int list_query(const struct listing *l, const char *prefix, struct buf *ret)
{
	_cleanup_free_ char *full = strf("%s%s", l->prefix, prefix);

	if (!full)
		return -ENOMEM;
	buf_printf(ret, "list-type=2&prefix=");
	s3_query_encode(ret, full);
	if (l->last[0]) {
		buf_printf(ret, "&start-after=");
		s3_query_encode(ret, l->last);
	}
	buf_put_u8(ret, 0);
	return buf_failed(ret) ? -ENOMEM : 0;
}

/* 1: there is more. */
static int list_page(struct listing *l, const char *prefix, const struct deadline *dl)
{
	_cleanup_http_reply_ struct http_reply reply = { 0 };
	_cleanup_s3_listing_ struct s3_listing page = { 0 };
	_cleanup_buf_ struct buf query = { 0 }, xml = { 0 };
	struct s3_request q = { .method = "GET", .max = LIST_PAGE_MAX, .out = &xml };
	int r;

	r = list_query(l, prefix, &query);
	if (r < 0)
		return r;
	q.query = (const char *)query.data;
	r = ask(l->backend, &q, dl, &reply);
	if (r < 0)
		return r == -ENOENT ? nonsense(l->backend, "a listing") : r;
	r = s3_listing_parse(buf_span(&xml), list_key, l, &page);
	if (r == -EBADMSG && !l->is_over)
		return nonsense(l->backend, "a listing");
	if (r != 0)
		return r;
	/* A page that is cut must have brought us on, or this would go on for ever. */
	if (page.is_truncated && page.count == 0)
		return nonsense(l->backend, "a listing");
	return page.is_truncated;
}

static int s3_list(struct backend *b, const char *prefix, const char *after, backend_list_fn fn,
		   void *ctx, const struct deadline *dl)
{
	struct listing l = {
		.backend = b,
		.prefix = s3_client_prefix(client_of(b)),
		.fn = fn,
		.ctx = ctx,
	};
	int r;

	if (!backend_prefix_is_valid(prefix))
		return -EINVAL;
	if (after)
		snprintf(l.last, sizeof(l.last), "%s%s", l.prefix, after);
	do
		r = list_page(&l, prefix, dl);
	while (r == 1 && !l.is_over);
	return r;
}

static int s3_remove(struct backend *b, const char *key, const struct deadline *dl)
{
	struct s3_request q = { .method = "DELETE", .key = key };
	_cleanup_http_reply_ struct http_reply reply = { 0 };
	int r = ask(b, &q, dl, &reply);

	return r == -ENOENT ? 0 : r;
}

/* A bucket says nothing of it. */
static uint64_t s3_space(struct backend *b)
{
	return UINT64_MAX;
}

static void s3_free(struct backend *b)
{
	struct s3_backend *s = container_of(b, struct s3_backend, b);

	s3_client_free(s->client);
	free(b->url);
	free(s);
}

static const struct backend_ops s3_ops = {
	.get = s3_get,
	.get_all = s3_get_all,
	.head = s3_head,
	.put = s3_put,
	.put_begin = s3_put_begin,
	.put_write = s3_put_write,
	.put_end = s3_put_end,
	.put_abort = s3_put_abort,
	.swap = s3_swap,
	.list = s3_list,
	.remove = s3_remove,
	.space = s3_space,
	.free = s3_free,
};

/* Is the bucket there? With @create it is made. */
static int see_to_bucket(struct s3_backend *s, bool create)
{
	struct s3_request look = { .method = "HEAD" };
	struct s3_request make = { .method = "PUT", .has_body = true };
	struct deadline dl = deadline_in_ms(OPEN_TIMEOUT_MS);
	struct http_reply reply = { 0 };
	int r = s3_request(s->client, &look, &dl, &reply);

	http_reply_release(&reply);
	if (r != -ENOENT)
		return r;
	if (!create)
		return log_fail(-ENOENT, "%s: there is no such bucket", s->b.url);
	reply = (struct http_reply){ 0 };
	r = s3_request(s->client, &make, &dl, &reply);
	http_reply_release(&reply);
	/* Somebody else has made it. */
	return r == -ESTALE ? 0 : r;
}

int s3_backend_open(const char *url, const struct backend_options *opts, struct backend **ret)
{
	struct s3_backend *s = new0(struct s3_backend, 1);
	int r;

	if (!s)
		return -ENOMEM;
	s->b.ops = &s3_ops;
	s->is_read_only = opts->read_only;
	r = s3_client_new(url, &s->client);
	if (r == 0) {
		s->b.url = strdup(s3_client_name(s->client));
		r = s->b.url ? see_to_bucket(s, opts->create) : -ENOMEM;
	}
	if (r < 0) {
		s3_free(&s->b);
		return r;
	}
	*ret = &s->b;
	return 0;
}
