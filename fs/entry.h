/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Answers about vnodes: what the kernel is told of them, and for how long it may believe it.
 *
 *  - a commit never changes: for ever
 *  - a head is changed by this mount alone, through the kernel or with a notification: for long
 */
#pragma once

#include "call.h"

#define TIMEOUT_COMMIT 1e9 /* seconds */
#define TIMEOUT_HEAD   86400.0

double node_timeout(const struct vnode *v);

/* What the kernel is told. Pins the vnode: once for each time it arrives. */
void entry_fill(struct call *c, struct vnode *v, const struct stat *st, double entry_timeout,
		struct fuse_entry_param *ret);
/* It did not arrive. */
void entry_undo(struct call *c, const struct fuse_entry_param *e);

/* Answers with a vnode, which the caller still holds. The name is believed for @entry_timeout. */
void reply_entry(struct call *c, struct vnode *v, const struct stat *st, double entry_timeout);

/* Answers that there is no such name in @dir, which the kernel may remember as well. */
void reply_no_entry(struct call *c, const struct vnode *dir);

/* Answers a getxattr or listxattr: its length (if c->len is 0) or the bytes. 0 or -ERANGE. */
int reply_value(struct call *c, struct span value);
