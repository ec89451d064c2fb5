/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The advice of s3/advice.h.
 */
#include "s3/advice.h"

#define CHECK_REGION "; region= in the store's URL says where the bucket is"
#define RENEW_KEYS   "; get new credentials: files that hold them are read again by themselves"

const char *s3_advice(const struct s3_error *said)
{
	static const struct {
		const char *code, *advice;
	} known[] = {
		{ "AccessDenied", "; the keys need the rights s3:ListBucket on the bucket, and "
				  "s3:GetObject and s3:PutObject on what is in it" },
		{ "AuthorizationHeaderMalformed", CHECK_REGION },
		{ "ExpiredToken", RENEW_KEYS },
		{ "IllegalLocationConstraintException", CHECK_REGION },
		{ "InvalidAccessKeyId", "; check the access key, and that it is this server's" },
		{ "InvalidToken", RENEW_KEYS },
		{ "InvalidTokenId", RENEW_KEYS },
		{ "NoSuchBucket", "; check the bucket's name in the store's URL" },
		{ "PermanentRedirect", CHECK_REGION },
		{ "RequestTimeTooSkewed", "; set this machine's clock" },
		{ "SignatureDoesNotMatch", "; check the secret key" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strcmp(said->code, known[i].code) == 0)
			return known[i].advice;
	return "";
}

const char *s3_advice_on_connecting(const char *why)
{
	/* What OpenSSL calls an answer that is not TLS at all. */
	return strstr(why, "wrong version number") || strstr(why, "packet length too long")
		       ? ": is its endpoint http:// rather than https://?"
		       : "";
}
