/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Pins: commits of a head that are not brought onto its branch (run/RUNS.md, section 1); and
 * private heads, which no branch belongs to and nobody finds by a name.
 *
 *	base == committed	as if there were no pins
 *	base != committed	base is a pin: all between the two is uncommitted, to whoever asks
 *
 * A private head's committed base is the commit it was made on, for ever; each pin of it is a
 * commit whose parent is that. It is kept over restarts, as any head, until it is discarded.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "head/head.h"

/* What a commit made by a pin says of itself; borrowed. */
struct pin_request {
	const char *message; /* NULL: none */
	const struct commit_meta *meta;
	size_t meta_count;
};

/* A head at one instant. */
struct pinned {
	struct id128 repo, branch; /* identities; of a private head the branch is its own */
	char repo_name[OBJECT_NAME_MAX + 1], branch_name[OBJECT_NAME_MAX + 1];
	struct oid commit; /* null: unborn, and nothing in it */
	struct oid committed; /* the head's committed base; the same when nothing was uncommitted */
};

/*
 * Every head of the mount but private ones, frozen at one instant and pinned: *@ret, which is to be
 * freed, has @ret_count. Waits for commits that are under way. -errno: some may have been pinned,
 * which does no harm.
 */
int heads_pin(struct heads *h, const struct pin_request *req, struct access *acc,
	      struct pinned **ret, size_t *ret_count);

/* The same of these heads, all of one mount and each once: *@ret has them in some order. -ESTALE:
 * the branch or repo of one is gone. */
int heads_pin_these(struct view *const *views, size_t n, const struct pin_request *req,
		    struct access *acc, struct pinned **ret);

/* One head: what it has now is the commit @ret (null: unborn and empty); @ret_is_new: that has
 * changed since it was last pinned or committed. -ESTALE: its branch or repo is gone. */
int head_pin(struct view *head, const struct pin_request *req, struct access *acc, struct oid *ret,
	     bool *ret_is_new);

/*
 * Takes the branch's commit @target into a head that has changes of its own: they are on top of it
 * afterwards, still uncommitted. A clean head just follows. 1: it has; 0: it stays where it is: the
 * two have changed the same, a file that the branch has changed is open for writing, or it is
 * written to all the time; -errno.
 */
int head_advance(struct view *head, const struct oid *target, struct access *acc);

/*
 * A private head on the commit @base (null: nothing, as an unborn branch of the repo). Its inode
 * numbers are those of the branch that has the name now. @label says what it is for, up to 255
 * bytes, kept with it. A reference.
 */
int heads_new_private(struct heads *h, const struct id128 *repo, const char *repo_name,
		      const char *branch_name, const struct oid *base, struct span label,
		      struct access *acc, struct view **ret);
/* Whatever would change that head is -EROFS. Before anybody uses it. */
void head_fix(struct view *head);

/* What one commit has changed over another, to be taken into a head; all is borrowed. */
struct head_change {
	struct oid base, result; /* @base null: nothing */
	/* Of a head that still is at this pin, whoever made the change saw all that it changes:
	 * there it wins, whatever else differs from its base. Null: none. */
	struct oid seen_at;
	bool (*leave_out)(struct span name, void *ctx); /* these are not taken; NULL: all are */
	void *leave_out_ctx;
	/* Told the pin that the head is about to move to, and that it has; no other pin is made of
	 * it in between. Other than 0 from the first ends it. NULL: nobody is. */
	int (*about_to)(const struct oid *id, void *ctx);
	void (*has_moved)(const struct oid *id, void *ctx);
	void *ctx;
};

/*
 * A private head takes it in, three-way: 0, and the head had it as of the pin @ret, uncommitted as
 * all that was changed in the head. -ESTALE: @ret_conflicts names differ on both sides; -EBUSY: a
 * file that it changes is open for writing, or the head is written to all the time; or errors of
 * reading and writing. Then nothing was changed.
 */
int head_take(struct view *head, const struct head_change *c, struct access *acc, struct oid *ret,
	      uint64_t *ret_conflicts);

/*
 * A branch's head takes it in likewise, and with it the branch's commit @target, which was
 * published with that change: all that is uncommitted lies on @target then. 0 also if there is
 * nothing left to be taken in: the head has nothing uncommitted and is at @target, it has made a
 * commit of its own since, which does not come before @target, or it was removed. -ESTALE: names
 * differ on both sides; -EBUSY, errors: as above, to be tried again.
 */
int head_take_published(struct view *head, const struct head_change *c, const struct oid *target,
			struct access *acc);

/* How many names would conflict now. */
int head_take_check(struct view *head, const struct head_change *c, struct access *acc,
		    uint64_t *ret_conflicts);

/* Each private head, with its label: after a restart. As heads_each(). One that was there before
 * the restart may not have its base in memory yet: head_pin() sees to that. */
int heads_each_private(struct heads *h, int (*fn)(struct view *head, struct span label, void *ctx),
		       void *ctx);

/* The commit it was made on, and what it has now: pins apart from changes since. */
struct oid head_committed(struct view *head);

/* A private head's records go, with all that is uncommitted in it; the caller's reference stays
 * his, to be let go of and for nothing else. 0; -EINVAL: it is not private; -EALREADY; or errors of
 * the state directory: then it is back at the next mount. */
int head_discard(struct view *head);

/* Would a read of a file's bytes show any of its base, rather than what was written here alone? Of
 * one that is just as the base has it always, also if it is empty; true where it cannot be told. */
bool view_shows_base(struct vnode *v, struct access *acc);
