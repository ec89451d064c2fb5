/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The client of s3/client.h.
 */
#include "s3/client.h"

#include <stdio.h>

#include "base/log.h"
#include "base/random.h"
#include "base/text.h"
#include "s3/credentials.h"
#include "s3/sign.h"
#include "s3/url.h"
#include "s3/xml.h"

enum {
	PAUSE_FIRST_MS = 50,
	PAUSE_MAX_MS = 5000,
	PAUSE_STEP_MS = 50, /* how soon a caller that gives up is noticed */
	RETRY_AFTER_MAX_S = 20, /* a server that wants more is asked before that */
	TRIES_MAX = 10, /* of who has no deadline */
	SIGNED_MAX = 8, /* headers */
};

struct s3_client {
	struct s3_place place; /* owned, as all below */
	char *name;
	struct http *http;
	struct s3_credentials *credentials;
	atomic_int_fast64_t skew_s; /* the server's clock minus ours */
};

int s3_client_new(const char *url, struct s3_client **ret)
{
	_cleanup_(s3_client_freep) struct s3_client *c = new0(struct s3_client, 1);
	int r;

	if (!c)
		return -ENOMEM;
	r = s3_place_parse(url, &c->place);
	if (r == 0)
		r = s3_credentials_new(c->place.credentials_file, c->place.profile,
				       &c->credentials);
	if (r == 0)
		r = http_new(c->place.ca_file, &c->http);
	if (r < 0)
		return r;
	c->name = s3_place_name(&c->place);
	if (!c->name)
		return -ENOMEM;
	*ret = TAKE_PTR(c);
	return 0;
}

void s3_client_free(struct s3_client *c)
{
	if (!c)
		return;
	http_free(c->http);
	s3_credentials_free(c->credentials);
	s3_place_release(&c->place);
	free(c->name);
	free(c);
}

const char *s3_client_name(const struct s3_client *c)
{
	return c->name;
}

const char *s3_client_prefix(const struct s3_client *c)
{
	return c->place.prefix;
}

/* What is sent once; all owned. */
struct message {
	char *url;
	char *lines[SIGNED_MAX + 2]; /* the headers, "name: value"; NULL at the end */
	size_t count;
};

static void message_release(struct message *m)
{
	for (size_t i = 0; i < m->count; i++)
		free(m->lines[i]);
	free(m->url);
}

struct headers {
	struct s3_header h[SIGNED_MAX];
	size_t count;
};

static void add(struct headers *h, const char *name, const char *value)
{
	if (value)
		h->h[h->count++] = (struct s3_header){ name, value };
}

static int write_message(struct message *m, const struct s3_client *c, const char *path,
			 const char *query, const struct headers *h, struct span authorization)
{
	m->url = strf("%s://%s%s%s%s", c->place.scheme, c->place.host, path, *query ? "?" : "",
		      query);
	if (!m->url)
		return -ENOMEM;
	for (size_t i = 0; i <= h->count; i++) {
		/* curl says Host itself. */
		if (i < h->count && strcmp(h->h[i].name, "host") == 0)
			continue;
		m->lines[m->count] = i < h->count
					     ? strf("%s: %s", h->h[i].name, h->h[i].value)
					     : strf("authorization: %.*s", (int)authorization.len,
						    (const char *)authorization.data);
		if (!m->lines[m->count])
			return -ENOMEM;
		m->count++;
	}
	return 0;
}

