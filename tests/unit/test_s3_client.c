/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a client makes of bad networks and servers: all of them are played by faultproxy.h, with no
 * server behind it. How long the waits are is not measured but where less than a bound would be
 * wrong on any machine.
 */
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"
#include "check.h"
#include "faultproxy.h"
#include "s3/budget.h"
#include "s3/client.h"
#include "scratch.h"

enum {
	LARGE = 50000000, /* no socket takes as much at once */
	ENOUGH_MS = 60000, /* for whatever goes well in the end */
	SOON_MS = 300, /* for what cannot */
	TRIES_MS = 1500, /* the same, for at least one try to have failed */
};

static atomic_llong skipped_ns;

/* A clock that tests put forward. */
int clock_gettime(clockid_t clock, struct timespec *ret)
{
	int r = (int)syscall(SYS_clock_gettime, clock, ret);
	long long ns = ret->tv_nsec + (clock == CLOCK_MONOTONIC ? skipped_ns : 0);

	ret->tv_sec += ns / 1000000000;
	ret->tv_nsec = ns % 1000000000;
	return r;
}

/* The client looks at the clock several times before and after. */
static void skip_11_s(void *ctx)
{
	usleep(300000);
	skipped_ns += 11000000000ll;
	usleep(300000);
}

struct stand {
	struct proxy proxy;
	struct s3_client *client;
	struct http_reply reply;
	struct buf out;
};

