/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * POSIX ACLs (POSIX.1e draft 17) as the kernel stores them in xattrs: what of them a filesystem
 * must do itself. The kernel checks accesses; we keep mode and ACL in step, and inherit defaults.
 *
 * Pure functions on bytes. An ACL that does not parse is -EINVAL.
 */
#pragma once

#include <sys/types.h>

#include "base/buf.h"

#define ACL_ACCESS_XATTR  "system.posix_acl_access"
#define ACL_DEFAULT_XATTR "system.posix_acl_default"

/* 0 or -EINVAL: versions, order and entries as acl_valid(3) wants them. */
int acl_check(struct span acl);

/* The mode's permission bits as the ACL says them. *@ret_is_minimal: it says no more than they. */
int acl_to_mode(struct span acl, mode_t *mode, bool *ret_is_minimal);

/* chmod: @ret is the ACL with owner, mask (or group) and others as in @mode. */
int acl_chmod(struct span acl, mode_t mode, struct buf *ret);

/* A new file's access ACL from its directory's default one, restricting @mode as it goes.
 * *@ret_is_minimal: no ACL is needed, the mode says it all. */
int acl_inherit(struct span default_acl, mode_t *mode, struct buf *ret, bool *ret_is_minimal);
