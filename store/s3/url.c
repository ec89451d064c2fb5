/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The URL of a bucket, taken apart and put together.
 *
 * Invariants
 *  - what is put into a host, a path or a signature has been held against the few characters that
 *    it may have, and is in the form that libcurl gives to it: signed and sent are the same
 *  - two URLs that mean the same place have the same name, and the name read again is that place
 *  - a sentence never quotes what might be a key that was put into the URL by mistake
 *
 * Threads: none of its own, no state.
 */
#include "s3/url.h"

#include <arpa/inet.h>
#include <strings.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/text.h"

enum {
	URL_MAX = 4096,
	BUCKET_MIN = 3,
	BUCKET_MAX = 63,
	PREFIX_MAX = 511, /* a server's key has up to 1024 bytes, and ours up to 512 of them */
	PART_MAX = 255,
	REGION_MAX = 63,
	LABEL_MAX = 63,
	HOST_MAX = 253, /* without a port */
};

#define LOWER	       "abcdefghijklmnopqrstuvwxyz"
#define UPPER	       "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS	       "0123456789"
#define DEFAULT_REGION "us-east-1"

enum param {
	PARAM_ENDPOINT,
	PARAM_REGION,
	PARAM_STYLE,
	PARAM_PROFILE,
	PARAM_CA,
	PARAM_CREDENTIALS,
	PARAM_TRANSPORT,
	PARAM_COUNT,
};

static const char *const param_names[PARAM_COUNT] = {
	[PARAM_ENDPOINT] = "endpoint",
	[PARAM_REGION] = "region",
	[PARAM_STYLE] = "style",
	[PARAM_PROFILE] = "profile",
	[PARAM_CA] = "ca",
	[PARAM_CREDENTIALS] = "credentials",
	[PARAM_TRANSPORT] = "transport",
};

/* What stands after the '?'. */
struct params {
	char *values[PARAM_COUNT]; /* owned; NULL: not said */
};

static void params_release(struct params *p)
{
	for (size_t i = 0; i < PARAM_COUNT; i++)
		free(p->values[i]);
}

struct server {
	const char *scheme; /* static */
	char *host; /* owned; with the port unless it is the scheme's */
	bool is_address; /* no name that a bucket could stand before */
};

static void server_release(struct server *s)
{
	free(s->host);
}

void s3_place_release(struct s3_place *p)
{
	free(p->bucket);
	free(p->prefix);
	free(p->scheme);
	free(p->host);
	free(p->region);
	free(p->profile);
	free(p->ca_file);
	free(p->credentials_file);
	*p = (struct s3_place){ 0 };
}

static bool consists_of(const char *s, const char *allowed)
{
	return s[strspn(s, allowed)] == '\0';
}

