/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Attributes of local files (transfer/attributes.h).
 *
 * What cannot be opened (symlinks, devices, fifos) is held with O_PATH and reached as
 * /proc/self/fd/N, which leads to it and no further: there is no other call for xattrs by
 * descriptor.
 */
#include "transfer/attributes.h"

#include <fcntl.h>
#include <linux/limits.h>
#include <stdio.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/deadline.h"
#include "format/xattr.h"

#define ACL_ACCESS  "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

/* The way to a descriptor by name. */
struct fd_path {
	char s[32];
};

static struct fd_path fd_path(int fd)
{
	struct fd_path p;

	snprintf(p.s, sizeof(p.s), "/proc/self/fd/%d", fd);
	return p;
}

struct inode inode_of_stat(const struct stat *st)
{
	struct inode ino = {
		.type = file_type_of_mode(st->st_mode),
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.mtime = inode_time_of(st->st_mtim),
		.ctime = inode_time_of(st->st_ctim),
	};

	if (ino.type == FT_CHR || ino.type == FT_BLK) {
		ino.dev.major = major(st->st_rdev);
		ino.dev.minor = minor(st->st_rdev);
	}
	return ino;
}

static bool starts_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool xattr_travels(const char *name)
{
	/* "user.pfs." is what a mount computes. Of the kernel's own only ACLs can be set again. */
	if (starts_with(name, "user."))
		return !starts_with(name, "user.pfs.");
	if (starts_with(name, "system."))
		return strcmp(name, ACL_ACCESS) == 0 || strcmp(name, ACL_DEFAULT) == 0;
	return starts_with(name, "security.") || starts_with(name, "trusted.");
}

/* Calls that grow their buffer until what they read fits. */
static int read_growing(ssize_t (*read)(const char *path, const char *name, void *buf, size_t len),
			const char *path, const char *name, struct buf *ret)
{
	ssize_t n = read(path, name, NULL, 0);

	while (n >= 0) {
		size_t room = (size_t)n;

		buf_clear(ret);
		if (room == 0)
			return 0;
		if (buf_reserve(ret, room) < 0)
			return -ENOMEM;
		n = read(path, name, ret->data, room);
		if (n >= 0) {
			ret->len = (size_t)n;
			return 0;
		}
		if (errno == ERANGE)
			n = read(path, name, NULL, 0);
	}
	return -errno;
}

static ssize_t list_of(const char *path, const char *name, void *buf, size_t len)
{
	return listxattr(path, buf, len);
}

static int cmp_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of @list that travel, sorted. */
static int sort_names(const struct buf *list, const char ***ret, size_t *ret_count)
{
	const char *s = (const char *)list->data, *end = s + list->len;
	const char **names;
	size_t n = 0;

	names = new0(const char *, list->len / 2 + 1);
	if (!names)
		return -ENOMEM;
	for (; s < end; s += strlen(s) + 1)
		if (xattr_travels(s))
			names[n++] = s;
	qsort(names, n, sizeof(*names), cmp_names);
	*ret = names;
	*ret_count = n;
	return 0;
}

int xattrs_of_file(int fd, struct buf *ret)
{
	struct fd_path path = fd_path(fd);
	_cleanup_buf_ struct buf list = { 0 }, value = { 0 };
	_cleanup_free_ const char **names = NULL;
	size_t count;
	int r;

	buf_clear(ret);
	/* Nearly every file has none: one call tells. */
	r = flistxattr(fd, NULL, 0) == 0 ? 0 : read_growing(list_of, path.s, NULL, &list);
	if (r == -ENOTSUP || (r == 0 && list.len == 0))
		return 0;
	if (r == 0)
		r = sort_names(&list, &names, &count);
	for (size_t i = 0; r == 0 && i < count; i++) {
		r = read_growing(getxattr, path.s, names[i], &value);
		if (r == 0)
			r = xattr_append(ret, span_str(names[i]), buf_span(&value));
		else if (r == -ENODATA || r == -EPERM || r == -EACCES || r == -ENOTSUP)
			r = 0;
	}
	return r;
}

/* May an attribute be missing because we are not root? */
static bool is_roots(struct span name)
{
	return name.len > 9 &&
	       (memcmp(name.data, "trusted.", 8) == 0 || memcmp(name.data, "security.", 9) == 0);
}

static int set_xattrs(const struct attributed *a, const char *path, int *ret_lost)
{
	struct cursor c = cursor_of(a->xattrs);
	bool has_access = false, has_default = false;
	struct xattr x;

	while (xattr_next(&c, &x)) {
		char name[XATTR_NAME_MAX_LEN + 1];
		int r;

		memcpy(name, x.name.data, x.name.len);
		name[x.name.len] = '\0';
		has_access = has_access || strcmp(name, ACL_ACCESS) == 0;
		has_default = has_default || strcmp(name, ACL_DEFAULT) == 0;
		if (!xattr_travels(name))
			continue;
		r = a->is_path ? setxattr(path, name, x.value.data, x.value.len, 0)
			       : fsetxattr(a->fd, name, x.value.data, x.value.len, 0);
		if (r == 0 || (errno == EPERM && is_roots(x.name) && geteuid() != 0))
			continue;
		if (errno == ENOSPC || errno == EDQUOT || errno == EIO)
			return -errno;
		*ret_lost = -errno;
	}
	if (a->may_inherit && !has_access && a->ino->type != FT_LNK)
		removexattr(path, ACL_ACCESS);
	if (a->may_inherit && !has_default && a->ino->type == FT_DIR)
		removexattr(path, ACL_DEFAULT);
	return 0;
}

static int set_owner(const struct attributed *a, mode_t *mode)
{
	struct stat st;

	if (fstat(a->fd, &st) < 0)
		return -errno;
	if (st.st_uid == a->ino->uid && st.st_gid == a->ino->gid)
		return 0;
	if (fchownat(a->fd, "", a->ino->uid, a->ino->gid, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != EPERM && errno != EINVAL)
		return -errno;
	/* The group alone may be allowed; privileges of another owner's are not to be given away.
	 */
	if (fchownat(a->fd, "", (uid_t)-1, a->ino->gid, AT_EMPTY_PATH) < 0)
		*mode &= ~(mode_t)S_ISGID;
	if (st.st_uid != a->ino->uid)
		*mode &= ~(mode_t)S_ISUID;
	return 0;
}

int attributes_set(const struct attributed *a, int *ret_lost)
{
	struct fd_path path = fd_path(a->fd);
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, inode_time_to(a->ino->mtime) };
	mode_t mode = a->ino->mode;
	int lost = 0, r;

	/* A change of owner clears capabilities and the setuid bit, so it comes first. */
	r = set_owner(a, &mode);
	if (r == 0)
		r = set_xattrs(a, path.s, &lost);
	if (r < 0)
		return r;
	if (a->ino->type == FT_LNK)
		r = utimensat(AT_FDCWD, path.s, times, 0);
	else if (a->is_path)
		r = chmod(path.s, mode) < 0 ? -1 : utimensat(AT_FDCWD, path.s, times, 0);
	else
		r = fchmod(a->fd, mode) < 0 ? -1 : futimens(a->fd, times);
	if (r < 0)
		return -errno;
	*ret_lost = lost;
	return 0;
}
