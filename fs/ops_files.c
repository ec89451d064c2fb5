/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Open files: what is read, written, and otherwise done to their bytes.
 */
#include <fcntl.h>

#include "control.h"
#include "entry.h"
#include "files.h"
#include "ops.h"
#include "realm.h"
#include "root.h"
#include "run_files.h"

static struct open_file *file_of(uint64_t handle)
{
	return (struct open_file *)(uintptr_t)handle;
}

static struct fuse_file_info opened(const struct open_file *file)
{
	return (struct fuse_file_info){
		.flags = file->flags,
		.fh = (uint64_t)(uintptr_t)file,
		/* What the kernel has of it was read and written through itself, or never
		 * changes. */
		.keep_cache = 1,
		/* There is nothing to report at the end of reading. */
		.noflush = (file->flags & O_ACCMODE) == O_RDONLY,
	};
}

/* The file is empty from now on. */
static int truncate_open(struct call *c, struct vnode *v, struct access *acc)
{
	struct setattr s = { .what = SETATTR_SIZE | (c->kill_priv ? SETATTR_KILL_PRIV : 0) };
	struct stat st;

	return view_setattr(v, &s, acc, &st);
}

/* Of what is empty there is nothing more to be read. */
static int saw_open(struct call *c, struct vnode *v, struct access *acc)
{
	struct stat st;
	int r;

	if (!realm_is_noted(v->view) || (c->flags & O_ACCMODE) == O_WRONLY)
		return 0;
	r = view_getattr(v, acc, &st);
	if (r == 0 && st.st_size == 0)
		realm_saw_read(c, v, acc);
	return r;
}

static int run_open(struct call *c, struct access *acc)
{
	_cleanup_held_ struct held v = { 0 };
	struct fuse_file_info fi;
	struct open_file *file;
	int r;

	if (root_has(c->node))
		return run_files_has(c->node) ? run_files_open(c) : control_open(c);
	v = call_vnode(c, c->node);
	r = v.vnode ? files_open(c->fs->files, v.vnode, c->flags, acc, &file) : -ESTALE;
	if (r < 0)
		return r;
	if (c->flags & O_TRUNC)
		r = truncate_open(c, v.vnode, acc);
	else
		r = saw_open(c, v.vnode, acc);
	fi = opened(file);
	if (r < 0 || call_reply_open(c, &fi) < 0)
		files_close(c->fs->files, file);
	return r;
}

static void on_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	static const struct op op = { .id = FS_OP_OPEN, .run = run_open, .must_end = true };
	struct call c = call_of(req, &op);

	c.node = node;
	c.flags = fi->flags;
	call_start(&c);
}

static int run_create(struct call *c, struct access *acc)
{
	struct new_file f = { .mode = c->mode, .by = c->by };
	_cleanup_held_ struct held dir = { 0 }, v = { .fs = c->fs };
	struct fuse_entry_param e;
	struct fuse_file_info fi;
	struct open_file *file;
	struct stat st;
	int r;

	if (root_has(c->node))
		return -EPERM;
	dir = call_vnode(c, c->node);
	if (!dir.vnode)
		return -ESTALE;
	r = c->is_tmpfile ? view_tmpfile(dir.vnode, &f, acc, &v.vnode, &st)
			  : view_create(dir.vnode, c->name, &f, acc, &v.vnode, &st);
	/* The kernel knew of no such file. It looks again, and checks whether it may be opened. */
	if (r == -EEXIST && !(c->flags & O_EXCL))
		r = -ESTALE;
	if (r == 0)
		r = files_open(c->fs->files, v.vnode, c->flags, acc, &file);
	if (r < 0)
		return r;
	fi = opened(file);
	entry_fill(c, v.vnode, &st, node_timeout(v.vnode), &e);
	if (call_reply_create(c, &e, &fi) < 0) {
		files_close(c->fs->files, file);
		entry_undo(c, &e);
	}
	return 0;
}

static void on_create(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	static const struct op op = { .id = FS_OP_CREATE, .run = run_create, .must_end = true };
	struct call c = call_of(req, &op);

	c.node = dir;
	c.name = span_str(name);
	c.mode = (mode & 07777) | S_IFREG;
	c.flags = fi->flags;
	call_start(&c);
}

