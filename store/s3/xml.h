/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The few XML documents that S3 answers with, read with expat. Entities other than XML's own five,
 * depth over 16, text over 4 KiB in what is looked at, and anything not well-formed are -EBADMSG;
 * -ENOMEM is all else that may come. Nothing is logged: the caller knows what was asked for.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "base/buf.h"
#include "base/defs.h"

/* Appends @s as text of an element or an attribute. */
void s3_xml_escape(struct buf *out, const char *s);

/* An error's body. "" where it does not say. */
struct s3_error {
	char code[64]; /* "NoSuchKey" */
	char message[256]; /* printable ASCII, cut where it is longer, for people */
};
/* -EBADMSG also for a code that is not one printable word. */
int s3_error_parse(struct span xml, struct s3_error *ret);

/* ListObjectsV2. As in backend_ops.list, with keys as the server has them (prefix and all); @etag "":
 * it does not say, or has one that is too long. */
typedef int (*s3_listed_fn)(const char *key, uint64_t size, const char *etag, void *ctx);
struct s3_listing {
	bool is_truncated;
	char *token; /* NextContinuationToken; owned; NULL: none */
	size_t count;
};
void s3_listing_release(struct s3_listing *l);
#define _cleanup_s3_listing_ _cleanup_(s3_listing_release)

/* -EBADMSG also for a key without a size, for keys that do not ascend or are encoded
 * (EncodingType), and for what does not say whether it is truncated, or is and has no token. @fn is
 * called when all of it was found good; a result other than 0 ends it and is returned. */
int s3_listing_parse(struct span xml, s3_listed_fn fn, void *ctx, struct s3_listing *ret);

/* InitiateMultipartUpload: the upload's id, malloc'ed; printable ASCII without blanks. */
int s3_upload_id_parse(struct span xml, char **ret);

/* CompleteMultipartUpload may answer 200 and an error in the body: 0, -EIO and what it says in
 * @ret_error, -EBADMSG. @ret_etag: "" if there is none. */
int s3_complete_parse(struct span xml, char ret_etag[68], struct s3_error *ret_error);
