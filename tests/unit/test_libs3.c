/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What libs3 takes for a success is one, whatever a server says; what hangs ends; nothing breaks.
 * (That it works at all is test_backend's business.)
 */
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/libs3.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"
#include "check.h"

enum {
	REQUEST_MAX = 64 << 10,
	REPLIES_MAX = 4,
	SOON_MS = 400,
};

/* A server that gives one reply after the other, the last one for ever, each on a connection of its
 * own. */
struct server {
	int listener;
	pthread_t thread;
	atomic_bool is_over;
	atomic_uint requests;
	const char *replies[REPLIES_MAX]; /* NULL: silence */
};

/* Reads one request: its headers, and what Content-Length says. */
static void read_request(int fd)
{
	static const char length[] = "Content-Length: ";
	char request[REQUEST_MAX + 1];
	size_t n = 0, want = SIZE_MAX;

	while (n < MIN(want, (size_t)REQUEST_MAX)) {
		ssize_t got = recv(fd, request + n, REQUEST_MAX - n, 0);
		char *end, *said;

		if (got <= 0)
			return;
		n += (size_t)got;
		request[n] = '\0';
		end = strstr(request, "\r\n\r\n");
		said = strcasestr(request, length);
		if (end && want == SIZE_MAX)
			want = (size_t)(end + 4 - request) +
			       (said ? strtoul(said + strlen(length), NULL, 10) : 0);
		if (end && strcasestr(request, "Expect: 100-continue") && n < want)
			send(fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL);
	}
}

static void answer(struct server *s, int fd)
{
	unsigned n = s->requests++;
	const char *reply = s->replies[MIN(n, (unsigned)REPLIES_MAX - 1)];
	struct pollfd p = { .fd = fd, .events = POLLIN };

	read_request(fd);
	if (reply)
		send(fd, reply, strlen(reply), MSG_NOSIGNAL);
	while (!reply && !s->is_over && poll(&p, 1, 20) == 0)
		;
	shutdown(fd, SHUT_WR);
}

static void *serve(void *arg)
{
	struct server *s = arg;
	struct pollfd p = { .fd = s->listener, .events = POLLIN };

	while (!s->is_over) {
		int fd;

		if (poll(&p, 1, 20) <= 0)
			continue;
		fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		answer(s, fd);
		close(fd);
	}
	return NULL;
}

static struct backend *start(struct server *s)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct backend_options opts = { 0 };
	socklen_t len = sizeof(a);
	struct backend *inner, *b;
	char *url;

	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_ok(bind(s->listener, (struct sockaddr *)&a, sizeof(a)));
	assert_ok(listen(s->listener, 16));
	assert_ok(getsockname(s->listener, (struct sockaddr *)&a, &len));
	assert_ok(thread_start(&s->thread, "server", serve, s));
	url = strf("s3://bucket/p?transport=libs3&endpoint=http://127.0.0.1:%u", ntohs(a.sin_port));
	assert_ok(memory_backend_new(&inner));
	assert_ok(libs3_backend_new(url, inner, &opts, &b));
	free(url);
	return b;
}

static void stop(struct server *s, struct backend *b)
{
	s->is_over = true;
	pthread_join(s->thread, NULL);
	close(s->listener);
	backend_free(b);
}

static int set_up(void **state)
{
	setenv("AWS_ACCESS_KEY_ID", "a", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "b", 1);
	unsetenv("AWS_SESSION_TOKEN");
	log_set_quiet(true);
	return 0;
}

static int tear_down(void **state)
{
	log_set_quiet(false);
	return 0;
}

/* What a read of 10 bytes comes to, when each request has this reply; they are in @text. */
static int read_ten(const char *reply, char text[11], size_t *n)
{
	struct server s = { .replies = { reply, reply, reply, reply } };
	struct backend *b = start(&s);
	struct deadline dl = deadline_in_ms(SOON_MS);
	int r;

	memset(text, 0, 11);
	r = b->ops->get(b, "packs/x", 0, 10, text, &dl, n);
	stop(&s, b);
	return r;
}

static void bytes_that_come_are_read(void **state)
{
	char text[11];
	size_t n;

	assert_ok(read_ten("HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\n"
			   "Content-Range: bytes 0-9/20\r\n\r\n0123456789",
			   text, &n));
	assert_int_equal(n, 10);
	assert_string_equal(text, "0123456789");
}

