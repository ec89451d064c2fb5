/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Throw-away files: those that a repo's list names, as patterns of a path's last component. They
 * are part of what a run has made, and not of what is published.
 *
 * Threads: one at a time for each list.
 */
#pragma once

#include "object/refs.h"

/* The repo's list of files that are not published. */
struct throwaway;
int throwaway_new(const struct repo_rec *repo, struct throwaway **ret);
void throwaway_free(struct throwaway *t);
DEFINE_CLEANUP(struct throwaway *, throwaway_free)
/* Is a name on it? */
bool throwaway_has(struct span name, void *t);

/* The lists of several repos, for who goes through paths by repo. */
struct throwaways {
	struct refs *refs; /* borrowed */
	char repo[OBJECT_NAME_MAX + 1]; /* whose list this is */
	struct throwaway *list; /* owned; NULL: there is no such repo */
};
void throwaways_release(struct throwaways *t);
#define _cleanup_throwaways_ _cleanup_(throwaways_release)
/* Is the last name of "REPO/BRANCH/.../NAME" on its repo's list? 1, 0, or errors of refs. */
int throwaways_have(struct throwaways *t, struct span path, const struct deadline *dl);
