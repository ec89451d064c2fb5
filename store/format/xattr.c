/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The xattr lists of format/xattr.h.
 */
#include "format/xattr.h"

#include "format/limits.h"

static bool name_is_valid(struct span name)
{
	return name.len > 0 && name.len <= XATTR_NAME_MAX_LEN && !memchr(name.data, '\0', name.len);
}

bool xattr_next(struct cursor *list, struct xattr *ret)
{
	struct xattr x;

	if (cursor_left(list) == 0)
		return false;
	x.name = rd_str8(list, XATTR_NAME_MAX_LEN);
	x.value = rd_str32(list, XATTR_LIST_LIMIT);
	if (cursor_failed(list))
		return false;
	*ret = x;
	return true;
}

int xattr_list_check(struct span list)
{
	struct cursor c = cursor_of(list);
	struct span last = { 0 };
	struct xattr x;

	if (list.len > XATTR_LIST_LIMIT)
		return -EBADMSG;
	while (xattr_next(&c, &x)) {
		if (!name_is_valid(x.name) || span_cmp(last, x.name) >= 0)
			return -EBADMSG;
		last = x.name;
	}
	return cursor_failed(&c) ? -EBADMSG : 0;
}

int xattr_get(struct span list, struct span name, struct span *ret_value)
{
	struct cursor c = cursor_of(list);
	struct xattr x;

	while (xattr_next(&c, &x)) {
		int order = span_cmp(x.name, name);

		if (order > 0)
			break;
		if (order == 0) {
			*ret_value = x.value;
			return 0;
		}
	}
	return -ENODATA;
}

static void xattr_put(struct buf *b, struct span name, struct span value)
{
	buf_put_str8(b, name);
	buf_put_str32(b, value);
}

int xattr_append(struct buf *list, struct span name, struct span value)
{
	if (!name_is_valid(name))
		return -EINVAL;
	if (list->len + name.len + value.len > XATTR_LIST_LIMIT)
		return -E2BIG;
	xattr_put(list, name, value);
	if (buf_failed(list))
		return -ENOMEM;
	return list->len > XATTR_LIST_LIMIT ? -E2BIG : 0;
}

int xattr_set(struct span list, struct span name, const struct span *value, struct buf *ret)
{
	struct cursor c = cursor_of(list);
	bool is_found = false, is_placed = !value;
	struct xattr x;

	buf_clear(ret);
	if (!name_is_valid(name))
		return -EINVAL;
	while (xattr_next(&c, &x)) {
		int order = span_cmp(x.name, name);

		if (order >= 0 && !is_placed) {
			xattr_put(ret, name, *value);
			is_placed = true;
		}
		if (order == 0)
			is_found = true;
		else
			xattr_put(ret, x.name, x.value);
	}
	if (!is_placed)
		xattr_put(ret, name, *value);

	if (!value && !is_found)
		return -ENODATA;
	if (buf_failed(ret))
		return -ENOMEM;
	return ret->len > XATTR_LIST_LIMIT ? -E2BIG : 0;
}
