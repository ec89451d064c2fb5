/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Lists of extended attributes (FORMAT.md, section 8.1): ascending by name, each once.
 * Pure functions on bytes; a list that fails xattr_list_check() must not be given to the others.
 */
#pragma once

#include "base/buf.h"
#include "base/cursor.h"

struct xattr {
	struct span name;
	struct span value;
};

/* 0 or -EBADMSG. */
int xattr_list_check(struct span list);

/* Reads the next of the list; false at its end. */
bool xattr_next(struct cursor *list, struct xattr *ret);

/* 0 or -ENODATA; the value borrows the list. */
int xattr_get(struct span list, struct span name, struct span *ret_value);

/* Appends to a list an attribute whose name is above all in it. 0, -EINVAL (no name of an
 * attribute), -E2BIG, -ENOMEM; after an error the list is of no use. */
int xattr_append(struct buf *list, struct span name, struct span value);

/* The list with @name set to @value (NULL: removed). 0, -ENODATA (nothing to remove), -EINVAL (no
 * name of an attribute), -E2BIG (over XATTR_LIST_LIMIT), -ENOMEM. @ret is emptied first. */
int xattr_set(struct span list, struct span name, const struct span *value, struct buf *ret);
