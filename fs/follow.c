/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Heads that follow their branches. A head goes by its branch's identity: what has the name may be
 * another branch by now.
 */
#include "follow.h"

#include "channel.h"
#include "format/inode.h"
#include "lane.h"
#include "notify.h"
#include "object/refs.h"
#include "root.h"

static void follow(struct fs *fs, struct view *head, const struct ref *branch)
{
	struct access acc;

	if (!id128_equal(&branch->branch, head_branch(head)))
		return;
	access_init(&acc, fs->store->reader, true);
	acc.deadline = lane_deadline(PATIENCE_META);
	/* What does not succeed now is tried again by follow_again(). */
	head_follow(head, &branch->target, &acc);
	access_release(&acc);
}

/* In refs' thread. */
static void on_moved(const struct id128 *repo, const char *branch, const struct ref *now, void *ctx)
{
	struct fs *fs = ctx;
	struct view *head = root_head(fs->root, repo, branch);

	if (!head)
		return;
	follow(fs, head, now);
	view_unref(head);
}

void follow_again(struct fs *fs)
{
	_cleanup_free_ struct root_head *heads = NULL;
	size_t n = root_heads(fs->root, &heads);
	/* The watch sees to it that it is not old. */
	const struct refs_wait w = { .known = true };

	for (size_t i = 0; i < n; i++) {
		_cleanup_ref_ struct ref tip = { 0 };
		struct etag tag;

		if (refs_get(fs->store->refs, &heads[i].repo, REF_BRANCH, heads[i].branch, &w, &tip,
			     &tag) == 0)
			follow(fs, heads[i].view, &tip);
		view_unref(heads[i].view);
	}
}

void follow_start(struct fs *fs)
{
	refs_watch(fs->store->refs, on_moved, fs);
	refs_get_ready(fs->store->refs);
}

void follow_stop(struct fs *fs)
{
	refs_watch(fs->store->refs, NULL, NULL);
}

static void told(struct fs *fs)
{
	atomic_fetch_sub(&fs->moves, 1);
}

void follow_outdated(struct view *head, const struct outdated *what, void *ctx)
{
	struct fs *fs = ctx;
	bool can_expire = channel_features(fs->channel)->expire_only;

	notify_pace(fs->notify);
	switch (what->kind) {
	case OUTDATED_BEGIN:
		atomic_fetch_add(&fs->moves, 1);
		return;
	case OUTDATED_NAME:
		/* An invalidated directory that is somebody's current one would lose its path. */
		if (what->dir && (can_expire || !what->vnode))
			notify_expire(fs->notify, what->dir, what->name);
		break;
	case OUTDATED_GONE:
		notify_gone(fs->notify, what->dir, what->name, what->vnode);
		break;
	case OUTDATED_LINK:
		notify_gone(fs->notify, what->dir, what->name, 0);
		break;
	case OUTDATED_END:
		notify_then(fs->notify, told);
		return;
	}
	if (what->vnode)
		notify_attributes(fs->notify, what->vnode);
}

bool follow_is_untold(struct fs *fs, const struct vnode *v)
{
	return atomic_load(&fs->moves) && v->type != FT_DIR && vnode_is_left(fs->vnodes, v);
}

void follow_renamed(struct call *c, struct vnode *dir, struct span name, struct access *acc)
{
	struct fs *fs = c->fs;
	struct vnode *v = NULL;
	struct stat st;

	if (!atomic_load(&fs->moves))
		return;
	/* A directory's is right, and may be somebody's current one. */
	if (view_lookup(dir, name, acc, &v, &st) < 0 || v->type == FT_DIR)
		notify_expire(fs->notify, vnode_id(dir), name);
	else
		notify_gone(fs->notify, vnode_id(dir), name, 0);
	if (v)
		vnode_unref(fs->vnodes, v);
}
