/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A bucket: each object is one of the bucket's, under the store's prefix; the tag is the server's
 * ETag; swap() is a conditional PUT.
 *
 * Putting objects is s3_put.c's.
 *
 * Threads: all functions from any thread; nothing here is changed after it is opened.
 */
#include "backend/s3.h"

#include <inttypes.h>
#include <stdio.h>

#include "backend/s3_parts.h"
#include "base/log.h"
#include "base/text.h"
#include "format/limits.h"
#include "s3/sign.h"
#include "s3/xml.h"

enum {
	LIST_PAGE_MAX = 4 << 20, /* bytes of one answer: 1,000 keys of 1,024 bytes, and XML */
	RANGE_MAX = 64,
	CREATE_TIMEOUT_MS = 10000,
	OPEN_TIMEOUT_MS = 3000,
	REACH_MS = 2000, /* for a server that cannot be reached at all */
};

#define REGION_DEFAULT "us-east-1"

static struct s3_client *client_of(struct backend *b)
{
	return container_of(b, struct s3_backend, b)->client;
}

int s3_nonsense(struct backend *b, const char *key)
{
	return log_fail(-EIO,
			"%s: the answer for %s makes no sense: is there an S3 server at this "
			"endpoint?",
			b->url, key);
}

int s3_check_writable(struct backend *b)
{
	return container_of(b, struct s3_backend, b)->is_read_only ? -EROFS : 0;
}

int s3_ask(struct backend *b, const struct s3_request *q, const struct deadline *dl,
	   struct http_reply *ret)
{
	bool is_write = strcmp(q->method, "GET") != 0 && strcmp(q->method, "HEAD") != 0;
	int r = q->key && !backend_key_is_valid(q->key) ? -EINVAL : 0;

	if (r == 0 && is_write)
		r = s3_check_writable(b);
	if (r == 0)
		r = deadline_check(dl);
	return r < 0 ? r : s3_request(client_of(b), q, dl, ret);
}

int s3_head(struct backend *b, const char *key, const struct deadline *dl, uint64_t *ret_size)
{
	struct s3_request q = { .method = "HEAD", .key = key };
	_cleanup_http_reply_ struct http_reply reply = { 0 };
	int r = s3_ask(b, &q, dl, &reply);

	if (r < 0)
		return r;
	if (!reply.has_length)
		return s3_nonsense(b, key);
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
	r = s3_ask(b, &q, dl, &reply);
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
		return s3_nonsense(b, key);
	*ret_len = reply.body_len;
	return 0;
}

int s3_take_tag(struct backend *b, const char *key, const struct http_reply *reply,
		struct etag *ret)
{
	size_t len = strlen(reply->etag);

	if (len == 0 || len >= sizeof(ret->s))
		return s3_nonsense(b, key);
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
	int r = s3_ask(b, &q, dl, &reply);

	if (r < 0)
		return r;
	if (reply.status != 200)
		return s3_nonsense(b, key);
	r = s3_take_tag(b, key, &reply, ret_tag);
	return r < 0 ? r : buf_take(&data, ret);
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
	int r = s3_ask(b, &q, dl, &reply);

