/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A bucket behind a network at its worst: what is read is what is there, or an error; what is put
 * is there whole or not at all; nothing is left over.
 */
#include "base/log.h"
#include "prng.h"
#include "s3/client.h"
#include "s3stand.h"

enum {
	ENOUGH_MS = 60000,
	SOON_MS = 400,
	MEDIUM = 9 << 20,
	LARGE = 70 << 20, /* in three parts */
	WRITE = 1 << 20,
};

static int open_stand(void **state)
{
	struct s3_stand *s = new0(struct s3_stand, 1);

	s3_stand_begin(s);
	*state = s;
	return 0;
}

static int close_stand(void **state)
{
	s3_stand_end(*state);
	free(*state);
	return 0;
}

static struct deadline enough(void)
{
	return deadline_in_ms(ENOUGH_MS);
}

static void assert_said(const char *what)
{
	if (!strstr(complaint(), what))
		fail_msg("'%s' does not say '%s'", complaint(), what);
}

static uint8_t *made_up(size_t len)
{
	uint8_t *data = malloc(len);
	struct prng p = { len };

	assert_non_null(data);
	prng_fill(&p, data, len);
	return data;
}

static void assert_holds(struct backend *b, const char *key, struct span data)
{
	_cleanup_buf_ struct buf all = { 0 };
	struct etag tag;

	assert_ok(b->ops->get_all(b, key, data.len + 1, NULL, NULL, &all, &tag));
	assert_true(span_equal(buf_span(&all), data));
}

static bool is_there(struct backend *b, const char *key)
{
	uint64_t size;
	int r = b->ops->head(b, key, NULL, &size);

	assert_true(r == 0 || r == -ENOENT);
	return r == 0;
}

static const char DIGITS[] = "0123456789";

static void a_range_is_read_right_or_not_at_all(void **state)
{
	static const struct proxy_rule lies[] = {
		{ .fault = PROXY_LENGTH, .n = 1 },
		{ .fault = PROXY_LENGTH, .n = -1 },
		{ .fault = PROXY_LENGTH, .n = 1000000 },
		{ .fault = PROXY_HEADER, .text = "Content-Range: bytes 3-6/10" },
		{ .fault = PROXY_HEADER, .text = "Content-Range: bytes 2-6/10" },
		{ .fault = PROXY_HEADER, .text = "Content-Range: bytes 2-4/10" },
		{ .fault = PROXY_HEADER, .text = "Content-Range: bytes 2-5/*" },
		{ .fault = PROXY_HEADER, .text = "Content-Range: none" },
		{ .fault = PROXY_EDIT, .from = "2345", .text = "234" },
		{ .fault = PROXY_EDIT, .from = "2345", .text = "23456" },
		{ .fault = PROXY_EDIT, .from = "2345", .text = "" },
		{ .fault = PROXY_ANSWER, .text = "HTTP/1.1 200 OK\r\n\r\n0123456789" },
		{ .fault = PROXY_ANSWER, .text = "HTTP/1.1 200 OK\r\n\r\n0123" },
		{ .fault = PROXY_ANSWER,
		  .text = "HTTP/1.1 206 OK\r\nContent-Range: bytes 2-3/10\r\n\r\n23" },
		{ .fault = PROXY_ANSWER, .text = "HTTP/1.1 204 OK\r\n\r\n" },
		{ .fault = PROXY_ANSWER, .text = "HTTP/1.1 404 X\r\n\r\n" },
		{ .fault = PROXY_ANSWER, .text = "HTTP/1.1 304 X\r\n\r\n" },
	};
	struct s3_stand *s = *state;

	assert_ok(s->b->ops->put(s->b, "packs/ab/x", span_str(DIGITS), NULL));
	for (size_t i = 0; i < 2 * ARRAY_SIZE(lies); i++) {
		struct proxy_rule lie = lies[i / 2];
		struct deadline dl = i % 2 ? deadline_in_ms(SOON_MS) : enough();
		char back[5] = "";
		size_t n;
		int r;

		/* told once, it may be asked again; told always, it is an error */
		lie.method = "GET";
		lie.times = i % 2 ? 0 : 1;
		proxy_clear(&s->proxy);
		proxy_add(&s->proxy, lie);
		r = s->b->ops->get(s->b, "packs/ab/x", 2, 4, back, &dl, &n);
		if ((r == 0 && (n != 4 || strcmp(back, "2345") != 0)) || (r == 0 && i % 2))
			fail_msg("lie %zu: %d, '%s'", i / 2, r, back);
		assert_true(proxy_hits(&s->proxy) > 0);
	}
}

