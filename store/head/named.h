/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The two things that changes of names deal in: a directory whose names change, and what a name
 * leads to. All under view->lock.
 */
#pragma once

#include "head/overlay.h"

enum {
	NLINK_MAX = 65000,
};

/* 0, -ENAMETOOLONG, -EINVAL. */
int name_check(struct span name);

/* A directory that names are changed in: loaded, then (change_file()) of the top. */
struct dir {
	struct vnode *v; /* borrowed */
	struct file f;
	struct tree_root root; /* the base's */
};
void dir_release(struct dir *d);
#define _cleanup_dir_ _cleanup_(dir_release)

/* -ENOENT: it was removed. */
int dir_load(struct view *v, struct vnode *n, struct access *acc, struct dir *ret);
/* So many names more or less in it, so many of them directories; and its times. */
void dir_touch(struct change *c, struct dir *d, int items, int subdirs);
void dir_put(struct change *c, const struct dir *d);

/* What a name leads to. */
struct named {
	struct found found;
	struct file f;
	struct vnode *v; /* a reference; somebody may know it */
	struct vnode *former; /* its parent before it lost its name; a reference */
};
/* Without the lock. */
void named_release(struct view *v, struct named *x);

int named_load(struct change *c, struct dir *d, struct span name, struct named *ret);

/* Its name in @d goes, and with the last one the file, as far as nobody has it open. */
int named_remove(struct change *c, struct dir *d, struct span name, struct named *x);
/* After that change was applied. */
void named_gone(struct view *v, struct named *x);

/* named_remove() as all there is to a change: applied, and the vnode told. */
int named_take_out(struct change *c, struct dir *d, struct span name, struct named *x);