static void on_release(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);

	counter_add(&fs->stats.ops[FS_OP_RELEASE], 1);
	if (run_files_has(node))
		run_files_close(fs, fi->fh);
	else if (root_has(node))
		control_release(fs, node, fi->fh);
	else
		files_close(fs->files, file_of(fi->fh));
	fuse_reply_err(req, 0);
}

/* Whatever was written has arrived already, so the kernel need not ask again, if it writes back
 * what mappings hold without being told to. */
static void on_flush(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);

	counter_add(&fs->stats.ops[FS_OP_FLUSH], 1);
	fuse_reply_err(req, channel_features(fs->channel)->close_writes ? ENOSYS : 0);
}

/* Once for each time that it is opened: what shows of its base only gets less. */
static void saw_read(struct call *c, struct open_file *file, struct access *acc)
{
	if (!realm_is_noted(file->vnode->view) || atomic_exchange(&file->is_seen, true))
		return;
	realm_saw_read(c, file->vnode, acc);
}

static int run_read(struct call *c, struct access *acc)
{
	struct open_file *file = file_of(c->fh);
	uint8_t *out;
	int64_t n;

	if (root_has(c->node))
		return run_files_has(c->node) ? run_files_read(c) : control_read(c);
	out = call_memory(c, c->len);
	if (!out)
		return -ENOMEM;
	if (!c->job)
		files_read_ahead(file, c->off, c->len, acc);
	n = view_read(file->vnode, c->off, c->len, out, acc);
	if (n < 0)
		return (int)n;
	counter_add(&c->fs->stats.read_bytes, (uint64_t)n);
	saw_read(c, file, acc);
	call_reply_bytes(c, out, (size_t)n);
	return 0;
}

static void on_read(fuse_req_t req, fuse_ino_t node, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	static const struct op op = {
		.id = FS_OP_READ, .run = run_read, .patience = PATIENCE_DATA, .must_end = true
	};
	struct call c = call_of(req, &op);

	c.node = node;
	c.fh = fi->fh;
	c.off = (uint64_t)off;
	c.len = size;
	call_start(&c);
}

/* Likewise, of what changes it. */
static bool may_keep(const struct open_file *file, struct access *acc)
{
	return realm_is_noted(file->vnode->view) && !atomic_load(&file->is_kept) &&
	       realm_shows_pinned(file->vnode, acc);
}

static void saw_kept(struct open_file *file, bool may_keep, struct access *acc)
{
	if (may_keep)
		realm_saw_kept(file->vnode, acc);
	if (realm_is_noted(file->vnode->view))
		atomic_store(&file->is_kept, true);
}

static int run_write(struct call *c, struct access *acc)
{
	struct open_file *file = file_of(c->fh);
	bool may;
	int r;

	if (root_has(c->node))
		return run_files_has(c->node) ? run_files_write(c) : control_write(c);
	may = may_keep(file, acc);
	r = view_write(file->vnode, c->off, c->data, c->flags & O_APPEND, c->kill_priv, acc);
	if (r < 0)
		return r;
	saw_kept(file, may, acc);
	counter_add(&c->fs->stats.written_bytes, c->data.len);
	call_reply_written(c, c->data.len);
	return 0;
}

static void on_write(fuse_req_t req, fuse_ino_t node, const char *data, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	static const struct op op = {
		.id = FS_OP_WRITE, .run = run_write, .patience = PATIENCE_DATA, .must_end = true
	};
	struct call c = call_of(req, &op);

	c.node = node;
	c.fh = fi->fh;
	c.off = (uint64_t)off;
	c.data = span_of(data, size);
	/* Pages of a mapping have their place, whatever the file was opened with. */
	c.flags = fi->writepage ? 0 : fi->flags;
	call_start(&c);
}

static int run_fsync(struct call *c, struct access *acc)
{
	int r;

	if (run_files_has(c->node))
		return run_files_sync(c);
	r = root_has(c->node) ? 0 : view_fsync(file_of(c->fh)->vnode);
	if (r == 0)
		call_ok(c);
	return r;
}

static void on_fsync(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi)
{
	static const struct op op = {
		.id = FS_OP_FSYNC, .run = run_fsync, .must_end = true, .is_slow = true
	};
	struct call c = call_of(req, &op);

	c.node = node;
	c.fh = fi->fh;
	call_start(&c);
}

