/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Walking local trees (transfer/localwalk.h): a stack of directories, each with its names, sorted.
 */
#include "transfer/localwalk.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fdio.h"

enum {
	OPEN_MAX_DIRS = 64, /* held open at a time */
};

struct walk_dir {
	int fd; /* -1: closed for the time being */
	struct stat st;
	struct buf names; /* one after another, each with a NUL behind */
	uint32_t *sorted; /* where each begins; owned */
	size_t count, next;
};

struct localwalk {
	struct localwalk_options o;
	struct walk_dir *dirs; /* a stack; owned */
	size_t depth, cap;
	bool is_begun;
	bool is_leaving; /* the last event left the lowest directory, which is still there */
	struct span name; /* of the last event that was not about a directory of the stack */
};

static void dir_close(struct walk_dir *d)
{
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
}

static void pop(struct localwalk *w)
{
	struct walk_dir *d = &w->dirs[--w->depth];

	dir_close(d);
	buf_release(&d->names);
	free(d->sorted);
}

void localwalk_free(struct localwalk *w)
{
	if (!w)
		return;
	while (w->depth > 0)
		pop(w);
	free(w->dirs);
	free(w);
}

static int cmp_names(const void *a, const void *b, void *names)
{
	const char *base = names;

	return strcmp(base + *(const uint32_t *)a, base + *(const uint32_t *)b);
}

static int sort_names(struct walk_dir *d)
{
	const char *base = (const char *)d->names.data;

	d->sorted = new0(uint32_t, d->count + 1);
	if (!d->sorted)
		return -ENOMEM;
	for (size_t i = 0, at = 0; i < d->count; at += strlen(base + at) + 1)
		d->sorted[i++] = (uint32_t)at;
	if (d->count > 0)
		qsort_r(d->sorted, d->count, sizeof(d->sorted[0]), cmp_names, d->names.data);
	return 0;
}

static int read_names(struct walk_dir *d)
{
	int fd = fcntl(d->fd, F_DUPFD_CLOEXEC, 0), r;
	struct dirent *e;
	DIR *dir;

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	for (errno = 0; (e = readdir(dir)); errno = 0) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		buf_put(&d->names, e->d_name, strlen(e->d_name) + 1);
		d->count++;
	}
	r = -errno;
	closedir(dir);
	if (buf_failed(&d->names) || d->names.len > UINT32_MAX)
		r = -ENOMEM;
	return r < 0 ? r : sort_names(d);
}

/* Takes @fd. What is mounted below may have to be empty. */
static int push(struct localwalk *w, int fd)
{
	struct walk_dir *d;
	int r;

	if (w->depth == w->cap) {
		size_t cap = MAX(2 * w->cap, (size_t)16);

		d = reallocarray(w->dirs, cap, sizeof(*d));
		if (!d) {
			close(fd);
			return -ENOMEM;
		}
		w->dirs = d;
		w->cap = cap;
	}
	d = &w->dirs[w->depth++];
	*d = (struct walk_dir){ .fd = fd };
	r = fstat(fd, &d->st) < 0 ? -errno : 0;
	if (r == 0 && !(w->o.one_file_system && d->st.st_dev != w->dirs[0].st.st_dev))
		r = read_names(d);
	if (r < 0) {
		pop(w);
		return r;
	}
	if (w->depth > OPEN_MAX_DIRS)
		dir_close(&w->dirs[w->depth - 1 - OPEN_MAX_DIRS]);
	return 0;
}

int localwalk_new(int fd, const struct localwalk_options *o, struct localwalk **ret)
{
	_cleanup_(localwalk_freep) struct localwalk *w = new0(struct localwalk, 1);
	int r;

	if (!w) {
		close(fd);
		return -ENOMEM;
	}
	w->o = *o;
	r = push(w, fd);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(w);
	return 0;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Opens the directory above the open one again, which is where it was unless somebody moved it. */
static int reopen_above(struct localwalk *w)
{
	struct walk_dir *d = &w->dirs[w->depth - 2];
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (d->fd >= 0)
		return 0;
	fd = openat(w->dirs[w->depth - 1].fd, "..",
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!is_same(&st, &d->st))
		return -ESTALE;
	d->fd = TAKE_FD(fd);
	return 0;
}

static struct localwalk_event dir_event(const struct localwalk *w, enum localwalk_kind kind)
{
	const struct walk_dir *d = &w->dirs[w->depth - 1];
	struct localwalk_event e = { .kind = kind, .st = d->st, .dirfd = -1, .fd = d->fd };

	if (w->depth > 1) {
		const struct walk_dir *up = d - 1;

		e.name = span_str((const char *)up->names.data + up->sorted[up->next - 1]);
	}
	return e;
}

/* The next name of the lowest directory. */
static int visit(struct localwalk *w, struct localwalk_event *ret)
{
	struct walk_dir *d = &w->dirs[w->depth - 1];
	const char *name = (const char *)d->names.data + d->sorted[d->next++];
	int fd, r;

	*ret = (struct localwalk_event){
		.kind = LOCALWALK_FILE, .name = span_str(name), .dirfd = d->fd, .fd = -1
	};
	w->name = ret->name;
	if (fstatat(d->fd, name, &ret->st, AT_SYMLINK_NOFOLLOW) < 0) {
		r = -errno;
	} else if (!S_ISDIR(ret->st.st_mode)) {
		return 1;
	} else {
		fd = openat(d->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		r = fd < 0 ? -errno : push(w, fd);
		if (r == 0) {
			w->name = span_of(NULL, 0);
			*ret = dir_event(w, LOCALWALK_ENTER);
			return 1;
		}
	}
	if (r == -ENOMEM)
		return r;
	*ret = (struct localwalk_event){
		.kind = LOCALWALK_FAILED, .name = w->name, .dirfd = -1, .fd = -1, .error = r
	};
	return 1;
}

int localwalk_next(struct localwalk *w, struct localwalk_event *ret)
{
	struct walk_dir *d;
	int r;

	if (w->o.cancelled && *w->o.cancelled)
		return -ECANCELED;
	w->name = span_of(NULL, 0);
	if (!w->is_begun) {
		w->is_begun = true;
		*ret = dir_event(w, LOCALWALK_ENTER);
		return 1;
	}
	if (w->is_leaving) {
		w->is_leaving = false;
		r = w->depth > 1 ? reopen_above(w) : 0;
		if (r < 0)
			return r;
		pop(w);
	}
	if (w->depth == 0)
		return 0;
	d = &w->dirs[w->depth - 1];
	if (d->next < d->count)
		return visit(w, ret);
	w->is_leaving = true;
	*ret = dir_event(w, LOCALWALK_LEAVE);
	return 1;
}

int localwalk_path(const struct localwalk *w, struct buf *ret)
{
	_cleanup_buf_ struct buf b = { 0 };

	for (size_t i = 0; i + 1 < w->depth; i++) {
		const struct walk_dir *d = &w->dirs[i];

		buf_printf(&b, "%s/", (const char *)d->names.data + d->sorted[d->next - 1]);
	}
	if (w->name.len > 0)
		buf_put(&b, w->name.data, w->name.len);
	else if (b.len > 0)
		b.len--;
	else
		buf_put_u8(&b, '.');
	buf_put_u8(&b, 0);
	return buf_take(&b, ret);
}
