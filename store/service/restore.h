/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the files of restoring share.
 */
#pragma once

#include "service/compare.h"

/* @from, of a commit, takes the place of what is called @name in @dir. */
int restore_replace(struct request *q, struct vnode *from, struct vnode *dir, const char *name);

/* @file gets @name in @dir as one more name, in place of what has it. */
int restore_link(struct request *q, struct vnode *file, struct vnode *dir, const char *name);

/* @to is said to have changed when @from has. */
int restore_mtime(struct request *q, struct vnode *from, struct vnode *to);

/* @to has the same names and contents as @from: those that are one file there become one file, and
 * those that are not are parted. */
int restore_links(struct request *q, struct vnode *from, struct vnode *to);