static void a_reply_cut_anywhere_is_read_again(void **state)
{
	struct s3_stand *s = *state;
	_cleanup_free_ uint8_t *data = made_up(MEDIUM), *back = malloc(MEDIUM);

	assert_ok(s->b->ops->put(s->b, "packs/ab/x", span_of(data, MEDIUM), NULL));
	for (enum proxy_at at = AT_DELIVERED; at <= AT_END; at++) {
		struct deadline dl = enough();
		size_t n;

		proxy_clear(&s->proxy);
		proxy_add(&s->proxy,
			  (struct proxy_rule){
				  .method = "GET", .fault = PROXY_RESET, .at = at, .times = 1 });
		memset(back, 0, MEDIUM);
		assert_ok(s->b->ops->get(s->b, "packs/ab/x", 0, MEDIUM, back, &dl, &n));
		assert_int_equal(n, MEDIUM);
		assert_memory_equal(back, data, MEDIUM);
		assert_int_equal(proxy_hits(&s->proxy), 1);
	}
}

static int count_key(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	++*(unsigned *)ctx;
	return 0;
}

static void a_listing_is_whole_or_an_error(void **state)
{
	static const struct proxy_rule lies[] = {
		{ .fault = PROXY_EDIT, .from = "</ListBucketResult>", .text = "" },
		{ .fault = PROXY_EDIT, .from = "<IsTruncated>false</IsTruncated>", .text = "" },
		{ .fault = PROXY_EDIT,
		  .from = "<IsTruncated>false</IsTruncated>",
		  .text = "<IsTruncated>true</IsTruncated>" },
		/* for ever */
		{ .fault = PROXY_EDIT,
		  .from = "<IsTruncated>false</IsTruncated>",
		  .text = "<IsTruncated>true</IsTruncated>"
			  "<NextContinuationToken>x</NextContinuationToken>" },
		{ .fault = PROXY_EDIT, .from = "/names/r/b", .text = "/names/r/z" },
		{ .fault = PROXY_EDIT, .from = "/names/r/b", .text = "/names/r/a" },
		{ .fault = PROXY_EDIT, .from = "<Size>", .text = "<Size>x" },
		{ .fault = PROXY_EDIT, .from = "<Contents>", .text = "<Contents><Contents>" },
		{ .fault = PROXY_ANSWER, .text = "HTTP/1.1 200 OK\r\n\r\n" },
		{ .fault = PROXY_ANSWER, .text = "HTTP/1.1 200 OK\r\n\r\n<html></html>" },
		{ .fault = PROXY_ANSWER, .text = "HTTP/1.1 404 OK\r\n\r\n" },
	};
	static const char *const keys[] = { "names/r/a", "names/r/b", "names/r/c" };
	struct s3_stand *s = *state;

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		assert_ok(s->b->ops->put(s->b, keys[i], span_str("x"), NULL));
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		struct proxy_rule lie = lies[i];
		struct deadline dl = enough();
		unsigned n = 0;
		int r;

		lie.path = "list-type=2";
		/* a page after the last has nothing to be edited */
		lie.times = 1;
		proxy_clear(&s->proxy);
		proxy_add(&s->proxy, lie);
		r = s->b->ops->list(s->b, "names/r/", NULL, count_key, &n, &dl);
		if (r != -EIO && !(r == 0 && n == ARRAY_SIZE(keys)))
			fail_msg("lie %zu: %d, %u keys", i, r, n);
		assert_int_equal(proxy_hits(&s->proxy), 1);
	}
}

static void a_put_is_done_whatever_happens_once(void **state)
{
	struct s3_stand *s = *state;
	_cleanup_free_ uint8_t *data = made_up(MEDIUM);

	for (enum proxy_at at = AT_REQUEST_LINE; at <= AT_END; at++) {
		_cleanup_free_ char *key = strf("packs/ab/at%d", at);
		struct deadline dl = enough();

		/* the reply to a PUT has no body */
		if (at == AT_BODY)
			continue;
		proxy_clear(&s->proxy);
		proxy_add(&s->proxy,
			  (struct proxy_rule){
				  .method = "PUT", .fault = PROXY_RESET, .at = at, .times = 1 });
		assert_ok(s->b->ops->put(s->b, key, span_of(data, MEDIUM), &dl));
		assert_int_equal(proxy_hits(&s->proxy), 1);
		assert_holds(s->straight, key, span_of(data, MEDIUM));
	}
}

