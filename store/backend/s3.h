/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A bucket as a backend.
 */
#pragma once

#include "backend/backend.h"

/* "s3://...", as s3/url.h has it. With @opts->create the bucket is made if it is not there. As
 * backend_open(). */
int s3_backend_open(const char *url, const struct backend_options *opts, struct backend **ret);
