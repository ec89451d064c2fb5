/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A second way to a bucket for object data, over Debian's libs3 (2.0): a layer over the first one.
 * Of its calls get, head, put and remove go over libs3; what has conditions or tags (get_all, swap)
 * and listings go the first way, since libs3 cannot do them or not safely.
 *
 * libs3 signs as AWS did before 2014 (SigV2), without session tokens, does not verify certificates
 * and corrects no clock: so it is for http endpoints that take such signatures, as MinIO and Ceph
 * do. It is loaded when it is first wanted and need not be there otherwise.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "backend/backend.h"

/* @url: of the bucket @inner, as s3/url.h has it. Takes @inner when it returns 0. 0; -EOPNOTSUPP
 * (libs3 is not installed, the keys have a session token), -EACCES (no keys), -ENOMEM: the sentence
 * is logged. */
int libs3_backend_new(const char *url, struct backend *inner, const struct backend_options *opts,
		      struct backend **ret);
