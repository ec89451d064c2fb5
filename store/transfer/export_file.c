/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Writing one file of an export.
 *
 * It has no name until it is whole, with all its attributes: an export that is killed leaves
 * nothing behind but what is done. Where a filesystem has no unnamed files, and where another file
 * has to give way, it first has a name that nothing in its directory has.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/hash.h"
#include "transfer/attributes.h"
#include "transfer/export.h"

enum {
	AHEAD = 16 << 20, /* bytes of a large file that are asked for before they are needed */
	TEMP_TRIES = 100,
};

/* A name beside the real one. */
struct temp_name {
	char s[48];
};

static struct temp_name temp_name(const char *name, unsigned n)
{
	struct temp_name t;

	snprintf(t.s, sizeof(t.s), ".pfs-%016llx.%u",
		 (unsigned long long)xxh64(name, strlen(name), 0), n);
	return t;
}

/* Makes @make succeed with a temporary name. What an earlier export left under it goes. */
static int make_temp(int dirfd, const char *name, const struct tree_root *siblings,
		     struct node_source *source,
		     int (*make)(int dirfd, const char *temp, void *ctx), void *ctx,
		     struct temp_name *ret)
{
	unsigned n = 0;
	int r = -EEXIST;

	for (unsigned i = 0; r == -EEXIST && i < TEMP_TRIES; i++) {
		_cleanup_(node_unrefp) struct node *leaf = NULL;
		struct dirent_rec d;

		*ret = temp_name(name, n);
		r = make(dirfd, ret->s, ctx);
		if (r != -EEXIST)
			break;
		if (dir_lookup(source, siblings, span_str(ret->s), &leaf, &d) == -ENOENT)
			unlinkat(dirfd, ret->s, 0);
		else
			n++;
	}
	return r;
}

struct linking {
	int from;
	const char *name;
	int flags;
};

static int make_link(int dirfd, const char *temp, void *ctx)
{
	const struct linking *l = ctx;

	return linkat(l->from, l->name, dirfd, temp, l->flags) < 0 ? -errno : 0;
}

static int rename_temp(int dirfd, const struct temp_name *temp, const char *name)
{
	int r;

	if (renameat(dirfd, temp->s, dirfd, name) == 0)
		return 0;
	r = errno == EISDIR ? -EEXIST : -errno;
	unlinkat(dirfd, temp->s, 0);
	return r;
}

