/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * HTTP exchanges with a server that plays a script: one act for each request that comes, over
 * whichever connection. Each connection has a thread.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"
#include "check.h"
#include "s3/http.h"

enum {
	CONNECTIONS_MAX = 8,
	REQUEST_MAX = 8192,
	LET_GO_MS = 500,
};

enum after {
	KEEP,
	CLOSE,
	STALL, /* until the server is stopped */
	RESET, /* instead of reading the body */
};

struct act {
	const char *bytes;
	enum after after;
	size_t len; /* 0: strlen() */
};

struct server {
	const struct act *acts;
	size_t count;
	int listener, port;
	pthread_t acceptor, threads[CONNECTIONS_MAX];
	int fds[CONNECTIONS_MAX];
	pthread_mutex_t lock;
	size_t requests, connections; /* guarded by lock, as all below */
	char last[REQUEST_MAX]; /* the last request's head */
	size_t body_len; /* of it, as it came */
	uint8_t body_sum;
	char url[64];
};

struct seat {
	struct server *s;
	int fd;
};

/* Reads a head, and of the body what @after allows. False at the end of the connection. */
static bool read_request(struct server *s, int fd, enum after after)
{
	char head[REQUEST_MAX] = "";
	size_t len = 0, want = 0, got = 0;
	uint8_t sum = 0;
	const char *p;

	while (!strstr(head, "\r\n\r\n")) {
		if (len + 1 >= sizeof(head) || read(fd, head + len, 1) != 1)
			return false;
		head[++len] = '\0';
	}
	p = strstr(head, "Content-Length: ");
	if (p)
		want = strtoul(p + 16, NULL, 10);
	while (after != RESET && got < want) {
		uint8_t buf[65536];
		ssize_t n = read(fd, buf, MIN(sizeof(buf), want - got));

		if (n <= 0)
			return false;
		for (ssize_t i = 0; i < n; i++)
			sum += buf[i];
		got += (size_t)n;
	}
	WITH_LOCK(&s->lock);
	memcpy(s->last, head, sizeof(head));
	s->body_len = got;
	s->body_sum = sum;
	return true;
}

/* The act that is next is known before its request is read: KEEP if there is none. */
static void *serve(void *arg)
{
	struct seat seat = *(struct seat *)arg;
	struct server *s = seat.s;
	struct act a = { 0 };

	free(arg);
	do {
		size_t at;

		pthread_mutex_lock(&s->lock);
		at = s->requests;
		pthread_mutex_unlock(&s->lock);
		if (!read_request(s, seat.fd, at < s->count ? s->acts[at].after : KEEP))
			break;
		pthread_mutex_lock(&s->lock);
		at = s->requests++;
		a = at < s->count ? s->acts[at] : (struct act){ "", CLOSE };
		pthread_mutex_unlock(&s->lock);
		for (size_t off = 0, len = a.len ? a.len : strlen(a.bytes); off < len;) {
			ssize_t n = send(seat.fd, a.bytes + off, len - off, MSG_NOSIGNAL);

			if (n <= 0)
				break;
			off += (size_t)n;
		}
		if (a.after == STALL)
			poll(&(struct pollfd){ .fd = seat.fd, .events = POLLRDHUP }, 1, -1);
	} while (a.after == KEEP);
	if (a.after == RESET) /* without freeing the number, which server_stop() does */
		connect(seat.fd, &(struct sockaddr){ .sa_family = AF_UNSPEC },
			sizeof(struct sockaddr));
	else
		shutdown(seat.fd, SHUT_RDWR);
	return NULL;
}

static void *accept_all(void *arg)
{
	struct server *s = arg;
	int fd;

	while ((fd = accept(s->listener, NULL, NULL)) >= 0) {
		struct seat *seat = new0(struct seat, 1);

		WITH_LOCK(&s->lock);
		if (s->connections == CONNECTIONS_MAX)
			abort();
		*seat = (struct seat){ s, fd };
		s->fds[s->connections] = fd;
		thread_start(&s->threads[s->connections++], "server", serve, seat);
	}
	return NULL;
}

