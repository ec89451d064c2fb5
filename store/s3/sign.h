/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Signature Version 4, in the Authorization header ("Authenticating Requests: Using the
 * Authorization Header (AWS Signature Version 4)", Amazon S3 API Reference). Pure: no clock, no I/O.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "base/buf.h"
#include "base/defs.h"

enum {
	S3_SHA256_HEX = 65, /* with the NUL */
	S3_DATE = 17, /* 20130524T000000Z and the NUL */
};

struct s3_header {
	const char *name; /* lower case */
	const char *value; /* no blanks at its ends or two in a row, no line end */
};

/* A request as it will be sent; all borrowed. */
struct s3_to_sign {
	const char *method;
	const char *path; /* %-encoded, begins with "/" */
	const char *query; /* "" or NAME=VALUE&..., %-encoded and ascending by name */
	const struct s3_header *headers; /* all that are signed, with host, x-amz-date,
					  * x-amz-content-sha256 and, if there is one,
					  * x-amz-security-token; ascending by name */
	size_t header_count;
	const char *payload; /* SHA-256 of the body in hex */
};

/* SHA-256 of @data, in lower-case hex. */
void s3_sha256_hex(struct span data, char ret[S3_SHA256_HEX]);

/* Seconds since 1970 as x-amz-date has them. 0, or -EINVAL before the year 0 or after 9999. */
int s3_date(int64_t unix_seconds, char ret[S3_DATE]);

/* %-encodes @s for a query's name or value (all but A-Z a-z 0-9 - . _ ~). */
void s3_query_encode(struct buf *out, const char *s);

/* The value of the Authorization header, in place of what @ret held, without a NUL. @date as
 * x-amz-date. 0, -ENOMEM. */
int s3_sign(const struct s3_to_sign *q, const char *access_key, const char *secret_key,
	    const char *region, const char date[S3_DATE], struct buf *ret);
