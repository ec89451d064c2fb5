/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Requests to one bucket: signed, repeated where that does no harm, and errors in our words.
 *
 *	sent --2xx, or an answer that will not change--> done
 *	  '--lost, 429, 5xx, SlowDown--> pause, the budget --> signed anew, sent
 *	  '--RequestTimeTooSkewed--> the server's clock is taken over --> at once, one time
 *	  '--keys expired or unknown--> they are read anew --> at once, if they differ, one time
 *
 * What does not speak HTTP, or TLS as we do, is asked once, unless it has done so before.
 *
 * A pause is a random part of a time that doubles, after what Retry-After asks for (20 s at most);
 * it leaves a quarter of the time to the caller's deadline. s3/budget.h bounds how often all
 * threads together repeat.
 *
 * How long a server that has a whole request may be silent: 10 s if nothing is lost by asking
 * again. What writes, and would be sent again or read back for nothing, gets half of the time to
 * the deadline if that is more, but no more than a minute; so there is time for another try. A body
 * of which in 30 s no more got through than ever before is given up (-ETIME), so that a deadline
 * may allow for a slow link, and a dead one still is no wait of minutes.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "s3/http.h"

struct s3_client;

/* @url as s3/url.h has it. Nothing is asked of the server. 0; -EINVAL, -ENOMEM: the sentence is
 * logged. */
int s3_client_new(const char *url, struct s3_client **ret);
void s3_client_free(struct s3_client *c);
DEFINE_CLEANUP(struct s3_client *, s3_client_free)

/* The place without secrets; and what all its keys begin with ("" or ending with "/"). Borrowed. */
const char *s3_client_name(const struct s3_client *c);
const char *s3_client_prefix(const struct s3_client *c);
const char *s3_client_region(const struct s3_client *c); /* borrowed */

struct s3_request {
	const char *method;
	const char *key; /* below the prefix; NULL: the bucket itself */
	const char *query; /* as s3/sign.h wants it; NULL: none */
	const char *range; /* as the header has it, "bytes=0-99"; NULL: none */
	const char *if_match, *if_none_match; /* the same */
	struct span body;
	bool has_body;
	bool once; /* it must not be repeated once the server may have seen it */
	/* CompleteMultipartUpload: the server may be silent, or as good as, up to the deadline, and
	 * its 200 may hold an error, which counts like one with the status. */
	bool is_completion;
	int reach_ms; /* a server that for so long cannot be reached is not tried again, and that is
		       * -EHOSTUNREACH; 0: it is up to the deadline */
	/* For a 2xx body, as in struct http_request. */
	uint8_t *into;
	size_t max;
	struct buf *out;
};

/*
 * 0: the answer is 2xx, and @ret is the caller's to release. Else:
 *
 * -EALREADY 304; -ENOENT 404; -ESTALE 412, or a conflict with another write; -ERANGE 416;
 * -EACCES; -ENOSPC; -ETIME, -ECANCELED (@dl; see above); -EHOSTUNREACH (@reach_ms); -EINPROGRESS
 * (@once: it may have been done); -EFBIG the body is longer than @max; -EIO anything else. But for
 * the first four, -ECANCELED and -EFBIG, the sentence is logged.
 */
int s3_request(struct s3_client *c, const struct s3_request *q, const struct deadline *dl,
	       struct http_reply *ret);
