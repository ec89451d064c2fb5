/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Heads that follow their branches: when another machine has moved one, a clean head moves too, and
 * the kernel is told what that changes.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "fs.h"

/* Has refs tell of branches that move. */
void follow_start(struct fs *fs);

/* No more is told; waits for what is under way. */
void follow_stop(struct fs *fs);

/* Has heads move that could not when they were told: they had changes, or files open. */
void follow_again(struct fs *fs);

/* For struct heads_options: what a move has outdated. */
void follow_outdated(struct view *head, uint64_t dir, struct span name, uint64_t vnode, void *ctx);
