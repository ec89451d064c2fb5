/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a head's move to another commit outdates: found before the move, with no lock
 * held; said after it.
 *
 * All under head->commit_lock: the head's base is nobody else's to change.
 */
#pragma once

#include "base/htab.h"
#include "head/base.h"

/* A directory that the client knows, and that is not the same in both commits. */
struct moving_dir {
	struct hnode by_id; /* the vnode's */
	struct list link;
	struct vnode *dir; /* a reference */
	struct tree_root was, is; /* @is: empty where it is gone */
};

/* A file that is left behind; without @left it is one with several names and stays, with other
 * attributes. */
struct moving_file {
	struct vnode *n; /* a reference */
	struct left *left; /* owned */
};

struct moving {
	struct head *head;
	struct access *acc; /* borrowed */
	struct base base; /* where it goes; then, where it was */
	struct oid committed; /* what it is to be on: the same, or what that is a pin on */
	bool under_writers; /* as of head_move() */
	struct htab by_id; /* of the directories; owned, as all below */
	struct list walked, unwalked;
	struct moving_file *files;
	size_t file_count, file_cap;
	uint64_t looked_to; /* a vnode's id: those from here on are yet to be looked at */
	struct vnode **held; /* references to be given back without a lock */
	size_t held_count, held_cap;
	struct buf dropped; /* struct record_key: exceptions of files that are gone */
	struct buf news; /* what is to be said */
};

/* From the head's base to @base, which is taken and becomes the committed one. 0 or -errno; to be
 * released either way. */
int moving_init(struct moving *m, struct head *h, struct access *acc, struct base *base);
void moving_release(struct moving *m);
#define _cleanup_moving_ _cleanup_(moving_release)

/* Finds what differs as far down as the client knows directories; fetches. To be called again
 * while there is more (moving_has_more()). 0 or -errno. */
int moving_walk(struct moving *m);
bool moving_has_more(const struct moving *m);

/* Under view->lock, at hand: looks at some of the vnodes that were made since, which may give more
 * to be walked over. 1: there are more of them; 0; -errno. */
int moving_look_again(struct moving *m);

/* The same, after that: is something that is left behind open for writing? */
bool moving_leaves_writers(const struct moving *m);

/* Under view->lock, after moving_look_again() has found no more: leaves behind what differs, and
 * exchanges the bases. 0, or -errno and nothing has happened. */
int moving_exchange(struct moving *m);

/*
 * The head moves to @base, which is taken, and its committed base is @committed from then on: a
 * clean head to a commit above its own, a pinned one to anything. 1; 0: it stays where it is, since
 * there are changes in its layers, or a file is open for writing that is left behind (in a clean
 * head, without @under_writers: any); -errno.
 */
int head_move(struct head *h, struct base *base, const struct oid *committed, bool under_writers,
	      struct access *acc);

/* Says what is outdated, with no lock held but commit_lock, to a head that has a client. */
void moving_tell(const struct moving *m);
