/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Repos, branches and names: what was last known, and the protocol by which they change
 * (FORMAT.md, section 10).
 *
 * Readers get what was last known; when that is older than the refresh time, a call waits a moment
 * (REFS_PATIENCE_MS) for a fresh look and then answers with what there is, so that a dead store
 * never holds up a listing. What was never known is waited for. What this process changes is known
 * at once.
 *
 * Threads: all functions from any thread; no lock is held across the backend.
 */
#pragma once

#include "backend/backend.h"
#include "format/commit.h"
#include "format/name.h"
#include "format/repo.h"

struct index;
struct refs;

enum {
	REFS_PATIENCE_MS = 50
};

struct refs_options {
	struct backend *backend; /* borrowed, as the index */
	struct index *index;
	unsigned refresh_ms; /* how old an answer may be */
	const char *writer; /* who we are, for the records: "user@host" */
	bool read_only;
};

int refs_new(const struct refs_options *o, struct refs **ret);
void refs_free(struct refs *r);
DEFINE_CLEANUP(struct refs *, refs_free)

/* How long a call may wait. */
struct refs_wait {
	bool may_wait; /* false: -EAGAIN instead of waiting for what was never known */
	bool fresh; /* do not answer with anything older than the call */
	struct deadline deadline;
	bool known; /* answer with what is known, however old, and ask for nothing: or -EAGAIN */
};

/* A repo as last known; 0, -ENOENT. */
int refs_repo(struct refs *r, const char *name, const struct refs_wait *w, struct repo_rec *ret);

/* A live branch (REF_BRANCH) or name (REF_NAME) with its tag; 0, -ENOENT. */
int refs_get(struct refs *r, const struct id128 *repo, enum ref_kind kind, const char *name,
	     const struct refs_wait *w, struct ref *ret, struct etag *ret_tag);

/* Sees to it that the repos are known soon, for who asks when the store cannot be. */
void refs_get_ready(struct refs *r);

/* Every live repo's, branch's or name's name, ascending; the id of every commit that is no
 * pin, or of every pin, as 64 digits. A positive result of @fn ends it. */
typedef int (*refs_name_fn)(const char *name, void *ctx);
int refs_list_repos(struct refs *r, const struct refs_wait *w, refs_name_fn fn, void *ctx);
int refs_list(struct refs *r, const struct id128 *repo, enum ref_kind kind,
	      const struct refs_wait *w, refs_name_fn fn, void *ctx);
int refs_list_commits(struct refs *r, const struct id128 *repo, const struct refs_wait *w,
		      refs_name_fn fn, void *ctx);
int refs_list_pins(struct refs *r, const struct id128 *repo, const struct refs_wait *w,
		   refs_name_fn fn, void *ctx);

/* The object of a commit or pin; 0, -ENOENT, -EBADMSG. */
int refs_commit(struct refs *r, const struct id128 *repo, const struct oid *id,
		const struct refs_wait *w, struct buf *ret);

/* A commit: its object, and what that says, which borrows from it. */
struct loaded {
	struct oid id;
	struct buf object;
	struct commit commit;
};
void loaded_release(struct loaded *l);
#define _cleanup_loaded_ _cleanup_(loaded_release)

/* As refs_commit(), read. */
int refs_load_commit(struct refs *r, const struct id128 *repo, const struct oid *id,
		     const struct refs_wait *w, struct loaded *ret);

/*
 * What a path's second part names: a branch, a commit's name, a full id, or a prefix of 8 digits
 * or more with a letter among them. "B@N" is the name N. "B@{TIME}" (base/moment.h) is the commit
 * that the branch B was at then: from its last one back by first parents, the first that is not
 * younger. 0; -ENOENT; -ENOTUNIQ (several commits); -EINVAL (it is no time).
 */
struct resolved {
	bool is_branch;
	struct oid commit; /* null: an unborn branch */
	struct id128 branch; /* identity, of a branch */
};
int refs_resolve(struct refs *r, const struct id128 *repo, const char *text,
		 const struct refs_wait *w, struct resolved *ret);

/* Is it written as a branch at a time? */
bool refs_has_time(const char *text);