static bool is_control(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

static bool has_control(const char *s)
{
	while (*s && !is_control(*s))
		s++;
	return *s != '\0';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Takes %XX apart; a '+' is itself. -EINVAL: no two digits, or a control character. */
static int decode(const char *s, size_t len, char **ret)
{
	_cleanup_free_ char *out = malloc(len + 1);
	size_t n = 0;

	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++) {
		char c = s[i];

		if (c == '%') {
			int hi = i + 1 < len ? hex_value(s[i + 1]) : -1;
			int lo = i + 2 < len ? hex_value(s[i + 2]) : -1;

			if (hi < 0 || lo < 0)
				return -EINVAL;
			c = (char)(hi << 4 | lo);
			i += 2;
		}
		if (is_control(c))
			return -EINVAL;
		out[n++] = c;
	}
	out[n] = '\0';
	*ret = TAKE_PTR(out);
	return 0;
}

static int param_of(const char *name)
{
	for (int i = 0; i < PARAM_COUNT; i++)
		if (strcmp(name, param_names[i]) == 0)
			return i;
	/* Not quoted if it might be anything but a misspelt word. */
	if (*name && strlen(name) < 20 && consists_of(name, LOWER "_-"))
		return log_fail(-EINVAL, "the store's URL: there is no '%s' to be said", name);
	return log_fail(-EINVAL, "the store's URL: after '?' come endpoint, region, style, "
				 "profile, ca, credentials or transport, each as NAME=VALUE");
}

static int param_read(const char *s, size_t len, struct params *p)
{
	_cleanup_free_ char *name = NULL, *value = NULL;
	const char *eq = memchr(s, '=', len);
	size_t name_len = eq ? (size_t)(eq - s) : len;
	int r, which;

	r = decode(s, name_len, &name);
	if (r == -EINVAL)
		return log_fail(r, "the store's URL: a name after '?' cannot be decoded");
	if (r < 0)
		return r;
	which = param_of(name);
	if (which < 0)
		return which;
	if (!eq || name_len + 1 == len)
		return log_fail(-EINVAL, "the store's URL: '%s' has no value", name);
	r = decode(eq + 1, len - name_len - 1, &value);
	if (r == -EINVAL)
		return log_fail(r, "the store's URL: the value of '%s' cannot be decoded", name);
	if (r < 0)
		return r;
	if (p->values[which])
		return log_fail(-EINVAL, "the store's URL: '%s' is said twice", name);
	p->values[which] = TAKE_PTR(value);
	return 0;
}

static int params_read(const char *query, struct params *p)
{
	size_t len;
	int r;

	for (const char *s = query;; s += len + 1) {
		len = strcspn(s, "&");
		r = param_read(s, len, p);
		if (r < 0 || s[len] == '\0')
			return r;
	}
}

/* Names with a dot between each two: each of at most 63 of @allowed, with a letter or a digit at
 * its ends. */
static bool labels_are_valid(const char *s, const char *allowed)
{
	for (;; s++) {
		size_t len = strcspn(s, ".");

		if (len == 0 || len > LABEL_MAX || strspn(s, allowed) < len || strchr("-_", s[0]) ||
		    strchr("-_", s[len - 1]))
			return false;
		s += len;
		if (*s == '\0')
			return true;
	}
}

static bool is_ipv4(const char *s)
{
	struct in_addr a;

	return inet_pton(AF_INET, s, &a) == 1;
}

static int read_bucket(const char *s, size_t len, char **ret)
{
	_cleanup_free_ char *bucket = strndup(s, len);

	if (!bucket)
		return -ENOMEM;
	if (strchr(bucket, '@') || strchr(bucket, ':'))
		return log_fail(-EINVAL, "the store's URL: after s3:// comes the bucket's name "
					 "alone; use endpoint= for a server, and credentials= or "
					 "profile= for keys");
	if (len < BUCKET_MIN || len > BUCKET_MAX || !labels_are_valid(bucket, LOWER DIGITS "-") ||
	    is_ipv4(bucket))
		return log_fail(-EINVAL, "the store's URL: a bucket's name has 3 to 63 of a-z, "
					 "0-9, '.' and '-', and is no address");
	*ret = TAKE_PTR(bucket);
	return 0;
}

/* @s: what stands after the bucket, with its '/', or nothing. */
static int read_prefix(const char *s, size_t len, char **ret)
{
	static const char allowed[] = UPPER LOWER DIGITS "/._-";
	_cleanup_free_ char *prefix = NULL;

	/* s3://BUCKET and s3://BUCKET/ are the same, and so with a prefix */
	if (len > 0) {
		s++;
		len--;
	}
	if (len > 1 && s[len - 1] == '/')
		len--;
	if (strspn(s, allowed) < len)
		return log_fail(-EINVAL, "the store's URL: what follows the bucket may have A-Z, "
					 "a-z, 0-9, '.', '_', '-' and '/'");
	prefix = strf("%.*s%s", (int)len, s, len > 0 ? "/" : "");
	if (!prefix)
		return -ENOMEM;
	if (strlen(prefix) > PREFIX_MAX)
		return log_fail(-EINVAL, "the store's URL: what follows the bucket is too long");
	for (const char *p = prefix; *p; p = strchr(p, '/') + 1) {
		size_t n = strcspn(p, "/");

		if (n == 0 || n > PART_MAX || strncmp(p, "./", 2) == 0 || strncmp(p, "../", 3) == 0)
			return log_fail(-EINVAL, "the store's URL: what follows the bucket has a "
						 "part that is empty, '.', '..' or too long");
	}
	*ret = TAKE_PTR(prefix);
	return 0;
}

/* libcurl writes addresses anew, so only those are taken that it leaves as they are: a name whose
 * last label is a number means an address to it. */
static bool host_is_valid(const char *host, bool *ret_is_address)
{
	const char *dot = strrchr(host, '.'), *last = dot ? dot + 1 : host;

	if (strlen(host) > HOST_MAX || !labels_are_valid(host, LOWER DIGITS "-_"))
		return false;
	*ret_is_address = last[0] >= '0' && last[0] <= '9' &&
			  (consists_of(last, DIGITS) || strncmp(last, "0x", 2) == 0);
	return !*ret_is_address || is_ipv4(host);
}

/* The address between brackets, in its one shortest form. */
static int read_ipv6(const char *s, size_t len, char **ret)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr a;

	if (len >= sizeof(text))
		return -EINVAL;
	memcpy(text, s, len);
	text[len] = '\0';
	if (inet_pton(AF_INET6, text, &a) != 1 || !inet_ntop(AF_INET6, &a, text, sizeof(text)))
		return -EINVAL;
	*ret = strf("[%s]", text);
	return *ret ? 0 : -ENOMEM;
}

