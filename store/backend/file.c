/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Objects as files of a directory, with a bucket's promises: an object is whole or absent, what was
 * acknowledged survives power loss, and a swap has one winner.
 *
 *	ROOT/packs/ab/NAME    an object: a file at its key's path
 *	ROOT/tmp/RANDOM       one that is being written (file_temp.c)
 *	ROOT/tmp/lock         what swaps are made under (file_lock.c)
 *
 * Tags are hashes of content, since times have too coarse a grain; readers need no lock, for a
 * file is never changed, only replaced by another under the same name.
 *
 * Several users: who may use a store is decided once, with the mode of its root (chmod 2770 and a
 * group, say), and not by each user's umask. Directories get the root's mode, without the sticky
 * bit, which would keep one user from replacing another's ref; files what the root lets be read,
 * and nobody may write to them: objects do not change. Whoever may write to the directory may
 * destroy the store, as with a bucket and its credential.
 *
 * The root is opened once and everything is found from there. When its path leads to something
 * else, because somebody moved it, mounted over it or made it anew, whatever writes, lists or
 * misses fails with -EIO: the user would not find there what we did to it.
 *
 * Network filesystems are refused unless there is only one writer: their locks, and what link and
 * rename promise, end at one machine too often.
 *
 * A disk that does not answer cannot be given up on: deadlines are looked at between system calls.
 *
 * Threads: no call holds a lock of ours across another system call, but for swaps among themselves.
 */
#include "backend/file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/oid.h"
#include "base/text.h"
#include "base/thread.h"

enum {
	DIR_MODE_MASK = 02777,
	FILE_MODE_MASK = 0444,
	SWAP_MAX = 32 << 20, /* no object that is swapped is larger */
};

struct file_put {
	struct backend_put base;
	struct temp temp;
	char key[KEY_MAX + 1];
};

static struct file_backend *file_of(struct backend *b)
{
	return container_of(b, struct file_backend, base);
}

int file_error(int err)
{
	switch (err) {
	case ENOMEM:
	case EACCES:
	case EROFS:
	case ENOSPC:
	case EMFILE:
	case ENFILE:
		return -err;
	case EPERM:
		return -EACCES;
	case EDQUOT:
		return -ENOSPC;
	case EISDIR: /* a key that is also the beginning of others */
	case ENOTDIR:
	case ENAMETOOLONG:
		return -EINVAL;
	default:
		return -EIO;
	}
}

int file_root_check(struct file_backend *f)
{
	struct stat st;

	if (stat(f->path, &st) < 0) {
		/* Out of reach for another reason is no proof. */
		if (errno != ENOENT && errno != ENOTDIR)
			return 0;
	} else if (st.st_dev == f->dev && st.st_ino == f->ino) {
		if (f->is_gone)
			f->is_gone = false;
		return 0;
	}
	if (!atomic_exchange(&f->is_gone, true))
		log_error("%s is not the directory any more that it was when the store was opened",
			  f->path);
	return -EIO;
}

static int check_read(const char *key, const struct deadline *dl)
{
	return backend_key_is_valid(key) ? deadline_check(dl) : -EINVAL;
}

static int check_write(struct file_backend *f, const char *key, const struct deadline *dl)
{
	int r = check_read(key, dl);

	if (r < 0)
		return r;
	return f->read_only ? -EROFS : file_root_check(f);
}

/* That there is nothing called @key, unless nothing can be known. */
static int missing(struct file_backend *f)
{
	int r = file_root_check(f);

	return r < 0 ? r : -ENOENT;
}

/* What is no regular file is no object; it is not waited for either, should it be a fifo. */
static int object_open(struct file_backend *f, const char *key, struct stat *ret_st)
{
	_cleanup_close_ int fd =
		openat(f->root, key, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0) {
		switch (errno) {
		case ENOENT:
		case ENOTDIR:
		case ELOOP:
		case ENXIO:
			return missing(f);
		default:
			return file_error(errno);
		}
	}
	if (fstat(fd, ret_st) < 0)
		return file_error(errno);
	return S_ISREG(ret_st->st_mode) ? TAKE_FD(fd) : -ENOENT;
}

