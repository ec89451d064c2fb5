/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What changes of attributes and of data share; under view->lock, within a change.
 */
#pragma once

#include "head/overlay.h"

/* The loaded file's attributes as @s says, but for the size. @list is room for an xattr list, which
 * the record borrows until it is put. */
int attr_apply(struct change *c, struct vnode *n, struct file *f, const struct setattr *s,
	       struct buf *list);

/* Setuid, setgid of an executable, and capabilities go. */
int attr_kill_priv(struct change *c, struct vnode *n, struct file *f, struct buf *list);

/* The file's extended attributes are @list now, which the record borrows until it is put. */
void attr_put_xattrs(struct change *c, uint64_t ino, struct file_rec *f, struct buf *list);

/* setattr with a size (data.c). */
int data_set_size(struct vnode *n, const struct setattr *s, struct access *acc,
		  struct stat *ret_st);
