/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Signatures, held against the examples that Amazon publishes with what they must come to.
 */
#include "check.h"
#include "s3/sign.h"

static const char example_access[] = "AKIAIOSFODNN7EXAMPLE";
static const char example_secret[] = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
static const char example_date[] = "20130524T000000Z";

#define EXAMPLE_HOST "examplebucket.s3.amazonaws.com"
#define NO_BODY	     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define WELCOME	     "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
#define CREDENTIAL   "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"

static char *sign(const struct s3_to_sign *q, const char *secret, const char *region,
		  const char *date)
{
	struct buf b = { 0 };

	assert_ok(s3_sign(q, example_access, secret, region, date, &b));
	buf_put_u8(&b, 0);
	assert_false(buf_failed(&b));
	return (char *)b.data;
}

static void the_published_examples_come_to_their_signatures(void **state)
{
	static const struct s3_header get[] = {
		{ "host", EXAMPLE_HOST },
		{ "range", "bytes=0-9" },
		{ "x-amz-content-sha256", NO_BODY },
		{ "x-amz-date", "20130524T000000Z" },
	};
	static const struct s3_header put[] = {
		{ "date", "Fri, 24 May 2013 00:00:00 GMT" },
		{ "host", EXAMPLE_HOST },
		{ "x-amz-content-sha256", WELCOME },
		{ "x-amz-date", "20130524T000000Z" },
		{ "x-amz-storage-class", "REDUCED_REDUNDANCY" },
	};
	static const struct s3_header plain[] = {
		{ "host", EXAMPLE_HOST },
		{ "x-amz-content-sha256", NO_BODY },
		{ "x-amz-date", "20130524T000000Z" },
	};
	static const struct {
		struct s3_to_sign q;
		const char *names, *signature;
	} examples[] = {
		{ { "GET", "/test.txt", "", get, ARRAY_SIZE(get), NO_BODY },
		  "host;range;x-amz-content-sha256;x-amz-date",
		  "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41" },
		{ { "PUT", "/test%24file.text", "", put, ARRAY_SIZE(put), WELCOME },
		  "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
		  "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd" },
		{ { "GET", "/", "lifecycle=", plain, ARRAY_SIZE(plain), NO_BODY },
		  "host;x-amz-content-sha256;x-amz-date",
		  "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543" },
		{ { "GET", "/", "max-keys=2&prefix=J", plain, ARRAY_SIZE(plain), NO_BODY },
		  "host;x-amz-content-sha256;x-amz-date",
		  "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(examples); i++) {
		_cleanup_free_ char *got =
			sign(&examples[i].q, example_secret, "us-east-1", example_date);
		char want[512];

		snprintf(want, sizeof(want),
			 "AWS4-HMAC-SHA256 Credential=" CREDENTIAL ",SignedHeaders=%s,Signature=%s",
			 examples[i].names, examples[i].signature);
		assert_string_equal(got, want);
	}
}

static void every_part_of_a_request_is_signed(void **state)
{
	static const struct s3_header headers[] = { { "host", "h" }, { "x-amz-date", "d" } };
	static const struct s3_header other_value[] = { { "host", "g" }, { "x-amz-date", "d" } };
	static const struct s3_header other_name[] = { { "hosu", "h" }, { "x-amz-date", "d" } };
	static const struct {
		struct s3_to_sign q;
		const char *secret, *region, *date;
	} cases[] = {
		{ { "GET", "/a", "b=c", headers, 2, NO_BODY }, "s", "r", "20130524T000000Z" },
		{ { "PUT", "/a", "b=c", headers, 2, NO_BODY }, "s", "r", "20130524T000000Z" },
		{ { "GET", "/b", "b=c", headers, 2, NO_BODY }, "s", "r", "20130524T000000Z" },
		{ { "GET", "/a", "b=d", headers, 2, NO_BODY }, "s", "r", "20130524T000000Z" },
		{ { "GET", "/a", "b=c", other_value, 2, NO_BODY }, "s", "r", "20130524T000000Z" },
		{ { "GET", "/a", "b=c", other_name, 2, NO_BODY }, "s", "r", "20130524T000000Z" },
		{ { "GET", "/a", "b=c", headers, 1, NO_BODY }, "s", "r", "20130524T000000Z" },
		{ { "GET", "/a", "b=c", headers, 2, WELCOME }, "s", "r", "20130524T000000Z" },
		{ { "GET", "/a", "b=c", headers, 2, NO_BODY }, "t", "r", "20130524T000000Z" },
		{ { "GET", "/a", "b=c", headers, 2, NO_BODY }, "s", "q", "20130524T000000Z" },
		{ { "GET", "/a", "b=c", headers, 2, NO_BODY }, "s", "r", "20130524T000001Z" },
		{ { "GET", "/a", "b=c", headers, 2, NO_BODY }, "s", "r", "20130525T000000Z" },
	};
	char *got[ARRAY_SIZE(cases)];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		got[i] = sign(&cases[i].q, cases[i].secret, cases[i].region, cases[i].date);
		for (size_t k = 0; k < i; k++)
			if (strcmp(strstr(got[i], ",Signature="), strstr(got[k], ",Signature=")) ==
			    0)
				fail_msg("cases %zu and %zu are signed alike", k, i);
	}
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		free(got[i]);
}