static void a_put_that_fails_leaves_nothing_in_part(void **state)
{
	struct s3_stand *s = *state;
	_cleanup_free_ uint8_t *data = made_up(MEDIUM);

	for (enum proxy_at at = AT_REQUEST_LINE; at < AT_END; at++) {
		_cleanup_free_ char *key = strf("packs/ab/at%d", at);
		struct deadline dl = deadline_in_ms(SOON_MS);

		if (at == AT_BODY)
			continue;
		proxy_clear(&s->proxy);
		proxy_add(&s->proxy,
			  (struct proxy_rule){ .method = "PUT", .fault = PROXY_CLOSE, .at = at });
		assert_int_equal(s->b->ops->put(s->b, key, span_of(data, MEDIUM), &dl), -ETIME);
		if (at < AT_DELIVERED)
			assert_false(is_there(s->straight, key));
		else if (is_there(s->straight, key))
			assert_holds(s->straight, key, span_of(data, MEDIUM));
	}
}

static void a_swap_whose_reply_is_lost_is_in_doubt_and_sent_once(void **state)
{
	struct s3_stand *s = *state;

	for (enum proxy_at at = AT_REQUEST_LINE; at < AT_END; at++) {
		_cleanup_free_ char *key = strf("heads/r/at%d", at);
		struct deadline dl = enough();
		struct etag tag;

		if (at == AT_BODY)
			continue;
		proxy_clear(&s->proxy);
		proxy_add(&s->proxy,
			  (struct proxy_rule){ .method = "PUT", .fault = PROXY_RESET, .at = at });
		assert_int_equal(s->b->ops->swap(s->b, key, NULL, span_str("1"), &dl, &tag),
				 -EINPROGRESS);
		/* cut before it was sent whole it may be sent again */
		if (at >= AT_DELIVERED)
			assert_int_equal(proxy_hits(&s->proxy), 1);
		assert_int_equal(is_there(s->straight, key), at >= AT_DELIVERED);
	}
}

static void a_swap_is_in_doubt_with_any_answer_that_does_not_say(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 200 OK\r\n\r\n", /* no tag */
		"HTTP/1.1 500 X\r\n\r\n",
		"HTTP/1.1 502 X\r\n\r\n<html>",
		"HTTP/1.1 503 X\r\nRetry-After: 1\r\n\r\n<Error><Code>SlowDown</Code></Error>",
		"HTTP/1.1 504 X\r\n\r\n",
		"nonsense\r\n\r\n",
	};
	struct s3_stand *s = *state;

	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		_cleanup_free_ char *key = strf("heads/r/case%zu", i);
		struct deadline dl = enough();
		struct etag tag;

		proxy_clear(&s->proxy);
		proxy_add(&s->proxy, (struct proxy_rule){ .method = "PUT",
							  .fault = PROXY_ANSWER_AFTER,
							  .text = answers[i] });
		assert_int_equal(s->b->ops->swap(s->b, key, NULL, span_str("1"), &dl, &tag),
				 -EINPROGRESS);
		assert_int_equal(proxy_hits(&s->proxy), 1);
		assert_holds(s->straight, key, span_str("1"));
	}
}

static void a_swap_delivered_late_changes_nothing_that_was_changed_since(void **state)
{
	struct s3_stand *s = *state;
	struct deadline dl = enough();
	struct etag first, tag;

	assert_ok(s->straight->ops->swap(s->straight, "heads/r/m", NULL, span_str("1"), NULL,
					 &first));
	proxy_add(&s->proxy, (struct proxy_rule){ .method = "PUT", .fault = PROXY_HOLD });
	assert_int_equal(s->b->ops->swap(s->b, "heads/r/m", &first, span_str("late"), &dl, &tag),
			 -EINPROGRESS);
	assert_int_equal(s->b->ops->swap(s->b, "heads/r/n", NULL, span_str("late"), &dl, &tag),
			 -EINPROGRESS);
	assert_ok(s->straight->ops->swap(s->straight, "heads/r/m", &first, span_str("2"), NULL,
					 &tag));
	assert_ok(
		s->straight->ops->swap(s->straight, "heads/r/n", NULL, span_str("2"), NULL, &tag));
	assert_int_equal(proxy_deliver(&s->proxy), 412);
	assert_holds(s->straight, "heads/r/m", span_str("2"));
	assert_holds(s->straight, "heads/r/n", span_str("2"));
}

