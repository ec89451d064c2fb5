/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Content ids with OpenSSL's EVP. One context a thread, since making one costs more than hashing
 * a small file.
 */
#include "base/oid.h"

#include <openssl/evp.h>
#include <pthread.h>

#include "base/hash.h"
#include "base/text.h"

enum {
	TAG_LEN = 8
};

static const char tags[][TAG_LEN + 1] = {
	[OID_CHUNK] = "pfschunk",
	[OID_NODE] = "pfs-node",
	[OID_COMMIT] = "pfscommt",
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t ctx_key;
static EVP_MD *sha256;
static struct oid empty_chunk;

static EVP_MD_CTX *thread_ctx(void)
{
	EVP_MD_CTX *ctx = pthread_getspecific(ctx_key);

	if (!ctx) {
		ctx = EVP_MD_CTX_new();
		if (!ctx || pthread_setspecific(ctx_key, ctx) != 0)
			abort();
	}
	return ctx;
}

static struct oid digest(enum oid_kind kind, const void *data, size_t len)
{
	EVP_MD_CTX *ctx = thread_ctx();
	struct oid o;

	/* It fails for want of memory only, and an id cannot be guessed. */
	if (EVP_DigestInit_ex2(ctx, sha256, NULL) != 1 ||
	    EVP_DigestUpdate(ctx, tags[kind], TAG_LEN) != 1 ||
	    EVP_DigestUpdate(ctx, data, len) != 1 || EVP_DigestFinal_ex(ctx, o.b, NULL) != 1)
		abort();
	return o;
}

static void ctx_free(void *ctx)
{
	EVP_MD_CTX_free(ctx);
}

static void init(void)
{
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (!sha256 || pthread_key_create(&ctx_key, ctx_free) != 0)
		abort();
	empty_chunk = digest(OID_CHUNK, "", 0);
}

struct oid oid_of(enum oid_kind kind, const void *data, size_t len)
{
	pthread_once(&once, init);
	return digest(kind, data, len);
}

const struct oid *oid_empty_chunk(void)
{
	pthread_once(&once, init);
	return &empty_chunk;
}

bool oid_is_null(const struct oid *o)
{
	static const struct oid null;

	return oid_equal(o, &null);
}

uint64_t oid_hash(const struct oid *o)
{
	return hash_bytes(o->b, OID_SIZE);
}

char *oid_hex(const struct oid *o, char buf[OID_HEX])
{
	hex_encode(o->b, OID_SIZE, buf);
	return buf;
}

int oid_parse(struct span s, struct oid *ret)
{
	if (s.len != 2 * OID_SIZE)
		return -EINVAL;
	return hex_decode((const char *)s.data, s.len, ret->b);
}
