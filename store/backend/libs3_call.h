/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One request over libs3, tried once. For backend/libs3.c alone.
 *
 * Threads: all functions from any thread; a call is one thread's.
 */
#pragma once

#include "backend/backend.h"

/* Loads the library if that was not done; is it there? */
bool libs3_is_there(void);

/* Connections that are kept. */
struct libs3_contexts;
int libs3_contexts_new(struct libs3_contexts **ret);
void libs3_contexts_free(struct libs3_contexts *x); /* no call may be under way */

enum libs3_verb {
	LIBS3_GET,
	LIBS3_PUT,
	LIBS3_HEAD,
	LIBS3_DELETE,
};

/* Whose request; all borrowed. */
struct libs3_target {
	const char *host; /* with its port, without the bucket */
	const char *bucket;
	bool is_virtual;
	const char *access_key, *secret_key;
};

/* A request and what has come of it. */
struct libs3_call {
	enum libs3_verb verb;
	const char *key; /* prefix and all */
	struct span body; /* PUT: what is left of it to be sent */
	uint8_t *into; /* GET: @room bytes */
	size_t room;
	uint64_t range_first;
	/* Set by the try. */
	size_t received;
	uint64_t length; /* of what was got or looked at */
	bool has_headers; /* of a success; not known of every PUT */
	bool is_overrun, is_complete;
	int status; /* S3Status */
	int64_t alive_ns; /* the last byte, of either side */
};

/*
 * Does it. 0 (but of a PUT only with has_headers: see libs3_call.c); -ENOENT, -ERANGE, -EACCES;
 * -ECONNRESET (it may be otherwise next time; a PUT may have been done if all of its body is gone);
 * -EIO (anything else that the server says); -ENOMEM; -ETIME, -ECANCELED. Nothing is logged.
 */
int libs3_try(struct libs3_contexts *x, const struct libs3_target *t, struct libs3_call *c,
	      const struct deadline *dl);

/* What the last try ended with, in libs3's own word. */
const char *libs3_status(const struct libs3_call *c);
