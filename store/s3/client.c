/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The client of s3/client.h.
 */
#include "s3/client.h"

#include <stdio.h>

#include "base/log.h"
#include "base/random.h"
#include "base/text.h"
#include "s3/advice.h"
#include "s3/budget.h"
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
	PATIENCE_MS = 60000, /* with a server that writes, at most */
	PATIENCE_LONG_MS = 600000, /* for one who has no deadline */
	SKEW_MIN_S = 300, /* what servers allow, or more */
	WHY_MAX = 512, /* bytes of what went wrong last */
	SIGNED_MAX = 8, /* headers */
};

struct s3_client {
	struct s3_place place; /* owned, as all below */
	char *name;
	struct http *http;
	struct s3_credentials *credentials;
	atomic_int_fast64_t skew_s; /* the server's clock minus ours */
	atomic_bool has_spoken; /* HTTP: what is there can */
	struct budget budget;
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

const char *s3_client_region(const struct s3_client *c)
{
	return c->place.region;
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

/* A request on its way, over all its tries. */
struct errand {
	struct s3_client *c; /* borrowed, as all below */
	const struct s3_request *q;
	const struct deadline *dl;
	int64_t begun_ns;
	char payload[S3_SHA256_HEX];
	struct http_progress progress;
	bool is_clock_mended, are_keys_mended;
	char why[WHY_MAX]; /* the last try failed, in words; "" */
};

/* What became of one try. */
struct outcome {
	int error; /* 0: @reply is it */
	int status; /* 0: no reply */
	bool is_passing; /* it may be otherwise next time */
	bool may_be_done;
	bool is_skewed, is_refused;
	bool is_foreign; /* no S3 server would put it like that */
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

/* HEAD has no body that would say why: it may be for the keys' age, or for the clock's. */
static void judge_mute(const struct http_reply *reply, int64_t server_now_s, struct outcome *o)
{
	int64_t skew = reply->date - server_now_s;

	if (reply->status != 400 && reply->status != 403)
		return;
	o->is_skewed = reply->date && (skew > SKEW_MIN_S || skew < -SKEW_MIN_S);
	o->is_refused = !o->is_skewed;
}

static const char *const busy[] = { "SlowDown",
				    "RequestTimeout",
				    "InternalError",
				    "ServiceUnavailable",
				    "OperationAborted",
				    "XMinioServerNotInitialized",
				    NULL };

static void judge(const struct http_reply *reply, struct outcome *o)
{
	static const char *const full[] = { "XMinioStorageFull", "QuotaExceeded",
					    "XMinioAdminBucketQuotaExceeded", NULL };
	static const char *const refused[] = { "ExpiredToken",	       "ExpiredTokenException",
					       "InvalidAccessKeyId",   "InvalidToken",
					       "TokenRefreshRequired", NULL };
	int status = reply->status;

	o->status = status;
	if (status >= 200 && status < 300)
		return;
	if (s3_error_parse(buf_span(&reply->error), &o->said) < 0)
		o->said = (struct s3_error){ 0 };
	o->error = errno_of_status(status);
	o->retry_after_s = reply->retry_after_s;
	o->is_skewed = strcmp(o->said.code, "RequestTimeTooSkewed") == 0;
	o->is_refused = is_code(o, refused);
	o->is_foreign = reply->error.len > 0 && !o->said.code[0];
	if (o->is_refused)
		o->error = -EACCES;
	else if (is_code(o, full))
		o->error = -ENOSPC;
	else if (status == 404 && strcmp(o->said.code, "NoSuchBucket") == 0)
		o->error = -EIO;
	else if (status == 429 || (status >= 500 && status != 501 && status != 507) ||
		 is_code(o, busy)) {
		o->is_passing = true;
		/* MinIO says 503 also of a write that reached some of its disks. */
		o->may_be_done = status >= 500;
	}
}

/* A 200 to a completion; one that makes no sense may be a cut one. */
static void judge_completion(struct span body, struct outcome *o)
{
	char etag[68];
	int r = s3_complete_parse(body, etag, &o->said);

	if (r == 0)
		return;
	o->error = r == -ENOMEM ? r : -EIO;
	o->is_passing = r == -EBADMSG || is_code(o, busy);
	o->may_be_done = true;
	o->is_foreign = r == -EBADMSG;
}

/* For the reply to something that writes; see client.h. */
static int patience_ms(const struct errand *e)
{
	bool is_endless = !e->dl || e->dl->at_ns == INT64_MAX;
	int64_t left = is_endless ? PATIENCE_LONG_MS : (e->dl->at_ns - now_ns()) / 1000000;

	if (!e->q->has_body && strcmp(e->q->method, "DELETE") != 0)
		return 0;
	return (int)CLAMP(e->q->is_completion ? left : MIN(left / 2, (int64_t)PATIENCE_MS),
			  (int64_t)0, (int64_t)PATIENCE_LONG_MS);
}

static int send(struct errand *e, const struct s3_keys *keys, struct http_reply *ret,
		struct outcome *o)
{
	_cleanup_(message_release) struct message m = { 0 };
	const struct s3_request *q = e->q;
	struct http_request hq = {
		.method = q->method,
		.body = q->body,
		.has_body = q->has_body,
		.progress = q->body.len > 0 ? &e->progress : NULL,
		.patience_ms = patience_ms(e),
		.is_drip_fed = q->is_completion,
		.into = q->into,
		.max = q->max,
		.out = q->out,
	};
	size_t out_len = q->out ? q->out->len : 0;
	bool was_sent = false, was_quiet;
	int r;

	*o = (struct outcome){ .retry_after_s = -1 };
	r = compose(e->c, q, keys, e->payload, &m);
	if (r < 0)
		return r;
	hq.url = m.url;
	hq.headers = (const char *const *)m.lines;
	/* It was alive, and may well be with the next try. */
	if (e->progress.most >= q->body.len)
		e->progress = (struct http_progress){ .at_ns = now_ns() };
	/* What may be repeated is not worth a line in the log. */
	was_quiet = log_set_quiet(true);
	complaint_clear();
	r = http_exchange(e->c->http, &hq, e->dl, ret, &was_sent);
	log_set_quiet(was_quiet);
	if (r == 0) {
		e->c->has_spoken = true;
		judge(ret, o);
		if (o->error == 0 && q->is_completion)
			judge_completion(span_of(q->out->data + out_len, q->out->len - out_len), o);
		if (o->error < 0 && q->out)
			q->out->len = out_len;
		if (strcmp(q->method, "HEAD") == 0)
			judge_mute(ret, now_wall().tv_sec + e->c->skew_s, o);
		return 0;
	}
	o->error = r;
	o->may_be_done = was_sent;
	o->is_passing = r == -EHOSTUNREACH || r == -ECONNRESET || r == -EPROTO ||
			(r == -EPROTONOSUPPORT && e->c->has_spoken);
	return r == -ENOMEM ? r : 0;
}

/* Before try @n (from 1): 0, or the deadline's error. */
static int rest(struct errand *e, unsigned n, int retry_after_s)
{
	unsigned doublings = MIN(n, 10u);
	int64_t most = MIN((int64_t)PAUSE_FIRST_MS << doublings, (int64_t)PAUSE_MAX_MS);
	int64_t ms = (int64_t)(random_u64() % (uint64_t)(most + 1));
	int64_t begun = now_ns(), end;
	bool is_free = false;
	int r;

	if (retry_after_s > 0)
		ms += MIN(retry_after_s, (int)RETRY_AFTER_MAX_S) * 1000ll;
	end = begun + ms * 1000000;
	if (e->dl && e->dl->at_ns != INT64_MAX)
		end = MIN(end, begun + (e->dl->at_ns - begun) / 4 * 3);
	for (;;) {
		struct timespec step = { .tv_nsec = PAUSE_STEP_MS * 1000000l };
		int64_t now = now_ns();

		r = deadline_check(e->dl);
		if (r < 0)
			return r;
		if (e->progress.at_ns + HTTP_STILL_MS * 1000000ll < now && e->q->body.len > 0)
			return -ETIME;
		is_free = is_free || budget_take(&e->c->budget, now) == 0;
		if (is_free && now >= end)
			return 0;
		if (is_free)
			step.tv_nsec = MIN(step.tv_nsec, (long)(end - now));
		nanosleep(&step, NULL);
	}
}

/* Is there something to be done about it at once? */
static bool mend(struct errand *e, const struct outcome *o, const struct http_reply *reply,
		 const struct s3_keys *keys)
{
	struct s3_client *c = e->c;

	if (o->is_skewed && reply->date && !e->is_clock_mended) {
		int64_t skew = reply->date - now_wall().tv_sec;

		c->skew_s = skew;
		log_warning("%s: this machine's clock is %lld s %s the server's", c->name,
			    llabs((long long)skew), skew > 0 ? "behind" : "before");
		e->is_clock_mended = true;
		return true;
	}
	if (o->is_refused && !e->are_keys_mended) {
		e->are_keys_mended = true;
		return s3_credentials_refused(c->credentials, keys);
	}
	return false;
}

/* An exchange's complaint without the request in front, which conclude() names. */
static const char *words_of(const char *said, const char *method)
{
	const char *colon = strncmp(said, method, strlen(method)) == 0 ? strstr(said, ": ") : NULL;

	return colon ? colon + 2 : said;
}

/* What the server says, without its full stop, and what can be done about it. */
static void note_words(struct errand *e, const struct outcome *o)
{
	const char *what = o->said.message[0] ? o->said.message : o->said.code;
	const char *advice = s3_advice(&o->said);
	size_t len = strlen(what);

	if (o->is_foreign) {
		snprintf(e->why, sizeof(e->why),
			 "the server says %d, and not in S3's words: is the endpoint right? Is it "
			 "http or https?",
			 o->status);
		return;
	}
	if (len == 0) {
		what = errno_text(o->error);
		len = strlen(what);
	}
	if (advice[0] && what[len - 1] == '.')
		len--;
	snprintf(e->why, sizeof(e->why), "the server says %d: %.*s%s", o->status, (int)len, what,
		 advice);
}

/* What can be done about what no server has said. */
static const char *advice_on(const struct outcome *o)
{
	const char *advice = s3_advice_on_connecting(complaint());

	if (advice[0])
		return advice;
	switch (o->error) {
	case -EPROTO:
		return ": is there an S3 server at this endpoint?";
	case -EPROTONOSUPPORT:
		return ": is there an S3 server at this endpoint? Is it http or https?";
	case -EKEYREJECTED:
		return " (ca=FILE in the store's URL names another authority's)";
	default:
		return "";
	}
}

/* The try's failure, for whoever asks in the end; nothing if its time was over. */
static void note_why(struct errand *e, const struct outcome *o)
{
	if (o->status)
		note_words(e, o);
	else if (complaint()[0])
		snprintf(e->why, sizeof(e->why), "%s%s", words_of(complaint(), e->q->method),
			 advice_on(o));
	else if (!e->why[0])
		snprintf(e->why, sizeof(e->why), "%s",
			 o->error == -ETIME ? "no answer in time" : errno_text(o->error));
}

/* The error in the words of s3_request(). */
static int conclude(const struct errand *e, const struct outcome *o)
{
	const struct s3_request *q = e->q;
	int error = q->once && o->may_be_done ? -EINPROGRESS : o->error;

	switch (error) {
	case -EALREADY:
	case -ENOENT:
	case -ESTALE:
	case -ERANGE:
	case -ECANCELED:
	case -EFBIG:
		return error;
	case -EINPROGRESS:
	case -EACCES:
	case -ENOSPC:
	case -ETIME:
		break;
	case -EHOSTUNREACH:
		if (q->reach_ms > 0)
			break;
		error = -EIO;
		break;
	default:
		error = -EIO;
	}
	return log_fail(error, "%s: %s %s: %s", e->c->name, q->method, q->key ?: "the bucket",
			e->why);
}

static bool is_out_of_reach(const struct errand *e, const struct outcome *o)
{
	return e->q->reach_ms > 0 && o->error == -EHOSTUNREACH &&
	       now_ns() - e->begun_ns > e->q->reach_ms * 1000000ll;
}

/* One try: 1 to try again. */
static int attempt(struct errand *e, unsigned n, struct http_reply *ret)
{
	_cleanup_http_reply_ struct http_reply reply = { 0 };
	_cleanup_s3_keys_ struct s3_keys keys = { 0 };
	struct outcome o;
	int r;

	r = s3_credentials_get(e->c->credentials, &keys);
	/* A file that cannot be understood: nothing is wrong with the request. */
	if (r == -EINVAL)
		r = -EACCES;
	if (r == 0)
		r = send(e, &keys, &reply, &o);
	if (r < 0)
		return r;
	if (o.error == 0) {
		budget_earn(&e->c->budget, now_ns());
		*ret = reply;
		reply = (struct http_reply){ 0 };
		return 0;
	}
	note_why(e, &o);
	if (mend(e, &o, &reply, &keys))
		return 1;
	if (!o.is_passing || (e->q->once && o.may_be_done) || (!e->dl && n >= TRIES_MAX) ||
	    (e->dl && e->dl->one_try) || is_out_of_reach(e, &o))
		return conclude(e, &o);
	r = rest(e, n, o.retry_after_s);
	if (r < 0) {
		o.error = r;
		return conclude(e, &o);
	}
	return 1;
}

int s3_request(struct s3_client *c, const struct s3_request *q, const struct deadline *dl,
	       struct http_reply *ret)
{
	int64_t now = now_ns();
	struct errand e = { .c = c, .q = q, .dl = dl, .begun_ns = now, .progress.at_ns = now };
	unsigned n = 0;
	int r;

	s3_sha256_hex(q->body, e.payload);
	do
		r = attempt(&e, ++n, ret);
	while (r == 1);
	return r;
}