static void server_start(struct server *s, const struct act *acts, size_t count)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);

	*s = (struct server){ .acts = acts, .count = count };
	pthread_mutex_init(&s->lock, NULL);
	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_ok(bind(s->listener, (struct sockaddr *)&a, len));
	assert_ok(listen(s->listener, 16));
	assert_ok(getsockname(s->listener, (struct sockaddr *)&a, &len));
	s->port = ntohs(a.sin_port);
	snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%d/b/k", s->port);
	assert_ok(thread_start(&s->acceptor, "accept", accept_all, s));
}

static void server_stop(struct server *s)
{
	shutdown(s->listener, SHUT_RDWR);
	pthread_join(s->acceptor, NULL);
	for (size_t i = 0; i < s->connections; i++)
		shutdown(s->fds[i], SHUT_RDWR);
	for (size_t i = 0; i < s->connections; i++) {
		pthread_join(s->threads[i], NULL);
		close(s->fds[i]);
	}
	close(s->listener);
}

static size_t requests_of(struct server *s)
{
	WITH_LOCK(&s->lock);
	return s->requests;
}

/* A server, a client, and an exchange's results. */
struct stand {
	struct server s;
	struct http *h;
	struct http_reply reply;
	struct buf out;
	bool was_sent;
};

static void stand_begin(struct stand *t, const struct act *acts, size_t count)
{
	*t = (struct stand){ 0 };
	server_start(&t->s, acts, count);
	assert_ok(http_new(NULL, &t->h));
}

static void stand_end(struct stand *t)
{
	http_free(t->h);
	server_stop(&t->s);
	http_reply_release(&t->reply);
	buf_release(&t->out);
}

/* @body NULL: none. At most 64 bytes are taken. */
static int ask(struct stand *t, const char *method, const char *body, const struct deadline *dl)
{
	struct http_request q = {
		.method = method,
		.url = t->s.url,
		.body = body ? span_str(body) : (struct span){ 0 },
		.has_body = body,
		.max = 64,
		.out = &t->out,
	};

	http_reply_release(&t->reply);
	t->reply = (struct http_reply){ 0 };
	buf_clear(&t->out);
	return http_exchange(t->h, &q, dl, &t->reply, &t->was_sent);
}

#define OK_HI "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

static void a_reply_is_read_whole(void **state)
{
	static const struct act acts[] = { {
		"HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nETag: \"abc\"\r\n"
		"Content-Range: bytes 10-14/100\r\nDate: Thu, 01 Jan 1970 00:01:40 GMT\r\n"
		"x-amz-request-id: R1\r\nRetry-After: 7\r\n\r\nhello",
	} };
	struct stand t;
	uint8_t into[5];
	struct http_request q = { .method = "GET", .into = into, .max = sizeof(into) };
	static const char *const headers[] = { "Range: bytes=10-14", "X-A: b", NULL };

	stand_begin(&t, acts, 1);
	q.url = t.s.url;
	q.headers = headers;
	assert_ok(http_exchange(t.h, &q, NULL, &t.reply, &t.was_sent));
	assert_memory_equal(into, "hello", 5);
	assert_int_equal(t.reply.status, 206);
	assert_int_equal(t.reply.body_len, 5);
	assert_true(t.reply.has_length && t.reply.has_range && t.was_sent);
	assert_int_equal(t.reply.length, 5);
	assert_int_equal(t.reply.range_first, 10);
	assert_int_equal(t.reply.range_last, 14);
	assert_int_equal(t.reply.range_total, 100);
	assert_int_equal(t.reply.date, 100);
	assert_int_equal(t.reply.retry_after_s, 7);
	assert_string_equal(t.reply.etag, "\"abc\"");
	assert_string_equal(t.reply.request_id, "R1");
	assert_non_null(strstr(t.s.last, "GET /b/k HTTP/1.1\r\n"));
	assert_non_null(strstr(t.s.last, "\r\nRange: bytes=10-14\r\nX-A: b\r\n"));
	assert_null(strstr(t.s.last, "Accept-Encoding"));
	assert_null(strstr(t.s.last, "Expect"));
	stand_end(&t);
}