/* HOST or [ADDRESS]; says where it ends. */
static int read_host(const char *s, char **ret, bool *ret_is_address, const char **ret_end)
{
	_cleanup_free_ char *host = NULL;
	const char *end;
	int r;

	if (*s == '[') {
		end = strchr(s, ']');
		r = end ? read_ipv6(s + 1, (size_t)(end - s - 1), ret) : -EINVAL;
		if (r < 0)
			return r;
		*ret_is_address = true;
		*ret_end = end + 1;
		return 0;
	}
	end = s + strcspn(s, ":/");
	host = strndup(s, (size_t)(end - s));
	if (!host)
		return -ENOMEM;
	for (char *p = host; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p - 'A' + 'a');
	if (!host_is_valid(host, ret_is_address))
		return -EINVAL;
	*ret = TAKE_PTR(host);
	*ret_end = end;
	return 0;
}

/* What may follow a host: ":PORT", "/", both, or nothing. 0: no port was said. */
static int read_port(const char *s, uint64_t *ret)
{
	char digits[6];
	uint64_t port = 0;
	size_t n;

	if (*s == ':') {
		n = strspn(++s, DIGITS);
		if (n == 0 || n >= sizeof(digits))
			return -EINVAL;
		memcpy(digits, s, n);
		digits[n] = '\0';
		if (parse_u64(digits, &port) < 0 || port == 0 || port > UINT16_MAX)
			return -EINVAL;
		s += n;
	}
	if (*s == '/')
		s++;
	if (*s)
		return -EINVAL;
	*ret = port;
	return 0;
}

static int read_endpoint(const char *s, struct server *ret)
{
	_cleanup_free_ char *host = NULL;
	bool is_https = strncasecmp(s, "https://", 8) == 0, is_address;
	uint64_t port;
	int r;

	if (!is_https && strncasecmp(s, "http://", 7) != 0)
		return -EINVAL;
	r = read_host(s + (is_https ? 8 : 7), &host, &is_address, &s);
	if (r == 0)
		r = read_port(s, &port);
	if (r < 0)
		return r;
	ret->scheme = is_https ? "https" : "http";
	ret->is_address = is_address;
	if (port == 0 || port == (is_https ? 443 : 80))
		ret->host = TAKE_PTR(host);
	else
		ret->host = strf("%s:%u", host, (unsigned)port);
	return ret->host ? 0 : -ENOMEM;
}

