/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Listing the file backend's keys in order.
 *
 * Only the directories that a prefix leads to are read, one at a time, each whole before any of its
 * keys is told: the callback may change the directory. A directory's name orders as if it ended in
 * '/', which it does in every key below it ("a-b" before "a/b"). One that cannot be read does not
 * keep the others from being told.
 */
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "backend/file.h"
#include "base/fdio.h"
#include "base/hash.h"
#include "base/log.h"

enum {
	STAMP_SEC = 3, /* what some filesystems take for the same moment, and a little more */
};

struct listing {
	struct file_backend *f;
	const char *prefix;
	const char *after; /* or NULL */
	backend_list_fn fn;
	void *ctx;
	const struct deadline *dl;
	char path[KEY_MAX + 2]; /* of what is being looked at */
	int error; /* of a directory that could not be read; 0: none */
};

/* A directory's names in order, those of directories with a '/' at their end. */
struct names {
	struct buf bytes; /* owned: each with its NUL */
	char **sorted; /* owned; into bytes */
	size_t count;
};

static void names_release(struct names *n)
{
	buf_release(&n->bytes);
	free(n->sorted);
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int names_sort(struct names *n)
{
	char *p;

	if (buf_failed(&n->bytes))
		return -ENOMEM;
	n->sorted = new0(char *, n->count + 1);
	if (!n->sorted)
		return -ENOMEM;
	p = (char *)n->bytes.data;
	for (size_t i = 0; i < n->count; i++, p += strlen(p) + 1)
		n->sorted[i] = p;
	qsort(n->sorted, n->count, sizeof(n->sorted[0]), by_bytes);
	return 0;
}

/* Could the name, in the directory of the current path, be in the listing? */
static bool is_wanted(struct listing *l, size_t len, const char *name, size_t name_len)
{
	size_t prefix_len = strlen(l->prefix), n;

	if (len + name_len > KEY_MAX)
		return false;
	memcpy(l->path + len, name, name_len + 1);
	/* ".", "..", "tmp" and what no backend has made end here. */
	if (!backend_prefix_is_valid(l->path))
		return false;
	n = MIN(prefix_len, len + name_len);
	if (strncmp(l->path, l->prefix, n) != 0)
		return false;
	if (name[name_len - 1] != '/')
		return len + name_len >= prefix_len && backend_key_is_valid(l->path) &&
		       (!l->after || strcmp(l->path, l->after) > 0);
	/* of a directory all that is below may be above @after, or a part */
	return !l->after || strncmp(l->path, l->after, len + name_len) >= 0;
}

static bool is_directory(int dirfd, const struct dirent *e, bool *ret_is_file)
{
	struct stat st;

	if (e->d_type != DT_UNKNOWN) {
		*ret_is_file = e->d_type == DT_REG;
		return e->d_type == DT_DIR;
	}
	if (fstatat(dirfd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		st.st_mode = 0;
	*ret_is_file = S_ISREG(st.st_mode);
	return S_ISDIR(st.st_mode);
}

static int names_read(struct listing *l, size_t len, struct names *ret)
{
	const bool is_after = l->after && strncmp(l->path, l->after, len) == 0;
	const struct dirent *e;
	DIR *d;
	int fd, r = 0;

	l->path[len] = '\0';
	fd = openat(l->f->root, len > 0 ? l->path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (!d) {
		r = -errno;
		close(fd);
		return r;
	}
	while (errno = 0, (e = readdir(d))) {
		char name[sizeof(e->d_name) + 1];
		bool is_file, is_dir = is_directory(fd, e, &is_file);
		size_t name_len;

		/* Most of a large directory goes here, at little cost. */
		if (!is_dir && (!is_file || (is_after && strcmp(e->d_name, l->after + len) <= 0)))
			continue;
		name_len = strlen(e->d_name);
		memcpy(name, e->d_name, name_len);
		if (is_dir)
			name[name_len++] = '/';
		name[name_len] = '\0';
		if (!is_wanted(l, len, name, name_len))
			continue;
		buf_put(&ret->bytes, name, name_len + 1);
		ret->count++;
	}
	r = -errno;
	closedir(d);
	return r < 0 ? r : names_sort(ret);
}

static int tell(struct listing *l)
{
	struct stat st;

	if (fstatat(l->f->root, l->path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : file_error(errno);
	return S_ISREG(st.st_mode) ? l->fn(l->path, (uint64_t)st.st_size, NULL, l->ctx) : 0;
}

/* Tells what is in the directory that the first @len bytes of the path name; as deep as a key has
 * parts. */
static int list_dir(struct listing *l, size_t len)
{
	_cleanup_(names_release) struct names names = { 0 };
	int r;

	r = names_read(l, len, &names);
	if (r == -ENOENT || r == -ENOTDIR)
		return len > 0 ? 0 : -EIO; /* no such keys; without a root nothing is known */
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		l->path[len] = '\0';
		l->error = log_errno(file_error(-r), "%s/%s cannot be listed", l->f->path, l->path);
		return 0;
	}
	for (size_t i = 0; i < names.count; i++) {
		size_t name_len = strlen(names.sorted[i]);

		r = deadline_check(l->dl);
		if (r < 0)
			return r;
		memcpy(l->path + len, names.sorted[i], name_len + 1);
		if (names.sorted[i][name_len - 1] == '/')
			r = list_dir(l, len + name_len);
		else
			r = tell(l);
		if (r != 0)
			return r;
	}
	return 0;
}

int file_list(struct backend *b, const char *prefix, const char *after, backend_list_fn fn,
	      void *ctx, const struct deadline *dl)
{
	struct listing l = {
		.f = container_of(b, struct file_backend, base),
		.prefix = prefix,
		.after = after,
		.fn = fn,
		.ctx = ctx,
		.dl = dl,
	};
	const char *slash;
	int r;

	if (!backend_prefix_is_valid(prefix))
		return -EINVAL;
	r = deadline_check(dl);
	if (r == 0)
		r = file_root_check(l.f);
	if (r < 0)
		return r;
	slash = strrchr(prefix, '/');
	if (slash)
		memcpy(l.path, prefix, (size_t)(slash - prefix) + 1);
	r = list_dir(&l, slash ? (size_t)(slash - prefix) + 1 : 0);
	return r ?: l.error;
}

int file_stamp(struct backend *b, const char *dir, uint64_t *ret)
{
	struct file_backend *f = container_of(b, struct file_backend, base);
	struct timespec now = now_wall();
	struct stat st;
	int r = file_root_check(f);

	if (r < 0)
		return r;
	if (fstatat(f->root, dir, &st, 0) < 0)
		return errno == ENOENT ? -ENOENT : file_error(errno);
	/* A change right after this one could have the same time; and a server's may be old. */
	if (f->is_network || st.st_ctim.tv_sec > now.tv_sec - STAMP_SEC) {
		*ret = 0;
	} else {
		const uint64_t what[] = { st.st_dev, st.st_ino, (uint64_t)st.st_ctim.tv_sec,
					  (uint64_t)st.st_ctim.tv_nsec };

		*ret = xxh64(what, sizeof(what), 0) ?: 1;
	}
	return 0;
}

/* What a store's own root may hold besides its objects. */
static bool is_to_be_expected(const char *name)
{
	static const char *const names[] = { ".", "..", FILE_TMP, "lost+found" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

int file_has_others(struct backend *b)
{
	struct file_backend *f = container_of(b, struct file_backend, base);
	int fd = openat(f->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	const struct dirent *e;
	DIR *d;

	if (fd < 0)
		return file_error(errno);
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return -ENOMEM;
	}
	/* Nothing below it is looked at: a directory may hold anything. */
	while (r == 0 && (e = readdir(d)))
		r = !is_to_be_expected(e->d_name);
	closedir(d);
	return r;
}