static void replies_are_judged(void **state)
{
	static const struct {
		const char *bytes;
		enum after after;
		int r, status;
		const char *body;
	} cases[] = {
		{ OK_HI, KEEP, 0, 200, "hi" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		  "1\r\nh\r\n1;x=y\r\ni\r\n0\r\nETag: \"t\"\r\n\r\n",
		  KEEP, 0, 200, "hi" },
		{ "HTTP/1.1 100 Continue\r\nETag: \"x\"\r\n\r\n" OK_HI, KEEP, 0, 200, "hi" },
		{ "HTTP/1.1 204 No Content\r\n\r\n", KEEP, 0, 204, "" },
		{ "HTTP/1.1 200 OK\r\n\r\nhi", CLOSE, 0, 200, "hi" },
		{ "HTTP/1.0 200 OK\r\n\r\nhi", CLOSE, 0, 200, "hi" },
		/* the redirect would be the next act */
		{ "HTTP/1.1 307 X\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n", KEEP, 0, 307,
		  "" },
		{ "HTTP/1.1 404 X\r\nContent-Length: 2\r\n\r\nno", KEEP, 0, 404, "" },
		/* cut */
		{ "", CLOSE, -ECONNRESET },
		{ "", RESET, -ECONNRESET },
		{ "HTTP/1.1 200 OK\r\nContent-Le", CLOSE, -ECONNRESET },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", CLOSE, -ECONNRESET },
		{ "HTTP/1.1 404 X\r\nContent-Length: 3\r\n\r\nhi", CLOSE, -ECONNRESET },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi", CLOSE,
		  -ECONNRESET },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", CLOSE,
		  -ECONNRESET },
		{ "HTTP/1.1 100 Continue\r\n\r\n", CLOSE, -ECONNRESET },
		/* nonsense */
		{ "SSH-2.0-OpenSSH_9.2\r\n\r\n", CLOSE, -EPROTONOSUPPORT },
		{ "\x16\x03\x01\x02garbage\n\n\n", CLOSE, -EPROTONOSUPPORT },
		{ "HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n", KEEP, -EPROTO },
		{ "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhi", CLOSE, -EPROTO },
		{ "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhi", CLOSE, -EPROTO },
		{ "HTTP/1.1 206 X\r\nContent-Length: 2\r\nContent-Range: bytes 0-2/9\r\n\r\nhi",
		  KEEP, -EPROTO },
		/* 65 bytes, said or not */
		{ "HTTP/1.1 200 OK\r\nContent-Length: 65\r\n\r\n"
		  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdefx",
		  KEEP, -EFBIG },
		{ "HTTP/1.1 200 OK\r\n\r\n"
		  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdefx",
		  CLOSE, -EFBIG },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct act act = { cases[i].bytes, cases[i].after };
		struct stand t;
		int r;

		stand_begin(&t, &act, 1);
		complaint_clear();
		r = ask(&t, "GET", NULL, NULL);
		if (r != cases[i].r || t.reply.status != cases[i].status)
			fail_msg("case %zu: %d, status %d, %s", i, r, t.reply.status, complaint());
		assert_true(t.was_sent);
		assert_int_equal(requests_of(&t.s), 1);
		if (r == 0 && !span_equal(buf_span(&t.out), span_str(cases[i].body)))
			fail_msg("case %zu: %zu bytes", i, t.out.len);
		if (r < 0) {
			assert_int_equal(t.out.len, 0);
			assert_non_null(strstr(complaint(), "GET http://127.0.0.1:"));
		} else {
			assert_string_equal(t.reply.etag, "");
		}
		stand_end(&t);
	}
}

