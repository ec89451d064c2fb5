/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * SHA-256 over bytes that come in pieces, for what is no content id (those are base/oid.h).
 */
#pragma once

#include "base/defs.h"

enum {
	DIGEST_SIZE = 32
};

struct digest;

/* 0 or -ENOMEM. */
int digest_new(struct digest **ret);
void digest_free(struct digest *d);
DEFINE_CLEANUP(struct digest *, digest_free)

void digest_put(struct digest *d, const void *data, size_t len);

/* What has been put; afterwards it is as new. */
void digest_end(struct digest *d, uint8_t ret[DIGEST_SIZE]);