static int begin_large(struct s3_stand *s, const char *key, const uint8_t *data, size_t len,
		       struct backend_put **ret)
{
	struct deadline dl = enough();
	int r = 0;

	assert_ok(s->b->ops->put_begin(s->b, key, ret));
	for (size_t at = 0; r == 0 && at < len; at += WRITE)
		r = s->b->ops->put_write(*ret, span_of(data + at, MIN((size_t)WRITE, len - at)),
					 &dl);
	return r;
}

static unsigned parts_sent(struct s3_stand *s)
{
	return proxy_count(&s->proxy, "PUT", "partNumber=");
}

/* Has the server an upload that was neither completed nor dropped? */
static bool has_uploads(struct s3_stand *s, const char *key)
{
	_cleanup_free_ char *url =
		strf("s3://pfs-tests/%s?endpoint=%s", s->prefix, getenv("PFS_TEST_S3"));
	/* MinIO wants the key whole */
	_cleanup_free_ char *query = strf("prefix=%s%%2F%s&uploads=", s->prefix, key);
	_cleanup_(s3_client_freep) struct s3_client *c = NULL;
	_cleanup_http_reply_ struct http_reply reply = { 0 };
	_cleanup_buf_ struct buf xml = { 0 };
	struct s3_request q = { .method = "GET", .query = query, .max = 1 << 20, .out = &xml };

	assert_ok(s3_client_new(url, &c));
	assert_ok(s3_request(c, &q, NULL, &reply));
	assert_non_null(memmem(xml.data, xml.len, "<ListMultipartUploadsResult", 27));
	return memmem(xml.data, xml.len, "<UploadId>", 10);
}

static void a_large_object_goes_in_parts_while_it_is_written(void **state)
{
	struct s3_stand *s = *state;
	_cleanup_free_ uint8_t *data = made_up(LARGE);
	struct deadline dl = enough();
	struct backend_put *p;

	assert_ok(begin_large(s, "x", data, LARGE, &p));
	assert_int_equal(parts_sent(s), 2);
	assert_true(has_uploads(s, "x"));
	assert_false(is_there(s->straight, "x"));
	assert_ok(s->b->ops->put_end(p, &dl));
	assert_int_equal(parts_sent(s), 3);
	assert_holds(s->straight, "x", span_of(data, LARGE));
	assert_false(has_uploads(s, "x"));
	/* the same at once */
	assert_ok(s->b->ops->put(s->b, "y", span_of(data, LARGE), &dl));
	assert_int_equal(parts_sent(s), 6);
	assert_holds(s->straight, "y", span_of(data, LARGE));
}

static void what_one_request_can_carry_goes_in_one(void **state)
{
	struct s3_stand *s = *state;
	_cleanup_free_ uint8_t *data = made_up(64 << 20);
	struct deadline dl = enough();
	struct backend_put *p;

	assert_ok(begin_large(s, "x", data, 64 << 20, &p));
	assert_ok(s->b->ops->put_end(p, &dl));
	assert_int_equal(proxy_count(&s->proxy, "PUT", NULL), 1);
	assert_int_equal(proxy_count(&s->proxy, "POST", NULL), 0);
}

static void replies_lost_on_the_way_of_an_upload_are_made_good(void **state)
{
	static const struct proxy_rule faults[] = {
		{ .method = "POST", .path = "uploads=", .at = AT_DELIVERED },
		{ .path = "partNumber=1", .at = AT_DELIVERED },
		{ .path = "partNumber=2", .at = AT_REQUEST_BODY },
		{ .path = "partNumber=3", .at = AT_STATUS },
		/* done all the same: the server knows of no upload then */
		{ .method = "POST", .path = "uploadId=", .at = AT_DELIVERED },
		{ .method = "POST", .path = "uploadId=", .at = AT_BODY },
	};
	struct s3_stand *s = *state;
	_cleanup_free_ uint8_t *data = made_up(LARGE);

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		struct proxy_rule f = faults[i];
		struct deadline dl = enough();

		f.fault = PROXY_RESET;
		f.times = 1;
		proxy_clear(&s->proxy);
		proxy_add(&s->proxy, f);
		assert_ok(s->b->ops->put(s->b, "x", span_of(data, LARGE), &dl));
		assert_int_equal(proxy_hits(&s->proxy), 1);
		assert_holds(s->straight, "x", span_of(data, LARGE));
		assert_ok(s->straight->ops->remove(s->straight, "x", NULL));
	}
}

