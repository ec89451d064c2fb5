/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which places URLs of buckets mean, what they are called, and where their objects are.
 */
#include "base/log.h"
#include "check.h"
#include "s3/url.h"

static void urls_mean_their_places(void **state)
{
	static const struct {
		const char *url, *scheme, *host, *path, *region, *name;
	} cases[] = {
		{ "s3://abc", "https", "abc.s3.us-east-1.amazonaws.com", "/k", "us-east-1",
		  "s3://abc" },
		{ "s3://abc/", "https", "abc.s3.us-east-1.amazonaws.com", "/k", "us-east-1",
		  "s3://abc" },
		{ "s3://abc/p/q", "https", "abc.s3.us-east-1.amazonaws.com", "/p/q/k", "us-east-1",
		  "s3://abc/p/q" },
		{ "s3://abc/p/q/?region=eu-west-1", "https", "abc.s3.eu-west-1.amazonaws.com",
		  "/p/q/k", "eu-west-1", "s3://abc/p/q?region=eu-west-1" },
		{ "s3://abc?region=us-east-1&style=virtual", "https",
		  "abc.s3.us-east-1.amazonaws.com", "/k", "us-east-1", "s3://abc" },
		{ "s3://abc?style=path", "https", "s3.us-east-1.amazonaws.com", "/abc/k",
		  "us-east-1", "s3://abc?style=path" },
		{ "s3://abc?region=cn-north-1", "https", "abc.s3.cn-north-1.amazonaws.com.cn", "/k",
		  "cn-north-1", "s3://abc?region=cn-north-1" },
		/* a certificate holds for one label */
		{ "s3://a.bc", "https", "s3.us-east-1.amazonaws.com", "/a.bc/k", "us-east-1",
		  "s3://a.bc" },
		{ "s3://a.bc?style=virtual", "https", "a.bc.s3.us-east-1.amazonaws.com", "/k",
		  "us-east-1", "s3://a.bc?style=virtual" },
		{ "s3://abc/p?endpoint=http://127.0.0.1:9000", "http", "127.0.0.1:9000", "/abc/p/k",
		  "us-east-1", "s3://abc/p?endpoint=http://127.0.0.1:9000" },
		{ "s3://abc?endpoint=HTTPS://Minio.Example.ORG:0443/&style=path", "https",
		  "minio.example.org", "/abc/k", "us-east-1",
		  "s3://abc?endpoint=https://minio.example.org" },
		{ "s3://abc?endpoint=http://h:80", "http", "h", "/abc/k", "us-east-1",
		  "s3://abc?endpoint=http://h" },
		{ "s3://abc?endpoint=https://h:80", "https", "h:80", "/abc/k", "us-east-1",
		  "s3://abc?endpoint=https://h:80" },
		{ "s3://abc?style=virtual&region=RegionOne&endpoint=https%3a%2F%2fceph:7480",
		  "https", "abc.ceph:7480", "/k", "RegionOne",
		  "s3://abc?endpoint=https://ceph:7480&region=RegionOne&style=virtual" },
		{ "s3://abc?endpoint=http://[0:0::0001]:9000", "http", "[::1]:9000", "/abc/k",
		  "us-east-1", "s3://abc?endpoint=http://[::1]:9000" },
		{ "s3://abc?endpoint=https://[FE80::1]", "https", "[fe80::1]", "/abc/k",
		  "us-east-1", "s3://abc?endpoint=https://[fe80::1]" },
		{ "s3://abc?endpoint=http://min_io-1.local", "http", "min_io-1.local", "/abc/k",
		  "us-east-1", "s3://abc?endpoint=http://min_io-1.local" },
		{ "s3://abc?%65ndpoint=http://h", "http", "h", "/abc/k", "us-east-1",
		  "s3://abc?endpoint=http://h" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_s3_place_ struct s3_place p = { 0 }, again = { 0 };
		_cleanup_free_ char *name = NULL, *path = NULL, *name_again = NULL;

		if (s3_place_parse(cases[i].url, &p) < 0)
			fail_msg("%s is refused", cases[i].url);
		name = s3_place_name(&p);
		path = s3_place_path(&p, "k");
		assert_string_equal(p.scheme, cases[i].scheme);
		assert_string_equal(p.host, cases[i].host);
		assert_string_equal(p.region, cases[i].region);
		assert_string_equal(path, cases[i].path);
		assert_string_equal(name, cases[i].name);
		/* what it is called is the same place */
		assert_ok(s3_place_parse(name, &again));
		name_again = s3_place_name(&again);
		assert_string_equal(name_again, name);
		assert_string_equal(again.host, p.host);
		assert_string_equal(again.prefix, p.prefix);
		assert_int_equal(again.is_virtual, p.is_virtual);
		assert_int_equal(again.is_aws, p.is_aws);
		assert_int_equal(p.is_aws, !strstr(cases[i].url, "ndpoint="));
	}
}

static void what_is_of_this_machine_is_kept_and_is_not_in_the_name(void **state)
{
	_cleanup_s3_place_ struct s3_place p = { 0 };
	_cleanup_free_ char *name = NULL;

	assert_ok(s3_place_parse("s3://abc?profile=my%20own&ca=/etc/a+b%26c.pem&"
				 "credentials=/home/j\xc3\xbcrgen/keys",
				 &p));
	assert_string_equal(p.profile, "my own");
	assert_string_equal(p.ca_file, "/etc/a+b&c.pem");
	assert_string_equal(p.credentials_file, "/home/j\xc3\xbcrgen/keys");
	name = s3_place_name(&p);
	assert_string_equal(name, "s3://abc");
}

static void what_is_not_said_is_null(void **state)
{
	_cleanup_s3_place_ struct s3_place p = { 0 };

	assert_ok(s3_place_parse("s3://abc", &p));
	assert_null(p.profile);
	assert_null(p.ca_file);
	assert_null(p.credentials_file);
	assert_string_equal(p.prefix, "");
	assert_string_equal(p.bucket, "abc");
}

static void assert_refused(const char *url)
{
	struct s3_place p = { .bucket = (char *)"kept" };

	log_set_quiet(true);
	complaint_clear();
	if (s3_place_parse(url, &p) != -EINVAL)
		fail_msg("'%s' is taken", url);
	assert_string_equal(p.bucket, "kept");
	if (!strstr(complaint(), "store's URL"))
		fail_msg("'%s': '%s'", url, complaint());
}

static void other_buckets_and_prefixes_are_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"s3:",
		"s3:/abc",
		"S3://abc",
		"file:///abc",
		"s3://",
		"s3:///p",
		"s3://?region=r",
		/* buckets */
		"s3://ab",
		"s3://Abc",
		"s3://a_bc",
		"s3://..",
		"s3://...",
		"s3://a..b",
		"s3://.abc",
		"s3://abc.",
		"s3://-abc",
		"s3://abc-",
		"s3://a-.b",
		"s3://a%62c",
		"s3://192.168.0.1",
		"s3://abc#f",
		"s3://0123456789012345678901234567890123456789012345678901234567890123",
		/* prefixes */
		"s3://abc//",
		"s3://abc//p",
		"s3://abc/p//q",
		"s3://abc/p//",
		"s3://abc/.",
		"s3://abc/..",
		"s3://abc/../x",
		"s3://abc/p/./q",
		"s3://abc/p/..",
		"s3://abc/p q",
		"s3://abc/p%20q",
		"s3://abc/p#f",
		"s3://abc/\xc3\xa4",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_refused(bad[i]);
}

