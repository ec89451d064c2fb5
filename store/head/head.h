/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Heads: branches as a mount sees them, with what is uncommitted.
 *
 *	          first change            freeze                 landed
 *	clean ------------------> dirty -----------> committing ---------> clean or dirty
 *	                           ^                     |
 *	                           '------ failed -------'
 *
 * What a failed commit froze stays, and the next one takes it along. What has landed is the base,
 * whether or not it could be brought onto the branch:
 *
 *	on branch --commit--> pending --joined--> on branch
 *	                         '--both changed the same--> diverged --settled--> on branch
 * All heads of a mount share one state directory: table, staging, cache. One process holds it.
 */
#pragma once

#include "head/view.h"
#include "merge/merge.h"
#include "object/refs.h"

struct heads;

/* What a client has cached of a head that has moved to a commit of another mount. Directories and
 * vnodes are ids; 0: none. */
enum outdated_kind {
	/* A move may be about to happen: it is in effect before any more is said. */
	OUTDATED_BEGIN,
	/* @name in @dir, to be looked up again. It may go on to mean @vnode, whose attributes are
	 * outdated. Without @dir those alone are. */
	OUTDATED_NAME,
	/* @name in @dir was @vnode, and means something else or nothing. @vnode has no name. */
	OUTDATED_GONE,
	/* The same, but @vnode, if it is known, may have other names. */
	OUTDATED_LINK,
	/* All was said. */
	OUTDATED_END,
};
struct outdated {
	enum outdated_kind kind;
	uint64_t dir, vnode;
	struct span name;
};

struct heads_options {
	struct store *store; /* borrowed, as the vnodes */
	struct vnode_table *vnodes;
	uint64_t disk_bytes; /* for staged data */
	uint64_t table_bytes; /* 0: the default */
	/*
	 * Asks the client to write back what it holds for the writable files of a head, right
	 * before a freeze; called with no lock held. 0, or why it is not all written, the sentence
	 * logged. NULL: nothing to ask.
	 */
	int (*write_back)(struct view *head, const struct deadline *dl, void *ctx);
	/* Called with no lock held that a request may wait for. NULL: nobody caches. */
	void (*outdated)(struct view *head, const struct outdated *what, void *ctx);
	void *ctx;
};

/*
 * Opens the state directory of the store (store->state_fd): takes its lock (-EBUSY: another process
 * has it; -EXDEV: it belongs to another store), replays, removes what unlinked files left, settles
 * publications that were under way. Sentences are logged.
 */
int heads_open(const struct heads_options *o, struct heads **ret);

/* Before a head is committed @fn may bring into it what belongs there; it is called with no lock
 * held. NULL: there is nobody. Not while anybody may commit. */
void heads_before_commits(struct heads *h, void (*fn)(struct view *head, void *ctx), void *ctx);

/* Syncs and frees; no view may be in use. */
void heads_free(struct heads *h);
DEFINE_CLEANUP(struct heads *, heads_free)

/*
 * As refs_repo(); but a repo that another mount has removed is still there while something in it is
 * uncommitted here: under its name or, where another repo has that by now, as NAME.left-XXXXXXXX.
 * Of its record the id is right.
 */
int heads_repo(struct heads *h, const char *name, const struct refs_wait *w, struct repo_rec *ret);

/* What a listing shows beside what refs say: names of such repos (@repo NULL), or of a repo's
 * branches in which something is uncommitted. In no order, and some of them refs say as well. Waits
 * for a moment at most; -EAGAIN: @w does not let it. @fn as in refs_list(). */
int heads_list_left(struct heads *h, const struct id128 *repo, const struct refs_wait *w,
		    refs_name_fn fn, void *ctx);

/* The head of a branch, loaded on first use; a reference. @repo as for heads_repo(). -ENOENT: there
 * is no such branch, nor was one in which something is uncommitted here. */
int heads_get(struct heads *h, const char *repo, const char *branch, struct access *acc,
	      struct view **ret);

/* The identities of its branch and repo, as long as the head lives. */
const struct id128 *head_branch(const struct view *head);
const struct id128 *head_repo(const struct view *head);

/*
 * The branch is at another commit: if nothing of the head is uncommitted and no file in it is open
 * for writing, it moves there. What is not the same in that commit is left behind: who has it goes
 * on having what it was. 1: it has; 0: it stays where it is (or is there, or beyond); -errno.
 */
int head_follow(struct view *head, const struct oid *target, struct access *acc);

/* Gives a branch another name; its head stays the same. Waits for a commit of it. As
 * refs_rename_branch(). */
int heads_rename(struct heads *h, const struct id128 *repo, const char *from, const char *to,
		 const struct deadline *dl);

/* Removes a branch, and its head with it; or a repo without commits, and all its heads. -ENOTEMPTY
 * while a head has uncommitted changes, and what refs_remove_branch() and refs_remove_repo() say:
 * then all is as it was. */