static void a_completion_that_fails_in_its_body_is_tried_again(void **state)
{
	static const char *const replies[] = {
		"HTTP/1.1 200 OK\r\n\r\n   <Error><Code>InternalError</Code></Error>",
		"HTTP/1.1 200 OK\r\n\r\n     ",
		"HTTP/1.1 503 X\r\n\r\n",
	};
	struct s3_stand *s = *state;
	_cleanup_free_ uint8_t *data = made_up(LARGE);

	for (size_t i = 0; i < ARRAY_SIZE(replies); i++) {
		struct deadline dl = enough();

		proxy_clear(&s->proxy);
		proxy_add(&s->proxy, (struct proxy_rule){ .method = "POST",
							  .path = "uploadId=",
							  .fault = PROXY_ANSWER,
							  .text = replies[i],
							  .times = 1 });
		assert_ok(s->b->ops->put(s->b, "x", span_of(data, LARGE), &dl));
		assert_int_equal(proxy_hits(&s->proxy), 1);
		assert_holds(s->straight, "x", span_of(data, LARGE));
		assert_ok(s->straight->ops->remove(s->straight, "x", NULL));
	}
}

static void an_upload_that_fails_or_is_aborted_leaves_nothing(void **state)
{
	static const struct proxy_rule faults[] = {
		{ .fault = PROXY_NONE }, /* aborted by its owner */
		{ .path = "partNumber=2", .fault = PROXY_ANSWER, .text = "HTTP/1.1 403 X\r\n\r\n" },
		{ .method = "POST",
		  .path = "uploadId=",
		  .fault = PROXY_ANSWER,
		  .text = "HTTP/1.1 200 OK\r\n\r\n<Error><Code>InvalidPart</Code></Error>" },
	};
	struct s3_stand *s = *state;
	_cleanup_free_ uint8_t *data = made_up(LARGE);

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		struct deadline dl = enough();
		struct backend_put *p;
		int r;

		proxy_clear(&s->proxy);
		proxy_add(&s->proxy, faults[i]);
		r = begin_large(s, "x", data, LARGE, &p);
		if (r < 0 || i == 0)
			s->b->ops->put_abort(p);
		else
			r = s->b->ops->put_end(p, &dl);
		assert_int_equal(r, i == 0 ? 0 : i == 1 ? -EACCES : -EIO);
		assert_int_equal(proxy_count(&s->proxy, "DELETE", "uploadId="), i + 1);
		assert_false(has_uploads(s, "x"));
		assert_false(is_there(s->straight, "x"));
	}
}

static void who_makes_a_store_is_told_soon_that_there_is_no_server(void **state)
{
	static const char *const endpoints[] = { NULL, "http://nowhere.invalid" };
	const struct backend_options make = { .create = true };
	struct s3_stand *s = *state;

	proxy_refuse(&s->proxy, true);
	for (size_t i = 0; i < ARRAY_SIZE(endpoints); i++) {
		_cleanup_free_ char *url = strf("s3://pfs-tests/%s?endpoint=%s", s->prefix,
						endpoints[i] ?: s->proxy.url);
		int64_t begun = now_ns();
		struct backend *b;

		assert_int_equal(backend_open(url, &make, &b), -EIO);
		assert_said(endpoints[i] ? "esolve" : "onnect");
		assert_said(url);
		/* before the time for all of it is over */
		assert_true(now_ns() - begun < 9 * 1000000000ll);
	}
}

static void who_opens_a_store_need_not_have_its_server(void **state)
{
	const struct backend_options look = { 0 };
	struct s3_stand *s = *state;
	_cleanup_free_ char *url = strf("s3://pfs-tests/%s?endpoint=%s", s->prefix, s->proxy.url);
	struct backend *b;
	uint64_t size;

	assert_ok(s->straight->ops->put(s->straight, "x", span_str("1"), NULL));
	proxy_refuse(&s->proxy, true);
	assert_ok(backend_open(url, &look, &b));
	proxy_refuse(&s->proxy, false);
	assert_ok(b->ops->head(b, "x", NULL, &size));
	backend_free(b);
}