static void content_range_must_be_whole_and_sound(void **state)
{
	static const char *const bad[] = { "bytes 0-1/*",
					   "bytes */9",
					   "bytes 1-0/9",
					   "bytes 0-9/9",
					   "bytes -1/9",
					   "lines 0-1/9",
					   "bytes 0-1/9x",
					   "bytes 0-1",
					   "",
					   "bytes 0-18446744073709551616/9" };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_free_ char *bytes = strf("HTTP/1.1 206 X\r\nContent-Length: 2\r\n"
						  "Content-Range: %s\r\n\r\nhi",
						  bad[i]);
		const struct act act = { bytes, KEEP };
		struct stand t;

		stand_begin(&t, &act, 1);
		assert_ok(ask(&t, "GET", NULL, NULL));
		if (t.reply.has_range)
			fail_msg("'%s' is taken", bad[i]);
		stand_end(&t);
	}
}

static void headers_that_cannot_be_kept_are_none(void **state)
{
	_cleanup_free_ char *bytes =
		strf("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"%0*d\"\r\n"
		     "x-amz-request-id: a\033[2Jb\r\nDate: yesterday\r\nRetry-After: soon\r\n\r\n",
		     66, 0);
	const struct act act = { bytes, KEEP };
	struct stand t;

	stand_begin(&t, &act, 1);
	assert_ok(ask(&t, "GET", NULL, NULL));
	assert_string_equal(t.reply.etag, "");
	assert_string_equal(t.reply.request_id, "");
	assert_int_equal(t.reply.date, 0);
	assert_int_equal(t.reply.retry_after_s, -1);
	stand_end(&t);
}

static void headers_without_end_are_refused(void **state)
{
	static const char head[] = "HTTP/1.1 200 OK\r\n";
	struct buf many = { 0 }, interim = { 0 }, one = { 0 };
	struct buf *const all[] = { &many, &interim, &one };

	buf_put(&many, head, strlen(head));
	for (int i = 0; i < 20000; i++)
		buf_printf(&many, "X-%d: y\r\n", i);
	for (int i = 0; i < 10000; i++)
		buf_printf(&interim, "HTTP/1.1 100 Continue\r\n\r\n");
	buf_printf(&one, "%sX: %0*d\r\n", head, 300000, 0);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		const struct act act = { (char *)all[i]->data, CLOSE, all[i]->len };
		struct stand t;
		int r;

		stand_begin(&t, &act, 1);
		r = ask(&t, "GET", NULL, NULL);
		if (r != -EPROTO)
			fail_msg("case %zu: %d: %s", i, r, complaint());
		stand_end(&t);
		buf_release(all[i]);
	}
}

static void of_an_errors_body_the_first_64_KiB_are_kept(void **state)
{
	_cleanup_free_ char *bytes =
		strf("HTTP/1.1 503 X\r\nContent-Length: 1000000\r\n\r\n%0*d", 1000000, 0);
	const struct act acts[] = { { bytes, KEEP }, { OK_HI, KEEP } };
	struct stand t;

	stand_begin(&t, acts, 2);
	assert_ok(ask(&t, "GET", NULL, NULL));
	assert_int_equal(t.reply.status, 503);
	assert_int_equal(t.reply.error.len, 65536);
	assert_int_equal(t.out.len, 0);
	/* what was not read does not get into the next reply */
	assert_ok(ask(&t, "GET", NULL, NULL));
	assert_memory_equal(t.out.data, "hi", 2);
	assert_int_equal(t.s.connections, 2);
	stand_end(&t);
}

static void a_body_is_sent_whole_and_with_its_length(void **state)
{
	static const size_t sizes[] = { 0, 1, 65536, 3000000 };
	static const struct act act = { "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", KEEP };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		_cleanup_free_ char *body = malloc(sizes[i] + 1);
		_cleanup_free_ char *want = strf("\r\nContent-Length: %zu\r\n", sizes[i]);
		const char *const methods[] = { "PUT", "POST" };

		memset(body, 3, sizes[i]);
		body[sizes[i]] = '\0';
		for (size_t k = 0; k < 2; k++) {
			struct stand t;

			stand_begin(&t, &act, 1);
			assert_ok(ask(&t, methods[k], body, NULL));
			assert_true(t.was_sent);
			assert_int_equal(t.s.body_len, sizes[i]);
			assert_int_equal(t.s.body_sum, (uint8_t)(3 * sizes[i]));
			assert_int_equal(strncmp(t.s.last, methods[k], strlen(methods[k])), 0);
			assert_non_null(strstr(t.s.last, want));
			assert_null(strstr(t.s.last, "Expect"));
			assert_null(strstr(t.s.last, "Content-Type"));
			stand_end(&t);
		}
	}
}

