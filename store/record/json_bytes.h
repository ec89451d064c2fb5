/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Bytes in JSON: names of files are bytes, and JSON's strings are UTF-8. Bytes that are none are an
 * object {"hex": "666f6fff"}.
 */
#pragma once

#include <jansson.h>

#include "base/buf.h"

/* A string or {"hex": ...}; NULL without memory. */
json_t *json_of_bytes(struct span bytes);

/* 0, -EINVAL (neither), -ENOMEM. In place of what @ret held. */
int json_to_bytes(const json_t *j, struct buf *ret);