static void what_is_not_there_or_not_allowed_is_said(void **state)
{
	static const struct {
		const char *reply;
		int result;
	} cases[] = {
		{ "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", -ENOENT },
		{ "HTTP/1.1 404 Not Found\r\nContent-Length: 44\r\n\r\n"
		  "<Error><Code>NoSuchKey</Code></Error>       ",
		  -ENOENT },
		{ "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", -EACCES },
		{ "HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n", -EIO },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[11];
		size_t n;

		assert_int_equal(read_ten(cases[i].reply, text, &n), cases[i].result);
	}
}

static void a_reply_that_makes_no_sense_is_never_a_success(void **state)
{
	static const char *const replies[] = {
		NULL,
		"",
		"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
		"\x15\x03\x01\x00\x02\x02\x16",
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123",
		"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n0123456789ab",
		"HTTP/1.1 200 OK\r\n\r\n0123456789abcdefghij",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nxx",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n0123456789",
		"HTTP/1.1 206 Partial Content\r\nContent-Length: -5\r\n\r\n",
		"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 503 Slow\r\nContent-Length: 37\r\n\r\n"
		"<Error><Code>SlowDown</Code></Error> ",
		"HTTP/1.1 400 Bad\r\nContent-Length: 20\r\n\r\n<Error><Code>&&&<<<<",
		"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(replies); i++) {
		char text[11];
		size_t n;
		int r = read_ten(replies[i], text, &n);

		if (r != -ETIME && r != -EIO)
			fail_msg("reply %zu: %d", i, r);
	}
}

/* What a PUT of 5 bytes comes to. */
static int put_five(struct server *s)
{
	struct backend *b = start(s);
	struct deadline dl = deadline_in_ms(SOON_MS);
	int r = b->ops->put(b, "packs/x", span_str("12345"), &dl);

	stop(s, b);
	return r;
}

static void a_put_is_done_when_the_object_is_there_with_its_size(void **state)
{
	static const char done[] = "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 0\r\n\r\n";
	static const char there[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
	static const char absent[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
	static const char other[] = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";
	static const char failed[] = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n";
	struct server good = { .replies = { done, there, there, there } };
	struct server lost = { .replies = { "", there, there, there } };
	struct server again = { .replies = { failed, absent, done, there } };
	struct server never = { .replies = { done, absent, done, absent } };
	struct server cut = { .replies = { done, other, other, other } };

	assert_ok(put_five(&good));
	assert_ok(put_five(&lost));
	assert_ok(put_five(&again));
	assert_int_equal(put_five(&never), -ETIME);
	assert_int_equal(put_five(&cut), -ETIME);
}

static void who_gives_up_waits_no_longer(void **state)
{
	struct server s = { 0 };
	struct backend *b = start(&s);
	atomic_bool given_up = true;
	struct deadline dl = { .at_ns = INT64_MAX, .cancelled = &given_up };
	uint64_t size;

	assert_int_equal(b->ops->head(b, "packs/x", &dl, &size), -ECANCELED);
	stop(&s, b);
}

static void keys_with_a_session_token_are_refused(void **state)
{
	static const char url[] = "s3://bucket/p?transport=libs3&endpoint=http://127.0.0.1:1";
	const struct backend_options opts = { 0 };
	struct backend *inner, *b;

	assert_ok(memory_backend_new(&inner));
	setenv("AWS_SESSION_TOKEN", "token", 1);
	assert_int_equal(libs3_backend_new(url, inner, &opts, &b), -EOPNOTSUPP);
	unsetenv("AWS_SESSION_TOKEN");
	assert_non_null(strstr(complaint(), "session token"));
	assert_null(strstr(complaint(), "\"token\""));
	backend_free(inner);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_that_come_are_read),
		cmocka_unit_test(what_is_not_there_or_not_allowed_is_said),
		cmocka_unit_test(a_reply_that_makes_no_sense_is_never_a_success),
		cmocka_unit_test(a_put_is_done_when_the_object_is_there_with_its_size),
		cmocka_unit_test(who_gives_up_waits_no_longer),
		cmocka_unit_test(keys_with_a_session_token_are_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
