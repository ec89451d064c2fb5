/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which bucket, on which server, and how to talk to it:
 *
 *	s3://BUCKET[/PREFIX][?endpoint=URL&region=R&style=path|virtual&profile=NAME&ca=FILE
 *	                      &credentials=FILE&transport=libs3]
 *
 * Without an endpoint it is AWS's for the region. The style, unless said, is "path" with an endpoint
 * and for a bucket with a dot in its name (AWS's certificates do not hold for it in the host), else
 * "virtual". Names and values may be %-encoded; a '+' is itself. One given twice, one that is not
 * known, an empty one, and one with a control character are errors. Files are named by full paths.
 */
#pragma once

#include "base/defs.h"

struct s3_place {
	char *bucket; /* owned, as all below; 3 to 63 of [a-z0-9.-] */
	char *prefix; /* "", or ends with "/"; each part as a backend's key allows; at most 511 bytes,
		       * so that with any of its keys a server's 1024 are enough */
	char *scheme; /* "http" or "https" */
	char *host; /* as in Host: and in the signature: with the port unless it is the scheme's, an
		     * IPv6 address in brackets; with the bucket in front when @is_virtual */
	char *region; /* "us-east-1" if not said; of [A-Za-z0-9_-] */
	char *profile; /* NULL: not said */
	char *ca_file; /* of the server's certificate; NULL: the system's */
	char *credentials_file; /* NULL: not said */
	bool is_virtual; /* the bucket is in the host, not in the path */
	bool is_aws; /* no endpoint was said */
	bool is_libs3; /* object data goes over libs3: backend/libs3.h */
};

/* 0; -EINVAL, and the sentence is logged and says which part is wrong. -ENOMEM. */
int s3_place_parse(const char *url, struct s3_place *ret);
void s3_place_release(struct s3_place *p);
#define _cleanup_s3_place_ _cleanup_(s3_place_release)

/* The URL as a user would write it: in one fixed order what is not the default, nothing that is
 * secret or only this machine's (ca, credentials, profile, transport): what tells two stores apart.
 * It can be parsed again. malloc'ed; NULL: -ENOMEM. */
char *s3_place_name(const struct s3_place *p);

/* Path of an object (or of the bucket: @key NULL), %-encoded as SigV4 asks for S3 (each byte but
 * A-Z a-z 0-9 - . _ ~ and the slashes), with a "/" in front. malloc'ed, or NULL. */
char *s3_place_path(const struct s3_place *p, const char *key);
