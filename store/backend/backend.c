/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which backend a URL names, and what all of them call a key.
 */
#include "backend/backend.h"

#include "backend/libs3.h"
#include "backend/s3.h"
#include "base/log.h"
#include "format/limits.h"
#include "s3/url.h"

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

/* Does the URL say that object data goes over libs3? 1, 0, or an error of s3_place_parse(). */
static int wants_libs3(const char *url)
{
	_cleanup_s3_place_ struct s3_place place = { 0 };
	int r = s3_place_parse(url, &place);

	return r < 0 ? r : place.is_libs3;
}

static int open_bucket(const char *url, const struct backend_options *opts, struct backend **ret)
{
	_cleanup_(backend_freep) struct backend *b = NULL;
	int libs3 = wants_libs3(url), r;

	if (libs3 < 0)
		return libs3;
#ifndef PFS_HAS_LIBS3
	if (libs3)
		return log_fail(-EOPNOTSUPP, "this pfs was built without libs3: leave out "
					     "transport=libs3");
#endif
	r = s3_backend_open(url, opts, &b);
#ifdef PFS_HAS_LIBS3
	if (r == 0 && libs3) {
		struct backend *inner = TAKE_PTR(b);

		r = libs3_backend_new(url, inner, opts, &b);
		if (r < 0)
			backend_free(inner);
	}
#endif
	if (r < 0)
		return r;
	b->is_served = true;
	*ret = TAKE_PTR(b);
	return 0;
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