static int open_stand(void **state)
{
	struct stand *t = new0(struct stand, 1);
	char url[128];

	setenv("AWS_ACCESS_KEY_ID", "key-of-the-environment", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
	unsetenv("AWS_SESSION_TOKEN");
	proxy_start(&t->proxy, NULL);
	snprintf(url, sizeof(url), "s3://bucket?endpoint=%s", t->proxy.url);
	assert_ok(s3_client_new(url, &t->client));
	*state = t;
	return 0;
}

static int close_stand(void **state)
{
	struct stand *t = *state;

	s3_client_free(t->client);
	proxy_stop(&t->proxy);
	http_reply_release(&t->reply);
	buf_release(&t->out);
	free(t);
	return 0;
}

/* For cases that must not share connections, counts or a budget. */
static void begin_anew(void **state)
{
	close_stand(state);
	open_stand(state);
}

static int ask_with(struct stand *t, const char *method, struct span body, bool once, int64_t ms)
{
	struct s3_request q = {
		.method = method,
		.key = "k",
		.body = body,
		.has_body = body.len > 0,
		.once = once,
		.max = 64 << 10,
		.out = &t->out,
	};
	struct deadline dl = deadline_in_ms(ms);

	http_reply_release(&t->reply);
	t->reply = (struct http_reply){ 0 };
	buf_clear(&t->out);
	complaint_clear();
	return s3_request(t->client, &q, &dl, &t->reply);
}

static int get(struct stand *t, int64_t ms)
{
	return ask_with(t, "GET", (struct span){ 0 }, false, ms);
}

static int put(struct stand *t, bool once, int64_t ms)
{
	return ask_with(t, "PUT", span_str("body"), once, ms);
}

static int put_large(struct stand *t, bool once, int64_t ms)
{
	_cleanup_free_ uint8_t *data = calloc(1, LARGE);

	return ask_with(t, "PUT", span_of(data, LARGE), once, ms);
}

static unsigned requests(struct stand *t)
{
	return proxy_count(&t->proxy, NULL, NULL);
}

static void assert_said(const char *what)
{
	if (!strstr(complaint(), what))
		fail_msg("'%s' does not say '%s'", complaint(), what);
}

static const char OK_HI[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/* What the server answers to all that no other rule is for. */
static void answer(struct stand *t, unsigned times, const char *text)
{
	proxy_add(&t->proxy,
		  (struct proxy_rule){ .fault = PROXY_ANSWER, .times = times, .text = text });
}

static void a_connection_that_ends_anywhere_is_made_good_once(void **state)
{
	static const enum proxy_fault faults[] = { PROXY_RESET, PROXY_CLOSE, PROXY_HALF_CLOSE };

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		for (enum proxy_at at = AT_REQUEST_LINE; at < AT_END; at++) {
			struct proxy_rule r = { .fault = faults[i], .at = at, .times = 1 };
			struct stand *t;

			begin_anew(state);
			t = *state;
			/* the reply without a body has nothing of it to cut */
			if (at == AT_BODY)
				continue;
			proxy_add(&t->proxy, r);
			assert_ok(get(t, ENOUGH_MS));
			proxy_clear(&t->proxy);
			proxy_add(&t->proxy, r);
			assert_ok(put(t, false, ENOUGH_MS));
			assert_int_equal(requests(t), 4);
		}
	}
}

static void a_cut_body_is_no_body(void **state)
{
	static const enum proxy_at cuts[] = { AT_HEAD_END, AT_BODY, AT_LAST_BYTE };
	struct stand *t = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		proxy_clear(&t->proxy);
		answer(t, 1, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi");
		answer(t, 1, OK_HI);
		assert_ok(get(t, ENOUGH_MS));
		assert_true(span_equal(buf_span(&t->out), span_str("hi")));
	}
}

static void what_may_be_done_once_only_is_sent_once(void **state)
{
	for (enum proxy_at at = AT_REQUEST_LINE; at <= AT_END; at++) {
		struct proxy_rule r = { .fault = PROXY_RESET, .at = at, .times = 1 };
		struct stand *t;
		int got;

		if (at == AT_BODY)
			continue;
		begin_anew(state);
		t = *state;
		proxy_add(&t->proxy, r);
		got = put(t, true, ENOUGH_MS);
		/* cut before it was sent whole */
		if (at < AT_DELIVERED && got == 0 && requests(t) == 2)
			continue;
		if (got != (at == AT_END ? 0 : -EINPROGRESS) || requests(t) != 1)
			fail_msg("at %d: %d after %u requests", at, got, requests(t));
	}
}

static void what_was_not_sent_whole_is_sent_again(void **state)
{
	struct stand *t = *state;

	proxy_add(&t->proxy, (struct proxy_rule){
				     .fault = PROXY_RESET, .at = AT_REQUEST_HEAD_END, .times = 1 });
	assert_ok(put_large(t, true, ENOUGH_MS));
	assert_int_equal(requests(t), 2);
}

static void a_server_that_says_it_is_busy_is_asked_again(void **state)
{
	static const char *const busy[] = {
		"HTTP/1.1 500 X\r\n\r\n",
		"HTTP/1.1 502 X\r\n\r\nx\ry",
		"HTTP/1.1 503 X\r\n\r\n<Error><Code>SlowDown</Code></Error>  ",
		"HTTP/1.1 429 X\r\n\r\n",
		"HTTP/1.1 400 X\r\n\r\n"
		"<Error><Code>RequestTimeout</Code></Error> ",
		"HTTP/1.1 409 X\r\n\r\n"
		"<Error><Code>OperationAborted</Code></Error> ",
	};

	for (size_t i = 0; i < ARRAY_SIZE(busy); i++) {
		struct stand *t;
		int r;

		begin_anew(state);
		t = *state;
		answer(t, 2, busy[i]);
		assert_ok(put(t, false, ENOUGH_MS));
		assert_int_equal(requests(t), 3);
		/* of a 5xx it is not known whether it did it all the same */
		proxy_clear(&t->proxy);
		answer(t, 1, busy[i]);
		r = put(t, true, ENOUGH_MS);
		if (r != (strstr(busy[i], "1.1 5") ? -EINPROGRESS : 0))
			fail_msg("case %zu: %d", i, r);
		assert_int_equal(requests(t), r ? 4 : 5);
	}
}

static void what_will_not_change_is_not_asked_again(void **state)
{
	static const struct {
		const char *reply;
		int r;
	} cases[] = {
		{ "HTTP/1.1 304 X\r\n\r\n", -EALREADY },
		{ "HTTP/1.1 404 X\r\n\r\n", -ENOENT },
		{ "HTTP/1.1 404 X\r\n\r\n"
		  "<Error><Code>NoSuchBucket</Code></Error>",
		  -EIO },
		{ "HTTP/1.1 409 X\r\n\r\n", -ESTALE },
		{ "HTTP/1.1 412 X\r\n\r\n", -ESTALE },
		{ "HTTP/1.1 416 X\r\n\r\n", -ERANGE },
		{ "HTTP/1.1 403 X\r\n\r\n", -EACCES },
		{ "HTTP/1.1 501 X\r\n\r\n", -EIO },
		{ "HTTP/1.1 507 X\r\n\r\n", -ENOSPC },
		{ "HTTP/1.1 507 X\r\n\r\n"
		  "<Error><Code>XMinioStorageFull</Code></Error>",
		  -ENOSPC },
		{ "HTTP/1.1 301 X\r\nContent-Length: 0\r\nLocation: /x\r\n\r\n", -EIO },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct stand *t;
		int r;

		begin_anew(state);
		t = *state;
		answer(t, 0, cases[i].reply);
		r = get(t, ENOUGH_MS);
		if (r != cases[i].r || requests(t) != 1)
			fail_msg("case %zu: %d after %u requests", i, r, requests(t));
		if (r == -EIO || r == -EACCES || r == -ENOSPC)
			assert_said("the server says");
	}
}

static void retry_after_is_waited_for(void **state)
{
	struct stand *t = *state;
	int64_t begun = now_ns();

	answer(t, 1, "HTTP/1.1 503 X\r\nRetry-After: 1\r\n\r\n");
	assert_ok(get(t, ENOUGH_MS));
	assert_true(now_ns() - begun >= 1000000000);
}

static void retry_after_leaves_time_for_another_try(void **state)
{
	struct stand *t = *state;

	answer(t, 1, "HTTP/1.1 503 X\r\nRetry-After: 3600\r\n\r\n");
	assert_ok(get(t, 4000));
	assert_int_equal(requests(t), 2);
}

static void every_wait_ends_with_the_deadline_and_says_why(void **state)
{
	static const struct {
		struct proxy_rule rule;
		const char *said;
	} cases[] = {
		{ { .fault = PROXY_STALL, .at = AT_REQUEST_LINE }, "no answer in time" },
		{ { .fault = PROXY_STALL, .at = AT_REQUEST_HEAD_END }, "no answer in time" },
		{ { .fault = PROXY_STALL, .at = AT_DELIVERED }, "no answer in time" },
		{ { .fault = PROXY_STALL, .at = AT_STATUS }, "no answer in time" },
		{ { .fault = PROXY_STALL, .at = AT_HEADERS }, "no answer in time" },
		{ { .fault = PROXY_STALL, .at = AT_LAST_BYTE }, "no answer in time" },
		{ { .fault = PROXY_DRIP, .at = AT_DELIVERED, .n = 100 }, "no answer in time" },
		{ { .fault = PROXY_RESET, .at = AT_DELIVERED }, "eset" },
		{ { .fault = PROXY_CLOSE, .at = AT_HEADERS }, "within the reply's headers" },
		{ { .fault = PROXY_ANSWER,
		    .text = "HTTP/1.1 503 X\r\n\r\n"
			    "<Error><Code>SlowDown</Code></Error>" },
		  "503: SlowDown" },
		{ { .fault = PROXY_ANSWER, .text = "HTTP/1.1 503 X\r\nRetry-After: 9\r\n\r\n" },
		  "503" },
	};

	for (size_t i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		struct stand *t;
		bool is_silence;
		int ms, r;

		begin_anew(state);
		t = *state;
		proxy_add(&t->proxy, cases[i / 2].rule);
		is_silence = strcmp(cases[i / 2].said, "no answer in time") == 0;
		if (i % 2 && !is_silence) /* once is enough of those that take their time */
			continue;
		ms = is_silence ? SOON_MS : TRIES_MS;
		r = i % 2 ? put(t, false, ms) : get(t, ms);
		if (r != -ETIME)
			fail_msg("case %zu: %d: %s", i / 2, r, complaint());
		assert_said(cases[i / 2].said);
	}
}

static void what_may_be_done_once_only_is_in_doubt_at_the_deadline(void **state)
{
	struct stand *t = *state;

	proxy_add(&t->proxy, (struct proxy_rule){ .fault = PROXY_STALL, .at = AT_DELIVERED });
	assert_int_equal(put(t, true, SOON_MS), -EINPROGRESS);
}

static void a_server_is_given_time_to_think_of_what_it_writes(void **state)
{
	struct stand *t = *state;

	proxy_add(&t->proxy, (struct proxy_rule){ .meanwhile = skip_11_s });
	assert_ok(put(t, true, ENOUGH_MS));
	assert_int_equal(requests(t), 1);
}

static void who_reads_asks_again_after_ten_seconds_of_silence(void **state)
{
	struct stand *t = *state;

	proxy_add(&t->proxy, (struct proxy_rule){ .fault = PROXY_STALL,
						  .at = AT_DELIVERED,
						  .times = 1,
						  .meanwhile = skip_11_s });
	assert_ok(get(t, ENOUGH_MS));
	assert_int_equal(requests(t), 2);
}

static void a_body_that_gets_no_further_is_given_up_long_before_its_deadline(void **state)
{
	struct stand *t = *state;

	proxy_add(&t->proxy, (struct proxy_rule){ .fault = PROXY_STALL,
						  .at = AT_REQUEST_HEAD_END,
						  .meanwhile = skip_11_s });
	assert_int_equal(put_large(t, false, 3600 * 1000), -ETIME);
	assert_in_range(requests(t), 2, 3);
	assert_said("stalls");
}

static const char SKEWED[] = "HTTP/1.1 403 X\r\nDate: Fri, 02 Jan 2032 03:04:05 GMT\r\n"
			     "\r\n"
			     "<Error><Code>RequestTimeTooSkewed</Code></Error> ";

static void the_servers_clock_is_taken_over(void **state)
{
	struct stand *t = *state;

	answer(t, 1, SKEWED);
	assert_ok(put(t, true, ENOUGH_MS));
	assert_int_equal(requests(t), 2);
	assert_true(proxy_last_has(&t->proxy, "x-amz-date: 20320102T0304"));
	/* and kept */
	assert_ok(get(t, ENOUGH_MS));
	assert_int_equal(requests(t), 3);
	assert_true(proxy_last_has(&t->proxy, "x-amz-date: 20320102T0304"));
	/* a server that goes on complaining is not believed for ever */
	answer(t, 0, SKEWED);
	assert_int_equal(get(t, ENOUGH_MS), -EACCES);
	assert_int_equal(requests(t), 5);
}

static void the_clock_is_taken_over_from_who_says_no_more_than_403(void **state)
{
	struct stand *t = *state;

	answer(t, 1,
	       "HTTP/1.1 403 X\r\nDate: Fri, 02 Jan 2032 03:04:05 GMT\r\n"
	       "\r\n");
	assert_ok(ask_with(t, "HEAD", (struct span){ 0 }, false, ENOUGH_MS));
	assert_true(proxy_last_has(&t->proxy, "x-amz-date: 20320102T0304"));
}

/* A file with keys, and what it will hold next. */
struct keys_file {
	struct scratch dir;
	char path[100];
	const char *next;
};

static void write_keys(void *ctx)
{
	struct keys_file *f = ctx;
	char text[200];

	snprintf(text, sizeof(text),
		 "[default]\naws_access_key_id = %s\naws_secret_access_key = s\n", f->next);
	assert_ok(write_file_atomic(f->dir.fd, "keys", span_str(text), 0600));
}

static const char EXPIRED[] = "HTTP/1.1 400 X\r\n\r\n"
			      "<Error><Code>ExpiredToken</Code></Error>";

static void keys_that_have_expired_are_read_anew(void **state)
{
	static const char *const replies[] = {
		EXPIRED,
		"HTTP/1.1 403 X\r\n\r\n"
		"<Error><Code>InvalidAccessKeyId</Code></Error> ",
		"HTTP/1.1 403 X\r\n\r\n", /* to HEAD */
	};

	for (size_t i = 0; i < ARRAY_SIZE(replies); i++) {
		struct keys_file f = { .dir = scratch_make(), .next = "the-old-one" };
		const char *method = i < 2 ? "GET" : "HEAD";
		struct stand *t;

		snprintf(f.path, sizeof(f.path), "%s/keys", f.dir.path);
		begin_anew(state);
		t = *state;
		unsetenv("AWS_ACCESS_KEY_ID");
		unsetenv("AWS_SECRET_ACCESS_KEY");
		setenv("AWS_SHARED_CREDENTIALS_FILE", f.path, 1);
		write_keys(&f);
		assert_ok(ask_with(t, method, (struct span){ 0 }, false, ENOUGH_MS));
		assert_true(proxy_last_has(&t->proxy, "the-old-one"));
		f.next = "the-new-one";
		proxy_add(&t->proxy, (struct proxy_rule){ .fault = PROXY_ANSWER,
							  .text = replies[i],
							  .times = 1,
							  .meanwhile = write_keys,
							  .ctx = &f });
		assert_ok(ask_with(t, method, (struct span){ 0 }, false, ENOUGH_MS));
		assert_int_equal(requests(t), 3);
		assert_true(proxy_last_has(&t->proxy, "the-new-one"));
		/* the same again would be of no use */
		proxy_clear(&t->proxy);
		answer(t, 0, replies[i]);
		assert_int_equal(ask_with(t, method, (struct span){ 0 }, false, ENOUGH_MS),
				 -EACCES);
		assert_int_equal(requests(t), 4);
		unsetenv("AWS_SHARED_CREDENTIALS_FILE");
		scratch_remove(&f.dir);
	}
}

static void *get_patiently(void *arg)
{
	return get(arg, ENOUGH_MS) == 0 ? NULL : arg;
}

static void a_server_that_comes_back_is_found(void **state)
{
	struct stand *t = *state;
	pthread_t reader;
	void *failed;

	assert_ok(get(t, ENOUGH_MS));
	proxy_refuse(&t->proxy, true);
	assert_ok(thread_start(&reader, "reader", get_patiently, t));
	usleep(200000);
	proxy_refuse(&t->proxy, false);
	pthread_join(reader, &failed);
	assert_null(failed);
	/* in between, over a connection that it had before */
	proxy_refuse(&t->proxy, true);
	proxy_refuse(&t->proxy, false);
	assert_ok(put(t, true, ENOUGH_MS));
}

static void connections_that_are_closed_when_they_are_made_are_made_anew(void **state)
{
	struct stand *t = *state;

	proxy_hang_up(&t->proxy, 3);
	assert_ok(get(t, ENOUGH_MS));
	assert_int_equal(t->proxy.connection_count, 4);
}

static void a_server_that_is_not_there_is_said(void **state)
{
	struct stand *t = *state;

	proxy_refuse(&t->proxy, true);
	assert_int_equal(get(t, TRIES_MS), -ETIME);
	assert_said("onnect");
	/* nothing can have been done */
	assert_int_equal(put(t, true, SOON_MS), -ETIME);
}

static void a_name_that_is_none_is_said(void **state)
{
	struct stand *t = *state;

	s3_client_free(t->client);
	/* RFC 6761: never a name */
	assert_ok(s3_client_new("s3://bucket?endpoint=http://nowhere.invalid", &t->client));
	assert_int_equal(get(t, 2000), -ETIME);
	assert_said("esolve");
	assert_said("nowhere.invalid");
}

static void what_is_no_s3_server_is_said(void **state)
{
	static const char html[] = "HTTP/1.1 405 X\r\n\r\n<html></html>";
	struct stand *t = *state;

	answer(t, 0, html);
	assert_int_equal(get(t, ENOUGH_MS), -EIO);
	assert_said("405");
	assert_said("is the endpoint right?");
	proxy_clear(&t->proxy);
	answer(t, 0, "HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n");
	assert_int_equal(get(t, TRIES_MS), -ETIME);
	assert_said("is there an S3 server at this endpoint?");
}

static const char SSH[] = "SSH-2.0-OpenSSH_9.2\r\n\r\n";

static void what_speaks_no_http_is_asked_once(void **state)
{
	struct stand *t = *state;

	answer(t, 0, SSH);
	assert_int_equal(get(t, ENOUGH_MS), -EIO);
	assert_said("is there an S3 server at this endpoint?");
	assert_int_equal(requests(t), 1);
}

static void what_has_spoken_http_is_asked_again(void **state)
{
	struct stand *t = *state;

	assert_ok(get(t, ENOUGH_MS));
	answer(t, 2, SSH);
	assert_ok(get(t, ENOUGH_MS));
	assert_int_equal(requests(t), 4);
}

static void a_wrong_region_is_said_with_what_to_do(void **state)
{
	struct stand *t = *state;

	answer(t, 0,
	       "HTTP/1.1 400 X\r\n\r\n<Error><Code>AuthorizationHeaderMalformed</Code>"
	       "<Message>expecting 'eu-west-1'</Message></Error>");
	assert_int_equal(get(t, ENOUGH_MS), -EIO);
	assert_said("expecting 'eu-west-1'; region=");
}

static void no_secret_is_said(void **state)
{
	struct stand *t = *state;

	setenv("AWS_SECRET_ACCESS_KEY", "a-very-secret-one", 1);
	setenv("AWS_SESSION_TOKEN", "a-secret-token", 1);
	answer(t, 0, "HTTP/1.1 403 X\r\n\r\n");
	assert_int_equal(get(t, ENOUGH_MS), -EACCES);
	assert_true(proxy_last_has(&t->proxy, "a-secret-token"));
	assert_false(proxy_last_has(&t->proxy, "a-very-secret-one"));
	assert_null(strstr(complaint(), "secret"));
}

static void *cancel_soon(void *flag)
{
	usleep(100000);
	atomic_store((atomic_bool *)flag, true);
	return NULL;
}

static void who_waits_no_longer_is_let_go(void **state)
{
	static const struct proxy_rule cases[] = {
		{ .fault = PROXY_STALL, .at = AT_DELIVERED },
		{ .fault = PROXY_ANSWER, .text = "HTTP/1.1 503 X\r\nRetry-After: 20\r\n\r\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct s3_request q = { .method = "GET", .key = "k" };
		atomic_bool cancelled = false;
		struct deadline dl = { INT64_MAX, &cancelled };
		int64_t begun = now_ns();
		pthread_t canceller;
		struct stand *t;

		begin_anew(state);
		t = *state;
		proxy_add(&t->proxy, cases[i]);
		assert_ok(thread_start(&canceller, "cancel", cancel_soon, &cancelled));
		assert_int_equal(s3_request(t->client, &q, &dl, &t->reply), -ECANCELED);
		pthread_join(canceller, NULL);
		/* not after Retry-After, nor a stall */
		assert_true(now_ns() - begun < 9 * 1000000000ll);
	}
}

/* Waits until all who read have come. */
static void wait_for_others(void *ctx)
{
	pthread_barrier_wait(ctx);
}

static void *get_alone(void *arg)
{
	struct s3_request q = { .method = "GET", .key = "k" };
	struct deadline dl = deadline_in_ms(ENOUGH_MS);
	struct http_reply reply;
	struct stand *t = arg;

	return s3_request(t->client, &q, &dl, &reply) == 0 ? NULL : arg;
}

static void connections_of_a_burst_are_given_up_later(void **state)
{
	struct stand *t = *state;
	pthread_barrier_t all;
	pthread_t burst[8];

	pthread_barrier_init(&all, NULL, ARRAY_SIZE(burst));
	proxy_add(&t->proxy, (struct proxy_rule){ .meanwhile = wait_for_others, .ctx = &all });
	for (size_t i = 0; i < ARRAY_SIZE(burst); i++)
		assert_ok(thread_start(&burst[i], "burst", get_alone, t));
	for (size_t i = 0; i < ARRAY_SIZE(burst); i++) {
		void *failed;

		pthread_join(burst[i], &failed);
		assert_null(failed);
	}
	assert_int_equal(proxy_connections(&t->proxy), ARRAY_SIZE(burst));
	proxy_clear(&t->proxy);
	skipped_ns += 31000000000ll;
	for (size_t i = 0; i < ARRAY_SIZE(burst); i++)
		assert_ok(get(t, ENOUGH_MS));
	for (int i = 0; i < 10000 && proxy_connections(&t->proxy) > 1; i++)
		usleep(1000);
	assert_int_equal(proxy_connections(&t->proxy), 1);
	pthread_barrier_destroy(&all);
}

enum {
	CROWD = 32,
	CROWD_MS = 2000,
};

static void *get_in_vain(void *arg)
{
	struct s3_request q = { .method = "GET", .key = "k" };
	struct deadline dl = deadline_in_ms(CROWD_MS);
	struct http_reply reply;
	struct stand *t = arg;

	return s3_request(t->client, &q, &dl, &reply) == -ETIME ? NULL : arg;
}

static void a_crowd_repeats_no_faster_than_the_budget(void **state)
{
	struct stand *t = *state;
	pthread_t crowd[CROWD];
	int64_t begun = now_ns();
	unsigned most;

	answer(t, 0, "HTTP/1.1 503 X\r\n\r\n");
	for (size_t i = 0; i < CROWD; i++)
		assert_ok(thread_start(&crowd[i], "crowd", get_in_vain, t));
	for (size_t i = 0; i < CROWD; i++) {
		void *failed;

		pthread_join(crowd[i], &failed);
		assert_null(failed);
	}
	most = CROWD + BUDGET_BURST +
	       BUDGET_PER_S * (unsigned)((now_ns() - begun) / 1000000000 + 1);
	assert_in_range(requests(t), CROWD, most);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_stand, close_stand)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_connection_that_ends_anywhere_is_made_good_once),
		TEST(a_cut_body_is_no_body),
		TEST(what_may_be_done_once_only_is_sent_once),
		TEST(what_was_not_sent_whole_is_sent_again),
		TEST(a_server_that_says_it_is_busy_is_asked_again),
		TEST(what_will_not_change_is_not_asked_again),
		TEST(retry_after_is_waited_for),
		TEST(retry_after_leaves_time_for_another_try),
		TEST(every_wait_ends_with_the_deadline_and_says_why),
		TEST(what_may_be_done_once_only_is_in_doubt_at_the_deadline),
		TEST(a_server_is_given_time_to_think_of_what_it_writes),
		TEST(who_reads_asks_again_after_ten_seconds_of_silence),
		TEST(a_body_that_gets_no_further_is_given_up_long_before_its_deadline),
		TEST(the_servers_clock_is_taken_over),
		TEST(the_clock_is_taken_over_from_who_says_no_more_than_403),
		TEST(keys_that_have_expired_are_read_anew),
		TEST(a_server_that_comes_back_is_found),
		TEST(connections_that_are_closed_when_they_are_made_are_made_anew),
		TEST(a_server_that_is_not_there_is_said),
		TEST(a_name_that_is_none_is_said),
		TEST(what_is_no_s3_server_is_said),
		TEST(what_speaks_no_http_is_asked_once),
		TEST(what_has_spoken_http_is_asked_again),
		TEST(a_wrong_region_is_said_with_what_to_do),
		TEST(no_secret_is_said),
		TEST(who_waits_no_longer_is_let_go),
		TEST(connections_of_a_burst_are_given_up_later),
		TEST(a_crowd_repeats_no_faster_than_the_budget),
	};

	unsetenv("http_proxy");
	unsetenv("all_proxy");
	unsetenv("ALL_PROXY");
	unsetenv("AWS_PROFILE");
	log_set_quiet(true);
	log_set_level(LOG_LEVEL_ERROR - 1); /* a crowd's threads are not quiet */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