/* A further name for what @l says, which takes the place of another file. */
static int link_over(const struct linking *l, int dirfd, const char *name,
		     const struct tree_root *siblings, struct node_source *source)
{
	struct temp_name temp;
	int r;

	if (linkat(l->from, l->name, dirfd, name, l->flags) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	r = make_temp(dirfd, name, siblings, source, make_link, (void *)l, &temp);
	return r < 0 ? r : rename_temp(dirfd, &temp, name);
}

int link_file(int from, const char *from_name, int dirfd, const char *name,
	      const struct tree_root *siblings, struct node_source *source)
{
	const struct linking l = { .from = from, .name = from_name };
	struct stat a, b;

	if (fstatat(from, from_name, &a, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (fstatat(dirfd, name, &b, AT_SYMLINK_NOFOLLOW) == 0) {
		if (a.st_dev == b.st_dev && a.st_ino == b.st_ino)
			return 0;
		if ((a.st_mode & S_IFMT) != (b.st_mode & S_IFMT))
			return -EEXIST;
	}
	return link_over(&l, dirfd, name, siblings, source);
}

/* What a worker has at hand while it writes. */
struct writing {
	struct file_task *t;
	struct access access;
	struct reader_source source;
	struct buf xattrs;
};

static bool is_same_time(struct timespec a, struct inode_time b)
{
	return a.tv_sec == b.sec && (uint32_t)a.tv_nsec == b.nsec;
}

static int write_chunk(struct writing *w, int fd, uint64_t off, const struct oid *id,
		       const struct loc *loc, uint64_t len)
{
	_cleanup_(blob_unrefp) struct blob *b = NULL;
	int r = reader_chunk(w->t->store->reader, id, loc, &w->access, &b);

	if (r == 0 && b->len != len)
		r = -EBADMSG;
	if (r == 0)
		r = pwrite_all(fd, b->data, b->len, off);
	if (r == 0)
		report_add(w->t->report, 0, len);
	return r == -ENOENT ? -EIO : r;
}

static int write_extents(struct writing *w, int fd, const struct content *c)
{
	struct tree_root root = content_root(c);
	struct tree_cursor at;
	uint64_t off = 0, asked = 0;
	int r;

	tree_cursor_init(&at, TREE_EXTENTS, &w->source.base);
	r = tree_seek_byte(&at, &root, 0, &off);
	while (r == 0 && !at.is_end) {
		struct extent_rec x;

		if (off + AHEAD / 2 >= asked)
			asked = content_prefetch(w->t->store->reader, c, MAX(asked, off), AHEAD);
		node_extent(tree_leaf(&at), tree_index(&at), &x);
		if (!x.is_hole)
			r = write_chunk(w, fd, off, &x.id, &x.loc, x.len);
		off += x.len;
		if (r == 0)
			r = tree_next(&at);
	}
	tree_cursor_release(&at);
	if (r == 0 && ftruncate(fd, (off_t)c->size) < 0)
		r = -errno;
	return r;
}

static int write_content(struct writing *w, int fd)
{
	const struct content *c = &w->t->inode.content;
	uint8_t small[INLINE_MAX];
	int64_t n;
	int r;

	if (c->size == 0)
		return 0;
	if (c->kind == CONTENT_EXTENTS)
		return write_extents(w, fd, c);
	if (c->size > sizeof(small))
		return write_chunk(w, fd, 0, &c->id, &c->loc, c->size);
	n = content_read(w->t->store->reader, c, 0, c->size, small, &w->access);
	if (n < 0)
		return (int)n;
	r = pwrite_all(fd, small, (size_t)n, 0);
	if (r == 0)
		report_add(w->t->report, 0, c->size);
	return r;
}

static int set_attributes(struct writing *w, int fd, bool is_path)
{
	struct file_task *t = w->t;
	struct attributed a = {
		.fd = fd,
		.is_path = is_path,
		.may_inherit = t->may_inherit,
		.ino = &t->inode,
		.xattrs = buf_span(&w->xattrs),
	};

	return attributes_set(&a, &t->lost);
}

static int create_temp(int dirfd, const char *temp, void *ctx)
{
	int fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	*(int *)ctx = fd;
	return fd < 0 ? -errno : 0;
}

static int write_named(struct writing *w)
{
	struct file_task *t = w->t;
	_cleanup_close_ int fd = -1;
	struct temp_name temp;
	int r;

	r = make_temp(t->dirfd, t->name, &t->siblings, &w->source.base, create_temp, &fd, &temp);
	if (r < 0)
		return r;
	r = write_content(w, fd);
	if (r == 0)
		r = set_attributes(w, fd, false);
	if (r == 0)
		return rename_temp(t->dirfd, &temp, t->name);
	unlinkat(t->dirfd, temp.s, 0);
	return r;
}

static int write_regular(struct writing *w)
{
	struct file_task *t = w->t;
	_cleanup_close_ int fd = openat(t->dirfd, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);
	struct linking l = { .from = AT_FDCWD, .flags = AT_SYMLINK_FOLLOW };
	char path[32];
	int r;

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL))
		return write_named(w);
	if (fd < 0)
		return -errno;
	r = write_content(w, fd);
	if (r == 0)
		r = set_attributes(w, fd, false);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	l.name = path;
	return link_over(&l, t->dirfd, t->name, &t->siblings, &w->source.base);
}

/* What is no regular file is made at once. */
struct special {
	const struct inode *ino;
	const char *target;
};

static int make_special(int dirfd, const char *name, void *ctx)
{
	const struct special *s = ctx;
	dev_t dev = 0;

	if (s->ino->type == FT_LNK)
		return symlinkat(s->target, dirfd, name) < 0 ? -errno : 0;
	if (s->ino->type == FT_CHR || s->ino->type == FT_BLK)
		dev = makedev(s->ino->dev.major, s->ino->dev.minor);
	return mknodat(dirfd, name, file_type_to_mode(s->ino->type) | 0600, dev) < 0 ? -errno : 0;
}

static int write_special(struct writing *w)
{
	struct file_task *t = w->t;
	struct special s = { .ino = &t->inode };
	char target[SYMLINK_MAX + 1];
	_cleanup_close_ int fd = -1;
	struct temp_name temp;
	struct stat st;
	int64_t n;
	int r;

	if (t->inode.type == FT_LNK) {
		n = content_read(t->store->reader, &t->inode.content, 0, SYMLINK_MAX, target,
				 &w->access);
		if (n < 0)
			return (int)n;
		if (memchr(target, '\0', (size_t)n))
			return -EBADMSG;
		target[n] = '\0';
		s.target = target;
	}
	r = make_temp(t->dirfd, t->name, &t->siblings, &w->source.base, make_special, &s, &temp);
	if (r < 0)
		return r;
	fd = openat(t->dirfd, temp.s, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		r = -errno;
	/* Others may write to the directory: it must be what was just made. */
	else if (st.st_nlink != 1 || file_type_of_mode(st.st_mode) != t->inode.type)
		r = -ESTALE;
	else
		r = set_attributes(w, fd, true);
	if (r == 0)
		return rename_temp(t->dirfd, &temp, t->name);
	unlinkat(t->dirfd, temp.s, 0);
	return r;
}

/* Is it there already? 1, 0 or -EEXIST: something of another type is. */
static int is_there(const struct file_task *t)
{
	const struct inode *ino = &t->inode;
	struct stat st;

	if (fstatat(t->dirfd, t->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (file_type_of_mode(st.st_mode) != ino->type)
		return -EEXIST;
	return ino->type == FT_REG && (uint64_t)st.st_size == ino->content.size &&
	       is_same_time(st.st_mtim, ino->mtime);
}

void file_task_run(struct file_task *t)
{
	struct writing w = { .t = t };
	int r = is_there(t);

	if (r != 0) {
		if (r > 0 && t->inode.type == FT_REG)
			report_add(t->report, 0, t->inode.content.size);
		t->error = MIN(r, 0);
		return;
	}
	access_init(&w.access, t->store->reader, true);
	w.access.deadline.cancelled = t->cancelled;
	w.source = reader_source(t->store->reader, &w.access);
	r = xattrs_load(t->store->reader, &t->inode.xattrs, &w.access, &w.xattrs);
	if (r == 0)
		r = t->inode.type == FT_REG ? write_regular(&w) : write_special(&w);
	t->error = r;
	buf_release(&w.xattrs);
	access_release(&w.access);
}