static void a_result_takes_the_place_of_what_was_there(void **state)
{
	static const struct s3_header headers[] = { { "host", "h" } };
	const struct s3_to_sign q = { "GET", "/", "", headers, 1, NO_BODY };
	_cleanup_buf_ struct buf b = { 0 };
	size_t len;

	assert_ok(s3_sign(&q, "A", "s", "r", example_date, &b));
	len = b.len;
	assert_ok(s3_sign(&q, "A", "s", "r", example_date, &b));
	assert_int_equal(b.len, len);
}

/* A secret may be as long as a server likes: over 64 bytes HMAC hashes its key first. */
static void a_key_longer_than_a_block_counts_to_its_end(void **state)
{
	static const struct s3_header headers[] = { { "host", "h" } };
	const struct s3_to_sign q = { "GET", "/", "", headers, 1, NO_BODY };
	char secret[201];

	memset(secret, 'k', sizeof(secret) - 1);
	secret[200] = '\0';
	{
		_cleanup_free_ char *a = sign(&q, secret, "r", example_date), *b = NULL;

		secret[199] = 'l';
		b = sign(&q, secret, "r", example_date);
		assert_string_not_equal(a, b);
	}
}

static void bytes_hash_to_what_fips_180_says(void **state)
{
	static const struct {
		const char *data, *hex;
	} cases[] = {
		{ "", NO_BODY },
		{ "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
		{ "Welcome to Amazon S3.", WELCOME },
	};
	char hex[S3_SHA256_HEX];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		s3_sha256_hex(span_str(cases[i].data), hex);
		assert_string_equal(hex, cases[i].hex);
	}
	s3_sha256_hex((struct span){ NULL, 0 }, hex);
	assert_string_equal(hex, NO_BODY);
	/* a NUL is a byte as any */
	s3_sha256_hex(span_of("\0", 1), hex);
	assert_string_equal(hex,
			    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
}

static void seconds_become_dates_in_utc(void **state)
{
	static const struct {
		int64_t seconds;
		const char *date;
	} cases[] = {
		{ 0, "19700101T000000Z" },
		{ -1, "19691231T235959Z" },
		{ 1369353600, "20130524T000000Z" },
		{ 951782399, "20000228T235959Z" },
		{ 951782400, "20000229T000000Z" },
		{ 4107542400, "21000301T000000Z" },
		{ -62167219200, "00000101T000000Z" },
		{ 253402300799, "99991231T235959Z" },
	};
	char date[S3_DATE];

	setenv("TZ", "Asia/Tokyo", 1);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_ok(s3_date(cases[i].seconds, date));
		assert_string_equal(date, cases[i].date);
	}
}

static void seconds_without_a_date_of_four_digits_are_refused(void **state)
{
	static const int64_t bad[] = { -62167219201, 253402300800, INT64_MIN, INT64_MAX };
	char date[S3_DATE] = "kept";

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(s3_date(bad[i], date), -EINVAL);
	assert_string_equal(date, "kept");
}

static void a_query_is_encoded_byte_by_byte(void **state)
{
	static const struct {
		const char *s, *encoded;
	} cases[] = {
		{ "", "" },
		{ "AZaz09-._~", "AZaz09-._~" },
		{ "a/b c+d", "a%2Fb%20c%2Bd" },
		{ "=&?#%", "%3D%26%3F%23%25" },
		{ "\xc3\xa4\xff\x01\x7f", "%C3%A4%FF%01%7F" },
		{ "*'()!", "%2A%27%28%29%21" },
		/* what a listing's token may look like */
		{ "1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=",
		  "1ueGcxLPRx1Tr%2FXYExHnhbYLgveDs2J%2Fwm36Hy4vbOwM%3D" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_buf_ struct buf b = { 0 };

		buf_printf(&b, "x=");
		s3_query_encode(&b, cases[i].s);
		buf_put_u8(&b, 0);
		assert_false(buf_failed(&b));
		assert_string_equal((char *)b.data + 2, cases[i].encoded);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_published_examples_come_to_their_signatures),
		cmocka_unit_test(every_part_of_a_request_is_signed),
		cmocka_unit_test(a_result_takes_the_place_of_what_was_there),
		cmocka_unit_test(a_key_longer_than_a_block_counts_to_its_end),
		cmocka_unit_test(bytes_hash_to_what_fips_180_says),
		cmocka_unit_test(seconds_become_dates_in_utc),
		cmocka_unit_test(seconds_without_a_date_of_four_digits_are_refused),
		cmocka_unit_test(a_query_is_encoded_byte_by_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
