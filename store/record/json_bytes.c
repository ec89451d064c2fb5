/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Bytes in JSON.
 */
#include "record/json_bytes.h"

#include "base/text.h"

json_t *json_of_bytes(struct span bytes)
{
	_cleanup_free_ char *hex = NULL;
	json_t *j;

	if (bytes.len == 0)
		return json_string("");
	if (utf8_is_valid(bytes.data, bytes.len))
		return json_stringn((const char *)bytes.data, bytes.len);
	hex = malloc(2 * bytes.len + 1);
	if (!hex)
		return NULL;
	hex_encode(bytes.data, bytes.len, hex);
	j = json_object();
	if (json_object_set_new(j, "hex", json_string(hex)) < 0) {
		json_decref(j);
		return NULL;
	}
	return j;
}

int json_to_bytes(const json_t *j, struct buf *ret)
{
	const json_t *hex = json_object_get(j, "hex");
	size_t n;

	buf_clear(ret);
	if (json_is_string(j)) {
		buf_put(ret, json_string_value(j), json_string_length(j));
	} else if (json_is_string(hex)) {
		n = json_string_length(hex);
		if (n % 2 || (buf_extend(ret, n / 2) &&
			      hex_decode(json_string_value(hex), n, ret->data) < 0))
			return -EINVAL;
	} else {
		return -EINVAL;
	}
	return buf_failed(ret) ? -ENOMEM : 0;
}
