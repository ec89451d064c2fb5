/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is mounted, as /proc/self/mountinfo says.
 */
#pragma once

#include <sys/types.h>

#include "base/defs.h"

struct mounted {
	uint64_t id;
	dev_t dev;
	char *root, *point, *type, *source; /* owned; root: which part of the filesystem it is */
};

struct mounts {
	struct mounted *items; /* owned; in the order they were mounted */
	size_t count;
};

/* 0 or -errno. */
int mounts_load(struct mounts *ret);
void mounts_release(struct mounts *m);
#define _cleanup_mounts_ _cleanup_(mounts_release)

/* What is on top at the mount point @path, or NULL. */
const struct mounted *mounts_at(const struct mounts *m, const char *path);

/* The mount that @path, which exists, lies in: NULL and errno when that cannot be told. */
const struct mounted *mounts_of(const struct mounts *m, const char *path);

/*
 * How much of @root, a part of one of our mounts, is the root of a run's view
 * ("/.pfs/run/ID/root", maybe one in another): 0 outside of views.
 */
size_t mounted_realm_len(const char *root);

/* Where the whole of what @x is a part of can be entered, which for a part of a run's view is the
 * view, if it is mounted somewhere; NULL: nowhere. */
const struct mounted *mounts_whole(const struct mounts *m, const struct mounted *x);

bool mounted_is_pfs(const struct mounted *x);
