/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the files of refs.h share.
 */
#pragma once

#include "base/list.h"
#include "base/thread.h"
#include "format/key.h"
#include "object/facts.h"
#include "object/refs.h"

enum {
	OWN_NONCES = 256, /* remembered, of the last changes */
};

/* Who is told of branches that others have moved (refs_watch.c). */
struct watch {
	pthread_t thread;
	bool is_running; /* the thread was started */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool is_ending; /* guarded by lock, as all below */
	bool has_news; /* a look has found something */
	bool is_telling; /* a callback runs, in the thread */
	struct list branches; /* in use */
	size_t count; /* of them */
	unsigned max_age_ms; /* what is known of one and is older is to be looked at */
	void (*fn)(const struct id128 *repo, const char *branch, const struct ref *now, void *ctx);
	void *ctx;
};

struct refs {
	struct refs_options options;
	char *writer; /* owned */
	struct facts *facts;
	struct watch watch;
	pthread_mutex_t lock;
	struct id128 own[OWN_NONCES]; /* guarded by lock; a ring */
	unsigned own_next; /* guarded by lock */
};

void watch_init(struct watch *w);
void watch_stop(struct watch *w); /* before the facts go */
void watch_release(struct watch *w);

/* A look has found something else than before. */
void watch_wake(struct refs *r);

/* A nonce for a change that is about to be tried. */
struct id128 refs_nonce(struct refs *r);
bool refs_is_own(struct refs *r, const struct id128 *nonce);

struct inode_time refs_time(void);

/* A branch's or name's key, and what all of them begin with. */
struct key refs_key(enum ref_kind kind, const struct id128 *repo, const char *name);
struct key refs_prefix(enum ref_kind kind, const struct id128 *repo);

/* The writing of one object (refs_swap.c). */
struct writing {
	enum finding_kind kind;
	const char *key; /* borrowed */
	const struct finding *over; /* what it takes the place of; borrowed */
	struct span bytes; /* borrowed */
};

/*
 * Swaps, and reads back until it is known what came of it.
 *
 * 0: it was written, by us. -ESTALE: it was not and never will be; *@ret_now is what is there now,
 * or was when we last looked: perhaps ours and something later on top. -EINPROGRESS: not known, the
 * deadline passed. Another error: nothing was written.
 */
int refs_swap(struct refs *r, const struct writing *w, const struct deadline *dl,
	      struct finding **ret_now);

/* Gives @next, which is to take @now's place, its seq, time, writer and a nonce of its own. */
void refs_stamp(struct refs *r, const struct finding *now, struct ref *next);

/* refs_swap() for a ref that was stamped. */
int refs_swap_ref(struct refs *r, const char *key, const struct finding *now,
		  const struct ref *next, const struct deadline *dl, struct finding **ret_now);

/* Makes @next live as @name, where nothing of its kind is. -EEXIST: *@ret_live is, and
 * *@ret_may_have_stood says whether ours may have been before it. Else as refs_swap(). */
int refs_place(struct refs *r, const struct id128 *repo, const char *name, struct ref *next,
	       const struct deadline *dl, struct finding **ret_live, bool *ret_may_have_stood);

/* Turns the live ref *@now into a tombstone; when that is lost, *@now is what is there. As
 * refs_swap(). */
int refs_bury(struct refs *r, const struct id128 *repo, const char *name, const char *renamed_to,
	      struct finding **now, const struct deadline *dl);

/* Buries what refs_place() made of @made, if it still is as it was made. 0 also when it is not. */
int refs_withdraw(struct refs *r, const struct id128 *repo, const char *name,
		  const struct ref *made, const struct deadline *dl);

/* This process made it be there, or not. */
void refs_learn_listed(struct refs *r, enum ref_kind kind, const struct id128 *repo,
		       const char *name, bool is_there);

/* Is there a live ref of this kind? Asks the store. 1, 0, or an error. */
int refs_is_taken(struct refs *r, enum ref_kind kind, const struct id128 *repo, const char *name,
		  const struct deadline *dl);

/* The same, but that there is none may be an answer of a while ago. */
int refs_was_taken(struct refs *r, enum ref_kind kind, const struct id128 *repo, const char *name,
		   const struct deadline *dl);

/* -EBUSY when @branch is the default one of its repo. */
int refs_check_not_default(struct refs *r, const struct id128 *repo, const char *branch,
			   const struct deadline *dl);

/* Makes @ret point to a commit (null: none), whose object goes along if it is not too large.
 * -ENOENT: there is no such commit. */
int refs_point(struct refs *r, const struct id128 *repo, const struct oid *target,
	       const struct deadline *dl, struct ref *ret);

/* May there be a change of something called @name? 0, -EROFS, -EINVAL. */
int refs_check_change(const struct refs *r, const char *name);