static void a_bucket_is_made_where_its_store_says(void **state)
{
	const struct backend_options make = { .create = true };
	struct s3_stand *s = *state;
	_cleanup_free_ char *url =
		strf("s3://pfs-%s-a?endpoint=%s&region=eu-central-1", s->prefix, s->proxy.url);
	_cleanup_free_ char *other =
		strf("s3://pfs-%s-b?endpoint=%s&region=eu-central-1", s->prefix, s->proxy.url);
	struct backend *b;

	assert_ok(backend_open(url, &make, &b));
	assert_true(
		proxy_last_has(&s->proxy, "<LocationConstraint>eu-central-1</LocationConstraint>"));
	assert_ok(b->ops->put(b, "x", span_str("1"), NULL));
	backend_free(b);
	/* where servers know no such region, it is made without */
	proxy_add(&s->proxy,
		  (struct proxy_rule){
			  .method = "PUT",
			  .fault = PROXY_ANSWER,
			  .times = 1,
			  .text = "HTTP/1.1 400 X\r\n\r\n"
				  "<Error><Code>InvalidLocationConstraint</Code></Error>" });
	assert_ok(backend_open(other, &make, &b));
	assert_false(proxy_last_has(&s->proxy, "LocationConstraint"));
	assert_ok(b->ops->put(b, "x", span_str("1"), NULL));
	backend_free(b);
}

static void a_refusal_is_told_in_the_servers_words(void **state)
{
	const struct backend_options make = { .create = true };
	struct s3_stand *s = *state;
	_cleanup_free_ char *url = strf("s3://pfs-tests/%s?endpoint=%s", s->prefix, s->proxy.url);
	const char *secret = getenv("AWS_SECRET_ACCESS_KEY");
	_cleanup_free_ char *former = strdup(secret);
	struct backend *b;

	setenv("AWS_SECRET_ACCESS_KEY", "another-one-entirely", 1);
	assert_int_equal(backend_open(url, &make, &b), -EACCES);
	assert_said("signature");
	setenv("AWS_SECRET_ACCESS_KEY", former, 1);
}

static void a_server_that_knows_nothing_is_said_to_be_none(void **state)
{
	const struct backend_options make = { .create = true };
	struct s3_stand *s = *state;
	_cleanup_free_ char *url = strf("s3://pfs-tests/%s?endpoint=%s", s->prefix, s->proxy.url);
	struct backend *b;

	proxy_add(&s->proxy,
		  (struct proxy_rule){ .fault = PROXY_ANSWER, .text = "HTTP/1.1 404 X\r\n\r\n" });
	assert_int_equal(backend_open(url, &make, &b), -EIO);
	assert_said("is there an S3 server at this endpoint?");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_stand, close_stand)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_range_is_read_right_or_not_at_all),
		TEST(a_reply_cut_anywhere_is_read_again),
		TEST(a_listing_is_whole_or_an_error),
		TEST(a_put_is_done_whatever_happens_once),
		TEST(a_put_that_fails_leaves_nothing_in_part),
		TEST(a_swap_whose_reply_is_lost_is_in_doubt_and_sent_once),
		TEST(a_swap_is_in_doubt_with_any_answer_that_does_not_say),
		TEST(a_swap_delivered_late_changes_nothing_that_was_changed_since),
		TEST(a_large_object_goes_in_parts_while_it_is_written),
		TEST(what_one_request_can_carry_goes_in_one),
		TEST(replies_lost_on_the_way_of_an_upload_are_made_good),
		TEST(a_completion_that_fails_in_its_body_is_tried_again),
		TEST(an_upload_that_fails_or_is_aborted_leaves_nothing),
		TEST(who_makes_a_store_is_told_soon_that_there_is_no_server),
		TEST(who_opens_a_store_need_not_have_its_server),
		TEST(a_bucket_is_made_where_its_store_says),
		TEST(a_refusal_is_told_in_the_servers_words),
		TEST(a_server_that_knows_nothing_is_said_to_be_none),
	};

	if (!s3_stand_is_possible())
		return SKIPPED;
	log_set_quiet(true);
	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