static void head_has_a_length_and_no_body(void **state)
{
	static const struct act acts[] = { { "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n" },
					   { OK_HI } };
	struct stand t;

	stand_begin(&t, acts, 2);
	assert_ok(ask(&t, "HEAD", NULL, NULL));
	assert_true(t.reply.has_length);
	assert_int_equal(t.reply.length, 77);
	assert_int_equal(t.reply.body_len, 0);
	assert_ok(ask(&t, "DELETE", NULL, NULL));
	assert_int_equal(strncmp(t.s.last, "DELETE ", 7), 0);
	assert_int_equal(t.s.connections, 1);
	stand_end(&t);
}

static void a_connection_is_used_again_after_a_whole_reply(void **state)
{
	static const struct act acts[] = { { OK_HI },
					   { "HTTP/1.1 404 X\r\nContent-Length: 2\r\n\r\nno" },
					   { OK_HI },
					   { OK_HI, CLOSE },
					   { OK_HI } };
	struct stand t;

	stand_begin(&t, acts, ARRAY_SIZE(acts));
	for (int i = 0; i < 4; i++)
		assert_ok(ask(&t, i % 2 ? "GET" : "PUT", i % 2 ? NULL : "x", NULL));
	assert_int_equal(t.s.connections, 1);
	/* the server has closed it: another is made */
	usleep(20000);
	assert_ok(ask(&t, "PUT", "x", NULL));
	assert_int_equal(t.s.connections, 2);
	assert_int_equal(requests_of(&t.s), 5);
	stand_end(&t);
}

static void what_may_have_had_its_effect_is_not_sent_again(void **state)
{
	static const struct {
		const char *method, *body;
		bool is_sent_again;
	} cases[] = {
		{ "GET", NULL, true },	   { "HEAD", NULL, true }, { "PUT", "x", false },
		{ "PUT", "", false },	   { "POST", "x", false }, { "POST", "", false },
		{ "DELETE", NULL, false },
	};
	/* the second comes over a used connection, which then ends without a word */
	static const struct act acts[] = { { OK_HI }, { "", CLOSE }, { OK_HI, CLOSE } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct stand t;
		int r;

		stand_begin(&t, acts, ARRAY_SIZE(acts));
		assert_ok(ask(&t, "GET", NULL, NULL));
		r = ask(&t, cases[i].method, cases[i].body, NULL);
		if (r != (cases[i].is_sent_again ? 0 : -ECONNRESET) || !t.was_sent ||
		    requests_of(&t.s) != (cases[i].is_sent_again ? 3 : 2))
			fail_msg("case %zu: %d, %zu requests", i, r, requests_of(&t.s));
		stand_end(&t);
	}
}

static void a_body_that_was_cut_is_not_sent(void **state)
{
	static const struct act acts[] = { { "", RESET } };
	_cleanup_free_ char *body = strf("%0*d", 50000000, 0);
	struct stand t;

	stand_begin(&t, acts, 1);
	assert_int_equal(ask(&t, "PUT", body, NULL), -ECONNRESET);
	assert_false(t.was_sent);
	stand_end(&t);
}

static void *cancel_soon(void *flag)
{
	usleep(LET_GO_MS * 1000);
	atomic_store((atomic_bool *)flag, true);
	return NULL;
}

