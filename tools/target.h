/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From what a user writes to who is asked for what: the daemon of a mount, or a store that is
 * opened here; and a path "REPO/REV/..." in it.
 *
 * With --store the argument is such a path. Otherwise a path into a mount says which. A relative
 * one is looked for
 *	from the current directory
 *	from the mount's root, if it starts with a repo
 *	from the repo that the current directory is in, if it starts with a branch or commit of it
 * and means the first of these that is there. Outside of any mount it is a path in the one pfs that
 * is mounted, or in the store that $PFS_STORE or the configuration says.
 */
#pragma once

#include "base/buf.h"

struct target {
	char *mount; /* owned; the root of the mount; NULL: none */
	char *store; /* owned; the URL of a store to be opened, without a mount */
	struct buf path; /* with a NUL behind, not counted; no slash in front */
};

void target_release(struct target *t);
#define _cleanup_target_ _cleanup_(target_release)

/* @store: --store's value, or NULL. @arg NULL: the current directory, or all of a store. 0 or
 * -errno, with the sentence said. */
int target_find(const char *store, const char *arg, struct target *ret);

/*
 * For what is to be made: @arg is "NAME" in the repo of the current directory, "REPO/NAME", or a
 * path in a mount, as above, but that it need not be there.
 */
int target_find_new(const char *store, const char *arg, struct target *ret);

/*
 * A mount, for what needs one: that which @dir is in (NULL: the current directory, or else
 * $PFS_ROOT, or the only one there is). The path is where in it that is.
 */
int target_find_mount(const char *dir, struct target *ret);

/* The two must be of one mount or store. */
int target_check_same(const struct target *a, const struct target *b);

/* Parts of the path: the repo's name; the revision's behind it (NULL: none); malloc'ed. */
char *target_repo(const struct target *t);
char *target_rev(const struct target *t);
