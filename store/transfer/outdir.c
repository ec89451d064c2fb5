/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Directories of an export (transfer/outdir.h).
 */
#include "transfer/outdir.h"

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fdio.h"

enum {
	OPEN_MAX_DIRS = 128,
	OPEN_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
};

void outdirs_init(struct outdirs *s)
{
	list_init(&s->open);
	s->open_count = 0;
}

static void shut(struct outdirs *s, struct outdir *d)
{
	if (d->fd < 0)
		return;
	close(d->fd);
	d->fd = -1;
	if (d->up) {
		list_remove(&d->link);
		s->open_count--;
	}
}

/* @d was just opened: others go that nobody uses. */
static void note_open(struct outdirs *s, struct outdir *d)
{
	list_append(&s->open, &d->link);
	s->open_count++;
	list_for_each_safe (x, &s->open, struct outdir, link) {
		if (s->open_count <= OPEN_MAX_DIRS)
			break;
		if (x->held == 0 && x != d)
			shut(s, x);
	}
}

static bool has_default_acl(int fd)
{
	return fgetxattr(fd, "system.posix_acl_default", NULL, 0) > 0;
}

static struct outdir *outdir_new(const struct inode *ino, struct node *leaf)
{
	struct outdir *d = new0(struct outdir, 1);

	if (!d)
		return NULL;
	list_init(&d->link);
	d->inode = *ino;
	d->leaf = leaf ? node_ref(leaf) : NULL;
	d->fd = -1;
	d->pending = 1;
	return d;
}

int outdir_of(int fd, const struct inode *ino, struct node *leaf, struct outdir **ret)
{
	struct outdir *d = outdir_new(ino, leaf);

	if (!d) {
		close(fd);
		return -ENOMEM;
	}
	d->fd = fd;
	d->may_inherit = has_default_acl(fd);
	*ret = d;
	return 0;
}

void outdir_free(struct outdirs *s, struct outdir *d)
{
	if (!d)
		return;
	shut(s, d);
	node_unref(d->leaf);
	free(d);
}

/* Opens it below its parent, which is open. */
static int open_below(struct outdirs *s, struct outdir *d)
{
	_cleanup_close_ int fd = openat(d->up->fd, (const char *)d->name, OPEN_FLAGS);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (st.st_dev != d->st.st_dev || st.st_ino != d->st.st_ino)
		return -ESTALE;
	d->fd = TAKE_FD(fd);
	note_open(s, d);
	return 0;
}

int outdir_hold(struct outdirs *s, struct outdir *d)
{
	struct outdir *at = d;
	int r;

	/* Up to one that is open, and down again. */
	for (d->down = NULL; at->fd < 0; at = at->up)
		at->up->down = at;
	for (; at != d; at = at->down) {
		at->held++;
		r = open_below(s, at->down);
		at->held--;
		if (r < 0)
			return r;
	}
	d->held++;
	return d->fd;
}

void outdir_let_go(struct outdir *d)
{
	d->held--;
}

/* The directory @name in @dirfd, made unless it is there. */
static int open_or_make(int dirfd, const char *name, struct stat *ret)
{
	_cleanup_close_ int fd = -1;

	if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(dirfd, name, OPEN_FLAGS);
	if (fd < 0 && errno == EACCES && fchmodat(dirfd, name, 0700, 0) == 0)
		fd = openat(dirfd, name, OPEN_FLAGS);
	if (fd < 0)
		return errno == ENOTDIR || errno == ELOOP ? -EEXIST : -errno;
	if (fstat(fd, ret) < 0)
		return -errno;
	/* It may have been completed before. */
	if ((ret->st_mode & S_IRWXU) != S_IRWXU && ret->st_uid == geteuid() &&
	    fchmod(fd, ret->st_mode | S_IRWXU) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int outdir_make(struct outdirs *s, struct outdir *up, struct span name, const struct inode *ino,
		struct node *leaf, struct outdir **ret)
{
	struct outdir *d = outdir_new(ino, leaf);
	int fd;

	if (!d)
		return -ENOMEM;
	memcpy(d->name, name.data, name.len);
	fd = outdir_hold(s, up);
	if (fd >= 0) {
		fd = open_or_make(fd, (const char *)d->name, &d->st);
		outdir_let_go(up);
	}
	if (fd < 0) {
		outdir_free(s, d);
		return fd;
	}
	d->up = up;
	d->fd = fd;
	d->may_inherit = up->may_inherit || has_default_acl(fd);
	up->pending++;
	note_open(s, d);
	*ret = d;
	return 0;
}

int outdir_path(const struct outdir *d, struct span name, struct buf *ret)
{
	_cleanup_buf_ struct buf b = { 0 };
	size_t len = name.len + 1;
	uint8_t *to;

	for (const struct outdir *x = d; x->up; x = x->up)
		len += strlen((const char *)x->name) + 1;
	to = buf_extend(&b, len);
	if (!to)
		return -ENOMEM;
	to += len;
	*--to = '\0';
	to -= name.len;
	if (name.len > 0)
		memcpy(to, name.data, name.len);
	for (const struct outdir *x = d; x->up; x = x->up) {
		size_t n = strlen((const char *)x->name);

		*--to = '/';
		to -= n;
		memcpy(to, x->name, n);
	}
	return buf_take(&b, ret);
}
