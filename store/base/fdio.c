/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * File input and output of base/fdio.h.
 */
#include "base/fdio.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/random.h"
#include "base/text.h"

ssize_t pread_upto(int fd, void *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int pread_all(int fd, void *buf, size_t len, uint64_t off)
{
	ssize_t n = pread_upto(fd, buf, len, off);

	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : -ENODATA;
}

int pwrite_all(int fd, const void *buf, size_t len, uint64_t off)
{
	const char *p = buf;

	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		p += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int write_all(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int read_file(int dirfd, const char *name, size_t max, struct buf *ret)
{
	_cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	_cleanup_buf_ struct buf b = { 0 };
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	/* The size is a hint: files of /proc have none, others may grow. */
	for (size_t want = MIN((size_t)st.st_size, max) + 1;; want = 4096) {
		if (buf_reserve(&b, want) < 0)
			return -ENOMEM;
		n = pread_upto(fd, b.data + b.len, want, b.len);
		if (n < 0)
			return (int)n;
		b.len += (size_t)n;
		if (b.len > max)
			return -EFBIG;
		if ((size_t)n < want)
			break;
	}
	buf_release(ret);
	*ret = b;
	b = (struct buf){ 0 };
	return 0;
}

int fsync_fd(int fd)
{
	while (fsync(fd) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int fdatasync_fd(int fd)
{
	while (fdatasync(fd) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int fsync_dir(int dirfd, const char *path)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fsync_fd(fd);
}

int write_file_atomic(int dirfd, const char *name, struct span data, mode_t mode)
{
	_cleanup_free_ char *tmp = strf("%s.tmp", name);
	_cleanup_close_ int fd = -1;
	int r;

	if (!tmp)
		return -ENOMEM;
	fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	if (fd < 0)
		return -errno;
	r = write_all(fd, data.data, data.len);
	if (r == 0)
		r = fsync_fd(fd);
	if (r == 0 && renameat(dirfd, tmp, dirfd, name) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dirfd, tmp, 0);
		return r;
	}
	return fsync_dir(dirfd, ".");
}

char *path_of_place(const char *path)
{
	_cleanup_free_ char *copy = strdup(path), *parent = NULL;
	char *real = realpath(path, NULL), *slash;

	if (real || !copy)
		return real;
	for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
		copy[n - 1] = '\0';
	slash = strrchr(copy, '/');
	if (slash)
		*slash = '\0';
	parent = realpath(!slash ? "." : slash == copy ? "/" : copy, NULL);
	if (!parent)
		return NULL;
	return strf("%s/%s", strcmp(parent, "/") == 0 ? "" : parent, slash ? slash + 1 : copy);
}

int mkdir_parents(const char *path, mode_t mode)
{
	_cleanup_free_ char *copy = strdup(path);
	size_t len;

	if (!copy)
		return -ENOMEM;
	/* Behind a slash at the end there is no part. */
	for (len = strlen(copy); len > 1 && copy[len - 1] == '/'; len--)
		copy[len - 1] = '\0';
	for (size_t i = 1; i < len; i++) {
		if (copy[i] != '/')
			continue;
		copy[i] = '\0';
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			return -errno;
		copy[i] = '/';
	}
	if (mkdir(copy, mode) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

int remove_tree(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *e;
	int first = 0;
	DIR *d;

	if (fd < 0) {
		if (errno == ENOENT)
			return 0;
		return unlinkat(dirfd, name, 0) < 0 ? -errno : 0;
	}
	d = fdopendir(fd);
	if (!d) {
		first = -errno;
		close(fd);
		return first;
	}
	while ((e = readdir(d))) {
		int r;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		r = remove_tree(fd, e->d_name);
		if (r < 0 && first == 0)
			first = r;
	}
	closedir(d);
	if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && first == 0)
		first = -errno;
	return first;
}

struct id128 boot_id(void)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct id128 id = { 0 };
	char hex[ID128_HEX];
	size_t n = 0;

	if (read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &b) < 0)
		return id;
	for (size_t i = 0; i < b.len && n < sizeof(hex) - 1; i++)
		if (b.data[i] != '-' && b.data[i] != '\n')
			hex[n++] = (char)b.data[i];
	if (id128_parse(span_of(hex, n), &id) < 0)
		memset(&id, 0, sizeof(id));
	return id;
}
