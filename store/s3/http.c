/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * HTTP exchanges of s3/http.h, over libcurl's multi interface.
 *
 * Connections are http_line.h's. No request that may have been received whole is sent again, but
 * GET and HEAD (may_be_sent()).
 *
 * Why that needs care: on a connection that was used before and ends without one byte of a
 * reply libcurl takes it that the server had closed it long ago, and sends the request anew, all by
 * itself. It asks its "prereq" callback before each time, which is where that is stopped.
 *
 * libcurl's low-speed rule cannot tell a dead network from a server that thinks, so the watch over
 * an exchange is our own (watch()): what has got through is what the peer's kernel has acknowledged
 * and what came back.
 *
 *	connecting --5 s--> given up
 *	    '--> sending, receiving --less than 10 KiB in 10 s--> given up
 *	            '--all acknowledged, no reply yet: thinking --its patience--> given up
 *
 * Threads: none of its own.
 */
#include "s3/http.h"

#include <limits.h>
#include <stdio.h>
#include <strings.h>

#include "base/log.h"
#include "base/text.h"
#include "s3/http_line.h"
#include "s3/http_trust.h"

enum {
	STEP_MS = 100, /* how late a cancelled caller may be let go */
	CONNECT_MS = 5000,
	SLOW_BYTES = 10 << 10, /* less than that... */
	SLOW_MS = 10000, /* ...in so long is a stall */
	HEADERS_MAX = 64 << 10, /* of one exchange, interim replies and trailers included */
	ERROR_MAX = 64 << 10,
	BUFFER = 256 << 10,
	NAME_LEN = 200, /* of a request, in messages */
};

struct http {
	struct trust trust;
	struct lines lines;
};

/* One exchange, as the callbacks see it. */
struct exchange {
	const struct http_request *q; /* borrowed */
	struct line *line; /* borrowed */
	CURL *easy; /* its own */
	struct http_reply reply; /* owned */
	unsigned times; /* the request was begun */
	size_t sent; /* bytes of the body that libcurl has taken, this time */
	bool is_sent_whole; /* once; for good, also when libcurl has rewound the body since */
	size_t header_bytes;
	size_t error_bytes; /* of its body, as they came */
	bool is_thinking; /* the server, when watch() last looked */
	int64_t quiet_since_ns; /* what watch() looks back to... */
	uint64_t quiet_mark; /* ...and what had got through then */
	bool has_headers; /* up to the empty line: libcurl is content without */
	int fault; /* why a callback ended it */
	const char *why; /* in words */
	bool has_enough; /* of an error's body: the rest is not wanted */
	char text[CURL_ERROR_SIZE]; /* libcurl's own words */
};

void http_reply_release(struct http_reply *r)
{
	buf_release(&r->error);
}

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_begun;

static void curl_begin(void)
{
	curl_begun = curl_global_init(CURL_GLOBAL_DEFAULT);
}

int http_new(const char *ca_file, struct http **ret)
{
	_cleanup_(http_freep) struct http *h = NULL;

	pthread_once(&curl_once, curl_begin);
	if (curl_begun != CURLE_OK)
		return -ENOMEM;
	h = new0(struct http, 1);
	if (!h)
		return -ENOMEM;
	lines_init(&h->lines);
	if (trust_init(&h->trust, ca_file) < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(h);
	return 0;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	lines_release(&h->lines);
	trust_release(&h->trust);
	free(h);
}

/* --- what libcurl calls --- */

static int fail(struct exchange *x, int fault, const char *why)
{
	x->fault = fault;
	x->why = why;
	return fault;
}

static int may_be_sent(void *ctx, char *peer, char *own, int peer_port, int own_port)
{
	struct exchange *x = ctx;
	const char *method = x->q->method;

	if (x->is_sent_whole && strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
		fail(x, -ECONNRESET, "the connection ended before the reply");
		return CURL_PREREQFUNC_ABORT;
	}
	x->times++;
	line_found(x->line, own_port);
	if (x->q->body.len == 0)
		x->is_sent_whole = true;
	return CURL_PREREQFUNC_OK;
}

static size_t next_of_body(char *to, size_t size, size_t count, void *ctx)
{
	struct exchange *x = ctx;
	size_t n = MIN(size * count, x->q->body.len - x->sent);

	if (n > 0)
		memcpy(to, x->q->body.data + x->sent, n);
	x->sent += n;
	if (x->sent == x->q->body.len)
		x->is_sent_whole = true;
	return n;
}

static int rewind_body(void *ctx, curl_off_t off, int origin)
{
	struct exchange *x = ctx;

	if (origin != SEEK_SET || off < 0 || (uint64_t)off > x->q->body.len)
		return CURL_SEEKFUNC_FAIL;
	x->sent = (size_t)off;
	return CURL_SEEKFUNC_OK;
}

/* The same for a callback. */
static size_t stop(struct exchange *x, int fault, const char *why)
{
	fail(x, fault, why);
	return CURL_WRITEFUNC_ERROR;
}

static size_t count_header(char *data, size_t size, size_t count, void *ctx)
{
	struct exchange *x = ctx;
	long status = 0;

	curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status >= 200 && size * count > 0 && (*data == '\r' || *data == '\n'))
		x->has_headers = true;
	x->header_bytes += size * count;
	if (x->header_bytes > HEADERS_MAX)
		return stop(x, -EPROTO, "the reply's headers are too long");
	return size * count;
}