static int compose(struct s3_client *c, const struct s3_request *q, const struct s3_keys *keys,
		   const char payload[S3_SHA256_HEX], struct message *m)
{
	_cleanup_free_ char *path = s3_place_path(&c->place, q->key);
	_cleanup_buf_ struct buf authorization = { 0 };
	struct headers h = { .count = 0 };
	struct s3_to_sign s;
	char date[S3_DATE];
	int r;

	if (!path)
		return -ENOMEM;
	r = s3_date(now_wall().tv_sec + c->skew_s, date);
	if (r < 0)
		return log_fail(-EIO, "this machine's clock cannot be right");
	/* Ascending by name. */
	add(&h, "host", c->place.host);
	add(&h, "if-match", q->if_match);
	add(&h, "if-none-match", q->if_none_match);
	add(&h, "range", q->range);
	add(&h, "x-amz-content-sha256", payload);
	add(&h, "x-amz-date", date);
	add(&h, "x-amz-security-token", keys->session_token);
	s = (struct s3_to_sign){
		.method = q->method,
		.path = path,
		.query = q->query ?: "",
		.headers = h.h,
		.header_count = h.count,
		.payload = payload,
	};
	r = s3_sign(&s, keys->access_key, keys->secret_key, c->place.region, date, &authorization);
	return r < 0 ? r : write_message(m, c, path, s.query, &h, buf_span(&authorization));
}

/* What became of one try. */
struct outcome {
	int error; /* 0: @reply is it */
	bool is_passing; /* it may be otherwise next time */
	bool may_be_done;
	bool is_skewed, is_refused;
	int retry_after_s;
	struct s3_error said;
};

static bool is_code(const struct outcome *o, const char *const *codes)
{
	for (; *codes; codes++)
		if (strcmp(o->said.code, *codes) == 0)
			return true;
	return false;
}

static int errno_of_status(int status)
{
	switch (status) {
	case 304:
		return -EALREADY;
	case 401:
	case 403:
		return -EACCES;
	case 404:
		return -ENOENT;
	case 409:
	case 412:
		return -ESTALE;
	case 416:
		return -ERANGE;
	case 507:
		return -ENOSPC;
	default:
		return -EIO;
	}
}

static void judge(const struct http_reply *reply, struct outcome *o)
{
	static const char *const busy[] = { "SlowDown",
					    "RequestTimeout",
					    "InternalError",
					    "ServiceUnavailable",
					    "OperationAborted",
					    "XMinioServerNotInitialized",
					    NULL };
	static const char *const full[] = { "XMinioStorageFull", "QuotaExceeded",
					    "XMinioAdminBucketQuotaExceeded", NULL };
	static const char *const refused[] = { "ExpiredToken",	       "ExpiredTokenException",
					       "InvalidAccessKeyId",   "InvalidToken",
					       "TokenRefreshRequired", NULL };
	int status = reply->status;

	if (status >= 200 && status < 300)
		return;
	if (s3_error_parse(buf_span(&reply->error), &o->said) < 0)
		o->said = (struct s3_error){ 0 };
	o->error = errno_of_status(status);
	o->retry_after_s = reply->retry_after_s;
	o->is_skewed = strcmp(o->said.code, "RequestTimeTooSkewed") == 0;
	o->is_refused = is_code(o, refused);
	if (is_code(o, full))
		o->error = -ENOSPC;
	else if (status == 404 && strcmp(o->said.code, "NoSuchBucket") == 0)
		o->error = -EIO;
	else if (status == 429 || (status >= 500 && status != 501) || is_code(o, busy)) {
		o->is_passing = true;
		/* MinIO says 503 also of a write that reached some of its disks. */
		o->may_be_done = status >= 500;
	}
}

static int send(struct s3_client *c, const struct s3_request *q, const char *payload,
		const struct s3_keys *keys, const struct deadline *dl, struct http_reply *ret,
		struct outcome *o)
{
	_cleanup_(message_release) struct message m = { 0 };
	struct http_request hq = {
		.method = q->method,
		.body = q->body,
		.has_body = q->has_body,
		.into = q->into,
		.max = q->max,
		.out = q->out,
	};
	bool was_sent = false, was_quiet;
	int r;

	*o = (struct outcome){ .retry_after_s = -1 };
	r = compose(c, q, keys, payload, &m);
	if (r < 0)
		return r;
	hq.url = m.url;
	hq.headers = (const char *const *)m.lines;
	/* What may be repeated is not worth a line in the log. */
	was_quiet = log_set_quiet(true);
	complaint_clear();
	r = http_exchange(c->http, &hq, dl, ret, &was_sent);
	log_set_quiet(was_quiet);
	if (r == 0) {
		judge(ret, o);
		return 0;
	}
	o->error = r;
	o->may_be_done = was_sent;
	o->is_passing = r == -EHOSTUNREACH || r == -ECONNRESET || r == -EPROTO;
	return r == -ENOMEM ? r : 0;
}

