/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the files of backend/s3.h share.
 */
#pragma once

#include "backend/backend.h"
#include "s3/client.h"

struct s3_backend {
	struct backend b; /* first */
	struct s3_client *client; /* owned */
	bool is_read_only;
};

/* 0, or what forbids it: -EROFS. */
int s3_check_writable(struct backend *b);

/* Has the caller time left, and may it be done? Then s3_request(). */
int s3_ask(struct backend *b, const struct s3_request *q, const struct deadline *dl,
	   struct http_reply *ret);

/* Logs that the answer for @key cannot be; -EIO. */
int s3_nonsense(struct backend *b, const char *key);

/* A reply's ETag; -EIO, and logged, if there is none. */
int s3_take_tag(struct backend *b, const char *key, const struct http_reply *reply,
		struct etag *ret);

/* Slots of the backend. */
int s3_head(struct backend *b, const char *key, const struct deadline *dl, uint64_t *ret_size);
int s3_put(struct backend *b, const char *key, struct span data, const struct deadline *dl);
int s3_put_begin(struct backend *b, const char *key, struct backend_put **ret);
int s3_put_write(struct backend_put *put, struct span data, const struct deadline *dl);
int s3_put_end(struct backend_put *put, const struct deadline *dl);
void s3_put_abort(struct backend_put *put);