static int file_get(struct backend *b, const char *key, uint64_t off, size_t len, void *buf,
		    const struct deadline *dl, size_t *ret_len)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	ssize_t n;
	int r;

	r = check_read(key, dl);
	if (r < 0)
		return r;
	fd = object_open(file_of(b), key, &st);
	if (fd < 0)
		return fd;
	if (off >= (uint64_t)st.st_size) {
		*ret_len = 0;
		return 0;
	}
	n = pread_upto(fd, buf, len, off);
	if (n < 0)
		return file_error((int)-n);
	*ret_len = (size_t)n;
	return 0;
}

static struct etag tag_of(struct span data)
{
	struct oid o = oid_of(OID_CHUNK, data.data, data.len);
	struct etag tag;

	_Static_assert(sizeof(tag.s) >= OID_HEX, "a tag holds a hash");
	oid_hex(&o, tag.s);
	return tag;
}

static int object_read(struct file_backend *f, const char *key, size_t max, struct buf *ret)
{
	_cleanup_close_ int fd = -1;
	_cleanup_buf_ struct buf b = { 0 };
	struct stat st;
	int r;

	fd = object_open(f, key, &st);
	if (fd < 0)
		return fd;
	if ((uint64_t)st.st_size > max)
		return -EFBIG;
	/* one byte at least, so that there is a buffer */
	if (buf_reserve(&b, (size_t)st.st_size + 1) < 0)
		return -ENOMEM;
	r = pread_all(fd, b.data, (size_t)st.st_size, 0);
	if (r < 0)
		return file_error(-r);
	b.len = (size_t)st.st_size;
	return buf_take(&b, ret);
}

static int file_get_all(struct backend *b, const char *key, size_t max, const struct etag *known,
			const struct deadline *dl, struct buf *ret, struct etag *ret_tag)
{
	struct file_backend *f = file_of(b);
	_cleanup_buf_ struct buf data = { 0 };
	struct etag tag;
	int r;

	r = check_read(key, dl);
	if (r == 0)
		r = object_read(f, key, max, &data);
	/* Read back, a swap must not pass for done before it lasts. */
	if (r == 0 && f->has_unsynced)
		r = file_name_sync(f, key);
	if (r < 0)
		return r;
	tag = tag_of(buf_span(&data));
	if (known && strcmp(known->s, tag.s) == 0)
		return -EALREADY;
	*ret_tag = tag;
	return buf_take(&data, ret);
}

