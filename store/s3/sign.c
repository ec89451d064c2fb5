/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Signature Version 4 with OpenSSL's EVP, which nothing else of s3/ knows.
 *
 *	canonical request = method, path, query, headers, names of headers, hash of the body
 *	string to sign    = algorithm, date, scope, hash of the canonical request
 *	signing key       = secret --day--> --region--> --"s3"--> --"aws4_request"-->
 *
 * Invariant: what is derived from the secret key is wiped before the call returns, but for the
 * signature itself.
 *
 * Threads: none of its own, no state.
 */
#include "s3/sign.h"

#include <openssl/evp.h>
#include <time.h>

#include "base/text.h"

enum {
	DIGEST_LEN = 32,
	DAY_LEN = 8, /* of a date, what the scope has of it */
};

#define ALGORITHM "AWS4-HMAC-SHA256"

/* The first and the last second of years with four digits. */
static const int64_t date_min = -62167219200, date_max = 253402300799;

void s3_sha256_hex(struct span data, char ret[S3_SHA256_HEX])
{
	uint8_t digest[DIGEST_LEN];

	/* It fails for want of memory only, and a hash cannot be guessed. */
	if (EVP_Digest(data.data, data.len, digest, NULL, EVP_sha256(), NULL) != 1)
		abort();
	hex_encode(digest, sizeof(digest), ret);
}

int s3_date(int64_t unix_seconds, char ret[S3_DATE])
{
	time_t t = (time_t)unix_seconds;
	struct tm tm;

	if (unix_seconds < date_min || unix_seconds > date_max || !gmtime_r(&t, &tm))
		return -EINVAL;
	/* The remainders change nothing; they let the compiler see that it fits. */
	snprintf(ret, S3_DATE, "%04u%02u%02uT%02u%02u%02uZ", (unsigned)(tm.tm_year + 1900) % 10000,
		 (unsigned)(tm.tm_mon + 1) % 100, (unsigned)tm.tm_mday % 100,
		 (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
	return 0;
}

void s3_query_encode(struct buf *out, const char *s)
{
	static const char as_is[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789-._~";

	while (*s) {
		size_t n = strspn(s, as_is);

		buf_put(out, s, n);
		s += n;
		if (*s)
			buf_printf(out, "%%%02X", (unsigned)(unsigned char)*s++);
	}
}

/* HMAC-SHA256; @ret may be @key. 0 or -ENOMEM. */
static int hmac(struct span key, struct span data, uint8_t ret[DIGEST_LEN])
{
	uint8_t mac[DIGEST_LEN];
	size_t len = 0;
	bool ok = EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key.data, key.len, data.data,
			    data.len, mac, sizeof(mac), &len) &&
		  len == sizeof(mac);

	if (ok)
		memcpy(ret, mac, sizeof(mac));
	explicit_bzero(mac, sizeof(mac));
	return ok ? 0 : -ENOMEM;
}

static int signing_key(const char *secret_key, const char *region, const char *date,
		       uint8_t ret[DIGEST_LEN])
{
	const struct span steps[] = {
		span_of(date, DAY_LEN),
		span_str(region),
		span_str("s3"),
		span_str("aws4_request"),
	};
	char *first = strf("AWS4%s", secret_key);
	struct span key;
	int r = 0;

	if (!first)
		return -ENOMEM;
	key = span_str(first);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(steps); i++) {
		r = hmac(key, steps[i], ret);
		key = span_of(ret, DIGEST_LEN);
	}
	explicit_bzero(first, strlen(first));
	free(first);
	return r;
}

static void put_signed_names(struct buf *b, const struct s3_to_sign *q)
{
	for (size_t i = 0; i < q->header_count; i++)
		buf_printf(b, "%s%s", i > 0 ? ";" : "", q->headers[i].name);
}

static int canonical_hash(const struct s3_to_sign *q, char ret[S3_SHA256_HEX])
{
	_cleanup_buf_ struct buf b = { 0 };

	buf_printf(&b, "%s\n%s\n%s\n", q->method, q->path, q->query);
	for (size_t i = 0; i < q->header_count; i++)
		buf_printf(&b, "%s:%s\n", q->headers[i].name, q->headers[i].value);
	buf_printf(&b, "\n");
	put_signed_names(&b, q);
	buf_printf(&b, "\n%s", q->payload);
	if (buf_failed(&b))
		return -ENOMEM;
	s3_sha256_hex(buf_span(&b), ret);
	return 0;
}

/* The signature, in hex, of the request whose canonical form hashes to @hash. */
static int signature(const char *hash, const char *scope, const char *secret_key,
		     const char *region, const char *date, char ret[S3_SHA256_HEX])
{
	_cleanup_buf_ struct buf to_sign = { 0 };
	uint8_t key[DIGEST_LEN], mac[DIGEST_LEN];
	int r;

	buf_printf(&to_sign, ALGORITHM "\n%s\n%s\n%s", date, scope, hash);
	if (buf_failed(&to_sign))
		return -ENOMEM;
	r = signing_key(secret_key, region, date, key);
	if (r == 0)
		r = hmac(span_of(key, sizeof(key)), buf_span(&to_sign), mac);
	explicit_bzero(key, sizeof(key));
	if (r == 0)
		hex_encode(mac, sizeof(mac), ret);
	return r;
}

int s3_sign(const struct s3_to_sign *q, const char *access_key, const char *secret_key,
	    const char *region, const char date[S3_DATE], struct buf *ret)
{
	_cleanup_free_ char *scope = strf("%.*s/%s/s3/aws4_request", DAY_LEN, date, region);
	_cleanup_buf_ struct buf b = { 0 };
	char hash[S3_SHA256_HEX], hex[S3_SHA256_HEX];
	int r;

	if (!scope)
		return -ENOMEM;
	r = canonical_hash(q, hash);
	if (r == 0)
		r = signature(hash, scope, secret_key, region, date, hex);
	if (r < 0)
		return r;
	buf_printf(&b, ALGORITHM " Credential=%s/%s,SignedHeaders=", access_key, scope);
	put_signed_names(&b, q);
	buf_printf(&b, ",Signature=%s", hex);
	return buf_take(&b, ret);
}
