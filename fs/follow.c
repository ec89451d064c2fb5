/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Heads that follow their branches.
 */
#include "follow.h"

#include "lane.h"
#include "notify.h"
#include "object/refs.h"
#include "root.h"

/* In refs' thread. */
static void on_moved(const struct id128 *repo, const char *branch, const struct ref *now, void *ctx)
{
	struct fs *fs = ctx;
	struct view *head = root_head(fs->root, repo, branch);
	struct access acc;

	if (!head)
		return;
	access_init(&acc, fs->store->reader, true);
	acc.deadline = lane_deadline(PATIENCE_META);
	/* What does not succeed now is tried again when the head is next clean and looked at. */
	head_follow(head, &now->target, &acc);
	access_release(&acc);
	view_unref(head);
}

void follow_start(struct fs *fs)
{
	refs_watch(fs->store->refs, on_moved, fs);
}

void follow_stop(struct fs *fs)
{
	refs_watch(fs->store->refs, NULL, NULL);
}

void follow_outdated(struct view *head, uint64_t dir, struct span name, uint64_t vnode, void *ctx)
{
	struct fs *fs = ctx;

	if (dir)
		notify_expire(fs->notify, dir, name);
	if (vnode)
		notify_flush_file(fs->notify, vnode);
}