int heads_remove(struct heads *h, const struct id128 *repo, const char *branch,
		 const struct deadline *dl);
int heads_remove_repo(struct heads *h, const struct id128 *repo, const char *name,
		      const struct deadline *dl);

/*
 * Commits: write-back, freeze, pack, store, name, join the branch. Writers go on meanwhile. One at
 * a time a head; others wait.
 *
 * 0: the commit is durable and has its name, if one is given; nothing changed since the base: that
 * is what gets the name. How it stands with the branch is another matter: if that cannot be
 * reached, or has changed the same, the head keeps the commit as its base, and every later commit,
 * head_rejoin() and head_merge() try again.
 *
 * -EEXIST: the name is taken by another commit or a branch, nothing was done.
 */
struct commit_request {
	const char *name, *author, *message; /* NULL: none, the store's writer, none */
	const struct commit_meta *meta;
	size_t meta_count;
	const atomic_bool *cancelled; /* until the branch is about to move; NULL: cannot be */
};

enum head_standing {
	HEAD_ON_BRANCH, /* its base is on the branch */
	HEAD_PENDING, /* it is not known to be, yet */
	HEAD_DIVERGED, /* it cannot be: both have changed the same since they parted */
};

struct commit_result {
	struct oid id;
	bool is_new; /* something had changed */
	enum head_standing standing;
	struct oid tip; /* of the branch, where known */
	uint64_t conflicts; /* names, if it has diverged */
};
int head_commit(struct view *head, const struct commit_request *req, struct access *acc,
		struct commit_result *ret);

/*
 * Brings a head's last commit onto the branch, taking one side where both have changed the same.
 * What is uncommitted stays so. 0 with the head's standing (in @ret: also the base as id); or the
 * errors of join_branch().
 */
int head_merge(struct view *head, enum merge_prefer prefer, struct access *acc,
	       struct commit_result *ret);

/* What stands in the way of a diverged head's base: merge_conflicts(); none if it is on the branch.
 */
int head_conflicts(struct view *head, merge_conflict_fn fn, void *ctx, struct access *acc,
		   struct commit_result *ret);

/*
 * Tries again what is pending, and what has diverged if the branch has moved since: for somebody
 * who looks now and then. It finds the branch within @acc's time; a merge takes as long as it
 * takes, up to ten minutes, and commits go on meanwhile. A head that is being committed is left
 * out. Errors are logged. True: something is still pending.
 */
bool head_rejoin(struct view *head, struct access *acc);

/* Sees now what others have done to the branch, and tries again what is pending: 0, with the head's
 * standing; or the backend's errors. */
int head_sync(struct view *head, struct access *acc, struct commit_result *ret);

/* All that was done in heads so far survives power loss. */
int heads_sync(struct heads *h);

/* Is it the head of that branch, by identity? */
bool head_is_of(const struct view *head, const struct id128 *repo, const struct id128 *branch);

/* Every head that the mount has, but those whose branch is gone; a result of @fn other than 0 ends
 * it and is returned. */
int heads_each(struct heads *h, int (*fn)(struct view *head, void *ctx), void *ctx);

/* What a head is and has; strings are the caller's to free with head_status_release(). */
struct head_status {
	char *repo, *branch;
	struct oid base;
	struct oid tip; /* of the branch, as last known */
	bool is_dirty, is_committing;
	bool is_behind; /* the tip is not the base */
	enum head_standing standing;
	uint64_t changed; /* inodes with changes, roughly */
	uint64_t staged_bytes; /* of the whole mount */
};
int head_status(struct view *head, struct head_status *ret);
void head_status_release(struct head_status *s);

/*
 * Puts a file or tree of a commit under @name in @dir, sharing its content; a directory whole,
 * whatever its size. Hard links below it are links among themselves. -EEXIST; -EINVAL (@from is not
 * a commit's).
 */
int head_graft(struct vnode *from, struct vnode *dir, struct span name, struct access *acc);

/* rm -rf: a directory of the base in one step, if nothing below it is changed or hard-linked. */
int head_remove_tree(struct vnode *dir, struct span name, struct access *acc);

/* What tells whether it is time that a head were committed (autocommit.h). */
struct head_activity {
	char repo[OBJECT_NAME_MAX + 1], branch[OBJECT_NAME_MAX + 1]; /* for heads_get() */
	bool is_dirty;
	unsigned writers; /* times that files are open for writing */
	uint64_t touched; /* another one after each change or close of a file open for writing */
};
void head_activity(struct view *head, struct head_activity *ret);

struct heads_stats {
	uint64_t heads, dirty, staged, waiting, budget;
	uint64_t journal_bytes, memory_bytes, checkpoints, syncs;
};
void heads_stats(struct heads *h, struct heads_stats *ret);
