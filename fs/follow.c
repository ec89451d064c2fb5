/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Heads that follow their branches.
 */
#include "follow.h"

#include "lane.h"
#include "notify.h"
#include "object/refs.h"
#include "root.h"

/* Takes the reference to @head. */
static void follow(struct fs *fs, struct view *head, const struct oid *target)
{
	struct access acc;

	access_init(&acc, fs->store->reader, true);
	acc.deadline = lane_deadline(PATIENCE_META);
	/* What does not succeed now is tried again by follow_again(). */
	head_follow(head, target, &acc);
	access_release(&acc);
	view_unref(head);
}

/* In refs' thread. */
static void on_moved(const struct id128 *repo, const char *branch, const struct ref *now, void *ctx)
{
	struct fs *fs = ctx;
	struct view *head = root_head(fs->root, repo, branch);

	if (head)
		follow(fs, head, &now->target);
}

void follow_again(struct fs *fs)
{
	_cleanup_free_ struct root_head *heads = NULL;
	size_t n = root_heads(fs->root, &heads);
	/* What is known is enough. */
	const struct refs_wait w = { 0 };

	for (size_t i = 0; i < n; i++) {
		_cleanup_ref_ struct ref tip = { 0 };
		struct etag tag;
		int r = refs_get(fs->store->refs, &heads[i].repo, REF_BRANCH, heads[i].branch, &w,
				 &tip, &tag);

		if (r == 0)
			follow(fs, heads[i].view, &tip.target);
		else
			view_unref(heads[i].view);
	}
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