static int find_server(const struct params *params, const char *region, struct server *ret)
{
	const char *endpoint = params->values[PARAM_ENDPOINT];
	int r;

	if (endpoint) {
		r = read_endpoint(endpoint, ret);
		if (r == -EINVAL)
			return log_fail(r, "the store's URL: endpoint is not as "
					   "http[s]://HOST[:PORT]");
		return r;
	}
	if (!consists_of(region, LOWER DIGITS "-"))
		return log_fail(-EINVAL, "the store's URL: AWS has no region '%s'", region);
	ret->scheme = "https";
	/* China's regions are a partition of their own. */
	ret->host =
		strf("s3.%s.amazonaws.com%s", region, strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
	return ret->host ? 0 : -ENOMEM;
}

/* AWS's certificates hold for one label before the host, so a bucket with a dot in it cannot be
 * reached there with its name in the host. */
static bool is_virtual_unless_said(bool is_aws, const char *bucket)
{
	return is_aws && !strchr(bucket, '.');
}

static int read_style(const char *style, const struct server *s, struct s3_place *p)
{
	p->is_virtual = style ? strcmp(style, "virtual") == 0
			      : is_virtual_unless_said(p->is_aws, p->bucket);
	if (style && !p->is_virtual && strcmp(style, "path") != 0)
		return log_fail(-EINVAL, "the store's URL: style is 'path' or 'virtual'");
	if (!p->is_virtual) {
		p->host = strdup(s->host);
		return p->host ? 0 : -ENOMEM;
	}
	if (s->is_address)
		return log_fail(-EINVAL, "the store's URL: style=virtual needs an endpoint with a "
					 "name, not an address");
	if (strlen(p->bucket) + 1 + strcspn(s->host, ":") > HOST_MAX)
		return log_fail(-EINVAL, "the store's URL: bucket and endpoint are too long for "
					 "style=virtual");
	p->host = strf("%s.%s", p->bucket, s->host);
	return p->host ? 0 : -ENOMEM;
}

/* A daemon's current directory is not its user's. */
static int read_file_name(struct params *params, enum param which, char **ret)
{
	const char *value = params->values[which];

	if (value && value[0] != '/')
		return log_fail(-EINVAL, "the store's URL: %s is to be a file's full path",
				param_names[which]);
	*ret = TAKE_PTR(params->values[which]);
	return 0;
}

static int read_region(struct params *params, char **ret)
{
	char *region = params->values[PARAM_REGION];

	if (region &&
	    (strlen(region) > REGION_MAX || !consists_of(region, UPPER LOWER DIGITS "_-")))
		return log_fail(-EINVAL, "the store's URL: a region has up to 63 of A-Z, a-z, 0-9, "
					 "'_' and '-'");
	*ret = region ? TAKE_PTR(params->values[PARAM_REGION]) : strdup(DEFAULT_REGION);
	return *ret ? 0 : -ENOMEM;
}

static int read_transport(const char *transport, const struct server *s, struct s3_place *p)
{
	p->is_libs3 = transport && strcmp(transport, "libs3") == 0;
	if (transport && !p->is_libs3)
		return log_fail(-EINVAL, "the store's URL: transport is 'libs3' or is left out");
	if (p->is_libs3 && strcmp(s->scheme, "https") == 0)
		return log_fail(-EINVAL, "the store's URL: transport=libs3 verifies no "
					 "certificates: leave it out, or use a http endpoint");
	return 0;
}

/* What the parameters say of a place whose bucket is known. */
static int read_params(struct params *params, struct s3_place *p)
{
	_cleanup_(server_release) struct server server = { 0 };
	int r;

	p->is_aws = !params->values[PARAM_ENDPOINT];
	r = read_region(params, &p->region);
	if (r == 0)
		r = find_server(params, p->region, &server);
	if (r == 0)
		r = read_style(params->values[PARAM_STYLE], &server, p);
	if (r == 0)
		r = read_transport(params->values[PARAM_TRANSPORT], &server, p);
	if (r == 0)
		r = read_file_name(params, PARAM_CA, &p->ca_file);
	if (r == 0)
		r = read_file_name(params, PARAM_CREDENTIALS, &p->credentials_file);
	if (r < 0)
		return r;
	if (p->ca_file && strcmp(server.scheme, "http") == 0)
		return log_fail(-EINVAL, "the store's URL: ca is of no use with a http endpoint");
	p->profile = TAKE_PTR(params->values[PARAM_PROFILE]);
	p->scheme = strdup(server.scheme);
	return p->scheme ? 0 : -ENOMEM;
}

int s3_place_parse(const char *url, struct s3_place *ret)
{
	_cleanup_(params_release) struct params params = { 0 };
	_cleanup_s3_place_ struct s3_place p = { 0 };
	const char *s;
	size_t path_len, bucket_len;
	int r;

	if (strncmp(url, "s3://", 5) != 0)
		return log_fail(-EINVAL, "the store's URL does not begin with s3://");
	s = url + 5;
	if (strnlen(url, URL_MAX + 1) > URL_MAX)
		return log_fail(-EINVAL, "the store's URL has more than %d bytes", URL_MAX);
	if (has_control(url))
		return log_fail(-EINVAL, "the store's URL has a control character in it");
	path_len = strcspn(s, "?");
	bucket_len = MIN(strcspn(s, "/"), path_len);
	r = read_bucket(s, bucket_len, &p.bucket);
	if (r == 0)
		r = read_prefix(s + bucket_len, path_len - bucket_len, &p.prefix);
	if (r == 0 && s[path_len])
		r = params_read(s + path_len + 1, &params);
	if (r == 0)
		r = read_params(&params, &p);
	if (r < 0)
		return r;
	*ret = p;
	p = (struct s3_place){ 0 };
	return 0;
}

char *s3_place_name(const struct s3_place *p)
{
	_cleanup_buf_ struct buf b = { 0 };
	size_t prefix_len = strlen(p->prefix);
	char separator = '?';

	buf_printf(&b, "s3://%s", p->bucket);
	if (prefix_len > 0)
		buf_printf(&b, "/%.*s", (int)prefix_len - 1, p->prefix);
	if (!p->is_aws) {
		buf_printf(&b, "%cendpoint=%s://%s", separator, p->scheme,
			   p->host + (p->is_virtual ? strlen(p->bucket) + 1 : 0));
		separator = '&';
	}
	if (strcmp(p->region, DEFAULT_REGION) != 0) {
		buf_printf(&b, "%cregion=%s", separator, p->region);
		separator = '&';
	}
	if (p->is_virtual != is_virtual_unless_said(p->is_aws, p->bucket))
		buf_printf(&b, "%cstyle=%s", separator, p->is_virtual ? "virtual" : "path");
	buf_put_u8(&b, 0);
	return buf_failed(&b) ? NULL : (char *)TAKE_PTR(b.data);
}

static void put_path(struct buf *b, const char *s)
{
	static const char as_is[] = UPPER LOWER DIGITS "-._~/";

	while (*s) {
		size_t n = strspn(s, as_is);

		buf_put(b, s, n);
		s += n;
		if (*s)
			buf_printf(b, "%%%02X", (unsigned)(unsigned char)*s++);
	}
}

char *s3_place_path(const struct s3_place *p, const char *key)
{
	_cleanup_buf_ struct buf b = { 0 };

	buf_put_u8(&b, '/');
	if (!p->is_virtual)
		put_path(&b, p->bucket);
	if (key) {
		if (!p->is_virtual)
			buf_put_u8(&b, '/');
		put_path(&b, p->prefix);
		put_path(&b, key);
	}
	buf_put_u8(&b, 0);
	return buf_failed(&b) ? NULL : (char *)TAKE_PTR(b.data);
}
