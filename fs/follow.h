/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Heads that follow their branches: when another machine has moved one, a clean head moves too, and
 * the kernel is told what that changes.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "call.h"

/* Has refs tell of branches that move. */
void follow_start(struct fs *fs);

/* No more is told; waits for what is under way. */
void follow_stop(struct fs *fs);

/* Has heads move that could not when they were told: they had changes, or files open. */
void follow_again(struct fs *fs);

/* For struct heads_options: what a move has outdated. */
void follow_outdated(struct view *head, const struct outdated *what, void *ctx);

/* Was the file left behind by a move that the kernel may not have been told of? */
bool follow_is_untold(struct fs *fs, const struct vnode *v);

/* What @name in @dir means has just been moved there, and is about to be answered. While a head's
 * move is being told, what the kernel takes along may be another node. */
void follow_renamed(struct call *c, struct vnode *dir, struct span name, struct access *acc);
