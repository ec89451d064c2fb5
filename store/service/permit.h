/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a caller may do. The owner of a service may do all; others what the permission bits of a
 * repo's directory in the mount, and of the directories below it, let them do with system calls.
 *
 * What has an access ACL is its owner's alone here: who the ACL lets in goes through the mount.
 */
#pragma once

#include <unistd.h>

#include "format/repo.h"
#include "head/view.h"
#include "service/request.h"

/* May the caller do @want (R_OK | W_OK | X_OK) by the bits of @mode? */
bool permit_mode(const struct service_caller *who, mode_t mode, uid_t uid, gid_t gid, int want);

/* To a repo's directory: 0, or -EACCES with a sentence. */
int permit_repo(struct request *q, const char *name, const struct repo_rec *rec, int want);

/* What only who owns the repo may do; -EPERM. */
int permit_repo_owner(struct request *q, const char *name, const struct repo_rec *rec);

/* To a directory or file in a view, whose attributes are @st. -EACCES, without a sentence. */
int permit_dir(struct request *q, struct vnode *dir, const struct stat *st, int want);
