/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Views: a tree of files as users see it. A commit is a view that never changes; a head is one
 * with an overlay of uncommitted changes (head/head.h). All that a filesystem client can do to
 * either is here, with the errors of the system calls.
 *
 * Every operation takes an access (object/access.h). Where something must be fetched and the access
 * may not wait, it returns -EAGAIN without a side effect. Besides the errors named, any may return
 * -EIO, -ETIME, -ECANCELED, -ENOMEM from fetching, and on heads -EIO when the state directory is
 * broken and -ENOSPC when the disk budget is spent. On a commit every change is -EROFS.
 *
 * Permissions are the client's to check (the kernel does), but for what only we can know.
 *
 * Threads: all functions from any thread. Vnode arguments are borrowed; vnodes returned come with
 * a reference, which the caller gives back with vnode_unref().
 */
#pragma once

#include <sys/stat.h>

#include "head/vnode.h"
#include "object/access.h"

struct store;
struct view;

/* Who asks. */
struct caller {
	uid_t uid;
	gid_t gid;
	mode_t umask;
};

/* What a vnode table that views live in is made with. */
const struct vnode_hooks *view_vnodes(void);

/* A view of the commit whose object is @object. Two of one commit are apart in everything but
 * inode numbers. */
int view_of_commit(struct store *store, struct vnode_table *vnodes, const char *repo_name,
		   struct span object, struct view **ret);

struct view *view_ref(struct view *v);
void view_unref(struct view *v);
DEFINE_CLEANUP(struct view *, view_unref)
#define _cleanup_view_ _cleanup_(view_unrefp)

/* Does nobody but the caller hold it, vnodes included? */
bool view_is_unused(const struct view *v);

bool view_is_head(const struct view *v);

/* Is there any vnode of it? */
bool view_is_visited(const struct view *v);

/* What the client says that it belongs to (NULL at first): before it is told of any vnode. */
void view_set_owner(struct view *v, void *owner);
void *view_owner(const struct view *v);

/* The commit it shows or is based on (null: an unborn branch's). */
struct oid view_commit(struct view *v);

/* The root directory's vnode, with a reference. */
int view_root(struct view *v, struct vnode **ret);

/* Names */

/* -ENOENT, -ENAMETOOLONG. ".." is not looked up here. */
int view_lookup(struct vnode *dir, struct span name, struct access *acc, struct vnode **ret,
		struct stat *ret_st);
int view_getattr(struct vnode *v, struct access *acc, struct stat *ret);

/* "repo/revision/a/b", as a user would look for @v, for messages: control characters as "?". The
 * name it was last known by here, "" at the end for the root. malloc'ed; NULL without memory. */
char *view_path(struct vnode *v);

/* A path below @dir, symlinks not followed. */
int view_walk(struct vnode *dir, struct span path, struct access *acc, struct vnode **ret,
	      struct stat *ret_st);

/* Files of every type but directories' entries' targets: @mode has the type. @link: the target of
 * a symlink. -EEXIST, -ENOENT (@dir was removed), -ENAMETOOLONG, -EMLINK. */
struct new_file {
	mode_t mode;
	dev_t rdev;
	struct span link;
	struct caller by;
};
int view_create(struct vnode *dir, struct span name, const struct new_file *f, struct access *acc,
		struct vnode **ret, struct stat *ret_st);
/* A regular file without a name. */
int view_tmpfile(struct vnode *dir, const struct new_file *f, struct access *acc,
		 struct vnode **ret, struct stat *ret_st);
/* -EEXIST, -EMLINK, -EPERM (a directory), -EXDEV (another view), -ENOENT (it is gone, and was
 * not made by view_tmpfile()). */
int view_link(struct vnode *v, struct vnode *dir, struct span name, struct access *acc,
	      struct stat *ret_st);
/* -ENOENT, -EISDIR; -ENOTDIR, -ENOTEMPTY. */
int view_unlink(struct vnode *dir, struct span name, struct access *acc);
int view_rmdir(struct vnode *dir, struct span name, struct access *acc);
/* @flags: RENAME_NOREPLACE or RENAME_EXCHANGE. -EXDEV, and all of rename(2). */
int view_rename(struct vnode *from, struct span name, struct vnode *to, struct span new_name,
		unsigned flags, struct access *acc);