static void who_waits_no_longer_is_let_go(void **state)
{
	static const char *const stalls[] = { "", "HTTP/1.1 200 OK\r\nConte",
					      "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi" };

	for (size_t i = 0; i < 2 * ARRAY_SIZE(stalls); i++) {
		const struct act acts[] = { { stalls[i / 2], STALL }, { OK_HI } };
		struct deadline dl;
		atomic_bool cancelled = false;
		pthread_t canceller;
		struct stand t;
		int64_t begun;

		stand_begin(&t, acts, 2);
		begun = now_ns();
		dl = deadline_in_ms(LET_GO_MS);
		if (i % 2)
			dl = (struct deadline){ INT64_MAX, &cancelled };
		assert_ok(thread_start(&canceller, "cancel", cancel_soon, &cancelled));
		assert_int_equal(ask(&t, "PUT", "x", &dl), i % 2 ? -ECANCELED : -ETIME);
		assert_in_range(now_ns() - begun, LET_GO_MS * 800000ll, 5000000000ll);
		assert_true(t.was_sent);
		assert_int_equal(t.out.len, 0);
		pthread_join(canceller, NULL);
		/* its connection is not the next one's */
		assert_ok(ask(&t, "PUT", "x", NULL));
		assert_int_equal(t.s.connections, 2);
		/* nothing is begun for who is late already */
		dl = deadline_in_ms(-1);
		assert_int_equal(ask(&t, "PUT", "x", &dl), -ETIME);
		assert_false(t.was_sent);
		assert_int_equal(requests_of(&t.s), 2);
		stand_end(&t);
	}
}

static void who_cannot_be_reached_was_sent_nothing(void **state)
{
	struct stand t;

	stand_begin(&t, NULL, 0);
	shutdown(t.s.listener, SHUT_RDWR);
	assert_int_equal(ask(&t, "PUT", "x", NULL), -EHOSTUNREACH);
	assert_false(t.was_sent);
	/* RFC 6761: never a name */
	snprintf(t.s.url, sizeof(t.s.url), "http://nowhere.invalid/b/k");
	assert_int_equal(ask(&t, "PUT", "x", NULL), -EHOSTUNREACH);
	assert_false(t.was_sent);
	stand_end(&t);
}

static void what_would_be_another_request_is_not_sent(void **state)
{
	static const struct {
		const char *method, *url, *header;
	} bad[] = {
		{ "GET", "http://127.0.0.1:1/a b", NULL },
		{ "GET", "http://127.0.0.1:1/a\r\nX: y", NULL },
		{ "GET", "file:///etc/passwd", NULL },
		{ "GET", "/a", NULL },
		{ "GET", "http://", NULL },
		{ "GET", "http://me:secret@127.0.0.1:1/", NULL },
		{ "GE T", "http://127.0.0.1:1/", NULL },
		{ "", "http://127.0.0.1:1/", NULL },
		{ "GET", "http://127.0.0.1:1/", "X: y\r\nZ: secret" },
		{ "GET", "http://127.0.0.1:1/", "X" },
		{ "GET", "http://127.0.0.1:1/", "X: " },
		{ "GET", "http://127.0.0.1:1/", ": y" },
	};
	struct http *h;

	assert_ok(http_new(NULL, &h));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *const headers[] = { bad[i].header, NULL };
		struct http_request q = { .method = bad[i].method,
					  .url = bad[i].url,
					  .headers = headers };
		struct http_reply reply;
		bool was_sent = true;
		int r = http_exchange(h, &q, NULL, &reply, &was_sent);

		if ((r != -EINVAL && r != -EPROTONOSUPPORT) || was_sent)
			fail_msg("case %zu: %d: %s", i, r, complaint());
		assert_null(strstr(complaint(), "secret"));
	}
	http_free(h);
}

static void a_complaint_has_neither_query_nor_headers(void **state)
{
	static const struct act acts[] = { { "", CLOSE } };
	static const char *const headers[] = { "Authorization: secret", NULL };
	struct stand t;
	char url[128];
	struct http_request q = { .method = "GET", .url = url, .headers = headers };

	stand_begin(&t, acts, 1);
	snprintf(url, sizeof(url), "%s?X-Amz-Signature=secret", t.s.url);
	assert_int_equal(http_exchange(t.h, &q, NULL, &t.reply, &t.was_sent), -ECONNRESET);
	assert_non_null(strstr(complaint(), t.s.url));
	assert_null(strstr(complaint(), "secret"));
	stand_end(&t);
}