static size_t take_error(struct exchange *x, const char *data, size_t len)
{
	struct buf *b = &x->reply.error;
	size_t n = MIN(len, ERROR_MAX - b->len);

	x->error_bytes += len;
	buf_put(b, data, n);
	if (buf_failed(b))
		return stop(x, -ENOMEM, "no memory");
	x->has_enough = n < len;
	return n == len ? n : CURL_WRITEFUNC_ERROR;
}

static size_t take_body(char *data, size_t size, size_t count, void *ctx)
{
	struct exchange *x = ctx;
	const struct http_request *q = x->q;
	size_t len = size * count, max = q->into || q->out ? q->max : ERROR_MAX;
	long status = 0;

	curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status < 200 || status > 299)
		return take_error(x, data, len);
	if (len > max - x->reply.body_len)
		return stop(x, -EFBIG, "the reply is longer than what was asked for");
	if (q->into) {
		memcpy(q->into + x->reply.body_len, data, len);
	} else if (q->out) {
		buf_put(q->out, data, len);
		if (buf_failed(q->out))
			return stop(x, -ENOMEM, "no memory");
	}
	x->reply.body_len += len;
	return len;
}

/* --- the request --- */

static bool has_control(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			return true;
	return false;
}

/* What would change the request's framing, or go to another place than it seems to. */
static bool is_sendable(const struct http_request *q)
{
	const char *authority = strstr(q->url, "://");

	if (!*q->method || strspn(q->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != strlen(q->method))
		return false;
	if (has_control(q->url) || strchr(q->url, ' ') || !authority)
		return false;
	authority += strlen("://");
	if (memchr(authority, '@', strcspn(authority, "/?#")))
		return false;
	for (const char *const *p = q->headers; p && *p; p++) {
		const char *colon = strchr(*p, ':');

		/* without a value libcurl takes the header away */
		if (has_control(*p) || !colon || colon == *p || !colon[1 + strspn(colon + 1, " ")])
			return false;
	}
	return q->has_body || q->body.len == 0;
}

static int make_headers(const struct http_request *q, struct curl_slist **ret)
{
	struct curl_slist *all = curl_slist_append(NULL, "Expect:"), *more = all;

	for (const char *const *p = q->headers; more && p && *p; p++)
		more = curl_slist_append(all, *p);
	if (!more) {
		curl_slist_free_all(all);
		return -ENOMEM;
	}
	*ret = all;
	return 0;
}

/* Keeps the first thing that went wrong; options differ in the type of their value. */
#define SET(option, value)                                                      \
	do {                                                                    \
		if (c == CURLE_OK)                                              \
			c = curl_easy_setopt(x->easy, CURLOPT_##option, value); \
	} while (0)

static CURLcode set_rules(struct exchange *x)
{
	CURLcode c = CURLE_OK;

	SET(NOSIGNAL, 1L);
	SET(QUICK_EXIT, 1L); /* a name server that hangs holds nobody up */
	SET(PROTOCOLS_STR, "http,https");
	SET(FOLLOWLOCATION, 0L);
	SET(DISALLOW_USERNAME_IN_URL, 1L);
	SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(PATH_AS_IS, 1L); /* what is signed is what is sent */
	SET(SUPPRESS_CONNECT_HEADERS, 1L);
	SET(CONNECTTIMEOUT_MS, (long)CONNECT_MS);
	SET(MAXAGE_CONN, (long)LINE_IDLE_S);
	SET(BUFFERSIZE, (long)BUFFER);
	SET(UPLOAD_BUFFERSIZE, (long)BUFFER);
	return c;
}

static CURLcode set_request(struct exchange *x, struct curl_slist *headers)
{
	const struct http_request *q = x->q;
	CURLcode c = CURLE_OK;

	SET(URL, q->url);
	SET(HTTPHEADER, headers);
	if (q->has_body) {
		SET(UPLOAD, 1L);
		SET(INFILESIZE_LARGE, (curl_off_t)q->body.len);
		SET(READFUNCTION, next_of_body);
		SET(READDATA, x);
		SET(SEEKFUNCTION, rewind_body);
		SET(SEEKDATA, x);
	}
	if (strcmp(q->method, "HEAD") == 0)
		SET(NOBODY, 1L);
	else
		SET(CUSTOMREQUEST, q->method);
	SET(PREREQFUNCTION, may_be_sent);
	SET(PREREQDATA, x);
	SET(HEADERFUNCTION, count_header);
	SET(HEADERDATA, x);
	SET(WRITEFUNCTION, take_body);
	SET(WRITEDATA, x);
	SET(OPENSOCKETFUNCTION, line_open_socket);
	SET(OPENSOCKETDATA, x->line);
	SET(ERRORBUFFER, x->text);
	return c;
}

/* --- the reply --- */

/* The value of a header of the last reply, valid until the next exchange; NULL: none. */
static const char *header(const struct exchange *x, const char *name)
{
	struct curl_header *h;

	if (curl_easy_header(x->easy, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
		return NULL;
	return h->value;
}

/* A header that cannot be kept whole is as good as none. */
static void copy_word(const struct exchange *x, const char *name, char *to, size_t size)
{
	const char *value = header(x, name), *p = value;

	to[0] = '\0';
	while (p && *p > ' ' && *p < 0x7f)
		p++;
	if (p && *p == '\0' && (size_t)(p - value) < size)
		snprintf(to, size, "%s", value);
}

static const char *skip_number(const char *s, char end, uint64_t *ret)
{
	char digits[24];
	size_t n = strspn(s, "0123456789");

	if (n >= sizeof(digits) || s[n] != end)
		return NULL;
	memcpy(digits, s, n);
	digits[n] = '\0';
	return parse_u64(digits, ret) < 0 ? NULL : s + n + (end != '\0');
}

/* "bytes 0-9/100"; where the whole's size is not said the reply is of no use. */
static bool parse_range(const char *s, struct http_reply *r)
{
	if (!s || strncasecmp(s, "bytes ", 6) != 0)
		return false;
	s = skip_number(s + 6, '-', &r->range_first);
	s = s ? skip_number(s, '/', &r->range_last) : NULL;
	s = s ? skip_number(s, '\0', &r->range_total) : NULL;
	return s && r->range_first <= r->range_last && r->range_last < r->range_total;
}

static int retry_after(const char *s)
{
	uint64_t seconds;

	if (!s || !skip_number(s, '\0', &seconds))
		return -1;
	return (int)MIN(seconds, (uint64_t)INT_MAX);
}

static int read_reply(struct exchange *x)
{
	struct http_reply *r = &x->reply;
	const char *length = header(x, "Content-Length"), *date = header(x, "Date");
	long status = 0;

	curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
	if (!x->has_headers)
		return fail(x, -ECONNRESET, "the connection ended within the reply's headers");
	if (status < 100 || status > 599)
		return fail(x, -EPROTO, "the reply has no status");
	r->status = (int)status;
	/* with a transfer encoding a length is not to be believed (RFC 9112, section 6.3) */
	if (length && !header(x, "Transfer-Encoding"))
		r->has_length = skip_number(length, '\0', &r->length);
	r->has_range = parse_range(header(x, "Content-Range"), r);
	if (date)
		r->date = MAX((int64_t)curl_getdate(date, NULL), (int64_t)0);
	r->retry_after_s = retry_after(header(x, "Retry-After"));
	copy_word(x, "ETag", r->etag, sizeof(r->etag));
	copy_word(x, "x-amz-request-id", r->request_id, sizeof(r->request_id));
	if (status == 206 && r->has_range && strcmp(x->q->method, "HEAD") != 0 &&
	    r->body_len != r->range_last - r->range_first + 1)
		return fail(x, -EPROTO, "the range is not as long as it says");
	return 0;
}

/* --- an exchange --- */

static int to_errno(const struct exchange *x, CURLcode c)
{
	if (x->fault < 0)
		return x->fault;
	switch (c) {
	case CURLE_OK:
		return 0;
	case CURLE_URL_MALFORMAT:
		return -EINVAL;
	case CURLE_OUT_OF_MEMORY:
		/* also what libcurl calls a header line above 100 KiB, which is likelier once
		 * there is a reply */
		return x->times > 0 ? -EPROTO : -ENOMEM;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_CONNECT:
	case CURLE_PROXY:
		return -EHOSTUNREACH;
	case CURLE_OPERATION_TIMEDOUT:
		return x->times > 0 ? -ECONNRESET : -EHOSTUNREACH;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
		return -EKEYREJECTED;
	case CURLE_SSL_CONNECT_ERROR:
		return trust_is_refused(x->text) ? -EPROTONOSUPPORT : -ECONNRESET;
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_FAIL_REWIND:
		return -ECONNRESET;
	case CURLE_UNSUPPORTED_PROTOCOL: /* as it calls HTTP/0.9, which is any bytes */
		return -EPROTONOSUPPORT;
	default:
		return -EPROTO;
	}
}

/* Bytes of the body that the peer's kernel has. */
static uint64_t acknowledged(const struct exchange *x)
{
	uint64_t waiting = line_unacknowledged(x->line);
	curl_off_t written = 0;

	curl_easy_getinfo(x->easy, CURLINFO_SIZE_UPLOAD_T, &written);
	return written > 0 && (uint64_t)written > waiting ? (uint64_t)written - waiting : 0;
}

/* Is it worth waiting on? 0, -ECONNRESET, -ETIME. */
static int watch(struct exchange *x)
{
	const struct http_request *q = x->q;
	uint64_t sent = acknowledged(x);
	uint64_t got = x->header_bytes + x->reply.body_len + x->error_bytes;
	bool is_thinking = sent >= q->body.len && got == 0 && line_unacknowledged(x->line) == 0;
	int64_t now = now_ns();
	int patience_ms = is_thinking || (q->is_drip_fed && got > 0)
				  ? MAX(q->patience_ms, (int)SLOW_MS)
				  : SLOW_MS;

	if (x->times == 0) { /* libcurl's own rule for connecting */
		x->quiet_since_ns = now;
		return 0;
	}
	if (q->progress && sent > q->progress->most)
		*q->progress = (struct http_progress){ sent, now };
	if (sent + got >= x->quiet_mark + SLOW_BYTES || is_thinking != x->is_thinking) {
		x->quiet_since_ns = now;
		x->quiet_mark = sent + got;
		x->is_thinking = is_thinking;
	}
	if (!is_thinking && q->progress && now - q->progress->at_ns > HTTP_STILL_MS * 1000000ll)
		return -ETIME;
	if (now - x->quiet_since_ns > patience_ms * 1000000ll)
		return fail(x, -ECONNRESET,
			    is_thinking ? "the server does not answer" : "the connection stalls");
	return 0;
}

/* Until it has ended: 0 and how. Else why it was left. */
static int run(struct exchange *x, const struct deadline *dl, CURLcode *ret)
{
	struct line *l = x->line;
	const struct CURLMsg *m;
	int running, left;

	x->quiet_since_ns = now_ns();
	do {
		int64_t ms = STEP_MS;
		int r = deadline_check(dl);

		if (r < 0)
			return r;
		if (curl_multi_perform(l->multi, &running) != CURLM_OK)
			return -ENOMEM;
		if (dl && dl->at_ns != INT64_MAX)
			ms = CLAMP((dl->at_ns - now_ns()) / 1000000 + 1, (int64_t)0, ms);
		if (running && curl_multi_poll(l->multi, NULL, 0, (int)ms, NULL) != CURLM_OK)
			return -ENOMEM;
		r = watch(x);
		if (r < 0)
			return r;
	} while (running);
	m = curl_multi_info_read(l->multi, &left);
	if (!m || m->msg != CURLMSG_DONE)
		return -ENOMEM;
	*ret = m->data.result;
	return 0;
}

/* Logs it: the request without its query, where a signature might be. */
static int complain(const struct exchange *x, int r)
{
	char name[NAME_LEN], text[CURL_ERROR_SIZE];
	const char *why = x->why ? x->why : x->text[0] ? x->text : errno_text(r);

	if (r == -ECANCELED || r == -ETIME)
		return r;
	snprintf(name, sizeof(name), "%s %.*s", x->q->method, (int)strcspn(x->q->url, "?#"),
		 x->q->url);
	snprintf(text, sizeof(text), "%s", why);
	for (char *p = text; *p; p++) /* libcurl may quote the server */
		if (*p < ' ' || *p > '~')
			*p = '?';
	return log_fail(r, "%s: %s", name, text);
}

/* 0: a reply is in @x; *@ret_is_clean: and the line can be used again. */
static int exchange_on(struct exchange *x, struct curl_slist *headers, const struct deadline *dl,
		       bool *ret_is_clean)
{
	struct line *l = x->line;
	CURLcode c;
	int r;

	c = set_rules(x);
	if (c == CURLE_OK)
		c = set_request(x, headers);
	if (c != CURLE_OK)
		return to_errno(x, c);
	if (curl_multi_add_handle(l->multi, l->easy) != CURLM_OK)
		return -ENOMEM;
	r = run(x, dl, &c);
	if (r == 0 && !x->has_enough)
		r = to_errno(x, c);
	if (r == 0)
		r = read_reply(x);
	curl_multi_remove_handle(l->multi, l->easy);
	if (r == 0)
		*ret_is_clean = c == CURLE_OK;
	return r;
}

/* Takes the last exchange's settings off the line, and says whom this one may believe. */
static int prepare(struct http *h, struct exchange *x, void **ret_trusted)
{
	curl_easy_reset(x->easy);
	if (strncasecmp(x->q->url, "https:", strlen("https:")) != 0)
		return 0;
	return trust_use(&h->trust, x->easy, x->text, ret_trusted);
}

int http_exchange(struct http *h, const struct http_request *q, const struct deadline *dl,
		  struct http_reply *ret, bool *ret_sent)
{
	_cleanup_(line_freep) struct line *l = NULL;
	struct exchange x = { .q = q, .reply.retry_after_s = -1 };
	size_t out_len = q->out ? q->out->len : 0;
	struct curl_slist *headers = NULL;
	bool is_clean = false;
	void *trusted = NULL;
	int r;

	*ret_sent = false;
	if (!is_sendable(q))
		return log_fail(-EINVAL, "a request that cannot be sent: its method, URL or a "
					 "header is malformed");
	r = deadline_check(dl);
	if (r < 0)
		return r;
	r = make_headers(q, &headers);
	if (r < 0)
		return r;
	l = lines_take(&h->lines);
	x.line = l;
	x.easy = l ? l->easy : NULL;
	r = l ? prepare(h, &x, &trusted) : -ENOMEM;
	if (r == 0)
		r = exchange_on(&x, headers, dl, &is_clean);
	if (is_clean) {
		curl_easy_reset(l->easy); /* it points to what ends here */
		lines_give_back(&h->lines, TAKE_PTR(l));
	} else if (l) {
		line_free(TAKE_PTR(l));
	}
	curl_slist_free_all(headers);
	trust_done(trusted);
	if (r == -EKEYREJECTED)
		trust_doubt(&h->trust);
	*ret_sent = x.is_sent_whole;
	if (r == 0) {
		*ret = x.reply;
		return 0;
	}
	http_reply_release(&x.reply);
	if (q->out)
		q->out->len = out_len;
	return complain(&x, r);
}
