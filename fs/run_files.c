/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Open files of runs. Each has a descriptor of its own, so that what is appended by many at a time
 * stays whole.
 */
#include "run_files.h"

#include <fcntl.h>
#include <unistd.h>

#include "root_runs.h"

struct run_file {
	struct list link; /* in the root's */
	int fd; /* owned */
};

static struct run_file *of_handle(uint64_t handle)
{
	return (struct run_file *)(uintptr_t)handle;
}

bool run_files_has(uint64_t node)
{
	return is_run(node) && run_file_name(node);
}

int run_file_open(struct realm *of, uint64_t node, int flags)
{
	const char *name = run_file_name(node);
	int fd;

	if (!name)
		return -EISDIR;
	fd = openat(run_dirfd(of->run), name,
		    (flags & (O_ACCMODE | O_APPEND | O_TRUNC)) | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
		    0600);
	return fd < 0 ? -errno : fd;
}

int run_files_open(struct call *c)
{
	_cleanup_realm_ struct realm *of = run_of_node(c->fs->root, c->node);
	struct root *root = c->fs->root;
	struct fuse_file_info fi = { .direct_io = 1, .noflush = 1 };
	struct run_file *f;
	int fd;

	if (!of)
		return -ESTALE;
	fd = run_file_open(of, c->node, c->flags);
	if (fd < 0)
		return fd;
	f = new0(struct run_file, 1);
	if (!f) {
		close(fd);
		return -ENOMEM;
	}
	f->fd = fd;
	pthread_mutex_lock(&root->lock);
	list_append(&root->run_files, &f->link);
	pthread_mutex_unlock(&root->lock);
	fi.fh = (uint64_t)(uintptr_t)f;
	if (call_reply_open(c, &fi) < 0)
		run_files_close(c->fs, fi.fh);
	return 0;
}

static void close_file(struct root *root, struct run_file *f)
{
	pthread_mutex_lock(&root->lock);
	list_remove(&f->link);
	pthread_mutex_unlock(&root->lock);
	close(f->fd);
	free(f);
}

void run_files_close(struct fs *fs, uint64_t handle)
{
	close_file(fs->root, of_handle(handle));
}

void run_files_free(struct root *root)
{
	list_for_each_safe (f, &root->run_files, struct run_file, link)
		close_file(root, f);
}

int run_files_read(struct call *c)
{
	uint8_t *out = call_memory(c, MAX(c->len, (uint64_t)1));
	ssize_t n;

	if (!out)
		return -ENOMEM;
	n = pread(of_handle(c->fh)->fd, out, c->len, (off_t)c->off);
	if (n < 0)
		return -errno;
	call_reply_bytes(c, out, (size_t)n);
	return 0;
}

/* A descriptor that appends does so whatever the offset. */
int run_files_write(struct call *c)
{
	struct run_file *f = of_handle(c->fh);
	struct stat st;
	ssize_t n;

	if (fstat(f->fd, &st) < 0)
		return -errno;
	if (MAX(c->off, (uint64_t)st.st_size) + c->data.len > RUN_FILE_MAX)
		return -EFBIG;
	n = pwrite(f->fd, c->data.data, c->data.len, (off_t)c->off);
	if (n < 0)
		return -errno;
	call_reply_written(c, (size_t)n);
	return 0;
}

int run_files_sync(struct call *c)
{
	if (fdatasync(of_handle(c->fh)->fd) < 0)
		return -errno;
	call_ok(c);
	return 0;
}