static void a_path_is_sent_as_it_is(void **state)
{
	static const struct act acts[] = { { OK_HI } };
	struct stand t;
	char url[128];
	struct http_request q = { .method = "GET", .url = url };

	stand_begin(&t, acts, 1);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/a/../b//%%2e?x=%%2F", t.s.port);
	assert_ok(http_exchange(t.h, &q, NULL, &t.reply, &t.was_sent));
	assert_int_equal(strncmp(t.s.last, "GET /a/../b//%2e?x=%2F HTTP/1.1\r\n", 33), 0);
	assert_int_equal(t.reply.body_len, 2);
	stand_end(&t);
}

static void a_ca_file_that_is_none_is_named(void **state)
{
	struct http_request q = { .method = "GET", .url = "https://127.0.0.1:1/" };
	struct stand t;
	struct http *h;
	char url[64];

	stand_begin(&t, NULL, 0);
	snprintf(url, sizeof(url), "https://127.0.0.1:%d/", t.s.port);
	q.url = url;
	assert_ok(http_new("/nonexistent/ca.pem", &h));
	assert_int_equal(http_exchange(h, &q, NULL, &t.reply, &t.was_sent), -EKEYREJECTED);
	assert_non_null(strstr(complaint(), "/nonexistent/ca.pem"));
	assert_false(t.was_sent);
	http_free(h);
	stand_end(&t);
}

static void *ask_often(void *arg)
{
	struct stand *t = arg;

	for (int i = 0; i < 50; i++) {
		uint8_t into[2] = { 0 };
		struct http_request q = {
			.method = "GET", .url = t->s.url, .into = into, .max = 2
		};
		struct http_reply reply;
		bool was_sent;

		if (http_exchange(t->h, &q, NULL, &reply, &was_sent) < 0 ||
		    memcmp(into, "hi", 2) != 0)
			return t;
		http_reply_release(&reply);
	}
	return NULL;
}

static void threads_share_no_more_connections_than_they_are(void **state)
{
	struct act acts[200];
	pthread_t threads[4];
	struct stand t;

	for (size_t i = 0; i < ARRAY_SIZE(acts); i++)
		acts[i] = (struct act){ OK_HI };
	stand_begin(&t, acts, ARRAY_SIZE(acts));
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_ok(thread_start(&threads[i], "ask", ask_often, &t));
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	assert_int_equal(requests_of(&t.s), 200);
	assert_in_range(t.s.connections, 1, 4);
	stand_end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reply_is_read_whole),
		cmocka_unit_test(replies_are_judged),
		cmocka_unit_test(content_range_must_be_whole_and_sound),
		cmocka_unit_test(headers_that_cannot_be_kept_are_none),
		cmocka_unit_test(headers_without_end_are_refused),
		cmocka_unit_test(of_an_errors_body_the_first_64_KiB_are_kept),
		cmocka_unit_test(a_body_is_sent_whole_and_with_its_length),
		cmocka_unit_test(head_has_a_length_and_no_body),
		cmocka_unit_test(a_connection_is_used_again_after_a_whole_reply),
		cmocka_unit_test(what_may_have_had_its_effect_is_not_sent_again),
		cmocka_unit_test(a_body_that_was_cut_is_not_sent),
		cmocka_unit_test(who_waits_no_longer_is_let_go),
		cmocka_unit_test(who_cannot_be_reached_was_sent_nothing),
		cmocka_unit_test(what_would_be_another_request_is_not_sent),
		cmocka_unit_test(a_complaint_has_neither_query_nor_headers),
		cmocka_unit_test(a_path_is_sent_as_it_is),
		cmocka_unit_test(a_ca_file_that_is_none_is_named),
		cmocka_unit_test(threads_share_no_more_connections_than_they_are),
	};

	unsetenv("http_proxy");
	unsetenv("https_proxy");
	unsetenv("HTTPS_PROXY");
	unsetenv("all_proxy");
	unsetenv("ALL_PROXY");
	log_set_quiet(true);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
