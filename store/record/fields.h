/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Fields of JSON objects as our types, in one line each. What is missing or of another type reads
 * as empty.
 */
#pragma once

#include <jansson.h>

#include "base/oid.h"

static inline const char *field_text(const json_t *in, const char *key)
{
	return json_string_value(json_object_get(in, key)) ?: "";
}

/* Null, where the field is missing or null. 0 or -EINVAL. */
static inline int field_oid(const json_t *in, const char *key, struct oid *ret)
{
	const char *hex = field_text(in, key);

	*ret = (struct oid){ 0 };
	return *hex ? oid_parse(span_str(hex), ret) : 0;
}

static inline int field_id128(const json_t *in, const char *key, struct id128 *ret)
{
	return id128_parse(span_str(field_text(in, key)), ret);
}

/* NULL: no memory. */
static inline json_t *json_of_oid(const struct oid *id)
{
	char hex[OID_HEX];

	return oid_is_null(id) ? json_null() : json_string(oid_hex(id, hex));
}

static inline json_t *json_of_id128(const struct id128 *id)
{
	char hex[ID128_HEX];

	id128_hex(id, hex);
	return json_string(hex);
}