static void other_names_and_values_are_refused(void **state)
{
	static const char *const bad[] = {
		"s3://abc?",
		"s3://abc?region",
		"s3://abc?region=",
		"s3://abc?=r",
		"s3://abc?region=r&",
		"s3://abc?&region=r",
		"s3://abc?Region=r",
		"s3://abc?colour=red",
		"s3://abc?region=r&region=r",
		"s3://abc?region=r&profile=x&%72egion=s",
		"s3://abc?profile=%",
		"s3://abc?profile=%4",
		"s3://abc?profile=%4g",
		"s3://abc?profile=a%00b",
		"s3://abc?profile=a%0ab",
		"s3://abc?profile=a%0db",
		"s3://abc?profile=a\nb",
		"s3://abc?profile=a%7f",
		"s3://abc?pro%00file=a",
		"s3://abc?region=us/east",
		"s3://abc?region=a.b",
		"s3://abc?region=us_east",
		"s3://abc?region=x.evil.org%23",
		"s3://abc?style=both",
		"s3://abc?ca=ca.pem",
		"s3://abc?credentials=~/keys",
		"s3://abc?ca=/ca.pem&endpoint=http://h",
		"s3://abc?transport=libs3",
		"s3://abc?transport=libs3&endpoint=https://h",
		"s3://abc?transport=curl&endpoint=http://h",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_refused(bad[i]);
}

static void endpoints_that_would_be_sent_otherwise_are_refused(void **state)
{
	static const char *const bad[] = {
		"s3://abc?endpoint=h",
		"s3://abc?endpoint=ftp://h",
		"s3://abc?endpoint=http://",
		"s3://abc?endpoint=http:///x",
		"s3://abc?endpoint=http://h/x",
		"s3://abc?endpoint=http://h//",
		"s3://abc?endpoint=http://h?x=y",
		"s3://abc?endpoint=http://h%23x",
		"s3://abc?endpoint=http://u:p@h",
		"s3://abc?endpoint=http://h:",
		"s3://abc?endpoint=http://h:0",
		"s3://abc?endpoint=http://h:65536",
		"s3://abc?endpoint=http://h:99999999999999999999",
		"s3://abc?endpoint=http://h:8a",
		"s3://abc?endpoint=http://h:-1",
		"s3://abc?endpoint=http://h..i",
		"s3://abc?endpoint=http://h.",
		"s3://abc?endpoint=http://h%0d%0aX-Evil:%201",
		"s3://abc?endpoint=http://a%20b",
		"s3://abc?endpoint=http://\xc3\xa4.org",
		/* addresses that libcurl would write anew */
		"s3://abc?endpoint=http://127.1",
		"s3://abc?endpoint=http://2130706433",
		"s3://abc?endpoint=http://0x7f.0.0.0x1",
		"s3://abc?endpoint=http://127.0.0.01",
		"s3://abc?endpoint=http://1.2.3.256",
		"s3://abc?endpoint=http://[::1",
		"s3://abc?endpoint=http://[::1]x",
		"s3://abc?endpoint=http://[]",
		"s3://abc?endpoint=http://[::g]",
		"s3://abc?endpoint=http://[fe80::1%25eth0]",
		"s3://abc?endpoint=http://::1",
		/* no name to stand before */
		"s3://abc?endpoint=http://127.0.0.1&style=virtual",
		"s3://abc?endpoint=http://[::1]&style=virtual",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_refused(bad[i]);
}

static void a_key_in_a_url_is_not_quoted(void **state)
{
	static const char *const urls[] = {
		"s3://AKIA:hush@abc",
		"s3://AKIA:hush/hush@abc",
		"s3://abc?endpoint=https://AKIA:hush@h",
		"s3://abc?secret_key=hush",
		"s3://abc?HUSH/hush",
		"s3://abc/hush@h",
		"s3://abc?profile=hush%0a",
		"s3://abc?profile=x&profile=hush",
	};

	log_set_quiet(true);
	for (size_t i = 0; i < ARRAY_SIZE(urls); i++) {
		struct s3_place p;

		complaint_clear();
		assert_int_equal(s3_place_parse(urls[i], &p), -EINVAL);
		assert_true(*complaint());
		assert_null(strstr(complaint(), "hush"));
		assert_null(strstr(complaint(), "AKIA"));
	}
}

/* s3://abc/ and @n bytes in parts of @part. */
static int parse_long(size_t n, size_t part)
{
	_cleanup_s3_place_ struct s3_place p = { 0 };
	char url[8192] = "s3://abc/";
	size_t at = strlen(url);

	for (size_t i = 0; i < n; i++)
		url[at + i] = i % (part + 1) == part ? '/' : 'x';
	url[at + n] = '\0';
	return s3_place_parse(url, &p);
}

static void a_prefix_is_as_long_as_a_servers_keys_allow(void **state)
{
	log_set_quiet(true);
	assert_ok(parse_long(255, 255));
	assert_int_equal(parse_long(256, 256), -EINVAL);
	assert_ok(parse_long(510, 99));
	assert_int_equal(parse_long(511, 99), -EINVAL);
	assert_int_equal(parse_long(8000, 99), -EINVAL);
}

static void a_bucket_has_a_path_too(void **state)
{
	_cleanup_s3_place_ struct s3_place virtual = { 0 }, path = { 0 };
	_cleanup_free_ char *a = NULL, *b = NULL;

	assert_ok(s3_place_parse("s3://abc/p", &virtual));
	assert_ok(s3_place_parse("s3://abc/p?style=path", &path));
	a = s3_place_path(&virtual, NULL);
	b = s3_place_path(&path, NULL);
	assert_string_equal(a, "/");
	assert_string_equal(b, "/abc");
}

static void a_path_is_encoded_but_for_its_slashes(void **state)
{
	_cleanup_s3_place_ struct s3_place p = { 0 };
	_cleanup_free_ char *path = NULL;

	assert_ok(s3_place_parse("s3://abc/p", &p));
	path = s3_place_path(&p, "a/B9-._~ %+?#&=:@\xc3\xa4");
	assert_string_equal(path, "/p/a/B9-._~%20%25%2B%3F%23%26%3D%3A%40%C3%A4");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(urls_mean_their_places),
		cmocka_unit_test(what_is_of_this_machine_is_kept_and_is_not_in_the_name),
		cmocka_unit_test(what_is_not_said_is_null),
		cmocka_unit_test(other_buckets_and_prefixes_are_refused),
		cmocka_unit_test(other_names_and_values_are_refused),
		cmocka_unit_test(endpoints_that_would_be_sent_otherwise_are_refused),
		cmocka_unit_test(a_key_in_a_url_is_not_quoted),
		cmocka_unit_test(a_prefix_is_as_long_as_a_servers_keys_allow),
		cmocka_unit_test(a_bucket_has_a_path_too),
		cmocka_unit_test(a_path_is_encoded_but_for_its_slashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