/* How many digits of @id show it apart from all others known of the repo: at least 12, with a
 * letter among them. */
unsigned refs_short_id(struct refs *r, const struct id128 *repo, const struct oid *id);

/*
 * Changes. Each is durable when it returns 0. Besides the backend's errors: -EEXIST, -ENOENT,
 * -EINVAL (the name), -EROFS.
 */

/*
 * A repo with its default branch. In @rec: chunk, root_*, default_branch, settings; the rest is
 * filled in. With an id in @rec it is that repo, of another store, made here too: with its time of
 * creation, and with branches that are here already from an earlier try.
 */
int refs_create_repo(struct refs *r, const char *name, const struct repo_rec *rec,
		     const struct deadline *dl);
/* -ENOTEMPTY while it has commits. */
int refs_remove_repo(struct refs *r, const char *name, const struct deadline *dl);
/* Replaces chunking, settings or the like: @change edits a copy of what is there. */
int refs_change_repo(struct refs *r, const char *name, int (*change)(struct repo_rec *, void *),
		     void *ctx, const struct deadline *dl);

/* @target null: unborn. */
int refs_create_branch(struct refs *r, const struct id128 *repo, const char *name,
		       const struct oid *target, const struct deadline *dl);
/* -EBUSY: the default branch. */
int refs_remove_branch(struct refs *r, const struct id128 *repo, const char *name,
		       const struct deadline *dl);
/* -EBUSY: the default branch; or it was committed to under both names meanwhile, and there are two
 * branches now. */
int refs_rename_branch(struct refs *r, const struct id128 *repo, const char *from, const char *to,
		       const struct deadline *dl);
/* 0 also when the name says that already. */
int refs_create_name(struct refs *r, const struct id128 *repo, const char *name,
		     const struct oid *target, const struct deadline *dl);
/* The same, but of several who give a name to one commit all but one get -EEXIST. */
int refs_create_name_once(struct refs *r, const struct id128 *repo, const char *name,
			  const struct oid *target, const struct deadline *dl);
/* As refs_create_name(); -EEXIST: *@ret_may_be_known says whether the name may have led to @target
 * for a moment, by this call, so that somebody may have found it. */
int refs_claim_name(struct refs *r, const struct id128 *repo, const char *name,
		    const struct oid *target, const struct deadline *dl, bool *ret_may_be_known);
int refs_remove_name(struct refs *r, const struct id128 *repo, const char *name,
		     const struct deadline *dl);

/*
 * Moves a branch from @from (null: unborn) to the commit @to, whose object is written. Under that
 * name, or one that it was given since, it must be the branch @identity (NULL: whichever it is).
 *
 * 0: the branch is at @to or beyond. -ESTALE: it is elsewhere and has never been at @to, @ret_now
 * says where it is. -ENOENT: there is no such branch, or another one by that name, and none has
 * been moved by this call. -EINPROGRESS: not known: the deadline passed before it could be read
 * back, or the branch is gone by now and may have been at @to before.
 */
int refs_move_branch(struct refs *r, const struct id128 *repo, const char *branch,
		     const struct id128 *identity, const struct oid *from, const struct oid *to,
		     const struct deadline *dl, struct oid *ret_now);

/* Is @ancestor the commit @of or one before it? 1, 0, or an error. */
int refs_is_ancestor(struct refs *r, const struct id128 *repo, const struct oid *ancestor,
		     const struct oid *of, const struct refs_wait *w);

/* A commit object was written, or a name made, by this process. */
void refs_note_commit(struct refs *r, const struct id128 *repo, const struct oid *id,
		      struct span object);

/* A commit object that no ref has ever pointed to was removed by this process: it is listed no
 * more. */
void refs_forget_commit(struct refs *r, const struct id128 *repo, const struct oid *id);

/* Calls @fn from a thread of refs' own when a branch is seen to have moved by somebody else. */
void refs_watch(struct refs *r,
		void (*fn)(const struct id128 *repo, const char *branch, const struct ref *now,
			   void *ctx),
		void *ctx);
/* Keeps a branch under watch: looked at every refresh time while it is in use. */
void refs_use_branch(struct refs *r, const struct id128 *repo, const char *branch, bool in_use);