/* Before try @n (from 1): 0, or the deadline's error. */
static int rest(unsigned n, int retry_after_s, const struct deadline *dl)
{
	unsigned doublings = MIN(n, 10u);
	int64_t most = MIN((int64_t)PAUSE_FIRST_MS << doublings, (int64_t)PAUSE_MAX_MS);
	int64_t ms = (int64_t)(random_u64() % (uint64_t)(most + 1));
	int64_t end;
	int r = 0;

	if (retry_after_s > 0)
		ms += MIN(retry_after_s, (int)RETRY_AFTER_MAX_S) * 1000ll;
	end = now_ns() + ms * 1000000;
	while (r == 0 && now_ns() < end) {
		struct timespec step = { .tv_nsec = PAUSE_STEP_MS * 1000000l };

		nanosleep(&step, NULL);
		r = deadline_check(dl);
	}
	return r;
}

/* Is there something to be done about it at once? */
static bool mend(struct s3_client *c, const struct outcome *o, const struct http_reply *reply,
		 const struct s3_keys *keys, bool *is_mended)
{
	if (*is_mended)
		return false;
	if (o->is_skewed && reply->date) {
		c->skew_s = reply->date - now_wall().tv_sec;
		log_warning("%s: this machine's clock is %lld s off", c->name,
			    (long long)c->skew_s);
		*is_mended = true;
	} else if (o->is_refused) {
		*is_mended = s3_credentials_refused(c->credentials, keys);
	}
	return *is_mended;
}

static const char *what_is_wrong(const struct outcome *o)
{
	if (o->said.message[0])
		return o->said.message;
	return o->said.code[0] ? o->said.code : errno_text(o->error);
}

/* The error in the words of s3_request(). */
static int conclude(const struct s3_client *c, const struct s3_request *q, const struct outcome *o,
		    int status)
{
	int error = q->once && o->may_be_done ? -EINPROGRESS : o->error;

	switch (error) {
	case -EALREADY:
	case -ENOENT:
	case -ESTALE:
	case -ERANGE:
	case -ECANCELED:
	case -EFBIG:
		return error;
	default:
		break;
	}
	if (error != -EINPROGRESS && error != -EACCES && error != -ENOSPC && error != -ETIME)
		error = -EIO;
	if (status)
		return log_fail(error, "%s: %s %s: the server says %d: %s", c->name, q->method,
				q->key ?: "the bucket", status, what_is_wrong(o));
	return log_fail(error, "%s: %s %s: %s", c->name, q->method, q->key ?: "the bucket",
			complaint()[0] ? complaint() : errno_text(o->error));
}

int s3_request(struct s3_client *c, const struct s3_request *q, const struct deadline *dl,
	       struct http_reply *ret)
{
	char payload[S3_SHA256_HEX];
	bool is_mended = false;

	s3_sha256_hex(q->body, payload);
	for (unsigned n = 1;; n++) {
		_cleanup_http_reply_ struct http_reply reply = { 0 };
		_cleanup_s3_keys_ struct s3_keys keys = { 0 };
		struct outcome o;
		int r;

		r = s3_credentials_get(c->credentials, &keys);
		/* A file that cannot be understood: nothing is wrong with the request. */
		if (r == -EINVAL)
			r = -EACCES;
		if (r == 0)
			r = send(c, q, payload, &keys, dl, &reply, &o);
		if (r < 0)
			return r;
		if (o.error == 0) {
			*ret = reply;
			reply = (struct http_reply){ 0 };
			return 0;
		}
		if (mend(c, &o, &reply, &keys, &is_mended))
			continue;
		if (!o.is_passing || (q->once && o.may_be_done) || (!dl && n >= TRIES_MAX))
			return conclude(c, q, &o, reply.status);
		r = rest(n, o.retry_after_s, dl);
		if (r < 0) {
			o.error = r;
			return conclude(c, q, &o, reply.status);
		}
	}
}
