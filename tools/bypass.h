/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * For transfers, which go past a mount: the store itself, opened here, beside the mount that the
 * path was said with, if any.
 */
#pragma once

#include "client.h"

struct bypass {
	struct target target; /* as the user said it */
	struct client *mount; /* owned; NULL: none */
	struct client *store; /* owned */
	char *repo, *rev; /* owned; rev NULL: the default branch is meant, or nothing said */
	const char *path; /* below; borrows @target */
};
void bypass_release(struct bypass *b);
#define _cleanup_bypass_ _cleanup_(bypass_release)

/* As target_find() and client_open(). 0 or -errno, said. */
int bypass_open(const char *store, const char *arg, enum client_use use, struct bypass *ret);

/* What a mount says of the branch: {"base": ..., "is_dirty": ...}; NULL: nothing is mounted, or it
 * is not a branch. The caller's. */
json_t *bypass_status(struct bypass *b);

/* The URL of the store behind a target, malloc'ed: also of one that is mounted, beside which it can
 * be opened. 0 or -errno, said. */
int bypass_url(const struct target *t, char **ret);
