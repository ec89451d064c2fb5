/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the kernel is told without having asked: that something it knows is outdated.
 *
 * One thread sends, with no lock held, since the kernel may wait for requests of ours before it
 * takes a notification. So no request may wait here, but for the commit on its slow lane;
 * conversations and the keeper, which are none, do.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "fs.h"

struct notify;

int notify_new(struct fs *fs, struct notify **ret);

/* What is queued is dropped. While requests are still served: what is being sent may wait for some.
 * NULL is fine, and so is a second time. */
void notify_stop(struct notify *n);
void notify_free(struct notify *n);
DEFINE_CLEANUP(struct notify *, notify_free)

/* The name may mean something else now, or nothing: it is looked up again before it is used.
 * @parent is a directory's nodeid. Attributes of the directory are outdated as well. */
void notify_expire(struct notify *n, uint64_t parent, struct span name);

/* The name does mean something else or nothing: it is not known any more. Where nothing but that
 * name led to @node (a nodeid, or 0), it goes when its users are gone. */
void notify_gone(struct notify *n, uint64_t parent, struct span name, uint64_t node);

/* Attributes are outdated. */
void notify_attributes(struct notify *n, uint64_t node);

/* The kernel may write back what it holds of the file, and shall know nothing of it any more. */
void notify_flush_file(struct notify *n, uint64_t node);

/* The kernel lets go of a file that nobody uses. */
void notify_forget(struct notify *n, const struct vnode_stale *stale);

/* Calls @fn when all that was queued before has been sent and taken; not if that does not come to
 * pass. */
void notify_then(struct notify *n, void (*fn)(struct fs *fs));

/* Waits until all that was queued before has been sent and taken. 0; -ETIME, -ECANCELED (@dl; NULL:
 * never). */
int notify_wait(struct notify *n, const struct deadline *dl);

/* Waits while very much is queued, and goes out. */
void notify_pace(struct notify *n);