/* Attributes */

enum setattr_what {
	SETATTR_MODE = 1,
	SETATTR_UID = 2,
	SETATTR_GID = 4,
	SETATTR_SIZE = 8,
	SETATTR_MTIME = 16,
	SETATTR_CTIME = 32, /* else now */
	SETATTR_KILL_PRIV = 64, /* drop setuid, setgid (if executable by group), capabilities */
};
struct setattr {
	unsigned what; /* of enum setattr_what */
	mode_t mode;
	uid_t uid;
	gid_t gid;
	uint64_t size;
	struct timespec mtime, ctime;
};
int view_setattr(struct vnode *v, const struct setattr *s, struct access *acc, struct stat *ret_st);

/* -ENODATA. Names "user.pfs.*" are computed: repo, branch, commit, id, size. */
int view_getxattr(struct vnode *v, struct span name, struct access *acc, struct buf *ret);
/* @flags as setxattr(2): XATTR_CREATE, XATTR_REPLACE. -EEXIST, -ENODATA, -E2BIG, -EPERM. With a
 * system.posix_acl_access the mode follows; @kill_sgid as the kernel asks. */
int view_setxattr(struct vnode *v, struct span name, struct span value, int flags, bool kill_sgid,
		  struct access *acc);
int view_removexattr(struct vnode *v, struct span name, struct access *acc);
/* Names, each with a NUL behind. */
int view_listxattr(struct vnode *v, struct access *acc, struct buf *ret);

/* The target of a symlink. */
int view_readlink(struct vnode *v, struct access *acc, struct buf *ret);

/* Data. A file must be open around these: open and close pair up. */

/* -ESTALE: for writing, and @v was left behind. @flags: what it was opened with. */
int view_open(struct vnode *v, int flags, struct access *acc);
void view_close(struct vnode *v, int flags);

/* How many bytes of the @len at @off (fewer at the end only). */
int64_t view_read(struct vnode *v, uint64_t off, size_t len, void *buf, struct access *acc);
/* Starts fetching what a sequential reader will want next; returns up to where there is nothing
 * left to be asked for. */
uint64_t view_prefetch(struct vnode *v, uint64_t off, size_t len, struct access *acc);

/* All of @data, or an error. @append: at the end, wherever that is. -EFBIG. */
int view_write(struct vnode *v, uint64_t off, struct span data, bool append, bool kill_priv,
	       struct access *acc);
/* @mode of fallocate(2): 0, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE. -EOPNOTSUPP for others. */
int view_fallocate(struct vnode *v, int mode, uint64_t off, uint64_t len, struct access *acc);
/* SEEK_DATA, SEEK_HOLE: -ENXIO. */
int64_t view_seek(struct vnode *v, uint64_t off, int whence, struct access *acc);
/* Shares what can be shared and copies the rest; how many bytes (at most 2 GiB a call). The two
 * may be of any views. */
int64_t view_copy_range(struct vnode *from, uint64_t from_off, struct vnode *to, uint64_t to_off,
			uint64_t len, struct access *acc);

/* fsync and fsyncdir: all that was done in the mount so far survives power loss. */
int view_fsync(struct vnode *v);

/* Directories */

struct dir_handle;

int view_opendir(struct vnode *dir, struct access *acc, struct dir_handle **ret);
void view_closedir(struct dir_handle *h);

/*
 * Entries after the position @pos (0: from the start; ordinals of the directory the handle was
 * opened on come first, then names made since, by age). @fn gets each with the position behind it;
 * a positive result stops and that entry was not taken. With @want_stat, attributes are filled in
 * and a vnode is passed along, which @fn must pin if it keeps the id.
 *
 * Whatever happens meanwhile, a name nobody touches comes exactly once. 0 or an error; what @fn got
 * before -EAGAIN stays given (the caller goes on from the last position).
 */
struct dir_item {
	struct span name;
	uint64_t ino;
	uint8_t type;
	uint64_t next_pos;
	struct vnode *vnode; /* with want_stat; borrowed */
	struct stat st;
};
int view_readdir(struct dir_handle *h, uint64_t pos, bool want_stat, struct access *acc,
		 int (*fn)(const struct dir_item *e, void *ctx), void *ctx);
