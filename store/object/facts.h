/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What was last known of the things in the store that change, with their age.
 *
 * A fact is what was found under a key, or of all keys with a prefix. It is looked at again by
 * threads of their own, one look a fact at a time, whoever asks; askers wait as refs.h says. What
 * this process changes is learned at once, and a look that began before is not believed against it.
 * Facts are kept in the index too, so that a new process has old ones.
 *
 * For the files of refs.h alone. Threads: all functions from any thread; no lock is held across the
 * backend or the index.
 */
#pragma once

#include "object/finding.h"
#include "object/refs.h"

struct facts;

struct facts_options {
	struct backend *backend; /* borrowed, as the index */
	struct index *index;
	unsigned refresh_ms;
	/* Is the change with this nonce our own? */
	bool (*is_own)(const struct id128 *nonce, void *ctx);
	/* A look has found something else than before; called with no lock held. */
	void (*changed)(void *ctx);
	void *ctx;
};

int facts_new(const struct facts_options *o, struct facts **ret);

/* Gives up looks that are under way. */
void facts_free(struct facts *k);
DEFINE_CLEANUP(struct facts *, facts_free)

/*
 * The fact @key, a reference to a finding of that kind. That there is no such object is a finding
 * too. -EAGAIN (@w may not wait, and ought to), -ETIME, -ECANCELED, or what befell the look.
 */
int facts_get(struct facts *k, enum finding_kind kind, const char *key, const struct refs_wait *w,
	      struct finding **ret);

/* The same without any wait: NULL when nothing is known. */
struct finding *facts_peek(struct facts *k, enum finding_kind kind, const char *key);

/* Sees to it that the fact is no older than @max_age_ms soon. */
void facts_refresh(struct facts *k, enum finding_kind kind, const char *key, unsigned max_age_ms);

/* A listing that began at @began has the object @key with that tag: a fact that has it too is as
 * old as the listing, any other is looked at. What nobody asked for is passed over. */
void facts_see(struct facts *k, enum finding_kind kind, const char *key, const struct etag *tag,
	       int64_t began);

/* Looks now, in this thread; not for listings that others learn of. */
int facts_look(struct facts *k, enum finding_kind kind, const char *key, const struct deadline *dl,
	       struct finding **ret);

/* What this process just made of the object @key, whose bytes are @object; a reference is taken. */
void facts_learn(struct facts *k, const char *key, struct finding *f, struct span object);

/* It made @name (of a listing's last part) be in the listing @prefix, or not. */
void facts_learn_listed(struct facts *k, enum finding_kind kind, const char *prefix,
			const char *name, bool is_there);