static int file_head(struct backend *b, const char *key, const struct deadline *dl,
		     uint64_t *ret_size)
{
	struct file_backend *f = file_of(b);
	struct stat st;
	int r;

	r = check_read(key, dl);
	if (r < 0)
		return r;
	if (fstatat(f->root, key, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT || errno == ENOTDIR ? missing(f) : file_error(errno);
	if (!S_ISREG(st.st_mode))
		return -ENOENT;
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

/* From a written temporary file to an object, durably. */
static int publish(struct temp *t, const char *key, const struct deadline *dl)
{
	int r;

	r = temp_sync(t);
	if (r == 0)
		r = file_dirs_ensure(t->f, key);
	if (r == 0)
		r = deadline_check(dl);
	if (r == 0)
		r = temp_place(t, key, true);
	if (r == 0)
		r = file_name_sync(t->f, key);
	return r;
}

static int file_put(struct backend *b, const char *key, struct span data, const struct deadline *dl)
{
	struct file_backend *f = file_of(b);
	_cleanup_temp_ struct temp t = { 0 };
	int r;

	r = check_write(f, key, dl);
	if (r == 0)
		r = temp_new(f, &t);
	if (r == 0)
		r = temp_write(&t, data, dl);
	if (r == 0)
		r = publish(&t, key, dl);
	return r;
}

static int file_put_begin(struct backend *b, const char *key, struct backend_put **ret)
{
	struct file_backend *f = file_of(b);
	_cleanup_free_ struct file_put *p = NULL;
	int r;

	r = check_write(f, key, NULL);
	if (r < 0)
		return r;
	p = new0(struct file_put, 1);
	if (!p)
		return -ENOMEM;
	r = temp_new(f, &p->temp);
	if (r < 0)
		return r;
	p->base.backend = b;
	memcpy(p->key, key, strlen(key) + 1);
	*ret = &TAKE_PTR(p)->base;
	return 0;
}

static int file_put_write(struct backend_put *put, struct span data, const struct deadline *dl)
{
	return temp_write(&container_of(put, struct file_put, base)->temp, data, dl);
}

static void file_put_abort(struct backend_put *put)
{
	struct file_put *p = container_of(put, struct file_put, base);

	temp_release(&p->temp);
	free(p);
}

static int file_put_end(struct backend_put *put, const struct deadline *dl)
{
	struct file_put *p = container_of(put, struct file_put, base);
	int r = check_write(p->temp.f, p->key, dl);

	if (r == 0)
		r = publish(&p->temp, p->key, dl);
	file_put_abort(put);
	return r;
}

/* 0 when @key is as @tag says (NULL: not there), -ESTALE when not. */
static int tag_check(struct file_backend *f, const char *key, const struct etag *tag)
{
	_cleanup_buf_ struct buf now = { 0 };
	struct etag is;
	int r;

	r = object_read(f, key, SWAP_MAX, &now);
	if (r == -ENOENT)
		return tag ? -ESTALE : 0;
	if (r == -EFBIG || (r == 0 && !tag))
		return -ESTALE;
	if (r < 0)
		return r;
	is = tag_of(buf_span(&now));
	return strcmp(is.s, tag->s) == 0 ? 0 : -ESTALE;
}

/* The temporary file is durable, the directories are there. */
static int swap_locked(struct temp *t, const char *key, const struct etag *tag,
		       const struct deadline *dl)
{
	int lock, r;

	r = file_lock(t->f, dl, &lock);
	if (r < 0)
		return r;
	r = deadline_check(dl);
	if (r == 0)
		r = tag_check(t->f, key, tag);
	if (r == 0)
		r = temp_place(t, key, tag != NULL);
	file_unlock(t->f, lock);
	return r;
}

static int file_swap(struct backend *b, const char *key, const struct etag *tag, struct span data,
		     const struct deadline *dl, struct etag *ret_tag)
{
	struct file_backend *f = file_of(b);
	_cleanup_temp_ struct temp t = { 0 };
	int r;

	r = check_write(f, key, dl);
	/* What is lost already need not be written first. */
	if (r == 0)
		r = tag_check(f, key, tag);
	if (r == 0)
		r = temp_new(f, &t);
	if (r == 0)
		r = temp_write(&t, data, dl);
	if (r == 0)
		r = temp_sync(&t);
	if (r == 0)
		r = file_dirs_ensure(f, key);
	if (r == 0)
		r = swap_locked(&t, key, tag, dl);
	if (r < 0)
		return r;
	/* Others see it by now, so a failure here leaves it open what will be found. */
	if (file_name_sync(f, key) < 0) {
		f->has_unsynced = true;
		return -EINPROGRESS;
	}
	*ret_tag = tag_of(data);
	return 0;
}

/* Not synced: what comes back after power loss is garbage that is collected once more. */
static int file_remove(struct backend *b, const char *key, const struct deadline *dl)
{
	struct file_backend *f = file_of(b);
	int r;

	r = check_write(f, key, dl);
	if (r < 0)
		return r;
	if (unlinkat(f->root, key, 0) < 0 && errno != ENOENT && errno != ENOTDIR && errno != EISDIR)
		return file_error(errno);
	return 0;
}

static uint64_t file_space(struct backend *b)
{
	struct file_backend *f = file_of(b);
	struct statvfs st;

	if (f->is_network || fstatvfs(f->root, &st) < 0)
		return UINT64_MAX;
	return (uint64_t)st.f_bavail * st.f_frsize;
}

static void file_free(struct backend *b)
{
	struct file_backend *f = file_of(b);

	file_dirs_forget(f);
	if (f->root >= 0)
		close(f->root);
	pthread_cond_destroy(&f->turn);
	pthread_mutex_destroy(&f->lock);
	free(f->path);
	free(f->base.url);
	free(f);
}

static const struct backend_ops file_ops = {
	.get = file_get,
	.get_all = file_get_all,
	.head = file_head,
	.put = file_put,
	.put_begin = file_put_begin,
	.put_write = file_put_write,
	.put_end = file_put_end,
	.put_abort = file_put_abort,
	.swap = file_swap,
	.list = file_list,
	.has_others = file_has_others,
	.stamp = file_stamp,
	.remove = file_remove,
	.space = file_space,
	.free = file_free,
};

/* Makes @path and the directories above it, durably: as far up as it may be made here. */
static int root_make(const char *path)
{
	_cleanup_close_ int fd = -1;
	struct stat st, above;
	int r;

	r = mkdir_parents(path, 0700);
	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	for (;;) {
		int up = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (up < 0)
			return 0;
		close(fd);
		fd = up;
		if (fstat(fd, &above) < 0 || above.st_dev != st.st_dev || above.st_ino == st.st_ino)
			return 0;
		r = fsync_fd(fd);
		if (r < 0)
			return r;
		st = above;
	}
}

/* NULL: a filesystem of this machine's own. */
static const char *network_filesystem(int fd)
{
	static const struct {
		uint32_t magic;
		const char *name;
	} known[] = {
		{ NFS_SUPER_MAGIC, "NFS" },
		{ SMB_SUPER_MAGIC, "SMB" },
		{ SMB2_SUPER_MAGIC, "SMB" },
		{ CIFS_SUPER_MAGIC, "CIFS" },
		{ CEPH_SUPER_MAGIC, "Ceph" },
		{ AFS_SUPER_MAGIC, "AFS" },
		{ AFS_FS_MAGIC, "AFS" },
		{ CODA_SUPER_MAGIC, "Coda" },
		{ V9FS_MAGIC, "9P" },
		{ 0x0bd00bd0, "Lustre" },
		{ 0x47504653, "GPFS" },
		{ 0x19830326, "BeeGFS" },
		{ 0x20030528, "OrangeFS" },
		{ 0x786f4256, "vboxsf" },
		/* sshfs, GlusterFS, virtiofs, ...: what is behind it cannot be told */
		{ FUSE_SUPER_MAGIC, "FUSE" },
	};
	struct statfs st;

	if (fstatfs(fd, &st) < 0)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if ((uint32_t)st.f_type == known[i].magic)
			return known[i].name;
	return NULL;
}

static int root_open(struct file_backend *f, const char *path, const struct backend_options *opts)
{
	int r;

	f->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->root < 0 && errno == ENOENT && opts->create && !opts->read_only) {
		r = root_make(path);
		if (r < 0)
			return log_errno(r, "%s cannot be made", path);
		f->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (f->root < 0)
		return log_errno(-errno, "no store in %s", path);
	f->path = realpath(path, NULL);
	if (!f->path)
		return log_errno(-errno, "no store in %s", path);
	return 0;
}

static int root_judge(struct file_backend *f, const struct backend_options *opts)
{
	const char *network = network_filesystem(f->root);
	struct stat st;

	if (network && !opts->single_writer)
		return log_fail(-EOPNOTSUPP,
				"%s is on a network filesystem (%s), which does not tell writers "
				"apart; if no other machine ever writes there, use --single-writer",
				f->path, network);
	f->is_network = network != NULL;
	f->base.is_local = !f->is_network;
	if (fstat(f->root, &st) < 0)
		return log_errno(-errno, "%s cannot be looked at", f->path);
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	f->dir_mode = (st.st_mode & DIR_MODE_MASK) | S_IRWXU;
	f->file_mode = (st.st_mode & FILE_MODE_MASK) | S_IRUSR;
	f->read_only = opts->read_only;
	if (!f->read_only && faccessat(f->root, ".", W_OK | X_OK, AT_EACCESS) < 0)
		return log_errno(file_error(errno), "%s cannot be written to", f->path);
	return 0;
}

int file_backend_open(const char *path, const struct backend_options *opts, struct backend **ret)
{
	struct file_backend *f = new0(struct file_backend, 1);
	_cleanup_(backend_freep) struct backend *b = NULL;
	int r;

	if (!f)
		return -ENOMEM;
	f->root = -1;
	f->base.ops = &file_ops;
	pthread_mutex_init(&f->lock, NULL);
	cond_init(&f->turn);
	b = &f->base;

	r = root_open(f, path, opts);
	if (r == 0)
		r = root_judge(f, opts);
	if (r < 0)
		return r;
	f->base.url = strf("file://%s", f->path);
	if (!f->base.url)
		return -ENOMEM;
	if (!f->read_only)
		file_sweep(f);
	*ret = TAKE_PTR(b);
	return 0;
}
