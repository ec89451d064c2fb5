/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Names of format/name.h. A name is also a part of a key and of a path, so the check is the gate
 * between what users type and both.
 */
#include "format/name.h"

#include "base/oid.h"
#include "format/limits.h"

#define DIGITS "0123456789"
#define UPPER  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define LOWER  "abcdefghijklmnopqrstuvwxyz"

enum {
	ID_PREFIX_MIN = 8
};

/* Hex digits with a letter among them, @min to @max of them. */
static bool is_hex(const char *name, size_t min, size_t max)
{
	size_t len = strlen(name);

	return len >= min && len <= max && strspn(name, DIGITS "abcdefABCDEF") == len &&
	       strspn(name, DIGITS) < len;
}

bool name_reads_as_id(const char *name)
{
	return is_hex(name, ID_PREFIX_MIN, 2 * OID_SIZE);
}

bool object_name_is_valid(const char *name)
{
	size_t len = strlen(name);

	return len >= 1 && len <= OBJECT_NAME_MAX &&
	       strspn(name, DIGITS UPPER LOWER "._-") == len && name[0] != '.' && name[0] != '-' &&
	       strcmp(name, "commits") != 0 && !is_hex(name, ID_PREFIX_MIN, SIZE_MAX);
}
