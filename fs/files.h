/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files and directories that the kernel has open: what its handles stand for.
 *
 * Threads: all functions from any thread; a handle's own fields are the kernel's to order.
 */
#pragma once

#include "base/list.h"
#include "fs.h"

struct files;

/* An open file; its address is the kernel's handle. */
struct open_file {
	struct list link;
	struct vnode *vnode; /* open, as view_open() says */
	int flags;
	/* Of a sequential reader: where it is, what it will be spared the wait for. Several
	 * requests of one reader may be under way, so these are about right at best. */
	atomic_uint_fast64_t read_to, fetched_to;
	atomic_uint_fast32_t window;
	atomic_bool is_seen; /* that it was read is noted for the run */
	atomic_bool is_kept; /* what its first change left of it, likewise */
};

/* An open directory of a view. */
struct open_dir {
	struct list link;
	struct vnode *vnode; /* a reference */
	struct dir_handle *handle; /* owned */
};

int files_new(struct fs *fs, struct files **ret);

/* Closes what is still open: nobody is there any more to do so. NULL is fine. */
void files_close_all(struct files *f);
void files_free(struct files *f);
DEFINE_CLEANUP(struct files *, files_free)

/* As view_open(), or -ENOMEM. */
int files_open(struct files *f, struct vnode *v, int flags, struct access *acc,
	       struct open_file **ret);
void files_close(struct files *f, struct open_file *file);

int files_opendir(struct files *f, struct vnode *v, struct access *acc, struct open_dir **ret);
void files_closedir(struct files *f, struct open_dir *dir);

/* Has the kernel write back what it holds for files of @view (NULL: of any) that are open for
 * writing, and waits for it: a minute at most, or to @dl (NULL: none). 0; -ETIME, logged;
 * -ECANCELED. */
int files_write_back(struct files *f, struct view *view, const struct deadline *dl);

/* A read of [@off, @off + @len) is about to be done: fetches ahead of a sequential reader. */
void files_read_ahead(struct open_file *file, uint64_t off, size_t len, struct access *acc);

uint64_t files_count(struct files *f);
