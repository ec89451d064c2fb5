/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * SHA-256 with OpenSSL's EVP.
 *
 * Once its context is made it fails for want of memory only, and a digest cannot be guessed.
 */
#include "base/digest.h"

#include <openssl/evp.h>

struct digest {
	EVP_MD_CTX *ctx; /* owned */
};

int digest_new(struct digest **ret)
{
	_cleanup_(digest_freep) struct digest *d = new0(struct digest, 1);

	if (!d)
		return -ENOMEM;
	d->ctx = EVP_MD_CTX_new();
	if (!d->ctx || EVP_DigestInit_ex(d->ctx, EVP_sha256(), NULL) != 1)
		return -ENOMEM;
	*ret = TAKE_PTR(d);
	return 0;
}

void digest_free(struct digest *d)
{
	if (!d)
		return;
	EVP_MD_CTX_free(d->ctx);
	free(d);
}

void digest_put(struct digest *d, const void *data, size_t len)
{
	if (EVP_DigestUpdate(d->ctx, data, len) != 1)
		abort();
}

void digest_end(struct digest *d, uint8_t ret[DIGEST_SIZE])
{
	if (EVP_DigestFinal_ex(d->ctx, ret, NULL) != 1 ||
	    EVP_DigestInit_ex(d->ctx, EVP_sha256(), NULL) != 1)
		abort();
}
