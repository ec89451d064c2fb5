/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which backend a URL names, and what all of them call a key.
 */
#include "backend/backend.h"

#include "backend/s3.h"
#include "base/log.h"
#include "format/limits.h"

enum {
	PART_MAX = 255
};

/* Is the part [@p, @p + @len) of a key one that a path may have? */
static bool part_is_valid(const char *p, size_t len)
{
	return len > 0 && len <= PART_MAX && !(len == 1 && p[0] == '.') &&
	       !(len == 2 && p[0] == '.' && p[1] == '.');
}

static bool chars_are_valid(const char *s)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789/._-";

	return s[strspn(s, allowed)] == '\0';
}

/* The parts that a '/' ends; says where the last one starts. */
static bool parts_are_valid(const char *s, const char **ret_last)
{
	const char *p = s, *slash;

	for (; (slash = strchr(p, '/')); p = slash + 1)
		if (!part_is_valid(p, (size_t)(slash - p)))
			return false;
	*ret_last = p;
	return strncmp(s, "tmp/", 4) != 0;
}

bool backend_key_is_valid(const char *key)
{
	const char *last;

	return strnlen(key, KEY_MAX + 1) <= KEY_MAX && chars_are_valid(key) &&
	       parts_are_valid(key, &last) && part_is_valid(last, strlen(last)) &&
	       strcmp(key, "tmp") != 0;
}

bool backend_prefix_is_valid(const char *prefix)
{
	const char *last;

	return strnlen(prefix, KEY_MAX + 1) <= KEY_MAX && chars_are_valid(prefix) &&
	       parts_are_valid(prefix, &last) && strlen(last) <= PART_MAX;
}

/* The directory that @url names, or NULL. A name is taken as it stands: '%' means itself. */
static const char *directory_of(const char *url)
{
	static const char scheme[] = "file://";

	if (strncmp(url, scheme, sizeof(scheme) - 1) == 0)
		return url[sizeof(scheme) - 1] == '/' ? url + sizeof(scheme) - 1 : NULL;
	return *url && !strstr(url, "://") ? url : NULL;
}

static int open_bucket(const char *url, const struct backend_options *opts, struct backend **ret)
{
	int r = s3_backend_open(url, opts, ret);

	if (r == 0)
		(*ret)->is_served = true;
	return r;
}

int backend_open(const char *url, const struct backend_options *opts, struct backend **ret)
{
	const char *dir;

	if (strcmp(url, "mem:") == 0)
		return memory_backend_new(ret);
	if (strncmp(url, "s3://", strlen("s3://")) == 0)
		return open_bucket(url, opts, ret);
	dir = directory_of(url);
	if (!dir)
		return log_fail(
			-EINVAL,
			"'%s' names no store: use file:///DIRECTORY, a path, or s3://BUCKET", url);
	return file_backend_open(dir, opts, ret);
}

void backend_free(struct backend *b)
{
	if (b)
		b->ops->free(b);
}