static int run_fallocate(struct call *c, struct access *acc)
{
	struct open_file *file = file_of(c->fh);
	bool may;
	int r;

	if (root_has(c->node))
		return -EOPNOTSUPP;
	may = may_keep(file, acc);
	r = view_fallocate(file->vnode, c->flags, c->off, c->len, acc);
	if (r < 0)
		return r;
	saw_kept(file, may, acc);
	call_ok(c);
	return 0;
}

static void on_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t off, off_t len,
			 struct fuse_file_info *fi)
{
	static const struct op op = { .id = FS_OP_FALLOCATE,
				      .run = run_fallocate,
				      .must_end = true };
	struct call c = call_of(req, &op);

	c.node = node;
	c.fh = fi->fh;
	c.flags = mode;
	c.off = (uint64_t)off;
	c.len = (uint64_t)len;
	call_start(&c);
}

static int run_lseek(struct call *c, struct access *acc)
{
	int64_t at;

	if (root_has(c->node))
		return -EINVAL;
	at = view_seek(file_of(c->fh)->vnode, c->off, c->flags, acc);
	if (at < 0)
		return (int)at;
	/* Where its holes are is what it has. */
	saw_read(c, file_of(c->fh), acc);
	call_reply_offset(c, at);
	return 0;
}

static void on_lseek(fuse_req_t req, fuse_ino_t node, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	static const struct op op = { .id = FS_OP_LSEEK, .run = run_lseek, .must_end = true };
	struct call c = call_of(req, &op);

	c.node = node;
	c.fh = fi->fh;
	c.off = (uint64_t)off;
	c.flags = whence;
	call_start(&c);
}

static int run_copy(struct call *c, struct access *acc)
{
	bool may;
	int64_t n;

	if (root_has(c->node) || root_has(c->node2))
		return -EXDEV;
	may = may_keep(file_of(c->fh2), acc);
	n = view_copy_range(file_of(c->fh)->vnode, c->off, file_of(c->fh2)->vnode, c->off2, c->len,
			    acc);
	if (n < 0)
		return (int)n;
	saw_read(c, file_of(c->fh), acc);
	saw_kept(file_of(c->fh2), may, acc);
	counter_add(&c->fs->stats.written_bytes, (uint64_t)n);
	call_reply_written(c, (size_t)n);
	return 0;
}

static void on_copy(fuse_req_t req, fuse_ino_t node, off_t off, struct fuse_file_info *fi,
		    fuse_ino_t node2, off_t off2, struct fuse_file_info *fi2, size_t len, int flags)
{
	/* Bytes that are not shared are copied: too much for a worker. */
	static const struct op op = {
		.id = FS_OP_COPY_FILE_RANGE,
		.run = run_copy,
		.patience = PATIENCE_DATA,
		.must_end = true,
		.is_slow = true,
	};
	struct call c = call_of(req, &op);

	c.node = node;
	c.fh = fi->fh;
	c.off = (uint64_t)off;
	c.node2 = node2;
	c.fh2 = fi2->fh;
	c.off2 = (uint64_t)off2;
	c.len = len;
	call_start(&c);
}

static int run_ioctl(struct call *c, struct access *acc)
{
	return control_ask(c);
}

/* There is one, for asking (control_ask.h). */
static void on_ioctl(fuse_req_t req, fuse_ino_t node, unsigned cmd, void *arg,
		     struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
		     size_t out_size)
{
	static const struct op op = { .id = FS_OP_IOCTL, .run = run_ioctl, .must_end = true };
	struct call c = call_of(req, &op);

	c.node = node;
	c.fh = fi->fh;
	c.data = span_of(in, in_size);
	c.flags = (int)cmd;
	call_start(&c);
}

void ops_files(struct fuse_lowlevel_ops *ops)
{
	ops->open = on_open;
	ops->create = on_create;
	ops->release = on_release;
	ops->flush = on_flush;
	ops->read = on_read;
	ops->write = on_write;
	ops->fsync = on_fsync;
	ops->fallocate = on_fallocate;
	ops->lseek = on_lseek;
	ops->copy_file_range = on_copy;
	ops->ioctl = on_ioctl;
}
