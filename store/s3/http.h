/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One HTTP/1.1 exchange at a time over libcurl, which only the files http* know. Nothing is
 * retried, no redirect followed, no proxy or cookie taken from anywhere but what curl's own
 * environment variables say of proxies.
 *
 * Connections are kept and used again, the last used first. One that the server has closed is
 * mostly seen to be so before it is used. Where not, libcurl sends the request again over a new
 * one, unless it is other than GET or HEAD and was sent whole: then that is -ECONNRESET with "sent".
 *
 * Threads: all functions from any thread; any number of exchanges at once.
 */
#pragma once

#include "base/buf.h"
#include "base/deadline.h"
#include "base/defs.h"

struct http;

/* @ca_file: NULL: the system's. 0 or -ENOMEM. */
int http_new(const char *ca_file, struct http **ret);
void http_free(struct http *h); /* no exchange may be under way */
DEFINE_CLEANUP(struct http *, http_free)

/* How far a request's body got, over all exchanges that tried; @at_ns is to be set before. */
struct http_progress {
	uint64_t most; /* bytes that the other side had, at best */
	int64_t at_ns; /* when that last grew */
};

enum {
	HTTP_STILL_MS = 30000, /* a body that gets no further for so long has failed */
};

struct http_request {
	const char *method;
	const char *url;
	const char *const *headers; /* "Name: value", NULL at the end; Host is curl's own */
	struct span body;
	bool has_body; /* PUT and POST, be it empty; else @body is empty */
	struct http_progress *progress; /* borrowed; NULL: not wanted */
	int patience_ms; /* for the reply's first byte when the server has the whole request; less
			  * than 10 s: 10 s */
	bool is_drip_fed; /* the same for all of the reply: a server at work sends a blank now and
			   * then */
	/* Where the reply's body goes, when its status is 2xx: here, @max bytes... */
	uint8_t *into;
	size_t max;
	/* ...or, if @into is NULL, here, appended, at most @max bytes. With neither it is read and
	 * dropped, if it has no more than 64 KiB. */
	struct buf *out;
};

struct http_reply {
	int status; /* 100..599 */
	char etag[68]; /* "" if there was none, or one that is too long */
	bool has_length, has_range;
	uint64_t length; /* Content-Length */
	uint64_t range_first, range_last, range_total; /* Content-Range of bytes */
	int64_t date; /* Date, in seconds since 1970; 0: none */
	int retry_after_s; /* -1: not said, or as a date */
	size_t body_len; /* of a 2xx body, as far as it came */
	struct buf error; /* the body of any other status, its first 64 KiB; owned */
	char request_id[64]; /* x-amz-request-id, for messages; "" if none */
};
void http_reply_release(struct http_reply *r);
#define _cleanup_http_reply_ _cleanup_(http_reply_release)

/*
 * Does it. 0: a whole reply came, whatever its status (a body whose length the server does not say
 * ends with its connection; what comes after the length that it says is not looked at). Else no
 * reply can be relied upon, @ret is as it was, as is @out; @into may have been written to.
 *
 * *@ret_sent (always set) says whether the server may have seen the whole request, once: false only
 * if it was never begun or a part of its body was not yet handed to the kernel. A request with an
 * effect that was sent and has no reply may have had that effect or may have it yet.
 *
 * -ECANCELED, -ETIME (@dl, or @q->progress came no further for HTTP_STILL_MS; within 0.1 s, and not
 * logged); -EHOSTUNREACH (name, route, refused connection, none in 5 s); -ECONNRESET (the
 * connection ended early, or stalled: less than 10 KiB went or came in 10 s, or no reply within
 * @q->patience_ms); -EPROTO (nonsense, or headers above 64 KiB); -EPROTONOSUPPORT (what answers
 * speaks no HTTP, or no TLS of a version and kind that we do); -EFBIG (the body is longer than
 * @max); -EKEYREJECTED (the certificate, or the CA file); -EINVAL (a malformed URL, method or
 * header: nothing was sent); -ENOMEM. complaint() tells more.
 */
int http_exchange(struct http *h, const struct http_request *q, const struct deadline *dl,
		  struct http_reply *ret, bool *ret_sent);