	/* What should have had the tag is not there at all. */
	if (r == -ENOENT && tag)
		return -ESTALE;
	if (r < 0)
		return r;
	r = s3_take_tag(b, key, &reply, ret_tag);
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

static int list_key(const char *key, uint64_t size, const char *etag, void *ctx)
{
	struct etag tag;
	struct listing *l = ctx;
	size_t len = strlen(l->prefix);
	int r;

	/* One that does not go on would never end. */
	if (strncmp(key, l->prefix, len) != 0 || strlen(key) >= sizeof(l->last) ||
	    strcmp(key, l->last) <= 0)
		return s3_nonsense(l->backend, "a listing");
	snprintf(l->last, sizeof(l->last), "%s", key);
	/* Others may have things there too. */
	if (!backend_key_is_valid(key + len))
		return 0;
	snprintf(tag.s, sizeof(tag.s), "%s", etag);
	r = l->fn(key + len, size, *etag ? &tag : NULL, l->ctx);
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
	r = s3_ask(l->backend, &q, dl, &reply);
	if (r < 0)
		return r == -ENOENT ? s3_nonsense(l->backend, "a listing") : r;
	r = s3_listing_parse(buf_span(&xml), list_key, l, &page);
	if (r == -EBADMSG && !l->is_over)
		return s3_nonsense(l->backend, "a listing");
	if (r != 0)
		return r;
	/* A page that is cut must have brought us on, or this would go on for ever. */
	if (page.is_truncated && page.count == 0)
		return s3_nonsense(l->backend, "a listing");
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
	int r = s3_ask(b, &q, dl, &reply);

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

/* 0, -EIO (also where the server will not have the region), or as s3_request(). */
static int make_bucket(struct s3_backend *s, const char *region, const struct deadline *dl)
{
	_cleanup_http_reply_ struct http_reply reply = { 0 };
	_cleanup_buf_ struct buf body = { 0 };
	struct s3_request q = { .method = "PUT", .has_body = true };

	if (region)
		buf_printf(&body,
			   "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/"
			   "2006-03-01/\"><LocationConstraint>%s</LocationConstraint>"
			   "</CreateBucketConfiguration>",
			   region);
	if (buf_failed(&body))
		return -ENOMEM;
	q.body = buf_span(&body);
	return s3_request(s->client, &q, dl, &reply);
}

/* Makes the bucket where the store's URL says. */
static int create_bucket(struct s3_backend *s, const struct deadline *dl)
{
	const char *region = s3_client_region(s->client);
	bool is_default = strcmp(region, REGION_DEFAULT) == 0, was_quiet;
	int r = -EIO;

	/* AWS wants no other region than this one named; servers of one's own may know none. */
	if (!is_default) {
		was_quiet = log_set_quiet(true);
		r = make_bucket(s, region, dl);
		log_set_quiet(was_quiet);
	}
	if (r == -EIO)
		r = make_bucket(s, NULL, dl);
	if (r == -ENOENT)
		return log_fail(-EIO,
				"%s: there is no such bucket, and none can be made: is there an "
				"S3 server at this endpoint?",
				s->b.url);
	/* Somebody else has made it. */
	return r == -ESTALE ? 0 : r;
}

/* HEAD was refused, and had no body to say why: the same in words. 0: what is needed is allowed. */
static int look_closer(struct s3_backend *s, const struct deadline *dl)
{
	_cleanup_http_reply_ struct http_reply reply = { 0 };
	_cleanup_buf_ struct buf xml = { 0 };
	struct s3_request q = {
		.method = "GET",
		.query = "list-type=2&max-keys=1",
		.reach_ms = 1,
		.max = LIST_PAGE_MAX,
		.out = &xml,
	};

	return s3_request(s->client, &q, dl, &reply);
}

/*
 * Is the bucket there? Who makes a store wants to know at once if its server is not to be had; who
 * opens one finds out with the first request that matters, and may have what he needs on this
 * machine.
 */
static int see_to_bucket(struct s3_backend *s, bool create)
{
	_cleanup_http_reply_ struct http_reply reply = { 0 };
	struct s3_request look = { .method = "HEAD", .reach_ms = create ? REACH_MS : 1 };
	struct deadline dl = deadline_in_ms(create ? CREATE_TIMEOUT_MS : OPEN_TIMEOUT_MS);
	bool was_quiet = log_set_quiet(true);
	int r = s3_request(s->client, &look, &dl, &reply);

	if (r == -EACCES || r == -EIO)
		r = look_closer(s, &dl);
	log_set_quiet(was_quiet);
	if (r == -ENOENT)
		return create ? create_bucket(s, &dl)
			      : log_fail(r, "%s: there is no such bucket", s->b.url);
	if (r == 0 || (!create && r != -EACCES && r != -ENOMEM))
		return 0;
	return log_fail(r == -EHOSTUNREACH ? -EIO : r, "%s", complaint());
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
